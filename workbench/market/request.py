"""What is asked of a source of prices, and the intervals it can be asked in."""

from dataclasses import dataclass

import pandas as pd

_SECONDS = {
    "1m": 60,
    "3m": 180,
    "5m": 300,
    "15m": 900,
    "30m": 1800,
    "1h": 3600,
    "2h": 7200,
    "4h": 14_400,
    "6h": 21_600,
    "12h": 43_200,
    "1d": 86_400,
    "1wk": 604_800,
    "1mo": 2_629_746,  # the mean month of the Gregorian calendar
}
INTERVALS = tuple(_SECONDS)


def bar_seconds(interval: str) -> int:
    """Length of one bar in seconds; a month has its mean length. An unknown interval is a ValueError."""
    if interval not in _SECONDS:
        raise ValueError(f"interval must be one of {', '.join(INTERVALS)}. Got {interval!r}.")
    return _SECONDS[interval]


def is_intraday(interval: str) -> bool:
    """Whether bars are shorter than a day, and so carry UTC bar starts instead of session dates."""
    return bar_seconds(interval) < 86_400


@dataclass(frozen=True)
class Request:
    """What is asked of a source: bars whose date lies in [start, end], both ends included.

    `start` and `end` are session dates (no timezone, midnight) for bars of a day or longer, and UTC bar
    starts for shorter ones, where a timestamp without a timezone is taken as UTC. None leaves an end open.
    """

    ticker: str
    start: pd.Timestamp | None
    end: pd.Timestamp | None
    interval: str = "1d"

    def __post_init__(self) -> None:
        intraday = is_intraday(self.interval)
        for end in ("start", "end"):
            object.__setattr__(self, end, _bound(end, getattr(self, end), intraday))
        if self.start is not None and self.end is not None and self.start > self.end:
            raise ValueError(f"start must not be after end. Got start={self.start} and end={self.end}.")


def _bound(name: str, stamp: pd.Timestamp | None, intraday: bool) -> pd.Timestamp | None:
    if stamp is None:
        return None
    if intraday:
        return stamp.tz_localize("UTC") if stamp.tzinfo is None else stamp.tz_convert("UTC")
    if stamp.tzinfo is not None:
        raise ValueError(
            f"{name} must be a plain session date for daily or longer bars. "
            f"Got {stamp}, which has a timezone: pass {str(stamp.date())!r}."
        )
    return stamp.normalize()
