"""Shares, indices, currencies and crypto from Yahoo Finance through yfinance, daily and intraday."""

import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import numpy as np
import pandas as pd

from workbench.market.frame import COLUMNS, Request, SourceError, bar_seconds, conform, is_intraday
from workbench.market.patience import Patience, utc_now
from workbench.market.yahoo_faults import no_bars, translated
from workbench.market.yahoo_sessions import Listing, closed

INTERVALS = ("1m", "5m", "15m", "30m", "1h", "1d", "1wk", "1mo")
_REACH = {"1m": 8, "5m": 60, "15m": 60, "30m": 60, "1h": 730}  # days that Yahoo looks back
_PERIODS = {"1wk": pd.DateOffset(weeks=1), "1mo": pd.DateOffset(months=1)}
_RULES = {"1wk": "W-MON", "1mo": "MS"}  # pandas' names of weeks from Monday and months from the first
_YEARS = pd.DateOffset(years=99)  # Yahoo refuses a range of 100 years
_ONE_AT_A_TIME = threading.Lock()  # yfinance is set up by global switches


def tickers() -> list[str]:
    """Return no names: any ticker of Yahoo can be asked for."""
    return []


def fetch(
    request: Request, patience: Patience | None = None, clock: Callable[[], pd.Timestamp] = utc_now
) -> pd.DataFrame:
    """Closed bars of one ticker over the range asked for.

    Bars of a day or longer are adjusted for splits and dividends, also open, high and low; intraday bars for
    splits alone, since Yahoo gives no dividend adjustment for them. Weekly bars (dated by their Monday) and
    monthly ones (by their first day) are made of the adjusted daily ones, and only of whole weeks and months:
    Yahoo's own are adjusted by the factor of a single day. What may pass is asked again a few times; yfinance
    keeps the Retry-After header to itself, so the pauses are ours.

    Parameters
    ----------
    request
        Ticker, range and interval. An open start means as far back as Yahoo goes: 99 years of daily bars, 730
        days of hourly ones, 60 days of 5 to 30 minutes, 8 days of minutes.
    patience
        How often a failed request is repeated.
    clock
        The present moment, in UTC.

    Returns
    -------
    DataFrame
        Prices; provenance says currency, exchange timezone and, in "note", which rows were left out.

    Warns
    -----
    UserWarning
        Bars lacked some of their prices and were left out.

    Raises
    ------
    SourceError
        `Unreachable` when Yahoo cannot be asked now, `NoBars` when it has none in the range, and otherwise an
        unknown ticker or a refused request, with what to do next.
    """
    if request.interval not in INTERVALS:
        raise SourceError(f"Yahoo's intervals are {', '.join(INTERVALS)}. Got {request.interval!r}.")
    now = clock()
    table, listing = (patience or Patience()).ask(lambda: _history(request, now))
    bars, notes = _cleaned(_dated(table, request, listing, now), request)
    bars = _gathered(bars, request.interval, now.tz_convert(listing.timezone))
    bars = bars.loc[request.start : request.end]
    if bars.empty:
        raise no_bars(request)
    return conform(bars, _provenance(request, listing, now, notes))


def _history(request: Request, now: pd.Timestamp) -> tuple[pd.DataFrame, Listing]:
    """Bars as yfinance gives them, of a range that holds the one asked for."""
    start, end = _asked(request, now)
    with _yfinance_set_up(), translated(request):
        import yfinance as yf
        from yfinance.data import YfData

        # yfinance remembers answers, failures too, so that asking again would be of no use
        YfData.cache_get.cache_clear()  # pyright: ignore[reportFunctionMemberAccess]
        ticker = yf.Ticker(request.ticker)
        table = ticker.history(
            start=start,
            end=end,
            interval=_interval(request),
            auto_adjust=True,
            actions=False,
            keepna=True,
        )
        return table, Listing.of(ticker.get_history_metadata())


@contextmanager
def _yfinance_set_up() -> Iterator[None]:
    """Let yfinance raise its errors, not log them, and silence the warning that it owes to a newer pandas."""
    import yfinance as yf

    logger = logging.getLogger("yfinance")
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=pd.errors.Pandas4Warning, module=r"yfinance\.")
        hidden, level = yf.config.debug.hide_exceptions, logger.level
        yf.config.debug.hide_exceptions = False
        logger.setLevel(max(level, logging.ERROR))
        try:
            yield
        finally:
            yf.config.debug.hide_exceptions = hidden
            logger.setLevel(level)


