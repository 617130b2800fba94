/** Heatmaps of units (down) and bars (across), one a gate or state. */

const MARGIN = { left: 34, right: 62, top: 6, bottom: 34 };
const BAR = { gap: 8, width: 10 };

class Cells {
  constructor(facts, host) {
    this.facts = facts;
    this.values = facts.buffers.cells;
    this.tables = Object.fromEntries(Object.entries(facts.tables).map(([name, text]) => [name, bytesOf(text)]));
    this.pixels = Object.fromEntries(Object.entries(this.tables).map(([name, table]) => [name, pixelsOf(table)]));
    this.starts = [];
    this.size = 0; // cells of a frame
    for (const { rows, columns } of facts.panels) {
      this.starts.push(this.size);
      this.size += rows * columns;
    }
    // Of each frame but the first what it adds is kept, and bytes go round at 256.
    for (let i = this.size; i < this.values.length; i += 1) this.values[i] += this.values[i - this.size];
    this.canvases = facts.panels.map((panel) => this.place(panel, host));
  }

  place(panel, host) {
    const canvas = make("canvas", {
      tabindex: "0",
      role: "application",
      "aria-roledescription": "heatmap",
      "aria-label": `${panel.head}: ${many(panel.rows, "unit")} by ${many(panel.columns, "bar")}. Arrow keys read a cell.`,
    });
    canvas.style.height = `${Math.max(200, Math.min(420, 60 + 1.3 * panel.rows))}px`;
    host.append(make("div", { class: "panel" }, make("div", { class: "head" }, panel.head), canvas));
    return canvas;
  }

  get places() {
    return this.canvases;
  }

  /** The value of a cell, or null where there is none. */
  value(frame, panel, row, column) {
    const at = frame * this.size + this.starts[panel] + row * this.facts.panels[panel].columns + column;
    if (this.values[at] === UNKNOWN) return null;
    return this.facts.panels[panel].low + this.values[at] * this.facts.panels[panel].step;
  }

  /** What stands at a bar of a frame. */
  bar(frame, column) {
    const { bars, starts, panels } = this.facts;
    if (!bars) return column === panels[0].columns - 1 ? "t" : `t−${panels[0].columns - 1 - column}`;
    return bars[starts[frame] + column];
  }

  draw(frame, theme, cell) {
    this.facts.panels.forEach((panel, i) => {
      const { ctx, width, height } = contextOf(this.canvases[i]);
      const box = this.box(width, height);
      const name = panel.signed ? theme.signed : "magnitude";
      ctx.imageSmoothingEnabled = box.width < panel.columns || box.height < panel.rows;
      ctx.drawImage(this.image(frame, i, this.pixels[name]), box.x, box.y, box.width, box.height);
      this.drawAxes(ctx, box, frame, panel, theme);
      drawColourBar(ctx, box, panel, this.tables[name], theme);
      if (cell?.panel === i) outline(ctx, this.cellBox(box, panel, cell), theme);
    });
  }

  box(width, height) {
    const { left, right, top, bottom } = MARGIN;
    return { x: left, y: top, width: Math.max(8, width - left - right), height: Math.max(8, height - top - bottom) };
  }

  image(frame, i, pixels) {
    const { rows, columns } = this.facts.panels[i];
    const canvas = make("canvas");
    [canvas.width, canvas.height] = [columns, rows];
    const ctx = canvas.getContext("2d");
    const image = ctx.createImageData(columns, rows);
    const drawn = new Uint32Array(image.data.buffer);
    const start = frame * this.size + this.starts[i];
    for (let k = 0; k < drawn.length; k += 1) {
      const code = this.values[start + k];
      if (code !== UNKNOWN) drawn[k] = pixels[code];
    }
    ctx.putImageData(image, 0, 0);
    return canvas;
  }

  cellBox(box, { rows, columns }, { row, column }) {
    const [width, height] = [box.width / columns, box.height / rows];
    return { x: box.x + column * width, y: box.y + row * height, width, height };
  }

