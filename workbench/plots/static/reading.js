/** What a saved picture holds: its facts as JSON, its numbers as bytes, its colours as tables. */

const UNKNOWN = 255; // the byte that stands for no number; the others are steps of a range

function bytesOf(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

/** The bytes of a text that were deflated before they became base64. */
async function inflated(text) {
  const stream = new Blob([bytesOf(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** The facts of a picture, its buffers as bytes. */
async function factsOf(root) {
  const facts = JSON.parse(root.querySelector("script[type='application/json']").textContent);
  for (const [name, text] of Object.entries(facts.buffers)) facts.buffers[name] = await inflated(text);
  return facts;
}

/** Tables of red, green, blue bytes as the 32-bit pixels of an ImageData. */
function pixelsOf(table) {
  const colours = new Uint8ClampedArray((table.length / 3) * 4).fill(255);
  for (let i = 0; i < table.length / 3; i += 1) colours.set(table.subarray(3 * i, 3 * i + 3), 4 * i);
  return new Uint32Array(colours.buffer);
}

function rgbOf(table, index) {
  return `rgb(${table[3 * index]},${table[3 * index + 1]},${table[3 * index + 2]})`;
}

/** A number in as many digits as its error leaves it, and the error. */
function roundedText(value, error) {
  const digits = Math.max(0, Math.min(12, Math.ceil(-Math.log10(error || 1e-6))));
  return `${minus(value.toFixed(digits))} ± ${error.toPrecision(1)}`;
}

function minus(text) {
  return text.replace("-", "−");
}

/** Whether what lies behind an element is dark. */
function isDark(element) {
  for (let at = element; at; at = at.parentElement ?? at.getRootNode().host) {
    const [red, green, blue, alpha = 1] = (getComputedStyle(at).backgroundColor.match(/[\d.]+/g) ?? []).map(Number);
    if (alpha > 0.5 && red !== undefined) return 0.2126 * red + 0.7152 * green + 0.0722 * blue < 128;
  }
  const scheme = getComputedStyle(document.documentElement).colorScheme;
  return scheme.includes("dark") && matchMedia("(prefers-color-scheme: dark)").matches;
}

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Size a canvas to its place on the page, and return its context in CSS pixels. */
function contextOf(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== wide || canvas.height !== high) [canvas.width, canvas.height] = [wide, high];
  const ctx = canvas.getContext("2d");
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.clearRect(0, 0, width, height);
  return { ctx, width, height };
}

/** A round step between labels of `count` things where there is room for so many. */
function niceStep(count, room) {
  return [1, 2, 5, 10, 20, 50, 100, 200, 500].find((step) => count / step <= Math.max(1, room)) ?? count;
}
