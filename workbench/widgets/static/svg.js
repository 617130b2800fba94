/** The part of a canvas' drawing context that views use, writing SVG instead of pixels. */

const measuring = document.createElement("canvas").getContext("2d");
const ANCHORS = { left: "start", start: "start", center: "middle", right: "end", end: "end" };
const BASELINES = { alphabetic: 0, bottom: -0.22, middle: 0.35, top: 0.8, hanging: 0.8 };
const STATE = {
  fillStyle: "#000000",
  strokeStyle: "#000000",
  lineWidth: 1,
  lineCap: "butt",
  lineJoin: "miter",
  globalAlpha: 1,
  font: "10px sans-serif",
  textAlign: "start",
  textBaseline: "alphabetic",
  imageSmoothingEnabled: true,
};

/** Draws what `View.paint` draws and gives it as SVG: `String(context)`. */
export class SvgContext {
  constructor(width, height, title = "") {
    Object.assign(this, { width, height, title }, STATE);
    this.parts = [];
    this.path = [];
    this.matrix = [1, 0, 0, 1, 0, 0];
    this.dash = [];
    this.clips = 0;
    this.clipped = "";
    this.stack = [];
  }

  save() {
    const kept = Object.fromEntries(Object.keys(STATE).map((key) => [key, this[key]]));
    this.stack.push({ ...kept, matrix: this.matrix, dash: this.dash, clipped: this.clipped });
  }

  restore() {
    Object.assign(this, this.stack.pop() ?? {});
  }

  translate(x, y) {
    this.multiply([1, 0, 0, 1, x, y]);
  }

  rotate(angle) {
    this.multiply([Math.cos(angle), Math.sin(angle), -Math.sin(angle), Math.cos(angle), 0, 0]);
  }

  scale(x, y) {
    this.multiply([x, 0, 0, y, 0, 0]);
  }

  multiply([a, b, c, d, e, f]) {
    const [p, q, r, s, t, u] = this.matrix;
    this.matrix = [p * a + r * b, q * a + s * b, p * c + r * d, q * c + s * d, p * e + r * f + t, q * e + s * f + u];
  }

  /** A point of the current coordinates as text of the page's. */
  at(x, y) {
    const [a, b, c, d, e, f] = this.matrix;
    return `${short(a * x + c * y + e)} ${short(b * x + d * y + f)}`;
  }

  beginPath() {
    this.path = [];
  }

  moveTo(x, y) {
    this.path.push(`M${this.at(x, y)}`);
  }

  lineTo(x, y) {
    this.path.push(`${this.path.length ? "L" : "M"}${this.at(x, y)}`);
  }

  closePath() {
    this.path.push("Z");
  }

  rect(x, y, width, height) {
    this.path.push(this.box(x, y, width, height));
  }

  box(x, y, width, height) {
    const corners = [[x + width, y], [x + width, y + height], [x, y + height]];
    return `M${this.at(x, y)}${corners.map(([right, down]) => `L${this.at(right, down)}`).join("")}Z`;
  }

  /** Arcs become short straight lines, which no eye tells apart at these sizes. */
  arc(x, y, radius, start, end) {
    const steps = Math.max(8, Math.ceil(Math.abs(end - start) * 6));
    for (let i = 0; i <= steps; i += 1) {
      const angle = start + ((end - start) * i) / steps;
      this.lineTo(x + radius * Math.cos(angle), y + radius * Math.sin(angle));
    }
  }

  setLineDash(dash) {
    this.dash = [...dash];
  }

  clip() {
    const id = `clip${this.clips}`;
    this.clips += 1;
    this.parts.push(`<clipPath id="${id}"${this.within()}><path d="${this.path.join("")}"/></clipPath>`);
    this.clipped = id;
  }

  within() {
    return this.clipped ? ` clip-path="url(#${this.clipped})"` : "";
  }

  fill() {
    this.shape(this.path.join(""), `fill="${escaped(this.fillStyle)}"`);
  }

