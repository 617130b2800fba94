"""What makes a bar unfit for use, and how to say so."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

TOLERANCE = 1e-6  # relative; adjusting and vendors' single precision move a high by less than this
REPAIRS = {
    "duplicate dates": "Keep one row a date, e.g. frame[~frame.index.duplicated(keep='last')].",
    "dates out of order": "Sort first: frame.sort_index().",
    "prices not finite": "Drop these rows, e.g. with frame.dropna(), or ask for another range.",
    "prices not positive": "Drop or correct these rows, or ask for another range.",
    "volumes not finite": "Drop these rows, or set volumes that are truly zero to 0.",
    "volumes negative": "Drop or correct these rows.",
    "high below open, close or low": "Correct these rows, and adjust all four prices alike.",
    "low above open, close or high": "Correct these rows, and adjust all four prices alike.",
}


def row_faults(prices: pd.DataFrame, fields: Sequence[str]) -> dict[str, np.ndarray]:
    """Rows that break the contract, by fault (the keys of `REPAIRS`): a boolean array (row,) each.

    `fields` are the columns that hold data; the others are not looked at. High and low are compared with a
    relative tolerance of 1e-6. A frame with no True here is fit for use.
    """
    priced = {column: prices[column].to_numpy() for column in fields if column != "volume"}
    values = np.stack(list(priced.values()))
    faults = {
        "duplicate dates": prices.index.duplicated(keep=False),
        "dates out of order": _earlier_than_the_row_before(prices.index),
        "prices not finite": ~np.isfinite(values).all(axis=0),
        "prices not positive": (values <= 0).any(axis=0),
    }
    if "volume" in fields:
        volume = prices["volume"].to_numpy()
        faults |= {"volumes not finite": ~np.isfinite(volume), "volumes negative": volume < 0}
    if "high" in fields:
        top = values.max(axis=0)
        faults["high below open, close or low"] = priced["high"] < top * (1 - TOLERANCE * np.sign(top))
    if "low" in fields:
        bottom = values.min(axis=0)
        faults["low above open, close or high"] = priced["low"] > bottom * (1 + TOLERANCE * np.sign(bottom))
    return faults


def _earlier_than_the_row_before(index: pd.Index) -> np.ndarray:
    earlier = np.zeros(len(index), dtype=bool)
    if not index.is_monotonic_increasing:
        rows = list(index)
        earlier[1:] = [later < before for before, later in pairwise(rows)]
    return earlier


def quoted(rows: pd.DataFrame, limit: int = 5) -> str:
    """Return the first `limit` rows as text for an error message, and how many more there are."""
    more = f"\n… and {len(rows) - limit} more" if len(rows) > limit else ""
    return rows.head(limit).to_string() + more
