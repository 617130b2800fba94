"""Prices and scores as a price chart's browser side reads them, and the bars that dates mean."""

from typing import Any

import numpy as np
import pandas as pd
import traitlets

from workbench.explainers.explanation import Explanation
from workbench.explainers.methods import METHODS
from workbench.market.frame import COLUMNS
from workbench.widgets.mapdata import intraday, milliseconds


def bar_of(dates: pd.DatetimeIndex, date: Any) -> int:
    """Return the bar of a date, or the last one before it; a day without a time means its last bar."""
    try:
        stamp = pd.Timestamp(date)
    except (TypeError, ValueError) as error:
        raise traitlets.TraitError(f"date must be a date, such as '2011-08-08'. Got {date!r}.") from error
    zone = dates.tz
    stamp = stamp.tz_localize(zone) if stamp.tz is None else stamp.tz_convert(zone or "UTC")
    stamp = stamp if zone is not None else stamp.tz_localize(None)
    if isinstance(date, str) and ":" not in date:
        stamp += pd.Timedelta(days=1) - pd.Timedelta(microseconds=1)
    wanted = pd.DatetimeIndex([stamp])
    if wanted.hasnans:
        raise traitlets.TraitError("date must be a date, such as '2011-08-08'. Got a missing one.")
    bar = int(dates.searchsorted(wanted, side="right")[0]) - 1
    if bar < 0:
        raise traitlets.TraitError(
            f"there is no bar at or before {date}: the prices go from {dates[0]:%Y-%m-%d} to "
            f"{dates[-1]:%Y-%m-%d}. Choose a date among them."
        )
    return bar


def of_prices(explanation: Explanation, prices: pd.DataFrame, dates: pd.DatetimeIndex) -> Explanation:
    """Return the windows of `explanation` that are of these prices; refuse one that has others only."""
    ticker = prices.attrs.get("provenance", {}).get("ticker")
    mine = explanation[explanation.tickers == ticker] if isinstance(ticker, str) else explanation
    tickers = np.unique(mine.tickers)
    if len(mine) == 0 or len(tickers) > 1:
        there = ", ".join(map(str, np.unique(explanation.tickers)))
        raise ValueError(
            f"explanation must be of the prices' one asset, {ticker}. Got windows of {there}. "
            "Explain windows made of these prices."
        )
    mine.check_by_bar("a price chart")
    lookback = mine.scores.shape[1]
    rows = dates.get_indexer(mine.dates) if dates.tz == mine.dates.tz else np.full(len(mine), -1)
    if (rows < lookback - 1).any():
        wrong = mine.dates[rows < lookback - 1]
        raise ValueError(
            f"explanation must end on bars of these prices, {lookback} bars or more from their start. "
            f"{len(wrong)} of its {len(mine)} windows do not, the first on {wrong[0]}. "
            "Give the prices that its windows were made of."
        )
    return mine


def packed_bars(prices: pd.DataFrame, dates: pd.DatetimeIndex) -> bytes:
    """Return dates, open, high, low, close and volume, one after the other, as float64; NaN if unknown."""
    missing = np.full(len(prices), np.nan)
    columns = [prices[name].to_numpy(dtype="<f8") if name in prices else missing for name in COLUMNS]
    return np.stack([milliseconds(dates), *columns]).astype("<f8").tobytes()


def packed_scores(explained: Explanation | None) -> tuple[bytes, bytes, dict[str, Any]]:
    """Return scores (window, time) and null as bytes of float32, and what the browser must know of them."""
    if explained is None:
        return b"", b"", {"lookback": 0, "signed": False, "label": ""}
    scores = explained.scores if explained.scores.ndim == 2 else explained.scores.sum(axis=2)
    signed = bool((scores < 0).any())
    method = METHODS.get(explained.method)
    name = explained.method if method is None else method.label
    shares = not signed and bool(np.allclose(scores.sum(axis=1), 1, atol=1e-3))
    unit = (
        ", less its null [difference in share]" if explained.against_null else ", share [%]" if shares else ""
    )
    told = {
        "lookback": scores.shape[1],
        "signed": signed,
        "label": f"{name} of {explained.target}{unit}",
    }
    null = np.empty(0) if explained.null is None else explained.null
    null = null.sum(axis=2) if null.ndim == 3 else null
    return scores.astype("<f4").tobytes(), null.astype("<f4").tobytes(), told


def facts_of(prices: pd.DataFrame, dates: pd.DatetimeIndex) -> dict[str, Any]:
    """Return what is told of the prices: name, unit, whether made up, whether days hold many bars."""
    provenance = prices.attrs.get("provenance", {})
    return {
        "name": str(provenance.get("ticker", "")),
        "unit": str(provenance.get("currency") or ""),
        "synthetic": bool(provenance.get("synthetic", False)),
        "intraday": intraday(dates),
    }
