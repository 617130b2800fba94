"""Which bars have no window to learn from, and why as far as can be told."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int

from workbench.features.windows import Windows

__all__ = ["Rows", "account_rows"]


@dataclass(frozen=True)
class Rows:
    """Every bar of the windows' table, counted once.

    Attributes
    ----------
    bars
        All of them, of all tickers.
    train, valid
        Bars that decide a window with a known label there.
    unlabelled
        Bars that decide a window whose label isn't known.
    early
        Bars with fewer than lookback − 1 others of their ticker before them.
    missing
        Bars whose window would hold a missing value.
    later
        Bars after the last window of train and valid: the test's, if there is one.
    apart
        The rest: purged between two parts, without a label, or left out by the caller.
    worst
        Column with the most missing values, if any, and how many of its values are missing.
    """

    bars: int
    train: int
    valid: int
    unlabelled: int
    early: int
    missing: int
    later: int
    apart: int
    worst: tuple[str, int] | None


def account_rows(train: Windows, valid: Windows | None = None) -> Rows:
    """Count what became of each bar of the table that `train` was cut from.

    Windows of `valid` count where they were cut from the same table, as `windows.split` does. Tickers are
    told apart where dates begin anew, or a window of another ticker begins.
    """
    mine = [train, *([valid] if valid is not None and _same(train, valid) else [])]
    bars = len(train.bars)
    used, labelled = np.zeros(bars, dtype=np.int8), np.zeros(bars, dtype=bool)
    for number, part in enumerate(mine, start=1):
        used[part.ends.numpy()] = number
        labelled[part.ends.numpy()] = np.asarray(part.label_dates.notna())
    broken = torch.isnan(train.bars).numpy()
    early = _age(train) < train.lookback
    upto = np.concatenate([[0], broken.any(axis=1).cumsum()])
    start = np.maximum(np.arange(bars) + 1 - train.lookback, 0)
    missing = (upto[1:] > upto[start]) & ~early
    later = train.bar_index.asi8 > max(int(part.dates.asi8.max()) for part in mine)
    reasons = [used > 0, early, missing, later]
    first = [reason & ~np.any(reasons[:i], axis=0) for i, reason in enumerate(reasons)]
    counts = [int(reason.sum()) for reason in first]
    by_column = broken.sum(axis=0)
    column = int(by_column.argmax())
    return Rows(
        bars=bars,
        train=int(((used == 1) & labelled).sum()),
        valid=int(((used == 2) & labelled).sum()),
        unlabelled=int(((used > 0) & ~labelled).sum()),
        early=counts[1],
        missing=counts[2],
        later=counts[3],
        apart=bars - sum(counts),
        worst=(train.feature_names[column], int(by_column[column])) if by_column[column] else None,
    )


def _same(train: Windows, valid: Windows) -> bool:
    return train.bars.shape == valid.bars.shape and train.bars.data_ptr() == valid.bars.data_ptr()


def _age(windows: Windows) -> Int[np.ndarray, " bar"]:
    """Bars of the same ticker up to and including each."""
    dates = windows.bar_index.asi8
    new = np.concatenate([[True], dates[1:] <= dates[:-1]])
    order = np.argsort(windows.ends.numpy())
    ends, tickers = windows.ends.numpy()[order], windows.tickers[order]
    for i in np.flatnonzero(tickers[1:] != tickers[:-1]) + 1:
        if not new[ends[i - 1] + 1 : ends[i] + 1].any():  # one ticker ended before the next one began
            new[ends[i] + 1 - windows.lookback] = True
    rows = np.arange(len(dates))
    return rows - np.maximum.accumulate(np.where(new, rows, 0)) + 1
