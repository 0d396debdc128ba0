"use strict";

const SLIDERS = 8;
const REACH = 4; // of a slider, in standard deviations of the prior
const INFORMATIVE = 0.1; // bits
const MISSING = -1; // the code of a place that has none yet

function copyOf(template) {
  return document.getElementById(template).content.firstElementChild.cloneNode(true);
}

function addButton(parent, text, action) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = text;
  button.addEventListener("click", () => action(button));
  parent.append(button);
}

// One run: a figure with what the decoder makes of the latent, and a section with controls.
class Panel {
  constructor(run, template) {
    this.run = run;
    this.samplers = [];
    this.ask = startRemote();
    this.figure = copyOf("figure");
    this.section = copyOf(template);
    this.figure.style.setProperty("--accent", run.colour);
    this.section.style.setProperty("--accent", run.colour);
    this.figure.querySelector(".label").textContent = run.label;
    this.figure.querySelector(".bits").textContent = `${format(run.bits, 0)} bits`;
    this.canvas = this.figure.querySelector("canvas");
    this.encode = newestOnly(async (picture) => {
      this.latent = await this.ask("encode", picture);
      this.origin = null;
      this.showLatent();
      await this.draw();
    });
    this.decode = newestOnly(() => this.draw());
  }

  async load() {
    await this.ask("load", this.run.weights);
    delete this.run.weights;
  }

  view(picture) {
    this.picture = picture;
    this.encoded = this.encode(picture);
    return this.encoded;
  }

  // Changes the latent once the picture is encoded, so that the change is not overwritten. The
  // caption tells where a latent comes from if it is not the picture's.
  async edit(change, origin = null) {
    await this.encoded;
    change(this.latent.data);
    this.origin = origin;
    this.showLatent();
    await this.decode();
  }

  async draw() {
    const pixels = await this.ask("decode", this.latent);
    show(this.canvas, pixels);
    const mse = meanSquaredError(pixels, this.picture);
    const psnr = format(-10 * Math.log10(mse), 1);
    const error = `NMSE\u00a0${format(mse / this.run.variance, 3)}, PSNR\u00a0${psnr}\u00a0dB`;
    const caption = this.origin ?? error;
    this.figure.querySelector(".error").textContent = caption;
    this.canvas.setAttribute("aria-label", `Drawn by the ${this.run.label}: ${caption}`);
  }

  addActions(actions) {
    const tools = this.section.querySelector(".tools");
    for (const [text, action] of Object.entries(actions)) addButton(tools, text, action);
  }
}

class GaussianPanel extends Panel {
  constructor(run) {
    super(run, "gaussian-panel");
    this.addActions({
      "Back to the picture": () => this.view(this.picture),
      Random: () => this.edit((z) => z.forEach((_, i) => (z[i] = gaussian()))),
    });
  }

  async load(pictures) {
    await super.load();
    const { data: bits, ...shape } = await this.ask("information", pictures);
    const order = [...bits.keys()].sort((i, k) => bits[k] - bits[i]);
    const carrying = bits.filter((value) => value > INFORMATIVE).length;
    const count = format(bits.length, 0);
    this.section.querySelector("h2").textContent = `${this.run.label}: ${count} numbers`;
    this.section.querySelector(".count").textContent = count;
    this.section.querySelector(".informative").textContent = format(carrying, 0);
    this.sliders = order
      .slice(0, SLIDERS)
      .map((latent) => this.addSlider(latent, indexOf(latent, shape), bits[latent]));
  }

  addSlider(latent, index, bits) {
    const label = document.createElement("label");
    const name = document.createElement("span");
    name.append("z", Object.assign(document.createElement("sub"), { textContent: index }));
    const carried = document.createElement("span");
    carried.className = "bits";
    carried.textContent = `${format(bits, 1)} bits`;
    const input = document.createElement("input");
    Object.assign(input, { type: "range", min: -REACH, max: REACH, step: 0.05 });
    const output = document.createElement("output");
    input.addEventListener("input", () => this.edit((z) => (z[latent] = Number(input.value))));
    label.append(name, carried, input, output);
    this.section.querySelector(".sliders").append(label);
    return { latent, input, output };
  }

  showLatent() {
    for (const { latent, input, output } of this.sliders) {
      input.value = this.latent.data[latent];
      output.textContent = format(this.latent.data[latent], 2);
    }
  }
}

