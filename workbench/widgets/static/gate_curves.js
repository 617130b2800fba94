/** Losses and gradient norms by gate over the epochs of a training. */

import { MARGIN, barScale, linearTicks, logTicks, tickTexts } from "./axes.js";
import { BarView } from "./bar_view.js";
import { clamp } from "./paint.js";
import { clipTo, crisp, drawFrame, drawHeader, drawKeys, drawUpright, drawWords, fontOf, stackPanes, valueScale } from "./panes.js";

const FEWEST_EPOCHS = 8; // an axis as long as that from the start, so that it doesn't jump with each epoch
const MOST_DOTS = 60;
const KEYS_WIDTH = 430; // of a view that has room for the keys of four lines beside each other
const KEYS_LINE = 15;
const SUPERSCRIPTS = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };
// Okabe and Ito's colours, darker on white and lighter on black; dashes tell them apart without colours.
const GATE_INKS = {
  input: ["#0072b2", "#56b4e9", []],
  reset: ["#0072b2", "#56b4e9", []],
  forget: ["#c85400", "#f0803c", [7, 3]],
  update: ["#c85400", "#f0803c", [7, 3]],
  candidate: ["#007a5a", "#2fc79a", [2, 3]],
  output: ["#a3528a", "#e3a0c8", [9, 3, 2, 3]],
};

/** The colour and the dash of a gate's line. */
export function gateInk(gate, theme) {
  const [light, dark, dash] = GATE_INKS[gate];
  return { colour: theme.dark ? dark : light, dash };
}

/** A figure as people read it: four digits, powers of ten where it is very small or large. */
export function figureText(value) {
  if (!Number.isFinite(value)) return "not finite";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e5)) {
    const [digits, power] = value.toExponential(2).split("e");
    return `${digits.replace("-", "−")}·10${raised(Number(power))}`;
  }
  return String(Number(value.toPrecision(4))).replace("-", "−");
}

function raised(power) {
  return String(power).replace(/./g, (letter) => SUPERSCRIPTS[letter]);
}

/**
 * Props: `epochs`, `taken` (whether the model was looked at) and `losses` [{name, values}], one number an epoch;
 * `norms` [{gate, values}]; `layer`, `epoch` (the one whose panels are shown), `gate` (one that is chosen), `hover`.
 * Events: `hover` {bar}, `pick` {bar}, `step` {by}; a bar is an epoch.
 */
export class GateCurves extends BarView {
  /** One more than the last epoch. */
  get count() {
    return this.props.epochs?.length ? this.props.epochs.at(-1) + 1 : 0;
  }

  range() {
    const { epochs } = this.props;
    const first = epochs?.[0] ?? 1;
    return { first, last: Math.max(this.count - 1, first + FEWEST_EPOCHS - 1) };
  }

  place(width = this.element.clientWidth) {
    const { first, last } = this.range();
    return barScale(first, last, MARGIN.left, Math.max(1, width - MARGIN.left - MARGIN.right));
  }

  home() {
    return this.props.epoch ?? null;
  }

  /** The lower pane leaves a second line to the keys where one is too short. */
  panes(size) {
    const panes = stackPanes(size, { losses: 1, norms: 1.25 }, ["losses", "norms"]);
    if (size.width >= KEYS_WIDTH) return panes;
    const { top, height } = panes.norms;
    return { ...panes, norms: { ...panes.norms, top: top + KEYS_LINE, height: Math.max(1, height - KEYS_LINE) } };
  }

  paint(ctx, size, theme) {
    if (this.count === 0) {
      drawWords(ctx, { left: 0, top: 0, ...size }, "No epoch is over yet.", theme.muted, theme);
      return;
    }
    const [panes, place] = [this.panes(size), this.place(size.width)];
    this.paintEpochs(ctx, panes, place, theme);
    this.paintLosses(ctx, panes.losses, place, theme);
    this.paintNorms(ctx, panes.norms, place, theme);
    drawHeader(ctx, size, "Losses and gradient norms", this.props.layer ?? "", theme);
    const { epoch } = this.props;
    if (epoch) drawUpright(ctx, panes, place.x(epoch), theme.ink, [2, 3]);
  }

