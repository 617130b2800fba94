"""Which stocks the answers for stocks were drawn from: of a day as a matrix, and of a portfolio over time."""

from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from workbench.plots.overtime import Explained
from workbench.plots.panels import heatmap, one
from workbench.plots.periods import averaged, joined, label_periods, stacked_bars
from workbench.plots.style import array, named, provenance_of, titled


@runtime_checkable
class Stocks(Explained, Protocol):
    """What is read of an explanation by assets."""

    @property
    def tickers(self) -> np.ndarray:
        """Ticker of each window."""
        ...


def stock_matrix(explained: Stocks, date: object = None, ax: Axes | None = None) -> Axes:
    """Draw how far the answer for each stock draws on each other one, as a matrix.

    Parameters
    ----------
    explained
        By `neighbours`: scores (window, asset).
    date
        Which decision; None is the mean over the days on which a stock was there.
    ax
        None makes a figure.

    Returns
    -------
    Axes
        Blank cells are stocks without a window then. Where all stocks rank the others alike, the title
        says so.

    Raises
    ------
    ValueError
        If scores are not by asset, or no window is decided on `date`.
    """
    names, scores = _by_asset(explained, "a stock matrix")
    table = _table(scores, explained, names, date)
    ax = one(ax, size=(2.6 + 0.34 * len(names), 1.9 + 0.3 * len(names)))
    unit = "share less the null's" if getattr(explained, "against_null", False) else "share"
    heatmap(ax, np.ma.masked_invalid(table), unit, signed=bool((scores < 0).any()))
    labels = [named(name, 10) for name in names]
    ax.set_yticks(range(len(names)), labels, fontsize="small", parse_math=False)
    ax.set_xticks(range(len(names)), labels, fontsize="small", rotation=90, parse_math=False)
    ax.set_ylabel("Answer for")
    ax.set_xlabel("Drawn from")
    days = explained.dates.unique()
    when = (
        f"mean over {len(days)} day{'s' * (len(days) != 1)}"
        if date is None
        else f"{pd.Timestamp(str(date)):%d %b %Y}"
    )
    titled(ax, "Stock to stock", when, _warning(explained), provenance=provenance_of(explained))
    return ax


def portfolio_over_time(
    explained: Stocks,
    weights: pd.DataFrame | None = None,
    every: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw which stocks the answers behind a portfolio were drawn from, as stacked bars over time.

    Of a day with weights w_i and shares A_ij, the bar of stock j is Σ_i w_i A_ij ÷ Σ_i |w_i|: what is held
    short counts downwards.

    Parameters
    ----------
    explained
        By `neighbours`: scores (window, asset).
    weights
        (date, ticker): what was held of each stock, such as positions. None holds all alike.
    every
        "D" draws each date; "M", "Q" and "Y" means of months, quarters and years; None is what fits.
    ax
        None makes a figure.

    Raises
    ------
    ValueError
        If scores are not by asset, or the weights are of none of its dates and tickers.
    """
    names, scores = _by_asset(explained, "a portfolio over time")
    drawn, dates = portfolio_shares(scores, explained.dates, explained.tickers, weights)
    means, starts, told = averaged(drawn, dates, every)
    ax = one(ax)
    stacked_bars(ax, *joined(means, [named(name, 16) for name in names]))
    label_periods(ax, starts)
    ax.set_ylabel("Share drawn on each stock" + (" [signed]" if (means < 0).any() else ""))
    who = "all stocks alike" if weights is None else "weighed by what was held"
    head = "What the portfolio's answers draw on"
    titled(ax, head, told, who, _warning(explained), provenance=provenance_of(explained))
    return ax


def portfolio_shares(
    scores: np.ndarray, dates: pd.DatetimeIndex, tickers: np.ndarray, weights: pd.DataFrame | None
) -> tuple[np.ndarray, pd.DatetimeIndex]:
    """Return Σ_i w_i A_ij ÷ Σ_i |w_i| of each day that has weights, (day, asset), and the days."""
    held = np.ones(len(scores)) if weights is None else _held(weights, dates, tickers)
    at, days = dates.factorize(sort=True)
    sums, size = np.zeros((len(days), scores.shape[1])), np.bincount(at, np.abs(held))
    np.add.at(sums, at, held[:, None] * scores)
    known = size > 0
    if not known.any():
        raise ValueError(
            f"weights must hold something on a date of the explanation, {dates.min()} to {dates.max()}, of "
            "its tickers. Got none: pass a frame by date, a column a ticker."
        )
    return sums[known] / size[known, None], pd.DatetimeIndex(days[known])


def _held(weights: pd.DataFrame, dates: pd.DatetimeIndex, tickers: np.ndarray) -> np.ndarray:
    row = pd.Index(weights.index).get_indexer(dates)
    column = pd.Index(weights.columns.astype(str)).get_indexer(np.asarray(tickers, dtype=str))
    values = np.nan_to_num(array(weights))
    return (
        np.where((row >= 0) & (column >= 0), values[row, column], 0.0)
        if values.size
        else np.zeros(len(dates))
    )


def _by_asset(explained: Any, what: str) -> tuple[list[str], np.ndarray]:
    axes = tuple(getattr(explained, "axes", ("time",)))
    if axes != ("asset",):
        raise ValueError(
            f"{what} is by asset. Got scores by {' and '.join(axes)}: explain by the method 'neighbours'."
        )
    return [str(name) for name in explained.axis_labels["asset"]], array(explained.scores)


def _table(scores: np.ndarray, explained: Stocks, names: list[str], date: object) -> np.ndarray:
    """Return (asset, asset), NaN where a stock has no window; means over the days that have it."""
    chosen = np.ones(len(scores), bool)
    if date is not None:
        stamp = pd.Timestamp(str(date))
        zone = explained.dates.tz
        stamp = stamp if zone is None or stamp.tzinfo is not None else stamp.tz_localize(zone)
        chosen = np.asarray(explained.dates == stamp)
        if not chosen.any():
            nearest = explained.dates[int(np.abs(explained.dates - stamp).argmin())]
            raise ValueError(f"No window is decided on {stamp}; the nearest is {nearest}.")
    row = pd.Index(names).get_indexer(np.asarray(explained.tickers, dtype=str)[chosen])
    sums, counts = np.zeros((len(names), len(names))), np.zeros((len(names), len(names)))
    at, days = explained.dates[chosen].factorize()
    there = np.zeros((len(days), len(names)), bool)
    there[at, row] = True
    np.add.at(sums, row, scores[chosen])
    np.add.at(counts, row, there[at].astype(float))
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


def _warning(explained: object) -> str:
    options = getattr(explained, "options", {})
    agreement = options.get("rank_agreement")
    return (
        f"all stocks rank the others alike ({agreement:.2f}): read columns, not rows"
        if options.get("warning")
        else ""
    )
