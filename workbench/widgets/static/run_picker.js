/** The widget RunPicker: a list of saved models and what is known of the chosen one. */

import { button, field, fill } from "./controls.js";

/** Wires the list to the traits. */
class RunList {
  constructor(model, host) {
    this.model = model;
    this.root = document.createElement("div");
    this.root.className = "awb awb-picker";
    this.select = document.createElement("select");
    this.select.addEventListener("change", () => this.choose());
    const row = this.child("div", "awb-picker-row");
    const again = button("refresh", "Refresh", "Read the folder of models again", () => this.refresh());
    row.append(field("run", "Model", this.select), again);
    row.addEventListener("keydown", (event) => event.stopPropagation()); // JupyterLab takes keys otherwise
    this.words = this.child("dl", "awb-picker-facts");
    this.note = this.child("p", "awb-notice");
    this.note.setAttribute("role", "status");
    this.fault = this.child("p", "awb-notice");
    this.fault.dataset.kind = "error";
    this.fault.setAttribute("role", "alert");
    host.append(this.root);
    this.react = () => this.show();
    for (const name of ["run", "listed", "error"]) model.on(`change:${name}`, this.react);
    this.show();
  }

  child(tag, className) {
    const made = document.createElement(tag);
    made.className = className;
    this.root.append(made);
    return made;
  }

  choose() {
    this.model.set("run", this.select.value);
    this.model.save_changes();
  }

  refresh() {
    this.model.send({ ask: "refresh" });
  }

  show() {
    const [run, listed] = [this.model.get("run"), this.model.get("listed")];
    const chosen = listed.find(({ key }) => key === run);
    const options = listed.map(({ key, label, note }) => ({ value: key, text: chooserText(label, note, key, listed), title: key }));
    if (run && !chosen) options.unshift({ value: run, text: `${run} (not in this list)` });
    fill(this.select, [{ value: "", text: listed.length ? "– none –" : "– no saved models –" }, ...options], run);
    this.showFacts(chosen);
    this.note.textContent = this.advice(run, chosen, listed);
    this.note.hidden = !this.note.textContent;
    this.fault.textContent = this.model.get("error") || chosen?.fault || "";
    this.fault.hidden = !this.fault.textContent;
  }

  showFacts(chosen) {
    this.words.replaceChildren();
    for (const [name, text] of chosen && !chosen.fault ? chosen.facts : []) {
      const pair = [document.createElement("dt"), document.createElement("dd")];
      [pair[0].textContent, pair[1].textContent] = [name, text];
      this.words.append(...pair);
    }
  }

  advice(run, chosen, listed) {
    const place = this.model.get("place");
    if (run && !chosen) return `No model called ${run} lies in ${place}. Refresh if it was saved just now.`;
    if (!listed.length) return `No models are saved in ${place} yet. ensure_model(…) trains and keeps one.`;
    return chosen ? "" : `${listed.length} saved model${listed.length === 1 ? "" : "s"}, newest first.`;
  }

  destroy() {
    for (const name of ["run", "listed", "error"]) this.model.off(`change:${name}`, this.react);
    this.root.remove();
  }
}

/** A line of the list: models of the same label are told apart by their note, or by name. */
function chooserText(label, note, key, listed) {
  if (listed.filter((other) => other.label === label).length === 1) return label;
  const same = listed.filter((other) => other.label === label && other.note === note).length;
  return same === 1 ? `${label} · ${note}` : `${label} · ${note} · ${key}`;
}

export default {
  render({ model, el }) {
    const list = new RunList(model, el);
    return () => list.destroy();
  },
};
