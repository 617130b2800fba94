"""What a cache entry answers to one request, and how it is extended by what is missing."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from workbench.market.cache_entry import Entry
from workbench.market.frame import COLUMNS, Request, SourceError, conform
from workbench.market.patience import NoBars, Unreachable
from workbench.market.stretches import Grid, Span, Stretch

Fetch = Callable[[Request], pd.DataFrame]
OVERLAP = 5  # bars fetched again on each side of an extension, to see that prices still mean the same
TOLERANCE = 1e-5  # relative; Yahoo's digits vary by 1e-6 between calls, the smallest dividends move 5e-5
_OF_ONE_ANSWER = ("sha256", "fetched_at", "ticker")


@dataclass(frozen=True)
class Archive:
    """An entry, and a request to it at one moment.

    Parameters
    ----------
    entry
        What is held of the series.
    request
        What is asked for.
    source
        Name of the source, for messages.
    grid
        Dates of the interval at the moment.
    """

    entry: Entry
    request: Request
    source: str
    grid: Grid

    @property
    def wanted(self) -> Span:
        """Dates asked for that can have closed bars by now."""
        return self.grid.wanted(self.request.start, self.request.end)

    @property
    def in_the_future(self) -> bool:
        """Whether no bar asked for can have closed by now."""
        return self.wanted.first > self.wanted.last

    def complete(self) -> Stretch | None:
        """Return the stretch that holds all that is wanted, if one does."""
        return next((stretch for stretch in self._near if self.grid.covers(stretch, self.wanted)), None)

    def lacking_the_newest(self) -> Stretch | None:
        """Return the stretch that holds all that is wanted but bars of the last days, if one does."""
        missing = self.grid.gaps(self.wanted, self._near)
        up_to_now = self.wanted.last > self.grid.certain
        if not (up_to_now and missing and missing[0].first > self.wanted.first):
            return None
        stretch = self._near[-1]
        return stretch if stretch.last < missing[0].first and len(self._rows(stretch)) else None

    def held(self) -> str:
        """Say which range is held, as advice to one who can't have more."""
        spans = [rows.index for rows in map(self.entry.within, self.entry.stretches) if len(rows)]
        if not spans:
            return (
                f"The cache holds no {self.request.interval} bars of {self.request.ticker} ({self.source})."
            )
        said = ", and ".join(f"start={str(dates[0])!r}, end={str(dates[-1])!r}" for dates in spans)
        return f"The cache holds {self.request.interval} bars of {self.request.ticker}: ask for {said}."

    def extended(self, fetch: Fetch) -> tuple["Archive", Stretch]:
        """Fetch what is missing; return the series that has it, and its stretch that does."""
        near, parts = self._near, self._extensions(fetch)
        if parts is None:
            near, parts = (), [self._fetched(fetch, self.request)]
        bars = pd.concat([*map(self.entry.within, near), *parts])
        bars = bars.loc[~bars.index.duplicated(keep="last")].sort_index()
        stretch = self._stretch(near, bars, _provenance([*(s.provenance for s in near), *map(_said, parts)]))
        if stretch.last < stretch.first:  # no bar yet, and none that surely will never be
            return self, stretch
        return replace(self, entry=self.entry.replaced(self._near, stretch, bars)), stretch

    def prices(self, stretch: Stretch) -> pd.DataFrame:
        """Prices asked for, of a stretch that holds them."""
        rows = self._rows(stretch)
        if rows.empty:
            raise NoBars(
                f"{self.source} had no {self.request.interval} bars of {self.request.ticker} from "
                f"{self.request.start or 'its first'} to {self.request.end or 'now'} when asked on "
                f"{stretch.fetched:%Y-%m-%d}. Ask for another range, or with refresh=True for this one again."
            )
        fetched = stretch.fetched.isoformat(timespec="seconds")
        return conform(rows, stretch.provenance | {"ticker": self.request.ticker, "fetched_at": fetched})

    @cached_property
    def _near(self) -> tuple[Stretch, ...]:
        return tuple(self.grid.touching(self.wanted, self.entry.stretches))

    def _rows(self, stretch: Stretch) -> pd.DataFrame:
        return self.entry.within(stretch).loc[self.request.start : self.request.end]

    def _extensions(self, fetch: Fetch) -> list[pd.DataFrame] | None:
        """Bars of the gaps between the stretches at hand; None when they don't join on or can't be had."""
        if not self._near:
            return None
        parts = []
        for gap in self.grid.gaps(self.wanted, self._near):
            known = self._neighbours(gap)
            asked = Span(min([gap.first, *known.index]), max([gap.last, *known.index]))
            try:
                part = self._fetched(fetch, self._asking(asked))
            except Unreachable:
                raise
            except SourceError:
                return None
            if not _same(known, part.loc[(part.index < gap.first) | (part.index > gap.last)]):
                return None
            parts.append(part)
        return parts

    def _neighbours(self, gap: Span) -> pd.DataFrame:
        """Bars held on both sides of a gap, next to it."""
        before = [self.entry.within(s).tail(OVERLAP) for s in self._near if s.last < gap.first][-1:]
        after = [self.entry.within(s).head(OVERLAP) for s in self._near if s.first > gap.last][:1]
        return pd.concat([self.entry.bars.iloc[:0], *before, *after])

    def _asking(self, span: Span) -> Request:
        """Request for a span: open where the one at hand is."""
        start = None if span.first == self.grid.beginning else span.first
        open_end = self.request.end is None and span.last == self.wanted.last
        return replace(self.request, start=start, end=None if open_end else span.last)

    def _fetched(self, fetch: Fetch, request: Request) -> pd.DataFrame:
        try:
            return fetch(request)
        except NoBars:
            return Entry.empty(request.interval).bars

    def _stretch(self, near: Sequence[Stretch], bars: pd.DataFrame, provenance: dict[str, Any]) -> Stretch:
        """Return what is known after the fetch: all that has settled, and on to the last bar there is."""
        settled = min(self.wanted.last, self.grid.certain)
        last = max([settled, *bars.index[-1:], *(stretch.last for stretch in near)])
        return Stretch(
            first=min([self.wanted.first, *(stretch.first for stretch in near)]),
            last=last,
            fetched=self.grid.now,
            seen=max(last, self.wanted.last),
            provenance=provenance,
        )


def _same(known: pd.DataFrame, again: pd.DataFrame) -> bool:
    """Whether bars fetched again are those known, to the tolerance."""
    prices = list(COLUMNS[:4])
    return known.index.equals(again.index) and np.allclose(
        known[prices], again[prices], rtol=TOLERANCE, atol=0.0, equal_nan=True
    )


def _said(part: pd.DataFrame) -> dict[str, Any]:
    return part.attrs.get("provenance", {})


def _provenance(parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Provenance of bars from several answers: the latest, with the notes on all."""
    known = [part for part in parts if part]
    notes = dict.fromkeys(note for part in known for note in part.get("note", "").split("; ") if note)
    latest = {key: value for key, value in (known[-1] if known else {}).items() if key not in _OF_ONE_ANSWER}
    return latest | ({"note": "; ".join(notes)} if notes else {})