def _interval(request: Request) -> str:
    """Interval that is asked of Yahoo: weeks and months are made of days."""
    return request.interval if is_intraday(request.interval) else "1d"


def _asked(request: Request, now: pd.Timestamp) -> tuple[pd.Timestamp, pd.Timestamp | None]:
    """Start and exclusive end to ask for, so that the bar that starts at the request's end is whole."""
    today = now if is_intraday(request.interval) else now.tz_localize(None).normalize()
    reach = _REACH.get(request.interval)
    furthest = today - _YEARS if reach is None else today - pd.Timedelta(reach, "D") + pd.Timedelta(1, "min")
    start = request.start or furthest
    if reach is None:
        start = max(start, furthest)
    length = _PERIODS.get(request.interval, pd.Timedelta(bar_seconds(request.interval), "s"))
    end = None if request.end is None else request.end + length
    if start >= (end or today + pd.Timedelta(1, "D")):
        raise no_bars(request)
    return cast(pd.Timestamp, start), cast(pd.Timestamp | None, end)


def _dated(table: pd.DataFrame, request: Request, listing: Listing, now: pd.Timestamp) -> pd.DataFrame:
    """Closed bars with our column names and dates."""
    bars = table.rename(columns=str.lower)[list(COLUMNS)].astype("float64")
    index = pd.DatetimeIndex(bars.index)
    if is_intraday(request.interval):
        bars.index = index.tz_convert("UTC")
        bars = bars.loc[bars.index == pd.DatetimeIndex(bars.index).floor("min")]  # others are quotes
    else:
        bars.index = index.tz_localize(None).normalize()
    return bars.loc[closed(pd.DatetimeIndex(bars.index), _interval(request), listing, now)]


def _cleaned(bars: pd.DataFrame, request: Request) -> tuple[pd.DataFrame, list[str]]:
    """Bars that have all their prices, and notes on the others. Yahoo writes null or 0 for no price."""
    known = np.nan_to_num(bars[list(COLUMNS[:4])].to_numpy()) != 0  # (bar, price)
    empty, complete = ~known.any(axis=1), known.all(axis=1)
    kept, notes = bars.loc[complete], []
    if empty.any():
        notes.append(f"{empty.sum()} rows without any price left out")
    partial = bars.index[~empty & ~complete]
    if len(partial):
        dates = ", ".join(str(date) for date in partial[:5]) + (", …" if len(partial) > 5 else "")
        notes.append(f"{len(partial)} bars without all four prices left out ({dates})")
        warnings.warn(f"{request.ticker} (yahoo, {request.interval}): {notes[-1]}.", stacklevel=3)
    traded = kept["volume"].to_numpy() > 0
    unsure = np.count_nonzero(~traded & np.asarray(kept["high"] > kept["low"]))
    if unsure and traded.any():
        notes.append(f"{unsure} bars moved with a volume of 0, which is how yfinance writes an unknown one")
    return kept, notes


def _gathered(bars: pd.DataFrame, interval: str, local: pd.Timestamp) -> pd.DataFrame:
    """Whole weeks or months made of days; other bars unchanged. `local` is the exchange's clock."""
    if interval not in _RULES:
        return bars
    periods = bars.resample(_RULES[interval], closed="left", label="left")
    how = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    whole = cast(pd.DataFrame, periods.agg(how))
    over = [
        cast(pd.Timestamp, start) + _PERIODS[interval] <= local.tz_localize(None) for start in whole.index
    ]
    return whole.loc[np.asarray(over, dtype=bool) & whole["close"].notna().to_numpy()]


def _provenance(
    request: Request, listing: Listing, now: pd.Timestamp, notes: list[str]
) -> dict[str, str | None]:
    intraday = is_intraday(request.interval)
    described = {
        "source": "yahoo",
        "ticker": request.ticker,
        "interval": request.interval,
        "adjusted": "splits" if intraday else "splits and dividends",
        "fetched_at": now.isoformat(timespec="seconds"),
        "currency": listing.currency,
        "timezone": listing.timezone,
    }
    if listing.calendar is not None:
        described["calendar"] = listing.calendar
    return described | ({"note": "; ".join(notes)} if notes else {})
