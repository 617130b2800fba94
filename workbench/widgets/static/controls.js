/** A labelled control: `name` is its hook for scripts, `text` what people read. */
export function field(name, text, control) {
  const label = document.createElement("label");
  label.className = "awb-field";
  const caption = document.createElement("span");
  caption.textContent = text;
  control.dataset.awb = name;
  label.append(caption, control);
  return label;
}

/** A button that calls `press`. */
export function button(name, text, title, press) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = "awb-button";
  made.dataset.awb = name;
  made.textContent = text;
  made.title = title;
  made.addEventListener("click", press);
  return made;
}

/**
 * Fill a select with options {value, text, group?, title?, disabled?} and choose `value`.
 * Nothing is touched while nothing has changed, so that an open list stays open.
 */
export function fill(select, options, value) {
  const plan = JSON.stringify(options);
  if (select.awbPlan !== plan) {
    select.awbPlan = plan;
    const groups = new Map();
    select.replaceChildren();
    for (const option of options) {
      const made = document.createElement("option");
      made.value = option.value;
      made.textContent = option.text;
      made.title = option.title ?? "";
      made.disabled = Boolean(option.disabled);
      if (option.group && !groups.has(option.group)) {
        const group = document.createElement("optgroup");
        group.label = option.group;
        groups.set(option.group, group);
        select.append(group);
      }
      (groups.get(option.group) ?? select).append(made);
    }
  }
  if (select.value !== value) select.value = value;
}

const EXAMPLES = {
  csv: "prices.csv", yahoo: "MSFT", synthetic: "LAG5-SNR2",
  bybit: "BTCUSDT", "bybit-linear": "BTCUSDT", "bybit-inverse": "BTCUSD",
};

/** The selectors of the Explorer. `act(name, value)` is called when one is used. */
export class Controls {
  constructor(host, act) {
    this.act = act;
    this.selects = {};
    const row = document.createElement("div");
    row.className = "awb-controls";
    for (const [name, text] of [
      ["source", "Source"], ["ticker", "Ticker"], ["run", "Model"], ["method", "Explained by"],
      ["target", "Target class"], ["layer", "Layer"], ["head", "Head"],
    ]) {
      const select = document.createElement("select");
      select.addEventListener("change", () => this.act(name, select.value));
      this.selects[name] = select;
      row.append(field(name, text, select));
    }
    this.typed = this.makeTyped();
    row.children[1].after(this.typed.parentElement);
    this.train = button("train", "Train…", "", () => this.act("train", this.armed));
    row.children[3].after(this.train);
    this.days = this.makeDays();
    this.row = row;
    host.append(row, this.days);
  }

  /** Free text for the ticker of a source that has no list. */
  makeTyped() {
    const input = document.createElement("input");
    input.type = "text";
    input.spellcheck = false;
    input.autocomplete = "off";
    input.addEventListener("change", () => this.act("ticker", input.value.trim()));
    field("ticker-text", "Ticker", input);
    return input;
  }

  makeDays() {
    const row = document.createElement("div");
    row.className = "awb-days";
    this.date = Object.assign(document.createElement("input"), { type: "date", required: true });
    this.date.addEventListener("change", () => this.date.value && this.act("date", this.date.value));
    this.time = document.createElement("span");
    this.time.className = "awb-time";
    this.slider = Object.assign(document.createElement("input"), { type: "range", min: 0, step: 1 });
    this.slider.addEventListener("input", () => this.act("day", Number(this.slider.value)));
    const slide = field("day", "Slide through the days", this.slider);
    slide.classList.add("awb-slide");
    slide.firstChild.className = "awb-hidden";
    row.append(
      button("previous", "‹", "Previous day (←)", () => this.act("step", -1)),
      field("date", "Day of decision", this.date),
      this.time,
      button("next", "›", "Next day (→)", () => this.act("step", 1)),
      slide,
    );
    for (const step of row.querySelectorAll("button")) step.setAttribute("aria-label", step.title);
    return row;
  }

