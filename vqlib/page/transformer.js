"use strict";

// The transformer of vqlib.generation, built from the names and shapes of its weights. A place of
// its sequence is a vector of numbers; a layer maps one to another.

const EPSILON = 1e-5; // of a layer norm, as in PyTorch

function affine({ weight, bias }) {
  const [outputs, inputs] = weight.shape;
  return (x) => {
    const out = new Float32Array(outputs);
    for (let j = 0, at = 0; j < outputs; j++) {
      let sum = bias.data[j];
      for (let i = 0; i < inputs; i++) sum += weight.data[at++] * x[i];
      out[j] = sum;
    }
    return out;
  };
}

function layerNorm({ weight, bias }) {
  return (x) => {
    const mean = x.reduce((sum, value) => sum + value, 0) / x.length;
    const variance = x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / x.length;
    const scale = 1 / Math.sqrt(variance + EPSILON);
    return x.map((value, i) => (value - mean) * scale * weight.data[i] + bias.data[i]);
  };
}

function gelu(x) {
  return x.map((value) => (value * (1 + erf(value / Math.SQRT2))) / 2);
}

// Abramowitz and Stegun, formula 7.1.26: the error is below 2e-7.
function erf(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const terms = [1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592];
  const polynomial = terms.reduce((sum, term) => sum * t + term, 0) * t;
  return Math.sign(x) * (1 - polynomial * Math.exp(-x * x));
}

function sumOf(a, b) {
  return a.map((value, i) => value + b[i]);
}

// Each head compares a place's query with the keys of all places so far, and returns the mean of
// their values, weighted by how well they fit.
function attend(query, past, head) {
  const out = new Float32Array(query.length);
  for (let start = 0; start < query.length; start += head) {
    const scores = past.map(({ key }) => {
      let sum = 0;
      for (let i = start; i < start + head; i++) sum += query[i] * key[i];
      return sum / Math.sqrt(head);
    });
    const highest = Math.max(...scores);
    const weights = scores.map((score) => Math.exp(score - highest));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    past.forEach(({ value }, at) => {
      const share = weights[at] / total;
      for (let i = start; i < start + head; i++) out[i] += share * value[i];
    });
  }
  return out;
}

// A block maps a place, and adds its key and value to those of the places before.
function attentionBlock(tensors, name, head) {
  const own = (layer) => parameters(tensors, `${name}.${layer}`);
  const attention = chain([layerNorm(own("norm")), affine(own("attention"))]);
  const project = affine(own("project.0"));
  const network = chain([
    layerNorm(own("network.0")), affine(own("network.1")), gelu, affine(own("network.3")),
  ]);
  return (x, past) => {
    const all = attention(x);
    const [query, key, value] = [0, 1, 2].map((part) =>
      all.subarray(part * x.length, (part + 1) * x.length),
    );
    past.push({ key, value });
    const h = sumOf(x, project(attend(query, past, head)));
    return sumOf(h, network(h));
  };
}

// Returns a function that gives the logits of the code after some codes, given a label. Keys and
// values of what it read before are kept, so only codes that differ, or are new, are read.
function buildPrior(tensors, head) {
  const blocks = [];
  for (let i = 0; `blocks.${i}.norm.weight` in tensors; i++) {
    blocks.push(attentionBlock(tensors, `blocks.${i}`, head));
  }
  const last = chain([
    layerNorm(parameters(tensors, "head.0")), affine(parameters(tensors, "head.1")),
  ]);
  const pasts = blocks.map(() => []);
  const [grid, width] = tensors["row.weight"].shape;
  let read = [];

  function embedding(name, i) {
    return tensors[`${name}.weight`].data.subarray(i * width, (i + 1) * width);
  }

  function readPlace(place, token) {
    const before = embedding(place ? "code" : "label", token);
    const row = embedding("row", Math.floor(place / grid));
    const x = sumOf(sumOf(before, row), embedding("column", place % grid));
    return blocks.reduce((h, block, i) => block(h, pasts[i]), x);
  }

  return ({ label, codes }) => {
    const tokens = [label, ...codes];
    let kept = 0; // the last place is always read, for its logits
    while (kept < tokens.length - 1 && tokens[kept] === read[kept]) kept++;
    for (const past of pasts) past.length = Math.min(past.length, kept);
    read = tokens;
    let h;
    for (let place = kept; place < tokens.length; place++) h = readPlace(place, tokens[place]);
    return last(h);
  };
}
