"""Readings of one round, from numbers with rules or from findings."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import SupportsFloat

from workbench.gates.findings import Finding
from workbench.gates.hysteresis import QUIET, Level, Patience, Rule, advanced
from workbench.gates.messages import Alert, one_line
from workbench.gates.spool import Remembered

NAMED = 5  # findings of a place that an alert names beside the farthest


@dataclass(frozen=True)
class Reading:
    """Where a condition stands now.

    Attributes
    ----------
    key
        Of the condition.
    level
        Bad, good or between.
    patience
        How many such readings it takes.
    title
        What it is about, in a few words.
    text
        What was measured, in a sentence.
    """

    key: str
    level: Level
    patience: Patience
    title: str
    text: str


@dataclass(frozen=True)
class Round:
    """Whose readings they are, and when they were taken: at what time and after which epoch."""

    source: str
    at: datetime
    epoch: int | None


def of_numbers(numbers: Mapping[str, SupportsFloat], rules: Mapping[str, Rule]) -> list[Reading]:
    """Return a reading for each number that has a rule.

    Raises
    ------
    ValueError
        If there are numbers and none has one.
    """
    if numbers and not numbers.keys() & rules.keys():
        raise ValueError(
            f"None of the readings {', '.join(numbers)} has a rule; there are rules for "
            f"{', '.join(rules) or 'none'}. Give Alerts a Rule of the same name."
        )
    readings = []
    for name, rule in rules.items():
        if name in numbers:
            value = float(numbers[name])
            limit = f"above {rule.above:g} is bad" + (
                "" if rule.clear is None else f", below {rule.clear:g} is good"
            )
            text = f"{one_line(name)} is {value:.4g}; {limit}."
            readings.append(Reading(name, rule.level(value), rule, one_line(name), text))
    return readings


def of_findings(
    findings: Sequence[Finding], known: Mapping[str, Remembered], patience: Patience
) -> list[Reading]:
    """Return a bad reading for each place where something was found, and a good one for each known other.

    Where something is no finite number, nothing is said of what other rules knew: nobody looked for it.
    """
    found: dict[str, list[Finding]] = {}
    for finding in findings:  # the farthest first
        found.setdefault(finding.condition, []).append(finding)
    readings = [
        Reading(key, _level(there), patience, title(there[0]), _sentence(there))
        for key, there in found.items()
    ]
    gone = f"Not found at {patience.clear_after} checks in a row."
    asked = {finding.rule for finding in findings}
    everybody = all(reading.level == "above" for reading in readings)
    return readings + [
        Reading(key, "below", patience, kept.title, gone)
        for key, kept in known.items()
        if key not in found and (everybody or key.partition("/")[0] in asked)
    ]


def judged(
    readings: Sequence[Reading], known: Mapping[str, Remembered], taken: Round
) -> tuple[dict[str, Remembered], list[Alert]]:
    """Return the conditions that readings change, by key, and what is to be told."""
    changed: dict[str, Remembered] = {}
    alerts = []
    for reading in readings:
        before = known[reading.key].condition if reading.key in known else QUIET
        condition, event = advanced(before, reading.level, reading.patience, taken.at)
        if condition != before:
            changed[reading.key] = Remembered(condition, reading.title)
        if event is not None:
            text = reading.text if taken.epoch is None else f"{reading.text} Epoch {taken.epoch}."
            severity = reading.patience.severity
            alerts.append(Alert(taken.source, reading.key, event, severity, reading.title, text, taken.at))
    return changed, alerts


def title(finding: Finding) -> str:
    """Return what a finding is about, without its numbers."""
    gate = f" {finding.gate} gate" if finding.gate else ""
    unit = "" if finding.unit is None else f" unit {finding.unit}"
    return one_line(f"{f'{finding.where}{gate}{unit}'.strip() or 'the model'}: {finding.signal}")


def _sentence(there: Sequence[Finding]) -> str:
    """Return the farthest finding of a place in full, and what the others are about."""
    told = f"{one_line(str(there[0]))}."
    others = [title(each).partition(": ")[2] + (f" ({each.gate})" if each.gate else "") for each in there[1:]]
    if not others:
        return told
    more = len(others) - NAMED
    return f"{told} Also {', '.join(others[:NAMED])}{f' and {more} more' if more > 0 else ''} there."


def _level(there: Sequence[Finding]) -> Level:
    finite = all(math.isfinite(each.value) and math.isfinite(each.deviation) for each in there)
    return "above" if finite else "broken"
