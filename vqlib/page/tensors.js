"use strict";

const HALVES = Float32Array.from({ length: 1 << 16 }, (_, bits) => halfToNumber(bits));

const READERS = {
  F16: (buffer) => Float32Array.from(new Uint16Array(buffer), (bits) => HALVES[bits]),
  F32: (buffer) => new Float32Array(buffer),
};

function halfToNumber(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

function fromBase64(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

// A safetensors file: the length of its header, the header as JSON, then all tensors.
function readTensors(bytes) {
  const length = Number(new DataView(bytes.buffer).getBigUint64(0, true));
  const start = 8 + length;
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, start)));
  delete header.__metadata__;
  const tensors = {};
  for (const [name, { dtype, shape, data_offsets: [from, to] }] of Object.entries(header)) {
    tensors[name] = { shape, data: READERS[dtype](bytes.slice(start + from, start + to).buffer) };
  }
  return tensors;
}

// A tensor's numbers with its axes in another order.
function reordered({ data, shape }, axes) {
  const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1));
  const out = new Float32Array(data.length);
  let at = 0;
  function copy(depth, from) {
    if (depth === axes.length) {
      out[at++] = data[from];
      return;
    }
    const axis = axes[depth];
    for (let i = 0; i < shape[axis]; i++) copy(depth + 1, from + i * strides[axis]);
  }
  copy(0, 0);
  return out;
}
