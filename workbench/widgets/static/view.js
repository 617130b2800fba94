/** A picture on two canvases, the front one for what follows the pointer; subclasses say what to draw. */

import { themeOf } from "./paint.js";
import { SvgContext } from "./svg.js";

const TOOLTIP_GAP = 14;

/** Base of every view: sizes, themes, frames, keys, pointer, tooltip and export. */
export class View {
  /** Keys of props that only the overlay shows. */
  static overlayKeys = [];

  /** `host` takes the view; `height` in CSS px, or null where the page's own CSS gives one. */
  constructor(host, { label, height = null, className = "" }) {
    this.props = {};
    this.label = label;
    this.listeners = new Map();
    this.dirty = new Set();
    this.frame = 0;
    this.theme = null;
    this.late = [];
    this.element = document.createElement("div");
    this.element.className = `awb-view ${host.closest(".awb") ? "" : "awb"} ${className}`;
    if (height !== null) this.element.style.height = `${height}px`;
    this.back = document.createElement("canvas");
    this.back.setAttribute("aria-hidden", "true");
    this.front = this.makeFront();
    this.tip = document.createElement("div");
    this.tip.className = "awb-tooltip";
    this.tip.hidden = true;
    this.tip.setAttribute("aria-hidden", "true");
    this.element.append(this.back, this.front, this.tip);
    host.append(this.element);
    this.watch();
    this.schedule();
  }

  /** The canvas that takes the focus, the keys and the pointer. */
  makeFront() {
    const front = document.createElement("canvas");
    front.className = "awb-front";
    front.tabIndex = 0;
    front.setAttribute("role", "application");
    front.setAttribute("aria-roledescription", "interactive chart");
    front.setAttribute("aria-label", this.label);
    return front;
  }

