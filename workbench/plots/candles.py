"""Prices: candles or a line, volume beneath, doubtful bars marked."""

import textwrap
from typing import Protocol, runtime_checkable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from workbench.plots.barticks import label_bars
from workbench.plots.panels import bars, stack
from workbench.plots.style import amounts, bars_facts, holds, palette, provenance_of, titled

MOST_CANDLES = 150  # more would be thinner than their gaps at a notebook's width
_OHLC = ("open", "high", "low", "close")


@runtime_checkable
class Flagged(Protocol):
    """What is read of a quality report."""

    @property
    def rows(self) -> pd.DataFrame:
        """Flagged rows: indexed by date; columns `check` and, it may be, `ticker`."""
        ...


def prices(prices: pd.DataFrame, report: Flagged | None = None, ax: Axes | None = None) -> dict[str, Axes]:
    """Draw one asset's prices, its volume beneath, and mark the rows that its quality report flags.

    Up to 150 bars are candles, more are a line of closes, and so are frames that hold closes only. Bars
    stand side by side, without gaps for nights and weekends.

    Parameters
    ----------
    prices
        Columns open, high, low, close, volume, indexed by date; one asset. `attrs["provenance"]` gives the
        title. Columns that are all NaN are left out.
    report
        Quality report of these prices; its flagged `rows` are marked in a strip beneath, check by check.
    ax
        Becomes the price panel; the volume panel takes a part of its place. None makes a figure.

    Returns
    -------
    dict of Axes
        "price"; "volume" when it is known; "quality" when bars are flagged, one line a check.

    Raises
    ------
    ValueError
        If `prices` is a panel of several assets, is empty or lacks the closes.
    """
    check_one_asset(prices)
    flags = _flags(prices, report)
    heights = {"price": 3.0}
    if holds(prices, "volume"):
        heights["volume"] = 1.0
    if flags:
        heights["quality"] = 0.22 * len(flags)
    stacked = stack(ax, list(heights.values()), size=(9.0, 1.2 + sum(heights.values())))
    panels = dict(zip(heights, stacked, strict=True))
    draw_prices(panels["price"], prices)
    if "volume" in panels:
        _draw_volume(panels["volume"], prices)
    if flags:
        _draw_flags(panels["quality"], flags)
    middle, half = (len(prices) - 1) / 2, max(len(prices), 8) / 2  # a few bars keep a bar's shape
    stacked[0].set_xlim(middle - half - 0.1, middle + half + 0.1)
    label_bars(stacked[-1].xaxis, dates_of(prices), len(prices))
    provenance = provenance_of(prices)
    head = ", ".join(filter(None, bars_facts(provenance)))
    marks = sum(map(len, flags.values()))
    checked = "" if report is None else f"{marks or 'no'} flag{'s' * (marks != 1)}"
    titled(stacked[0], head, span(prices), checked, provenance=provenance)
    return panels


def check_one_asset(prices: pd.DataFrame) -> None:
    """Refuse what is not the prices of one asset."""
    if isinstance(prices.index, pd.MultiIndex):
        tickers = prices.index.get_level_values(-1).unique()
        raise ValueError(
            f"prices must be of one asset. Got a panel of {len(tickers)}. "
            f"Take one, e.g. prices.xs({str(tickers[0])!r}, level='ticker')."
        )
    if not isinstance(prices.index, pd.DatetimeIndex) or "close" not in prices or prices.empty:
        raise ValueError(
            f"prices must have an index of dates, a column 'close' and at least one bar. "
            f"Got {type(prices.index).__name__}, columns {list(prices.columns)}, {len(prices)} rows. "
            "load_prices(…) gives such a frame."
        )


def dates_of(prices: pd.DataFrame) -> pd.DatetimeIndex:
    """Dates of a single asset's bars."""
    return pd.DatetimeIndex(prices.index)


def span(prices: pd.DataFrame) -> str:
    """First and last date, and how many bars, as words for a title."""
    first, last = (f"{date:%d %b %Y}" for date in (prices.index[0], prices.index[-1]))
    return f"{first} to {last}, {len(prices):,} bar{'s' * (len(prices) > 1)}"


def draw_prices(ax: Axes, prices: pd.DataFrame) -> None:
    """Draw candles, or a line where there are too many bars or closes only, and name the unit."""
    if len(prices) <= MOST_CANDLES and all(holds(prices, column) for column in _OHLC):
        _draw_candles(ax, prices)
    else:
        few = len(prices) <= 60
        ax.plot(prices["close"].to_numpy(), color=palette().up, linewidth=1.2, marker="." if few else None)
    currency = provenance_of(prices).get("currency", "")
    ax.set_ylabel(f"Price [{currency}]" if currency else "Price [as quoted]")
    ax.margins(y=0.08)


def _draw_candles(ax: Axes, prices: pd.DataFrame) -> None:
    opened, high, low, close = (prices[column].to_numpy(dtype=float) for column in _OHLC)
    colours = rising(prices)
    position = np.arange(len(prices), dtype=float)
    ends = np.stack([position, low, position, high], axis=-1).reshape(-1, 2, 2)
    known = np.isfinite(ends).all((1, 2))
    ax.add_collection(LineCollection(list(ends[known]), colors=list(colours[known]), linewidths=0.9))
    bodies = bars(ax, close - opened, colours, bases=opened, width=0.68)
    bodies.set(edgecolor=bodies.get_facecolor(), linewidth=0.9)  # a bar that closes at its open still shows


def rising(prices: pd.DataFrame) -> np.ndarray:
    """Colour of each bar, by whether it closed at or above its open (its last close without opens)."""
    close = prices["close"].to_numpy(dtype=float)
    before = prices["open"].to_numpy(dtype=float) if holds(prices, "open") else np.append(np.nan, close[:-1])
    return np.where(close < before, palette().down, palette().up)


def _draw_volume(ax: Axes, prices: pd.DataFrame) -> None:
    drawn = bars(ax, prices["volume"].to_numpy(dtype=float), rising(prices))
    drawn.set_alpha(0.65)
    ax.yaxis.set_major_formatter(amounts)
    ax.set_ylabel("Volume [units]")


def _flags(prices: pd.DataFrame, report: Flagged | None) -> dict[str, np.ndarray]:
    """Positions of the flagged bars within the prices' range, by check; a missing bar lies between two."""
    if report is None or report.rows.empty:
        return {}
    rows, dates = report.rows, dates_of(prices)
    ticker = provenance_of(prices).get("ticker")
    if "ticker" in rows and isinstance(ticker, str):
        rows = rows.loc[rows["ticker"].isin([ticker, ""])]
    rows = rows.loc[(rows.index >= dates[0]) & (rows.index <= dates[-1])]
    at = dates.searchsorted(rows.index) - 0.5 * ~rows.index.isin(dates)
    checks = rows["check"].to_numpy(dtype=str)
    return {str(check): np.sort(at[checks == check]) for check in dict.fromkeys(checks)}


def _draw_flags(ax: Axes, flags: dict[str, np.ndarray]) -> None:
    ax.eventplot(
        list(flags.values()),
        lineoffsets=range(len(flags)),
        colors=palette().down,
        linelengths=0.7,
        linewidths=1.4,
    )
    names = [textwrap.shorten(f"{len(at)} × {check}", 26, placeholder=" …") for check, at in flags.items()]
    ax.set_yticks(range(len(flags)), names, fontsize="small")
    ax.set_ylim(len(flags) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
