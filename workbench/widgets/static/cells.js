/** What heatmaps share: the image of an array, the ticks of bars, and text that fits. */

import { CIVIDIS, rgbText, signedShade } from "./paint.js";
import { dateText, dateTicks, linearTicks, tickTexts } from "./axes.js";

const LAG_TICKS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000];
const MAGNITUDE_PIXELS = packedColours((i) => CIVIDIS.subarray(3 * i, 3 * i + 3));
const SIGNED_PIXELS = packedColours((i) => signedShade((2 * i) / 255 - 1));

/** 256 colours as the 32-bit pixels of an ImageData. */
function packedColours(colour) {
  const bytes = new Uint8ClampedArray(1024).fill(255);
  for (let i = 0; i < 256; i += 1) bytes.set(colour(i), 4 * i);
  return new Uint32Array(bytes.buffer);
}

/** One pixel a value, `rows` × `columns`; `top` is the last colour (and −top the first if signed), NaN is clear. */
export function cellImage(values, rows, columns, top, signed = false) {
  const canvas = document.createElement("canvas");
  canvas.width = columns;
  canvas.height = rows;
  const ctx = canvas.getContext("2d");
  const image = ctx.createImageData(columns, rows);
  const pixels = new Uint32Array(image.data.buffer);
  const colours = signed ? SIGNED_PIXELS : MAGNITUDE_PIXELS;
  const scale = (signed ? 127.5 : 255) / top;
  const zero = (signed ? 127.5 : 0) + 0.5;
  for (let i = 0; i < pixels.length; i += 1) {
    const value = values[i];
    if (value === value) pixels[i] = colours[Math.max(0, Math.min(255, Math.floor(value * scale + zero)))];
  }
  ctx.putImageData(image, 0, 0);
  return canvas;
}

/** Draw a cell image into a box; cells stay sharp unless they are smaller than a pixel. */
export function drawCells(ctx, image, { x, y, width, height }) {
  const ratio = window.devicePixelRatio || 1;
  ctx.imageSmoothingEnabled = (width * ratio) / image.width < 1 || (height * ratio) / image.height < 1;
  ctx.drawImage(image, x, y, width, height);
  ctx.imageSmoothingEnabled = true;
}

/** Ticks [{at, text}] of an axis of `cells` cells of `block` bars, `pixels` long; `at` is in pixels. */
export function cellTicks(dates, cells, block, pixels) {
  const bars = cells * block;
  const at = (bar) => ((bar + 0.5) / bars) * pixels;
  if (!dates) return lagTicks(bars, pixels, at);
  if (cells === 1) return [{ at: pixels / 2, text: cellDate(dates, 0, 1, block, false) }];
  return dateTicks(dates, 0, bars - 1, pixels).map(({ bar, text }) => ({ at: at(bar), text }));
}

/** t, t−10, t−20 … as many as fit. */
function lagTicks(bars, pixels, at) {
  const room = Math.max(2, Math.floor(pixels / 46));
  const step = LAG_TICKS.find((every) => bars / every <= room) ?? bars;
  const ticks = [];
  for (let lag = 0; lag < bars; lag += step) ticks.push({ at: at(bars - 1 - lag), text: lagText(lag) });
  return ticks;
}

function lagText(lag) {
  return lag === 0 ? "t" : `t−${lag}`;
}

/** The bars of a cell as [first, last], counted from 0, of `count` bars. */
export function cellBars(cell, cells, block, count) {
  if (cells === 1 && count > block) return [count - 1, count - 1]; // the last query alone
  return [cell * block, Math.min(count, (cell + 1) * block) - 1];
}

/** What a cell stands for: a date, two for a block, or bars before the decision t where there are no dates. */
export function cellDate(dates, cell, cells, block, intraday) {
  const count = dates?.length ?? cells * block;
  const [first, last] = cellBars(cell, cells, block, count);
  const text = (bar) => (dates ? dateText(dates[bar], intraday) : lagText(count - 1 - bar));
  return first === last ? text(first) : `${text(first)} → ${text(last)}`;
}

/** `text`, or as much of it as is `width` wide with an ellipsis. */
export function fittedText(ctx, text, width) {
  if (ctx.measureText(text).width <= width) return text;
  let [low, high] = [0, text.length];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (ctx.measureText(`${text.slice(0, middle)}…`).width <= width) low = middle;
    else high = middle - 1;
  }
  return low > 0 ? `${text.slice(0, low).trimEnd()}…` : "";
}

