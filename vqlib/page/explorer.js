"use strict";

const find = (id) => document.getElementById(id);
const panels = CONTENT.runs.map((run) =>
  run.codes.length ? new QuantizedPanel(run) : new GaussianPanel(run),
);
let chosen; // the picture without what was drawn on it
let picture;

function view(pixels) {
  picture = pixels;
  show(find("original").querySelector("canvas"), picture);
  find("undo").disabled = picture === chosen;
  for (const panel of panels) panel.view(picture);
}

function choose(pixels) {
  chosen = pixels;
  view(pixels);
}

function draw({ left, top, width, height }) {
  const colour = [1, 3, 5].map((at) => parseInt(find("colour").value.slice(at, at + 2), 16) / 255);
  const drawn = picture.slice();
  for (let y = top; y < top + height; y++) {
    for (let x = left; x < left + width; x++) drawn.set(colour, 3 * (y * SIZE + x));
  }
  view(drawn);
}

async function open(file) {
  try {
    choose(await readFile(file));
  } catch {
    say(`${file.name} is no picture that this browser can read.`);
    return;
  }
  say(`Showing the middle of ${file.name}, in ${SIZE} × ${SIZE} pixels.`);
  for (const input of document.querySelectorAll(".thumbs input")) input.checked = false;
}

function addThumb(pixels, i) {
  const [label, input, canvas] = ["label", "input", "canvas"].map((tag) =>
    document.createElement(tag),
  );
  Object.assign(input, { type: "radio", name: "picture", ariaLabel: `Test picture ${i + 1}` });
  input.addEventListener("change", () => {
    say("");
    choose(pixels);
  });
  show(canvas, pixels);
  label.append(input, canvas);
  find("thumbs").append(label);
}

function listen() {
  const width = () => Number(find("width").value);
  const showWidth = () => (find("width-shown").textContent = `${width()} px`);
  find("width").addEventListener("input", showWidth);
  showWidth();
  startBrush(find("original").querySelector(".frame"), width, draw);
  find("undo").addEventListener("click", () => view(chosen));
  find("file").addEventListener("change", ({ target }) => {
    if (target.files.length) open(target.files[0]);
    target.value = "";
  });
  addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  addEventListener("dragleave", ({ relatedTarget }) => {
    if (!relatedTarget) document.body.classList.remove("dropping");
  });
  addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    if (event.dataTransfer.files.length) open(event.dataTransfer.files[0]);
  });
}

function addCells(parent, texts, tag) {
  const row = parent.insertRow();
  for (const text of texts) {
    const cell = document.createElement(tag);
    cell.textContent = text;
    row.append(cell);
  }
}

function describe() {
  const raw = `${format(SIZE * SIZE * 24, 0)} bits`;
  find("original").querySelector(".bits").textContent = raw;
  find("raw-bits").textContent = raw;
  const runs = CONTENT.runs.flatMap((run) => [
    run,
    ...run.priors.map((prior) => ({ ...prior, label: titleOf(prior, run) })),
  ]);
  const has = {
    codes: CONTENT.runs.some(({ codes }) => codes.length),
    numbers: CONTENT.runs.some(({ codes }) => !codes.length),
    prior: runs.length > CONTENT.runs.length,
  };
  has["no-prior"] = has.codes && !has.prior;
  for (const part of document.querySelectorAll("[data-for]")) {
    part.hidden = !has[part.dataset.for];
  }
  const headings = [...new Set(runs.flatMap(({ facts }) => Object.keys(facts)))];
  const table = find("runs");
  addCells(table.createTHead(), ["Network", ...headings, "Run"], "th");
  for (const { label, name, facts } of runs) {
    addCells(table, [label, ...headings.map((heading) => facts[heading] ?? "–"), name], "td");
  }
}

async function start() {
  for (const panel of panels) {
    find("figures").append(panel.figure);
    find("controls").append(panel.section);
  }
  const samplers = panels.flatMap((panel) => panel.samplers);
  find("controls").after(...samplers.map((sampler) => sampler.section));
  document.body.style.setProperty("--count", Math.min(4, 1 + panels.length)); // columns
  describe();
  listen();
  const pictures = await readSheet(CONTENT.images);
  await Promise.all(panels.map((panel) => panel.load(pictures)));
  pictures.forEach(addThumb);
  find("thumbs").querySelector("input").click();
  await Promise.all(panels.map((panel) => panel.encoded));
  say("");
}

whileBusy(start);
