const HELD_BYTES = 96 * 2 ** 20; // attention maps kept in the browser
const BATCH_BYTES = 6e5; // of maps asked for at once, so that the day wanted next waits behind little
const BURST_BYTES = 2e6; // a Jupyter server drops what exceeds 1 MB/s over 3 s:
const BYTES_PER_SECOND = 7e5; // what is only fetched ahead stays well below
const PATIENCE_MS = 8000; // after which an ask without an answer is asked again
const SCORES_AROUND = 24; // windows on either side of the day whose scores are asked for with it

/** Typed array of a message's buffer; copied, since its bytes may start anywhere. */
export function typed(view, Kind) {
  return new Kind(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
}

/** The windows from `day` outwards to `reach` on either side that exist and are not in `have`. */
export function outward(day, count, reach, have) {
  const wanted = [];
  for (let step = 0; step <= reach; step += 1) {
    for (const window of step ? [day + step, day - step] : [day]) {
      if (window >= 0 && window < count && !have(window)) wanted.push(window);
    }
  }
  return wanted;
}

/**
 * What the kernel told, kept so that looking around needs no kernel.
 *
 * `wish(day, method, target)` says what is looked at; what is missing is asked for, the day itself first,
 * then the days around it, one ask at a time. `changed(kind)` is called when something has come.
 */
export class Store {
  constructor(model, changed) {
    this.model = model;
    this.changed = changed;
    this.wanted = null;
    this.silent = false; // the kernel has not answered for long
    this.clear();
    this.onMessage = (content, buffers) => this.take(content, buffers);
    model.on("msg:custom", this.onMessage);
  }

  /** Forget everything, as when prices or model have changed. */
  clear() {
    for (const { timer } of this.pending?.values() ?? []) clearTimeout(timer);
    clearTimeout(this.later);
    this.awaited = null;
    this.wanted = null;
    this.version = this.model.get("version");
    this.bars = null;
    this.answers = null;
    this.maps = new Map(); // by window, the longest unused first
    this.scores = new Map(); // by method and target, by window
    this.failures = new Map(); // what could not be had, with the day that it was wanted for
    this.pending = new Map(); // kind of ask → {since, timer}
    this.allowance = BURST_BYTES;
    this.filled = performance.now();
  }

  destroy() {
    this.model.off("msg:custom", this.onMessage);
    for (const { timer } of this.pending.values()) clearTimeout(timer);
    clearTimeout(this.later);
  }

  /** Ask the kernel; false if nothing carries the message any more. */
  send(ask) {
    try {
      this.model.send(ask);
      return true;
    } catch (error) {
      // A kernel that was shut down: what is here can still be looked at, and the status line says so.
      this.lose();
      return false;
    }
  }

  lose() {
    if (this.silent) return;
    this.silent = true;
    this.changed("silent");
  }

  /** Ask for bars and answers. */
  load() {
    this.ask("data", { ask: "data" });
  }

  take(content, buffers) {
    if ((content.version ?? this.version) !== this.version) return; // of a subject that was left
    if (this.silent) {
      this.silent = false;
      this.changed("silent");
    }
    const takers = { bars: "takeBars", answers: "takeAnswers", maps: "takeMaps", scores: "takeScores", failed: "takeFailure" };
    const taker = takers[content.kind];
    if (!taker) return;
    this[taker](content, buffers);
    this.changed(content.kind);
    this.pump();
  }

  takeBars(content, buffers) {
    const [dates, open, high, low, close, volume] = buffers.map((view) => typed(view, Float64Array));
    this.bars = { dates, open, high, low, close, volume };
    this.settle("data");
  }

  takeAnswers(content, buffers) {
    const kinds = [Int32Array, Float32Array, Float64Array, Int8Array, Float32Array, Float64Array, Float64Array, Uint8Array];
    const [rows, outputs, happened, moved, position, equity, benchmark, split] = buffers.map((view, i) => typed(view, kinds[i]));
    this.answers = { count: content.windows, width: content.outputs, rows, outputs, happened, moved, position, equity, benchmark, split };
    this.settle("data");
  }

  takeMaps(content, buffers) {
    this.maps.set(content.window, buffers.map((view) => typed(view, Float32Array)));
    this.forgetOldest();
    this.awaited?.delete(content.window);
    if (!this.awaited?.size) this.settle("maps");
  }

  takeScores(content, buffers) {
    const key = scoresKey(content.method, content.target);
    if (!this.scores.has(key)) this.scores.set(key, new Map());
    const all = typed(buffers[0], Float32Array);
    const nulls = content.null ? typed(buffers[1], Float32Array) : null;
    const size = content.time * (content.features || 1);
    content.windows.forEach((window, i) => {
      const none = nulls && (content.null === 2 ? nulls.subarray(i * content.time, (i + 1) * content.time) : nulls);
      const answered = Array.isArray(content.answered) ? content.answered[i] : content.answered;
      this.scores.get(key).set(window, {
        scores: all.subarray(i * size, (i + 1) * size),
        none,
        time: content.time,
        features: content.features,
        signed: content.signed,
        trust: content.trust,
        answered,
      });
    });
    this.failures.delete(`scores ${key}`);
    this.settle("scores");
  }

  takeFailure(content) {
    const { ask, method, target } = content.ask;
    const key = ask === "scores" ? `scores ${scoresKey(method, target)}` : ask;
    this.failures.set(key, { error: content.error, day: this.wanted?.day });
    if (ask === "maps") this.awaited = null;
    this.settle(ask);
  }

  /** The maps of a window, one array a layer, or null. */
  mapsOf(window) {
    const found = this.maps.get(window);
    if (!found) return null;
    this.maps.delete(window); // to the end of the queue
    this.maps.set(window, found);
    return found;
  }

  scoresOf(method, target, window) {
    return this.scores.get(scoresKey(method, target))?.get(window) ?? null;
  }

  /** Why something could not be had on the day looked at; "" where nothing failed, or on another day. */
  failureOf(ask, method, target) {
    const failure = this.failures.get(ask === "scores" ? `scores ${scoresKey(method, target)}` : ask);
    return failure && failure.day === this.wanted?.day ? failure.error : "";
  }

  /** Whether anything failed on the day looked at. */
  get failed() {
    return [...this.failures.values()].some(({ day }) => day === this.wanted?.day);
  }

  /** Say what is looked at, and ask for what is missing. */
  wish(day, method, target, retry = false) {
    if (retry) this.failures.clear();
    this.wanted = { day, method, target };
    this.pump();
  }

  pump() {
    if (!this.wanted || !this.answers) return;
    this.pumpScores();
    this.pumpMaps();
  }

  pumpScores() {
    const { day, method, target } = this.wanted;
    if (!method || this.pending.has("scores") || this.failureOf("scores", method, target)) return;
    const have = this.scores.get(scoresKey(method, target));
    const missing = outward(day, this.answers.count, SCORES_AROUND, (window) => have?.has(window));
    if (!missing.length || (have?.has(day) && missing.length < SCORES_AROUND)) return;
    this.ask("scores", { ask: "scores", version: this.version, method, target, windows: missing });
  }

  pumpMaps() {
    const bytes = this.windowBytes();
    if (!bytes || this.pending.has("maps") || this.failureOf("maps")) return;
    const { day } = this.wanted;
    const reach = Math.min(30, Math.floor(HELD_BYTES / bytes / 3));
    const missing = outward(day, this.answers.count, reach, (window) => this.maps.has(window));
    if (!missing.length) return;
    const urgent = missing[0] === day;
    if (!this.spend(bytes, urgent)) return;
    const windows = missing.slice(0, urgent ? 1 : Math.max(1, Math.floor(BATCH_BYTES / bytes)));
    if (windows.length > 1) this.spend(bytes * (windows.length - 1), true);
    this.awaited = new Set(windows);
    this.ask("maps", { ask: "maps", version: this.version, windows });
  }

  /** Bytes that a window's maps take on the wire. */
  windowBytes() {
    const layers = this.model.get("facts").layers ?? [];
    return layers.reduce((sum, { heads, queries, keys }) => sum + 4 * heads * queries * keys, 0);
  }

  /** Whether so many bytes may be fetched now; if not, try again when they may. */
  spend(bytes, urgent) {
    const now = performance.now();
    this.allowance = Math.min(BURST_BYTES, this.allowance + ((now - this.filled) / 1000) * BYTES_PER_SECOND);
    this.filled = now;
    if (!urgent && this.allowance < Math.min(bytes, BURST_BYTES)) {
      clearTimeout(this.later);
      this.later = setTimeout(() => this.pump(), 250);
      return false;
    }
    this.allowance -= bytes;
    return true;
  }

  ask(kind, message) {
    this.settle(kind);
    const timer = setTimeout(() => this.impatient(kind), PATIENCE_MS);
    this.pending.set(kind, { message, timer });
    this.send(message);
  }

  /** An answer is long in coming: the kernel is busy or gone. Data is asked for again, once in a while. */
  impatient(kind) {
    this.pending.delete(kind);
    this.awaited = null;
    if (this.isBusy()) {
      this.pending.set(kind, { timer: setTimeout(() => this.impatient(kind), PATIENCE_MS) });
      return;
    }
    this.lose();
    if (kind === "data" && !this.bars) this.load();
  }

  isBusy() {
    return Boolean(this.model.get("progress")?.what);
  }

  settle(kind) {
    clearTimeout(this.pending.get(kind)?.timer);
    this.pending.delete(kind);
  }

  forgetOldest() {
    const most = Math.max(8, Math.floor(HELD_BYTES / Math.max(1, this.windowBytes())));
    for (const window of this.maps.keys()) {
      if (this.maps.size <= most) return;
      if (window !== this.wanted?.day) this.maps.delete(window);
    }
  }
}

function scoresKey(method, target) {
  return `${method}\n${target}`;
}
