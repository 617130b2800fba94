"""What a MonitorWidget says in words: how far training is, what watching costs, and what was found."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from workbench.gates.findings import Finding
from workbench.gates.snapshots import Snapshot
from workbench.widgets.monitordata import MOST_BYTES, Story, layer_of

MOST_FINDINGS = 30
LOSSES = {"train_loss": "training loss", "valid_loss": "validation loss"}


def progress_line(story: Story, epochs: int | None) -> str:
    """Return how far training is: epoch, losses, and the best so far."""
    if not story.rows:
        return "No epoch is over yet."
    epoch = max(story.rows)
    parts = [f"Epoch {epoch}{'' if epochs is None else f' of at most {epochs}'}"]
    row = story.rows[epoch]
    losses = [f"{LOSSES[name]} {row[name]:.4g}" for name in LOSSES if name in row]
    parts += [", ".join(losses)] if losses else []
    best = _best(story)
    parts += [best] if best else []
    return " · ".join(parts)


def cost_line(overhead: float, share: float | None) -> str:
    """Return what watching costs, against its budget if there is one."""
    if math.isnan(overhead):
        return ""
    budget = "" if share is None else f", of at most {100 * share:.3g} %"
    return f"watching costs {100 * overhead:.3g} % of training's time{budget}"


def thinned_line(record: pd.DataFrame, story: Story) -> str:
    """Return what was left out, to keep within the budget of time and that of the page."""
    parts = []
    if len(record):
        steps, sampled = (int(record[name].to_numpy().sum()) for name in ("steps", "sampled"))
        if sampled < steps:
            parts.append(f"gradients were measured in {sampled:,} of {steps:,} steps")
        passed = len(record) - int(record["taken"].to_numpy().sum())
        if passed:
            parts.append(f"the gates were not looked at in {passed} of {len(record)} epochs")
    if story.places.stride > 1:
        which = f"the newest epoch and of every {ordinal(story.places.stride)} of those looked at"
        parts.append(f"panels are kept of {which}, {MOST_BYTES / 1e6:.3g} MB at most")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def ordinal(number: int) -> str:
    """Return a number as 2nd, 4th, 32nd."""
    endings = {1: "st", 2: "nd", 3: "rd"}
    ending = "th" if number % 100 in (11, 12, 13) else endings.get(number % 10, "th")
    return f"{number}{ending}"


def findings_told(
    findings: Sequence[Finding], looked: Sequence[int], layers: Sequence[str]
) -> list[dict[str, Any]]:
    """Return one entry for each thing that is or was wrong, the newest and worst first.

    Parameters
    ----------
    findings
        Of all epochs.
    looked
        Epochs that were looked at, ascending.
    layers
        Names of those that can be shown.

    Returns
    -------
    list of dict
        key, text, the epochs `since` and `epoch` of its last stretch, whether it is `current`, and the
        layer and unit that show it: "" and None where there are none.
    """
    by_key: dict[str, dict[int, Finding]] = {}
    for finding in findings:
        by_key.setdefault(finding.key, {})[finding.epoch] = finding
    newest = {key: epochs[max(epochs)] for key, epochs in by_key.items()}
    ranked = sorted(newest.values(), key=lambda finding: (-finding.epoch, -_badness(finding)))
    return [_told(finding, by_key[finding.key], looked, layers) for finding in ranked]


def most_epochs(record: pd.DataFrame, last: Snapshot | None) -> int | None:
    """Return how many epochs a training may have at most, by its last snapshot; None if unknown."""
    if last is None or not last.progress > 0:
        return None
    return max(round(last.epoch / last.progress), len(record))


def findings_line(told: Sequence[Mapping[str, Any]], looked: Sequence[int], epochs: int = 0) -> str:
    """Return how many things are wrong now, and how many were; of `epochs` that are over."""
    if not looked:
        return "Nothing has been looked at yet."
    now = sum(each["current"] for each in told)
    before = len(told) - now
    if not told:
        where = f" in the {len(looked)} of {epochs} epochs looked at" if epochs > len(looked) else ""
        return f"Nothing was found wrong{where}."
    line = f"{now or 'Nothing'} found wrong in epoch {looked[-1]}"
    line += f", {before} before" if before else ""
    left_out = len(told) - MOST_FINDINGS
    return f"{line}{f'; {left_out} are not listed' if left_out > 0 else ''}."


def _told(
    finding: Finding, epochs: Mapping[int, Finding], looked: Sequence[int], layers: Sequence[str]
) -> dict[str, Any]:
    since = finding.epoch
    for epoch in reversed([epoch for epoch in looked if epoch < finding.epoch]):
        if epoch not in epochs:
            break
        since = epoch
    layer = finding.where if finding.where in layers else layer_of(finding.where)
    unit = finding.unit if finding.unit is not None or not finding.units else finding.units[0]
    return {
        "key": finding.key,
        "text": str(finding),
        "since": since,
        "epoch": finding.epoch,
        "current": bool(looked) and finding.epoch == looked[-1],
        "layer": layer if layer in layers else "",
        "unit": unit,
    }


def _badness(finding: Finding) -> float:
    size = abs(finding.deviation)
    return math.inf if math.isnan(size) else size


def _best(story: Story) -> str:
    """Return the lowest loss, of validation if it is known."""
    for name in ("valid_loss", "train_loss"):
        known = {
            epoch: row[name] for epoch, row in story.rows.items() if math.isfinite(row.get(name, math.nan))
        }
        if known:
            epoch = min(known, key=lambda epoch: (known[epoch], epoch))
            return f"best {LOSSES[name]} {known[epoch]:.4g} in epoch {epoch}"
    return ""
