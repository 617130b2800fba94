import { button } from "./controls.js";
import { csvOf, download, fileName, pngOf, pythonOf, svgOf } from "./exports.js";

/** The row of buttons that save what is shown. */
export class Exporter {
  constructor(host, display) {
    this.display = display;
    const row = document.createElement("div");
    row.className = "awb-exports";
    row.dataset.awb = "export";
    row.setAttribute("role", "group");
    row.setAttribute("aria-label", "Save this view");
    const caption = Object.assign(document.createElement("span"), { textContent: "Save as" });
    row.append(caption);
    for (const [name, text, title] of [
      ["png", "PNG", "Save the views as a picture"],
      ["svg", "SVG", "Save the views as a drawing"],
      ["csv", "CSV", "Save the bars of the window with their scores"],
      ["python", "Python", "Show and copy the line that makes this view again"],
    ]) {
      row.append(button(`export-${name}`, text, title, () => this[name]()));
    }
    this.code = Object.assign(document.createElement("input"), { type: "text", readOnly: true, hidden: true });
    this.code.className = "awb-code";
    this.code.dataset.awb = "code";
    this.code.setAttribute("aria-label", "Python that makes this view again");
    this.done = Object.assign(document.createElement("span"), { className: "awb-done" });
    this.done.setAttribute("role", "status");
    const keys = document.createElement("details");
    keys.append(
      Object.assign(document.createElement("summary"), { textContent: "Keys" }),
      Object.assign(document.createElement("p"), { textContent: KEYS }),
    );
    row.append(this.code, this.done, keys);
    host.append(row);
  }

  /** Name of a file of this view. */
  name(ending) {
    const { facts, state } = this.display;
    return fileName([facts.synthetic ? "SYNTHETIC" : "", facts.name, state.date, state.method], ending);
  }

  /** What the pictures say beneath the views. */
  lines() {
    const { facts, state, parts, panel } = this.display;
    const synthetic = facts.synthetic ? "SYNTHETIC · " : "";
    return [
      `${synthetic}${facts.name}, decided on ${state.date} · ${facts.model}, ${facts.trained}`,
      ...panel.describe().split("; "),
      parts.trust.textContent,
      parts.conventions.textContent,
    ];
  }

  views() {
    return Object.values(this.display.views);
  }

  async png() {
    if (!this.isReady()) return;
    download(this.name("png"), await pngOf(this.views(), this.lines(), this.display.root), "image/png");
  }

  svg() {
    if (!this.isReady()) return;
    download(this.name("svg"), svgOf(this.views(), this.lines(), this.display.root), "image/svg+xml");
  }

  csv() {
    if (!this.isReady()) return;
    const { display } = this;
    const { start, end } = display.window();
    if (!display.byBar) {
      this.say("The scores of this day are not there yet.");
      return;
    }
    const columns = {
      [`score_${display.state.method}`]: display.byBar,
      ...display.featureColumns(),
      indifferent_model: display.views.candles.props.none,
      attention_of_row: display.litRow?.lit ?? null,
    };
    const { intraday, facts } = display;
    const text = csvOf({ bars: display.store.bars, start, end, intraday, columns, synthetic: facts.synthetic });
    download(this.name("csv"), text, "text/csv");
  }

  async python() {
    if (!this.isReady()) return;
    this.code.value = pythonOf(this.display.facts.code, this.display.state);
    this.code.hidden = false;
    this.code.select();
    this.say("Press Ctrl+C to copy.");
    if (!navigator.clipboard) return; // pages that are not served from loopback or by https have none
    await navigator.clipboard.writeText(this.code.value).then(
      () => this.say("Copied."),
      () => this.say("Press Ctrl+C to copy."), // the browser asked, and the reader said no
    );
  }

  /** Put the line of Python away: it is of another view now. */
  forget() {
    this.code.hidden = true;
    this.say("");
  }

  isReady() {
    if (!this.display.ready) this.say("Nothing is shown yet.");
    return this.display.ready;
  }

  say(text) {
    this.done.textContent = text;
  }
}

const KEYS =
  "On the candles and the money: ← → day, Page Up and Down a month, Home and End, + − zoom, Shift with ← → marks a span. " +
  "On the map: ↑ ↓ row, ← → key, Enter selects, Esc clears. Anywhere in the widget: l layer, h head, m method.";