  drawAxes(ctx, box, frame, { rows, columns }, theme) {
    ctx.strokeStyle = theme.muted;
    ctx.strokeRect(box.x - 0.5, box.y - 0.5, box.width + 1, box.height + 1);
    ctx.font = `11px ${theme.font}`;
    ctx.fillStyle = theme.muted;
    ctx.textAlign = "right";
    ctx.textBaseline = "middle";
    const step = niceStep(rows, Math.floor(box.height / 22));
    for (let row = 0; row < rows; row += step) {
      ctx.fillText(String(row), box.x - 5, box.y + ((row + 0.5) * box.height) / rows);
    }
    ctx.textBaseline = "top";
    const room = Math.max(1, Math.floor(box.width / (this.facts.bars ? 96 : 56)));
    const places = this.facts.bars ? spread(columns, room) : rounded(columns, room);
    for (const column of places) {
      const x = box.x + ((column + 0.5) * box.width) / columns;
      ctx.textAlign = columns > 1 && column === 0 ? "left" : columns > 1 && column === columns - 1 ? "right" : "center";
      this.bar(frame, column).split(" ").forEach((line, i) => ctx.fillText(line, x, box.y + box.height + 5 + 13 * i));
    }
  }

  /** The cell under a point of a canvas, or null. */
  at(canvas, x, y) {
    const panel = this.canvases.indexOf(canvas);
    const { rows, columns } = this.facts.panels[panel];
    const box = this.box(canvas.clientWidth, canvas.clientHeight);
    const column = Math.floor(((x - box.x) / box.width) * columns);
    const row = Math.floor(((y - box.y) / box.height) * rows);
    return column >= 0 && row >= 0 && column < columns && row < rows ? { panel, row, column } : null;
  }

  /** The cell next to one in the direction of a key; without one, the first. */
  next(canvas, cell, key) {
    const [across, down] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
    const panel = this.canvases.indexOf(canvas);
    const { rows, columns } = this.facts.panels[panel];
    if (cell?.panel !== panel) return { panel, row: 0, column: columns - 1 };
    const within = (value, count) => Math.max(0, Math.min(count - 1, value));
    return { panel, row: within(cell.row + down, rows), column: within(cell.column + across, columns) };
  }

  /** What is known of a cell, as lines. */
  words(frame, { panel, row, column }) {
    const { head, step } = this.facts.panels[panel];
    const value = this.value(frame, panel, row, column);
    const said = value === null ? "no finite value" : roundedText(value, step / 2);
    return [`${head}, unit ${row}`, this.bar(frame, column), said];
  }
}

/** Up to `room` + 1 of `count` places, the first and the last among them. */
function spread(count, room) {
  if (count === 1) return [0];
  const gaps = Math.max(1, Math.min(count - 1, room - 1));
  return Array.from({ length: gaps + 1 }, (_, i) => Math.round((i * (count - 1)) / gaps));
}

/** Places at round distances from the last of `count`, the last among them. */
function rounded(count, room) {
  const step = niceStep(count, room);
  return Array.from({ length: Math.ceil(count / step) }, (_, i) => count - 1 - i * step).reverse();
}

function many(count, name) {
  return `${count} ${name}${count === 1 ? "" : "s"}`;
}

function drawColourBar(ctx, box, { low, step }, table, theme) {
  const x = box.x + box.width + BAR.gap;
  const levels = UNKNOWN;
  for (let i = 0; i < levels; i += 1) {
    ctx.fillStyle = rgbOf(table, i);
    const y = box.y + box.height * (1 - (i + 1) / levels);
    ctx.fillRect(x, y, BAR.width, box.height / levels + 0.6);
  }
  const high = low + (levels - 1) * step;
  ctx.fillStyle = theme.muted;
  ctx.textAlign = "left";
  for (const [value, y, base] of [[high, 0, "top"], [(low + high) / 2, 0.5, "middle"], [low, 1, "bottom"]]) {
    ctx.textBaseline = base;
    ctx.fillText(minus(String(Number(value.toPrecision(2)))), x + BAR.width + 4, box.y + y * box.height);
  }
}

function outline(ctx, { x, y, width, height }, theme) {
  for (const [line, style] of [[4, theme.paper], [2, theme.ink]]) {
    ctx.lineWidth = line;
    ctx.strokeStyle = style;
    ctx.strokeRect(x - 1, y - 1, width + 2, height + 2);
  }
  ctx.lineWidth = 1;
}
