"""What may be chosen: every value is checked here, whether it comes from the browser or from Python."""

from typing import Any

import pandas as pd

from workbench.explainers.methods import METHODS
from workbench.models.registry import one_of
from workbench.widgets.choices import disabled
from workbench.widgets.subject import Subject
from workbench.widgets.views import HEADS

WISHES = ("source", "ticker", "run", "method", "target", "date", "layer", "head", "row", "span")
LONGEST = 1000  # characters of any text


def checked(name: str, value: Any, subject: Subject) -> Any:
    """Return the value in its own form, or raise ValueError (KeyError for dates) with what may be chosen."""
    if name in ("layer", "row"):
        return _number(name, value, subject)
    if name == "span":
        return _span(value, subject)
    if not isinstance(value, str):
        raise ValueError(f"{name} must be text. Got {value!r:.60}.")
    if len(value) > LONGEST:
        raise ValueError(f"{name} must have at most {LONGEST} characters. Got {len(value)}.")
    return {"method": _method, "target": _target, "date": _date, "head": _head}.get(name, _as_it_is)(
        value, subject
    )


def fitted(name: str, value: Any, subject: Subject) -> Any:
    """Return the value if this subject has it, else what stands nearest: for a change of subject."""
    try:
        return checked(name, value, subject)
    except (KeyError, ValueError):
        if name == "date":
            return subject.nearest(value)
        return {"layer": 0, "row": -1, "span": [], "head": "mean", "target": ""}[name]


def most(subject: Subject, side: str) -> int:
    """Return the largest of heads or queries that a layer of the subject has."""
    return max((getattr(layer, side) for layer in subject.lens.layers), default=0)


def _as_it_is(value: str, subject: Subject) -> str:
    return value


def _number(name: str, value: Any, subject: Subject) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name} must be a whole number. Got {value!r:.60}.")
    low, high = (0, max(len(subject.lens.layers), 1)) if name == "layer" else (-1, most(subject, "queries"))
    if not low <= value < high:
        raise ValueError(f"{name} must be from {low} to {high - 1}. Got {value}.")
    return value


def _method(value: str, subject: Subject) -> str:
    if value not in METHODS:
        raise ValueError(f"There is no method {value!r}. {one_of(value, METHODS)}")
    why = disabled(METHODS[value], subject)
    if why:
        raise ValueError(why)
    return value


def _target(value: str, subject: Subject) -> str:
    classes = subject.windows.classes
    if value and value not in classes:
        known = f"one of {', '.join(classes)}, or empty for the likeliest" if classes else "empty: a forecast"
        raise ValueError(f"target must be {known}. Got {value!r}.")
    return value


def _date(value: str, subject: Subject) -> str:
    return subject.date_texts[subject.row_of(value)]


def _head(value: str, subject: Subject) -> str:
    heads = most(subject, "heads")
    if value in HEADS or (value.isascii() and value.isdecimal() and int(value) < heads):
        return value
    raise ValueError(f"head must be {', '.join(HEADS)} or a number below {heads}. Got {value!r}.")


def _span(value: Any, subject: Subject) -> list[str]:
    if not isinstance(value, list | tuple) or len(value) not in (0, 2):
        raise ValueError(f"span must be empty or two dates. Got {value!r:.60}.")
    if not value:
        return []
    dates = pd.DatetimeIndex(subject.prices.index)
    moments = [_moment(text, dates) for text in value]
    first, last = pd.Timestamp(str(dates[0])), pd.Timestamp(str(dates[-1]))
    if not first <= moments[0] <= moments[1] <= last:
        raise ValueError(
            f"span must be two dates from {first} to {last}, the earlier first. Got {value!r:.80}."
        )
    return [str(text) for text in value]


def _moment(text: Any, dates: pd.DatetimeIndex) -> pd.Timestamp:
    try:
        moment = pd.Timestamp(text) if isinstance(text, str) else pd.NaT
    except ValueError:
        moment = pd.NaT
    if not isinstance(moment, pd.Timestamp):
        raise ValueError(f"span must be empty or two dates in ISO format. Got {text!r:.60}.")
    if moment.tz is None:
        return moment.tz_localize(dates.tz)
    return moment.tz_convert(dates.tz) if dates.tz is not None else moment.tz_localize(None)
