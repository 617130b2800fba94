"""The contract of a price frame, its provenance, and what every source of prices shares."""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from workbench.market.faults import REPAIRS, quoted, row_faults
from workbench.market.request import INTERVALS, Request, bar_seconds, is_intraday

__all__ = [
    "COLUMNS",
    "INTERVALS",
    "PRICE_COLUMNS",
    "PriceError",
    "Request",
    "SourceError",
    "bar_seconds",
    "clip",
    "conform",
    "content_sha256",
    "dates_of",
    "is_intraday",
]

COLUMNS = ("open", "high", "low", "close", "volume")
PRICE_COLUMNS = COLUMNS[:4]
_REQUIRED = ("source", "ticker", "interval", "adjusted")


class PriceError(ValueError):
    """Prices break the contract; the message quotes the rows and says how to repair them."""


class SourceError(RuntimeError):
    """A source of prices failed; the message says what to do next."""


def clip(prices: pd.DataFrame, request: Request) -> pd.DataFrame:
    """Bars of `prices` within the request's range, both ends included; an empty range is a PriceError."""
    dates = dates_of(prices)
    inside = np.ones(len(prices), dtype=bool)
    if request.start is not None:
        inside &= dates >= request.start
    if request.end is not None:
        inside &= dates <= request.end
    if not inside.any():
        raise PriceError(
            f"{request.ticker!r} has no bars between {_said(request.start, 'its start')} and "
            f"{_said(request.end, 'its end')}. There are bars from {dates[0]} to {dates[-1]}: "
            "ask for a range that overlaps it."
        )
    clipped = prices.loc[inside].copy()
    if "provenance" in prices.attrs:
        clipped.attrs = {"provenance": prices.attrs["provenance"] | {"sha256": content_sha256(clipped)}}
    return clipped


def _said(stamp: pd.Timestamp | None, otherwise: str) -> str:
    return otherwise if stamp is None else str(stamp)


def dates_of(prices: pd.DataFrame) -> pd.DatetimeIndex:
    """Date of every row, of a single asset's frame or a panel's."""
    index = prices.index
    dates = index.get_level_values("date") if isinstance(index, pd.MultiIndex) else index
    return pd.DatetimeIndex(dates)


def content_sha256(frame: pd.DataFrame) -> str:
    """SHA-256 (hex) of a price frame's dates, tickers and values; the same on every machine."""
    digest = hashlib.sha256()
    digest.update(dates_of(frame).as_unit("us").asi8.astype("<i8").tobytes())
    if isinstance(frame.index, pd.MultiIndex):
        digest.update("\n".join(frame.index.get_level_values("ticker")).encode())
    for column in COLUMNS:
        values = frame[column].to_numpy(dtype="<f8") + 0.0  # −0.0 becomes 0.0
        values[np.isnan(values)] = np.nan  # one bit pattern for every NaN
        digest.update(values.tobytes())
    return digest.hexdigest()


def conform(frame: pd.DataFrame, provenance: Mapping[str, Any]) -> pd.DataFrame:
    """Return `frame` as prices that keep the contract, or refuse it, quoting the offending rows.

    Parameters
    ----------
    frame
        Columns open, high, low, close, volume in any order and any numeric type. Index: dates, or a
        MultiIndex (date, ticker). Bars of a day or longer carry the session date at midnight without a
        timezone; shorter bars carry their start with any timezone, converted to UTC.
    provenance
        At least source, ticker, interval and adjusted. `fields` lists the columns that hold data (default:
        all), the others must be all NaN. `calendar` ("XNYS", "weekdays" or "24/7"), if given, says which
        bars to expect. `fetched_at` defaults to now. `sha256` is set here.

    Returns
    -------
    DataFrame
        A new float64 frame, columns in order, index named, `attrs["provenance"]` set.

    Raises
    ------
    PriceError
        A column is missing, unknown or not numeric; dates are duplicated, unsorted or in the wrong
        timezone; a price is not finite and positive, a high or low is inconsistent, a volume negative.
    """
    described = _described(provenance)
    prices = _numeric(_ordered(frame, described), described)
    prices.index = _dated(frame.index, described)
    for fault, rows in row_faults(prices, described["fields"]).items():
        if rows.any():
            raise PriceError(
                f"{_label(described)}: {fault} in {rows.sum()} of {len(rows)} rows.\n"
                f"{quoted(prices.loc[rows])}\n{REPAIRS[fault]}"
            )
    prices.attrs = {"provenance": described | {"sha256": content_sha256(prices)}}
    return prices


