/** One gate of one layer: its values unit by bar, and beside them how often each unit is at an end. */

import { linearTicks } from "./axes.js";
import { cellImage, cellTicks, crosshair, drawCells, drawMessage, fittedText, outlineCell, tickLine } from "./cells.js";
import { ENDS, paintEnds } from "./gate_ends.js";
import { clamp, rgbText, shade, signedShade } from "./paint.js";
import { View } from "./view.js";

const GATE_PAD = { left: 40, right: 8, top: 40, bottom: 36 };
const ROW_KEYS = { ArrowUp: -1, ArrowDown: 1, PageUp: -10, PageDown: 10 };
const COLUMN_KEYS = { ArrowLeft: -1, ArrowRight: 1 };

/**
 * Props: `gate`, `low` (−1 for a tanh, 0 for a sigmoid; the scale ends at 1), `values` (rows × columns, NaN where
 * unknown), `rows`, `columns`, `units`, `steps`, `block`, `left` and `right` (shares, one a unit), `unit` (selected,
 * −1 for none), `hover` {row, column}, `note`, `message`.
 * Events: `hover` {row, column} or null, `unit` {unit}.
 */
export class GatePanel extends View {
  static overlayKeys = ["unit", "hover"];

  constructor(host, options) {
    super(host, { label: "Gate", ...options });
    this.said = document.createElement("div");
    this.said.className = "awb-hidden";
    this.said.setAttribute("aria-live", "polite");
    this.element.append(this.said);
    this.front.addEventListener("blur", () => this.point(null), { signal: this.stop.signal });
  }

  get filled() {
    return Boolean(this.props.values) && !this.props.message;
  }

  /** Places of the cells and of the strip beside them, in CSS px. */
  boxes({ width, height }) {
    const strip = width >= ENDS.least ? ENDS.width + ENDS.gap : 0;
    const across = Math.max(1, width - GATE_PAD.left - GATE_PAD.right - strip);
    const cells = { x: GATE_PAD.left, y: GATE_PAD.top, width: across, height: Math.max(1, height - GATE_PAD.top - GATE_PAD.bottom) };
    if (!strip) return { cells, ends: null };
    return { cells, ends: { ...cells, x: cells.x + across + ENDS.gap, width: ENDS.width } };
  }

  size() {
    return { width: this.element.clientWidth, height: this.element.clientHeight };
  }

  image() {
    const { values, rows, columns, low } = this.props;
    if (this.made?.values !== values) this.made = { values, cells: cellImage(values, rows, columns, 1, low < 0) };
    return this.made.cells;
  }

  paint(ctx, size, theme) {
    if (!this.filled) {
      drawMessage(ctx, this.props.message ?? "No epoch is over yet.", size, theme);
      return;
    }
    const { cells, ends } = this.boxes(size);
    ctx.fillStyle = theme.panel;
    ctx.fillRect(cells.x, cells.y, cells.width, cells.height);
    drawCells(ctx, this.image(), cells);
    ctx.strokeStyle = theme.muted;
    ctx.lineWidth = 1;
    ctx.strokeRect(cells.x - 0.5, cells.y - 0.5, cells.width + 1, cells.height + 1);
    this.paintTitle(ctx, size, theme);
    this.paintAxes(ctx, cells, theme);
    if (ends) paintEnds(ctx, ends, this.props, theme);
  }

  paintTitle(ctx, { width }, theme) {
    const { gate, note, low } = this.props;
    ctx.textBaseline = "alphabetic";
    ctx.textAlign = "left";
    ctx.fillStyle = theme.ink;
    ctx.font = `600 12px ${theme.font}`;
    ctx.fillText(gate, 6, 14);
    const taken = 6 + ctx.measureText(gate).width + 10;
    this.paintScale(ctx, width - GATE_PAD.right - 108, low, theme);
    ctx.font = `11px ${theme.font}`;
    ctx.fillStyle = theme.muted;
    ctx.textAlign = "left";
    ctx.fillText(fittedText(ctx, note ?? "", Math.max(0, width - GATE_PAD.right - 114 - taken)), taken, 14);
  }

