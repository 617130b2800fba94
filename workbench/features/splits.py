"""Cutting a history into train, valid and test without letting one part's labels see the next."""

from datetime import date as Date
from datetime import tzinfo
from typing import cast

import numpy as np
import pandas as pd

__all__ = ["Cut", "purged_split", "timestamp"]

Cut = str | float | int | Date
"""A decision date (text, date or Timestamp), or a fraction of the decision dates."""


def timestamp(value: str | Date, zone: tzinfo | None) -> pd.Timestamp:
    """Read a date in the windows' own clock: no zone for daily bars, UTC for intraday ones."""
    try:
        moment = pd.Timestamp(value)
    except ValueError as error:
        raise ValueError(
            f"{value!r} is not a date: write it like '2009', '2009-03' or '2009-03-31'."
        ) from error
    if not isinstance(moment, pd.Timestamp):  # NaT
        raise ValueError(f"A date is needed. Got {value!r}.")
    if moment.tz is not None and zone is None:
        raise ValueError(f"{value!r} has a time zone, but these bars carry session dates: leave it out.")
    local = moment.tz_localize(zone) if moment.tz is None else moment.tz_convert(zone)
    return cast(pd.Timestamp, local)


def purged_split(
    dates: pd.DatetimeIndex, label_dates: pd.DatetimeIndex, first: Cut, second: Cut
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of train, valid and test, purged by the labels' own end dates.

    Parameters
    ----------
    dates
        Decision date of each window.
    label_dates
        Bar at which its label is known; NaT where it isn't yet.
    first, second
        First decision date of valid and of test; or the fractions of distinct decision dates
        at which they begin (`0.6, 0.8` gives train the first 60 %).

    Returns
    -------
    tuple of bool ndarray
        A window stays in train only if its label is known before the first decision bar of valid,
        and in valid only if before that of test. Test keeps windows whose label isn't known yet.

    Raises
    ------
    ValueError
        The cuts are unordered, or a part would be empty; the message tells the sizes.
    """
    start, stop = (_cut(dates, value) for value in _alike(first, second))
    if not start < stop:
        raise ValueError(f"valid must begin before test. Got valid at {start} and test at {stop}.")
    early, late = np.asarray(dates < start), np.asarray(dates >= stop)
    parts = (
        early & _known_before(label_dates, dates[~early]),
        ~early & ~late & _known_before(label_dates, dates[late]),
        late,
    )
    if not all(part.any() for part in parts):
        raise ValueError(_empty(parts, dates, start, stop))
    return parts


def _known_before(label_dates: pd.DatetimeIndex, following: pd.DatetimeIndex) -> np.ndarray:
    if len(following) == 0:
        return np.asarray(label_dates.notna())
    return np.asarray(label_dates < following.min())  # NaT compares False: unlabelled windows go too


def _alike(first: Cut, second: Cut) -> tuple[Cut, Cut]:
    if isinstance(first, int | float) != isinstance(second, int | float):
        raise TypeError(f"Cut by two dates or by two fractions. Got {first!r} and {second!r}.")
    return first, second


def _cut(dates: pd.DatetimeIndex, value: Cut) -> pd.Timestamp:
    if not isinstance(value, int | float):
        return timestamp(value, dates.tz)
    if not 0 < value < 1:
        raise ValueError(
            f"A fraction lies between 0 and 1. Got {value!r}: a year is written as text, '{value}'."
        )
    days = dates.unique().sort_values()
    if len(days) == 0:
        raise ValueError("There are no windows to split.")
    place = min(round(value * len(days)), len(days) - 1)
    return cast(pd.Timestamp, days[place])


def _empty(
    parts: tuple[np.ndarray, ...], dates: pd.DatetimeIndex, start: pd.Timestamp, stop: pd.Timestamp
) -> str:
    train, valid, test = (int(part.sum()) for part in parts)
    span = f"{dates.min():%Y-%m-%d} → {dates.max():%Y-%m-%d}" if len(dates) else "none"
    return (
        f"Every part needs windows with known labels. Cutting at {start:%Y-%m-%d} and {stop:%Y-%m-%d} leaves "
        f"train {train}, valid {valid}, test {test} after purging. Decision dates: {span}; "
        "choose two dates inside them, further apart than the labels' horizon."
    )
