/** Play, a slider and the keys, for whatever scene is given; the numbers of what is under the pointer. */

const STYLE = `
:host { display: block; font: 13px/1.4 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; }
.player { position: relative; max-width: 980px; padding: 4px; color: var(--ink); }
.title { margin: 0 0 6px; font-weight: 600; overflow-wrap: anywhere; }
.controls { display: flex; flex-wrap: wrap; align-items: center; gap: 6px 12px; margin-bottom: 8px; }
button, select { font: inherit; color: var(--ink); background: var(--paper); border: 1px solid var(--muted);
  border-radius: 3px; padding: 3px 10px; min-height: 28px; }
button { min-width: 5.5em; cursor: pointer; }
input { flex: 1 1 180px; min-width: 120px; accent-color: var(--accent); }
label { color: var(--muted); }
.now { min-width: 9em; font-variant-numeric: tabular-nums; font-weight: 600; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 1px; }
.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 380px), 1fr)); gap: 10px 16px; }
.panel { min-width: 0; }
.head { font-weight: 600; font-size: 12px; }
canvas { display: block; width: 100%; height: 200px; cursor: crosshair; }
.tall canvas { height: 460px; }
.note { margin: 6px 0 0; color: var(--muted); font-size: 12px; }
.tip { position: absolute; left: 0; top: 0; white-space: nowrap; z-index: 9; padding: 3px 8px; border: 1px solid var(--muted); border-radius: 3px;
  background: var(--paper); color: var(--ink); font-size: 12px; pointer-events: none; }
.tip[hidden] { display: none; }
.spoken { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
`;
const THEMES = {
  light: { ink: "#1f2328", muted: "#565b61", paper: "#ffffff", accent: "#00639c", up: "#0072b2", down: "#c85400" },
  dark: { ink: "#dde3ea", muted: "#b4bac1", paper: "#14171a", accent: "#7cc4f0", up: "#56b4e9", down: "#f0803c" },
};
const ARROWS = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"];
const SPEEDS = [1, 2, 5, 10, 20];

class Player {
  constructor(root, facts) {
    this.facts = facts;
    this.frame = facts.first;
    this.picked = null;
    this.playing = false;
    this.still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.host = make("div");
    root.append(this.host);
    this.build(this.host.attachShadow({ mode: "open" }));
    this.follow();
    this.restyle();
  }

  build(shadow) {
    const last = this.facts.labels.length - 1;
    this.button = make("button", { type: "button" }, "Play");
    this.slider = make("input", { type: "range", min: "0", max: String(last), step: "1", "aria-label": "Frame" });
    this.now = make("output", { class: "now" });
    this.speed = make("select", { "aria-label": "Frames a second" });
    for (const speed of SPEEDS) this.speed.append(make("option", { value: String(speed) }, String(speed)));
    this.speed.value = this.still ? "1" : "5";
    this.tip = make("div", { class: "tip", "aria-hidden": "true", hidden: "" });
    this.spoken = make("div", { class: "spoken", "aria-live": "polite" });
    const panels = make("div", { class: this.facts.kind === "cells" ? "panels" : "panels tall" });
    const speed = make("label", {}, this.speed, " frames a second");
    const controls = make("div", { class: "controls" }, this.button, this.slider, this.now, speed);
    const note = make("p", { class: "note" }, this.facts.note);
    const group = { class: "player", role: "group", "aria-label": this.facts.title };
    const title = make("div", { class: "title" }, this.facts.title);
    this.player = make("div", group, title, controls, panels, note, this.tip, this.spoken);
    shadow.append(make("style", {}, STYLE), this.player);
    this.scene = this.facts.kind === "cells" ? new Cells(this.facts, panels) : new Graph(this.facts, panels);
    this.listen();
  }

  listen() {
    this.button.addEventListener("click", () => (this.playing ? this.pause() : this.play()));
    this.slider.addEventListener("input", () => {
      this.pause();
      this.show(Number(this.slider.value));
    });
    this.player.addEventListener("keydown", (event) => this.press(event));
    for (const canvas of this.scene.places) {
      canvas.addEventListener("pointermove", (event) => this.point(canvas, event));
      canvas.addEventListener("pointerleave", () => this.pick(null));
      canvas.addEventListener("blur", () => this.pick(null));
    }
  }

