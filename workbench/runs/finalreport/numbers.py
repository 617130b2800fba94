"""Numbers of a report: each is a number, or says why it is none."""

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["Figure", "figure", "figures", "not_run", "value_at"]

Figure = float | int | dict[str, str]
"""A number, or {"undefined": the reason}."""


def figure(value: float | int | None, why: str = "") -> Figure:
    """Return a number as JSON has it, or the reason why there is none.

    Raises
    ------
    ValueError
        The number is not finite and no reason is given: nothing in a report is silently missing.
    """
    if value is not None and math.isfinite(value):
        return float(value) if not isinstance(value, int) else value
    if not why:
        raise ValueError(f"A figure that is {value} needs a reason why it is undefined.")
    return {"undefined": why}


def figures(values: Mapping[str, float], reasons: Mapping[str, str]) -> dict[str, Figure]:
    """Return several figures, those that are NaN with their reasons."""
    return {name: figure(float(value), reasons.get(name, "")) for name, value in values.items()}


def not_run(reason: str) -> dict[str, str]:
    """Return the section of what could not be computed."""
    return {"status": "not run", "reason": reason}


def value_at(report: Any, pointer: str) -> Any:
    """Return what a JSON pointer (RFC 6901) leads to.

    Raises
    ------
    KeyError
        It leads nowhere.
    """
    found = report
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        try:
            found = found[int(name)] if isinstance(found, list) else found[name]
        except (IndexError, KeyError, ValueError, TypeError) as error:
            raise KeyError(f"{pointer} leads nowhere: there is no {name!r}.") from error
    return found
