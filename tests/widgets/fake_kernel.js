/** A model of the Explorer's traits with a made-up kernel behind it, which answers from arrays of its own. */

window.LOOKBACK = 6;
window.COUNT = 40;
window.factsOf = (heads, extra = {}) => ({
  name: "AAPL", interval: "1d", intraday: false, synthetic: false, adjusted: "splits", unit: "USD", model: "made up",
  lookback: LOOKBACK, horizon: 1, classes: ["sell", "hold", "buy"], feature_names: ["a", "b"], top: 0.5, windows: COUNT,
  layers: ["one", "two"].map((name) => ({ name, kind: "self", heads, queries: LOOKBACK, keys: LOOKBACK, block: 1 })),
  code: 'wb.Explorer(ticker="AAPL"', trained: "trained on AAPL", cost_bps: 5, fill: "next_open", confidence: 0.4,
  traded: "test days, from 2011-01-20", no_money: "", forecast_unit: "return", ...extra,
});
window.choices = {
  sources: [{ name: "sample", what: "bundled", open: false }], tickers: ["AAPL", "MSFT"],
  runs: [{ key: "one", label: "one", note: "", group: "given", disabled: false }],
  methods: ["rollout", "slow"].map((name) => ({
    name, label: name, what: name, targets: false, by_feature: false, signed: false, disabled: "",
  })),
  targets: ["", "sell", "hold", "buy"],
};
window.traitsOf = (heads) => ({
  source: "sample", ticker: "AAPL", run: "one", method: "rollout", target: "", date: "2011-01-20", layer: 0, head: "mean",
  row: -1, span: [], version: 1, choices, facts: factsOf(heads), status: "", progress: {}, error: "", picture: "",
  read_only: false,
});

/** Weights of a window: rows sum to one, every number tells version, window, layer and head. */
window.weightsOf = (version, window, layer, heads) => {
  const values = new Float32Array(heads * LOOKBACK * LOOKBACK);
  for (let row = 0; row < heads * LOOKBACK; row += 1) {
    let sum = 0;
    for (let key = 0; key < LOOKBACK; key += 1) {
      const made = 1 + ((7 * version + 3 * window + 5 * layer + row * 11 + key * (13 + row)) % 10);
      values[row * LOOKBACK + key] = made;
      sum += made;
    }
    for (let key = 0; key < LOOKBACK; key += 1) values[row * LOOKBACK + key] /= sum;
  }
  return values;
};

window.Kernel = class extends Model {
  constructor(heads) {
    super(traitsOf(heads));
    this.heads = heads;
    this.deaf = new Set(); // asks left without an answer
    this.failing = new Set();
  }

  send(ask) {
    super.send(ask);
    if (!this.deaf.has(ask.ask)) this.answer(ask);
  }

  answer(ask) {
    const version = this.state.version;
    if (this.failing.has(ask.ask)) this.tell({ kind: "failed", ask, error: "no such luck", version: ask.version });
    else if (ask.ask === "data") this.answerData(version);
    else if (ask.ask === "maps") {
      for (const window of ask.windows) {
        this.tell({ kind: "maps", version, window }, [0, 1].map((layer) => weightsOf(version, window, layer, this.heads)));
      }
    } else if (ask.ask === "scores") this.answerScores(ask, version);
  }

  answerData(version) {
    const bars = COUNT + LOOKBACK;
    const series = (f) => Float64Array.from({ length: bars }, (_, i) => f(i));
    const price = (i) => 100 + i;
    const dates = series((i) => Date.UTC(2011, 0, 1) + i * 864e5);
    this.tell({ kind: "bars", version, n: bars }, [dates, ...Array(5).fill(series(price))]);
    const rows = Int32Array.from({ length: COUNT }, (_, i) => i + LOOKBACK - 1);
    const equity = series((i) => (i < 19 ? NaN : 100 + i));
    const outputs = Float32Array.from({ length: 3 * COUNT }, (_, i) => [0.3, 0.3, 0.4][i % 3]);
    const each = (Kind, value) => new Kind(COUNT).fill(value);
    this.tell({ kind: "answers", version, windows: COUNT, outputs: 3 }, [
      rows, outputs, each(Float64Array, 0.01), each(Int8Array, 2), each(Float32Array, 1), equity, equity, each(Uint8Array, 3),
    ]);
  }

  answerScores({ method, target, windows }, version) {
    const scores = Float32Array.from({ length: windows.length * LOOKBACK }, (_, i) => (1 + (i % LOOKBACK)) / 21);
    const even = new Float32Array(LOOKBACK).fill(1 / LOOKBACK);
    this.tell(
      { kind: "scores", version, method, target, windows, time: LOOKBACK, features: 0, signed: false, null: 1,
        trust: this.trust ?? null, answered: "last bar" },
      [scores, even],
    );
  }

  tell(content, arrays = []) {
    for (const f of [...(this.heard["msg:custom"] ?? [])]) f(content, arrays.map((array) => new DataView(array.buffer)));
  }

  /** Change many traits as the kernel's one update does: all are set, then told in the given order. */
  change(traits, order = Object.keys(traits)) {
    Object.assign(this.state, traits);
    for (const name of order) for (const f of [...(this.heard[`change:${name}`] ?? [])]) f();
  }
};

window.explorer = async (heads = 4) => {
  const widget = (await import("/entry/explorer.js")).default;
  const kernel = new Kernel(heads);
  window.kernel = kernel;
  window.close = widget.render({ model: kernel, el: host(1100) });
  window.shown = document.querySelector(".awb-explorer").awb;
  await settled();
  return shown.day;
};
