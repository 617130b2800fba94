/** Candles, closes and volumes of visible bars. */

import { crisp } from "./panes.js";

const THINNEST_CANDLE = 1.6;

/** Whether a bar closed at or above its open, or its last close where it has no open. */
function isRising(bars, bar) {
  const before = Number.isFinite(bars.open[bar]) ? bars.open[bar] : bars.close[bar - 1];
  return !(bars.close[bar] < before);
}

/** Lowest and highest price of the bars first … last, with some air; null where there is none. */
export function priceRange(bars, { first, last }) {
  let low = Infinity;
  let high = -Infinity;
  for (let bar = first; bar <= last; bar += 1) {
    for (const value of [bars.low[bar], bars.high[bar], bars.close[bar]]) {
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  if (!(high >= low)) return null;
  const air = 0.05 * (high - low) || 0.01 * Math.abs(high) || 1;
  return { low: low - air, high: high + air };
}

/** Whether any visible bar has more than its close. */
function hasCandles(bars, { first, last }) {
  for (let bar = first; bar <= last; bar += 1) {
    if (Number.isFinite(bars.open[bar] + bars.high[bar] + bars.low[bar])) return true;
  }
  return false;
}

/** Draw prices: candles where they have room, else the range of each pixel and the closes. */
export function drawPrices(ctx, bars, range, place, scale, theme) {
  ctx.save();
  if (!hasCandles(bars, range)) {
    const closes = { low: bars.close, high: bars.close };
    if (place.step < 0.5) drawExtremes(ctx, closes, range, place, scale, theme.up, 1);
    drawCloses(ctx, bars, range, place, scale, theme.up, 1.4);
  } else if (place.step < THINNEST_CANDLE) {
    drawExtremes(ctx, bars, range, place, scale, theme.up, 0.35);
    drawCloses(ctx, bars, range, place, scale, theme.up, 1.2);
  } else {
    for (const rising of [true, false]) drawCandlesOf(rising, ctx, bars, range, place, scale, theme);
  }
  ctx.restore();
}

/** The rising or the falling candles, in one path a kind: quicker than a path a candle. */
function drawCandlesOf(rising, ctx, bars, range, place, scale, theme) {
  const width = bodyWidth(place.step);
  ctx.strokeStyle = rising ? theme.up : theme.down;
  ctx.fillStyle = ctx.strokeStyle;
  ctx.lineWidth = place.step < 4.2 ? 0.8 : 1;
  const shown = [];
  for (let bar = range.first; bar <= range.last; bar += 1) {
    if (Number.isFinite(bars.close[bar]) && isRising(bars, bar) === rising) shown.push(bar);
  }
  ctx.beginPath();
  for (const bar of shown) {
    if (!Number.isFinite(bars.high[bar] - bars.low[bar])) continue;
    const x = crisp(place.x(bar));
    ctx.moveTo(x, scale.y(bars.high[bar]));
    ctx.lineTo(x, scale.y(bars.low[bar]));
  }
  ctx.stroke();
  ctx.beginPath();
  for (const bar of shown) {
    const close = scale.y(bars.close[bar]);
    const open = Number.isFinite(bars.open[bar]) ? scale.y(bars.open[bar]) : close;
    const height = Math.max(1, Math.abs(close - open));
    ctx.rect(crisp(place.x(bar)) - width / 2, Math.min(open, close, (open + close - height) / 2), width, height);
  }
  ctx.fill();
}

/** Odd numbers of pixels, so that a body stands evenly about its wick; fractions where there are too few. */
function bodyWidth(step) {
  return step < 4.2 ? Math.max(1, 0.75 * step) : 2 * Math.floor((0.72 * step - 1) / 2) + 1;
}

/** A line through the closes, broken where there is none; a dot where a bar stands alone. */
function drawCloses(ctx, bars, range, place, scale, colour, width) {
  drawLine(ctx, range, place, (bar) => scale.y(bars.close[bar]), colour, width);
  if (place.step < 8) return;
  ctx.fillStyle = colour;
  for (let bar = range.first; bar <= range.last; bar += 1) {
    if (Number.isFinite(bars.close[bar])) ctx.fillRect(place.x(bar) - 1.5, scale.y(bars.close[bar]) - 1.5, 3, 3);
  }
}

/** A line through yOf(bar), broken where that is not a number; one bar a pixel where they are closer. */
function drawLine(ctx, { first, last }, place, yOf, colour, width) {
  ctx.strokeStyle = colour;
  ctx.lineWidth = width;
  ctx.lineJoin = "round";
  ctx.beginPath();
  const every = Math.max(1, Math.floor(1 / place.step));
  let drawing = false;
  for (let bar = first; bar <= last; bar += 1) {
    const y = yOf(bar);
    if (drawing && Number.isFinite(y) && bar % every !== 0 && bar !== last) continue;
    if (Number.isFinite(y) && drawing) ctx.lineTo(place.x(bar), y);
    else if (Number.isFinite(y)) ctx.moveTo(place.x(bar), y);
    drawing = Number.isFinite(y);
  }
  ctx.stroke();
}

/** The range from lowest low to highest high of the bars that share a pixel. */
function drawExtremes(ctx, bars, range, place, scale, colour, alpha) {
  ctx.save();
  ctx.globalAlpha = alpha;
  ctx.fillStyle = colour;
  ctx.beginPath();
  eachPixel(range, place, (x, from, to) => {
    let low = Infinity;
    let high = -Infinity;
    for (let bar = from; bar <= to; bar += 1) {
      if (bars.low[bar] < low) low = bars.low[bar];
      if (bars.high[bar] > high) high = bars.high[bar];
    }
    if (high >= low) ctx.rect(x, scale.y(high), 1, Math.max(1, scale.y(low) - scale.y(high)));
  });
  ctx.fill();
  ctx.restore();
}

/** Call draw(x, from, to) for every pixel column and the bars whose middles it holds. */
function eachPixel({ first, last }, place, draw) {
  let from = first;
  for (let bar = first; bar <= last; bar += 1) {
    const x = Math.floor(place.x(bar));
    if (bar === last || Math.floor(place.x(bar + 1)) > x) {
      draw(x, from, bar);
      from = bar + 1;
    }
  }
}

/** Largest volume of the bars first … last; 0 where none is known. */
export function volumeTop(bars, { first, last }) {
  let top = 0;
  for (let bar = first; bar <= last; bar += 1) if (bars.volume[bar] > top) top = bars.volume[bar];
  return top;
}

/** Draw volumes, blue and vermilion like their candles; where bars share a pixel, the largest of them. */
export function drawVolumes(ctx, bars, range, place, scale, theme) {
  ctx.save();
  ctx.globalAlpha = 0.7;
  const width = Math.max(1, bodyWidth(place.step));
  const foot = scale.y(0);
  const paths = { true: [], false: [] };
  eachPixel(range, place, (x, from, to) => {
    let largest = from;
    for (let bar = from; bar <= to; bar += 1) if (bars.volume[bar] > bars.volume[largest]) largest = bar;
    const y = scale.y(bars.volume[largest]);
    const middle = from === to ? crisp(place.x(from)) : x + 0.5;
    if (y < foot) paths[isRising(bars, largest)].push([middle - width / 2, y]);
  });
  for (const rising of [true, false]) {
    ctx.fillStyle = rising ? theme.up : theme.down;
    ctx.beginPath();
    for (const [x, y] of paths[rising]) ctx.rect(x, y, width, foot - y);
    ctx.fill();
  }
  ctx.restore();
}
