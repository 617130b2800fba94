import { button } from "./controls.js";

/** Lines of words: what is shown, what is going on, what went wrong. */
export class Messages {
  constructor(host, cancel) {
    this.heading = line(host, "heading", "awb-heading");
    this.error = line(host, "error", "awb-error");
    this.error.setAttribute("role", "alert");
    const lines = line(host, "lines", "awb-lines"); // of a fixed height, so that nothing jumps under the pointer
    this.progress = line(lines, "progress", "awb-progress");
    this.bar = document.createElement("progress");
    this.bar.setAttribute("aria-label", "Progress");
    this.doing = document.createElement("span");
    this.progress.append(this.bar, this.doing, button("cancel", "Cancel", "Stop this work", cancel));
    this.status = line(lines, "status", "awb-status");
    this.status.setAttribute("role", "status");
    this.saved = Object.assign(document.createElement("figure"), { className: "awb-saved" });
    this.image = document.createElement("img");
    this.caption = document.createElement("figcaption");
    this.saved.append(this.image, this.caption);
    host.append(this.saved);
  }

  show({ facts, note, status, progress, error, silent, picture }) {
    say(this.heading, headingOf(facts));
    this.heading.classList.toggle("awb-synthetic", Boolean(facts.synthetic));
    say(this.error, error);
    const gone = "The kernel does not answer: what is loaded can still be looked at; run the cell again for the rest.";
    say(this.status, silent ? gone : [note, status].filter(Boolean).join(" "));
    this.showProgress(progress ?? {});
    this.saved.hidden = !picture;
    if (picture) {
      this.image.src = picture;
      this.image.alt = "The last picture of the explorer";
      this.caption.textContent = silent ? "The picture saved with the notebook. Run the cell to explore." : "Opening…";
    }
  }

  showProgress({ what, done, total, seconds_left: left, cancellable }) {
    this.progress.hidden = !what;
    if (!what) return;
    if (total) {
      this.bar.max = total;
      this.bar.value = done;
    } else {
      this.bar.removeAttribute("value"); // of unknown length
    }
    const count = total ? `: ${done} of ${total}` : "";
    this.doing.textContent = `${what}${count}${Number.isFinite(left) && left !== null ? `, ${durationText(left)} left` : ""}`;
    this.progress.querySelector("button").hidden = !cancellable;
  }
}

/** Seconds in words: "40 s", "3 min". */
export function durationText(seconds) {
  return seconds < 90 ? `${Math.max(1, Math.round(seconds))} s` : `${Math.round(seconds / 60)} min`;
}

function headingOf(facts) {
  if (!facts.name) return "";
  const adjusted = facts.adjusted?.startsWith("splits") ? `adjusted for ${facts.adjusted}` : facts.adjusted;
  const parts = [facts.name, `${facts.interval} bars`, facts.synthetic ? "" : adjusted, facts.model, facts.trained];
  return `${facts.synthetic ? "SYNTHETIC · " : ""}${parts.filter(Boolean).join(" · ")}`;
}

function line(host, name, className) {
  const made = document.createElement("div");
  made.className = className;
  made.dataset.awb = name;
  host.append(made);
  return made;
}

function say(element, text) {
  if (element.textContent !== (text ?? "")) element.textContent = text ?? "";
}
