/** What the kernel told of a training so far, read from the widget's traits: curves, and panels by epoch. */

const PANEL_SLOTS = 64;
const NO_NUMBER = 255; // code of what is no finite number
const CODE_STEPS = 254;

/** The numbers that the 256 codes stand for, from `low` to 1; to the last bit as the kernel has them. */
export function codeValues(low) {
  const step = Math.fround((1 - low) / CODE_STEPS);
  return Float32Array.from({ length: 256 }, (_, code) => (code === NO_NUMBER ? NaN : Math.fround(code * step) + low));
}

const VALUES = new Map([[0, codeValues(0)], [-1, codeValues(-1)]]);

/** Bytes of a trait; copied, since they may start anywhere. */
function bytesOf(view) {
  if (!view?.byteLength) return new Uint8Array(0);
  return new Uint8Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
}

/** Reads what changed; asks the kernel nothing. */
export class GateStory {
  constructor(model) {
    this.model = model;
    this.slots = Array(PANEL_SLOTS).fill(null);
    this.read();
  }

  /** Names of the traits that it reads. */
  static traits() {
    return ["columns", "settled", "recent", "layers", ...Array.from({ length: PANEL_SLOTS }, (_, i) => `panel_${i}`)];
  }

  read() {
    this.layers = this.model.get("layers");
    this.columns = this.model.get("columns");
    const parts = ["settled", "recent"].map((name) => bytesOf(this.model.get(name)));
    const all = new Uint8Array(parts[0].length + parts[1].length);
    all.set(parts[0]);
    all.set(parts[1], parts[0].length);
    const width = 8 * this.columns.length;
    this.table = all.length % width === 0 ? new Float64Array(all.buffer) : new Float64Array(0);
    this.panels = new Map();
    this.slots = this.slots.map((old, i) => this.slot(old, this.model.get(`panel_${i}`)));
    for (const slot of this.slots) if (slot?.epoch) this.panels.set(slot.epoch, slot);
    this.kept = [...this.panels.keys()].sort((a, b) => a - b);
  }

  slot(old, view) {
    if (!view?.byteLength) return null;
    if (old?.view === view && old.layers === this.layers) return old;
    const bytes = bytesOf(view);
    return { view, layers: this.layers, epoch: new DataView(bytes.buffer).getInt32(0, true), bytes };
  }

  get count() {
    return this.table.length / this.columns.length;
  }

  /** One number an epoch; null where there is no such column. */
  column(name) {
    const at = this.columns.indexOf(name);
    if (at < 0) return null;
    return Float64Array.from({ length: this.count }, (_, i) => this.table[i * this.columns.length + at]);
  }

  /** The kept epoch nearest to the one wished for, the newest for 0; null where none is kept. */
  nearest(epoch) {
    if (!this.kept.length) return null;
    if (epoch <= 0) return this.kept.at(-1);
    return this.kept.reduce((best, other) => (Math.abs(other - epoch) < Math.abs(best - epoch) ? other : best));
  }

  /** Values (row, column) and shares {left, right} of each gate of a layer at a kept epoch. */
  gatesOf(epoch, name) {
    const { bytes } = this.panels.get(epoch);
    let start = 4;
    for (const layer of this.layers) {
      const { gates, rows, columns, units } = layer;
      const [cells, shares] = [rows * columns, 2 * units];
      if (layer.name === name) {
        const after = start + gates.length * cells;
        return gates.map(({ low }, i) => ({
          values: numbersOfCodes(bytes.subarray(start + i * cells, start + (i + 1) * cells), low),
          left: numbersOfCodes(bytes.subarray(after + i * shares, after + i * shares + units), 0),
          right: numbersOfCodes(bytes.subarray(after + i * shares + units, after + (i + 1) * shares), 0),
        }));
      }
      start += gates.length * (cells + shares);
    }
    return [];
  }
}

function numbersOfCodes(codes, low) {
  const values = VALUES.get(low) ?? codeValues(low);
  return Float32Array.from(codes, (code) => values[code]);
}
