/** An explanation by feature and bar: one strip a feature, its total at the right. */

import { View } from "./view.js";
import { clamp, rgbText, shade, signedShade } from "./paint.js";
import { dateText, dominated, shareText } from "./axes.js";
import { cellImage, cellTicks, drawCells, drawMessage, fittedText, outlineCell, tickLine } from "./cells.js";

const STRIP_PAD = { left: 108, right: 150, top: 40, bottom: 38 };
const STRIP_LEAST = 13; // px, so that every strip has its name beside it
const STRIP_MOST = 28;
const STRIP_STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

/** A number in few digits with a real minus sign. */
export function plainText(value) {
  if (!Number.isFinite(value)) return "–";
  return String(Number(value.toPrecision(3))).replace("-", "−");
}

/** Scores (time × feature) as strips. Events: hover {feature, bar, value, by} or null. */
export class FeatureView extends View {
  static overlayKeys = ["hover"];

  constructor(host, options) {
    super(host, { label: "Scores by feature and bar", height: 320, ...options });
    Object.assign(this.props, { scores: null, names: [], dates: null, hover: null, signed: false });
    this.said = document.createElement("div");
    this.said.className = "awb-hidden";
    this.said.setAttribute("aria-live", "polite");
    this.element.append(this.said);
    this.front.addEventListener("blur", () => this.point(null), { signal: this.stop.signal });
  }

  get filled() {
    const { scores, names, message } = this.props;
    return Boolean(scores) && names.length > 0 && scores.length >= names.length && !message;
  }

  /** Totals by feature, whether all are shares of one whole, and which strips have room, made once. */
  summary(size) {
    const { scores, names, signed } = this.props;
    const room = Math.max(1, Math.floor((size.height - STRIP_PAD.top - STRIP_PAD.bottom) / STRIP_LEAST));
    const old = this.made;
    if (old && old.scores === scores && old.names === names && old.room === room && old.signed === signed) return old;
    const bars = scores.length / names.length;
    if (!Number.isInteger(bars)) {
      throw new Error(`scores must hold a number for each bar and each of ${names.length} features. Got ${scores.length}.`);
    }
    const totals = sumsOf(scores, names.length);
    const whole = totals.reduce((sum, value) => sum + value, 0);
    const sizes = sumsOf(scores.map(Math.abs), names.length);
    const strongest = names.map((_, i) => i).sort((a, b) => sizes[b] - sizes[a]).slice(0, room);
    const shown = strongest.sort((a, b) => a - b);
    const kept = new Float32Array(shown.length * bars);
    shown.forEach((feature, row) => {
      for (let bar = 0; bar < bars; bar += 1) kept[row * bars + bar] = scores[bar * names.length + feature];
    });
    const largest = kept.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const top = dominated(kept) || 1;
    const cells = cellImage(kept, shown.length, bars, top, signed);
    const share = !signed && Math.abs(whole - 1) < 0.01;
    this.made = { scores, names, signed, room, bars, totals, share, shown, kept, top, largest, cells };
    return this.made;
  }

  box(size) {
    const { shown } = this.summary(size);
    const room = size.height - STRIP_PAD.top - STRIP_PAD.bottom;
    const width = size.width - STRIP_PAD.left - STRIP_PAD.right;
    return { x: STRIP_PAD.left, y: STRIP_PAD.top, width, height: Math.min(room, STRIP_MOST * shown.length) };
  }

  valueText(value) {
    return this.made.share ? shareText(value) : plainText(value);
  }

  paint(ctx, size, theme) {
    if (!this.filled) {
      drawMessage(ctx, this.props.message ?? "No scores by feature to show.", size, theme);
      return;
    }
    const box = this.box(size);
    if (box.width < 20 || box.height < 4) return;
    ctx.fillStyle = theme.panel;
    ctx.fillRect(box.x, box.y, box.width, box.height);
    drawCells(ctx, this.summary(size).cells, box);
    ctx.strokeStyle = theme.muted;
    ctx.lineWidth = 1;
    ctx.strokeRect(box.x - 0.5, box.y - 0.5, box.width + 1, box.height + 1);
    this.paintTitle(ctx, size, theme);
    this.paintNames(ctx, box, theme);
    this.paintDates(ctx, box, theme);
    this.paintTotals(ctx, box, theme);
  }