  /** Redraw where the place or the page's theme changes. */
  follow() {
    new ResizeObserver(() => {
      this.restyle(); // what was away from the page while its theme changed comes back here
      this.draw();
    }).observe(this.player);
    const held = new WeakRef(this); // a cleared output is not kept alive by the page
    const themed = () => {
      // A theme's style sheet may come after the mark that announces it.
      for (const wait of [0, 200, 1000, 3000]) setTimeout(() => held.deref()?.restyle(), wait);
    };
    const marks = new MutationObserver(() => (held.deref() ? themed() : marks.disconnect()));
    for (const element of [document.documentElement, document.body]) {
      marks.observe(element, { attributeFilter: ["data-jp-theme-light", "data-jp-theme-name", "class", "style"] });
    }
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", themed);
  }

  restyle() {
    if (!this.host.isConnected) return;
    const name = isDark(this.host) ? "dark" : "light";
    if (this.theme?.signed === name) return;
    this.theme = { ...THEMES[name], signed: name, font: getComputedStyle(this.player).fontFamily };
    for (const key of ["ink", "muted", "paper", "accent"]) this.player.style.setProperty(`--${key}`, this.theme[key]);
    this.player.style.colorScheme = name;
    this.show(this.frame);
  }

  play() {
    if (this.frame === this.facts.labels.length - 1) this.show(0);
    this.playing = true;
    this.button.textContent = "Pause";
    let before = null;
    const turn = (time) => {
      if (!this.playing || !this.host.isConnected) return this.pause();
      before ??= time;
      const due = Math.floor(((time - before) * Number(this.speed.value)) / 1000);
      if (due > 0) {
        before = time;
        this.show(this.frame + 1);
        if (this.frame === this.facts.labels.length - 1) return this.pause();
      }
      return requestAnimationFrame(turn);
    };
    requestAnimationFrame(turn);
  }

  pause() {
    this.playing = false;
    this.button.textContent = "Play";
  }

  show(frame) {
    this.frame = Math.max(0, Math.min(this.facts.labels.length - 1, frame));
    this.slider.value = String(this.frame);
    const label = this.facts.labels[this.frame];
    this.slider.setAttribute("aria-valuetext", label);
    this.now.textContent = label;
    this.draw();
  }

  draw() {
    if (!this.theme || !this.host.isConnected || this.player.clientWidth === 0) return;
    const began = performance.now();
    this.scene.draw(this.frame, this.theme, this.picked);
    this.took = performance.now() - began;
    if (this.picked) this.tip.replaceChildren(...this.words().map((line) => make("div", {}, line)));
  }

  words() {
    return this.scene.words(this.frame, this.picked);
  }

  /** Keys are the player's own: JupyterLab would take them for its cells. */
  press(event) {
    const { key, target } = event;
    if (key === "Tab" || event.ctrlKey || event.metaKey || event.altKey) return;
    event.stopPropagation();
    if (target.localName !== "canvas") return;
    if (ARROWS.includes(key)) {
      event.preventDefault();
      this.pick(this.scene.next(target, this.picked, key, this.frame));
      this.spoken.textContent = this.picked ? this.words().join(", ") : "";
    } else if (key === " ") {
      event.preventDefault();
      this.button.click();
    } else if (key === "Escape") this.pick(null);
  }

  point(canvas, event) {
    const box = canvas.getBoundingClientRect();
    this.pick(this.scene.at(canvas, event.clientX - box.left, event.clientY - box.top, this.frame), event);
  }

  /** Say what is known of a cell or an edge, beside the pointer; null says nothing. */
  pick(picked, event = null) {
    const same = JSON.stringify(picked) === JSON.stringify(this.picked);
    this.picked = picked;
    this.tip.hidden = !picked || !event;
    if (!same) this.draw();
    if (!picked || !event) return;
    const box = this.player.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const [width, height] = [this.tip.offsetWidth, this.tip.offsetHeight];
    this.tip.style.left = `${x + 14 + width > box.width ? Math.max(0, x - 14 - width) : x + 14}px`;
    this.tip.style.top = `${y + 14 + height > box.height ? y - 14 - height : y + 14}px`;
  }
}

/** Start every picture of a name that has not been started: JupyterLab may show one output in two places. */
function start(name) {
  for (const root of document.querySelectorAll(`[id="${name}"]:not([data-started])`)) {
    root.setAttribute("data-started", "");
    startAt(root);
  }
}

async function startAt(root) {
  const still = root.querySelector("figure");
  try {
    root.awb = new Player(root, await factsOf(root));
    still.style.display = "none";
    root.setAttribute("data-moves", "");
  } catch (error) {
    still.querySelector("figcaption").textContent = `This picture cannot move here: ${error.message}`;
    throw error;
  }
}