  /** Epochs beneath the lowest pane, and their lines through both. */
  paintEpochs(ctx, panes, place, theme) {
    const { first, last } = this.range();
    const { left, width, top, height } = panes.norms;
    const whole = linearTicks(first, last, Math.max(2, Math.floor(width / 60))).filter(Number.isInteger);
    ctx.save();
    ctx.strokeStyle = theme.grid;
    ctx.beginPath();
    for (const pane of Object.values(panes)) {
      for (const epoch of whole) {
        ctx.moveTo(crisp(place.x(epoch)), pane.top);
        ctx.lineTo(crisp(place.x(epoch)), pane.top + pane.height);
      }
    }
    ctx.stroke();
    ctx.fillStyle = theme.muted;
    ctx.font = fontOf(theme);
    ctx.textBaseline = "top";
    ctx.textAlign = "center";
    for (const epoch of whole) if (place.x(epoch) < left + width - 42) ctx.fillText(String(epoch), place.x(epoch), top + height + 6);
    ctx.textAlign = "right";
    ctx.fillText("epoch", left + width, top + height + 6);
    ctx.restore();
  }

  paintLosses(ctx, pane, place, theme) {
    const lines = this.lossLines(theme);
    const known = lines.flatMap(({ values }) => Array.from(values).filter(Number.isFinite));
    const [low, high] = [Math.min(...known), Math.max(...known)];
    const air = 0.08 * (high - low) || 0.05 * Math.abs(high) || 1;
    const scale = known.length ? valueScale(pane, low - air, high + air) : { ticks: [], texts: [], y: () => NaN };
    drawFrame(ctx, pane, scale, "loss", theme);
    this.paintLines(ctx, pane, place, scale, lines, theme);
    if (!known.length) drawWords(ctx, pane, "this training tells no losses", theme.muted, theme);
  }

  lossLines(theme) {
    const looks = { train_loss: [theme.muted, [5, 3]], valid_loss: [theme.accent, []] };
    return (this.props.losses ?? []).map(({ name, values }) => {
      const [colour, dash] = looks[name] ?? [theme.ink, [1, 2]];
      return { text: lossText(name), values, colour, dash };
    });
  }

  paintNorms(ctx, pane, place, theme) {
    const lines = (this.props.norms ?? []).map(({ gate, values }) => ({ text: gate, gate, values, ...gateInk(gate, theme) }));
    const known = lines.flatMap(({ values }) => Array.from(values).filter((value) => value > 0 && Number.isFinite(value)));
    const [low, high] = known.length ? [Math.min(...known) / 1.3, Math.max(...known) * 1.3] : [0.1, 1];
    const scale = powerScale(pane, low, high);
    drawFrame(ctx, pane, known.length ? scale : { ticks: [], texts: [] }, "norm before clipping [log]", theme);
    if (!lines.length) drawWords(ctx, pane, "no gradient has been measured yet", theme.muted, theme);
    else this.paintLines(ctx, pane, place, { ...scale, y: (value) => (value > 0 ? scale.y(value) : pane.top + pane.height) }, lines, theme);
  }

  paintLines(ctx, pane, place, scale, lines, theme) {
    const { gate } = this.props;
    ctx.save();
    clipTo(ctx, pane);
    for (const line of lines) {
      ctx.globalAlpha = gate && line.gate && line.gate !== gate ? 0.3 : 1;
      ctx.strokeStyle = ctx.fillStyle = line.colour;
      ctx.lineWidth = gate && line.gate === gate ? 2.5 : 1.7;
      ctx.lineJoin = "round";
      ctx.setLineDash(line.dash);
      this.paintLine(ctx, place, scale, line.values);
    }
    ctx.restore();
    this.paintKeys(ctx, pane, lines.map(({ text, colour, dash }) => [text, colour, dash]), theme);
  }