  watch() {
    this.stop = new AbortController();
    const options = { signal: this.stop.signal };
    const redraw = () => this.schedule();
    const themed = () => {
      this.schedule();
      // A theme's style sheet may come after the mark that announces it.
      for (const timer of this.late) clearTimeout(timer);
      this.late = [200, 1000, 3000].map((wait) => setTimeout(redraw, wait));
    };
    this.sizes = new ResizeObserver(redraw);
    this.sizes.observe(this.element);
    this.themes = new MutationObserver(themed);
    this.themes.observe(document.body, {
      attributeFilter: ["data-jp-theme-light", "data-jp-theme-name", "class"],
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", themed, options);
    this.front.addEventListener("keydown", (event) => this.pressed(event), options);
    for (const kind of ["move", "down", "up", "leave", "cancel"]) {
      this.front.addEventListener(`pointer${kind}`, (event) => this.pointed(kind, event), options);
    }
    this.front.addEventListener("wheel", (event) => this.pointed("wheel", event), { ...options, passive: false });
  }

  pressed(event) {
    if (!this.keydown(event)) return;
    event.preventDefault();
    event.stopPropagation();
  }

  pointed(kind, event) {
    const box = this.front.getBoundingClientRect();
    this.pointer(kind, event.clientX - box.left, event.clientY - box.top, event);
  }

  /** Take over `patch` and redraw; only the overlay when nothing else is concerned. */
  set(patch) {
    const changed = Object.keys(patch).filter(
      (key) => typeof patch[key] === "object" || !Object.is(patch[key], this.props[key]) || !(key in this.props),
    );
    Object.assign(this.props, patch);
    if (changed.length === 0) return;
    const { overlayKeys } = this.constructor;
    this.schedule(changed.every((key) => overlayKeys.includes(key)) ? "overlay" : "all");
  }

  /** Redraw "all" or the "overlay" with the next frame, once for any number of calls. */
  schedule(what = "all") {
    this.dirty.add(what);
    if (this.frame === 0) this.frame = requestAnimationFrame(() => this.drawNow());
  }

  /** Draw what is due at once; everything when nothing is. */
  drawNow() {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    const all = this.dirty.size === 0 || this.dirty.has("all");
    this.dirty.clear();
    const size = { width: this.element.clientWidth, height: this.element.clientHeight };
    if (size.width === 0 || size.height === 0) return;
    const resized = this.resize(size);
    if (all || resized || this.theme === null) {
      this.theme = themeOf(this.element);
      this.drawBase(this.back.getContext("2d"), size);
      const words = this.describe();
      this.front.setAttribute("aria-label", words ? `${this.label}: ${words}` : this.label);
    }
    const front = this.front.getContext("2d");
    front.clearRect(0, 0, size.width, size.height);
    front.save();
    this.overlay(front, size, this.theme);
    front.restore();
  }

  drawBase(ctx, size) {
    ctx.save();
    ctx.fillStyle = this.theme.paper;
    ctx.fillRect(0, 0, size.width, size.height);
    this.paint(ctx, size, this.theme);
    ctx.restore();
  }

  /** Give both canvases the device's pixels; true when they changed. */
  resize({ width, height }) {
    const ratio = window.devicePixelRatio || 1;
    const [across, down] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (this.back.width === across && this.back.height === down) return false;
    for (const canvas of [this.back, this.front]) {
      canvas.width = across;
      canvas.height = down;
      canvas.getContext("2d").setTransform(across / width, 0, 0, down / height, 0, 0);
    }
    return true;
  }

  /** The picture; with the operations that svg.js has. */
  paint(_ctx, _size, _theme) {}

  /** What follows the pointer and the keys. */
  overlay(_ctx, _size, _theme) {}

  /** One sentence for screen readers. */
  describe() {
    return "";
  }

  /** True when the key was used. */
  keydown(_event) {
    return false;
  }

  /** `kind` is move, down, up, leave, cancel or wheel; x and y in CSS px within the view. */
  pointer(_kind, _x, _y, _event) {}

  /** Call `callback(detail)` at every event `name`; returns what takes it back. */
  on(name, callback) {
    if (!this.listeners.has(name)) this.listeners.set(name, new Set());
    this.listeners.get(name).add(callback);
    return () => this.listeners.get(name).delete(callback);
  }

  emit(name, detail) {
    for (const callback of [...(this.listeners.get(name) ?? [])]) callback(detail);
  }

  /** Show lines of text beside a point of the view, the first one strong; null hides them. */
  tooltip(x, y, lines) {
    this.tip.hidden = lines === null || lines.length === 0;
    if (this.tip.hidden) return;
    this.tip.replaceChildren(...lines.map((text) => Object.assign(document.createElement("div"), { textContent: text })));
    const [width, height] = [this.element.clientWidth, this.element.clientHeight];
    const { offsetWidth, offsetHeight } = this.tip;
    const left = x + TOOLTIP_GAP + offsetWidth <= width ? x + TOOLTIP_GAP : x - TOOLTIP_GAP - offsetWidth;
    const top = y + TOOLTIP_GAP + offsetHeight <= height ? y + TOOLTIP_GAP : y - TOOLTIP_GAP - offsetHeight;
    this.tip.style.left = `${Math.max(0, Math.min(left, width - offsetWidth))}px`;
    this.tip.style.top = `${Math.max(0, Math.min(top, height - offsetHeight))}px`;
  }

  /** The picture as the text of an SVG file. */
  toSVG() {
    const size = { width: this.element.clientWidth, height: this.element.clientHeight };
    const theme = themeOf(this.element);
    const svg = new SvgContext(size.width, size.height, this.front.getAttribute("aria-label"));
    svg.fillStyle = theme.paper;
    svg.fillRect(0, 0, size.width, size.height);
    this.paint(svg, size, theme);
    this.overlay(svg, size, theme);
    return svg.toString();
  }

  /** The picture on a canvas of its own, `scale` pixels to a CSS pixel. */
  toCanvas(scale = 2) {
    const size = { width: this.element.clientWidth, height: this.element.clientHeight };
    const canvas = document.createElement("canvas");
    canvas.width = Math.round(size.width * scale);
    canvas.height = Math.round(size.height * scale);
    const ctx = canvas.getContext("2d");
    ctx.scale(scale, scale);
    this.theme = themeOf(this.element);
    this.drawBase(ctx, size);
    this.overlay(ctx, size, this.theme);
    return canvas;
  }

  /** Leave the page and stop listening. */
  destroy() {
    cancelAnimationFrame(this.frame);
    this.stop.abort();
    for (const timer of this.late) clearTimeout(timer);
    this.sizes.disconnect();
    this.themes.disconnect();
    this.listeners.clear();
    this.element.remove();
  }
}
