"""Unbroken stretches of time that a cache knows all about, and what a request still lacks."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, cast

import pandas as pd

from workbench.market.frame import bar_seconds, is_intraday

_OPEN = cast(pd.Timestamp, pd.Timestamp("1800-01-01"))  # stands for an open start, before any exchange
_UTC_OPEN = _OPEN.tz_localize("UTC")
_SECOND, _HOUR, _DAY = (cast(pd.Timedelta, pd.Timedelta(1, unit)) for unit in ("s", "h", "D"))


@dataclass(frozen=True)
class Span:
    """Bar dates from `first` to `last`, both included."""

    first: pd.Timestamp
    last: pd.Timestamp

    def includes(self, other: "Span") -> bool:
        """Whether every date of `other` is in this span."""
        return self.first <= other.first and other.last <= self.last


@dataclass(frozen=True)
class Stretch(Span):
    """A span of which every bar of the source is held, also if there are none.

    Parameters
    ----------
    fetched
        When the source was last asked about it (UTC).
    seen
        Up to which date it was asked then; bars between `last` and this one had not closed.
    provenance
        What the source said of the bars.
    """

    fetched: pd.Timestamp
    seen: pd.Timestamp
    provenance: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Grid:
    """Where the dates of one interval can lie, at one moment.

    Bars of a day or longer have dates without a timezone, a day apart at least; shorter ones UTC starts on
    whole seconds.
    """

    interval: str
    now: pd.Timestamp

    @property
    def beginning(self) -> pd.Timestamp:
        """Stands for an open start."""
        return _UTC_OPEN if is_intraday(self.interval) else _OPEN

    @property
    def tick(self) -> pd.Timedelta:
        """Shortest time between two dates."""
        return _SECOND if is_intraday(self.interval) else _DAY

    @property
    def bar(self) -> pd.Timedelta:
        """Shortest length of a bar: February's for months."""
        return 28 * _DAY if self.interval == "1mo" else bar_seconds(self.interval) * _SECOND

    @property
    def horizon(self) -> pd.Timestamp:
        """No bar of a later date can have closed: the present, or its UTC day.

        Sessions close on their own date in UTC or after it, from New Zealand's at 04:00 UTC on.
        """
        return self._date(self.now)

    @property
    def certain(self) -> pd.Timestamp:
        """Bars up to this date have closed everywhere, and their source has had time to settle them."""
        longest = 31 * _DAY if self.interval == "1mo" else self.bar
        settling = _HOUR if is_intraday(self.interval) else _DAY
        return self._date(cast(pd.Timestamp, self.now - longest - settling))

    @property
    def freshness(self) -> pd.Timedelta:
        """For how long the answer to "all up to now" is good: a bar, and no more than an hour."""
        return cast(pd.Timedelta, min(self.bar, _HOUR))

    def wanted(self, start: pd.Timestamp | None, end: pd.Timestamp | None) -> Span:
        """Dates from `start` to `end` that can have closed bars by now; an open end means up to now."""
        first = self.beginning if start is None else cast(pd.Timestamp, start.ceil("s"))
        return Span(
            first, self.horizon if end is None else min(cast(pd.Timestamp, end.floor("s")), self.horizon)
        )

    def covers(self, stretch: Stretch, span: Span) -> bool:
        """Whether nothing that has closed by now can be missing from the stretch's part of the span."""
        if stretch.first > span.first or stretch.last >= span.last:
            return stretch.includes(span)
        asked = stretch.seen >= min(span.last, Grid(self.interval, stretch.fetched).horizon)
        return asked and self.now - stretch.fetched < self.freshness

    def touching(self, span: Span, stretches: Iterable[Stretch]) -> list[Stretch]:
        """Stretches that overlap the span or adjoin it, in order."""
        near = [s for s in stretches if s.first <= span.last + self.tick and span.first <= s.last + self.tick]
        return sorted(near, key=lambda stretch: stretch.first)

    def gaps(self, span: Span, stretches: Iterable[Stretch]) -> list[Span]:
        """Parts of the span that lie in none of the stretches, in order."""
        missing, start = [], span.first
        for stretch in self.touching(span, stretches):
            if stretch.first > start:
                missing.append(Span(start, stretch.first - self.tick))
            start = max(start, stretch.last + self.tick)
        return [*missing, Span(start, span.last)] if start <= span.last else missing

    def _date(self, moment: pd.Timestamp) -> pd.Timestamp:
        if is_intraday(self.interval):
            return cast(pd.Timestamp, moment.floor("s"))
        return moment.tz_localize(None).normalize()
