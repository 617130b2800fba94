"""The bundled prices: five stocks' daily bars, and daily closes of twenty stocks; real, and offline."""

from typing import Any

import pandas as pd

from workbench.market.adjustment import adjusted
from workbench.market.bundled import read_bundled
from workbench.market.frame import COLUMNS, PriceError, Request, clip, conform
from workbench.market.names import chosen

_STOCKS = "stocks.csv.gz"
_CLOSES = "closes20.csv.gz"
_TAKEN = "2026-11-21T00:00:00+00:00"  # from the packages that data/README.md names
_GOOG = "the shares now called GOOGL (class A), under the name they traded by until 2014"
_SECTORS = {
    "AAPL": "Information Technology",
    "AMD": "Information Technology",
    "BAC": "Financials",
    "BBY": "Consumer Discretionary",
    "CVX": "Energy",
    "GE": "Industrials",
    "HD": "Consumer Discretionary",
    "JNJ": "Health Care",
    "JPM": "Financials",
    "KO": "Consumer Staples",
    "LLY": "Health Care",
    "MRK": "Health Care",
    "MSFT": "Information Technology",
    "PEP": "Consumer Staples",
    "PFE": "Health Care",
    "PG": "Consumer Staples",
    "RRC": "Energy",
    "UNH": "Health Care",
    "WMT": "Consumer Staples",
    "XOM": "Energy",
}


def tickers() -> list[str]:
    """Names of the five stocks with open, high, low, close and volume."""
    return sorted(read_bundled(_STOCKS)["Ticker"].unique())


def tickers20() -> list[str]:
    """Names of the twenty stocks of which closes are bundled."""
    return [str(name) for name in read_bundled(_CLOSES).columns if name != "Date"]


def sectors() -> pd.Series:
    """Sector of each of the twenty stocks, by ticker: GICS names of 2022, as `attrs["as_of"]` says."""
    found = pd.Series(_SECTORS, name="sector", dtype="str").rename_axis("ticker")
    found.attrs = {"as_of": "2022-12-28"}  # the last bar that comes along; earlier members may have moved
    return found


def fetch(request: Request) -> pd.DataFrame:
    """Daily bars of one of the five stocks, adjusted for splits and dividends.

    2000-03-01 to 2013-03-01; GOOG from 2004-08-19 and FB from 2012-05-18. GOOG is the share now called
    GOOGL. The adjusted closes know of splits after the range, so prices are a constant fraction of those
    traded at its end, while volume counts shares of the last bar.

    An unknown ticker, another interval than "1d" or a range without bars is a PriceError.
    """
    ticker = _asked(request, tickers(), "sample")
    table = read_bundled(_STOCKS)
    rows = table.loc[table["Ticker"] == ticker].drop(columns="Ticker").set_index("Date")
    raw = rows.rename(columns=lambda name: name.lower().replace(" ", "_"))
    prices, splits = adjusted(raw)
    described = _described(ticker, "sample") | {"splits": splits}
    return clip(conform(prices, described | ({"note": _GOOG} if ticker == "GOOG" else {})), request)


def fetch20(request: Request) -> pd.DataFrame:
    """Daily closes of one of the twenty stocks, adjusted for splits and dividends, 2000-01-03 to 2022-12-28.

    Closes only, rounded to 3 decimals by their source: open, high, low and volume are NaN.
    An unknown ticker, another interval than "1d" or a range without bars is a PriceError.
    """
    ticker = _asked(request, tickers20(), "sample20")
    closes = read_bundled(_CLOSES).set_index("Date")[ticker].to_frame("close")
    described = _described(ticker, "sample20") | {
        "fields": ["close"],
        "note": "closes rounded to 3 decimals",
        "sector": _SECTORS[ticker],
    }
    return clip(conform(closes.reindex(columns=list(COLUMNS)), described), request)


def _asked(request: Request, known: list[str], source: str) -> str:
    if request.interval != "1d":
        raise PriceError(f'source "{source}" has interval "1d" only. Got {request.interval!r}.')
    return chosen(request.ticker, known, f'ticker of source "{source}"')


def _described(ticker: str, source: str) -> dict[str, Any]:
    return {
        "source": source,
        "ticker": ticker,
        "interval": "1d",
        "adjusted": "splits and dividends",
        "fetched_at": _TAKEN,
        "currency": "USD",
        "timezone": "America/New_York",
        "calendar": "XNYS",
    }
