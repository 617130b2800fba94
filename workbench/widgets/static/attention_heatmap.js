/** The widget AttentionHeatmap: the map of one window with selectors for layer and head. */

import { field, fill } from "./controls.js";
import { HeatmapView, fuseHeads } from "./heatmap.js";
import { setTraits } from "./traits.js";

const FUSED_HEADS = ["mean", "max", "min"];

/** Numbers of a synced trait of bytes; copied, since they may start at any byte. */
function numbersOf(view, Kind) {
  if (!view?.byteLength) return null;
  return new Kind(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
}

/** Wires the map to the traits. */
class HeatmapWidget {
  constructor(model, host) {
    this.model = model;
    this.root = document.createElement("div");
    this.root.className = "awb awb-map-widget";
    this.makeControls();
    host.append(this.root);
    this.view = new HeatmapView(this.root, { height: model.get("height") });
    this.note = document.createElement("p");
    this.note.className = "awb-hidden"; // the picture shows it, this one speaks
    this.note.setAttribute("role", "alert");
    this.root.append(this.note);
    this.view.on("row", ({ row, key }) => this.tell({ row, key }));
    this.view.on("hover", (cell) => this.hovered(cell));
    this.handlers = [];
    for (const name of ["data", "layers", "dates"]) this.follow(name, () => this.soon(true));
    for (const name of ["layer", "head", "row", "title", "top", "intraday"]) this.follow(name, () => this.soon(false));
    this.soon(true);
  }

  makeControls() {
    const row = document.createElement("div");
    row.className = "awb-map-controls";
    this.layer = document.createElement("select");
    this.head = document.createElement("select");
    row.append(field("layer", "Layer", this.layer), field("head", "Heads", this.head));
    this.layer.addEventListener("change", () => this.chooseLayer(Number(this.layer.value)));
    this.head.addEventListener("change", () => this.tell({ head: this.head.value }));
    row.addEventListener("keydown", (event) => event.stopPropagation()); // JupyterLab takes keys otherwise
    this.root.append(row);
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
      if (this.unread) this.read();
      this.show();
    });
  }

  /** Set traits that differ and hand them to the kernel, if one is there. */
  tell(patch) {
    setTraits(this.model, patch);
  }

  chooseLayer(layer) {
    const { heads, queries } = this.layers[layer];
    const patch = { layer };
    if (!FUSED_HEADS.includes(this.model.get("head")) && Number(this.model.get("head")) >= heads) patch.head = "mean";
    if (this.model.get("row") >= queries) Object.assign(patch, { row: -1, key: -1 });
    this.tell(patch);
  }

  hovered(cell) {
    if (cell === null || cell.by === "keys") this.tell({ key: cell ? cell.key : -1 });
  }

  /** Cut the data into layers. */
  read() {
    this.unread = false;
    this.layers = this.model.get("layers");
    this.dates = numbersOf(this.model.get("dates"), Float64Array);
    const values = numbersOf(this.model.get("data"), Float32Array) ?? new Float32Array(0);
    this.weights = [];
    let start = 0;
    for (const { heads, queries, keys } of this.layers) {
      this.weights.push(values.subarray(start, start + heads * queries * keys));
      start += heads * queries * keys;
    }
    this.fault = start === values.length ? "" : `The data hold ${values.length} numbers, and the layers need ${start}. Show the maps again.`;
  }

  show() {
    const [number, head] = [this.model.get("layer"), this.model.get("head")];
    const layer = this.layers[number];
    this.showControls(number, layer, head);
    const message = this.fault || this.refusal(number, layer, head);
    if (this.note.textContent !== message) this.note.textContent = message;
    if (message) {
      this.view.set({ values: null, message, hover: null });
      this.light(null, 0);
      return;
    }
    const { heads, queries, keys, block, query_bars: queryBars, key_bars: keyBars } = layer;
    const values = this.fused(number, head, [heads, queries, keys]);
    const row = this.model.get("row") < queries ? this.model.get("row") : -1;
    this.view.set({
      values, queries, keys, block, row, message: null,
      top: this.model.get("top"),
      queryDates: this.datesOf(queryBars),
      keyDates: this.datesOf(keyBars),
      intraday: this.model.get("intraday"),
      title: this.titleOf(number, layer, head),
    });
    this.light(row < 0 ? null : values.subarray(row * keys, (row + 1) * keys), row, layer);
  }

  /** The last map is kept: a row selected in it doesn't fuse it anew. */
  fused(number, head, shape) {
    const weights = this.weights[number];
    if (this.kept?.weights !== weights || this.kept.head !== head) {
      const values = fuseHeads(weights, shape, FUSED_HEADS.includes(head) ? head : Number(head));
      this.kept = { weights, head, values };
    }
    return this.kept.values;
  }

  refusal(number, layer, head) {
    if (!this.layers.length) return "There are no maps. show(maps) in Python brings some.";
    if (!layer) return `There is no layer ${number}; there are ${this.layers.length}, counted from 0.`;
    if (FUSED_HEADS.includes(head) || (/^\d+$/.test(head) && Number(head) < layer.heads)) return "";
    return `Layer ${number} has ${layer.heads} heads, counted from 0; it has no head ${head}. Choose another.`;
  }

  showControls(number, layer, head) {
    fill(this.layer, this.layers.map(({ name, kind }, i) => ({
      value: String(i),
      text: `${i}: ${name}${kind === "self" ? "" : ` (${kind})`}`,
    })), String(number));
    const each = Array.from({ length: layer?.heads ?? 0 }, (_, i) => ({ value: String(i), text: `head ${i}` }));
    fill(this.head, [...FUSED_HEADS.map((value) => ({ value, text: `${value} over heads` })), ...each], head);
  }

  /** Dates of an axis of so many bars; the last alone where there is one query. */
  datesOf(bars) {
    if (!this.dates) return null;
    if (bars === this.dates.length) return this.dates;
    return bars === 1 ? this.dates.subarray(-1) : null;
  }

  titleOf(number, { name, heads }, head) {
    const which = FUSED_HEADS.includes(head) ? `${head} over ${heads} head${heads === 1 ? "" : "s"}` : `head ${head}`;
    return [this.model.get("title"), `${name} (layer ${number + 1} of ${this.layers.length})`, which].filter(Boolean).join(" · ");
  }

  /** Hand the selected row on, a share for each bar. */
  light(weights, row, layer) {
    const sign = weights ? `${this.model.get("layer")} ${this.model.get("head")} ${row}` : "";
    if (sign === this.lit?.sign && this.lit.data === this.weights) return;
    this.lit = { sign, data: this.weights };
    if (!weights && !this.model.get("row_weights")?.byteLength) return;
    const bars = new Float32Array(weights ? layer.key_bars : 0).map((_, i) => weights[Math.floor(i / layer.block)]);
    this.model.set("row_weights", new DataView(bars.buffer));
    this.model.save_changes();
  }

  destroy() {
    this.gone = true;
    for (const [name, react] of this.handlers) this.model.off(name, react);
    this.view.destroy();
    this.root.remove();
  }
}

export default {
  render({ model, el }) {
    const widget = new HeatmapWidget(model, el);
    return () => widget.destroy();
  },
};
