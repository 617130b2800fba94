/** Panes above each other that share one axis of bars: their places, frames, scales and dates. */

import { MARGIN, dateTicks, linearTicks, logTicks, tickTexts } from "./axes.js";

const HEADER = 24;
const DATES = 22;
const GAP = 10;
const CAPTION = 14;
const UNIT_X = 11;

/** Font of the theme at `size` px. */
export function fontOf(theme, size = 11, weight = "") {
  return `${weight ? `${weight} ` : ""}${size}px ${theme.font}`;
}

/** Places {left, width, top, height} of panes, `parts` = {name: share of the height}; `captioned` ones have a line above. */
export function stackPanes(size, parts, captioned = []) {
  const names = Object.keys(parts);
  const lines = CAPTION * names.filter((name) => captioned.includes(name)).length;
  const room = Math.max(1, size.height - HEADER - DATES - GAP * (names.length - 1) - lines);
  const all = names.reduce((sum, name) => sum + parts[name], 0);
  const width = Math.max(1, size.width - MARGIN.left - MARGIN.right);
  const panes = {};
  let top = HEADER;
  for (const name of names) {
    const height = (room * parts[name]) / all;
    if (captioned.includes(name)) top += CAPTION;
    panes[name] = { left: MARGIN.left, width, top, height };
    top += height + GAP;
  }
  return panes;
}

/** Scale of values low … high in a pane: y(value), ticks and their texts. */
export function valueScale(pane, low, high, log = false) {
  const turn = log ? Math.log : (value) => value;
  const [from, to] = [turn(low), turn(high)];
  const perUnit = pane.height / (to - from || 1);
  const count = Math.max(2, Math.floor(pane.height / 38));
  let ticks = (log ? logTicks : linearTicks)(low, high, count);
  for (let more = 2; ticks.length < 2 && more < 6; more += 1) ticks = linearTicks(low, high, more * count);
  return { y: (value) => pane.top + pane.height - (turn(value) - from) * perUnit, ticks, texts: tickTexts(ticks) };
}

/** Lines, tick texts and unit of a pane's value axis. */
export function drawFrame(ctx, pane, scale, label, theme) {
  ctx.save();
  ctx.lineWidth = 1;
  ctx.strokeStyle = theme.grid;
  ctx.beginPath();
  for (const tick of scale.ticks) {
    const y = crisp(scale.y(tick));
    ctx.moveTo(pane.left, y);
    ctx.lineTo(pane.left + pane.width, y);
  }
  ctx.stroke();
  ctx.strokeRect(crisp(pane.left), crisp(pane.top), Math.round(pane.width), Math.round(pane.height));
  ctx.fillStyle = theme.muted;
  ctx.font = fontOf(theme);
  ctx.textAlign = "right";
  ctx.textBaseline = "middle";
  scale.ticks.forEach((tick, i) => {
    const y = Math.min(Math.max(scale.y(tick), pane.top + 5), pane.top + pane.height - 5);
    ctx.fillText(scale.texts[i], pane.left - 6, y);
  });
  drawUnit(ctx, pane, label);
  ctx.restore();
}

/** The name of a value axis, upright beside it, cut short where the pane is low. */
function drawUnit(ctx, pane, label) {
  ctx.save();
  ctx.textAlign = "center";
  ctx.translate(UNIT_X, pane.top + pane.height / 2);
  ctx.rotate(-Math.PI / 2);
  ctx.fillText(cutText(ctx, label, pane.height + GAP), 0, 0);
  ctx.restore();
}

/** `text`, shortened by an ellipsis to `width` px. */
export function cutText(ctx, text, width) {
  if (ctx.measureText(text).width <= width) return text;
  let kept = text.slice(0, 400);
  while (kept.length > 1 && ctx.measureText(`${kept}…`).width > width) kept = kept.slice(0, -1);
  return `${kept.trimEnd()}…`;
}

/** Dates beneath the lowest pane, and their lines through all of them. */
export function drawDates(ctx, panes, bars, place, range, theme) {
  const all = Object.values(panes);
  const { left, width, top, height } = all[all.length - 1];
  const ticks = dateTicks(bars.dates, range.first, range.last, width);
  ctx.save();
  ctx.strokeStyle = theme.grid;
  ctx.lineWidth = 1;
  ctx.beginPath();
  for (const pane of all) {
    for (const { bar } of ticks) {
      ctx.moveTo(crisp(place.x(bar)), pane.top);
      ctx.lineTo(crisp(place.x(bar)), pane.top + pane.height);
    }
  }
  ctx.stroke();
  ctx.fillStyle = theme.muted;
  ctx.font = fontOf(theme);
  ctx.textAlign = "center";
  ctx.textBaseline = "top";
  for (const { bar, text } of ticks) {
    const half = ctx.measureText(text).width / 2;
    const x = Math.min(Math.max(place.x(bar), half + 2), left + width + MARGIN.right - half - 1);
    ctx.fillText(text, x, top + height + 6);
  }
  ctx.restore();
}