  paintKeys(ctx, pane, keys, theme) {
    const halves = pane.width < KEYS_WIDTH - MARGIN.left - MARGIN.right && keys.length > 2 ? [keys.slice(0, 2), keys.slice(2)] : [keys];
    halves.reverse().forEach((half, i) => drawKeys(ctx, [...half].reverse(), pane.left + pane.width, pane.top - 8 - KEYS_LINE * i, theme));
  }

  /** A line through the epochs that were looked at, broken where a value is no number. */
  paintLine(ctx, place, scale, values) {
    const { epochs, taken } = this.props;
    const dots = [];
    let drawing = false;
    ctx.beginPath();
    values.forEach((value, i) => {
      if (Number.isFinite(value)) {
        const at = [place.x(epochs[i]), scale.y(value)];
        if (drawing) ctx.lineTo(...at);
        else ctx.moveTo(...at);
        dots.push(at);
        drawing = true;
      } else if (!taken || taken[i]) drawing = false;
    });
    ctx.stroke();
    if (dots.length > MOST_DOTS) return;
    for (const [x, y] of dots) {
      ctx.beginPath();
      ctx.arc(x, y, 2.2, 0, 2 * Math.PI);
      ctx.fill();
    }
  }

  overlay(ctx, size, theme) {
    const { hover } = this.props;
    if (this.count === 0 || (hover ?? null) === null || this.rowOf(hover) < 0) return;
    drawUpright(ctx, this.panes(size), this.place(size.width).x(hover), theme.focus, []);
  }

  rowOf(epoch) {
    return this.props.epochs?.indexOf(epoch) ?? -1;
  }

  barAt(x) {
    const bar = super.barAt(x);
    return bar === null || bar >= this.count ? null : bar;
  }

  hoverBy(by) {
    const { first } = this.range();
    const bar = clamp(this.cursor() + by, first, this.count - 1);
    this.hoverAt(bar, this.place().x(bar), 0);
  }

  tooltipLines(epoch) {
    const row = this.rowOf(epoch);
    if (row < 0) return [`epoch ${epoch}`, "nothing is known of it"];
    const { losses = [], norms = [], taken } = this.props;
    const told = losses.map(({ name, values }) => `${lossText(name)} loss ${figureText(values[row])}`);
    if (taken && !taken[row]) return [`epoch ${epoch}`, ...told, "gates not looked at, to keep within the budget"];
    return [`epoch ${epoch}`, ...told, ...norms.map(({ gate, values }) => `${gate}: norm ${figureText(values[row])}`)];
  }

  describe() {
    if (this.count === 0) return "no epoch is over yet";
    const { epochs, layer } = this.props;
    const last = this.tooltipLines(epochs.at(-1)).join(", ");
    return `${epochs.length} epochs, layer ${layer}; ${last}. Arrow keys choose an epoch, with Ctrl they read values.`;
  }
}

/** "training" for "train_loss". */
function lossText(name) {
  return { train_loss: "training", valid_loss: "validation" }[name] ?? name.replace(/_?loss$/, "").replaceAll("_", " ");
}

/** A logarithmic scale; its ticks are powers of ten where it spans two or more. */
function powerScale(pane, low, high) {
  const scale = valueScale(pane, low, high, true);
  const [from, to] = [Math.ceil(Math.log10(low)), Math.floor(Math.log10(high))];
  if (to - from < 2) {
    const ticks = logTicks(low, high, Math.max(2, Math.floor(pane.height / 30)));
    return high < 1e-3 ? { ...scale, ticks, texts: ticks.map(figureText) } : { ...scale, ticks, texts: tickTexts(ticks) };
  }
  const every = Math.ceil((to - from + 1) / Math.max(2, pane.height / 22));
  const powers = Array.from({ length: to - from + 1 }, (_, i) => from + i).filter((power) => (power - from) % every === 0);
  return { ...scale, ticks: powers.map((power) => 10 ** power), texts: powers.map((power) => `10${raised(power)}`) };
}
