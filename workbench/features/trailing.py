"""Sums, extremes, ranks and quantiles of the last d bars, for several d in one walk over the lags.

Every function takes the values of one ticker's bars and gives a column for each d: at bar t, of the bars
t − d + 1 … t, or of as many as there are (`min_periods` 1). A walk adds the lags one after the other, today's
first, so a bar's figure is the same to the last bit whatever lies before or behind its window.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

__all__ = [
    "Column",
    "Lengths",
    "Moments",
    "correlation",
    "counts",
    "deviations",
    "extremes",
    "means",
    "moments",
    "quantiles",
    "rank",
    "sums",
]

Column = Float64[np.ndarray, " bar"]
Lengths = Sequence[int]
"""Numbers of bars d, from short to long."""

ROWS = 1 << 14  # windows sorted at once: a few megabytes


@dataclass(frozen=True)
class Moments:
    """Sums over a window of what each bar is above today's, x_{t−k} − x_t, and of that times the lag k.

    Taken from today's value the sums cancel nothing that matters: today's lies in the window itself, at most
    (n − 1)/√n standard deviations from its mean, and equal values leave exact zeros.
    """

    n: Column
    first: Column
    second: Column
    by_lag: Column

    @property
    def mean(self) -> Column:
        """Mean above today's value."""
        return self.first / self.n

    @property
    def squares(self) -> Column:
        """Sum of squared distances from the mean."""
        return np.maximum(self.second - self.first**2 / self.n, 0.0)

    @property
    def deviation(self) -> Column:
        """Standard deviation with ddof 1; NaN of a single bar."""
        return np.sqrt(_ratio(self.squares, self.n - 1))

    @property
    def slope(self) -> Column:
        """Of the least-squares line through the window, a bar; NaN of a single bar."""
        middle = (self.n - 1) / 2
        return -_ratio(self.by_lag - middle * self.first, _lag_squares(self.n))

    @property
    def residual(self) -> Column:
        """Today's value less that of the line."""
        return -(self.mean + self.slope * (self.n - 1) / 2)

    @property
    def r_squared(self) -> Column:
        """Share of the squares that the line explains; NaN where nothing moves."""
        return _ratio(self.slope**2 * _lag_squares(self.n), self.squares)


def _lag_squares(n: Column) -> Column:
    return n * (n * n - 1) / 12  # Σ (k − mean k)² over k = 0 … n − 1


def _ratio(upper: Column, lower: Column) -> Column:
    """Return upper / lower, NaN where lower is 0."""
    return np.divide(upper, lower, out=np.full(len(upper), np.nan), where=lower != 0)


def counts(n: int, d: int) -> Column:
    """Bars in the window that ends at each of n bars: 1, 2, … d, d."""
    return np.minimum(np.arange(1.0, n + 1), d)


def _walk(n: int, lengths: Lengths) -> Iterator[tuple[int, slice, slice, int | None]]:
    """Yield lag k, the rows that have a bar k earlier, those earlier rows, and d where the lag ends a window.

    Windows longer than the history end with its last lag.
    """
    last = min(lengths[-1], n) - 1
    for k in range(last + 1):
        yield k, slice(k, n), slice(0, n - k), k + 1 if k + 1 in lengths else None


def _kept(found: dict[int, Column], lengths: Lengths, latest: Column) -> dict[int, Column]:
    return {d: found.get(d, latest) for d in lengths}


def sums(values: Float[np.ndarray, " bar"] | Bool[np.ndarray, " bar"], lengths: Lengths) -> dict[int, Column]:
    """Σ of the known of the last d values; NaN where none is."""
    return {d: np.where(known > 0, total, np.nan) for d, (total, known) in _added(values, lengths).items()}


def means(
    values: Float[np.ndarray, " bar"] | Bool[np.ndarray, " bar"], lengths: Lengths
) -> dict[int, Column]:
    """Mean of the known of the last d values; NaN where none is."""
    return {d: _ratio(total, known) for d, (total, known) in _added(values, lengths).items()}


def _added(
    values: Float[np.ndarray, " bar"] | Bool[np.ndarray, " bar"], lengths: Lengths
) -> dict[int, tuple[Column, Column]]:
    values = values.astype(np.float64)
    there = np.isfinite(values)
    values = np.where(there, values, 0.0)
    total, known = np.zeros((2, len(values)))
    found: dict[int, tuple[Column, Column]] = {}
    for _, now, before, d in _walk(len(values), lengths):
        total[now] += values[before]
        known[now] += there[before]
        if d is not None:
            found[d] = total.copy(), known.copy()
    return {d: found.get(d, (total, known)) for d in lengths}


def moments(values: Column, lengths: Lengths) -> dict[int, Moments]:
    """Sums of what the last d values are above today's: mean, deviation and the line through them."""
    n = len(values)
    first, second, by_lag = np.zeros((3, n))
    found: dict[int, Moments] = {}
    for k, now, before, d in _walk(n, lengths):
        above = values[before] - values[now]
        first[now] += above
        second[now] += above * above
        by_lag[now] += k * above
        if d is not None:
            found[d] = Moments(counts(n, d), first.copy(), second.copy(), by_lag.copy())
    return {d: found.get(d, Moments(counts(n, d), first, second, by_lag)) for d in lengths}