  fillRect(x, y, width, height) {
    this.shape(this.box(x, y, width, height), `fill="${escaped(this.fillStyle)}"`);
  }

  clearRect() {}

  stroke() {
    this.shape(this.path.join(""), this.lines());
  }

  strokeRect(x, y, width, height) {
    this.shape(this.box(x, y, width, height), this.lines());
  }

  lines() {
    const dash = this.dash.length ? ` stroke-dasharray="${this.dash.join(" ")}"` : "";
    const ends = ` stroke-linecap="${this.lineCap}" stroke-linejoin="${this.lineJoin}"`;
    return `fill="none" stroke="${escaped(this.strokeStyle)}" stroke-width="${short(this.lineWidth)}"${ends}${dash}`;
  }

  shape(path, paint) {
    if (path) this.parts.push(`<path d="${path}" ${paint}${this.faint()}${this.within()}/>`);
  }

  faint() {
    return this.globalAlpha < 1 ? ` opacity="${short(this.globalAlpha)}"` : "";
  }

  measureText(text) {
    measuring.font = this.font;
    return measuring.measureText(text);
  }

  fillText(text, x, y) {
    const [, style, size, family] = /^(.*?)([\d.]+)px\s+(.*)$/.exec(this.font) ?? [null, "", "10", "sans-serif"];
    const turned = this.matrix.slice(0, 4).some((value, i) => value !== [1, 0, 0, 1][i]);
    const down = y + Number(size) * (BASELINES[this.textBaseline] ?? 0);
    const place = turned
      ? `transform="matrix(${this.matrix.map(short).join(" ")})" x="${short(x)}" y="${short(down)}"`
      : `x="${short(x + this.matrix[4])}" y="${short(down + this.matrix[5])}"`;
    const weight = /bold|[6-9]00/.test(style) ? ' font-weight="600"' : "";
    const look = `font-family="${escaped(family)}" font-size="${size}"${weight} text-anchor="${ANCHORS[this.textAlign] ?? "start"}"`;
    const ink = `fill="${escaped(this.fillStyle)}"${this.faint()}${this.within()}`;
    this.parts.push(`<text ${place} ${look} ${ink}>${escaped(text)}</text>`);
  }

  /** Images are canvases: (image, x, y, width, height), or with a source box before. */
  drawImage(image, ...box) {
    const [x, y, width, height] = box.length === 8 ? box.slice(4) : [...box, image.width, image.height].slice(0, 4);
    const source = box.length === 8 ? cropped(image, box) : image;
    const pixels = this.imageSmoothingEnabled ? "" : ' style="image-rendering:pixelated"';
    const frame = `x="0" y="0" width="1" height="1" preserveAspectRatio="none"`;
    this.save();
    this.translate(x, y);
    this.scale(width, height);
    const turn = `transform="matrix(${this.matrix.map(short).join(" ")})"`;
    this.restore();
    this.parts.push(
      `<g${this.within()}><image ${frame} ${turn}${this.faint()}${pixels} href="${source.toDataURL("image/png")}"/></g>`,
    );
  }

  toString() {
    const { width, height } = this;
    const head = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img">`;
    return `${head}<title>${escaped(this.title)}</title>\n${this.parts.join("\n")}\n</svg>\n`;
  }
}

function short(value) {
  if (!Number.isFinite(value)) throw new Error(`a coordinate must be a finite number. Got ${value}.`);
  return Number(value.toFixed(3));
}

/** Characters that XML forbids, but for tab and line break, are left out; the others are escaped. */
function escaped(text) {
  const names = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;" };
  return String(text)
    .toWellFormed()
    .replace(/[^\t\n\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, "")
    .replace(/[&<>"']/g, (letter) => names[letter]);
}

function cropped(image, [x, y, width, height]) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").drawImage(image, x, y, width, height, 0, 0, width, height);
  return canvas;
}
