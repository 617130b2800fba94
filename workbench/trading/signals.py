"""From what a model says to the position it takes: −1 sold short, 0 flat, +1 bought."""

import warnings

import numpy as np
import pandas as pd
from jaxtyping import Float

_ACTIONS = {"sell": -1.0, "hold": np.nan, "buy": 1.0}  # NaN: keep what is held


def positions(probabilities: pd.DataFrame, threshold: float | int = 0.4) -> pd.Series | pd.DataFrame:
    """Positions decided at the close of each date: the likeliest class, if it is likely enough.

    Sell is −1, buy is +1, hold keeps the position before it (flat at the start). Where the largest
    probability is below `threshold` the position is flat, whatever its class. Of equal probabilities the
    first of sell, hold, buy wins. Choose the threshold on validation data: a softmax is not calibrated.

    Parameters
    ----------
    probabilities
        Columns `sell`, `hold`, `buy` (hold may be absent), rows summing to one; index `date`, or
        (`date`, `ticker`) for several assets: what `predict` returns for a classifier.
    threshold
        Least probability that acts, in [0, 1]. At or below one over the number of classes it never binds,
        which is warned of.

    Returns
    -------
    Series or DataFrame
        Series over dates for one asset; for an index (date, ticker) a DataFrame (date × ticker), in which
        an asset without a prediction that day keeps its position. Row t depends on rows ≤ t only.

    Raises
    ------
    ValueError
        If columns, values or index are not as above; the message says how to repair it.
    """
    classes = _classes(probabilities)
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold must be a probability in [0, 1]. Got {threshold}.")
    if threshold <= 1 / len(classes):
        warnings.warn(
            f"threshold={threshold} does nothing: the largest of {len(classes)} probabilities is never below "
            f"{1 / len(classes):.3g}. Choose a higher one.",
            stacklevel=2,
        )
    values = probabilities[classes].to_numpy(dtype=np.float64)
    _check_probabilities(values, probabilities.index)
    actions = np.array([_ACTIONS[name] for name in classes])[values.argmax(axis=1)]
    actions[values.max(axis=1) < threshold] = 0.0
    return _held(actions, probabilities)


def positions_from_forecast(
    forecast: pd.DataFrame | pd.Series, threshold: float | int = 0.0
) -> pd.Series | pd.DataFrame:
    """Positions decided at the close of each date: the sign of a forecast that is large enough.

    Parameters
    ----------
    forecast
        Forecast return as a fraction: a Series, or a frame with the one column `forecast`; index `date`, or
        (`date`, `ticker`) for several assets: what `predict` returns for a regression.
    threshold
        Forecasts of at least this size act, smaller ones are flat; a forecast of exactly 0 is flat.

    Returns
    -------
    Series or DataFrame
        As `positions`.

    Raises
    ------
    ValueError
        If the forecast has other columns or is not finite, or the threshold is negative.
    """
    if isinstance(forecast, pd.DataFrame) and list(forecast.columns) != ["forecast"]:
        raise ValueError(
            f"forecast must be a Series or a frame with the one column 'forecast'. Got columns "
            f"{list(forecast.columns)}: use `positions` for class probabilities."
        )
    if not threshold >= 0:
        raise ValueError(f"threshold must be at least 0. Got {threshold}.")
    values = forecast.to_numpy(dtype=np.float64).reshape(len(forecast))
    _refuse_rows(~np.isfinite(values), forecast.index, "forecasts must be finite numbers")
    return _held(np.where(np.abs(values) >= threshold, np.sign(values), 0.0), forecast)


def _classes(probabilities: pd.DataFrame) -> list[str]:
    columns = list(probabilities.columns)
    strange = [name for name in columns if name not in _ACTIONS]
    if strange or len(set(columns)) < len(columns) or not {"sell", "buy"} <= set(columns):
        raise ValueError(
            f"probabilities must have the columns sell, hold, buy (hold may be absent). Got {columns}: "
            "rename them, or use `positions_from_forecast` for a regression."
        )
    return [name for name in _ACTIONS if name in columns]


def _check_probabilities(values: Float[np.ndarray, "row class"], index: pd.Index) -> None:
    sums = values.sum(axis=1)
    wrong = ~(np.abs(sums - 1) <= 1e-3) | (values < 0).any(axis=1)
    _refuse_rows(wrong, index, "rows must be probabilities that sum to one (pass logits through softmax)")


def _refuse_rows(wrong: np.ndarray, index: pd.Index, rule: str) -> None:
    if wrong.any():
        raise ValueError(f"{rule}. {wrong.sum()} of {len(wrong)} rows are not, first {index[wrong][0]}.")


def _held(actions: Float[np.ndarray, " row"], source: pd.DataFrame | pd.Series) -> pd.Series | pd.DataFrame:
    """Positions from actions: NaN keeps the position before it, per asset."""
    index = source.index
    if not index.is_unique:
        twice = index[index.duplicated()][0]
        raise ValueError(f"each date may be predicted once an asset. {twice} comes twice: drop one of them.")
    chosen = pd.Series(actions, index=index, name="position")
    wide = chosen.unstack("ticker") if isinstance(index, pd.MultiIndex) else chosen  # noqa: PD010 (no mean)
    held = wide.sort_index().ffill().fillna(0.0)
    held.attrs = {key: source.attrs[key] for key in ("provenance",) if key in source.attrs}
    return held