@dataclass(frozen=True)
class Extreme:
    """The highest of the last d values, and the place, from 1, of the oldest bar that has it."""

    value: Column
    place: Column


def extremes(values: Column, lengths: Lengths, beats: Callable[..., np.ndarray]) -> dict[int, Extreme]:
    """The most extreme of the last d values; `beats` is np.greater_equal for the highest, np.less_equal."""
    n = len(values)
    best, lag = values.copy(), np.zeros(n)
    found: dict[int, Extreme] = {}
    for k, now, before, d in _walk(n, lengths):
        better = beats(values[before], best[now])  # the older of two alike is taken
        np.copyto(best[now], values[before], where=better)
        np.copyto(lag[now], float(k), where=better)
        if d is not None:
            found[d] = Extreme(best.copy(), counts(n, d) - lag)
    return {d: found.get(d, Extreme(best, counts(n, d) - lag)) for d in lengths}


def rank(values: Column, lengths: Lengths) -> dict[int, Column]:
    """Rank of today's among the last d values as a share of them, 1 the highest; ties at their middle."""
    n = len(values)
    below, alike = np.zeros((2, n))
    found: dict[int, Column] = {}
    for _, now, before, d in _walk(n, lengths):
        below[now] += values[before] < values[now]
        alike[now] += values[before] == values[now]
        if d is not None:
            found[d] = (below + (alike + 1) / 2) / counts(n, d)
    return {d: found.get(d, (below + (alike + 1) / 2) / counts(n, d)) for d in lengths}


def quantiles(values: Column, lengths: Lengths, shares: Iterable[float]) -> dict[int, list[Column]]:
    """Quantiles of the last d values, between two of them by the straight line."""
    n, asked = len(values), list(shares)
    found = {d: [np.empty(n) for _ in asked] for d in lengths}
    for d in lengths:
        padded = np.concatenate([np.full(d - 1, np.nan), values])  # NaN are sorted to the end
        windows = np.lib.stride_tricks.sliding_window_view(padded, d)
        for start in range(0, n, ROWS):
            rows = slice(start, min(start + ROWS, n))
            ordered = np.sort(windows[rows], axis=1)
            for share, column in zip(asked, found[d], strict=True):
                column[rows] = _between(ordered, share * (counts(n, d)[rows] - 1))
    return found


def _between(ordered: Float64[np.ndarray, "row place"], place: Float64[np.ndarray, " row"]) -> np.ndarray:
    lower: Int[np.ndarray, " row"] = place.astype(np.int64)
    rows = np.arange(len(ordered))
    low = ordered[rows, lower]
    high = ordered[rows, np.minimum(lower + 1, ordered.shape[1] - 1)]
    part = place - lower
    return np.where(part == 0, low, low + (high - low) * part)


def correlation(x: Column, y: Column, lengths: Lengths) -> dict[int, Column]:
    """Pearson correlation of the last d pairs, of those that are both known; NaN of fewer than two."""
    n = len(x)
    both = np.isfinite(x) & np.isfinite(y)
    (x, centre_x), (y, centre_y) = (_centred(values, both) for values in (x, y))
    known, sx, sy, sxx, syy, sxy = np.zeros((6, n))
    found: dict[int, Column] = {}

    def answer() -> Column:
        pairs = np.maximum(known, 1)
        spread = np.maximum(sxx - sx * sx / pairs, 0) * np.maximum(syy - sy * sy / pairs, 0)
        return np.where(known > 1, _ratio(sxy - sx * sy / pairs, np.sqrt(spread)), np.nan)

    for _, now, before, d in _walk(n, lengths):
        weigh = both[before]
        dx, dy = (x[before] - centre_x[now]) * weigh, (y[before] - centre_y[now]) * weigh
        for total, part in (
            (known, weigh),
            (sx, dx),
            (sy, dy),
            (sxx, dx * dx),
            (syy, dy * dy),
            (sxy, dx * dy),
        ):
            total[now] += part
        if d is not None:
            found[d] = answer()
    return _kept(found, lengths, answer())


def deviations(values: Column, lengths: Lengths) -> dict[int, Column]:
    """Standard deviation (ddof 1) of the known of the last d values; NaN of fewer than two."""
    there = np.isfinite(values)
    values, centre = _centred(values, there)
    known, first, second = np.zeros((3, len(values)))
    found: dict[int, Column] = {}

    def answer() -> Column:
        squares = np.maximum(second - first * first / np.maximum(known, 1), 0)
        return np.sqrt(np.where(known > 1, squares / np.maximum(known - 1, 1), np.nan))

    for _, now, before, d in _walk(len(values), lengths):
        above = (values[before] - centre[now]) * there[before]
        for total, part in ((known, there[before]), (first, above), (second, above * above)):
            total[now] += part
        if d is not None:
            found[d] = answer()
    return _kept(found, lengths, answer())


def _centred(values: Column, known: Bool[np.ndarray, " bar"]) -> tuple[Column, Column]:
    """Values with 0 where unknown, and the latest known value up to each bar (0 before the first)."""
    latest = np.maximum.accumulate(np.where(known, np.arange(len(values)), -1))
    filled = np.where(known, values, 0.0)
    return filled, np.where(latest >= 0, filled[latest], 0.0)
