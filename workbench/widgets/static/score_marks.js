/** Scores under the candles: what a window's bars mean to the model, and what an indifferent one would show. */

import { dominated } from "./axes.js";
import { drawCaption, drawKeys, valueScale } from "./panes.js";

/** What is wrong with the scores, in words; null when they can be drawn. */
export function scoreFault({ scores, none, window }) {
  if (!window) return "there is no window at this bar: choose another day";
  const bars = window[1] - window[0] + 1;
  if (scores.length !== bars) return `${scores.length} scores came for a window of ${bars} bars`;
  if (none && none.length !== bars) return `a null of ${none.length} scores came for a window of ${bars} bars`;
  return null;
}

/** Whether scores are shares, written in percent. */
export function arePercent({ scoreLabel }) {
  return Boolean(scoreLabel?.includes("%"));
}

/** A score in words. */
export function scoreText(value, props) {
  if (!Number.isFinite(value)) return "–";
  const shown = arePercent(props) ? 100 * value : value;
  const size = Math.abs(shown);
  const text = size >= 0.1 || size === 0 ? shown.toFixed(size >= 100 ? 1 : 2) : String(Number(shown.toPrecision(2)));
  return `${text.replace("-", "−")}${arePercent(props) ? " %" : ""}`;
}

/**
 * Scale of the score pane: from 0 for shares, evenly about 0 for signed scores. A few bars far above all
 * others, such as the last one's in a rollout, do not flatten the rest: they are cut, and their value written.
 */
export function scoreScale(pane, props) {
  const tops = [props.scores, props.none].filter(Boolean).map((values) => dominated(values));
  const top = (Math.max(...tops, 0) || 1) * (arePercent(props) ? 100 : 1);
  return valueScale(pane, props.signed ? -1.2 * top : 0, 1.2 * top);
}

/** Draw scores as bars and the null as a stepped outline. */
export function drawScores(ctx, pane, scale, props, place, theme) {
  const { scores, none, window, signed } = props;
  const factor = arePercent(props) ? 100 : 1;
  const width = Math.max(0.8, place.step * (place.step < 3 ? 1 : 0.72));
  const foot = scale.y(0);
  for (const negative of signed ? [false, true] : [false]) {
    ctx.fillStyle = negative ? theme.down : signed ? theme.up : theme.accent;
    ctx.beginPath();
    scores.forEach((score, i) => {
      if (!Number.isFinite(score) || score < 0 !== negative) return;
      const y = within(pane, scale.y(factor * score));
      ctx.rect(place.x(window[0] + i) - width / 2, Math.min(y, foot), width, Math.abs(y - foot));
    });
    ctx.fill();
  }
  if (signed) drawZero(ctx, pane, foot, theme);
  if (none) drawNull(ctx, pane, scale, none, factor, window, place, theme);
  drawCuts(ctx, pane, scale, props, place, theme);
}

function within(pane, y) {
  return Math.max(pane.top, Math.min(pane.top + pane.height, y));
}

/** Write the value of each bar that the pane cuts, beside a notch. */
function drawCuts(ctx, pane, scale, props, place, theme) {
  const factor = arePercent(props) ? 100 : 1;
  ctx.font = `600 11px ${theme.font}`;
  ctx.textBaseline = "middle";
  let taken = -Infinity; // where the label before ends
  props.scores.forEach((score, i) => {
    const y = scale.y(factor * score);
    if (!Number.isFinite(score) || y === within(pane, y)) return;
    const x = place.x(props.window[0] + i);
    const edge = y < pane.top ? pane.top + 7 : pane.top + pane.height - 7;
    const half = Math.max(2, place.step / 2);
    ctx.strokeStyle = theme.paper;
    ctx.lineWidth = 2;
    ctx.beginPath();
    ctx.moveTo(x - half - 1, edge + 3);
    ctx.lineTo(x + half + 1, edge - 3);
    ctx.stroke();
    ctx.fillStyle = theme.ink;
    const text = scoreText(score, props);
    const before = x - half - 4 - ctx.measureText(text).width;
    const left = before > Math.max(taken, pane.left) ? before : x + half + 4;
    if (left <= taken) return; // the tooltip tells it
    ctx.textAlign = "left";
    ctx.fillText(text, left, edge);
    taken = left + ctx.measureText(text).width + 4;
  });
}

function drawZero(ctx, pane, y, theme) {
  ctx.strokeStyle = theme.muted;
  ctx.lineWidth = 1;
  ctx.beginPath();
  ctx.moveTo(pane.left, y);
  ctx.lineTo(pane.left + pane.width, y);
  ctx.stroke();
}

function drawNull(ctx, pane, scale, none, factor, window, place, theme) {
  ctx.strokeStyle = theme.null;
  ctx.lineWidth = 1.4;
  ctx.setLineDash([4, 2]);
  ctx.beginPath();
  none.forEach((value, i) => {
    if (!Number.isFinite(value)) return;
    const [x, y] = [place.x(window[0] + i), within(pane, scale.y(factor * value))];
    ctx.lineTo(x - place.step / 2, y);
    ctx.lineTo(x + place.step / 2, y);
  });
  ctx.stroke();
  ctx.setLineDash([]);
}

/** The line above the scores: what they are, and the key to the outline. */
export function drawScoreCaption(ctx, pane, props, theme) {
  const right = pane.left + pane.width;
  const keys = props.none && !props.message ? [["an indifferent model (null)", theme.null, [4, 2]]] : [];
  const free = drawKeys(ctx, keys, right, pane.top - 7, theme);
  drawCaption(ctx, pane, props.scoreLabel ?? "score", theme, pane.left, free - pane.left);
}

/**
 * What lies inside the brushed bars: {bars, inside, share, none}, or null without brush or scores.
 * `share` is of the sum of absolute scores; `none` the same of the null, or null.
 */
export function shareInside(props) {
  const { scores, none, window, brush } = props;
  if (!brush || !scores || scoreFault(props) !== null) return null;
  const [from, to] = [Math.max(brush[0], window[0]), Math.min(brush[1], window[1])];
  const share = (values) => {
    const sum = (start, end) => values.slice(start, Math.max(start, end)).reduce((all, v) => all + Math.abs(v || 0), 0);
    const whole = sum(0, values.length);
    return whole > 0 ? sum(from - window[0], to + 1 - window[0]) / whole : 0;
  };
  return {
    bars: brush[1] - brush[0] + 1,
    inside: Math.max(0, to - from + 1),
    share: share(scores),
    none: none ? share(none) : null,
  };
}