class QuantizedPanel extends Panel {
  constructor(run) {
    super(run, "quantized-panel");
    const count = run.codes.length;
    this.addActions({
      "Back to the picture": () => this.view(this.picture),
      Shuffle: () => this.edit(shuffle),
      Random: () => this.edit((codes) => codes.forEach((_, i) => (codes[i] = any(count)))),
      Fill: () => this.edit((codes) => codes.fill(this.pen)),
      "Take from the map": (button) => this.setPicking(button.ariaPressed !== "true"),
    });
    this.pickButton = [...this.section.querySelectorAll("button")].at(-1);
    this.setPicking(false);
    this.buildBook();
    this.samplers = run.priors.map((prior) => new Sampler(this, prior));
  }

  async load() {
    await Promise.all([super.load(), ...this.samplers.map((sampler) => sampler.load())]);
  }

  // Leaves empty what the decoder cannot know yet.
  async draw() {
    const { data } = this.latent;
    const missing = [...data.keys()].filter((place) => data[place] === MISSING);
    await super.draw();
    const context = this.canvas.getContext("2d");
    for (const place of missing) {
      const { left, top, width, height } = this.square(place);
      context.clearRect(left, top, width, height);
    }
  }

  buildBook() {
    const { codes } = this.run;
    const colours = codes.map(({ colour }) =>
      [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16)),
    );
    const columns = Math.min(32, 2 ** Math.round(Math.log2(2 * codes.length) / 2));
    const order = arrange(colours, columns);
    const cells = swatchGrid(this.section.querySelector(".book"), codes.length, columns, {
      use: (i) => this.take(order[i]),
    });
    this.book = [];
    order.forEach((code, i) => {
      cells[i].style.backgroundColor = codes[code].colour;
      cells[i].classList.toggle("unused", codes[code].unused);
      this.book[code] = cells[i];
    });
    const unused = codes.filter((code) => code.unused).length;
    this.section.querySelector(".unused").textContent = unused
      ? `A stroke marks the ${format(unused, 0)} that training left unused.`
      : "Training used them all.";
    this.take(order.at(-1));
  }

  buildMap() {
    const { height, width } = this.latent;
    this.section.querySelector("h2").textContent = `${this.run.label}: ${height}\u00a0×\u00a0${width} codes`;
    const frame = this.figure.querySelector(".frame");
    this.map = swatchGrid(this.section.querySelector(".map"), height * width, width, {
      use: (i) => this.touch(i),
      enter: (i) => mark(frame, this.square(i)),
      leave: () => mark(frame, null),
    });
  }

  // The pixels of a place of the map.
  square(place) {
    const [width, height] = [SIZE / this.latent.width, SIZE / this.latent.height];
    const row = Math.floor(place / this.latent.width);
    return { left: (place % this.latent.width) * width, top: row * height, width, height };
  }

  touch(place) {
    if (!this.picking) {
      this.edit((codes) => (codes[place] = this.pen));
      return;
    }
    if (this.latent.data[place] === MISSING) return;
    this.setPicking(false);
    this.take(this.latent.data[place]);
  }

  setPicking(picking) {
    this.picking = picking;
    this.pickButton.ariaPressed = String(picking);
  }

  take(code) {
    this.book[this.pen]?.setAttribute("aria-selected", "false");
    this.pen = code;
    this.book[code].setAttribute("aria-selected", "true");
    this.section.querySelector(".dot").style.background = this.run.codes[code].colour;
    this.section.querySelector(".name").textContent =
      `code ${code} of ${format(this.book.length, 0)}`;
  }

  showLatent() {
    if (!this.map) this.buildMap();
    const { data, width } = this.latent;
    data.forEach((code, i) => {
      const where = `Row ${Math.floor(i / width) + 1}, column ${(i % width) + 1}`;
      const what = code === MISSING ? "no code yet" : `code ${code}`;
      this.map[i].style.backgroundColor = this.run.codes[code]?.colour ?? "";
      this.map[i].setAttribute("aria-label", `${where}: ${what}`);
    });
    const used = new Set(data);
    this.book.forEach((cell, code) => {
      const { unused } = this.run.codes[code];
      const notes = [unused && "unused in training", used.has(code) && "in the map"];
      cell.classList.toggle("in-map", used.has(code));
      cell.setAttribute("aria-label", [`Code ${code}`, ...notes.filter(Boolean)].join(", "));
    });
    for (const sampler of this.samplers) sampler.showNext();
  }
}

function format(number, digits) {
  return number.toLocaleString("en", {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
}

// The index of a latent as PyTorch counts: its number, or channel, row and column.
function indexOf(latent, { height, width, channels }) {
  const [place, channel] = [Math.floor(latent / channels), latent % channels];
  const onGrid = height * width > 1;
  return onGrid ? [channel, Math.floor(place / width), place % width].join() : channel;
}
