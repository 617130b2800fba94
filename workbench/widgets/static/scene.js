import { dateText } from "./axes.js";

/** What is looked at, and what is known of its days: windows, bars and dates. */
export class Scene {
  constructor(model, names) {
    this.model = model;
    this.state = Object.fromEntries(names.map((name) => [name, model.get(name)]));
    this.day = -1; // number of the window shown
    this.reach = null; // bars shown before and after the decision, null for the usual
    this.store = null;
    this.note = ""; // what the page itself has to say of the last step
  }

  get ready() {
    return Boolean(this.store?.bars && this.store.answers);
  }

  get facts() {
    return this.model.get("facts");
  }

  get intraday() {
    return Boolean(this.facts.intraday);
  }

  momentOf(day) {
    return this.store.bars.dates[this.store.answers.rows[day]];
  }

  dateOf(day) {
    return dateText(this.momentOf(day), this.intraday);
  }

  /** The day decided on a date; where none was, the last one before it. */
  dayOf(text) {
    const { count } = this.store.answers;
    let before = 0;
    for (let day = 0; day < count; day += 1) {
      const date = this.dateOf(day);
      if (date === text) return day;
      if (date < text) before = day;
    }
    return before;
  }

  /** The dates of a cell of the map, a span where it holds several bars. */
  cellText(cell) {
    const { start, end, block } = this.window();
    const dates = [cell * block, (cell + 1) * block - 1].map((i) => dateText(this.store.bars.dates[Math.min(end, start + i)], this.intraday));
    return dates[0] === dates[1] ? dates[0] : dates.join(" → ");
  }

  /** The day decided at a bar, −1 if none. */
  dayOfBar(bar) {
    return this.store.answers.rows.indexOf(bar);
  }

  /** Bars of the window shown, and how many of them one cell of the map holds. */
  window() {
    const end = this.store.answers.rows[this.day];
    const block = this.facts.layers?.[this.state.layer]?.block ?? 1;
    return { start: end - this.facts.lookback + 1, end, block };
  }

  /** Whether the keys of the layer shown are the bars of the window. */
  dated(side = "keys") {
    const layer = this.facts.layers?.[this.state.layer];
    return Boolean(layer) && Math.ceil(this.facts.lookback / layer.block) === layer[side];
  }

  /** Bars of the brushed span, null where there is none or its dates are not in the data. */
  span() {
    if (this.state.span.length !== 2) return null;
    const [from, to] = this.state.span.map((text) => this.barOf(text));
    return from < 0 || to < 0 ? null : [Math.min(from, to), Math.max(from, to)];
  }

  barOf(text) {
    return this.store.bars.dates.findIndex((ms) => dateText(ms, this.intraday) === text);
  }

  /** What the catalogue of methods says of the one chosen. */
  methodOf() {
    return this.model.get("choices").methods?.find(({ name }) => name === this.state.method) ?? null;
  }
}
