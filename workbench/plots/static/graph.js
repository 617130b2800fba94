/** Two columns: what each unit said before (left) reaches the units of a gate (right), by the strongest terms. */

const ROOM = { left: 60, right: 60, top: 22, bottom: 10 };

class Graph {
  constructor(facts, host) {
    this.facts = facts;
    const { source, target, size, states, openings } = facts.buffers;
    this.source = new Uint16Array(source.buffer);
    this.target = new Uint16Array(target.buffer);
    this.size = new Float32Array(size.buffer);
    this.states = states;
    this.openings = openings;
    this.tables = Object.fromEntries(Object.entries(facts.tables).map(([name, text]) => [name, bytesOf(text)]));
    this.canvas = make("canvas", {
      tabindex: "0",
      role: "application",
      "aria-roledescription": "graph",
      "aria-label": `${facts.title}. Arrow keys read the edges, the strongest first.`,
    });
    host.append(this.canvas);
  }

  get places() {
    return [this.canvas];
  }

  draw(frame, theme, picked) {
    const { ctx, width, height } = contextOf(this.canvas);
    const { edges, largest } = this.facts;
    const box = this.box(width, height);
    ctx.lineCap = "round";
    for (let rank = edges - 1; rank >= 0; rank -= 1) this.drawEdge(ctx, box, frame, rank, theme, largest, false);
    if (picked) this.drawEdge(ctx, box, frame, picked.edge, theme, largest, true);
    this.drawColumn(ctx, box, this.facts.left, this.states, frame, theme, this.tables[theme.signed]);
    const right = this.facts.right.signed ? theme.signed : "magnitude";
    this.drawColumn(ctx, box, this.facts.right, this.openings, frame, theme, this.tables[right]);
  }

  box(width, height) {
    return { left: ROOM.left, right: width - ROOM.right, top: ROOM.top, bottom: height - ROOM.bottom };
  }

  y(box, unit, count) {
    return box.top + ((unit + 0.5) / count) * (box.bottom - box.top);
  }

  /** Ends of an edge: left, height there, right, height there. */
  ends(box, frame, rank) {
    const at = frame * this.facts.edges + rank;
    const from = this.y(box, this.source[at], this.facts.left.count);
    return [box.left, from, box.right, this.y(box, this.target[at], this.facts.right.count)];
  }

  drawEdge(ctx, box, frame, rank, theme, largest, picked) {
    const size = this.size[frame * this.facts.edges + rank];
    if (size === 0) return;
    const share = Math.abs(size) / largest;
    const [x0, y0, x1, y1] = this.ends(box, frame, rank);
    ctx.globalAlpha = picked ? 1 : 0.25 + 0.75 * share;
    ctx.lineWidth = (picked ? 2.5 : 0.6) + 4 * share;
    ctx.strokeStyle = picked ? theme.ink : size < 0 ? theme.down : theme.up;
    ctx.beginPath();
    ctx.moveTo(x0, y0);
    const middle = (x0 + x1) / 2;
    ctx.bezierCurveTo(middle, y0, middle, y1, x1, y1);
    ctx.stroke();
    ctx.globalAlpha = 1;
    ctx.lineWidth = 1;
  }

  drawColumn(ctx, box, { count, head, x }, codes, frame, theme, table) {
    const at = x === 0 ? box.left : box.right;
    const radius = Math.max(1.5, Math.min(6, (box.bottom - box.top) / count / 2.6));
    ctx.font = `11px ${theme.font}`;
    ctx.textAlign = x === 0 ? "right" : "left";
    ctx.textBaseline = "middle";
    const step = niceStep(count, Math.floor((box.bottom - box.top) / 14));
    const used = this.used(frame, x);
    for (let unit = 0; unit < count; unit += 1) {
      const y = this.y(box, unit, count);
      ctx.fillStyle = rgbOf(table, codes[frame * count + unit]);
      ctx.strokeStyle = theme.muted;
      ctx.beginPath();
      ctx.arc(at, y, radius, 0, 2 * Math.PI);
      ctx.fill();
      if (radius > 3) ctx.stroke();
      if (unit % step === 0) {
        ctx.fillStyle = used.has(unit) ? theme.ink : theme.muted;
        ctx.fillText(String(unit), at + (x === 0 ? -1 : 1) * (radius + 5), y);
      }
    }
    ctx.fillStyle = theme.ink;
    ctx.textAlign = x === 0 ? "left" : "right";
    ctx.fillText(head, x === 0 ? 0 : box.right + ROOM.right, 8);
  }

  used(frame, x) {
    const { edges } = this.facts;
    const ends = x === 0 ? this.source : this.target;
    return new Set(ends.subarray(frame * edges, (frame + 1) * edges));
  }

  /** The edge under a point, or null where none is near. */
  at(canvas, x, y, frame) {
    const box = this.box(canvas.clientWidth, canvas.clientHeight);
    const t = (x - box.left) / (box.right - box.left);
    if (t < 0 || t > 1) return null;
    const s = inverseOfBend(t);
    let [nearest, edge] = [8, null];
    for (let rank = 0; rank < this.facts.edges; rank += 1) {
      const [, y0, , y1] = this.ends(box, frame, rank);
      const away = Math.abs(y0 + (y1 - y0) * s * s * (3 - 2 * s) - y);
      if (away < nearest && this.size[frame * this.facts.edges + rank] !== 0) [nearest, edge] = [away, rank];
    }
    return edge === null ? null : { edge };
  }

  next(_canvas, picked, key) {
    if (!picked) return { edge: 0 };
    const by = key === "ArrowDown" || key === "ArrowRight" ? 1 : -1;
    return { edge: Math.max(0, Math.min(this.facts.edges - 1, picked.edge + by)) };
  }

  /** What is known of an edge, as lines. */
  words(frame, { edge }) {
    const at = frame * this.facts.edges + edge;
    const size = this.size[at];
    const said = minus(size.toPrecision(4));
    return [`unit ${this.source[at]} → unit ${this.target[at]}`, this.facts.labels[frame], `${said} of the sum`];
  }
}

/** Where along a Bézier curve with both handles half way across it is `t` of the way across. */
function inverseOfBend(t) {
  let [low, high] = [0, 1];
  for (let i = 0; i < 20; i += 1) {
    const s = (low + high) / 2;
    const across = 1.5 * s * (1 - s) * (1 - s) + 1.5 * s * s * (1 - s) + s * s * s;
    if (across < t) low = s;
    else high = s;
  }
  return (low + high) / 2;
}
