/** Position and equity over bars, in line with the candles above them. */

import { dateText } from "./axes.js";
import { BarView } from "./bar_view.js";
import { clipTo, drawCaption, drawDates, drawFrame, drawHeader, drawKeys, drawUpright, drawWords, fontOf, stackPanes, valueScale } from "./panes.js";

const SPLITS = ["", "training", "validation", "test", ""]; // the last: left out between parts
const TINTS = [0, 0.55, 0.28, 0, 0];
const LOG_FROM = 3;

/**
 * Money around a decision. Props: `bars`, `first`, `last`, `rows` (bar of each decision, rising), `position` and
 * `split` (one a decision), `equity` and `benchmark` (one a bar), `decision` (a bar), `hover`, `message` (why
 * there is no equity).
 * Events: `hover` {bar}, `pick` {bar}, `step` {by}.
 */
export class MoneyView extends BarView {
  constructor(host, { label = "Position and equity", height = 240, className = "awb-money" } = {}) {
    super(host, { label, height, className });
  }

  home() {
    return this.props.decision ?? null;
  }

  /** Places in `rows` of the first visible decision and of the one after the last. */
  shown() {
    const { rows } = this.props;
    const { first, last } = this.range();
    return [lowerBound(rows, first), lowerBound(rows, last + 1)];
  }

  /** Place in `rows` of the decision at a bar, or −1. */
  rowAt(bar) {
    const { rows } = this.props;
    const row = rows ? lowerBound(rows, bar) : 0;
    return rows?.[row] === bar ? row : -1;
  }

  panes(size) {
    return stackPanes(size, { position: 1, equity: 2.2 }, ["equity"]);
  }

  paint(ctx, size, theme) {
    const { bars, rows } = this.props;
    if (this.count === 0 || !rows) {
      drawWords(ctx, { left: 0, top: 0, ...size }, "nothing has been decided yet", theme.muted, theme);
      return;
    }
    const [panes, range, place, shown] = [this.panes(size), this.range(), this.place(size.width), this.shown()];
    this.paintSplits(ctx, panes, place, shown, theme);
    drawDates(ctx, panes, bars, place, range, theme);
    this.paintPosition(ctx, panes.position, place, shown, theme);
    this.paintEquity(ctx, panes.equity, place, range, theme);
    const { decision } = this.props;
    if (decision >= range.first && decision <= range.last) drawUpright(ctx, panes, place.x(decision), theme.ink, [2, 3]);
    drawHeader(ctx, size, "Position, and equity [start = 100]", "", theme);
    const keys = [["buy and hold", theme.muted, [5, 3]], ["strategy", theme.accent, []]];
    drawKeys(ctx, keys, panes.equity.left + panes.equity.width, 12, theme);
  }

  /** Tinted bands for the parts of the data, each named where it has room. */
  paintSplits(ctx, panes, place, [from, to], theme) {
    const { rows, split } = this.props;
    ctx.save();
    ctx.font = fontOf(theme);
    for (let start = from; start < to; ) {
      let end = start;
      while (end + 1 < to && split?.[end + 1] === split?.[start]) end += 1;
      const left = place.x(rows[start]) - place.step / 2;
      const width = place.x(rows[end]) + place.step / 2 - left;
      this.paintSplit(ctx, panes, left, width, split?.[start] ?? 0, theme);
      start = end + 1;
    }
    ctx.restore();
  }

  paintSplit(ctx, panes, left, width, part, theme) {
    ctx.fillStyle = theme.panel;
    ctx.globalAlpha = TINTS[part] ?? 0;
    for (const pane of Object.values(panes)) ctx.fillRect(left, pane.top, width, pane.height);
    ctx.globalAlpha = 1;
    const text = SPLITS[part] ?? "";
    if (!text) return;
    if (left > panes.equity.left + 1) drawUpright(ctx, panes, left, theme.muted, [1, 2]);
    if (ctx.measureText(text).width + 8 < width) drawCaption(ctx, panes.equity, text, theme, left + 3, width);
  }

