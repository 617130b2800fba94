"""Made prices for the tests of features, labels and windows."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from workbench.features.indicators import make_features
from workbench.features.labels import label_moves
from workbench.features.windows import Windows

COLUMNS = ["open", "high", "low", "close", "volume"]


def _bars(n: int, seed: int) -> pd.DataFrame:
    """A random walk of whole bars: high and low contain open and close."""
    rng = np.random.default_rng(seed)
    close = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, n)))
    opening = np.concatenate([[50.0], close[:-1]]) * np.exp(rng.normal(0, 0.005, n))
    high = np.maximum(opening, close) * np.exp(np.abs(rng.normal(0, 0.01, n)))
    low = np.minimum(opening, close) * np.exp(-np.abs(rng.normal(0, 0.01, n)))
    volume = np.round(np.exp(rng.normal(12, 0.5, n)))
    index = pd.bdate_range("2000-01-03", periods=n, name="date", unit="us")
    index.freq = None
    return pd.DataFrame(np.c_[opening, high, low, close, volume], index=index, columns=COLUMNS)


def _provenance(ticker: str | list[str]) -> dict:
    return {"source": "made", "ticker": ticker, "interval": "1d", "fields": COLUMNS, "synthetic": True}


@pytest.fixture(scope="session")
def make_prices() -> Callable[..., pd.DataFrame]:
    def make(n: int = 200, seed: int = 0, ticker: str = "MADE") -> pd.DataFrame:
        prices = _bars(n, seed)
        prices.attrs["provenance"] = _provenance(ticker)
        return prices

    return make


@pytest.fixture(scope="session")
def make_panel() -> Callable[..., pd.DataFrame]:
    def make(lengths: tuple[int, ...] = (200, 160, 200), seed: int = 0) -> pd.DataFrame:
        """Tickers A, B, C … that end together and begin where their length says."""
        n = max(lengths)
        tickers = [chr(ord("A") + k) for k in range(len(lengths))]
        parts = [
            _bars(n, seed + k).iloc[n - m :].assign(ticker=ticker)
            for k, (m, ticker) in enumerate(zip(lengths, tickers, strict=True))
        ]
        panel = pd.concat(parts).set_index("ticker", append=True).sort_index()
        panel.attrs["provenance"] = _provenance(tickers)
        return panel

    return make


@pytest.fixture(scope="session")
def alter_future() -> Callable[..., pd.DataFrame]:
    def alter(prices: pd.DataFrame, after: pd.Timestamp, seed: int) -> pd.DataFrame:
        """The same history up to `after`, then quite another: prices, ranges and volumes."""
        rng = np.random.default_rng(seed)
        future = np.asarray(prices.index.get_level_values("date") > after)
        values = prices.to_numpy(copy=True)
        opening, _, _, close, volume = values[future].T
        factor, spread = np.exp(rng.normal(0, 1, len(close))), 1 + rng.random(len(close))
        opening, close = opening * factor, close * factor
        high, low = np.maximum(opening, close) * spread, np.minimum(opening, close) / spread
        values[future] = np.c_[opening, high, low, close, np.round(volume * factor) * (factor > 0.5)]
        altered = pd.DataFrame(values, index=prices.index, columns=prices.columns)
        altered.attrs = dict(prices.attrs)
        return altered

    return alter


@pytest.fixture(scope="session")
def single(make_prices) -> Windows:
    prices = make_prices(400)
    return Windows.of(make_features(prices), label_moves(prices), 20)


@pytest.fixture(scope="session")
def panel(make_panel) -> Windows:
    prices = make_panel((300, 200, 260))
    return Windows.of(make_features(prices), label_moves(prices, 3), 20)
