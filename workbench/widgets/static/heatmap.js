/** Attention of one layer: who looked at whom, query by key, on a colour scale that starts at 0. */

import { View } from "./view.js";
import { clamp } from "./paint.js";
import { shareText } from "./axes.js";
import { cellBars, cellDate, cellImage, cellTicks, largestOf } from "./cells.js";
import { crosshair, drawCells, drawMessage, drawScale, outlineCell, tickLine, twoLines } from "./cells.js";

const MAP_PAD = { left: 92, undated: 56, right: 62, top: 40, bottom: 38 };
const STRIP_RATIO = 6; // a map this much longer than wide is drawn with cells that are not square
const MAP_KEY_STEPS = { ArrowLeft: -1, ArrowRight: 1 };
const MAP_ROW_STEPS = { ArrowUp: -1, ArrowDown: 1, PageUp: -10, PageDown: 10 };

/** One map (query, key) of weights (head, query, key): a head by its number, or the mean, max or min over heads. */
export function fuseHeads(values, [heads, queries, keys], head) {
  const size = queries * keys;
  if (values.length !== heads * size) {
    throw new Error(`weights must hold ${heads} × ${queries} × ${keys} values. Got ${values.length}.`);
  }
  if (Number.isInteger(head) && head >= 0 && head < heads) return values.subarray(head * size, (head + 1) * size);
  const join = { mean: (a, b) => a + b, max: Math.max, min: Math.min }[head];
  if (!join) throw new Error(`head must be mean, max, min or one of ${heads}, counted from 0. Got ${head}.`);
  const fused = values.slice(0, size);
  for (let h = 1; h < heads; h += 1) {
    const offset = h * size;
    for (let i = 0; i < size; i += 1) fused[i] = join(fused[i], values[offset + i]);
  }
  if (head === "mean") for (let i = 0; i < size; i += 1) fused[i] /= heads;
  return fused;
}

/** The map, with its axes of dates and its colour bar. Events: hover {query, key, value, by} or null; row {row}. */
export class HeatmapView extends View {
  static overlayKeys = ["row", "hover"];

  constructor(host, options) {
    super(host, { label: "Attention map", height: 420, ...options });
    Object.assign(this.props, { values: null, queries: 0, keys: 0, block: 1, top: 1, row: -1, hover: null, title: "" });
    this.said = document.createElement("div");
    this.said.className = "awb-hidden";
    this.said.setAttribute("aria-live", "polite");
    this.element.append(this.said);
    this.front.addEventListener("blur", () => this.point(null), { signal: this.stop.signal });
  }

  get filled() {
    const { values, queries, keys, message } = this.props;
    return Boolean(values) && queries > 0 && keys > 0 && !message;
  }

  /** The box of the cells, in CSS px: square cells, but for strips of few rows or columns. */
  box({ width, height }) {
    const { queries, keys } = this.props;
    const left = this.props.queryDates ? MAP_PAD.left : MAP_PAD.undated;
    const across = width - left - MAP_PAD.right;
    const down = height - MAP_PAD.top - MAP_PAD.bottom;
    const cell = Math.min(across / keys, down / queries);
    const long = Math.max(queries / keys, keys / queries) > STRIP_RATIO;
    const fullWidth = long ? Math.min(across, Math.max(cell * keys, 90)) : cell * keys;
    const fullHeight = long ? Math.min(down, Math.max(cell * queries, 64)) : cell * queries;
    return { x: left, y: MAP_PAD.top, width: fullWidth, height: fullHeight };
  }

  /** Colours of the present values, made once. */
  image() {
    const { values, queries, keys, top } = this.props;
    const old = this.made;
    if (old && old.values === values && old.top === top && old.queries === queries && old.keys === keys) return old;
    if (values.length !== queries * keys) {
      throw new Error(`values must hold ${queries} × ${keys} numbers. Got ${values.length}.`);
    }
    this.made = { values, queries, keys, top, ...largestOf(values), cells: cellImage(values, queries, keys, top) };
    return this.made;
  }

  paint(ctx, size, theme) {
    if (!this.filled) {
      drawMessage(ctx, this.props.message ?? "No attention to show yet.", size, theme);
      return;
    }
    const box = this.box(size);
    if (box.width < 20 || box.height < 4) return;
    ctx.fillStyle = theme.panel;
    ctx.fillRect(box.x, box.y, box.width, box.height);
    drawCells(ctx, this.image().cells, box);
    ctx.strokeStyle = theme.muted;
    ctx.lineWidth = 1;
    ctx.strokeRect(box.x - 0.5, box.y - 0.5, box.width + 1, box.height + 1);
    this.paintTitle(ctx, size, theme);
    this.paintAcross(ctx, box, theme);
    this.paintDown(ctx, box, theme);
    this.paintScale(ctx, box, size, theme);
  }

