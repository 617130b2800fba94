import { AnswerPanel } from "./answer.js";
import { dateText } from "./axes.js";
import { CandleView } from "./candles.js";
import { Controls, button } from "./controls.js";
import { FeatureView } from "./features.js";
import { HeatmapView, fuseHeads } from "./heatmap.js";
import { Messages } from "./messages.js";
import { MoneyView } from "./money.js";
import { Scene } from "./scene.js";
import { selectionText, sumInside } from "./selection.js";

const PARTS = [
  // name, its place, what it is for readers who cannot see it
  ["candles", "left", "Prices with the window explained"],
  ["features", "left", "Scores by feature and bar"],
  ["money", "left", "Position and equity"],
  ["conventions", "left", ""],
  ["heatmap", "right", "Attention map"],
  ["answer", "right", ""],
  ["selection", "right", ""],
  ["trust", "right", ""],
];

/** The scene on the page: controls, views and words, each shown from the state and the store. */
export class Display extends Scene {
  build(element) {
    this.root = document.createElement("div");
    this.root.className = "awb awb-explorer";
    this.root.setAttribute("role", "group");
    this.root.setAttribute("aria-label", "Attention explorer");
    this.root.dataset.lmSuppressShortcuts = "true";
    this.root.awb = this;
    element.append(this.root);
    this.controls = new Controls(this.root, (name, value) => this.act(name, value));
    this.messages = new Messages(this.root, () => this.store.send({ ask: "cancel" }));
    const body = this.root.appendChild(division("awb-body"));
    const places = { left: body.appendChild(division("awb-left")), right: body.appendChild(division("awb-right")) };
    this.parts = {};
    for (const [name, place] of PARTS) {
      this.parts[name] = places[place].appendChild(division(`awb-part awb-part-${name}`));
      this.parts[name].dataset.awb = name;
    }
    const kinds = { candles: CandleView, features: FeatureView, money: MoneyView, heatmap: HeatmapView };
    this.views = {};
    for (const [name, , label] of PARTS.filter((part) => part[2])) {
      this.views[name] = new kinds[name](this.parts[name], { label, height: null, className: `awb-${name}` });
    }
    this.parts.features.hidden = true;
    this.retry = button("retry", "Try again", "Ask again for what could not be had", () => {
      this.wish(true);
      this.showScores();
      this.showMap();
    });
    this.retry.hidden = true;
    this.parts.candles.append(this.retry);
    this.panel = new AnswerPanel(this.parts.answer);
  }

  showControls() {
    const { model, state, facts } = this;
    this.controls.show({ choices: model.get("choices"), facts, state, readOnly: model.get("read_only") });
  }

  showMessages() {
    this.messages.show({
      facts: this.facts,
      note: this.note,
      status: this.model.get("status"),
      progress: this.model.get("progress"),
      error: this.model.get("error"),
      silent: this.store?.silent,
      picture: this.ready ? "" : this.model.get("picture"),
    });
  }

  showChoice(name) {
    this.showControls();
    if (!this.ready) return;
    if (name === "date") this.showDay();
    else if (["layer", "head", "row"].includes(name)) this.showMap();
    else if (["method", "target"].includes(name)) this.wish(true), this.showScores();
    else if (name === "span") this.showBrush();
  }

  wish(retry = false) {
    this.store.wish(this.day, this.state.method, this.state.target, retry);
  }

  showBars() {
    const { facts, intraday } = this;
    const bars = { ...this.store.bars, intraday, name: facts.name, synthetic: facts.synthetic, unit: facts.unit };
    const { rows, position, equity, benchmark, split } = this.store.answers;
    const traded = equity.some((value) => Number.isFinite(value));
    const message = traded ? null : facts.no_money || "These answers were not traded.";
    this.views.candles.set({ bars, hover: null });
    this.views.money.set({ bars, rows, position, equity, benchmark, split, hover: null, message });
    this.parts.conventions.textContent = traded ? conventionsText(facts) : message;
  }

  showDay() {
    this.wish();
    this.showSlider();
    this.showRange();
    this.showAnswer();
    this.showMap();
    this.showScores();
    this.showBrush();
  }

  showSlider() {
    const { count } = this.store.answers;
    this.controls.showDay(this.day, count, this.dateOf(this.day), [this.dateOf(0), this.dateOf(count - 1)]);
  }

  showRange() {
    const { lookback } = this.facts;
    const { start, end } = this.window();
    const [before, after] = this.reach ?? [Math.round(1.6 * lookback), Math.max(8, Math.round(0.3 * lookback))];
    const range = { first: Math.max(0, end - before), last: Math.min(this.store.bars.dates.length - 1, end + after) };
    this.views.candles.set({ ...range, window: [start, end] });
    this.views.money.set({ ...range, decision: end });
  }

  showAnswer() {
    const { answers } = this.store;
    const { facts, day } = this;
    const outputs = answers.outputs.subarray(day * answers.width, (day + 1) * answers.width);
    const classes = facts.classes ?? [];
    this.panel.set({
      classes,
      probabilities: classes.length ? outputs : null,
      forecast: classes.length ? null : outputs[0],
      happened: answers.happened[day],
      moved: answers.moved[day],
      horizon: facts.horizon,
      unit: facts.forecast_unit,
      position: answers.position[day],
      confidence: facts.confidence,
      traded: Number.isFinite(answers.equity[answers.rows[day]]),
      split: answers.split[day],
      date: this.momentOf(day),
      intraday: this.intraday,
    });
  }

