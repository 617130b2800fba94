"""What the prices hold, and which columns of a set can be made of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int

from workbench.features.panels import check_prices, known_fields
from workbench.features.trailing import Column
from workbench.market.frame import PriceError
from workbench.market.names import suggestion

__all__ = ["Fields", "chosen_columns"]

VWAP = "vwap"
STAND_IN = (
    "_hlc3"  # ends the name of a column in which (h + l + c) / 3 stands in for the mean price by volume
)


@dataclass(frozen=True)
class Fields:
    """Known fields of prices, checked: their columns (bar,) in float64, and whether vwap is a stand-in."""

    columns: Mapping[str, Column]
    vwap_suffix: str

    @classmethod
    def of(cls, prices: pd.DataFrame) -> "Fields":
        """Read open, high, low, close and volume as far as known, and vwap: its own, else (h + l + c) / 3."""
        known = known_fields(prices)
        check_prices(prices, known)
        columns = {name: prices[name].to_numpy(dtype="float64") for name in known}
        own = VWAP in prices.columns
        if own:
            columns[VWAP] = _positive(pd.Series(prices[VWAP]))
        elif {"high", "low"} <= columns.keys():
            columns[VWAP] = (columns["high"] + columns["low"] + columns["close"]) / 3
        return cls(columns, "" if own else STAND_IN)

    def rows(self, rows: Int[np.ndarray, " row"] | slice) -> dict[str, Column]:
        """Some rows of every column."""
        return {name: column[rows] for name, column in self.columns.items()}

    def told(self, kind: str, needs: Mapping[str, Iterable[str]]) -> dict[str, Any]:
        """Return what `attrs["features"]` says: the kind, and the columns left out for want of a field."""
        return {"kind": kind, "left_out": [name for name in needs if self.lacking(needs[name])]}

    def lacking(self, needed: Iterable[str]) -> list[str]:
        """Those of the fields that these prices don't have."""
        return [name for name in needed if name not in self.columns]


def chosen_columns(
    asked: Iterable[str] | None, needs: Mapping[str, Iterable[str]], fields: Fields, kind: str
) -> list[str]:
    """Return the columns to make: those asked for, or all that the fields permit.

    Raises
    ------
    ValueError
        One is unknown, named twice, or needs a field that the prices lack.
    """
    if asked is None:
        return [name for name in needs if not fields.lacking(needs[name])]
    if isinstance(asked, str):
        raise ValueError(f"columns must be a list of names. Got the text {asked!r}: pass [{asked!r}].")
    names = list(asked)
    for name in names:
        if name not in needs:
            raise ValueError(f"{kind} has no column {name!r}.{suggestion(str(name), list(needs))}")
        if lacking := fields.lacking(needs[name]):
            raise ValueError(
                f"{name} needs {' and '.join(lacking)}, which these prices don't have (they have "
                f"{', '.join(fields.columns)}). Leave the column out, or load prices that have the field."
            )
    if not names or len(set(names)) < len(names):
        raise ValueError(f"columns must name each column once, and at least one. Got {names}.")
    return names


def _positive(vwap: pd.Series) -> Column:
    values = vwap.to_numpy(dtype="float64")
    bad = ~(np.isfinite(values) & (values > 0))
    if bad.any():
        raise PriceError(
            f"vwap must be a finite, positive price. It is {values[bad][0]} at {vwap.index[bad][0]} "
            f"({int(bad.sum())} such rows): correct it, or drop the column, and (h + l + c) / 3 stands in."
        )
    return values
