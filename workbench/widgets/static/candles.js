/** Candles, volume and scores above one axis of dates, with the explained window shaded. */

import { amountText, dateText, priceText, shareText } from "./axes.js";
import { BrushView } from "./brush_view.js";
import { drawPrices, drawVolumes, priceRange, volumeTop } from "./candle_marks.js";
import { clipTo, drawDates, drawFrame, drawHeader, drawUpright, drawWords, stackPanes, valueScale } from "./panes.js";
import { arePercent, drawScoreCaption, drawScores, scoreFault, scoreScale, scoreText, shareInside } from "./score_marks.js";

/**
 * Prices and what they mean to a model. Props:
 * - `bars` {dates, open, high, low, close, volume, intraday, name, synthetic, unit}, NaN for what is unknown;
 * - `first`, `last`: the visible bars; `window`: [first, last] bar of what is explained, the last the decision;
 * - `scores`, `none`: one a window bar, and what an indifferent model would show; `signed`, `scoreLabel`,
 *   which holds "%" for shares; `message`: words instead of them;
 * - `lit`, `litLabel`: weights over the window's bars that light candles up; `brush`: [from, to]; `hover`: a bar.
 *
 * Events: `hover` {bar}, `pick` {bar}, `brush` {span}, `zoom` {first, last}, `step` {by}, where ±Infinity means
 * the ends. Keys: ← → Page Home End step; with Ctrl they move the cursor; Shift with ← → marks; + − zoom;
 * Enter picks; Esc clears.
 */
export class CandleView extends BrushView {
  constructor(host, { label = "Prices", height = 440, className = "awb-candles" } = {}) {
    super(host, { label, height, className });
  }

  home() {
    return this.props.window?.[1] ?? null;
  }

  /** Places of the panes there are now. */
  panes(size) {
    const { bars, scores, message } = this.props;
    const parts = { price: 5 };
    if (volumeTop(bars, this.range()) > 0) parts.volume = 1.1;
    if (scores || message) parts.scores = 1.9;
    return stackPanes(size, parts, ["scores"]);
  }

  paint(ctx, size, theme) {
    const { bars, message } = this.props;
    if (this.count === 0) {
      const whole = { left: 0, top: 0, ...size };
      drawWords(ctx, whole, message || "no prices yet", theme.muted, theme);
      return;
    }
    const [panes, range, place] = [this.panes(size), this.range(), this.place(size.width)];
    drawDates(ctx, panes, bars, place, range, theme);
    this.paintWindow(ctx, panes, place, theme);
    this.paintPrices(ctx, panes.price, range, place, theme);
    if (panes.volume) this.paintVolume(ctx, panes.volume, range, place, theme);
    if (panes.scores) this.paintScores(ctx, panes.scores, place, theme);
    this.paintDecision(ctx, panes, place, theme);
    drawHeader(ctx, size, this.title(), this.note(), theme);
  }

  title() {
    const { bars } = this.props;
    const { first, last } = this.range();
    const span = `${dateText(bars.dates[first], bars.intraday)} → ${dateText(bars.dates[last], bars.intraday)}`;
    return [bars.synthetic ? "SYNTHETIC" : "", bars.name ?? "", span].filter(Boolean).join(" · ");
  }

  /** What the lit candles mean. */
  note() {
    const { lit, litLabel } = this.props;
    return this.litTop() > 0 && lit ? (litLabel ?? "lit: the bars that the selected row looks at") : "";
  }

  litTop() {
    const { lit, window } = this.props;
    if (!lit || !window) return 0;
    let top = 0;
    for (const weight of lit) if (weight > top) top = weight;
    return top;
  }

  /** Weight of the selected row on a bar, or null; blocks of bars share theirs. */
  litAt(bar) {
    const { lit, window } = this.props;
    if (!lit?.length || !window || bar < window[0] || bar > window[1]) return null;
    const bars = window[1] - window[0] + 1;
    return lit[Math.floor(((bar - window[0]) * lit.length) / bars)] ?? null;
  }

  paintWindow(ctx, panes, place, theme) {
    const { window } = this.props;
    if (!window) return;
    ctx.fillStyle = theme.window;
    for (const pane of Object.values(panes)) {
      const left = Math.max(pane.left, place.x(window[0]) - place.step / 2);
      const right = Math.min(pane.left + pane.width, place.x(window[1]) + place.step / 2);
      if (right > left) ctx.fillRect(left, pane.top, right - left, pane.height);
    }
  }

  paintPrices(ctx, pane, range, place, theme) {
    const { bars } = this.props;
    const prices = priceRange(bars, range);
    if (prices === null) {
      drawWords(ctx, pane, "no price is known here", theme.muted, theme);
      return;
    }
    const scale = valueScale(pane, prices.low, prices.high);
    drawFrame(ctx, pane, scale, bars.unit ? `price [${bars.unit}]` : "price [as quoted]", theme);
    ctx.save();
    clipTo(ctx, pane);
    this.paintLit(ctx, pane, range, place, theme);
    drawPrices(ctx, bars, range, place, scale, theme);
    ctx.restore();
  }

