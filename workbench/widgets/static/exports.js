import { dateText } from "./axes.js";
import { themeOf } from "./paint.js";
import { SvgContext } from "./svg.js";

const FRAME_GAP = 12;
const TEXT_LINE = 17;

/** Save `content` under a name as the browser saves downloads. */
export function download(name, content, type) {
  const url = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  const link = Object.assign(document.createElement("a"), { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}

/** A file name that every system takes. */
export function fileName(parts, ending) {
  const plain = parts.filter(Boolean).join("-").replace(/[^\w.+-]+/g, "_").replace(/^[.+=-]+/, "");
  return `${(plain || "explorer").slice(0, 120)}.${ending}`;
}

/** Lines of text, each cut into as many as fit into `width`. */
function fittedLines(ctx, lines, width) {
  const fitted = [];
  for (const line of lines) {
    let now = "";
    for (const word of line.split(" ")) {
      const longer = now ? `${now} ${word}` : word;
      if (now && ctx.measureText(longer).width > width) {
        fitted.push(now);
        now = `  ${word}`;
      } else now = longer;
    }
    fitted.push(now);
  }
  return fitted;
}

/**
 * The views where they stand on the page, the title above them and the words beneath the last view where there
 * is room, else beneath all.
 */
function plan(views, [title, ...words], root) {
  const origin = root.getBoundingClientRect();
  const placed = views
    .filter((view) => view.element.clientWidth && view.element.clientHeight)
    .map((view) => {
      const box = view.element.getBoundingClientRect();
      return { view, x: box.left - origin.left, y: box.top - origin.top, width: box.width, height: box.height };
    });
  const top = Math.min(...placed.map(({ y }) => y)) - FRAME_GAP - 2 * TEXT_LINE;
  for (const place of placed) place.y -= top;
  const bottom = Math.max(...placed.map(({ y, height }) => y + height));
  const ctx = document.createElement("canvas").getContext("2d");
  ctx.font = `12px ${themeOf(root).font}`;
  const aside = placed.find(({ view }) => view === views.at(-1));
  const lines = fittedLines(ctx, words, aside.width - 2 * FRAME_GAP);
  const room = bottom - aside.y - aside.height >= TEXT_LINE * lines.length + FRAME_GAP;
  const text = room
    ? { x: aside.x + FRAME_GAP, y: aside.y + aside.height + FRAME_GAP, lines }
    : { x: FRAME_GAP, y: bottom + FRAME_GAP, lines: fittedLines(ctx, words, origin.width - 2 * FRAME_GAP) };
  const height = Math.max(bottom, text.y + TEXT_LINE * text.lines.length) + FRAME_GAP;
  return { placed, title, text, width: origin.width, height };
}

function compose(ctx, { placed, title, text, width, height }, theme) {
  ctx.fillStyle = theme.paper;
  ctx.fillRect(0, 0, width, height);
  for (const { view, x, y, ...size } of placed) {
    ctx.save();
    ctx.translate(x, y);
    view.paint(ctx, size, theme);
    view.overlay(ctx, size, theme);
    ctx.restore();
  }
  ctx.fillStyle = theme.ink;
  ctx.textAlign = "left";
  ctx.textBaseline = "alphabetic";
  ctx.font = `600 14px ${theme.font}`;
  ctx.fillText(title, FRAME_GAP, FRAME_GAP + TEXT_LINE);
  ctx.font = `12px ${theme.font}`;
  text.lines.forEach((line, i) => ctx.fillText(line, text.x, text.y + TEXT_LINE * (i + 1) - 4));
}

/** Everything on show as an SVG text. */
export function svgOf(views, lines, root) {
  const laid = plan(views, lines, root);
  const ctx = new SvgContext(laid.width, laid.height, lines[0]);
  compose(ctx, laid, themeOf(root));
  return ctx.toString();
}

/** Everything on show as a PNG, `scale` pixels to a CSS pixel; a promise of a Blob. */
export function pngOf(views, lines, root, scale = 2) {
  const laid = plan(views, lines, root);
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(laid.width * scale);
  canvas.height = Math.round(laid.height * scale);
  const ctx = canvas.getContext("2d");
  ctx.scale(scale, scale);
  compose(ctx, laid, themeOf(root));
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

/** The bars of a window with what each was given: a CSV text, shares as fractions. */
export function csvOf({ bars, start, end, intraday, columns, synthetic }) {
  const named = Object.entries(columns).filter(([, values]) => values);
  const date = intraday ? "date_utc" : "date";
  const head = [date, "open", "high", "low", "close", "volume", ...named.map(([name]) => name)];
  if (synthetic) head.push("prices");
  const rows = [head.map(csvText).join(",")];
  for (let bar = start; bar <= end; bar += 1) {
    const priced = ["open", "high", "low", "close", "volume"].map((name) => bars[name][bar]);
    const values = [...priced, ...named.map(([, each]) => each[bar - start])];
    const row = [dateText(bars.dates[bar], intraday), ...values.map((v) => (Number.isFinite(v) ? v : ""))];
    if (synthetic) row.push("SYNTHETIC");
    rows.push(row.join(","));
  }
  return `${rows.join("\n")}\n`;
}

function csvText(text) {
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** The line of Python that shows this view again; `code` is how it starts. */
export function pythonOf(code, { method, target, date, layer, head, row }) {
  const named = { method, target: target || null, date, layer, head: head === "mean" ? null : head, row: row < 0 ? null : row };
  const given = Object.entries(named).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const told = given.map(([name, value]) => `${name}=${typeof value === "number" ? value : JSON.stringify(value)}`);
  return `${code}${code.endsWith("(") ? "" : ", "}${told.join(", ")})`;
}
