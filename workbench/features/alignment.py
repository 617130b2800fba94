"""Bringing features and labels onto one ticker-major table of bars."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float32, Int

from workbench.features.panels import check_index, is_panel, keys_of

__all__ = [
    "Bars",
    "LabelRecipe",
    "LabelledBars",
    "Task",
    "check_same_source",
    "label_bars",
    "label_recipe",
    "stack_bars",
    "window_ends",
]

Task = Literal["classification", "regression"]


@dataclass(frozen=True)
class Bars:
    """Every feature row as float32, one ticker after the other, each from old to new."""

    table: Float32[np.ndarray, "bar feature"]
    index: pd.Index
    dates: pd.DatetimeIndex
    tickers: np.ndarray


@dataclass(frozen=True)
class LabelledBars:
    """For every bar: is a window wanted there, its label (NaN: not known), and the bar that reveals it."""

    wanted: Bool[np.ndarray, " bar"]
    y: Float[np.ndarray, " bar"]
    ends: pd.DatetimeIndex


@dataclass(frozen=True)
class LabelRecipe:
    """What the labels say about themselves."""

    task: Task
    horizon: int
    classes: tuple[str, ...]


def check_same_source(features: pd.DataFrame, labels: pd.Series) -> None:
    """Refuse features of one ticker with labels of another: their dates agree, so nothing else would."""
    ours, theirs = (data.attrs.get("provenance", {}).get("ticker") for data in (features, labels))
    if ours is not None and theirs is not None and ours != theirs:
        raise ValueError(
            f"features come from {ours} and labels from {theirs}: make both from the same prices. "
            "If one is meant to explain the other, say so with "
            "`labels.attrs['provenance'] = features.attrs['provenance']`."
        )


def label_recipe(labels: pd.Series) -> LabelRecipe:
    """Read task, horizon and classes from `labels.attrs`.

    Raises
    ------
    ValueError
        They are missing (some pandas operations drop attrs) or contradict the values.
    """
    attrs = labels.attrs
    if attrs.get("task") not in ("classification", "regression") or "horizon" not in attrs:
        raise ValueError(
            "labels.attrs must tell the task and the horizon; they are missing here (some pandas operations, "
            "such as joins and NumPy functions, drop them). Take labels straight from `label_moves` or "
            "`forward_return`; after changing them, restore with `labels.attrs = original.attrs`."
        )
    recipe = LabelRecipe(attrs["task"], int(attrs["horizon"]), tuple(attrs.get("classes", ())))
    if recipe.horizon < 1:
        raise ValueError(f"labels.attrs['horizon'] must be at least 1 bar. Got {recipe.horizon}.")
    if recipe.task == "classification":
        known = labels.dropna().to_numpy(dtype=float)
        if not np.isin(known, np.arange(len(recipe.classes))).all():
            raise ValueError(
                f"labels must be 0 … {len(recipe.classes) - 1} for the classes {recipe.classes}, or NaN. "
                f"Got {sorted(set(known.tolist()))[:6]}."
            )
    return recipe


def stack_bars(features: pd.DataFrame) -> Bars:
    """Copy a feature frame once, to float32 and ticker-major order.

    Raises
    ------
    TypeError
        A column is not a number.
    ValueError
        The index breaks the rules, a value is infinite, or a column is NaN throughout.
    """
    check_index(features, "features")
    wrong = [str(name) for name, kind in features.dtypes.items() if not pd.api.types.is_numeric_dtype(kind)]
    if wrong:
        raise TypeError(f"features must be numbers. Columns {wrong} are not: encode or drop them.")
    if not features.columns.is_unique:
        repeated = sorted(set(features.columns[features.columns.duplicated()].astype(str)))
        raise ValueError(f"features must have one column a name. Repeated: {repeated}.")
    if features.empty:
        raise ValueError(f"features are empty: {features.shape[0]} bars × {features.shape[1]} columns.")
    with np.errstate(over="ignore"):
        values = np.array(features.to_numpy(), dtype=np.float32, order="C")
    _check_values(features, values)
    dates, tickers = keys_of(features.index, _ticker(features))
    if not is_panel(features):
        return Bars(values, features.index, dates, tickers)
    order = np.argsort(tickers, kind="stable")
    return Bars(values[order], features.index[order], dates[order], tickers[order])


def _check_values(features: pd.DataFrame, values: np.ndarray) -> None:
    infinite = np.argwhere(np.isinf(values))
    if len(infinite):
        row, column = infinite[0]
        raise ValueError(
            f"features must be finite float32 numbers or NaN. {features.columns[column]!r} is infinite at "
            f"{features.index[row]} ({len(infinite)} such values): replace them with NaN to leave those "
            "windows out."
        )
    empty = [
        str(name)
        for name, bad in zip(features.columns, np.isnan(values).min(axis=0).tolist(), strict=True)
        if bad
    ]
    if empty:
        raise ValueError(f"features {empty} are NaN throughout, so no window would be complete: drop them.")


def _ticker(features: pd.DataFrame) -> str:
    ticker = features.attrs.get("provenance", {}).get("ticker", "")
    return ticker if isinstance(ticker, str) else ""


def label_bars(bars: Bars, labels: pd.Series, horizon: int) -> LabelledBars:
    """Find each bar's label and the bar at which it becomes known.

    A label whose last bar lies past the data handed over counts as not yet known: cutting both
    frames at a date thus leaks nothing from behind it.

    Raises
    ------
    ValueError
        Neither index contains the other, or features lack bars between their first and last.
    """
    check_index(labels, "labels")
    missing = labels.index.difference(bars.index, sort=False)
    if isinstance(labels.index, pd.MultiIndex) != isinstance(bars.index, pd.MultiIndex) or (
        len(missing) and len(bars.index.difference(labels.index, sort=False))
    ):
        raise ValueError(_mismatch(bars.index, labels.index))
    line = labels.index if len(missing) else bars.index
    dates, tickers = keys_of(line)
    order = np.argsort(tickers, kind="stable")
    line, dates, tickers = line[order], dates[order], tickers[order]
    rows = line.get_indexer(bars.index)
    _check_holes(bars, line, rows)
    ends = _shifted(dates, tickers, horizon)[rows]
    found = labels.index.get_indexer(bars.index)
    y = np.where(found >= 0, labels.to_numpy(dtype=float)[found], np.nan)
    y = np.where(ends.isna(), np.nan, y)
    return LabelledBars(found >= 0, y, pd.DatetimeIndex(ends.where(~np.isnan(y))))


def _shifted(dates: pd.DatetimeIndex, tickers: np.ndarray, horizon: int) -> pd.DatetimeIndex:
    later = np.arange(len(dates)) + horizon
    inside = later < len(dates)
    later = np.where(inside, later, 0)
    inside &= tickers[later] == tickers
    return pd.DatetimeIndex(dates[later].where(inside))


def _check_holes(bars: Bars, line: pd.Index, rows: np.ndarray) -> None:
    skipped = (np.diff(rows) != 1) & (bars.tickers[1:] == bars.tickers[:-1])
    if skipped.any():
        lost = line[rows[np.flatnonzero(skipped)[0]] + 1]
        raise ValueError(
            f"features lack bars that the labels have, first {lost}: a window would jump over them. "
            "Keep every row; `Windows.of` itself leaves out windows that hold NaN."
        )


def _mismatch(features: pd.Index, labels: pd.Index) -> str:
    def span(index: pd.Index) -> str:
        return f"{len(index)} rows, {index[0]} → {index[-1]}" if len(index) else "no rows"

    return (
        "features and labels must have the same index, or one contain the other. "
        f"Got features with {span(features)} and labels with {span(labels)}: make both from the same prices."
    )


def window_ends(bars: Bars, lookback: int, wanted: Bool[np.ndarray, " bar"]) -> Int[np.ndarray, " window"]:
    """Rows at which a whole window of one ticker's bars without NaN ends, by date, then ticker.

    Raises
    ------
    ValueError
        The lookback is not a positive number of bars, or no window is complete.
    """
    if lookback < 1:
        raise ValueError(f"lookback must be at least 1 bar. Got {lookback}.")
    n = len(bars.table)
    new = np.concatenate([[True], bars.tickers[1:] != bars.tickers[:-1]])
    first = np.maximum.accumulate(np.where(new, np.arange(n), 0))
    age = np.arange(n) - first + 1  # bars of this ticker up to and including this row
    if age.max() < lookback:
        raise ValueError(
            f"A window of {lookback} bars needs at least that many. Got at most {age.max()} bars of a "
            "ticker: shorten the lookback or load more prices."
        )
    incomplete = np.concatenate([[0], np.cumsum(np.isnan(bars.table).any(axis=1))])
    start = np.maximum(np.arange(n) - lookback + 1, 0)
    whole = (age >= lookback) & (incomplete[1:] == incomplete[start]) & wanted
    if not whole.any():
        raise ValueError(
            f"No window of {lookback} bars is complete: {int(incomplete[-1])} of {n} bars hold a NaN. "
            "Shorten the lookback, load more prices, or drop the columns with long gaps."
        )
    ends = np.flatnonzero(whole)
    return ends[np.lexsort((bars.tickers[ends], bars.dates[ends].asi8))]