def _label(described: Mapping[str, Any]) -> str:
    ticker = described["ticker"]
    name = ticker if isinstance(ticker, str) else f"{len(ticker)} tickers"
    return f"{name} ({described['source']}, {described['interval']})"


def _described(provenance: Mapping[str, Any]) -> dict[str, Any]:
    missing = [key for key in _REQUIRED if key not in provenance]
    if missing:
        raise PriceError(f"provenance must say {', '.join(_REQUIRED)}. Missing: {', '.join(missing)}.")
    described = {
        "fetched_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "fields": list(COLUMNS),
        "synthetic": False,
    } | dict(provenance)
    bar_seconds(described["interval"])
    unknown = set(described["fields"]) - set(COLUMNS)
    if unknown or "close" not in described["fields"]:
        raise PriceError(
            f"provenance['fields'] must hold 'close' and be among {COLUMNS}. Got {described['fields']}."
        )
    try:
        json.dumps(described)
    except TypeError as error:
        raise PriceError(f"provenance must hold plain JSON values: {error}.") from error
    return described


def _ordered(frame: pd.DataFrame, described: Mapping[str, Any]) -> pd.DataFrame:
    if frame.empty:
        raise PriceError(f"{_label(described)}: there are no bars. Ask for another range or ticker.")
    missing = [c for c in COLUMNS if c not in frame.columns]
    unknown = [str(c) for c in frame.columns if c not in COLUMNS]
    if missing or unknown or not frame.columns.is_unique:
        raise PriceError(
            f"{_label(described)}: columns must be {', '.join(COLUMNS)}, each once. "
            f"Got {', '.join(map(str, frame.columns))}. "
            "Rename with frame.rename(columns=…) and drop what is not a price."
        )
    return frame.loc[:, list(COLUMNS)]


def _numeric(frame: pd.DataFrame, described: Mapping[str, Any]) -> pd.DataFrame:
    try:
        prices = frame.astype("float64")
    except (TypeError, ValueError) as error:
        raise PriceError(
            f"{_label(described)}: every column must hold numbers: {error}. "
            "Convert with pd.to_numeric(column) and look at what it refuses."
        ) from error
    made_up = [c for c in COLUMNS if c not in described["fields"] and bool(prices[c].notna().any())]
    if made_up:
        raise PriceError(
            f"{_label(described)}: {', '.join(made_up)} holds numbers though provenance['fields'] says "
            f"that only {', '.join(described['fields'])} are known. Name it there, or make it NaN."
        )
    return prices


def _dated(index: pd.Index, described: Mapping[str, Any]) -> pd.Index:
    if isinstance(index, pd.MultiIndex) and index.nlevels == 2:
        dates = _stamps(index.get_level_values(0), described)
        tickers = index.get_level_values(1).astype(str)
        return pd.MultiIndex.from_arrays([dates, tickers], names=["date", "ticker"])
    return _stamps(index, described)


def _stamps(index: pd.Index, described: Mapping[str, Any]) -> pd.DatetimeIndex:
    if not isinstance(index, pd.DatetimeIndex):
        raise PriceError(
            f"{_label(described)}: the index must hold dates. Got {type(index).__name__} of {index.dtype}. "
            "Set it with frame.set_index(pd.to_datetime(…, format=…))."
        )
    if index.hasnans:
        raise PriceError(
            f"{_label(described)}: {int(index.isna().sum())} dates are missing. Drop these rows."
        )
    intraday = is_intraday(described["interval"])
    if intraday and index.tz is None:
        raise PriceError(
            f"{_label(described)}: intraday bars need a timezone. Got {index[0]} without one. "
            "Say which it is: frame.tz_localize('America/New_York')."
        )
    if not intraday and (index.tz is not None or (index != index.normalize()).any()):
        raise PriceError(
            f"{_label(described)}: bars of a day or longer carry their session date at midnight without a "
            f"timezone. Got {index[0]}. Use frame.tz_localize(None) and index.normalize()."
        )
    dates = index.tz_convert("UTC") if intraday else index
    stamps = dates.as_unit("us").rename("date")
    stamps.freq = None  # bars have holes; a frequency would make equal indexes compare unequal
    return stamps
