"""What happened next: the only columns that know the future, and only of their own horizon."""

from collections.abc import Callable, Hashable
from typing import Any, Literal

import numpy as np
import pandas as pd

from workbench.features.indicators import volatility
from workbench.features.panels import apply_by_ticker, check_prices

__all__ = ["CLASSES", "forward_return", "label_moves"]

CLASSES = ("sell", "hold", "buy")
VOLATILITY_BARS = 20


def forward_return(prices: pd.DataFrame, horizon: int = 1) -> pd.Series:
    """Return from close t to close t + horizon: close_{t+horizon} / close_t − 1.

    Parameters
    ----------
    prices
        One ticker or a panel; each ticker is followed through its own bars.
    horizon
        Bars ahead, at least 1.

    Returns
    -------
    pd.Series
        Float64, same index; NaN at each ticker's last `horizon` bars. `attrs` tell task, horizon
        and provenance.

    Raises
    ------
    ValueError
        Horizon below 1, or (as PriceError) closes that are not positive numbers.
    """
    returns = _forward(prices, horizon).rename("forward_return")
    returns.attrs = _attrs(prices, task="regression", horizon=horizon, classes=[])
    return returns


def label_moves(
    prices: pd.DataFrame,
    horizon: int = 1,
    threshold: float | int | None = None,
    scale: Literal["fixed", "volatility"] = "fixed",
) -> pd.Series:
    """Label each bar by the move after it: 0 sell, 1 hold, 2 buy.

    With r the forward return and b the band, sell is r < −b, buy r > b, hold all between.

    Parameters
    ----------
    prices
        One ticker or a panel.
    horizon
        Bars ahead, at least 1.
    threshold
        With `scale="fixed"`, b itself (default 0.01: ±1 %). With `scale="volatility"`, how many
        standard deviations of the horizon's return b is (default 0.5):
        b_t = threshold · volatility_t · √horizon, where volatility_t is that of the 20 returns
        up to bar t. It keeps the classes about balanced from calm markets to wild ones.
    scale
        Which of the two.

    Returns
    -------
    pd.Series
        Float64, same index; NaN where the move is not known yet, and, volatility-scaled, at each
        ticker's first 20 bars. `attrs` tell task, horizon, classes, threshold, scale and provenance.

    Raises
    ------
    ValueError
        Horizon below 1, a threshold that is negative or not finite, an unknown scale, or (as
        PriceError) closes that are not positive numbers.
    """
    if scale not in ("fixed", "volatility"):
        raise ValueError(f"scale must be 'fixed' or 'volatility'. Got {scale!r}.")
    if threshold is None:
        threshold = 0.01 if scale == "fixed" else 0.5
    if not (np.isfinite(threshold) and threshold >= 0):
        raise ValueError(f"threshold must be a number ≥ 0, such as 0.01 for ±1 %. Got {threshold}.")
    moves = _forward(prices, horizon)
    band = _volatility(prices) * np.sqrt(horizon) * threshold if scale == "volatility" else threshold
    label = 1.0 + (moves > band) - (moves < -band)
    labels = label.where(moves.notna() & pd.notna(band)).rename("move")
    labels.attrs = _attrs(
        prices,
        task="classification",
        horizon=horizon,
        classes=list(CLASSES),
        threshold=float(threshold),
        scale=scale,
    )
    return labels


def _forward(prices: pd.DataFrame, horizon: int) -> pd.Series:
    if horizon < 1:
        raise ValueError(f"horizon must be at least 1 bar: a label follows its decision bar. Got {horizon}.")
    check_prices(prices, ("close",))

    def ahead(close: np.ndarray) -> np.ndarray:
        unknown = np.full(min(horizon, len(close)), np.nan)
        return np.concatenate([close[horizon:], unknown]) / close - 1

    return _of_closes(prices, ahead)


def _of_closes(prices: pd.DataFrame, compute: Callable[[np.ndarray], np.ndarray]) -> pd.Series:
    def column(bars: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"close": compute(bars["close"].to_numpy(dtype="float64"))}, index=bars.index)

    return pd.Series(apply_by_ticker(prices, column)["close"])


def _volatility(prices: pd.DataFrame) -> pd.Series:
    return _of_closes(prices, lambda close: volatility(close, VOLATILITY_BARS))


def _attrs(prices: pd.DataFrame, **told: Any) -> dict[Hashable, Any]:
    return {"provenance": prices.attrs.get("provenance", {}), **told}
