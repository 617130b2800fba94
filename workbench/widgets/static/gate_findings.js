/** What is wrong inside the model, the newest and worst first; new findings are read out. */

/** The list; `choose(finding)` is called when one is clicked. */
export class FindingsList {
  constructor(host, choose) {
    this.choose = choose;
    this.known = null; // keys that were read out, or were there when the page opened
    this.root = document.createElement("section");
    this.root.className = "awb-findings";
    this.root.setAttribute("aria-label", "Findings");
    this.heading = Object.assign(document.createElement("div"), { className: "awb-findings-heading" });
    this.heading.dataset.awb = "findings-heading";
    this.list = document.createElement("ul");
    this.list.dataset.awb = "findings";
    this.alert = Object.assign(document.createElement("div"), { className: "awb-hidden" });
    this.alert.dataset.awb = "alert";
    this.alert.setAttribute("role", "alert");
    this.root.append(this.heading, this.list, this.alert);
    host.append(this.root);
  }

  /** `findings` as the kernel sorted them; `told` says what it has to say of all. */
  show(findings, told) {
    const plan = JSON.stringify([findings, told]);
    if (plan === this.plan) return;
    this.plan = plan;
    this.heading.textContent = told;
    this.heading.classList.toggle("awb-findings-bad", findings.some(({ current }) => current));
    const held = this.list.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    this.list.replaceChildren(...findings.map((finding) => this.item(finding)));
    this.list.hidden = findings.length === 0;
    this.list.tabIndex = this.list.querySelector("button") ? -1 : 0; // so that keys can scroll it
    if (held !== null) [...this.list.querySelectorAll("button")].find(({ dataset }) => dataset.key === held)?.focus();
    this.announce(findings);
  }

  item(finding) {
    const item = document.createElement("li");
    if (!finding.current) item.className = "awb-finding-over";
    const words = document.createElement(finding.layer ? "button" : "span");
    const when = finding.since === finding.epoch ? `epoch ${finding.epoch}` : `epochs ${finding.since}–${finding.epoch}`;
    const time = Object.assign(document.createElement("span"), { className: "awb-finding-when", textContent: when });
    words.append(time, ` ${finding.text}${finding.current ? "" : " (no longer)"}`);
    if (finding.layer) {
      words.type = "button";
      words.dataset.key = finding.key;
      words.title = `Show ${finding.layer}`;
      words.addEventListener("click", () => this.choose(finding));
    }
    item.append(words);
    return item;
  }

  /** Read out what is new: the worst in full, the others as a number. */
  announce(findings) {
    const keys = findings.filter(({ current }) => current).map(({ key }) => key);
    const fresh = findings.filter(({ current, key }) => current && this.known && !this.known.has(key));
    if (fresh.length) {
      const more = fresh.length > 1 ? ` And ${fresh.length - 1} more.` : "";
      this.alert.textContent = `Epoch ${fresh[0].epoch}: ${fresh[0].text}.${more}`;
    }
    this.known = new Set(keys);
  }
}
