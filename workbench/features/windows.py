"""Windows of past bars, each ending at the bar on which a decision is taken."""

from dataclasses import dataclass, replace
from datetime import date as Date
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.features.alignment import (
    Task,
    check_same_source,
    label_bars,
    label_recipe,
    stack_bars,
    window_ends,
)
from workbench.features.overview import headline, overview
from workbench.features.recipes import provenance_of, with_split
from workbench.features.rows import Rows, even_step, resolve
from workbench.features.splits import Cut, purged_split, timestamp

__all__ = ["Windows"]


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows of `lookback` bars, with the label that follows each.

    Window i holds rows `ends[i] − lookback + 1 … ends[i]` of `bars`. Its last bar *is* the decision
    bar; its label spans the next `horizon` bars, so nothing between them is skipped or seen. The
    windows are views of one float32 copy of the features: memory grows with bars, not with
    bars × lookback. Treat all tensors as read-only.

    Attributes
    ----------
    bars
        (bar, feature) float32, one ticker after the other.
    ends
        Row of each window's decision bar in `bars`.
    y
        (window,) int64 class numbers with −1 where not yet known, or float32 with NaN there.
    dates, label_dates
        Decision bar of each window, and the bar at which its label is known (NaT: not yet).
    tickers
        Ticker of each window.
    provenance
        Where the prices came from, and how `reopen` makes the windows of them again.
    bar_index
        Date of every row of `bars`.
    is_panel
        Whether the windows come from a (date, ticker) panel.
    """

    bars: Float[Tensor, "bar feature"]
    ends: Int[Tensor, " window"]
    lookback: int
    y: Tensor
    dates: pd.DatetimeIndex
    label_dates: pd.DatetimeIndex
    tickers: np.ndarray
    feature_names: tuple[str, ...]
    task: Task
    classes: tuple[str, ...]
    horizon: int
    provenance: dict[str, Any]
    bar_index: pd.DatetimeIndex
    is_panel: bool = False

    @classmethod
    def of(cls, features: pd.DataFrame, labels: pd.Series, lookback: int) -> "Windows":
        """Cut features into windows and pair each with its label.

        Parameters
        ----------
        features
            From `make_features`, or any frame whose row t knows only bars ≤ t.
        labels
            From `label_moves` or `forward_return` of the same prices. Bars without a row here get no
            window; bars with a NaN get one whose label is not yet known.
        lookback
            Bars in each window.

        Returns
        -------
        Windows
            By date, then ticker. Windows holding a NaN feature are left out, and so are tickers with
            fewer bars than `lookback`; `describe()` shows who is left.

        Raises
        ------
        TypeError, ValueError
            Index, values, labels or lookback break a rule; the message tells the repair.
        """
        check_same_source(features, labels)
        recipe, stack = label_recipe(labels), stack_bars(features)
        known = label_bars(stack, labels, recipe.horizon)
        ends = window_ends(stack, lookback, known.wanted)
        y = torch.from_numpy(known.y[ends])
        return cls(
            bars=torch.from_numpy(stack.table),
            ends=torch.from_numpy(ends),
            lookback=lookback,
            y=y.nan_to_num(nan=-1).long() if recipe.task == "classification" else y.float(),
            dates=stack.dates[ends].rename("date"),
            label_dates=known.ends[ends].rename("label_date"),
            tickers=stack.tickers[ends],
            feature_names=tuple(str(name) for name in features.columns),
            task=recipe.task,
            classes=recipe.classes,
            horizon=recipe.horizon,
            provenance=provenance_of(features, labels),
            bar_index=stack.dates.rename("date"),
            is_panel=isinstance(features.index, pd.MultiIndex),
        )

    @property
    def x(self) -> Float[Tensor, "window time feature"]:
        """All windows: a strided view of `bars` when decision bars are evenly spaced.

        So they are for one ticker without gaps, and for any stretch of dates of it. Otherwise (a
        panel, or windows left out in the middle) this gathers one copy, `lookback` times as large;
        prefer `batch` there.
        """
        return self.batch(slice(None))

    def batch(self, rows: Rows) -> Float[Tensor, "window time feature"]:
        """Some windows: a view where `rows` is a slice of evenly spaced ones, else a copy of just those."""
        ends = self.ends[resolve(rows, len(self))]
        width = self.n_features
        blocks = self.bars.contiguous().as_strided(  # row i: all of the window that starts at bar i
            (len(self.bars) - self.lookback + 1, self.lookback * width), (width, 1)
        )
        starts = ends - (self.lookback - 1)
        step = even_step(starts) if isinstance(rows, int | np.integer | slice) else None
        chosen = blocks[int(starts[0]) :: step][: len(starts)] if step else blocks.index_select(0, starts)
        return chosen.unflatten(1, (self.lookback, width))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, rows: Rows) -> "Windows":
        chosen = resolve(rows, len(self))
        index = chosen if isinstance(chosen, slice) else chosen.numpy()
        return replace(
            self,
            ends=self.ends[chosen],
            y=self.y[chosen],
            dates=self.dates[index],
            label_dates=self.label_dates[index],
            tickers=self.tickers[index],
        )

    def __repr__(self) -> str:
        return headline(self)

    def describe(self) -> pd.DataFrame:
        """Return a row a ticker, and one for all: windows, first and last decision, label balance."""
        return overview(self)

    @property
    def n_features(self) -> int:
        """Columns of each bar."""
        return len(self.feature_names)

    @property
    def n_outputs(self) -> int:
        """Numbers a model must return for each window: one a class, or one forecast."""
        return len(self.classes) or 1

    def labelled(self) -> "Windows":
        """Only the windows whose label is known."""
        return self[np.asarray(self.label_dates.notna())]

    def at(self, date: str | Date, ticker: str | None = None) -> "Windows":
        """The one window decided on `date`.

        Raises
        ------
        KeyError
            No window is decided then (the message names the nearest), or several tickers are and
            none was chosen.
        """
        tickers = sorted(set(self.tickers.tolist()))
        if ticker is not None and ticker not in tickers:
            raise KeyError(f"No windows of {ticker!r}: there are {', '.join(tickers)}.")
        moment = timestamp(date, self.dates.tz)
        mine = np.ones(len(self), bool) if ticker is None else self.tickers == ticker
        found = np.flatnonzero(np.asarray(self.dates == moment) & mine)
        if len(found) == 0:
            raise KeyError(self._nearest(moment, mine))
        if len(found) > 1:
            raise KeyError(f"{len(found)} tickers are decided on {date}: add ticker=, one of {tickers}.")
        return self[int(found[0])]

    def bar_dates_of(self, i: int) -> pd.DatetimeIndex:
        """Dates of the bars of window `i`, (time,)."""
        end = int(self.ends[i]) + 1
        return self.bar_index[end - self.lookback : end]

    @property
    def bar_dates(self) -> pd.DatetimeIndex:
        """Dates of the bars of a single window, (time,)."""
        if len(self) != 1:
            raise ValueError(
                f"bar_dates is for one window. Got {len(self)}: use `at(date)` or `bar_dates_of(i)`."
            )
        return self.bar_dates_of(0)

    def split(self, first: Cut, second: Cut) -> tuple["Windows", "Windows", "Windows"]:
        """Cut into train, valid and test by date or by fraction, purged by the label's horizon.

        Parameters
        ----------
        first, second
            First decision date of valid and of test (`"2009", "2011"`), or the fractions of the
            decision dates at which they begin (`0.6, 0.8`).

        Returns
        -------
        tuple of Windows
            Train and valid hold known labels only, each known before the next part's first decision
            bar. Test keeps the windows whose label is not yet known.

        Raises
        ------
        ValueError
            The cuts are unordered, or a part would be empty.
        """
        parts = purged_split(self.dates, self.label_dates, first, second)
        train, valid, test = (self[part] for part in parts)
        told = with_split(self.provenance, valid.dates, test.dates)
        train, valid, test = (replace(part, provenance=told) for part in (train, valid, test))
        return train, valid, test

    def _nearest(self, moment: pd.Timestamp, mine: np.ndarray) -> str:
        if not mine.any():
            return "There are no windows."
        dates = self.dates[mine]
        nearest = dates[int(np.argmin(np.abs(dates - moment)))]
        return (
            f"No window is decided on {moment}; the nearest is {nearest}. "
            f"Decision dates run {dates.min()} → {dates.max()}."
        )
