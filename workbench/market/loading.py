"""Prices in: one signature for every source."""

import re
from collections.abc import Callable, Iterable
from datetime import date, datetime
from typing import Any

import numpy as np
import pandas as pd

from workbench.market.frame import PriceError, Request, SourceError, conform
from workbench.market.sources import SOURCES, fetched, source_of

Moment = str | int | date | np.datetime64 | None  # a whole number is a year, a pandas Timestamp a date
_ALIKE = ("adjusted", "synthetic", "fields")  # what tickers of one panel must have in common
_PERIODS = {"Y": r"\d{4}", "M": r"\d{4}-\d{2}", "D": r"\d{4}-\d{2}-\d{2}"}


def load_prices(
    ticker: str,
    source: str = "sample",
    start: Moment = None,
    end: Moment = None,
    interval: str = "1d",
    refresh: bool = False,
) -> pd.DataFrame:
    """Load the bars of one ticker.

    Parameters
    ----------
    ticker
        Name at the source: "AAPL", "BTCUSDT", "LAG5" (synthetic), or the path of a CSV file.
    source
        One of `list_sources()`. The default is bundled and works offline.
    start, end
        First and last session date, or UTC time of intraday bars, both included. Text is ISO 8601; a year,
        month or day stands for all of it ("2011" ends with its last bar). None is as far as the source
        reaches.
    interval
        Length of a bar: "1m" … "1h" … "1d", "1wk", "1mo"; see `list_sources()` for what a source has.
    refresh
        Ask the network again for what lies in the cache.

    Returns
    -------
    DataFrame
        Index `date`, columns open, high, low, close, volume, float64, as `workbench.market.frame.conform`
        promises. `attrs["provenance"]` says where they come from and how they were adjusted.

    Raises
    ------
    PriceError
        The ticker, source, interval or range is unknown, or the prices break the contract.
    SourceError
        The source failed; the message says what to do next.
    """
    name, known = source_of(source)
    if interval not in known.intervals:
        raise PriceError(f'source "{name}" has intervals {", ".join(known.intervals)}. Got {interval!r}.')
    request = Request(ticker, moment_of("start", start), moment_of("end", end), interval)
    return fetched(request, name, refresh)


def load_panel(
    tickers: Iterable[str],
    source: str = "sample",
    start: Moment = None,
    end: Moment = None,
    interval: str = "1d",
    refresh: bool = False,
) -> pd.DataFrame:
    """Load the bars of several tickers into one frame.

    As `load_prices`, with a MultiIndex (`date`, `ticker`) sorted by date, then ticker. Dates on which a
    ticker has no bar are absent, not filled. The provenance holds what the tickers share; what differs, and
    always their SHA-256, stands there by ticker as `<name>_by_ticker`, and `fetched_at` is the earliest. If
    one ticker fails, the error names it.
    """
    if isinstance(tickers, str):
        raise PriceError(f"tickers must be a list of names. Got the text {tickers!r}: pass [{tickers!r}].")
    asked = list(tickers)
    if not asked:
        raise PriceError(f'tickers must name at least one. list_tickers("{source}") shows what there is.')
    frames = [_one_of_panel(ticker, source, start, end, interval, refresh) for ticker in asked]
    names = [str(frame.attrs["provenance"]["ticker"]) for frame in frames]
    if len(set(names)) < len(names):
        raise PriceError(f"tickers must differ. Got {', '.join(names)}.")
    by_ticker = dict(zip(names, frames, strict=True))
    provenance = _panel_provenance({name: frame.attrs["provenance"] for name, frame in by_ticker.items()})
    stacked = pd.concat(by_ticker, names=["ticker", "date"]).swaplevel().sort_index()
    return conform(stacked, provenance)


def list_sources() -> pd.DataFrame:
    """Sources of prices, by name: what each is, its intervals, whether it needs the network and is cached."""
    rows = [
        {
            "source": name,
            "what": source.what,
            "intervals": " ".join(source.intervals),
            "network": source.network,
            "cached": source.network,
        }
        for name, source in SOURCES.items()
    ]
    return pd.DataFrame(rows).set_index("source")


def list_tickers(source: str = "sample") -> list[str]:
    """Tickers of a source; none where any name of a market or any file may be asked for."""
    return source_of(source)[1].known()


def _one_of_panel(ticker: str, *options: Any) -> pd.DataFrame:
    try:
        return load_prices(ticker, *options)
    except (PriceError, SourceError) as error:
        kind = PriceError if isinstance(error, PriceError) else SourceError
        raise kind(f"load_panel failed at ticker {ticker!r}: {error}") from error


def _panel_provenance(provenances: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What all share stays; what differs is listed by ticker; hashes and truths always are."""
    first = next(iter(provenances.values()))
    for key in _ALIKE:
        if any(other[key] != first[key] for other in provenances.values()):
            told = ", ".join(f"{ticker}: {other[key]}" for ticker, other in provenances.items())
            raise PriceError(f"tickers of a panel must have {key!r} in common. Got {told}. Load them apart.")
    panel: dict[str, Any] = {"ticker": sorted(provenances)}
    for key in dict.fromkeys(key for provenance in provenances.values() for key in provenance):
        values = {ticker: provenance[key] for ticker, provenance in provenances.items() if key in provenance}
        if key == "truth":
            panel[key] = values
        elif key in first and len(values) == len(provenances) and _equal(values) and key != "sha256":
            panel.setdefault(key, first[key])
        elif key != "ticker":
            panel[f"{key}_by_ticker"] = values
    if "fetched_at" not in panel:
        panel["fetched_at"] = min(panel["fetched_at_by_ticker"].values())
    return panel


def _equal(values: dict[str, Any]) -> bool:
    first, *others = values.values()
    return all(other == first for other in others)


def moment_of(name: str, moment: Moment) -> pd.Timestamp | None:
    """First instant of what `start` means, last microsecond of what `end` means."""
    if moment is None:
        return None
    text = (
        str(moment).strip() if isinstance(moment, str | int) else ""
    )  # 2008 is a year, no count of anything
    for freq, pattern in _PERIODS.items():
        if re.fullmatch(pattern, text):
            period = _parsed(name, text, lambda known, freq=freq: pd.Period(known, freq=freq))
            return period.start_time if name == "start" else period.end_time.floor("us")
    if text:
        return _parsed(name, text, lambda known: pd.Timestamp(datetime.fromisoformat(known)))
    return _parsed(name, moment, pd.Timestamp)


def _parsed(name: str, moment: Any, parse: Callable[[Any], Any]) -> Any:
    try:
        parsed = parse(moment)
    except ValueError as error:
        raise PriceError(f"{name} must be an ISO 8601 date such as '2011-08-08'. Got {moment!r}.") from error
    if parsed is pd.NaT:
        raise PriceError(f"{name} must be a date such as '2011-08-08', or None. Got {moment!r}.")
    return parsed