  paintTitle(ctx, { width }, theme) {
    const { title, block } = this.props;
    const whole = block > 1 ? `${title} · means over blocks of ${block} × ${block} bars` : title;
    ctx.fillStyle = theme.ink;
    ctx.textAlign = "left";
    ctx.textBaseline = "alphabetic";
    ctx.font = `600 12px ${theme.font}`;
    const lines = twoLines(ctx, whole, width - 12, width - (width > 300 ? 160 : 90));
    lines.forEach((line, i) => ctx.fillText(line, 6, 14 + 16 * i));
  }

  paintAcross(ctx, box, theme) {
    const { keyDates, keys, block } = this.props;
    ctx.font = `11px ${theme.font}`;
    ctx.fillStyle = theme.muted;
    ctx.strokeStyle = theme.muted;
    ctx.textAlign = "center";
    ctx.textBaseline = "top";
    for (const { at, text } of cellTicks(keyDates, keys, block, box.width)) {
      tickLine(ctx, box.x + at, box.y + box.height, 0, 4);
      ctx.fillText(text, box.x + at, box.y + box.height + 6);
    }
    ctx.fillStyle = theme.ink;
    const name = box.width > 190 ? `Key: the bar looked at${keyDates ? " (date)" : ""}` : "Key (looked at)";
    ctx.fillText(name, box.x + box.width / 2, box.y + box.height + 21);
  }

  paintDown(ctx, box, theme) {
    const { queryDates, queries, block } = this.props;
    ctx.font = `11px ${theme.font}`;
    ctx.fillStyle = theme.muted;
    ctx.strokeStyle = theme.muted;
    ctx.textAlign = "right";
    ctx.textBaseline = "middle";
    for (const { at, text } of cellTicks(queryDates, queries, block, box.height)) {
      tickLine(ctx, box.x, box.y + at, -4, 0);
      ctx.fillText(text, box.x - 6, box.y + at);
    }
    ctx.save();
    ctx.translate(10, box.y + box.height / 2);
    ctx.rotate(-Math.PI / 2);
    ctx.textAlign = "center";
    ctx.fillStyle = theme.ink;
    const name = box.height > 170 ? `Query: the bar that looks${queryDates ? " (date)" : ""}` : "Query";
    ctx.fillText(name, 0, 0);
    ctx.restore();
  }

  paintScale(ctx, box, { width }, theme) {
    const { top } = this.props;
    const bar = { x: box.x + box.width + 12, y: box.y, width: 12, height: box.height };
    drawScale(ctx, bar, top, this.image().value > top, theme);
    ctx.fillStyle = theme.ink;
    ctx.textAlign = "right";
    ctx.textBaseline = "alphabetic";
    const unit = width > 300 ? "share of attention [%]" : "share [%]";
    ctx.fillText(unit, Math.min(width - 6, Math.max(bar.x + 56, 140)), 30);
  }

  overlay(ctx, size, theme) {
    if (!this.filled) return;
    const box = this.box(size);
    const { row, hover, queries, keys } = this.props;
    if (row >= 0 && row < queries) this.overlayRow(ctx, box, row, theme);
    if (!hover || hover.query >= queries || hover.key >= keys) return;
    crosshair(ctx, box, this.cellBox(box, hover), 0.55);
  }

  overlayRow(ctx, box, row, theme) {
    const place = this.cellBox(box, { query: row, key: 0 });
    const y = place.y + place.height / 2;
    outlineCell(ctx, { ...place, x: box.x, width: box.width }, theme.lit);
    ctx.fillStyle = theme.ink;
    ctx.beginPath();
    ctx.moveTo(box.x + box.width + 3, y);
    ctx.lineTo(box.x + box.width + 10, y - 5);
    ctx.lineTo(box.x + box.width + 10, y + 5);
    ctx.closePath();
    ctx.fill();
  }

  cellBox(box, { query, key }) {
    const { queries, keys } = this.props;
    const [width, height] = [box.width / keys, box.height / queries];
    return { x: box.x + key * width, y: box.y + query * height, width, height };
  }

  /** The cell at a point of the view, or null. */
  cellAt(x, y) {
    const box = this.box({ width: this.element.clientWidth, height: this.element.clientHeight });
    const { queries, keys } = this.props;
    const key = Math.floor(((x - box.x) / box.width) * keys);
    const query = Math.floor(((y - box.y) / box.height) * queries);
    return key >= 0 && key < keys && query >= 0 && query < queries ? { query, key } : null;
  }

