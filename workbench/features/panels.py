"""One ticker or many: the index rules every feature shares, and work done ticker by ticker."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from workbench.market.faults import REPAIRS, quoted, row_faults
from workbench.market.frame import COLUMNS, PriceError

__all__ = [
    "apply_by_ticker",
    "check_index",
    "check_prices",
    "is_panel",
    "keys_of",
    "known_fields",
    "rows_by_ticker",
]


def is_panel(data: pd.DataFrame | pd.Series) -> bool:
    """Whether the rows are (date, ticker) pairs rather than dates."""
    return isinstance(data.index, pd.MultiIndex)


def keys_of(index: pd.Index, ticker: str = "") -> tuple[pd.DatetimeIndex, np.ndarray]:
    """Date and ticker of every row; a single-ticker index gets `ticker` throughout."""
    if isinstance(index, pd.MultiIndex):
        dates = pd.DatetimeIndex(index.get_level_values("date"))
        return dates, index.get_level_values("ticker").to_numpy(dtype=str)
    return pd.DatetimeIndex(index), np.full(len(index), ticker)


def check_index(data: pd.DataFrame | pd.Series, what: str) -> None:
    """Refuse rows that are not unique, increasing dates (or date-ticker pairs).

    Raises
    ------
    TypeError
        The index holds something else than dates.
    ValueError
        Dates repeat or run backwards, or the panel's levels are not `date` and `ticker`.
    """
    index = data.index
    if isinstance(index, pd.MultiIndex) and list(index.names) != ["date", "ticker"]:
        raise ValueError(
            f"{what}: a panel's index must have the levels ('date', 'ticker'). Got {tuple(index.names)}: "
            "rename or reorder them with `set_index(['date', 'ticker'])`."
        )
    dates = index.levels[0] if isinstance(index, pd.MultiIndex) else index
    if not isinstance(dates, pd.DatetimeIndex):
        raise TypeError(
            f"{what}: rows must be dated by a DatetimeIndex. Got {type(dates).__name__} ({dates.dtype}): "
            "convert it with `pd.to_datetime(…)`, or load prices with `load_prices`."
        )
    if not index.is_unique:
        repeated = index[index.duplicated()][0]
        raise ValueError(f"{what}: {repeated} occurs more than once: drop the repeated rows first.")
    if not index.is_monotonic_increasing:
        raise ValueError(f"{what}: rows must run from old to new: sort them with `sort_index()`.")


def known_fields(prices: pd.DataFrame) -> tuple[str, ...]:
    """Return the price columns that hold data: what provenance names, else every column there is."""
    stated = prices.attrs.get("provenance", {}).get("fields", COLUMNS)
    return tuple(name for name in COLUMNS if name in stated and name in prices.columns)


def check_prices(prices: pd.DataFrame, fields: tuple[str, ...]) -> None:
    """Refuse prices that are undated, unsorted, not finite, not positive or contradictory in `fields`.

    Raises
    ------
    PriceError
        With the offending rows and the repair.
    """
    check_index(prices, "prices")
    absent = [name for name in fields if name not in prices.columns]
    if absent or "close" not in fields:
        raise PriceError(
            f"prices need the columns {', '.join(absent or ['close'])}. Got {list(prices.columns)}."
        )
    for fault, rows in row_faults(prices, fields).items():
        if rows.any():
            raise PriceError(
                f"{fault} in {rows.sum()} of {len(rows)} rows:\n{quoted(prices.loc[rows])}\n{REPAIRS[fault]} "
                "If whole columns are unknown, name only the others in prices.attrs['provenance']['fields']."
            )


def rows_by_ticker(data: pd.DataFrame | pd.Series) -> list[np.ndarray]:
    """Rows of each ticker, from old to new, (row,); all rows of a frame that is no panel."""
    if not is_panel(data):
        return [np.arange(len(data))]
    return list(data.groupby(level="ticker").indices.values())


def apply_by_ticker(data: pd.DataFrame, compute: Callable[[pd.DataFrame], pd.DataFrame]) -> pd.DataFrame:
    """Run `compute` on each ticker's own rows and put the results back in place.

    Parameters
    ----------
    data
        Rows by date, or by (date, ticker).
    compute
        Takes one ticker's rows, indexed by date, and returns as many rows.

    Returns
    -------
    pd.DataFrame
        Float64, with the index and attrs of `data`; no value comes from another ticker's rows.
    """
    if not is_panel(data):
        result = compute(data)
    else:
        parts = {
            ticker: compute(data.iloc[rows].droplevel("ticker"))
            for ticker, rows in data.groupby(level="ticker").indices.items()
        }
        columns = next(iter(parts.values())).columns if parts else compute(data.droplevel("ticker")).columns
        values = np.full((len(data), len(columns)), np.nan)
        for ticker, rows in data.groupby(level="ticker").indices.items():
            values[rows] = parts[ticker].to_numpy()
        result = pd.DataFrame(values, index=data.index, columns=columns)
    result.attrs = dict(data.attrs)
    return result
