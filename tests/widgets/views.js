/** What the tests of the views call: made-up bars, a view of them, a pixel, a model. Follows the views' own text. */

const told = [];
const kinds = { CandleView, MoneyView };
const start = Date.UTC(2024, 0, 1);
const made = (n) => {
  const close = Float64Array.from({ length: n }, (_, i) => 100 + 10 * Math.sin(i / 9) + i / 50);
  const open = close.map((v, i) => (i % 3 ? v - 1 : v + 1));
  return {
    dates: Float64Array.from({ length: n }, (_, i) => start + 86400000 * i), close, open,
    high: close.map((v) => v + 2), low: close.map((v) => v - 2.5),
    volume: close.map((_, i) => 1234567 + i), intraday: false, name: "AAPL", synthetic: false, unit: "USD",
  };
};
const view = (kind, props, options = {}) => {
  document.getElementById("root").replaceChildren();
  told.length = 0;
  const shown = new kinds[kind](document.getElementById("root"), options);
  for (const name of ["hover", "pick", "brush", "zoom", "step"]) {
    shown.on(name, (detail) => told.push([name, detail]));
  }
  shown.set(props);
  shown.drawNow();
  return (window.shown = shown);
};
const pixel = (x, y, canvas = shown.back) => {
  const [across, down] = [canvas.width / shown.element.clientWidth, canvas.height / shown.element.clientHeight];
  return [...canvas.getContext("2d").getImageData(Math.round(x * across), Math.round(y * down), 1, 1).data];
};
const panes = () => shown.panes({ width: 678, height: 440 });

/** The four middle numbers of a candle's drawing: pixels in its body, at its ends and beyond them. */
const candlePixels = (bar) => {
  const bars = made(20);
  view("CandleView", { bars, first: 0, last: 19 });
  const { top, height } = panes().price;
  const [lowest, highest] = [Math.min(...bars.low), Math.max(...bars.high)];
  const air = 0.05 * (highest - lowest);
  const y = (value) => top + height * (1 - (value - lowest + air) / (highest - lowest + 2 * air));
  const [high, low] = [bars.high[bar], bars.low[bar]];
  const values = [(bars.open[bar] + bars.close[bar]) / 2, high - 0.3, low + 0.3, high + 0.3, low - 0.3];
  return values.map((value) => pixel(shown.place().x(bar), y(value)));
};

/** Labels on an axis of bars that stand `minutes` apart. */
const labels = (minutes, first, last, pixels) => {
  const from = Date.UTC(2023, 10, 15, 9);
  return dateTicks(Float64Array.from({ length: 5000 }, (_, i) => from + minutes * 60000 * i), first, last, pixels);
};

/** Share of colour values that differ clearly between an SVG and the view's canvas. */
const differing = async (svg) => {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
  await image.decode();
  const drawn = Object.assign(document.createElement("canvas"), { width: 678, height: 440 }).getContext("2d");
  drawn.drawImage(image, 0, 0, 678, 440);
  const [a, b] = [drawn, shown.toCanvas(1).getContext("2d")].map((ctx) => ctx.getImageData(0, 0, 678, 440).data);
  return a.reduce((sum, value, i) => sum + (Math.abs(value - b[i]) > 60), 0) / a.length;
};

/** Median time of a repaint with `n` visible bars [ms]. */
const repaint = (n) => {
  view("CandleView", {
    bars: made(n), window: [n - 100, n - 1], scores: new Float32Array(100).fill(0.01), scoreLabel: "x [%]",
  });
  const times = Array.from({ length: 9 }, () => {
    const begun = performance.now();
    shown.drawNow();
    pixel(0, 0); // waits until it is drawn
    return performance.now() - begun;
  });
  return times.sort((a, b) => a - b)[4];
};

/** A widget's model as anywidget gives it, with 400 days of prices and two windows of three bars. */
const makeModel = (name) => {
  const pack = (Kind, values) => new DataView(Kind.from(values).buffer);
  const days = Array.from({ length: 400 }, (_, i) => i * 86400000);
  const prices = Array.from({ length: 4 }, () => days.map((_, i) => 1 + i / 400)).flat();
  const facts = { lookback: 3, signed: false, label: "rollout, share [%]", intraday: false, name, unit: "USD" };
  const traits = {
    bars: pack(Float64Array, [...days, ...prices, ...days.map(() => 1)]),
    rows: pack(Int32Array, [50, 60]),
    scores: pack(Float32Array, [0.1, 0.2, 0.7, 0.3, 0.3, 0.4]),
    none: pack(Float32Array, []),
    lit: pack(Float32Array, []),
    facts: { ...facts, synthetic: false },
    bar: 60, date: "1970-03-02", first: 0, last: 100, span: [], height: 400,
  };
  const heard = {};
  return {
    traits,
    saved: 0,
    get: (key) => traits[key],
    set(key, value) {
      if (JSON.stringify(traits[key]) === JSON.stringify(value)) return;
      traits[key] = value;
      for (const call of heard[`change:${key}`] ?? []) call();
    },
    save_changes() {
      this.saved += 1;
    },
    on(keys, call) {
      for (const key of keys.split(" ")) (heard[key] ??= new Set()).add(call);
    },
    off(keys, call) {
      for (const key of keys.split(" ")) heard[key].delete(call);
    },
  };
};

const renderChart = (name) => {
  const root = document.getElementById("root");
  root.replaceChildren();
  window.model = makeModel(name);
  window.done = widget.render({ model: window.model, el: root });
};

Object.assign(window, {
  told, made, view, pixel, panes, candlePixels, labels, differing, repaint, renderChart, linearTicks, logTicks,
  tickTexts, dateText, priceText, shareText, amountText, shade, signedShade, shareInside, widget,
});