  /** The colour bar, from one end of the gate's range to the other. */
  paintScale(ctx, x, low, theme) {
    const [left, wide] = [x + 16, 76];
    for (let i = 0; i < wide; i += 1) {
      const t = i / (wide - 1);
      ctx.fillStyle = rgbText(low < 0 ? signedShade(2 * t - 1) : shade(t));
      ctx.fillRect(left + i, 5, 1.6, 10);
    }
    ctx.font = `11px ${theme.font}`;
    ctx.fillStyle = theme.muted;
    ctx.textAlign = "right";
    ctx.fillText(low < 0 ? "−1" : "0", left - 4, 14);
    ctx.textAlign = "left";
    ctx.fillText("1", left + wide + 5, 14);
  }

  paintAxes(ctx, box, theme) {
    const { columns, block, units } = this.props;
    ctx.font = `11px ${theme.font}`;
    ctx.fillStyle = ctx.strokeStyle = theme.muted;
    ctx.textAlign = "center";
    ctx.textBaseline = "top";
    for (const { at, text } of cellTicks(null, columns, block, box.width)) {
      tickLine(ctx, box.x + at, box.y + box.height, 0, 4);
      ctx.fillText(text, Math.min(box.x + at, box.x + box.width - 4), box.y + box.height + 6);
    }
    ctx.textBaseline = "middle";
    ctx.textAlign = "right";
    for (const unit of linearTicks(0, units - 1, Math.max(2, Math.floor(box.height / 40))).filter(Number.isInteger)) {
      const y = box.y + ((unit + 0.5) / units) * box.height;
      tickLine(ctx, box.x, y, -4, 0);
      ctx.fillText(String(unit), box.x - 6, y);
    }
    ctx.fillStyle = theme.ink;
    ctx.textAlign = "center";
    ctx.textBaseline = "top";
    ctx.fillText(fittedText(ctx, "bar, t the decision's", box.width), box.x + box.width / 2, box.y + box.height + 20);
    ctx.save();
    ctx.translate(8, box.y + box.height / 2);
    ctx.rotate(-Math.PI / 2);
    ctx.textBaseline = "middle";
    ctx.fillText("unit", 0, 0);
    ctx.restore();
  }

  overlay(ctx, size, theme) {
    if (!this.filled) return;
    const { cells, ends } = this.boxes(size);
    const { unit, units, hover, rows, columns } = this.props;
    if (unit >= 0 && unit < units) this.overlayUnit(ctx, cells, ends, unit, theme);
    if (!hover || hover.row >= rows || hover.column >= columns) return;
    crosshair(ctx, cells, this.cellBox(cells, hover), 0.6);
  }

  overlayUnit(ctx, cells, ends, unit, theme) {
    const { units } = this.props;
    const high = cells.height / units;
    const place = { x: cells.x, y: cells.y + unit * high - 2, width: cells.width, height: high + 4 }; // around it, not on it
    outlineCell(ctx, place, theme.lit);
    ctx.fillStyle = theme.ink;
    ctx.beginPath();
    const [x, y] = [cells.x - 1, place.y + place.height / 2];
    ctx.moveTo(x, y);
    ctx.lineTo(x - 7, y - 5);
    ctx.lineTo(x - 7, y + 5);
    ctx.closePath();
    ctx.fill();
    if (ends) outlineCell(ctx, { ...place, x: ends.x, width: ends.width }, theme.lit);
  }

  cellBox(box, { row, column }) {
    const { rows, columns } = this.props;
    const [width, height] = [box.width / columns, box.height / rows];
    return { x: box.x + column * width, y: box.y + row * height, width, height };
  }

  cellAt(x, y) {
    const { cells, ends } = this.boxes(this.size());
    const { rows, columns } = this.props;
    const row = Math.floor(((y - cells.y) / cells.height) * rows);
    const column = Math.floor(((x - cells.x) / cells.width) * columns);
    if (row < 0 || row >= rows) return null;
    if (column >= 0 && column < columns) return { row, column };
    return ends && x >= ends.x && x <= ends.x + ends.width ? { row, column: columns - 1 } : null;
  }

  pointer(kind, x, y, event) {
    if (!this.filled) return;
    const cell = kind === "leave" || kind === "cancel" ? null : this.cellAt(x, y);
    if (kind === "move" || cell === null) this.point(cell);
    if (kind === "up" && cell && event.button === 0) this.select(cell.row);
  }