  paintPosition(ctx, pane, place, [from, to], theme) {
    const { rows, position } = this.props;
    let top = 1;
    for (let row = from; row < to; row += 1) if (Math.abs(position[row]) > top) top = Math.abs(position[row]);
    const scale = valueScale(pane, -1.12 * top, 1.12 * top);
    scale.ticks = [-top, 0, top];
    scale.texts = scale.ticks.map((tick) => String(Number(tick.toPrecision(3))).replace("-", "−"));
    drawFrame(ctx, pane, scale, "position", theme);
    ctx.save();
    clipTo(ctx, pane);
    ctx.globalAlpha = 0.8;
    const foot = scale.y(0);
    for (let start = from; start < to; ) {
      let end = start;
      while (end + 1 < to && position[end + 1] === position[start] && rows[end + 1] === rows[end] + 1) end += 1;
      const y = scale.y(position[start]);
      const left = place.x(rows[start]) - place.step / 2;
      ctx.fillStyle = position[start] < 0 ? theme.down : theme.up;
      if (y !== foot && Number.isFinite(y)) {
        ctx.fillRect(left, Math.min(y, foot), (rows[end] - rows[start] + 1) * place.step, Math.abs(y - foot));
      }
      start = end + 1;
    }
    ctx.restore();
  }

  paintEquity(ctx, pane, place, range, theme) {
    const { equity, benchmark, message } = this.props;
    const [low, high] = extent([equity, benchmark], range);
    if (!(high >= low)) {
      drawFrame(ctx, pane, { ticks: [], texts: [] }, "equity", theme);
      drawWords(ctx, pane, message || "the backtest does not reach these bars", theme.muted, theme);
      return;
    }
    const log = low > 0 && high / low > LOG_FROM;
    const air = 0.06 * (high - low) || 1;
    const scale = log ? valueScale(pane, low / 1.06, high * 1.06, true) : valueScale(pane, low - air, high + air);
    drawFrame(ctx, pane, scale, log ? "equity [log]" : "equity", theme);
    ctx.save();
    clipTo(ctx, pane);
    this.paintCurve(ctx, benchmark, scale, place, range, theme.muted, [5, 3]);
    this.paintCurve(ctx, equity, scale, place, range, theme.accent, []);
    ctx.restore();
  }

  paintCurve(ctx, values, scale, place, { first, last }, colour, dash) {
    ctx.strokeStyle = colour;
    ctx.lineWidth = 1.5;
    ctx.lineJoin = "round";
    ctx.setLineDash(dash);
    ctx.beginPath();
    let drawing = false;
    const every = Math.max(1, Math.floor(1 / place.step)); // one point a pixel is all that shows
    // One bar beyond either edge, so that curves run through to it.
    for (let bar = Math.max(0, first - 1); bar < Math.min(values.length, last + 2); bar += 1) {
      const known = Number.isFinite(values[bar]);
      if (every > 1 && bar % every !== 0 && drawing && known) continue;
      if (known && drawing) ctx.lineTo(place.x(bar), scale.y(values[bar]));
      else if (known) ctx.moveTo(place.x(bar), scale.y(values[bar]));
      drawing = known;
    }
    ctx.stroke();
    ctx.setLineDash([]);
  }

  overlay(ctx, size, theme) {
    const { hover, rows } = this.props;
    const { first, last } = this.range();
    if (this.count === 0 || !rows || (hover ?? null) === null || hover < first || hover > last) return;
    drawUpright(ctx, this.panes(size), this.place(size.width).x(hover), theme.focus, []);
  }

  tooltipLines(bar) {
    const { bars, position, equity, benchmark, split } = this.props;
    const lines = [dateText(bars.dates[bar], bars.intraday)];
    const row = this.rowAt(bar);
    if (row < 0) lines.push("no decision here");
    else if (Number.isFinite(position[row])) lines.push(`position ${String(Number(position[row].toPrecision(3))).replace("-", "−")}`);
    if (Number.isFinite(equity[bar])) lines.push(`strategy ${equity[bar].toFixed(2)}`);
    if (Number.isFinite(benchmark[bar])) lines.push(`buy and hold ${benchmark[bar].toFixed(2)}`);
    if (SPLITS[split?.[row]]) lines.push(`${SPLITS[split[row]]} part`);
    return lines;
  }

  describe() {
    const { bars, rows, decision } = this.props;
    if (this.count === 0 || !rows) return "nothing has been decided yet";
    const { first, last } = this.range();
    const span = `${dateText(bars.dates[first], bars.intraday)} → ${dateText(bars.dates[last], bars.intraday)}`;
    const now = decision >= 0 && decision < this.count ? this.tooltipLines(decision).join(", ") : "";
    return now ? `${span}; on ${now}` : span;
  }
}

/** First place in rising `values` that holds `wanted` or more. */
function lowerBound(values, wanted) {
  let [low, high] = [0, values.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] < wanted) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Lowest and highest number among series from bar `first` to `last`. */
function extent(series, { first, last }) {
  let [low, high] = [Infinity, -Infinity];
  for (const values of series) {
    for (let bar = first; bar <= last; bar += 1) {
      if (values[bar] < low) low = values[bar];
      if (values[bar] > high) high = values[bar];
    }
  }
  return [low, high];
}
