"use strict";

const LIKELIEST = 8; // codes that are offered for the next place
const PACE = matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 60; // ms a code, at least

// Controls for a prior: it draws the codes that a panel's map lacks, one after the other.
class Sampler {
  constructor(panel, prior) {
    this.panel = panel;
    this.prior = prior;
    this.ask = startRemote();
    this.section = copyOf("sampler");
    this.section.style.setProperty("--accent", panel.run.colour);
    [this.kind, this.seed, this.temperature] = this.section.querySelectorAll("select, input");
    this.section.querySelector("h2").textContent = titleOf(prior, panel.run);
    this.showNext = newestOnly(() => this.offer());
    this.addControls();
    this.addChoices();
  }

  load() {
    const { weights, head } = this.prior;
    delete this.prior.weights;
    return this.ask("loadPrior", { weights, head });
  }

  addControls() {
    const { classes } = this.prior;
    classes.forEach((name, label) => this.kind.add(new Option(name, label)));
    this.kind.parentElement.hidden = !classes.length;
    const output = this.section.querySelector("output");
    const change = () => {
      output.textContent = format(Number(this.temperature.value), 2);
      if (this.panel.latent) this.showNext();
    };
    for (const control of [this.kind, this.seed, this.temperature]) {
      control.addEventListener("input", change);
    }
    change();
    const tools = this.section.querySelector(".buttons");
    addButton(tools, "Sample", () => this.fill((codes) => codes.fill(MISSING)));
    addButton(tools, "Another", () => {
      this.seed.value = this.number(this.seed) + 1;
      return this.fill((codes) => codes.fill(MISSING));
    });
    addButton(tools, "New lower half", () => this.fill((codes) => codes.fill(MISSING, this.half())));
    addButton(tools, "Next code", () => this.step());
    addButton(tools, "Go on", () => (this.running ? this.stop() : this.fill(() => {})));
    this.toggle = tools.lastElementChild;
  }

  addChoices() {
    const offered = this.section.querySelector(".likeliest");
    const count = Math.min(LIKELIEST, this.panel.run.codes.length);
    this.choices = Array.from({ length: count }, (_, i) => {
      addButton(offered, "", () => this.put(this.next, this.offered[i]));
      const button = offered.lastElementChild;
      button.append(
        Object.assign(document.createElement("span"), { className: "swatch" }),
        document.createElement("span"),
      );
      return button;
    });
  }

  number(input) {
    return Math.max(0, Number(input.value) || 0);
  }

  half() {
    const { height, width } = this.panel.latent;
    return Math.floor(height / 2) * width;
  }

  get codes() {
    return this.panel.latent.data;
  }

  // The first place without a code, or -1.
  get next() {
    return this.codes.indexOf(MISSING);
  }

  get origin() {
    const kind = this.prior.classes[this.kind.value];
    return `Sampled: ${kind ? `${kind}, ` : ""}seed\u00a0${this.number(this.seed)}`;
  }

  // The probability of each code at a place, given the codes before it.
  async odds(place) {
    const codes = this.codes.slice(0, place);
    const logits = await this.ask("logits", { label: Number(this.kind.value), codes });
    return probabilities(logits, this.number(this.temperature));
  }

  async put(place, code) {
    await this.panel.encoded;
    if (place !== this.next) return; // the map has changed meanwhile
    await this.panel.edit((codes) => (codes[place] = code), this.origin);
  }

  async drawNext() {
    const { next } = this;
    const odds = await this.odds(next);
    const chance = seeded(this.number(this.seed), this.codes.length)[next];
    await this.put(next, drawn(odds, chance));
  }

  async step() {
    this.stop();
    await this.panel.encoded;
    if (this.next < 0) await this.panel.edit((codes) => codes.fill(MISSING), this.origin);
    await this.drawNext();
  }

  // Changes the map, then draws all codes that it lacks.
  async fill(change) {
    await this.panel.edit(change, this.origin);
    if (this.running) return;
    this.running = true;
    await whileBusy(async () => {
      while (this.running && this.next >= 0) await Promise.all([this.drawNext(), pause(PACE)]);
    });
    this.stop();
  }

  stop() {
    this.running = false;
    this.showNext();
  }

  // Shows the map's colours, and marks the next place.
  paint(next) {
    const canvas = this.section.querySelector("canvas");
    canvas.width = canvas.height = SIZE; // and empty
    const context = canvas.getContext("2d");
    this.codes.forEach((code, place) => {
      if (code === MISSING) return;
      const { left, top, width, height } = this.panel.square(place);
      context.fillStyle = this.panel.run.codes[code].colour;
      context.fillRect(left, top, width, height);
    });
    mark(this.section.querySelector(".frame"), next < 0 ? null : this.panel.square(next));
    const count = this.codes.filter((code) => code !== MISSING).length;
    canvas.setAttribute("aria-label", `Code map with ${count} of ${this.codes.length} codes`);
  }

  // Shows which codes are likely at the next place; called whenever the map changes.
  async offer() {
    const { next } = this;
    this.toggle.textContent = this.running ? "Stop" : "Go on";
    this.toggle.disabled = next < 0;
    this.paint(next);
    this.section.querySelector(".offer").hidden = next < 0;
    if (next < 0) return;
    const odds = await this.odds(next);
    const { width } = this.panel.latent;
    const where = `Row ${Math.floor(next / width) + 1}, column ${(next % width) + 1}`;
    this.section.querySelector(".where").textContent = where;
    this.offered = [...odds.keys()].sort((i, k) => odds[k] - odds[i]);
    this.choices.forEach((button, i) => {
      const code = this.offered[i];
      const [swatch, share] = button.children;
      swatch.style.background = this.panel.run.codes[code].colour;
      share.textContent = percent(odds[code]);
      button.setAttribute("aria-label", `Code ${code}, ${share.textContent}`);
    });
    const others = this.offered.slice(this.choices.length);
    this.section.querySelector(".others").textContent = others.length
      ? `The other ${format(others.length, 0)} codes together: ` +
        percent(others.reduce((sum, code) => sum + odds[code], 0))
      : "";
  }
}

function titleOf(prior, run) {
  return `Prior of the ${run.label}: ${prior.label}`;
}

// The softmax of logits over a temperature; at 0, the most probable code has it all.
function probabilities(logits, temperature) {
  const highest = Math.max(...logits);
  const weights = temperature
    ? Float64Array.from(logits, (value) => Math.exp((value - highest) / temperature))
    : new Float64Array(logits.length).fill(1, logits.indexOf(highest), logits.indexOf(highest) + 1);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}

// The code at which the cumulative probability passes a number in [0, 1).
function drawn(odds, chance) {
  let sum = 0;
  const code = odds.findIndex((share) => (sum += share) > chance);
  return code >= 0 ? code : odds.findLastIndex((share) => share > 0); // rounding: the sum is below 1
}

function percent(share) {
  return `${format(100 * share, share < 0.0995 ? 1 : 0)}\u00a0%`;
}

function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
