/** The widget MonitorWidget: a training's curves, findings and gates, as the kernel tells of them. */

import { button, field, fill } from "./controls.js";
import { GateCurves } from "./gate_curves.js";
import { FindingsList } from "./gate_findings.js";
import { GatePanel } from "./gate_panel.js";
import { GateStory } from "./gate_story.js";
import { setTraits } from "./traits.js";

const PHASES = { waiting: "waiting", running: "training", open: "going on, or cut off", finished: "finished", interrupted: "interrupted", failed: "failed" };
const CHOICES = ["layer", "gate", "epoch", "unit"];
const WORDS = ["phase", "status", "thinned", "findings", "findings_told", "error", "stoppable"];

/** Wires curves, panels, findings and words to the traits. */
class MonitorFace {
  constructor(model, host) {
    this.model = model;
    this.story = new GateStory(model);
    this.root = division("awb awb-monitor");
    this.root.setAttribute("role", "group");
    this.root.setAttribute("aria-label", "Monitor of gates");
    this.root.addEventListener("keydown", (event) => {
      if (!event.ctrlKey && !event.metaKey && !event.altKey) event.stopPropagation(); // JupyterLab takes letters and arrows
    });
    this.root.awb = this;
    this.makeHead();
    const body = this.root.appendChild(division("awb-monitor-body"));
    const [left, right] = [body.appendChild(division("awb-monitor-side")), body.appendChild(division("awb-monitor-side"))];
    this.findings = new FindingsList(left, (finding) => this.choose(finding));
    const curves = left.appendChild(division("awb-monitor-curves"));
    curves.dataset.awb = "curves";
    this.curves = new GateCurves(curves, { label: "Losses and gradient norms", className: "awb-gate-curves" });
    this.curves.on("pick", ({ bar }) => this.chooseEpoch(bar));
    this.curves.on("step", ({ by }) => this.step(by));
    this.makeControls(right);
    this.grid = right.appendChild(division("awb-gate-grid"));
    this.panels = [];
    host.append(this.root);
    this.handlers = [];
    for (const name of GateStory.traits()) this.follow(name, () => this.soon(true));
    for (const name of [...CHOICES, ...WORDS]) this.follow(name, () => this.soon(false));
    this.show();
  }

  makeHead() {
    const head = this.root.appendChild(division("awb-monitor-head"));
    this.phase = head.appendChild(Object.assign(document.createElement("span"), { className: "awb-phase" }));
    this.phase.dataset.awb = "phase";
    this.phase.setAttribute("role", "status");
    this.status = head.appendChild(division("awb-monitor-status"));
    this.status.dataset.awb = "status";
    this.stop = button("stop", "Stop training", "End training after the batch at hand", () => this.model.send({ ask: "stop" }));
    head.append(this.stop);
    this.thinned = this.root.appendChild(division("awb-monitor-thinned"));
    this.thinned.dataset.awb = "thinned";
    this.error = this.root.appendChild(division("awb-error"));
    this.error.dataset.awb = "error";
    this.error.setAttribute("role", "alert");
  }

  makeControls(host) {
    const row = host.appendChild(division("awb-monitor-controls"));
    this.layer = document.createElement("select");
    this.gate = document.createElement("select");
    this.layer.addEventListener("change", () => this.tell({ layer: this.layer.value }));
    this.gate.addEventListener("change", () => this.tell({ gate: this.gate.value }));
    this.slider = Object.assign(document.createElement("input"), { type: "range", min: 0, step: 1 });
    this.slider.addEventListener("input", () => this.chooseEpoch(this.story.kept[Number(this.slider.value)]));
    const slide = field("epoch", "Epoch", this.slider);
    slide.classList.add("awb-monitor-slide");
    this.epochText = document.createElement("span");
    this.epochText.className = "awb-monitor-epoch";
    slide.firstChild.append(this.epochText);
    this.newest = button("newest", "Newest", "Show the newest epoch, and each that follows", () => this.tell({ epoch: 0 }));
    row.append(field("layer", "Layer", this.layer), field("gate", "Gate", this.gate), slide, this.newest);
  }

  follow(name, react) {
    this.handlers.push([`change:${name}`, react]);
    this.model.on(`change:${name}`, react);
  }

  /** Traits come one by one; look at them once all of a message are there. */
  soon(read) {
    this.unread = this.unread || read;
    if (this.waiting) return;
    this.waiting = true;
    queueMicrotask(() => {
      this.waiting = false;
      if (this.gone) return;
      if (this.unread) this.story.read();
      this.unread = false;
      this.show();
    });
  }

  /** Set traits that differ and hand them to the kernel, which may be busy, or gone. */
  tell(patch) {
    setTraits(this.model, patch);
  }

  /** The newest epoch stays chosen as such, so that those that follow are shown. */
  chooseEpoch(epoch) {
    const { kept } = this.story;
    if (!kept.length) return;
    const nearest = this.story.nearest(Math.max(1, epoch));
    this.tell({ epoch: nearest === kept.at(-1) ? 0 : nearest });
  }

  step(by) {
    const { kept } = this.story;
    if (!kept.length) return;
    const at = kept.indexOf(this.story.nearest(this.model.get("epoch")));
    this.chooseEpoch(kept[Math.max(0, Math.min(kept.length - 1, at + by))]);
  }

