/** What the model answered on a day, what was done, and what happened next: in words and bars. */

import { dateText } from "./axes.js";

const PARTS_OF_DATA = [
  "Not known: the model may have learnt from this day.",
  "Training: the model learnt from this day, so its answer proves nothing.",
  "Validation: the model was chosen by days like this one.",
  "Test: the model has never seen this day.",
  "Between the parts: left out on purpose, so that no label reaches from one into the next.",
];

/** A return with its sign: 0.0123 is "+1.23 %". */
export function returnText(fraction) {
  const percent = (100 * Math.abs(fraction)).toFixed(2);
  return `${fraction < 0 && percent !== "0.00" ? "−" : "+"}${percent} %`;
}

/**
 * A position from −1 to 1 in words; `sure` is the largest probability, `confidence` what it takes to act, and
 * `traded` says whether the account holds it.
 */
export function positionText(position, { sure = null, confidence = 0, traded = true } = {}) {
  if (!Number.isFinite(position)) return "none: these answers are not traded";
  const unsure = sure !== null && sure < confidence;
  if (position === 0 && unsure) return `out of the market: less sure than the ${Number((100 * confidence).toPrecision(3))} % asked for`;
  const side = position === 0 ? "out of the market" : position > 0 ? "long" : "short";
  const size = Math.abs(position);
  const part = size === 1 || size === 0 ? "" : `, ${Number((100 * size).toPrecision(3))} % of the money`;
  return `${side}${part}${traded ? "" : ", not traded on this day"}`;
}

/** The answer of one day. */
export class AnswerPanel {
  constructor(host) {
    this.props = {};
    this.element = document.createElement("section");
    this.element.className = `awb-answer-panel ${host.closest(".awb") ? "" : "awb"}`;
    this.element.setAttribute("aria-label", "What the model answered");
    this.heading = this.child("div", "awb-answer-heading");
    this.bars = this.child("ul", "awb-answer-bars");
    this.words = this.child("dl", "awb-answer-words");
    host.append(this.element);
  }

  child(tag, className, parent = this.element) {
    const made = document.createElement(tag);
    made.className = className;
    parent.append(made);
    return made;
  }

  /**
   * Take over classes, probabilities, forecast, unit ("return" or "value"), happened, moved, horizon, position,
   * confidence, traded, split, date, intraday.
   */
  set(patch) {
    Object.assign(this.props, patch);
    const { classes = [], probabilities, date, intraday } = this.props;
    this.heading.textContent = Number.isFinite(date) ? `Answer of ${dateText(date, intraday)}` : "Answer";
    const known = probabilities && [...probabilities].every(Number.isFinite);
    this.bars.hidden = !known;
    this.bars.replaceChildren();
    const chosen = known ? probabilities.indexOf(Math.max(...probabilities)) : -1;
    if (known) classes.forEach((name, i) => this.bar(name, probabilities[i], i === chosen));
    this.words.replaceChildren();
    for (const [term, text] of this.lines()) {
      this.child("dt", "", this.words).textContent = term;
      this.child("dd", "", this.words).textContent = text;
    }
  }

  bar(name, probability, chosen) {
    const row = this.child("li", chosen ? "awb-answer-row awb-answer-chosen" : "awb-answer-row", this.bars);
    this.child("span", "awb-answer-class", row).textContent = `${chosen ? "▸ " : ""}${name}`;
    const track = this.child("span", "awb-answer-track", row);
    track.setAttribute("aria-hidden", "true");
    const filled = this.child("span", "awb-answer-fill", track);
    filled.style.width = `${100 * Math.min(1, Math.max(0, probability))}%`;
    if (name === "buy" || name === "sell") filled.dataset.move = name;
    this.child("span", "awb-answer-number", row).textContent = `${(100 * probability).toFixed(1)} %`;
    if (chosen) this.child("span", "awb-hidden", row).textContent = ", the likeliest";
  }

  lines() {
    const { classes = [], probabilities, forecast, unit, happened, moved, horizon = 1, position, split } = this.props;
    const { confidence, traded } = this.props;
    const ahead = `${horizon} bar${horizon === 1 ? "" : "s"}`;
    const lines = [];
    if (!probabilities && Number.isFinite(forecast)) {
      const text = unit === "value" ? String(Number(forecast.toPrecision(4))).replace("-", "−") : returnText(forecast);
      lines.push(["Forecast", `${text} in ${ahead}`]);
    }
    const name = moved >= 0 && classes[moved] ? ` (${classes[moved]})` : "";
    lines.push(["Then", Number.isFinite(happened) ? `${returnText(happened)} in ${ahead}${name}` : "not known yet"]);
    const sure = probabilities ? Math.max(...probabilities) : null;
    lines.push(["Position", positionText(position, { sure, confidence, traded })]);
    lines.push(["Part", PARTS_OF_DATA[split] ?? PARTS_OF_DATA[0]]);
    return lines;
  }

  /** The panel as one line of text, for exports. */
  describe() {
    const { classes = [], probabilities } = this.props;
    const likeliest = probabilities ? Math.max(...probabilities) : NaN;
    const rows = [...this.bars.children].map((_, i) => {
      const text = `${classes[i]} ${(100 * probabilities[i]).toFixed(1)} %`;
      return probabilities[i] === likeliest ? `${text}, the likeliest` : text;
    });
    return [this.heading.textContent, ...rows, ...this.lines().map((line) => line.join(": "))].join("; ");
  }

  /** Leave the page. */
  destroy() {
    this.element.remove();
  }
}
