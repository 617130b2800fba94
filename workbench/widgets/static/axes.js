/** Axes: where bars stand, which values and dates are labelled, and how values are written. */

/** Room beside the plots, the same everywhere so that they stand in line. */
export const MARGIN = { left: 64, right: 14 };

const MINUTE = 60000;
const DAY = 1440 * MINUTE;
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** Scale between the bars first … last and the pixels of a plot `width` wide that starts at `left`. */
export function barScale(first, last, left, width) {
  const step = width / Math.max(1, last - first + 1);
  return {
    step,
    x: (bar) => left + (bar - first + 0.5) * step,
    bar: (x) => Math.min(last, Math.max(first, first + Math.floor((x - left) / step))),
  };
}

/** Round values from low to high, about `count` of them. */
export function linearTicks(low, high, count) {
  if (!(high > low) || !Number.isFinite(high - low)) return Number.isFinite(low) ? [low] : [];
  const rough = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 2.5, 5, 10].find((k) => k * power >= rough * 0.999) ?? 10);
  const ticks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k += 1) {
    ticks.push(Number((k * step).toPrecision(12)));
  }
  return ticks;
}

/**
 * Where a scale of sizes may end: at the largest, or, where a few (up to 2 %, at least one) are more than
 * twice as large as all others, at the largest of the others.
 */
export function dominated(values) {
  const sizes = Float64Array.from(values, Math.abs).filter(Number.isFinite).sort().reverse();
  const few = Math.max(1, Math.ceil(0.02 * sizes.length));
  if (sizes.length <= 2 * few) return sizes[0] ?? 0;
  return sizes[0] > 2 * sizes[few] && sizes[few] > 0 ? sizes[few] : sizes[0];
}

/** Values 1, 2 and 5 times powers of ten from low to high, for logarithmic axes. */
export function logTicks(low, high, count) {
  if (!(low > 0) || !(high > low)) return [];
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); 10 ** power <= high; power += 1) {
    for (const k of [1, 2, 5]) {
      const value = Number((k * 10 ** power).toPrecision(6));
      if (value >= low && value <= high) ticks.push(value);
    }
  }
  if (ticks.length < 2) return linearTicks(low, high, count);
  const every = Math.ceil(ticks.length / Math.max(2, count));
  return ticks.filter((_, i) => i % every === 0);
}

/** Texts of an axis' ticks, all with as many decimals as tell them apart. */
export function tickTexts(ticks) {
  const largest = Math.max(0, ...ticks.map(Math.abs));
  if (largest >= 1e5) return ticks.map(amountText);
  let decimals = 0;
  while (decimals < 10 && ticks.some((v) => Math.abs(Number(v.toFixed(decimals)) - v) > 1e-9 * largest)) {
    decimals += 1;
  }
  return ticks.map((v) => grouped(v.toFixed(decimals)));
}

const LADDER = [
  ...[1, 5, 15, 30, 60, 180, 360, 720].map((minutes) => ({
    unit: "time",
    period: (ms) => Math.floor(ms / (minutes * MINUTE)),
  })),
  ...[1, 2].map((days) => ({ unit: "day", period: (ms) => Math.floor(ms / (days * DAY)) })),
  ...[1, 2].map((weeks) => ({ unit: "day", period: (ms) => Math.floor((ms / DAY + 3) / (7 * weeks)) })),
  ...[1, 2, 3, 6].map((months) => ({ unit: "month", period: (ms) => Math.floor(monthOf(ms) / months) })),
  ...[1, 2, 5, 10, 20, 50].map((years) => ({
    unit: "year",
    period: (ms) => Math.floor(monthOf(ms) / (12 * years)),
  })),
];

/** Months since the year 0. */
function monthOf(ms) {
  const date = new Date(ms);
  return 12 * date.getUTCFullYear() + date.getUTCMonth();
}

/**
 * Labelled bars among first … last on an axis `pixels` long: [{bar, text}], never overlapping.
 * They are the first bars of hours, days, weeks, months or years, whichever is the finest that fits.
 */
export function dateTicks(dates, first, last, pixels) {
  const from = Math.max(0, first);
  const to = Math.min(dates.length - 1, last);
  if (!(to >= from)) return [];
  const place = barScale(first, last, 0, pixels);
  const typical = (dates[to] - dates[from]) / Math.max(1, to - from);
  for (const { unit, period } of LADDER) {
    if (typical >= DAY && unit === "time") continue;
    const bars = startsOf(dates, from, to, period, pixels / 24);
    if (bars === null || bars.length < 2) continue;
    const ticks = labelled(dates, bars, unit);
    if (fits(ticks, place, pixels)) return ticks;
  }
  return fewTicks(dates, from, to, place, pixels);
}

