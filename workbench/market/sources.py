"""The sources of prices, by name; a source's own module is imported when it is first asked."""

from dataclasses import dataclass
from functools import partial
from importlib import import_module

import pandas as pd

from workbench.market.cache import cached
from workbench.market.frame import INTERVALS, Request
from workbench.market.names import chosen

_YAHOO = ("1m", "5m", "15m", "30m", "1h", "1d", "1wk", "1mo")


@dataclass(frozen=True)
class Source:
    """Where prices come from.

    Parameters
    ----------
    what
        One line for the reader.
    module
        Module of this package that holds the functions.
    intervals
        What it can be asked for.
    network
        Whether it needs the network, and so is kept on disk.
    fetch, tickers
        Names of the module's functions.
    """

    what: str
    module: str
    intervals: tuple[str, ...] = ("1d",)
    network: bool = False
    fetch: str = "fetch"
    tickers: str = "tickers"

    def known(self) -> list[str]:
        """Tickers that can be listed, or none where any name may exist."""
        return getattr(import_module(self.module), self.tickers)()


SOURCES = {
    "sample": Source("5 US stocks, daily bars, 2000–2013, bundled", "workbench.market.sample"),
    "sample20": Source(
        "20 US stocks, daily closes only, 2000–2022, bundled",
        "workbench.market.sample",
        fetch="fetch20",
        tickers="tickers20",
    ),
    "yahoo": Source("Yahoo Finance, any listed ticker", "workbench.market.yahoo", _YAHOO, network=True),
    "bybit": Source("Bybit, spot pairs such as BTCUSDT", "workbench.market.bybit", INTERVALS, network=True),
    "bybit-linear": Source(
        "Bybit, contracts settled in USDT or USDC", "workbench.market.bybit", INTERVALS, network=True
    ),
    "bybit-inverse": Source(
        "Bybit, contracts settled in the coin", "workbench.market.bybit", INTERVALS, network=True
    ),
    "csv": Source("a CSV file of yours; the ticker is its path", "workbench.market.csvfile", INTERVALS),
    "synthetic": Source(
        "made-up markets whose driver is known, such as LAG5", "workbench.market.synthetic", ("1d", "1h")
    ),
}


def source_of(name: str) -> tuple[str, Source]:
    """Return a source's own name and description; an unknown name is a PriceError that lists the known."""
    own = chosen(name, list(SOURCES), "source")
    return own, SOURCES[own]


def fetched(request: Request, name: str, refresh: bool = False) -> pd.DataFrame:
    """Prices of one request: from the source, or from disk where the source needs the network."""
    own, source = source_of(name)
    fetch = getattr(import_module(source.module), source.fetch)
    if not source.network:
        return fetch(request)
    if own.startswith("bybit"):
        fetch = partial(fetch, source=own)
    return cached(request, own, fetch, refresh=refresh)
