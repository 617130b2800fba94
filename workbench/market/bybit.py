"""Crypto bars from Bybit's public v5 klines: spot, linear and inverse contracts, no key needed."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from workbench.market.bybit_answers import Answer, read
from workbench.market.frame import COLUMNS, Request, conform, is_intraday
from workbench.market.pages import bar_number, pages
from workbench.market.patience import NoBars, Patience, Unreachable

URL = "https://api.bybit.com"
CATEGORIES = {"bybit": "spot", "bybit-linear": "linear", "bybit-inverse": "inverse"}
INTERVALS = {
    "1m": "1",
    "3m": "3",
    "5m": "5",
    "15m": "15",
    "30m": "30",
    "1h": "60",
    "2h": "120",
    "4h": "240",
    "6h": "360",
    "12h": "720",
    "1d": "D",
    "1wk": "W",
    "1mo": "M",
}
_BEFORE_ANY_LISTING = 1_230_768_000_000  # 2009-01-01, older than any coin
_TURNOVER_TOLERANCE = 0.01


@dataclass(frozen=True)
class Exchange:
    """Where Bybit is and how it is asked; the defaults are the real one.

    Parameters
    ----------
    url
        Scheme and host.
    page
        Bars a request, at most 1000.
    timeout
        Seconds to wait for an answer.
    patience
        How often a failed request is repeated.
    """

    url: str = URL
    page: int = 1000
    timeout: float = 10.0
    patience: Patience = field(default_factory=Patience)


def tickers() -> list[str]:
    """Return no names: any symbol of the exchange can be asked for."""
    return []


def fetch(request: Request, source: str = "bybit", exchange: Exchange | None = None) -> pd.DataFrame:
    """Closed bars of one symbol, such as BTCUSDT, over the range asked for.

    The range is cut into disjoint pages of at most 1000 bars. A bar that had not closed when Bybit was first
    asked is left out. Daily and longer bars carry their first UTC day, weeks their Monday.

    Parameters
    ----------
    request
        Symbol, range and interval; an open start means since the listing.
    source
        "bybit" for spot, "bybit-linear" or "bybit-inverse" for contracts.
    exchange
        Where to ask and how.

    Returns
    -------
    DataFrame
        Prices in the quote currency. `volume` counts base coins in every category: inverse contracts report
        theirs as turnover, which is taken instead. provenance["note"] says in how many bars, if any, the
        money turned over is not volume × a price between low and high.

    Raises
    ------
    SourceError
        `Unreachable` when Bybit cannot be asked now, `NoBars` when it has none in the range, and otherwise
        an unknown symbol or a refused request, with what to do next.
    """
    import requests

    if source not in CATEGORIES:
        raise ValueError(f"source must be one of {', '.join(CATEGORIES)}. Got {source!r}.")
    exchange = exchange or Exchange()
    symbol = {"category": CATEGORIES[source], "symbol": request.ticker.upper()}
    with requests.Session() as session:
        bars = _bars(partial(_ask, session, exchange, symbol), request, exchange.page)
    return _prices(bars, request, source)


def _ask(session: Any, exchange: Exchange, symbol: dict[str, str], **query: str | int) -> Answer:
    import requests

    name = f"{symbol['symbol']} ({symbol['category']})"

    def once() -> Answer:
        try:
            response = session.get(
                f"{exchange.url}/v5/market/kline",
                params=symbol | query,
                timeout=exchange.timeout,
            )
        except requests.RequestException as error:
            raise Unreachable(
                f"Bybit could not be reached for {name} ({type(error).__name__}). "
                "Check the network, or use source='sample', which needs none."
            ) from error
        return read(response.status_code, response.headers, response.text, name)

    answer = exchange.patience.ask(once)
    if answer.pause:
        exchange.patience.sleep(answer.pause)
    return answer


def _bars(ask: Callable[..., Answer], request: Request, page: int) -> dict[int, tuple[float, ...]]:
    """Bars of the range by their start in milliseconds: each once, in order, all closed."""
    listing = ask(interval=INTERVALS["1mo"], start=_BEFORE_ANY_LISTING, limit=1000)
    if not listing.bars:
        raise NoBars(f"Bybit lists {request.ticker} but has no bars of it yet.")
    found: dict[int, tuple[float, ...]] = {}
    for window in pages(*_numbers(request, listing), request.interval, page):
        answer = ask(interval=INTERVALS[request.interval], start=window.start, end=window.end, limit=page)
        found |= {at: bar for at, bar in answer.bars.items() if window.start <= at <= window.end}
    if not found:
        month = np.datetime64(min(listing.bars), "ms").astype("datetime64[M]")
        raise NoBars(
            f"Bybit has no closed {request.interval} bars of {request.ticker} from {request.start} to "
            f"{request.end}: it trades since {month}. Ask for a later range."
        )
    return dict(sorted(found.items()))


def _numbers(request: Request, listing: Answer) -> tuple[int, int]:
    """Numbers of the first and last bar of the range that can exist, given the months of trading."""
    first = bar_number(min(listing.bars), request.interval)
    last = bar_number(listing.time, request.interval) - 1  # the bar at hand has not closed
    if request.start is not None:  # the first bar that starts at or after it
        first = max(first, bar_number(_milliseconds(request.start) - 1, request.interval) + 1)
    if request.end is not None:
        last = min(last, bar_number(_milliseconds(request.end), request.interval))
    return first, last


def _prices(bars: dict[int, tuple[float, ...]], request: Request, source: str) -> pd.DataFrame:
    columns = [*COLUMNS[:4], "volume", "turnover"]
    frame = pd.DataFrame.from_dict(bars, orient="index", columns=columns, dtype="float64")
    dates = pd.to_datetime(frame.index, unit="ms", utc=True)
    frame.index = dates if is_intraday(request.interval) else dates.tz_localize(None)
    if source == "bybit-inverse":
        frame = frame.rename(columns={"volume": "turnover", "turnover": "volume"})
    provenance = {
        "source": source,
        "ticker": request.ticker,
        "interval": request.interval,
        "adjusted": "none (spot prices)" if source == "bybit" else "none (contract prices)",
        "calendar": "24/7",
        "volume_unit": "base coins",
    }
    return conform(frame.drop(columns="turnover"), provenance | _turnover_note(frame))


def _turnover_note(frame: pd.DataFrame) -> dict[str, str]:
    """Say in how many bars the mean price paid, turnover / volume, is 1 % below the low or above the high."""
    paid = frame["turnover"] / frame["volume"]  # NaN, and so inside, where nothing was traded
    low, high = frame["low"] * (1 - _TURNOVER_TOLERANCE), frame["high"] * (1 + _TURNOVER_TOLERANCE)
    outside = np.count_nonzero((paid < low) | (paid > high))
    if not outside:
        return {}
    return {"note": f"in {outside} of {len(frame)} bars turnover is not volume × a price of the bar"}


def _milliseconds(stamp: pd.Timestamp) -> int:
    return stamp.value // 1_000_000
