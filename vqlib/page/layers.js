"use strict";

// Activations are { data, height, width, channels }, channels last. A layer maps one to another.

// a (rows, inner) times b (inner, columns), in tiles of 2×4 that stay in registers.
function matmul(a, b, rows, inner, columns) {
  const out = new Float32Array(rows * columns);
  const tiledRows = rows - (rows % 2);
  const tiledColumns = columns - (columns % 4);
  for (let j = 0; j < tiledColumns; j += 4) {
    for (let i = 0; i < tiledRows; i += 2) tile(a, b, out, i, j, inner, columns);
  }
  for (let i = 0; i < rows; i++) {
    for (let j = i < tiledRows ? tiledColumns : 0; j < columns; j++) {
      out[i * columns + j] = cell(a, b, i, j, inner, columns);
    }
  }
  return out;
}

function tile(a, b, out, i, j, inner, columns) {
  let a0 = 0, a1 = 0, a2 = 0, a3 = 0, b0 = 0, b1 = 0, b2 = 0, b3 = 0;
  const above = i * inner;
  const below = above + inner;
  for (let k = 0, at = j; k < inner; k++, at += columns) {
    const p = a[above + k], q = a[below + k];
    const w0 = b[at], w1 = b[at + 1], w2 = b[at + 2], w3 = b[at + 3];
    a0 += p * w0; a1 += p * w1; a2 += p * w2; a3 += p * w3;
    b0 += q * w0; b1 += q * w1; b2 += q * w2; b3 += q * w3;
  }
  const to = i * columns + j;
  out[to] = a0; out[to + 1] = a1; out[to + 2] = a2; out[to + 3] = a3;
  const next = to + columns;
  out[next] = b0; out[next + 1] = b1; out[next + 2] = b2; out[next + 3] = b3;
}

function cell(a, b, i, j, inner, columns) {
  let sum = 0;
  for (let k = 0; k < inner; k++) sum += a[i * inner + k] * b[k * columns + j];
  return sum;
}

function addRow(data, row) {
  for (let at = 0; at < data.length; at += row.length) {
    for (let j = 0; j < row.length; j++) data[at + j] += row[j];
  }
  return data;
}

function relu(x) {
  return { ...x, data: x.data.map((value) => (value > 0 ? value : 0)) };
}

// Calls visit(place, tap, pixel) for each tap of a kernel that lies within an image: `place`
// numbers the kernel's places, `pixel` the image's pixels.
function eachTap({ height, width }, { kernel, stride, padding }, places, visit) {
  for (let place = 0; place < places.height * places.width; place++) {
    const top = Math.floor(place / places.width) * stride - padding;
    const left = (place % places.width) * stride - padding;
    for (let tap = 0; tap < kernel * kernel; tap++) {
      const y = top + Math.floor(tap / kernel);
      const x = left + (tap % kernel);
      if (y >= 0 && y < height && x >= 0 && x < width) visit(place, tap, y * width + x);
    }
  }
}

function convolution({ weight, bias }, stride, padding) {
  const [outputs, inputs, kernel] = weight.shape;
  const window = { kernel, stride, padding };
  const matrix = reordered(weight, [2, 3, 1, 0]);
  const inner = kernel * kernel * inputs;
  const side = (length) => Math.floor((length + 2 * padding - kernel) / stride) + 1;
  return (x) => {
    const out = { height: side(x.height), width: side(x.width), channels: outputs };
    const places = out.height * out.width;
    const patches = new Float32Array(places * inner);
    eachTap(x, window, out, (place, tap, pixel) => {
      const to = place * inner + tap * inputs;
      const from = pixel * inputs;
      for (let c = 0; c < inputs; c++) patches[to + c] = x.data[from + c];
    });
    return { ...out, data: addRow(matmul(patches, matrix, places, inner, outputs), bias.data) };
  };
}

function transposedConvolution({ weight, bias }, stride, padding) {
  const [inputs, outputs, kernel] = weight.shape;
  const window = { kernel, stride, padding };
  const matrix = reordered(weight, [0, 2, 3, 1]);
  const wide = kernel * kernel * outputs;
  const side = (length) => (length - 1) * stride - 2 * padding + kernel;
  return (x) => {
    const out = { height: side(x.height), width: side(x.width), channels: outputs };
    const patches = matmul(x.data, matrix, x.height * x.width, inputs, wide);
    const data = new Float32Array(out.height * out.width * outputs);
    eachTap(out, window, x, (place, tap, pixel) => {
      const from = place * wide + tap * outputs;
      const to = pixel * outputs;
      for (let c = 0; c < outputs; c++) data[to + c] += patches[from + c];
    });
    return { ...out, data: addRow(data, bias.data) };
  };
}

// PyTorch flattens channels first, and so do the weights of a dense layer.
function dense({ weight, bias }) {
  const [outputs, inputs] = weight.shape;
  const matrix = reordered(weight, [1, 0]);
  return (x) => {
    const { height, width, channels, data } = x;
    const flat = reordered({ data, shape: [height * width, channels] }, [1, 0]);
    const out = addRow(matmul(flat, matrix, 1, inputs, outputs), bias.data);
    return { height: 1, width: 1, channels: outputs, data: out };
  };
}

function unflatten(channels) {
  return ({ data }) => {
    const side = Math.round(Math.sqrt(data.length / channels));
    const shape = [channels, side * side];
    return { height: side, width: side, channels, data: reordered({ data, shape }, [1, 0]) };
  };
}

function residualBlock(first, second) {
  const inside = [relu, convolution(first, 1, 1), relu, convolution(second, 1, 0)];
  return (x) => {
    const change = chain(inside)(x).data;
    return { ...x, data: x.data.map((value, i) => value + change[i]) };
  };
}

function chain(layers) {
  return (x) => layers.reduce((h, layer) => layer(h), x);
}