  /** Put the cursor on a cell, or away, and tell. */
  point(cell) {
    const { hover } = this.props;
    if (!cell && !hover) return;
    if (cell && hover && cell.row === hover.row && cell.column === hover.column) return;
    this.set({ hover: cell });
    if (!cell) this.tooltip(0, 0, null);
    else {
      const place = this.cellBox(this.boxes(this.size()).cells, cell);
      this.tooltip(place.x + place.width / 2, place.y + place.height / 2, this.lines(cell));
    }
    this.emit("hover", cell);
  }

  /** Select the first unit of a row; the selected one is let go. */
  select(row) {
    const unit = row * this.props.block;
    const now = unit === this.props.unit ? -1 : unit;
    this.emit("unit", { unit: now });
    this.said.textContent = now < 0 ? "No unit selected." : `Unit ${now} selected.`;
  }

  /** What a cell says, in lines. */
  lines({ row, column }) {
    const { gate, values, columns, block, units, steps, left, right, low } = this.props;
    const value = values[row * columns + column];
    const [first, last] = [row * block, Math.min(units, (row + 1) * block) - 1];
    const bars = [column * block, Math.min(steps, (column + 1) * block) - 1].map((bar) => steps - 1 - bar).map((lag) => (lag ? `t−${lag}` : "t"));
    const ends = low < 0 ? [[right, "beyond ±0.99"]] : [[left, "below 0.1"], [right, "above 0.9"]];
    const words = [
      `${gate} ${Number.isFinite(value) ? value.toFixed(3).replace("-", "−") : "is no finite number"}`,
      `${first === last ? `unit ${first}` : `mean of units ${first}–${last}`}, bar ${bars[0] === bars[1] ? bars[0] : `${bars[0]} to ${bars[1]}`}`,
    ];
    for (const [shares, text] of ends) if (first === last && shares[first] >= 0) words.push(`${(100 * shares[first]).toFixed(0)} % of the unit's values ${text}`);
    return words;
  }

  keydown(event) {
    if (!this.filled || event.ctrlKey || event.metaKey || event.altKey) return false;
    const { rows, columns, hover, unit, block } = this.props;
    const at = hover ?? { row: unit >= 0 ? Math.floor(unit / block) : 0, column: columns - 1 };
    const { key } = event;
    const by = hover ? 1 : 0; // the first key shows where the cursor is
    if (key in ROW_KEYS) return this.move({ ...at, row: clamp(at.row + by * ROW_KEYS[key], 0, rows - 1) });
    if (key in COLUMN_KEYS) return this.move({ ...at, column: clamp(at.column + by * COLUMN_KEYS[key], 0, columns - 1) });
    if (key === "Home" || key === "End") return this.move({ ...at, column: key === "Home" ? 0 : columns - 1 });
    if (key === "Enter" || key === " ") {
      this.select(at.row);
      return true;
    }
    if (key !== "Escape" || (!hover && unit < 0)) return false;
    this.point(null);
    if (unit >= 0) this.select(Math.floor(unit / block));
    return true;
  }

  move(cell) {
    this.point(cell);
    this.said.textContent = this.lines(cell).join(", ");
    return true;
  }

  describe() {
    const { values, rows, columns, gate, message, note, left, right, low, unit } = this.props;
    if (!this.filled) return message ?? "no epoch is over yet";
    const known = values.filter(Number.isFinite);
    const mean = known.reduce((sum, value) => sum + value, 0) / known.length;
    const often = (shares) => shares.filter((share) => share > 0.5).length;
    const ends = low < 0 ? `${often(right)} units saturated` : `${often(left)} units mostly closed, ${often(right)} mostly open`;
    const chosen = unit >= 0 ? ` Unit ${unit} selected.` : "";
    const lost = known.length < values.length ? ` ${values.length - known.length} cells are no finite number.` : "";
    return `${gate}, ${note}: ${rows} rows of units by ${columns} of bars, mean ${mean.toFixed(3)}, ${ends}.${lost}${chosen} Arrow keys move, Enter selects a unit, Escape clears.`;
  }
}
