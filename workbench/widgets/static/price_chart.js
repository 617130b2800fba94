/** The widget PriceChart: one view of candles, in step with the traits of its model. */

import { dateText } from "./axes.js";
import { CandleView } from "./candles.js";
import { clamp } from "./paint.js";

const CHART_COLUMNS = ["dates", "open", "high", "low", "close", "volume"];
const CHART_KEYS =
  "← → select a bar, Page ↑ ↓ a month, Home and End the ends; Shift + ← → mark, Ctrl + ← → read values, " +
  "+ − zoom (or Ctrl + wheel), Esc clears.";

/** Keeps a model's traits and the view of one place in the page alike. */
class ChartFace {
  constructor(model, el) {
    this.model = model;
    this.root = document.createElement("div");
    this.root.className = "awb awb-price-chart";
    el.append(this.root);
    this.view = new CandleView(this.root, { label: "Prices", height: model.get("height") });
    this.help = this.line("awb-notice", CHART_KEYS);
    this.live = this.line("awb-hidden", "");
    this.live.setAttribute("aria-live", "polite");
    this.frame = 0;
    this.load();
    this.listen();
  }

  line(className, textContent) {
    const line = Object.assign(document.createElement("div"), { className, textContent });
    this.root.append(line);
    return line;
  }

  listen() {
    const { view, model } = this;
    view.on("pick", ({ bar }) => this.select(bar));
    view.on("step", ({ by }) => this.select(clamp(model.get("bar") + by, 0, this.count - 1)));
    view.on("zoom", ({ first, last }) => this.write({ first, last }));
    view.on("brush", ({ span }) => this.write({ span: span === null ? [] : span.map((bar) => this.textOf(bar)) }));
    this.heard = {
      "change:facts change:bars change:rows change:scores change:none": () => this.loadSoon(),
      "change:bar change:lit": () => this.showBar(),
      "change:date": () => this.followDate(),
      "change:first change:last": () => this.showRange(),
      "change:span": () => this.showSpan(),
      "change:height": () => this.resize(),
    };
    for (const [names, callback] of Object.entries(this.heard)) model.on(names, callback);
  }

  get count() {
    return this.bars.dates.length;
  }

  textOf(bar) {
    return dateText(this.bars.dates[bar], this.bars.intraday);
  }

  /** Read prices and scores again, once for any number of changed traits. */
  loadSoon() {
    if (this.loading) return;
    this.loading = true;
    queueMicrotask(() => {
      this.loading = false;
      this.load();
    });
  }

  load() {
    const facts = this.model.get("facts");
    const values = chartNumbers(this.model.get("bars"), Float64Array);
    const n = values.length / CHART_COLUMNS.length;
    this.bars = { ...facts };
    CHART_COLUMNS.forEach((name, i) => {
      this.bars[name] = values.subarray(i * n, (i + 1) * n);
    });
    const rows = chartNumbers(this.model.get("rows"), Int32Array);
    this.rowOf = new Map(Array.from(rows, (bar, row) => [bar, row]));
    this.scores = chartNumbers(this.model.get("scores"), Float32Array);
    this.none = chartNumbers(this.model.get("none"), Float32Array);
    this.view.set({ bars: this.bars, hover: null, signed: facts.signed, scoreLabel: facts.label });
    this.showBar();
    this.showRange();
    this.showSpan();
  }

  /** The selected bar's window, with its scores and lit candles. */
  showBar() {
    const bar = this.model.get("bar");
    if (bar >= this.count) return; // the new bars come with the next message
    const lit = chartNumbers(this.model.get("lit"), Float32Array);
    const { lookback } = this.model.get("facts");
    const bars = lookback || lit.length;
    const row = this.rowOf.get(bar);
    const explained = lookback > 0 && row !== undefined;
    this.view.set({
      window: bar - bars + 1 >= 0 ? [bar - Math.max(bars, 1) + 1, bar] : null,
      scores: explained ? chartRow(this.scores, row, lookback) : null,
      none: explained && this.none.length ? chartRow(this.none, this.none.length > lookback ? row : 0, lookback) : null,
      message: lookback > 0 && !explained ? `no explained window ends on ${this.textOf(bar)}` : null,
      lit: lit.length > 0 ? lit : null,
    });
  }

  showRange() {
    this.view.set({ first: this.model.get("first"), last: this.model.get("last") });
  }

  showSpan() {
    const span = this.model.get("span").map((text) => this.barOf(text));
    this.view.set({ brush: span.length === 2 ? span : null });
  }

  /** The bar of a date's text, or the last one before it; a day without a time means its last bar. */
  barOf(text) {
    const moment = text.length > 10 ? Date.parse(`${text.replace(" ", "T")}Z`) : Date.parse(`${text}T23:59:59.999Z`);
    const after = this.bars.dates.findIndex((date) => date > moment);
    return after === -1 ? this.count - 1 : Math.max(0, after - 1);
  }

  /** Another widget may have set the date: take its bar. */
  followDate() {
    const text = this.model.get("date");
    if (this.textOf(this.model.get("bar")) === text) return;
    this.select(this.barOf(text));
  }

  /** Select a bar and bring it into view. */
  select(bar) {
    const [first, last] = [this.model.get("first"), this.model.get("last")];
    const off = bar < first ? bar - first : Math.max(0, bar - last);
    this.write({ bar, date: this.textOf(bar), first: first + off, last: last + off });
    this.live.textContent = `${this.textOf(bar)} selected. ${this.view.describe()}`;
  }

  /** Set traits at once, for what is linked in the page, and tell the kernel with the next frame. */
  write(traits) {
    for (const [name, value] of Object.entries(traits)) this.model.set(name, value);
    if (this.frame === 0) {
      this.frame = requestAnimationFrame(() => {
        this.frame = 0;
        this.model.save_changes();
      });
    }
  }

  resize() {
    this.view.element.style.height = `${this.model.get("height")}px`;
  }

  destroy() {
    for (const [names, callback] of Object.entries(this.heard)) this.model.off(names, callback);
    if (this.frame !== 0) this.model.save_changes();
    cancelAnimationFrame(this.frame);
    this.view.destroy();
    this.root.remove();
  }
}

/** The numbers of a Bytes trait, whichever way it came. */
function chartNumbers(value, Kind) {
  if (!value) return new Kind(0);
  const bytes = ArrayBuffer.isView(value)
    ? value.buffer.slice(value.byteOffset, value.byteOffset + value.byteLength)
    : value;
  return new Kind(bytes);
}

function chartRow(values, row, width) {
  return values.subarray(row * width, (row + 1) * width);
}

export default {
  render({ model, el }) {
    const face = new ChartFace(model, el);
    return () => face.destroy();
  },
};
