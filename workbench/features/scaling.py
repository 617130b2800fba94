"""Putting columns on a common scale with nothing but the past."""

import pandas as pd

from workbench.features.panels import apply_by_ticker, check_index

__all__ = ["trailing_zscore"]


def trailing_zscore(frame: pd.DataFrame, window: int) -> pd.DataFrame:
    """Standardise each column by its mean and standard deviation over the trailing bars.

    z_t = (x_t − mean) / sd, both over the `window` bars up to and including t, sd with ddof = 1.
    |z| ≤ (window − 1) / √window. A column that does not move over those bars is 0.

    Parameters
    ----------
    frame
        Rows by date, or by (date, ticker); a panel is standardised ticker by ticker.
    window
        Bars, at least 2.

    Returns
    -------
    pd.DataFrame
        Float64, same index, columns and attrs; NaN until `window` values in a row are known.

    Raises
    ------
    ValueError
        `window` is too small, or the index is not unique, increasing dates.
    """
    if window < 2:
        raise ValueError(f"window must be at least 2 bars: one bar has no spread. Got {window}.")
    check_index(frame, "frame")

    def standardise(values: pd.DataFrame) -> pd.DataFrame:
        values = values.astype("float64")
        trailing = values.rolling(window)
        mean, deviation = pd.DataFrame(trailing.mean()), pd.DataFrame(trailing.std())
        flat = pd.DataFrame(trailing.max()).eq(trailing.min())  # exact; a running sd leaves a residue
        return (values - mean) / deviation.mask(flat, 1.0)  # the mean of equal values is exactly theirs

    return apply_by_ticker(frame, standardise)
