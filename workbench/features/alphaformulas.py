"""The formulas of Alpha158, of one ticker's bars; `alpha158` says them in words."""

from collections.abc import Callable, Mapping
from functools import cached_property

import numpy as np

from workbench.features.trailing import (
    Column,
    Extreme,
    Lengths,
    Moments,
    correlation,
    deviations,
    extremes,
    means,
    moments,
    quantiles,
    rank,
    sums,
)

__all__ = ["EPSILON", "FLAT", "OF_ONE_BAR", "OF_WINDOWS", "Ticker"]

EPSILON = 1e-12
FLAT = 2e-5  # a standard deviation up to this counts as none, in the unit of what it is of


class Ticker:
    """One ticker's bars, and what several formulas share, computed when first asked.

    Parameters
    ----------
    fields
        Columns (bar,) by their names: of open, high, low, close, volume and vwap those that are known.
    lengths
        Numbers of bars d of the windows that are asked of it.
    """

    def __init__(self, fields: Mapping[str, Column], lengths: Lengths) -> None:
        self.fields, self.lengths = fields, lengths

    def __getattr__(self, name: str) -> Column:
        if name in ("open", "high", "low", "close", "volume", "vwap"):
            return self.fields[name]
        raise AttributeError(name)

    @cached_property
    def span(self) -> Column:
        """Of high over low, never 0."""
        return self.high - self.low + EPSILON

    @cached_property
    def line(self) -> dict[int, Moments]:
        """Closes against time."""
        return moments(self.close, self.lengths)

    @cached_property
    def top(self) -> dict[int, Extreme]:
        """Highest highs."""
        return extremes(self.high, self.lengths, np.greater_equal)

    @cached_property
    def bottom(self) -> dict[int, Extreme]:
        """Lowest lows."""
        return extremes(self.low, self.lengths, np.less_equal)

    @cached_property
    def quantile(self) -> dict[int, list[Column]]:
        """Quantiles 0.8 and 0.2 of the closes."""
        return quantiles(self.close, self.lengths, (0.8, 0.2))

    @cached_property
    def rank(self) -> dict[int, Column]:
        """Rank of the close."""
        return rank(self.close, self.lengths)

    @cached_property
    def with_volume(self) -> dict[int, Column]:
        """Correlation of close and ln(v + 1)."""
        return _told(self.close, np.log(self.volume + 1), self.lengths)

    @cached_property
    def with_volume_change(self) -> dict[int, Column]:
        """Correlation of c / c₋₁ and ln(v / v₋₁ + 1)."""
        return _told(_change(self.close), np.log(_change(self.volume) + 1), self.lengths)

    @cached_property
    def risen(self) -> dict[int, Column]:
        """Share of bars that closed higher; the first has none before it and counts as not."""
        return means(_step(self.close) > 0, self.lengths)

    @cached_property
    def fallen(self) -> dict[int, Column]:
        """Share of bars that closed lower."""
        return means(_step(self.close) < 0, self.lengths)

    @cached_property
    def closes(self) -> dict[int, tuple[Column, Column]]:
        """What the close gained and lost, as shares of all it moved."""
        return _gains(self.close, self.lengths)

    @cached_property
    def volumes(self) -> dict[int, tuple[Column, Column]]:
        """What the volume gained and lost, as shares of all it moved."""
        return _gains(self.volume, self.lengths)

    @cached_property
    def mean_volume(self) -> dict[int, Column]:
        """Mean volume."""
        return means(self.volume, self.lengths)

    @cached_property
    def volume_deviation(self) -> dict[int, Column]:
        """Standard deviation of the volume."""
        return deviations(self.volume, self.lengths)

    @cached_property
    def weighed_moves(self) -> dict[int, Column]:
        """Deviation of the volume-weighed moves, over their mean."""
        moves = np.abs(_change(self.close) - 1) * self.volume
        spread, mean = deviations(moves, self.lengths), means(moves, self.lengths)
        return {d: spread[d] / (mean[d] + EPSILON) for d in self.lengths}