/** Bars that open a period; null as soon as there are more than `most`. */
function startsOf(dates, from, to, period, most) {
  const bars = [];
  let before = from > 0 ? period(dates[from - 1]) : period(dates[from]);
  for (let bar = from; bar <= to; bar += 1) {
    const now = period(dates[bar]);
    if (now !== before) bars.push(bar);
    if (bars.length > most) return null;
    before = now;
  }
  return bars;
}

/** Texts of ticks, the coarser part of a date only where it changes. */
function labelled(dates, bars, unit) {
  let coarse = "";
  return bars.map((bar) => {
    const [fine, context] = parts(dates[bar], unit);
    const text = context === coarse ? fine[0] : fine[1];
    coarse = context;
    return { bar, text };
  });
}

/** [[short, full], context] of a date: the short text does while the context stays. */
function parts(ms, unit) {
  const date = new Date(ms);
  const year = String(date.getUTCFullYear());
  const month = MONTHS[date.getUTCMonth()];
  const day = String(date.getUTCDate());
  if (unit === "year") return [[year, year], ""];
  if (unit === "month") return [[month, `${month} ${year}`], year];
  if (unit === "day") return [[day, `${day} ${month} ${year}`], `${month} ${year}`];
  const time = dateText(ms, true).slice(11);
  return [[time, `${day} ${month} ${time}`], `${day} ${month} ${year}`];
}

/** Room that a label takes at 11 px, in any font of the page. */
function textRoom(text) {
  return 6.6 * text.length + 10;
}

function fits(ticks, place, pixels) {
  let free = -MARGIN.left;
  for (const { bar, text } of ticks) {
    const half = textRoom(text) / 2;
    if (place.x(bar) - half < free) return false;
    free = place.x(bar) + half;
  }
  return free <= pixels + MARGIN.right + 5;
}

/** A few evenly spread bars, where no ladder step fits. */
function fewTicks(dates, from, to, place, pixels) {
  const intraday = dates[to] - dates[from] < 2 * DAY && to > from;
  const text = (bar) => dateText(dates[bar], intraday);
  const room = Math.max(1, Math.floor(pixels / textRoom(text(from))));
  const count = Math.min(room, to - from + 1);
  const bars = Array.from({ length: count }, (_, i) => from + Math.floor(((i + 0.5) * (to - from + 1)) / count));
  const ticks = bars.map((bar) => ({ bar, text: text(bar) }));
  return fits(ticks, place, pixels) ? ticks : ticks.slice(0, 1);
}

/** "2011-08-08", or "2011-08-08 14:30" (UTC) for bars within a day. */
export function dateText(ms, intraday) {
  if (!Number.isFinite(ms)) return "no date";
  return new Date(ms).toISOString().slice(0, intraday ? 16 : 10).replace("T", " ");
}

/** A price with as many decimals as it deserves. */
export function priceText(v) {
  if (!Number.isFinite(v)) return "–";
  const size = Math.abs(v);
  if (size >= 1 || size === 0) return grouped(v.toFixed(2));
  return size >= 0.01 ? v.toFixed(4) : String(Number(v.toPrecision(4)));
}

/** A share as percent: 0.0321 is "3.21 %". */
export function shareText(v) {
  if (!Number.isFinite(v)) return "–";
  const percent = 100 * v;
  if (percent > 0 && percent < 0.001) return "< 0.001 %";
  return `${Math.abs(percent) >= 0.1 || v === 0 ? percent.toFixed(2) : String(Number(percent.toPrecision(2)))} %`;
}

/** A large number in short: 1500000 is "1.5 M". */
export function amountText(v) {
  if (!Number.isFinite(v)) return "–";
  const size = Math.abs(v);
  const [divisor, sign] = [[1e12, " T"], [1e9, " G"], [1e6, " M"], [1e3, " k"]].find(([d]) => size >= d) ?? [1, ""];
  return `${Number((v / divisor).toPrecision(size / divisor >= 100 ? 4 : 3))}${sign}`;
}

function grouped(text) {
  const [whole, decimals] = text.replace("-", "−").split(".");
  const spaced = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  return decimals === undefined ? spaced : `${spaced}.${decimals}`;
}
