"""How good predictions are, in figures that a lazy answer cannot flatter."""

import numpy as np
import pandas as pd
from jaxtyping import Float, Int


def confusion(
    y: Int[np.ndarray, " window"], predicted: Int[np.ndarray, " window"], n_classes: int
) -> Int[np.ndarray, "true predicted"]:
    """Count the windows of each true class (row) by predicted class (column)."""
    return np.bincount(y * n_classes + predicted, minlength=n_classes**2).reshape(n_classes, n_classes)


def balanced_accuracy(counts: Int[np.ndarray, "true predicted"]) -> float:
    """Return the mean over the classes that occur of the share of each that was found.

    Always answering with the most frequent class scores 1 / (number of classes), whatever its share.
    """
    occurs = counts.sum(axis=1) > 0
    return float((counts.diagonal()[occurs] / counts.sum(axis=1)[occurs]).mean())


def matthews(counts: Int[np.ndarray, "true predicted"]) -> float:
    """Return the Matthews correlation of any number of classes, −1 … 1; 0 where it is undefined.

    Gorodkin (2004), "Comparing two K-category assignments by a K-category correlation coefficient".
    """
    true, predicted, total = counts.sum(axis=1), counts.sum(axis=0), int(counts.sum())
    covariance = int(counts.trace()) * total - int(true @ predicted)
    spread = (total**2 - int(predicted @ predicted)) * (total**2 - int(true @ true))
    return covariance / spread**0.5 if spread else 0.0


def information_coefficient(
    forecast: Float[np.ndarray, " window"], y: Float[np.ndarray, " window"], groups: np.ndarray
) -> float:
    """Return the Pearson correlation of forecast and outcome within each group, averaged over groups.

    Parameters
    ----------
    forecast, y
        Forecasts and what came.
    groups
        Group of each window: its date for a panel, so that the figure is the daily information
        coefficient; one group for a single ticker. Groups in which either is constant are left out.

    Returns
    -------
    float
        NaN if no group is left.
    """
    found = information_coefficients(forecast, y, groups)
    return float(found.mean()) if len(found) else float("nan")


def rank_information_coefficient(
    forecast: Float[np.ndarray, " window"], y: Float[np.ndarray, " window"], groups: np.ndarray
) -> float:
    """Return the Spearman correlation within each group, averaged over groups, as `information_coefficient`.

    Equal values share the average of their ranks.
    """
    codes, _ = pd.factorize(groups)
    of_forecast, of_y = (pd.Series(values).groupby(codes).rank().to_numpy() for values in (forecast, y))
    return information_coefficient(of_forecast, of_y, groups)


def information_ratio(
    forecast: Float[np.ndarray, " window"], y: Float[np.ndarray, " window"], groups: np.ndarray
) -> float:
    """Return ICIR: mean over standard deviation (of a sample) of the groups' information coefficients.

    By day and not annualised; NaN with fewer than two groups, or where all have the same coefficient.
    """
    found = information_coefficients(forecast, y, groups)
    spread = found.std(ddof=1) if len(found) > 1 else 0.0
    return float(found.mean() / spread) if spread > 0 else float("nan")


def information_coefficients(
    forecast: Float[np.ndarray, " window"], y: Float[np.ndarray, " window"], groups: np.ndarray
) -> Float[np.ndarray, " group"]:
    """Return each group's Pearson correlation; one is left out where either is constant, as in one window."""
    codes, names = pd.factorize(groups)
    a, b = (_centred(values.astype(np.float64), codes, len(names)) for values in (forecast, y))
    covariance, va, vb = (np.bincount(codes, product, len(names)) for product in (a * b, a * a, b * b))
    defined = (va > 0) & (vb > 0)
    return covariance[defined] / np.sqrt(va[defined] * vb[defined])


def _centred(
    values: Float[np.ndarray, " window"], codes: Int[np.ndarray, " window"], groups: int
) -> Float[np.ndarray, " window"]:
    """Subtract each group's mean; what is left of a constant is rounding and becomes zero."""
    mean = (np.bincount(codes, values, groups) / np.bincount(codes, minlength=groups))[codes]
    centred = values - mean
    return np.where(np.abs(centred) <= 1e-12 * np.abs(mean), 0.0, centred)
