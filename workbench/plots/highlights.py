"""The days that drew most attention, against what the market did on them."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from workbench.plots.barticks import label_bars
from workbench.plots.candles import check_one_asset, dates_of
from workbench.plots.overtime import Explained
from workbench.plots.panels import bars, stack
from workbench.plots.style import array, check_by_bar, mixed, named, palette, provenance_of, titled


def high_attention_days(
    prices: pd.DataFrame, explained: Explained, count: int = 10, ax: Axes | None = None
) -> dict[str, Axes]:
    """Draw prices, the attention that each bar received, and the returns, the most attended bars marked.

    A bar's attention is the sum of the absolute scores that the windows which hold it give it, over what bars
    at those places in the window get on average, drawn as what it is above or below. So the last bars, which
    are held only by windows that they are recent in, do not stand out for that. Bars held by fewer windows
    than half a lookback are left out.

    Parameters
    ----------
    prices
        One asset's, which the windows were made of: every bar of theirs, one after the other.
    explained
        Scores by bar of windows of that asset; those of features are added up.
    count
        How many bars are marked.
    ax
        Becomes the price panel. None makes a figure.

    Returns
    -------
    dict of Axes
        "price", "attention" and "return". The title compares the mean absolute return of the marked bars with
        that of the others.

    Raises
    ------
    ValueError
        If the scores are not by bar or of several tickers, `prices` lack bars of the windows, or `count` is
        no number of bars that there are.
    """
    check_one_asset(prices)
    check_by_bar(explained, "attention day by day")
    received = attention_received(prices, explained)
    seen = np.flatnonzero(np.isfinite(received))
    if not 1 <= count <= len(seen):
        raise ValueError(f"count must be from 1 to the {len(seen)} bars that windows hold. Got {count}.")
    marked = np.sort(seen[np.argsort(-received[seen], kind="stable")[:count]])
    shown = prices.iloc[seen[0] : seen[-1] + 1]
    close = prices["close"].to_numpy(dtype=float)
    change = np.append(np.nan, 100 * (close[1:] / close[:-1] - 1))
    price, attention, change_of = stack(ax, (2, 1, 1), size=(9.0, 5.4))
    panels: dict[str, Axes] = {"price": price, "attention": attention, "return": change_of}
    span, at = slice(seen[0], seen[-1] + 1), marked - seen[0]
    _draw(panels, (close[span], 100 * (received[span] - 1), change[span]), at)
    label_bars(panels["return"].xaxis, dates_of(shown), len(shown))
    panels["price"].set_ylabel(f"Price [{provenance_of(prices).get('currency') or 'as quoted'}]")
    told = _told(change, marked, seen)
    ticker = named(provenance_of(prices).get("ticker", "Prices"))
    head = f"{ticker}: the {count} bars that drew most attention"
    titled(panels["price"], head, told, provenance=provenance_of(prices))
    return panels


def attention_received(prices: pd.DataFrame, explained: Explained) -> np.ndarray:
    """Return Σ |score| over Σ mean |score| of the lag, of the windows that hold each bar of prices, (bar,).

    NaN where fewer windows than half a lookback hold it.
    """
    tickers = np.unique(np.asarray(getattr(explained, "tickers", [""]), dtype=str))
    if len(tickers) > 1:
        raise ValueError(
            f"explained must be of one asset. Got windows of {len(tickers)}: take those of one, e.g. "
            "explained[explained.tickers == 'AAPL']."
        )
    scores = np.abs(array(explained.scores))
    scores = scores.sum(tuple(range(2, scores.ndim))) if scores.ndim > 2 else scores
    lookback = scores.shape[1]
    dates = dates_of(prices)
    ends = dates.get_indexer(explained.dates) if dates.tz == explained.dates.tz else np.full(len(scores), -1)
    if (ends < lookback - 1).any() or len(ends) == 0:
        raise ValueError(
            f"prices must hold every bar of the {len(ends)} windows, {lookback} bars to each decision. They "
            f"go from {dates[0]} to {dates[-1]}. Give the prices that the windows were made of."
        )
    places = ends[:, None] + np.arange(1 - lookback, 1)
    sums = np.bincount(places.ravel(), scores.ravel(), len(dates))
    held = np.bincount(places.ravel(), minlength=len(dates))
    usual = np.bincount(places.ravel(), np.broadcast_to(scores.mean(0), places.shape).ravel(), len(dates))
    enough = (held >= min(-(-lookback // 2), int(held.max()))) & (usual > 0)
    return np.divide(sums, usual, out=np.full(len(dates), np.nan), where=enough)


def _draw(panels: dict[str, Axes], drawn: tuple[np.ndarray, np.ndarray, np.ndarray], at: np.ndarray) -> None:
    close, received, change = drawn
    shades = palette()
    pale = mixed(shades.up, panels["price"].get_facecolor())
    panels["price"].plot(close, color=shades.ink, linewidth=1.0)
    rises = np.nan_to_num(change[at]) >= 0
    for chosen, colour, mark in ((rises, shades.up, "^"), (~rises, shades.down, "v")):
        panels["price"].plot(
            at[chosen], close[at[chosen]], mark, color=colour, markersize=8, linestyle="none"
        )
    colours = np.full(len(received), pale, dtype=object)
    colours[at] = np.where(rises, shades.up, shades.down)
    width = 0.8 if len(received) <= 150 else 1.0
    bars(panels["attention"], received, colours.astype(str), width=width)
    bars(panels["return"], change, np.full(len(change), pale), width=width)
    least = max(width, len(change) / 400)  # a marked bar of thousands is still to be seen
    for panel, values in ((panels["attention"], received), (panels["return"], change)):
        panel.axhline(0, color=shades.ink, linewidth=0.8)
        panel.bar(at, np.nan_to_num(values[at]), width=least, color=colours[at].tolist(), zorder=3)
    panels["attention"].set_ylabel("Attention\n[% over usual]")
    panels["return"].set_ylabel("Return\n[%]")
    panels["price"].set_xlim(-0.5, len(close) - 0.5)


def _told(change: np.ndarray, marked: np.ndarray, seen: np.ndarray) -> str:
    """Compare the size of returns on marked bars with those on the others."""
    size = np.abs(change)
    there, elsewhere = size[marked], size[np.setdiff1d(seen, marked)]
    there, elsewhere = there[np.isfinite(there)], elsewhere[np.isfinite(elsewhere)]
    if len(there) == 0 or len(elsewhere) == 0:
        return ""
    return f"mean |return| {there.mean():.2f} %, {elsewhere.mean():.2f} % on the others"