/** A title as two lines that fit, broken at a " · ". */
export function twoLines(ctx, text, first, second) {
  const parts = text.split(" · ");
  let count = parts.length;
  const head = () => parts.slice(0, count).join(" · ");
  while (count > 1 && ctx.measureText(head()).width > first) count -= 1;
  return [fittedText(ctx, head(), first), fittedText(ctx, parts.slice(count).join(" · "), second)];
}

/** The largestOf value of an array and where it is; NaN is passed over. */
export function largestOf(values) {
  let at = -1;
  for (let i = 0; i < values.length; i += 1) {
    if (values[i] === values[i] && (at < 0 || values[i] > values[at])) at = i;
  }
  return { at, value: at < 0 ? 0 : values[at] };
}

/** Lines of text in the middle of a picture that has nothing else to show. */
export function drawMessage(ctx, text, { width, height }, theme) {
  ctx.font = `13px ${theme.font}`;
  ctx.fillStyle = theme.muted;
  ctx.textAlign = "center";
  ctx.textBaseline = "middle";
  const lines = wrappedWords(ctx, text, width - 40);
  lines.forEach((line, i) => ctx.fillText(line, width / 2, height / 2 + 19 * (i - (lines.length - 1) / 2)));
}

function wrappedWords(ctx, text, width) {
  const lines = [""];
  for (const word of text.split(/\s+/)) {
    const joined = lines.at(-1) ? `${lines.at(-1)} ${word}` : word;
    if (lines.at(-1) && ctx.measureText(joined).width > width) lines.push(word);
    else lines[lines.length - 1] = joined;
  }
  return lines.map((line) => fittedText(ctx, line, width));
}

/** The upright colour bar of shares from 0 to `top`; `over`: it ends in an arrow, as values go beyond. */
export function drawScale(ctx, bar, top, over, theme) {
  const step = bar.height / 256;
  for (let i = 0; i < 256; i += 1) {
    ctx.fillStyle = rgbText(CIVIDIS.subarray(3 * i, 3 * i + 3));
    ctx.fillRect(bar.x, bar.y + bar.height - (i + 1) * step, bar.width, step + (i > 0 ? 0.6 : 0));
  }
  if (over) arrowUp(ctx, bar.x, bar.y, bar.width);
  ctx.font = `11px ${theme.font}`;
  ctx.fillStyle = theme.muted;
  ctx.strokeStyle = theme.muted;
  ctx.textAlign = "left";
  ctx.textBaseline = "middle";
  const ticks = linearTicks(0, 100 * top, Math.max(2, Math.floor(bar.height / 60)));
  const texts = tickTexts(ticks);
  ticks.forEach((tick, i) => {
    const y = bar.y + bar.height * (1 - tick / (100 * top));
    tickLine(ctx, bar.x + bar.width, y, 3, 0);
    ctx.fillText(texts[i], bar.x + bar.width + 5, y);
  });
}

/** A line from (x, y) that goes dx across and dy down. */
export function tickLine(ctx, x, y, dx, dy) {
  ctx.beginPath();
  ctx.moveTo(x, y);
  ctx.lineTo(x + dx, y + dy);
  ctx.stroke();
}

/** A frame that shows on every colour: bright within dark. */
export function outlineCell(ctx, { x, y, width, height }, colour) {
  for (const [line, style] of [[4, "#000000"], [2, colour]]) {
    ctx.lineWidth = line;
    ctx.strokeStyle = style;
    ctx.strokeRect(x - 1, y - 1, width + 2, height + 2);
  }
}

/** Thin lines through the middle of a cell, across the box of all, and the cell's frame. */
export function crosshair(ctx, box, cell, alpha) {
  ctx.globalAlpha = alpha;
  ctx.strokeStyle = "#ffffff";
  ctx.lineWidth = 1;
  tickLine(ctx, box.x, cell.y + cell.height / 2, box.width, 0);
  tickLine(ctx, cell.x + cell.width / 2, box.y, 0, box.height);
  ctx.globalAlpha = 1;
  outlineCell(ctx, cell, "#ffffff");
}

function arrowUp(ctx, x, y, wide) {
  ctx.fillStyle = rgbText(CIVIDIS.subarray(765, 768));
  ctx.beginPath();
  ctx.moveTo(x, y);
  ctx.lineTo(x + wide, y);
  ctx.lineTo(x + wide / 2, y - 8);
  ctx.closePath();
  ctx.fill();
}