  paintTitle(ctx, size, theme) {
    const { names, signed } = this.props;
    const { shown, top, share } = this.summary(size);
    const some = shown.length < names.length ? `, the strongest ${shown.length} of ${names.length}` : "";
    ctx.fillStyle = theme.ink;
    ctx.textBaseline = "alphabetic";
    ctx.textAlign = "left";
    ctx.font = `600 12px ${theme.font}`;
    ctx.fillText(fittedText(ctx, `By feature and bar${some}`, size.width - 12), 6, 14);
    ctx.font = `11px ${theme.font}`;
    ctx.textAlign = "right";
    const unit = signed ? "total [signed]" : share ? "total [share]" : "total";
    ctx.fillText(unit, size.width - 6, 32);
    ctx.textAlign = "left";
    this.paintKey(ctx, { x: STRIP_PAD.left, y: 24, width: 80, height: 9 }, signed, top, theme);
  }

  /** The colours and what the ends stand for, in one line. */
  paintKey(ctx, place, signed, top, theme) {
    const low = signed ? this.valueText(-top) : "0";
    ctx.fillStyle = theme.muted;
    ctx.fillText(low, place.x, 32);
    const x = place.x + ctx.measureText(low).width + 6;
    for (let i = 0; i < place.width; i += 1) {
      const t = i / (place.width - 1);
      ctx.fillStyle = rgbText(signed ? signedShade(2 * t - 1) : shade(t));
      ctx.fillRect(x + i, place.y, 1.5, place.height);
    }
    ctx.fillStyle = theme.muted;
    const { largest } = this.made;
    const cut = largest > top ? ` and more, up to ${this.valueText(largest)}` : "";
    ctx.fillText(`${this.valueText(top)} a bar${cut}`, x + place.width + 6, 32);
  }

  paintNames(ctx, box, theme) {
    const { names } = this.props;
    const { shown } = this.made;
    ctx.font = `11px ${theme.font}`;
    ctx.fillStyle = theme.ink;
    ctx.textAlign = "right";
    ctx.textBaseline = "middle";
    shown.forEach((feature, row) => {
      const y = box.y + ((row + 0.5) * box.height) / shown.length;
      ctx.fillText(fittedText(ctx, names[feature], box.x - 12), box.x - 6, y);
    });
  }

  paintDates(ctx, box, theme) {
    const { dates } = this.props;
    ctx.fillStyle = theme.muted;
    ctx.strokeStyle = theme.muted;
    ctx.textAlign = "center";
    ctx.textBaseline = "top";
    for (const { at, text } of cellTicks(dates, this.made.bars, 1, box.width)) {
      tickLine(ctx, box.x + at, box.y + box.height, 0, 4);
      ctx.fillText(text, box.x + at, box.y + box.height + 6);
    }
    ctx.fillStyle = theme.ink;
    ctx.fillText(dates ? "Bar of the window (date)" : "Bar of the window", box.x + box.width / 2, box.y + box.height + 21);
  }

  /** A bar and a number a feature; negative totals go left in the colour of falling. */
  paintTotals(ctx, box, theme) {
    const { shown, totals } = this.made;
    const [left, width] = [box.x + box.width + 12, STRIP_PAD.right - 78];
    const most = Math.max(...shown.map((i) => Math.abs(totals[i])), 1e-12);
    const both = shown.some((i) => totals[i] < 0);
    const zero = both ? left + width / 2 : left;
    const long = both ? width / 2 : width;
    const step = box.height / shown.length;
    shown.forEach((feature, row) => {
      const length = (totals[feature] / most) * long;
      const y = box.y + row * step;
      ctx.fillStyle = length < 0 ? theme.down : theme.up;
      ctx.fillRect(Math.min(zero, zero + length), y + 2, Math.abs(length), Math.max(2, step - 4));
      ctx.fillStyle = theme.ink;
      ctx.textAlign = "right";
      ctx.textBaseline = "middle";
      ctx.fillText(this.valueText(totals[feature]), box.x + box.width + STRIP_PAD.right - 6, y + step / 2);
    });
    ctx.strokeStyle = theme.muted;
    tickLine(ctx, zero, box.y, 0, box.height);
  }

