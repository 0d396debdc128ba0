"use strict";

const ARROWS = {
  ArrowLeft: { x: -1, y: 0 },
  ArrowRight: { x: 1, y: 0 },
  ArrowUp: { x: 0, y: -1 },
  ArrowDown: { x: 0, y: 1 },
};

// Fills an element with rows of cells, one of which the Tab key reaches and arrow keys move from.
// use(cell) is called for a cell that the pointer or the space bar touches, enter(cell) for one
// that the pointer or the focus enters, and leave() when it leaves.
function swatchGrid(element, count, columns, { use, enter, leave }) {
  const cells = Array.from({ length: count }, () => document.createElement("div"));
  element.style.setProperty("--columns", columns);
  for (let start = 0; start < count; start += columns) {
    const row = document.createElement("div");
    row.setAttribute("role", "row");
    row.append(...cells.slice(start, start + columns));
    element.append(row);
  }
  cells.forEach((cell, i) => {
    cell.setAttribute("role", "gridcell");
    cell.tabIndex = i === 0 ? 0 : -1;
  });

  function goTo(cell) {
    element.querySelector('[tabindex="0"]').tabIndex = -1;
    cell.tabIndex = 0;
    cell.focus();
  }

  function cellUnder(event) {
    return document.elementFromPoint(event.clientX, event.clientY)?.closest('[role="gridcell"]');
  }

  let touched = null;
  function touch(cell) {
    if (cell === touched || !element.contains(cell)) return;
    touched = cell;
    use(cells.indexOf(cell));
  }

  element.addEventListener("pointerdown", (event) => {
    touched = null;
    const cell = cellUnder(event);
    if (!cell) return;
    event.target.releasePointerCapture?.(event.pointerId);
    goTo(cell);
    touch(cell);
  });
  element.addEventListener("pointermove", (event) => {
    const cell = cellUnder(event);
    if (!cell || !element.contains(cell)) return;
    enter?.(cells.indexOf(cell));
    if (event.buttons) touch(cell);
  });
  element.addEventListener("keydown", (event) => {
    const at = cells.indexOf(document.activeElement);
    const step = ARROWS[event.key];
    if (step) {
      const column = (at % columns) + step.x;
      const to = at + step.x + step.y * columns;
      if (column >= 0 && column < columns && cells[to]) goTo(cells[to]);
    } else if (event.key === " " || event.key === "Enter") use(at);
    else return;
    event.preventDefault();
  });
  element.addEventListener("focusin", () => enter?.(cells.indexOf(document.activeElement)));
  for (const name of ["pointerleave", "focusout"]) element.addEventListener(name, () => leave?.());
  return cells;
}

// Arranges colours dark to light by column, and cold to warm down each column: a list of indices,
// row by row.
function arrange(colours, columns) {
  const [light, warm] = [(c) => 2 * c[0] + 5 * c[1] + c[2], (c) => c[0] - c[2]];
  const by = (value) => (i, k) => value(colours[i]) - value(colours[k]);
  const rows = Math.ceil(colours.length / columns);
  const sorted = [...colours.keys()].sort(by(light));
  const out = Array.from({ length: rows }, () => []);
  for (let column = 0, at = 0; column < columns; column++) {
    const full = colours.length - (rows - 1) * columns;
    const height = column < full ? rows : rows - 1;
    const own = sorted.slice(at, at + height).sort(by(warm));
    own.forEach((i, row) => out[row].push(i));
    at += height;
  }
  return out.flat();
}
