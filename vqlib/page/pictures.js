"use strict";

const CONTENT = JSON.parse(document.getElementById("content").textContent);
const SIZE = CONTENT.size;

// Pictures are Float32Arrays of size · size · 3 numbers in [0, 1], row by row.
function show(canvas, pixels) {
  canvas.width = canvas.height = SIZE;
  const context = canvas.getContext("2d");
  const image = context.createImageData(SIZE, SIZE);
  for (let i = 0; i < SIZE * SIZE; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = Math.round(255 * pixels[3 * i + c]);
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

function meanSquaredError(a, b) {
  return a.reduce((sum, value, i) => sum + (value - b[i]) ** 2, 0) / a.length;
}

function readPixels(source, width, height) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff"; // behind transparent pictures
  context.fillRect(0, 0, width, height);
  context.drawImage(source, 0, 0);
  return context.getImageData(0, 0, width, height);
}

async function readSheet(base64) {
  const sheet = new Image();
  sheet.src = `data:image/png;base64,${base64}`;
  await sheet.decode();
  const pixels = readPixels(sheet, sheet.width, SIZE);
  return Array.from({ length: sheet.width / SIZE }, (_, i) =>
    shrink(pixels, { left: i * SIZE, top: 0, side: SIZE }),
  );
}

// The picture in a file, cropped to its central square.
async function readFile(file) {
  const bitmap = await createImageBitmap(file);
  const { width, height } = bitmap;
  const side = Math.min(width, height);
  const square = { left: (width - side) / 2, top: (height - side) / 2, side };
  return shrink(readPixels(bitmap, width, height), square);
}

// A square of an image, each pixel the mean over the area that it covers.
function shrink(image, { left, top, side }) {
  const scale = side / SIZE;
  const out = new Float32Array(SIZE * SIZE * 3);
  for (let y = 0; y < SIZE; y++) {
    const rows = overlaps(top + y * scale, top + (y + 1) * scale);
    for (let x = 0; x < SIZE; x++) {
      const columns = overlaps(left + x * scale, left + (x + 1) * scale);
      for (const [row, high] of rows) {
        for (const [column, wide] of columns) {
          const from = 4 * (row * image.width + column);
          const share = (high * wide) / (scale * scale) / 255;
          for (let c = 0; c < 3; c++) {
            out[3 * (y * SIZE + x) + c] += share * image.data[from + c];
          }
        }
      }
    }
  }
  return out;
}

function overlaps(start, end) {
  const parts = [];
  for (let i = Math.floor(start); i < end; i++) {
    parts.push([i, Math.min(i + 1, end) - Math.max(i, start)]);
  }
  return parts;
}
