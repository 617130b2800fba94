/** What views over bars share: their range, and the cursor moved by pointer and keys. */

import { MARGIN, barScale } from "./axes.js";
import { clamp } from "./paint.js";
import { View } from "./view.js";

const MONTH_OF_BARS = 21;
const STEPS = {
  ArrowLeft: -1,
  ArrowRight: 1,
  PageUp: -MONTH_OF_BARS,
  PageDown: MONTH_OF_BARS,
  Home: -Infinity,
  End: Infinity,
};

/** A view whose horizontal axis counts bars; `tooltipLines` says what a bar tells. */
export class BarView extends View {
  static overlayKeys = ["hover"];

  get count() {
    return this.props.bars?.dates.length ?? 0;
  }

  /** First and last visible bar, within what there is. */
  range() {
    const end = Math.max(0, this.count - 1);
    const first = clamp(this.props.first ?? 0, 0, end);
    return { first, last: clamp(this.props.last ?? end, first, end) };
  }

  /** Scale between bars and pixels at the present width. */
  place(width = this.element.clientWidth) {
    const { first, last } = this.range();
    return barScale(first, last, MARGIN.left, Math.max(1, width - MARGIN.left - MARGIN.right));
  }

  /** The bar under a pixel, or null beside the plot. */
  barAt(x) {
    const inside = x >= MARGIN.left && x <= this.element.clientWidth - MARGIN.right;
    return inside && this.count > 0 ? this.place().bar(x) : null;
  }

  /** The bar that keys start from: the cursor, else `home`. */
  cursor() {
    return this.props.hover ?? this.home() ?? this.range().last;
  }

  /** The decision bar, or null. */
  home() {
    return null;
  }

  /** Lines of the tooltip at a bar. */
  tooltipLines(_bar) {
    return [];
  }

  /** Move the cursor to `bar` (null: none), show its tooltip at (x, y) and tell. */
  hoverAt(bar, x, y) {
    const moved = bar !== (this.props.hover ?? null);
    if (moved) this.set({ hover: bar });
    this.told = { bar, x, y };
    this.tooltip(x, y, bar === null ? null : this.tooltipLines(bar));
    if (moved) this.emit("hover", { bar });
  }

  /** The tooltip follows what it tells of, and goes with the cursor. */
  drawNow() {
    super.drawNow();
    const { hover } = this.props;
    if (this.tip.hidden) return;
    const told = (hover ?? null) !== null && hover < this.count && hover === this.told.bar;
    this.tooltip(this.told.x, this.told.y, told ? this.tooltipLines(hover) : null);
  }

  /** Move the cursor by keys; the tooltip stands at the top of its bar. */
  hoverBy(by) {
    const { first, last } = this.range();
    const bar = clamp(this.cursor() + by, first, last);
    this.hoverAt(bar, this.place().x(bar), 0);
  }

  pointer(kind, x, y, event) {
    if (kind === "leave" || kind === "cancel") this.hoverAt(null, 0, 0);
    if (kind === "move") this.hoverAt(this.barAt(x), x, y);
    if (kind === "down" && event.button === 0) this.pressedBar = this.barAt(x);
    if (kind !== "up" || event.button !== 0) return;
    const bar = this.barAt(x);
    if (bar !== null && this.pressedBar !== null) this.emit("pick", { bar });
  }

  keydown(event) {
    if (this.count === 0 || event.metaKey || event.altKey) return false;
    if (event.key in STEPS && !event.shiftKey) {
      const by = STEPS[event.key];
      if (event.ctrlKey) this.hoverBy(by);
      else this.emit("step", { by });
      return true;
    }
    if (event.key === "Enter" || event.key === " ") {
      this.emit("pick", { bar: this.cursor() });
      return true;
    }
    if (event.key === "Escape" && (this.props.hover ?? null) !== null) {
      this.hoverAt(null, 0, 0);
      return true;
    }
    return false;
  }
}
