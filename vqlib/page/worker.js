"use strict";

let model;

const METHODS = {
  load(weights) {
    model = buildModel(readTensors(fromBase64(weights)));
  },
  encode: (pixels) => model.encode(pixels).latent,
  decode: (latent) => model.decode(latent),
  // The mean KL of each latent over pictures, in bits.
  information(pictures) {
    const total = pictures
      .map((pixels) => model.encode(pixels).kl)
      .reduce((sum, kl) => sum.map((value, i) => value + kl[i]));
    return total.map((value) => value / pictures.length / Math.LN2);
  },
};

onmessage = ({ data: { id, method, argument } }) => {
  postMessage({ id, result: METHODS[method](argument) });
};
