import { dateText } from "./axes.js";
import { Display } from "./display.js";
import { Exporter } from "./exporter.js";
import { Store } from "./store.js";

const CHOICES = ["source", "ticker", "run", "method", "target", "date", "layer", "head", "row", "span"];
const ASKED_OF_KERNEL = ["source", "ticker", "run"]; // these bring other bars, models or windows
/** The widget: what the user does, what the kernel tells, and what is shown for it. */
class Explorer extends Display {
  constructor(model, element) {
    super(model, CHOICES);
    this.build(element);
    this.exporter = new Exporter(this.root, this);
    this.connect();
    this.store = new Store(model, (kind) => this.arrived(kind));
    this.showControls();
    this.showMessages();
    this.store.load();
  }

  connect() {
    this.heard = CHOICES.map((name) => [`change:${name}`, () => this.told(name)]);
    for (const name of ["version", "choices", "facts", "status", "progress", "error", "picture"]) {
      this.heard.push([`change:${name}`, () => this.toldFact(name)]);
    }
    for (const [event, callback] of this.heard) this.model.on(event, callback);
    this.root.addEventListener("keydown", (event) => this.pressed(event));
    const { candles, money, heatmap } = this.views;
    for (const view of [candles, money]) {
      view.on("hover", ({ bar }) => this.hover(bar));
      view.on("pick", ({ bar }) => this.pick(bar));
    }
    candles.on("step", ({ by }) => this.step(by));
    candles.on("brush", ({ span }) => this.brush(span));
    candles.on("zoom", ({ first, last }) => this.zoom(first, last));
    money.on("step", ({ by }) => this.step(by));
    heatmap.on("row", ({ row }) => this.choose("row", row));
    heatmap.on("hover", (place) => this.hoverKey(place));
  }

  destroy() {
    for (const [event, callback] of this.heard) this.model.off(event, callback);
    for (const view of Object.values(this.views)) view.destroy();
    this.store.destroy();
  }

  /** What is shown now, for scripts and tests. */
  now() {
    return { ...this.state, day: this.day, version: this.store.version };
  }

  // What the user does ---------------------------------------------------------------------------

  act(name, value) {
    if (name === "day") this.goTo(value);
    else if (name === "step") this.step(value);
    else if (name === "date") this.goToDate(value);
    else if (name === "train") this.train(value);
    else if (name === "run" && value.startsWith("train:")) this.controls.arm(value);
    else this.choose(name, name === "layer" ? Number(value) : value);
  }

  /** Take a choice over, tell the kernel, and show what follows from it. */
  choose(name, value) {
    if (name === "run") this.controls.arm("");
    if (this.note) this.say("");
    if (ASKED_OF_KERNEL.includes(name) && value === "") return this.showControls();
    this.state[name] = value;
    this.exporter.forget();
    this.tell({ [name]: value });
    return this.showChoice(name);
  }

  tell(values) {
    for (const [name, value] of Object.entries(values)) this.model.set(name, value);
    this.model.save_changes();
  }

  train(key) {
    if (!key) return this.controls.arm(this.controls.trainable(this.facts.model));
    this.store.send({ ask: "train", name: key.slice("train:".length) });
    this.controls.arm("");
    return this.showControls();
  }

  step(by) {
    if (!this.ready) return;
    const count = this.store.answers.count;
    const day = by === -Infinity ? 0 : by === Infinity ? count - 1 : this.day + by;
    this.goTo(Math.max(0, Math.min(count - 1, day)));
  }

  goTo(day) {
    if (!this.ready || day === this.day) return;
    if (this.note) this.say("");
    this.day = day;
    this.state.date = this.dateOf(day);
    this.exporter.forget();
    this.tell({ date: this.state.date });
    this.showDay();
  }

  /** Go to the decision of a date; where none was taken then, to the last one before it. */
  goToDate(text) {
    if (!this.ready) return;
    const wanted = Date.parse(`${text}T23:59:59.999Z`);
    let day = 0;
    for (let i = 0; i < this.store.answers.count && this.momentOf(i) <= wanted; i += 1) day = i;
    this.showSlider();
    this.goTo(day);
    const found = this.dateOf(day);
    this.say(found.startsWith(text) ? "" : `No decision on ${text}: this is ${found}.`);
  }

  /** Say something in the status line, until the next step. */
  say(note) {
    this.note = note;
    this.showMessages();
  }

  pick(bar) {
    if (!this.ready) return;
    const day = this.dayOfBar(bar);
    if (day >= 0) this.goTo(day);
  }

  brush(span) {
    if (!this.ready) return;
    const dates = this.store.bars.dates;
    this.choose("span", span ? span.map((bar) => dateText(dates[bar], this.intraday)) : []);
  }

  zoom(first, last) {
    if (!this.ready) return;
    const bar = this.store.answers.rows[this.day];
    this.reach = [Math.max(1, bar - first), Math.max(0, last - bar)];
    this.showRange();
  }

  hover(bar) {
    for (const name of ["candles", "money"]) this.views[name].set({ hover: bar });
  }

  /** The key under the pointer of the map is a candle too. */
  hoverKey(place) {
    if (!this.ready) return;
    const { start, end, block } = this.window();
    const bar = place && this.dated() ? Math.min(end, start + place.key * block) : null;
    this.hover(bar);
  }

  pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    event.stopPropagation(); // JupyterLab would take letters and arrows for its own
    if (event.target.closest('select, textarea, input:not([type="range"])')) return;
    const cycled = { l: "layer", h: "head", m: "method" }[event.key];
    if (cycled) {
      const select = this.controls.selects[cycled];
      const values = [...select.options].filter((option) => !option.disabled).map((option) => option.value);
      this.act(cycled, values[(values.indexOf(select.value) + 1) % values.length]);
    } else if (event.key === "Escape" && this.state.span.length) {
      this.choose("span", []);
    }
  }

  // What the kernel tells ------------------------------------------------------------------------

  told(name) {
    const value = this.model.get(name);
    if (JSON.stringify(value) === JSON.stringify(this.state[name])) return;
    this.state[name] = value;
    if (this.model.get("version") !== this.store.version) return; // all is shown anew when the version is told
    if (name === "date" && this.ready) this.day = this.dayOf(value);
    this.showChoice(name);
  }

  toldFact(name) {
    if (name === "version") {
      for (const choice of CHOICES) this.state[choice] = this.model.get(choice); // told in any order
      this.store.clear();
      this.day = -1;
      this.store.load();
    }
    if (this.model.get("version") !== this.store.version) return;
    if (name === "choices" || name === "facts") this.showControls();
    if (name === "facts" && this.ready) this.showBars();
    this.showMessages();
  }

  arrived(kind) {
    if (kind === "silent") return this.showMessages();
    if (kind === "maps") return this.showMap();
    if (kind === "scores") return this.showScores();
    if (kind === "failed") {
      this.showMap();
      this.showScores();
      return this.showMessages();
    }
    if (!this.ready) return undefined;
    this.day = this.dayOf(this.state.date);
    this.reach = null;
    this.root.classList.add("awb-loaded");
    this.showControls();
    this.showBars();
    this.showDay();
    return this.showMessages();
  }

}

export default {
  render({ model, el }) {
    const explorer = new Explorer(model, el);
    return () => explorer.destroy();
  },
};
