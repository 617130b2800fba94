import { shareText } from "./axes.js";

const HINT_ROW = "Click a row of the map to light up what it looks at";
const HINT_SPAN = "drag over the candles to add up a span.";

/** Sum of `values` from index a to b, both included; what lies outside of them counts nothing. */
export function sumInside(values, [a, b]) {
  let sum = 0;
  for (let i = Math.max(0, a); i <= Math.min(b, values.length - 1); i += 1) sum += values[i];
  return sum;
}

/** The selected row {lit, of} and the brushed span in words. */
export function selectionText({ attends, row, span, spanDates, dateOf, length, scores, none, signed }) {
  const lines = [];
  if (row) {
    const most = row.lit.indexOf(Math.max(...row.lit));
    lines.push(`${row.of[0].toUpperCase()}${row.of.slice(1)} looks most at ${dateOf(most)}: ${shareText(row.lit[most])}.`);
  }
  if (span) {
    const bars = Math.max(0, Math.min(span[1], length - 1) - Math.max(span[0], 0) + 1);
    lines.push(`${spanDates.join(" → ")}: ${bars} of ${span[1] - span[0] + 1} bars lie in the window.`);
    if (scores) lines.push(spanText(sumInside(scores, span), none && sumInside(none, span), signed));
    if (row) lines.push(`Of the selected row: ${shareText(sumInside(row.lit, span) / sumInside(row.lit, [0, length - 1]))}.`);
  }
  return lines.join(" ") || (attends ? `${HINT_ROW}; ${HINT_SPAN}` : HINT_SPAN[0].toUpperCase() + HINT_SPAN.slice(1));
}

function spanText(inside, even, signed) {
  if (signed) return `Contributions inside add up to ${inside.toPrecision(3)}.`;
  const beside = even === null || even === undefined ? "" : `; of an indifferent model's: ${shareText(even)}`;
  return `Share of the explanation inside: ${shareText(inside)}${beside}.`;
}
