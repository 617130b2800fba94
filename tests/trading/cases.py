"""Prices, positions and the golden cases the tests of this folder share."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd

GOLDEN = json.loads((Path(__file__).parent / "golden" / "backtest.json").read_text())["cases"]
FILL = {("close", 0): "close", ("close", 1): "next_close", ("open", 1): "next_open"}
FIELDS = ["open", "high", "low", "close", "volume"]


def days(n, start="2020-01-01"):
    return pd.bdate_range(start, periods=n, name="date")


def provenance(ticker="AAPL", **more):
    told = {"source": "sample", "ticker": ticker, "interval": "1d", "adjusted": "splits", "fields": FIELDS}
    return {**told, **more}


def one_asset(close, open_=None, dates=None, **more):
    """A daily frame; its opens are the closes before unless given."""
    close = np.asarray(close, dtype=float)
    open_ = np.append(close[0], close[:-1]) if open_ is None else np.asarray(open_, dtype=float)
    frame = pd.DataFrame(
        {
            "open": open_,
            "high": np.maximum(open_, close),
            "low": np.minimum(open_, close),
            "close": close,
            "volume": 1.0,
        },
        index=days(len(close)) if dates is None else dates,
    )
    frame.attrs["provenance"] = provenance(**more)
    return frame


def panel(closes, opens=None, tickers=None):
    """A daily panel from (bar, asset) arrays."""
    closes = np.asarray(closes, dtype=float)
    tickers = [f"A{i}" for i in range(closes.shape[1])] if tickers is None else tickers
    opens = [None] * len(tickers) if opens is None else np.asarray(opens, dtype=float).T
    frames = [one_asset(close, open_) for close, open_ in zip(closes.T, opens, strict=True)]
    joined = pd.concat(dict(zip(tickers, frames, strict=True)), names=["ticker", "date"])
    joined = joined.swaplevel().sort_index()
    joined.attrs = {"provenance": provenance(ticker=list(tickers))}
    return joined


def random_market(seed, n_bars=40, n_assets=3, step=0.03):
    """(opens, closes, positions) as (bar, asset) arrays."""
    rng = np.random.default_rng(seed)
    closes = 100 * np.exp(np.cumsum(rng.normal(0, step, (n_bars, n_assets)), axis=0))
    opens = closes * np.exp(rng.normal(0, step / 2, (n_bars, n_assets)))
    return opens, closes, rng.integers(-1, 2, (n_bars, n_assets)).astype(float)


def fractions(rows):
    """Floats as exact Fractions, NaN as None."""
    return [[None if np.isnan(x) else Fraction(float(x)) for x in row] for row in rows]


def probabilities_of(case):
    """The golden case's probabilities as `predict` would give them."""
    dates, values = days(case["n_bars"]), np.array(case["probabilities"])
    frames = {f"A{i}": pd.DataFrame(rows, dates, ["sell", "hold", "buy"]) for i, rows in enumerate(values)}
    if case["n_assets"] == 1:
        return frames["A0"]
    return pd.concat(frames, names=["ticker", "date"]).swaplevel().sort_index()


def prices_of(case):
    if case["n_assets"] == 1:
        return one_asset(case["close"][0], case["open"][0], ticker="A0")
    return panel(np.transpose(case["close"]), np.transpose(case["open"]))
