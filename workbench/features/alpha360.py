"""Alpha360: the last 60 bars of six fields, each against the last close or the last volume."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from workbench.features.alphaformulas import EPSILON
from workbench.features.fields import Fields, chosen_columns
from workbench.features.panels import rows_by_ticker
from workbench.features.trailing import Column

__all__ = ["BARS", "alpha360", "alpha360_bars"]

BARS = 60
_FIELDS = ("close", "open", "high", "low", "vwap", "volume")


def alpha360(prices: pd.DataFrame, columns: Iterable[str] | None = None) -> pd.DataFrame:
    """Make the 360 columns of Alpha360 (Microsoft's qlib), each from its ticker's bars up to that row.

    CLOSE59 … CLOSE0, and so OPEN, HIGH, LOW and VWAP: the field that many bars ago / today's close.
    VOLUME59 … VOLUME0: the volume that many bars ago / (today's + 1e-12), huge on a bar without trades.

    For a network over time, `alpha360_bars` with windows of 60 bars holds the same numbers in a sixtieth of
    the memory.

    Parameters
    ----------
    prices
        One ticker, or a panel whose tickers are then computed each from its own bars. A column `vwap` beside
        those of the contract is used; without one (h + l + c) / 3 stands in, in columns VWAP59_hlc3 ….
    columns
        Names of some; None is all that the known fields of the prices permit.

    Returns
    -------
    pd.DataFrame
        Float32, index and attrs of `prices`; NaN where a lag reaches before the first bar.
        `attrs["features"]` tells the kind and, of all 360, which are `left_out` for want of a field.

    Raises
    ------
    PriceError
        Prices are not finite, positive, unique in date and sorted.
    ValueError
        A column is unknown, named twice, or needs a field that the prices lack.
    """
    fields = Fields.of(prices)
    parts = {
        f"{field.upper()}{lag}{_suffix(field, fields)}": (field, lag)
        for field in _FIELDS
        for lag in reversed(range(BARS))
    }
    needs = {name: (field, "close") for name, (field, _) in parts.items()}
    wanted = chosen_columns(columns, needs, fields, "alpha360")
    values = np.full((len(prices), len(wanted)), np.nan, dtype=np.float32)
    for rows in rows_by_ticker(prices):
        of = fields.rows(rows)
        for place, name in enumerate(wanted):
            field, lag = parts[name]
            divisor = of["volume"] + EPSILON if field == "volume" else of["close"]
            values[rows[lag:], place] = of[field][: max(len(rows) - lag, 0)] / divisor[lag:]
    features = pd.DataFrame(values, index=prices.index, columns=wanted, copy=False)
    features.attrs = {**prices.attrs, "features": fields.told("alpha360", needs)}
    return features


def alpha360_bars(prices: pd.DataFrame, columns: Iterable[str] | None = None) -> pd.DataFrame:
    """Make the six columns whose windows of 60 bars are Alpha360's 360 numbers as (time, field).

    A window's bars are all divided by the close, or volume, of its *last* bar, which a single row cannot
    know. So the columns hold prices and volumes as they are, and are named after what becomes of them:
    `CLOSE / last close`, `OPEN / last close`, …, `VOLUME / last volume`. Models of `build_model` divide them
    inside, and then bring them to mean 0 and deviation 1 over the training windows.

    Parameters
    ----------
    prices
        As in `alpha360`; the stand-in's column is `VWAP_hlc3 / last close`.
    columns
        Names of some, the close among those of prices; None is all that the known fields permit.

    Returns
    -------
    pd.DataFrame
        Float32, index and attrs of `prices`. A bar without trades, by which nothing can be divided, has the
        smallest volume traded in the 60 bars up to it; NaN where none was. There alone the windows differ
        from `alpha360`. `attrs["features"]` as there, of six columns.

    Raises
    ------
    PriceError
        Prices are not finite, positive, unique in date and sorted.
    ValueError
        A column is unknown, named twice, or needs a field that the prices lack or the close beside it.
    """
    fields = Fields.of(prices)
    parts = {
        f"{field.upper()}{_suffix(field, fields)} / last {'volume' if field == 'volume' else 'close'}": field
        for field in _FIELDS
    }
    needs = {name: (field,) for name, field in parts.items()}
    wanted = chosen_columns(columns, needs, fields, "alpha360_bars")
    close = next(iter(parts))
    if close not in wanted and any(parts[name] != "volume" for name in wanted):
        raise ValueError(f"{', '.join(wanted)} are divided by the last close: add {close!r} to the columns.")
    values = np.empty((len(prices), len(wanted)), dtype=np.float32)
    for rows in rows_by_ticker(prices):
        of = fields.rows(rows)
        for place, name in enumerate(wanted):
            values[rows, place] = _traded(of["volume"]) if parts[name] == "volume" else of[parts[name]]
    features = pd.DataFrame(values, index=prices.index, columns=wanted, copy=False)
    features.attrs = {**prices.attrs, "features": fields.told("alpha360_bars", needs)}
    return features


def _suffix(field: str, fields: Fields) -> str:
    return fields.vwap_suffix if field == "vwap" else ""


def _traded(volume: Column) -> Column:
    traded = np.where(volume > 0, volume, np.nan)
    smallest = np.asarray(pd.Series(traded).rolling(BARS, min_periods=1).min())
    return np.where(volume > 0, volume, smallest)
