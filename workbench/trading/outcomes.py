"""Windows meet the outcomes of their decisions: which won, which lost, and what became of the rest."""

from typing import Protocol, runtime_checkable

import numpy as np
import pandas as pd
from jaxtyping import Float

from workbench.trading.contrast import Groups
from workbench.trading.result import BacktestResult

DROPPED = ("flat", "unknown", "outside", "blank")


@runtime_checkable
class Explained(Protocol):
    """Attributions of windows: what `explain` returns."""

    @property
    def scores(self) -> np.ndarray:
        """(window, time) or (window, time, feature), time from the oldest bar to the decision bar."""
        ...

    @property
    def dates(self) -> pd.DatetimeIndex:
        """Decision bar of each window."""
        ...

    @property
    def tickers(self) -> np.ndarray:
        """Ticker of each window."""
        ...


def shares_of(scores: np.ndarray) -> Float[np.ndarray, "window time"]:
    """Each window's absolute scores, summed over features, as shares of their sum; NaN where that is 0."""
    size = np.abs(np.asarray(scores, dtype=np.float64))
    if size.ndim not in (2, 3):
        raise ValueError(f"scores must be (window, time) or (window, time, feature). Got shape {size.shape}.")
    size = size if size.ndim == 2 else size.sum(axis=2)
    if not np.isfinite(size).all():
        window = int(np.argmin(np.isfinite(size).all(axis=1)))
        raise ValueError(f"scores must be finite. Those of window {window} are not: explain it again.")
    total = size.sum(axis=1, keepdims=True)
    return np.divide(size, total, out=np.full_like(size, np.nan), where=total > 0)


def matched(
    explanation: Explained, result: BacktestResult, values: Float[np.ndarray, "window value"]
) -> tuple[Groups, pd.Series]:
    """Windows whose decision won or lost, sorted by asset, then date; and what became of all of them."""
    dates, tickers = pd.DatetimeIndex(explanation.dates), np.asarray(explanation.tickers, dtype=str)
    bar = result.outcomes.index.get_indexer(dates)
    asset = result.outcomes.columns.astype(str).get_indexer(tickers)
    inside = (bar >= 0) & (asset >= 0)
    if not inside.any():
        held, asked = result.outcomes, sorted(set(tickers))
        raise ValueError(
            f"no window is a decision of the backtest. It has {list(held.columns)[:4]} from {held.index[0]} "
            f"to {held.index[-1]}; the windows {asked[:4]} from {dates.min()} to {dates.max()}. "
            "Explain the windows the positions come from."
        )
    outcome = np.where(inside, result.outcomes.to_numpy()[bar, asset], np.nan)
    flat = inside & (result.positions.to_numpy()[bar, asset] == 0)
    blank = inside & ~flat & np.isnan(values[:, 0])
    kept = inside & ~flat & ~blank & ~np.isnan(outcome)
    rows = np.flatnonzero(kept)
    rows = rows[np.lexsort((bar[rows], asset[rows]))]
    won = outcome[rows] > 0
    compact = np.unique(bar[rows], return_inverse=True)[1]
    counts = {
        "windows": len(values),
        "won": int(won.sum()),
        "lost": int((~won).sum()),
        "flat": int(flat.sum()),
        "unknown": int((inside & ~flat & ~blank & ~kept).sum()),
        "outside": int((~inside).sum()),
        "blank": int(blank.sum()),
    }
    return Groups(values[rows], won, compact, asset[rows]), pd.Series(counts, name="windows")