OF_ONE_BAR: dict[str, Callable[[Ticker], Column]] = {
    "KMID": lambda t: (t.close - t.open) / t.open,
    "KLEN": lambda t: (t.high - t.low) / t.open,
    "KMID2": lambda t: (t.close - t.open) / t.span,
    "KUP": lambda t: (t.high - np.maximum(t.open, t.close)) / t.open,
    "KUP2": lambda t: (t.high - np.maximum(t.open, t.close)) / t.span,
    "KLOW": lambda t: (np.minimum(t.open, t.close) - t.low) / t.open,
    "KLOW2": lambda t: (np.minimum(t.open, t.close) - t.low) / t.span,
    "KSFT": lambda t: (2 * t.close - t.high - t.low) / t.open,
    "KSFT2": lambda t: (2 * t.close - t.high - t.low) / t.span,
    "OPEN0": lambda t: t.open / t.close,
    "HIGH0": lambda t: t.high / t.close,
    "LOW0": lambda t: t.low / t.close,
    "VWAP0": lambda t: t.vwap / t.close,
}

OF_WINDOWS: dict[str, Callable[[Ticker, int], Column]] = {
    "ROC": lambda t, d: _earlier(t.close, d) / t.close,
    "MA": lambda t, d: 1 + t.line[d].mean / t.close,
    "STD": lambda t, d: t.line[d].deviation / t.close,
    "BETA": lambda t, d: t.line[d].slope / t.close,
    "RSQR": lambda t, d: np.where(t.line[d].deviation <= FLAT, np.nan, t.line[d].r_squared),
    "RESI": lambda t, d: t.line[d].residual / t.close,
    "MAX": lambda t, d: t.top[d].value / t.close,
    "MIN": lambda t, d: t.bottom[d].value / t.close,
    "QTLU": lambda t, d: t.quantile[d][0] / t.close,
    "QTLD": lambda t, d: t.quantile[d][1] / t.close,
    "RANK": lambda t, d: t.rank[d],
    "RSV": lambda t, d: (t.close - t.bottom[d].value) / (t.top[d].value - t.bottom[d].value + EPSILON),
    "IMAX": lambda t, d: t.top[d].place / d,
    "IMIN": lambda t, d: t.bottom[d].place / d,
    "IMXD": lambda t, d: (t.top[d].place - t.bottom[d].place) / d,
    "CORR": lambda t, d: t.with_volume[d],
    "CORD": lambda t, d: t.with_volume_change[d],
    "CNTP": lambda t, d: t.risen[d],
    "CNTN": lambda t, d: t.fallen[d],
    "CNTD": lambda t, d: t.risen[d] - t.fallen[d],
    "SUMP": lambda t, d: t.closes[d][0],
    "SUMN": lambda t, d: t.closes[d][1],
    "SUMD": lambda t, d: t.closes[d][0] - t.closes[d][1],
    "VMA": lambda t, d: t.mean_volume[d] / (t.volume + EPSILON),
    "VSTD": lambda t, d: t.volume_deviation[d] / (t.volume + EPSILON),
    "WVMA": lambda t, d: t.weighed_moves[d],
    "VSUMP": lambda t, d: t.volumes[d][0],
    "VSUMN": lambda t, d: t.volumes[d][1],
    "VSUMD": lambda t, d: t.volumes[d][0] - t.volumes[d][1],
}


def _earlier(values: Column, bars: int) -> Column:
    return np.concatenate([np.full(min(bars, len(values)), np.nan), values[:-bars]])


def _step(values: Column) -> Column:
    return values - _earlier(values, 1)


def _change(values: Column) -> Column:
    """Value over the one before it; not finite after a 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return values / _earlier(values, 1)


def _gains(values: Column, lengths: Lengths) -> dict[int, tuple[Column, Column]]:
    step = _step(values)
    up, down, all_ = (
        sums(part, lengths) for part in (np.maximum(step, 0), np.maximum(-step, 0), np.abs(step))
    )
    return {d: (up[d] / (all_[d] + EPSILON), down[d] / (all_[d] + EPSILON)) for d in lengths}


def _told(x: Column, y: Column, lengths: Lengths) -> dict[int, Column]:
    """Correlation, NaN where one of the two hardly moves."""
    found = correlation(x, y, lengths)
    still = deviations(x, lengths), deviations(y, lengths)
    return {d: np.where((still[0][d] <= FLAT) | (still[1][d] <= FLAT), np.nan, found[d]) for d in lengths}
