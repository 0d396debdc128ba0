"use strict";

// Draws a rectangle around pixels of a canvas that lies in a frame with a cursor; null hides it.
function mark(frame, rectangle) {
  const cursor = frame.querySelector(".cursor");
  cursor.hidden = !rectangle;
  if (!rectangle) return;
  for (const [name, value] of Object.entries(rectangle)) {
    cursor.style[name] = `${(100 * value) / SIZE}%`;
  }
}

// Lets the pointer and the keyboard paint squares on a picture; draw(rectangle) does it.
function startBrush(frame, width, draw) {
  const canvas = frame.querySelector("canvas");
  let place = { x: SIZE / 2, y: SIZE / 2 };

  function square({ x, y }) {
    const before = Math.floor((width() - 1) / 2);
    const left = Math.max(0, x - before);
    const top = Math.max(0, y - before);
    return {
      left,
      top,
      width: Math.min(SIZE, x - before + width()) - left,
      height: Math.min(SIZE, y - before + width()) - top,
    };
  }

  function move(to) {
    place = to;
    mark(frame, square(place));
  }

  function stroke(to) {
    const from = place;
    const steps = Math.max(Math.abs(to.x - from.x), Math.abs(to.y - from.y), 1);
    for (let i = 1; i <= steps; i++) {
      const between = (a, b) => Math.round(a + ((b - a) * i) / steps);
      move({ x: between(from.x, to.x), y: between(from.y, to.y) });
      draw(square(place));
    }
  }

  function under(event) {
    const box = canvas.getBoundingClientRect();
    const pixel = (at, start, length) =>
      Math.min(SIZE - 1, Math.max(0, Math.floor(((at - start) / length) * SIZE)));
    return {
      x: pixel(event.clientX, box.left, box.width),
      y: pixel(event.clientY, box.top, box.height),
    };
  }

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    move(under(event));
    draw(square(place));
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.buttons) stroke(under(event));
    else move(under(event));
  });
  canvas.addEventListener("keydown", (event) => {
    const step = ARROWS[event.key];
    if (step) {
      const inside = (value) => Math.min(SIZE - 1, Math.max(0, value));
      move({ x: inside(place.x + step.x), y: inside(place.y + step.y) });
    } else if (event.key === " ") draw(square(place));
    else return;
    event.preventDefault();
  });
  canvas.addEventListener("focus", () => {
    if (canvas.matches(":focus-visible")) move(place);
  });
  for (const name of ["pointerleave", "blur"]) {
    canvas.addEventListener(name, () => mark(frame, null));
  }
}