  /** Show what can be chosen, and what is. */
  show({ choices, facts, state, readOnly }) {
    const source = choices.sources?.find(({ name }) => name === state.source);
    const open = Boolean(source?.open);
    const selects = this.selects;
    fill(selects.source, (choices.sources ?? []).map(({ name, what }) => ({ value: name, text: name, title: what })), state.source);
    fill(selects.ticker, (choices.tickers ?? []).map((name) => ({ value: name, text: name })), state.ticker);
    selects.ticker.parentElement.hidden = open;
    this.typed.parentElement.hidden = !open;
    this.typed.previousSibling.textContent = state.source === "csv" ? "Path of a CSV file" : "Ticker";
    this.typed.placeholder = EXAMPLES[state.source] ?? "";
    if (document.activeElement !== this.typed) this.typed.value = state.ticker;
    this.showRuns(choices.runs ?? [], state.run, readOnly);
    this.showMethods(choices, state);
    this.showLayers(facts, state);
  }

  showRuns(runs, run, readOnly) {
    const shown = readOnly ? runs.filter(({ group }) => group !== "train here") : runs;
    const options = shown.map(({ key, label, note, group, disabled }) => ({ value: key, text: label, title: note, group, disabled }));
    const armed = shown.some(({ key }) => key === this.armed) ? this.armed : "";
    this.armed = armed;
    fill(this.selects.run, options, armed || run);
    this.train.hidden = readOnly;
    this.trainables = shown.filter(({ group }) => group === "train here").map(({ key }) => key);
    this.labelTrain();
  }

  /** Choose what the Train button trains at the next press; "" puts it away. */
  arm(key) {
    this.armed = key;
    if (key) {
      this.selects.run.value = key;
      this.train.focus();
    }
    this.labelTrain();
  }

  /** What to train where a model of the kind `kind` is shown. */
  trainable(kind) {
    return this.trainables.find((key) => key === `train:${kind}`) ?? this.trainables[0] ?? "";
  }

  labelTrain() {
    this.train.textContent = this.armed ? "Start training" : "Train…";
    this.train.title = this.armed ? "Train the chosen model on this ticker now" : "Train a model on this ticker";
  }

  showMethods(choices, state) {
    const methods = choices.methods ?? [];
    const options = methods.map(({ name, label, what, disabled }) => ({
      value: name,
      text: disabled ? `${label} (not for this model)` : label,
      title: disabled || what,
      disabled,
    }));
    fill(this.selects.method, options, state.method);
    const targets = methods.find(({ name }) => name === state.method)?.targets ?? false;
    const texts = (choices.targets ?? [""]).map((name) => ({ value: name, text: name || "the likeliest" }));
    fill(this.selects.target, targets ? texts : [{ value: "", text: "none" }], targets ? state.target : "");
    this.selects.target.disabled = !targets;
    this.selects.target.title = targets ? "Which answer is explained" : "This method explains no class, but what was looked at";
  }

  showLayers(facts, state) {
    const layers = facts.layers ?? [];
    const names = layers.map(({ name, kind }, i) => ({ value: String(i), text: `${i + 1} · ${name}`, title: `${kind}-attention` }));
    fill(this.selects.layer, names.length ? names : [{ value: "0", text: "none" }], String(names.length ? state.layer : 0));
    const heads = layers[state.layer]?.heads ?? 0;
    const each = Array.from({ length: heads }, (_, i) => ({ value: String(i), text: `head ${i + 1}` }));
    const fused = ["mean", "max", "min"].map((name) => ({ value: name, text: `${name} of ${heads}` }));
    fill(this.selects.head, heads ? [...fused, ...each] : [{ value: "mean", text: "none" }], heads ? state.head : "mean");
    this.selects.layer.disabled = this.selects.head.disabled = heads === 0;
  }

  /** Show the day: its place among `count` days and its date as text. */
  showDay(day, count, text, [first, last]) {
    this.slider.max = Math.max(0, count - 1);
    this.slider.value = day;
    this.slider.setAttribute("aria-valuetext", text);
    this.date.min = first.slice(0, 10);
    this.date.max = last.slice(0, 10);
    this.date.value = text.slice(0, 10);
    this.time.textContent = text.length > 10 ? `${text.slice(11)} UTC` : "";
  }
}
