"use strict";

// The models of vqlib.models, built from the names and shapes of their weights.

function parameters(tensors, name) {
  return { weight: tensors[`${name}.weight`], bias: tensors[`${name}.bias`] };
}

function numbered(tensors, network) {
  const pattern = new RegExp(`^${network}\\.(\\d+)\\.weight$`);
  const numbers = Object.keys(tensors).flatMap((name) => pattern.exec(name)?.[1] ?? []);
  return numbers.map(Number).sort((a, b) => a - b);
}

function residualStack(tensors, name) {
  const blocks = [];
  for (let i = 0; `${name}.blocks.${i}.1.weight` in tensors; i++) {
    const block = `${name}.blocks.${i}`;
    blocks.push(
      residualBlock(parameters(tensors, `${block}.1`), parameters(tensors, `${block}.3`)),
    );
  }
  return chain([...blocks, relu]);
}

// The side of a kernel says which layer it is: 4 halves or doubles the image, a residual stack
// follows 3, and 1 ends an encoder. Weights without a kernel are those of a dense layer.
function encoderOf(tensors) {
  return chain(
    numbered(tensors, "encoder").flatMap((number) => {
      const own = parameters(tensors, `encoder.${number}`);
      const kernel = own.weight.shape[2];
      if (kernel === 4) return [convolution(own, 2, 1), relu];
      if (kernel === 3) {
        return [convolution(own, 1, 1), residualStack(tensors, `encoder.${number + 1}`)];
      }
      return kernel === 1 ? [convolution(own, 1, 0)] : [dense(own)];
    }),
  );
}

function decoderOf(tensors) {
  const numbers = numbered(tensors, "decoder");
  const layers = numbers.flatMap((number, i) => {
    const own = parameters(tensors, `decoder.${number}`);
    const kernel = own.weight.shape[2];
    if (kernel === 4) return [transposedConvolution(own, 2, 1), relu];
    if (kernel === 3) {
      return [convolution(own, 1, 1), residualStack(tensors, `decoder.${number + 1}`)];
    }
    const [channels] = tensors[`decoder.${numbers[i + 1]}.weight`].shape;
    return [dense(own), unflatten(channels), relu];
  });
  return chain(layers.slice(0, -1)); // no ReLU after the last
}

function centred(pixels) {
  const side = Math.round(Math.sqrt(pixels.length / 3));
  return { data: pixels.map((value) => value - 0.5), height: side, width: side, channels: 3 };
}

function uncentred(x) {
  return x.data.map((value) => Math.min(1, Math.max(0, value + 0.5)));
}

// Both kinds of model encode pixels as { latent }, and decode a latent to pixels.
function gaussianModel(tensors) {
  const encoder = encoderOf(tensors);
  const decoder = decoderOf(tensors);
  return {
    encode(pixels) {
      const both = encoder(centred(pixels));
      const channels = both.channels / 2;
      const part = (start) =>
        both.data.filter((_, i) => Math.floor(i / channels) % 2 === start);
      const [mean, logVariance] = [part(0), part(1)];
      const kl = mean.map((m, i) => (m * m + Math.exp(logVariance[i]) - 1 - logVariance[i]) / 2);
      return { latent: { ...both, channels, data: mean }, kl };
    },
    decode: (latent) => uncentred(decoder(latent)),
  };
}

function quantizedModel(tensors) {
  const encoder = encoderOf(tensors);
  const decoder = decoderOf(tensors);
  const codebook = tensors["quantizer.codebook"];
  const [count, dimensions] = codebook.shape;
  const columns = reordered(codebook, [1, 0]);
  const halfNorms = Float32Array.from({ length: count }, (_, k) =>
    vector(k).reduce((sum, value) => sum + (value * value) / 2, 0),
  );

  function vector(k) {
    return codebook.data.subarray(k * dimensions, (k + 1) * dimensions);
  }

  function nearest(z) {
    const scores = matmul(z.data, columns, z.height * z.width, dimensions, count);
    return Int32Array.from({ length: z.height * z.width }, (_, place) => {
      let best = 0;
      const score = (k) => scores[place * count + k] - halfNorms[k];
      for (let k = 1; k < count; k++) if (score(k) > score(best)) best = k;
      return best;
    });
  }

  return {
    encode(pixels) {
      const z = encoder(centred(pixels));
      return { latent: { ...z, channels: 1, data: nearest(z) } };
    },
    decode(latent) {
      const data = new Float32Array(latent.data.length * dimensions);
      latent.data.forEach((code, place) => {
        if (code >= 0) data.set(vector(code), place * dimensions); // else 0, as beyond the edge
      });
      return uncentred(decoder({ ...latent, channels: dimensions, data }));
    },
  };
}

function buildModel(tensors) {
  return "quantizer.codebook" in tensors ? quantizedModel(tensors) : gaussianModel(tensors);
}