  paintLit(ctx, pane, { first, last }, place, theme) {
    const top = this.litTop();
    if (top === 0) return;
    const even = this.props.lit.reduce((sum, weight) => sum + weight, 0) / this.props.lit.length;
    const full = Math.max(top, 2 * even); // a row that hardly prefers any bar shall not look as if it did
    ctx.save();
    ctx.fillStyle = theme.lit;
    const [start, end] = [Math.max(first, this.props.window[0]), Math.min(last, this.props.window[1])];
    for (let bar = start; bar <= end; bar += 1) {
      const weight = this.litAt(bar);
      if (!(weight > even)) continue; // what is looked at no more than the average bar stays dark
      ctx.globalAlpha = (theme.dark ? 0.6 : 0.85) * ((weight - even) / (full - even));
      ctx.fillRect(place.x(bar) - place.step / 2, pane.top, place.step, pane.height);
    }
    ctx.restore();
  }

  paintVolume(ctx, pane, range, place, theme) {
    const scale = valueScale(pane, 0, 1.08 * volumeTop(this.props.bars, range));
    scale.texts = scale.ticks.map(amountText);
    drawFrame(ctx, pane, scale, "volume", theme);
    ctx.save();
    clipTo(ctx, pane);
    drawVolumes(ctx, this.props.bars, range, place, scale, theme);
    ctx.restore();
  }

  paintScores(ctx, pane, place, theme) {
    const { props } = this;
    const fault = props.message || scoreFault(props);
    const unit = arePercent(props) ? "share [%]" : "score";
    drawScoreCaption(ctx, pane, props, theme);
    if (fault) {
      drawFrame(ctx, pane, { ticks: [], texts: [] }, unit, theme);
      drawWords(ctx, pane, fault, theme.ink, theme);
      return;
    }
    const scale = scoreScale(pane, props);
    drawFrame(ctx, pane, scale, unit, theme);
    ctx.save();
    clipTo(ctx, pane);
    drawScores(ctx, pane, scale, props, place, theme);
    ctx.restore();
  }

  /** The decision bar: a line through all panes and a pointer at its top. */
  paintDecision(ctx, panes, place, theme) {
    const { first, last } = this.range();
    const bar = this.home();
    if (bar === null || bar < first || bar > last) return;
    const x = place.x(bar);
    drawUpright(ctx, panes, x, theme.ink, [2, 3]);
    ctx.fillStyle = theme.ink;
    ctx.beginPath();
    ctx.moveTo(x - 5, panes.price.top);
    ctx.lineTo(x + 5, panes.price.top);
    ctx.lineTo(x, panes.price.top + 7);
    ctx.closePath();
    ctx.fill();
  }

  overlay(ctx, size, theme) {
    if (this.count === 0) return;
    const [panes, place, { first, last }] = [this.panes(size), this.place(size.width), this.range()];
    const { brush, hover } = this.props;
    if (brush) this.overlayBrush(ctx, panes, place, theme);
    if ((hover ?? null) === null || hover < first || hover > last) return;
    drawUpright(ctx, panes, place.x(hover), theme.focus, []);
  }

  /** What the brush holds, in words. */
  brushText() {
    const { brush, signed } = this.props;
    const bars = brush[1] - brush[0] + 1;
    const counted = `${bars} bar${bars === 1 ? "" : "s"}`;
    const held = shareInside(this.props);
    if (held === null) return counted;
    const none = held.none === null ? "" : ` (indifferent: ${shareText(held.none)})`;
    return `${counted}: ${shareText(held.share)} of ${signed ? "the absolute bar totals" : "the whole"}${none}`;
  }

  tooltipLines(bar) {
    const { bars, scores, none, window } = this.props;
    const lines = [dateText(bars.dates[bar], bars.intraday)];
    for (const name of ["open", "high", "low", "close"]) {
      if (Number.isFinite(bars[name][bar])) lines.push(`${name} ${exactText(bars[name][bar])}`);
    }
    if (Number.isFinite(bars.volume[bar])) lines.push(`volume ${exactText(bars.volume[bar])}`);
    const i = window ? bar - window[0] : -1;
    if (scores && i >= 0 && i < scores.length && !this.props.message && scoreFault(this.props) === null) {
      const indifferent = none ? ` (indifferent: ${scoreText(none[i], this.props)})` : "";
      lines.push(`score ${scoreText(scores[i], this.props)}${indifferent}`);
    }
    const lit = this.litAt(bar);
    if (lit !== null) lines.push(`selected row ${shareText(lit)}`);
    if (bar === this.home()) lines.push("the decision bar");
    return lines;
  }

  describe() {
    const { bars, brush } = this.props;
    if (this.count === 0) return this.props.message || "no prices yet";
    const { first, last } = this.range();
    const said = [`${this.title()}, ${last - first + 1} bars`];
    const bar = this.home();
    if (bar !== null && bar < this.count) {
      said.push(`decision on ${dateText(bars.dates[bar], bars.intraday)}, close ${priceText(bars.close[bar])} ${bars.unit ?? ""}`.trimEnd());
    }
    if (brush) said.push(`marked: ${this.brushText()}`);
    if (this.props.message) said.push(this.props.message);
    return said.join("; ");
  }
}

/** A number with all its figures that mean something. */
function exactText(value) {
  const rounded = Number(value.toPrecision(9));
  if (Number.isInteger(rounded)) return rounded.toLocaleString("en-US");
  return String(rounded);
}