  pointer(kind, x, y, event) {
    if (!this.filled) return;
    const cell = kind === "leave" || kind === "cancel" ? null : this.cellAt(x, y);
    if (kind === "move" || cell === null) this.point(cell);
    if (kind === "up" && cell && event.button === 0) this.select(cell.query === this.props.row ? -1 : cell.query, cell.key);
  }

  /** Put the cursor on a cell, or away. */
  point(cell, by = "pointer") {
    const { hover, keys, values } = this.props;
    if (cell === null && hover === null) return;
    if (cell && hover && cell.query === hover.query && cell.key === hover.key) return;
    this.set({ hover: cell });
    if (cell === null) this.tooltip(0, 0, null);
    else {
      const size = { width: this.element.clientWidth, height: this.element.clientHeight };
      const place = this.cellBox(this.box(size), cell);
      this.tooltip(place.x + place.width / 2, place.y + place.height / 2, this.lines(cell));
    }
    this.emit("hover", cell && { ...cell, value: values[cell.query * keys + cell.key], by });
  }

  /** What a cell says, in lines. */
  lines({ query, key }) {
    const { values, queries, keys, block, queryDates, keyDates, intraday } = this.props;
    const mean = block > 1 ? " a bar, mean of the block" : " of attention";
    const words = [
      `${shareText(values[query * keys + key])}${mean}`,
      `query: ${cellDate(queryDates, query, queries, block, intraday)}`,
      `key: ${cellDate(keyDates, key, keys, block, intraday)}`,
    ];
    if (block > 1 || !queryDates || queryDates !== keyDates) return words;
    const back = cellBars(query, queries, 1, queryDates.length)[0] - key;
    return [...words, back === 0 ? "the query's own bar" : `${Math.abs(back)} bar${Math.abs(back) === 1 ? "" : "s"} ${back > 0 ? "back" : "ahead"}`];
  }

  select(row, key) {
    const { queries, keys, values, block, queryDates, intraday } = this.props;
    this.set({ row });
    this.emit("row", { row, key });
    if (row < 0) this.said.textContent = "No row selected.";
    else {
      const weights = values.subarray(row * keys, (row + 1) * keys);
      const most = largestOf(weights).at;
      const who = cellDate(queryDates, row, queries, block, intraday);
      this.said.textContent = `Row ${who} selected; ${most < 0 ? "it has no values." : `most at ${this.lines({ query: row, key: most })[2]}.`}`;
    }
  }

  keydown(event) {
    if (!this.filled || event.ctrlKey || event.metaKey || event.altKey) return false;
    const { queries, keys, row, hover } = this.props;
    const at = { query: hover?.query ?? (row >= 0 ? row : queries - 1), key: hover?.key ?? keys - 1 };
    const started = hover !== null || row >= 0;
    const { key } = event;
    if (key in MAP_ROW_STEPS) return this.moveRow(started ? clamp(at.query + MAP_ROW_STEPS[key], 0, queries - 1) : at.query, at.key);
    if (key in MAP_KEY_STEPS) return this.moveKey({ ...at, key: hover ? clamp(at.key + MAP_KEY_STEPS[key], 0, keys - 1) : at.key });
    if (key === "Home" || key === "End") return this.moveKey({ ...at, key: key === "Home" ? 0 : keys - 1 });
    if (key === "Enter" || key === " ") return this.moveRow(at.query, at.key);
    if (key !== "Escape" || (hover === null && row < 0)) return false;
    this.point(null, "keys");
    if (row >= 0) this.select(-1, -1);
    return true;
  }

  moveRow(row, key) {
    this.point({ query: row, key }, "keys");
    this.select(row, key);
    return true;
  }

  moveKey(cell) {
    this.point(cell, "keys");
    this.said.textContent = this.lines(cell).join(", ");
    return true;
  }

  describe() {
    const { queries, keys, title, message, row, queryDates, block, intraday } = this.props;
    if (!this.filled) return message ?? "nothing to show yet";
    const { at } = this.image();
    const most = at < 0 ? "" : ` Most: ${this.lines({ query: Math.floor(at / keys), key: at % keys }).slice(0, 3).join(", ")}.`;
    const chosen = row >= 0 && row < queries ? ` Row ${cellDate(queryDates, row, queries, block, intraday)} selected.` : "";
    return `${title}, ${queries} queries by ${keys} keys.${most}${chosen} Arrow keys move, Escape clears.`;
  }
}