/** The line above the panes: what is shown at the left, a note at the right. */
export function drawHeader(ctx, size, title, note, theme) {
  ctx.save();
  ctx.textBaseline = "middle";
  ctx.font = fontOf(theme, 12, "600");
  ctx.fillStyle = theme.ink;
  const room = size.width - MARGIN.left - MARGIN.right;
  const head = cutText(ctx, title, room);
  ctx.fillText(head, MARGIN.left, HEADER / 2);
  const free = room - ctx.measureText(head).width - 24;
  ctx.font = fontOf(theme);
  ctx.textAlign = "right";
  ctx.fillStyle = theme.muted;
  if (note && free > 60) ctx.fillText(cutText(ctx, note, free), size.width - MARGIN.right, HEADER / 2);
  ctx.restore();
}

/** Words above a pane that has a line for them, from `left` on. */
export function drawCaption(ctx, pane, text, theme, left = pane.left, width = pane.width) {
  ctx.save();
  ctx.font = fontOf(theme);
  ctx.fillStyle = theme.muted;
  ctx.textBaseline = "middle";
  const shown = cutText(ctx, text, width);
  ctx.fillText(shown, left, pane.top - CAPTION / 2);
  ctx.restore();
}

/** The keys to lines, [[text, colour, dash]], right to left before `right`; gives what they leave free. */
export function drawKeys(ctx, keys, right, y, theme) {
  ctx.save();
  ctx.font = fontOf(theme);
  ctx.textAlign = "right";
  ctx.textBaseline = "middle";
  ctx.lineWidth = 1.5;
  for (const [text, colour, dash] of keys) {
    ctx.fillStyle = theme.muted;
    ctx.fillText(text, right, y);
    const end = right - ctx.measureText(text).width - 6;
    ctx.strokeStyle = colour;
    ctx.setLineDash(dash);
    ctx.beginPath();
    ctx.moveTo(end - 22, y);
    ctx.lineTo(end, y);
    ctx.stroke();
    right = end - 36;
  }
  ctx.restore();
  return right;
}

/** Words in the middle of a pane, over as many lines as they need. */
export function drawWords(ctx, pane, text, colour, theme) {
  ctx.save();
  ctx.font = fontOf(theme, 12);
  ctx.fillStyle = colour;
  ctx.textAlign = "center";
  ctx.textBaseline = "middle";
  const most = Math.max(1, Math.floor(pane.height / 16));
  const lines = wrapped(ctx, text, pane.width - 16);
  if (lines.length > most) lines.splice(most - 1, Infinity, cutText(ctx, `${lines[most - 1]} …`, pane.width - 16));
  lines.forEach((line, i) => {
    const y = pane.top + pane.height / 2 + 16 * (i - (lines.length - 1) / 2);
    ctx.fillText(cutText(ctx, line, pane.width - 8), pane.left + pane.width / 2, y);
  });
  ctx.restore();
}

function wrapped(ctx, text, width) {
  const lines = [""];
  for (const word of String(text).split(/\s+/)) {
    const longer = lines[lines.length - 1] ? `${lines[lines.length - 1]} ${word}` : word;
    if (lines[lines.length - 1] && ctx.measureText(longer).width > width) lines.push(word);
    else lines[lines.length - 1] = longer;
  }
  return lines;
}

/** An upright line through all panes at a bar. */
export function drawUpright(ctx, panes, x, colour, dash) {
  ctx.save();
  ctx.strokeStyle = colour;
  ctx.lineWidth = 1;
  ctx.setLineDash(dash);
  ctx.beginPath();
  for (const pane of Object.values(panes)) {
    ctx.moveTo(crisp(x), pane.top);
    ctx.lineTo(crisp(x), pane.top + pane.height);
  }
  ctx.stroke();
  ctx.restore();
}

/** Clip to a pane until the next restore. */
export function clipTo(ctx, pane) {
  ctx.beginPath();
  ctx.rect(pane.left, pane.top, pane.width, pane.height);
  ctx.clip();
}

/** The middle of the nearest pixel, where lines one pixel wide are sharp. */
export function crisp(value) {
  return Math.round(value - 0.5) + 0.5;
}
