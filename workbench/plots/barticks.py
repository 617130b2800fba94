"""Ticks for axes that count bars: the dates of bars without gaps for nights, weekends and holidays."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axis import Axis
from matplotlib.ticker import Formatter, Locator
from numpy.typing import ArrayLike

# Finest first: ticks stand at the first bar of every k-th period.
_LADDER = (
    *(("min", every) for every in (1, 5, 15, 30)),
    *(("h", every) for every in (1, 3, 6, 12)),
    *(("D", every) for every in (1, 2)),
    *(("W", every) for every in (1, 2)),
    *(("M", every) for every in (1, 3, 6)),
    *(("Y", every) for every in (1, 2, 5, 10, 20, 50)),
)
_STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


def label_bars(axis: Axis, labels: pd.Index | None, count: int, name: str = "") -> None:
    """Label an axis whose positions 0 … count − 1 are bars.

    Parameters
    ----------
    axis
        `ax.xaxis` or `ax.yaxis`.
    labels
        A DatetimeIndex, or any index of names, one per bar. None counts back from the last bar: t − k.
    count
        Number of bars.
    name
        What the axis' label calls a bar.
    """
    if labels is None:
        labels = lags(count)
    locator = _locator(labels)
    axis.set_major_locator(locator)
    axis.set_major_formatter(BarFormatter(locator))
    axis.set_label_text(_label(labels, name))


def lags(count: int) -> pd.Index:
    """Return how many bars before the decision bar t each of `count` bars is.

    >>> list(lags(3))
    ['t−2', 't−1', 't−0']
    """
    return pd.Index([f"t−{k}" for k in range(count - 1, -1, -1)])


def _label(labels: pd.Index, name: str) -> str:
    if not isinstance(labels, pd.DatetimeIndex):
        return f"{name or 'Bar'} (t: the decision)"
    if labels.tz is not None:
        return f"{name or 'Time'} ({labels.tz})"
    return f"{name} (date)" if name else "Date"


def _locator(labels: pd.Index) -> "BarLocator":
    return DateLocator(labels) if isinstance(labels, pd.DatetimeIndex) else BarLocator(labels)


class BarLocator(Locator):
    """Evenly spaced bars, the last one among them."""

    def __init__(self, labels: pd.Index) -> None:
        self.labels = labels

    def __call__(self) -> list[float]:
        """Positions of the ticks in view."""
        assert self.axis is not None
        return self.tick_values(*self.axis.get_view_interval())

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        """Positions of the ticks between two positions."""
        first = max(0, int(np.ceil(min(vmin, vmax))))
        last = min(len(self.labels) - 1, int(np.floor(max(vmin, vmax))))
        return self.ticks(first, last).astype(float).tolist() if last >= first else []

    def ticks(self, first: int, last: int) -> np.ndarray:
        """Positions from `first` to `last` that are labelled, at most `room` of them."""
        step = next((step for step in _STEPS if (last - first) // step < self.room), last - first + 1)
        return np.arange(last, first - 1, -step)[::-1]

    def texts(self, positions: np.ndarray) -> list[str]:
        """Return the labels at `positions`."""
        return [str(self.labels[i]) for i in positions]

    @property
    def upright(self) -> bool:
        """Whether the axis is the vertical one."""
        return self.axis is not None and self.axis.axis_name == "y"  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def room(self) -> int:
        """How many labels fit: one per 0.85 inches across, one per 0.35 inches up."""
        axes: Any = getattr(self.axis, "axes", None)
        if axes is None:
            return 8
        box, dpi = axes.get_window_extent(), axes.get_figure(root=True).dpi
        inches = box.height / 0.35 if self.upright else box.width / 0.85
        return int(np.clip(inches / dpi, 2, 9))


class DateLocator(BarLocator):
    """First bars of hours, days, weeks, months or years: the finest that fit."""

    def __init__(self, labels: pd.DatetimeIndex) -> None:
        super().__init__(labels)
        self.dates = labels.tz_localize(None)

    def ticks(self, first: int, last: int) -> np.ndarray:
        """Positions from `first` to `last` that are labelled, at most `room` of them."""
        seen = self.dates[first : last + 1]
        if len(seen) <= self.room:
            return np.arange(first, last + 1)
        for unit, every in _LADDER:
            starts = np.flatnonzero(np.diff(seen.to_period(unit).asi8 // every)) + 1 + first
            if 2 <= len(starts) <= self.room:
                return starts
        inset = (last - first) / self.room / 2  # labels at the very ends would stick out
        return np.linspace(first + inset, last - inset, self.room).round().astype(int)

    def texts(self, positions: np.ndarray) -> list[str]:
        """Return the dates at `positions`, their coarser part only where it changes."""
        dates = self.dates[positions]
        fine, coarse = _formats(dates)
        parts = list(dates.strftime(coarse))
        changed = [i == 0 or part != parts[i - 1] for i, part in enumerate(parts)]
        texts = [
            f"{text}\n{part}".rstrip() if new else text
            for text, part, new in zip(dates.strftime(fine), parts, changed, strict=True)
        ]
        return [text.replace("\n", " ") for text in texts] if self.upright else texts


def _formats(dates: pd.DatetimeIndex) -> tuple[str, str]:
    """Fine and coarse part of tick labels that tell `dates` apart."""
    days = float(np.median(np.diff(dates.as_unit("s").asi8))) / 86_400 if len(dates) > 1 else 1.0
    if days >= 330:
        return "%Y", ""
    if days >= 27:  # two first sessions of a month are never closer
        return "%b", "%Y"
    return ("%d", "%b %Y") if days >= 1 else ("%H:%M", "%d %b\n%Y")


class BarFormatter(Formatter):
    """Writes what stands at the positions that a `BarLocator` picks."""

    def __init__(self, locator: BarLocator) -> None:
        self.bars = locator

    def __call__(self, x: float, pos: int | None = None) -> str:
        """Return the label of the bar nearest to `x`, or nothing outside."""
        return "".join(self.format_ticks([x]))

    def format_ticks(self, values: ArrayLike) -> list[str]:
        """Return one label for each of `values`, positions of bars."""
        bars = np.rint(np.asarray(values, dtype=float)).astype(int)
        inside = (bars >= 0) & (bars < len(self.bars.labels))
        texts = iter(self.bars.texts(bars[inside]))
        return [next(texts) if there else "" for there in inside]