  /** A finding leads to its layer, and to its unit if it has one. */
  choose({ layer, unit }) {
    this.tell({ layer, unit: unit ?? -1 });
  }

  /** The chosen layer, or the first. */
  chosenLayer() {
    const { layers } = this.story;
    return layers.find(({ name }) => name === this.model.get("layer")) ?? layers[0] ?? null;
  }

  show() {
    this.showWords();
    const layer = this.chosenLayer();
    const epoch = this.story.nearest(this.model.get("epoch"));
    const gate = layer?.gates.some(({ name }) => name === this.model.get("gate")) ? this.model.get("gate") : "";
    this.showControls(layer, gate, epoch);
    this.showCurves(layer, gate, epoch);
    this.showPanels(layer, gate, epoch);
  }

  showWords() {
    const { model } = this;
    const phase = model.get("phase");
    say(this.phase, PHASES[phase] ?? phase);
    this.phase.dataset.phase = phase;
    say(this.status, model.get("status"));
    say(this.thinned, model.get("thinned"));
    say(this.error, model.get("error"));
    this.stop.hidden = !model.get("stoppable") || phase !== "running";
    this.findings.show(model.get("findings"), model.get("findings_told"));
  }

  showControls(layer, gate, epoch) {
    const { layers, kept } = this.story;
    const names = layers.map(({ name, kind }) => ({ value: name, text: `${name} (${kind.toUpperCase()})` }));
    fill(this.layer, names.length ? names : [{ value: "", text: "none yet" }], layer?.name ?? "");
    const gates = (layer?.gates ?? []).map(({ name }) => ({ value: name, text: name }));
    fill(this.gate, [{ value: "", text: "all" }, ...gates], gate);
    const at = kept.indexOf(epoch);
    this.slider.max = Math.max(0, kept.length - 1);
    this.slider.value = Math.max(0, at);
    this.slider.disabled = kept.length < 2;
    const text = epoch === null ? "none" : `${epoch}${at === kept.length - 1 ? ", the newest" : ""}`;
    say(this.epochText, ` ${text}`);
    this.slider.setAttribute("aria-valuetext", text);
    this.newest.disabled = this.model.get("epoch") <= 0;
  }

  showCurves(layer, gate, epoch) {
    const { story } = this;
    const losses = story.columns.filter((name) => name.endsWith("loss"));
    const norms = (layer?.gates ?? []).map(({ name }) => ({ gate: name, values: story.column(`norm|${layer.name.split("#")[0]}|${name}`) }));
    this.curves.set({
      epochs: story.column("epoch") ?? new Float64Array(0),
      taken: story.column("taken"),
      losses: losses.map((name) => ({ name, values: story.column(name) })),
      norms: norms.filter(({ values }) => values?.some((value) => !Number.isNaN(value))),
      layer: layer?.name ?? "",
      epoch, gate,
    });
  }

  showPanels(layer, gate, epoch) {
    const shown = (layer?.gates ?? [{ name: "Gates" }]).filter(({ name }) => !gate || name === gate);
    this.grid.classList.toggle("awb-gate-one", shown.length === 1);
    this.fit(shown.length);
    const drawn = epoch === null || !layer ? [] : this.drawn(epoch, layer);
    shown.forEach(({ name, low }, i) => {
      const { rows, columns, units, steps, block, windows } = layer ?? {};
      const number = layer ? layer.gates.findIndex((other) => other.name === name) : -1;
      const blocks = block > 1 ? `, over ${block} × ${block} units and bars` : "";
      const note = `epoch ${epoch} · mean of ${windows} window${windows === 1 ? "" : "s"}${blocks}`;
      const message = drawn.length ? null : "Nothing of the gates has come yet.";
      this.panels[i].set({ gate: name, low, rows, columns, units, steps, block, note, message, unit: this.model.get("unit"), ...(drawn[number] ?? { values: null }) });
    });
  }

  /** The numbers of the last layer and epoch are kept: a selected unit doesn't decode them anew. */
  drawn(epoch, layer) {
    const slot = this.story.panels.get(epoch);
    if (this.decoded?.slot !== slot || this.decoded.name !== layer.name) {
      this.decoded = { slot, name: layer.name, gates: this.story.gatesOf(epoch, layer.name) };
    }
    return this.decoded.gates;
  }

  /** As many panels as there are gates. */
  fit(count) {
    while (this.panels.length > count) {
      this.panels.pop().destroy();
    }
    while (this.panels.length < count) {
      const panel = new GatePanel(this.grid, { label: "Gate", className: "awb-gate-panel" });
      panel.on("hover", (cell) => this.hover(panel, cell));
      panel.on("unit", ({ unit }) => this.tell({ unit }));
      this.panels.push(panel);
    }
  }

  /** The other panels show the same cell. */
  hover(from, cell) {
    for (const panel of this.panels) if (panel !== from) panel.set({ hover: cell });
  }

  destroy() {
    this.gone = true;
    for (const [name, react] of this.handlers) this.model.off(name, react);
    for (const view of [this.curves, ...this.panels]) view.destroy();
    this.root.remove();
  }
}

function division(className) {
  return Object.assign(document.createElement("div"), { className });
}

function say(element, text) {
  if (element.textContent !== (text ?? "")) element.textContent = text ?? "";
}

export default {
  render({ model, el }) {
    const face = new MonitorFace(model, el);
    return () => face.destroy();
  },
};