  overlay(ctx, size) {
    const { hover } = this.props;
    if (!this.filled || !hover || hover.row >= this.summary(size).shown.length || hover.bar >= this.made.bars) return;
    outlineCell(ctx, this.cellBox(this.box(size), hover), "#ffffff");
  }

  cellBox(box, { row, bar }) {
    const [width, height] = [box.width / this.made.bars, box.height / this.made.shown.length];
    return { x: box.x + bar * width, y: box.y + row * height, width, height };
  }

  get size() {
    return { width: this.element.clientWidth, height: this.element.clientHeight };
  }

  pointer(kind, x, y) {
    if (!this.filled) return;
    const box = this.box(this.size);
    const bar = Math.floor(((x - box.x) / box.width) * this.made.bars);
    const row = Math.floor(((y - box.y) / box.height) * this.made.shown.length);
    const within = bar >= 0 && bar < this.made.bars && row >= 0 && row < this.made.shown.length;
    if (kind === "leave" || kind === "cancel" || !within) this.point(null);
    else if (kind === "move") this.point({ row, bar });
  }

  /** Put the cursor on a cell {row, bar}, or away. */
  point(cell, by = "pointer") {
    const { hover, names } = this.props;
    if (cell === null && hover === null) return;
    if (cell && hover && cell.row === hover.row && cell.bar === hover.bar) return;
    this.set({ hover: cell });
    if (cell === null) {
      this.tooltip(0, 0, null);
      this.emit("hover", null);
      return;
    }
    const place = this.cellBox(this.box(this.size), cell);
    const lines = this.lines(cell);
    this.tooltip(place.x + place.width / 2, place.y + place.height / 2, lines);
    if (by === "keys") this.said.textContent = lines.join(", ");
    const value = this.made.kept[cell.row * this.made.bars + cell.bar];
    this.emit("hover", { feature: names[this.made.shown[cell.row]], bar: cell.bar, value, by });
  }

  lines({ row, bar }) {
    const { names, dates, intraday } = this.props;
    const when = dates ? dateText(dates[bar], intraday) : `t−${this.made.bars - 1 - bar}`;
    return [this.valueText(this.made.kept[row * this.made.bars + bar]), names[this.made.shown[row]], when];
  }

  keydown(event) {
    if (!this.filled || event.ctrlKey || event.metaKey || event.altKey) return false;
    const { hover } = this.props;
    if (event.key === "Escape" && hover) {
      this.point(null, "keys");
      return true;
    }
    if (!(event.key in STRIP_STEPS)) return false;
    const { shown, bars } = this.summary(this.size);
    const [down, across] = hover ? STRIP_STEPS[event.key] : [0, 0];
    const at = hover ?? { row: 0, bar: bars - 1 };
    this.point({ row: clamp(at.row + down, 0, shown.length - 1), bar: clamp(at.bar + across, 0, bars - 1) }, "keys");
    return true;
  }

  describe() {
    const { names, message } = this.props;
    if (!this.filled) return message ?? "nothing to show";
    const { totals, bars, shown } = this.summary(this.size);
    const strongest = [...shown].sort((a, b) => Math.abs(totals[b]) - Math.abs(totals[a])).slice(0, 3);
    const words = strongest.map((i) => `${names[i]} ${this.valueText(totals[i])}`).join(", ");
    return `${names.length} features by ${bars} bars. Largest totals: ${words}. Arrow keys move, Escape clears.`;
  }
}

/** Sums over bars of (time × feature) scores; NaN is passed over. */
function sumsOf(scores, count) {
  const totals = new Float64Array(count);
  for (let i = 0; i < scores.length; i += 1) if (scores[i] === scores[i]) totals[i % count] += scores[i];
  return totals;
}