  showMap() {
    if (!this.ready || this.day < 0) return;
    const { layers = [], top, no_attention: none } = this.facts;
    this.parts.heatmap.classList.toggle("awb-none", layers.length === 0);
    const layer = layers[this.state.layer];
    const maps = layer ? this.store.mapsOf(this.day) : null;
    if (!maps) {
      const failed = this.store.failureOf("maps");
      this.views.heatmap.set({ values: null, message: layer ? failed || "Reading the attention of this day…" : none });
      return this.lightRow(null);
    }
    const { heads, queries, keys, block } = layer;
    const head = /^\d+$/.test(this.state.head) ? Number(this.state.head) : this.state.head;
    const values = fuseHeads(maps[this.state.layer], [heads, queries, keys], head);
    const { start, end } = this.window();
    const dates = this.store.bars.dates.subarray(start, end + 1);
    const headText = typeof head === "number" ? `head ${head + 1} of ${heads}` : `${head} of ${heads} heads`;
    const row = this.state.row < queries ? this.state.row : -1;
    this.views.heatmap.set({
      values, queries, keys, block, top, row,
      queryDates: this.dated("queries") ? dates : null,
      keyDates: this.dated("keys") ? dates : null,
      intraday: this.intraday,
      title: `${layer.name} (layer ${this.state.layer + 1} of ${layers.length}) · ${headText}`,
      message: null,
    });
    return this.lightRow(row < 0 ? null : values.subarray(row * keys, (row + 1) * keys), row);
  }

  /** Light the candles up that a row of the map looks at. */
  lightRow(weights, row) {
    const { start, end, block } = this.window();
    this.litRow = null;
    if (weights && this.dated()) {
      const lit = new Float32Array(end - start + 1).map((_, i) => weights[Math.floor(i / block)]); // cells are means, so shares a bar
      const of = this.dated("queries") ? `the row of ${this.cellText(row)}` : `row ${row + 1}`;
      this.litRow = { lit, of };
    }
    this.views.candles.set({ lit: this.litRow?.lit ?? null, litLabel: this.litRow ? `Lit: looked at by ${this.litRow.of} more than an average bar` : "" });
    this.showSelection();
  }

  showScores() {
    if (!this.ready || this.day < 0) return;
    const { method, target } = this.state;
    const found = this.store.scoresOf(method, target, this.day);
    const failed = this.store.failureOf("scores", method, target);
    const label = this.methodOf()?.label ?? method;
    const answer = found && this.methodOf()?.targets ? ` for ${found.answered}` : "";
    this.found = found;
    this.byBar = found ? summed(found) : null;
    this.views.candles.set({
      scores: this.byBar,
      none: found?.none ?? null,
      signed: Boolean(found?.signed),
      scoreLabel: found?.signed ? `${label}: contribution to ${found.answered}` : `${label}${answer}: share [%]`,
      message: found ? null : failed || `Computing ${label}…`,
    });
    this.showFeatures(found);
    this.showTrust(found, label);
    this.showSelection();
    this.showRetry();
  }

  /** The scores of each feature by bar, as columns by name; none where the method has no features. */
  featureColumns() {
    const { found } = this;
    if (!found?.features) return {};
    const column = (f) => Float32Array.from({ length: found.time }, (_, t) => found.scores[t * found.features + f]);
    return Object.fromEntries(this.facts.feature_names.map((name, f) => [`score_of_${name}`, column(f)]));
  }

  showFeatures(found) {
    const shown = Boolean(found?.features);
    this.parts.features.hidden = !shown;
    if (!shown) return;
    const { start, end } = this.window();
    this.views.features.set({
      scores: found.scores,
      names: this.facts.feature_names,
      dates: this.store.bars.dates.subarray(start, end + 1),
      intraday: this.intraday,
      signed: found.signed,
      message: null,
    });
  }

  /** Offer another try where something could not be had on this day. */
  showRetry() {
    this.retry.hidden = !this.store.failed;
  }

  showTrust(found, label) {
    const trust = found?.trust ? `Trust: ${found.trust}` : "Trust: not measured";
    const words = found?.trust ? "" : ` for ${label}: the scores have not been tested against the model's answers.`;
    this.parts.trust.textContent = trust + words;
  }

  showBrush() {
    this.views.candles.set({ brush: this.span() });
    this.showSelection();
  }

  /** Say in words what the selected row and the brushed span hold. */
  showSelection() {
    const { start, end } = this.window();
    const { none, signed } = this.views.candles.props;
    const text = selectionText({
      attends: Boolean(this.facts.layers?.length),
      row: this.litRow,
      span: this.span()?.map((bar) => bar - start),
      spanDates: this.state.span,
      dateOf: (i) => dateText(this.store.bars.dates[start + i], this.intraday),
      length: end - start + 1,
      scores: this.byBar,
      none,
      signed,
    });
    if (this.parts.selection.textContent !== text) this.parts.selection.textContent = text;
  }
}

function division(className) {
  return Object.assign(document.createElement("div"), { className });
}

/** How the equity came about, in words. */
function conventionsText({ traded, fill, cost_bps: cost, confidence, classes }) {
  const acts = classes?.length ? ` An answer acts when it is at least ${Number((100 * confidence).toPrecision(3))} % sure.` : "";
  return `Equity of ${traded || "these days"}: filled at the ${fill.replace("_", " ")}, ${cost} bp a side.${acts}`;
}

/** Scores by bar: the sum over features where there are any. */
function summed({ scores, time, features }) {
  if (!features) return scores;
  return new Float32Array(time).map((_, t) => sumInside(scores, [t * features, (t + 1) * features - 1]));
}
