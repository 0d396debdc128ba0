"use strict";

let model;
let prior;

const METHODS = {
  load(weights) {
    model = buildModel(readTensors(fromBase64(weights)));
  },
  loadPrior({ weights, head }) {
    prior = buildPrior(readTensors(fromBase64(weights)), head);
  },
  logits: (given) => prior(given),
  encode: (pixels) => model.encode(pixels).latent,
  decode: (latent) => model.decode(latent),
  // The mean KL to the prior of each latent over pictures, in bits, in the latent's shape.
  information(pictures) {
    const encoded = pictures.map((pixels) => model.encode(pixels));
    const mean = (i) => encoded.reduce((sum, { kl }) => sum + kl[i], 0) / encoded.length;
    const { latent } = encoded[0];
    return { ...latent, data: latent.data.map((_, i) => mean(i) / Math.LN2) };
  },
};

onmessage = ({ data: { id, method, argument } }) => {
  postMessage({ id, result: METHODS[method](argument) });
};
