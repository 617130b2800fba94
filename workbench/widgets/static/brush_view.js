/** A view over bars with a brush that marks a span of them, and a zoom. */

import { MARGIN } from "./axes.js";
import { BarView } from "./bar_view.js";
import { clamp } from "./paint.js";
import { cutText, drawUpright, fontOf } from "./panes.js";

const DRAG = 4;
const FEWEST = 10;
const FASTER = 1.25;

/** Dragging or Shift with arrows marks bars; the wheel with Ctrl or Alt, + and − zoom. */
export class BrushView extends BarView {
  static overlayKeys = ["hover", "brush"];

  /** What the brush holds, in words. */
  brushText() {
    const [from, to] = this.props.brush;
    return `${to - from + 1} bars`;
  }

  /** Draw the brush over all panes, and what it holds at the foot of the highest. */
  overlayBrush(ctx, panes, place, theme) {
    const [from, to] = this.props.brush;
    const [{ left, width, top, height }] = Object.values(panes);
    const start = clamp(place.x(from) - place.step / 2, left, left + width);
    const end = clamp(place.x(to) + place.step / 2, left, left + width);
    ctx.save();
    ctx.fillStyle = theme.focus;
    ctx.globalAlpha = 0.16;
    for (const pane of Object.values(panes)) ctx.fillRect(start, pane.top, end - start, pane.height);
    ctx.globalAlpha = 1;
    for (const x of [start, end]) drawUpright(ctx, panes, x, theme.focus, []);
    ctx.font = fontOf(theme, 12, "600");
    const text = cutText(ctx, this.brushText(), width - 20);
    const room = ctx.measureText(text).width + 12;
    const at = clamp((start + end - room) / 2, left + 2, left + width - room - 2);
    ctx.fillStyle = theme.panel;
    ctx.fillRect(at, top + height - 24, room, 20);
    ctx.fillStyle = theme.ink;
    ctx.textBaseline = "middle";
    ctx.fillText(text, at + 6, top + height - 14);
    ctx.restore();
  }

  pointer(kind, x, y, event) {
    if (kind === "wheel") {
      this.wheel(x, event);
      return;
    }
    if (kind === "down" && event.button === 0 && this.barAt(x) !== null) {
      this.drag = { x, bar: this.barAt(x), moved: false };
      this.front.setPointerCapture(event.pointerId);
    }
    if (this.drag && (kind === "leave" || kind === "cancel")) this.drag = null;
    if (kind === "move" && this.drag) this.dragTo(x);
    if (kind === "up" && this.drag?.moved) {
      this.drag = null;
      return;
    }
    if (kind === "up") this.drag = null;
    super.pointer(kind, x, y, event);
  }

  dragTo(x) {
    this.drag.moved ||= Math.abs(x - this.drag.x) > DRAG;
    if (!this.drag.moved) return;
    const bar = this.place().bar(clamp(x, MARGIN.left, this.element.clientWidth - MARGIN.right - 1));
    this.brushTo([Math.min(bar, this.drag.bar), Math.max(bar, this.drag.bar)]);
  }

  brushTo(span) {
    const before = this.props.brush ?? null;
    if (span?.[0] === before?.[0] && span?.[1] === before?.[1]) return;
    this.set({ brush: span });
    this.front.setAttribute("aria-label", `${this.label}: ${this.describe()}`);
    this.emit("brush", { span });
  }

  /** Ctrl or Alt with the wheel zooms about the pointer; the page keeps the bare wheel. */
  wheel(x, event) {
    if (this.count === 0 || !(event.ctrlKey || event.altKey)) return;
    event.preventDefault();
    this.zoomBy(event.deltaY > 0 ? FASTER : 1 / FASTER, this.barAt(x) ?? this.cursor());
  }

  zoomBy(factor, about) {
    const { first, last } = this.range();
    const before = last - first + 1;
    const grown = factor > 1 ? Math.ceil(before * factor) : Math.floor(before * factor);
    const bars = Math.min(this.count, Math.max(FEWEST, grown));
    if (bars === before) return;
    const part = (clamp(about, first, last) - first + 0.5) / before;
    const start = clamp(Math.round(about + 0.5 - part * bars), 0, this.count - bars);
    this.emit("zoom", { first: start, last: start + bars - 1 });
  }

  keydown(event) {
    if (this.count === 0) return false;
    if ((event.key === "+" || event.key === "=" || event.key === "-") && !event.ctrlKey && !event.metaKey) {
      this.zoomBy(event.key === "-" ? FASTER : 1 / FASTER, this.cursor());
      return true;
    }
    if (event.shiftKey && (event.key === "ArrowLeft" || event.key === "ArrowRight")) {
      this.brushBy(event.key === "ArrowLeft" ? -1 : 1);
      return true;
    }
    if (event.key === "Escape" && this.props.brush) {
      this.brushTo(null);
      return true;
    }
    return super.keydown(event);
  }

  /** Extend the brush from the cursor, which stays where the brush began. */
  brushBy(by) {
    const { brush } = this.props;
    const { first, last } = this.range();
    if (!brush || !this.anchored(brush)) this.anchor = this.cursor();
    const end = !brush || !this.anchored(brush) ? this.anchor : brush[0] === this.anchor ? brush[1] : brush[0];
    const moved = clamp(end + by, first, last);
    this.brushTo([Math.min(this.anchor, moved), Math.max(this.anchor, moved)]);
  }

  anchored(brush) {
    return brush[0] === this.anchor || brush[1] === this.anchor;
  }
}
