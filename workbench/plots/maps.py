"""Attention through all layers: the rollout, and the importance of each bar of a window."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from numpy.typing import ArrayLike

from workbench.plots.barticks import label_bars
from workbench.plots.panels import checked_dates, null_of, one, signed_bars
from workbench.plots.style import MAGNITUDE, SHARE, array, magnitudes, palette, provenance_of, titled

_BOUNDS = (
    1.25,
    1.5,
    *(2.0**k for k in range(1, 8)),
)  # of a ratio's colours, so that they end in round numbers


def rollout(
    matrix: ArrayLike,
    dates: pd.DatetimeIndex | None = None,
    null: ArrayLike | None = None,
    ax: Axes | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Axes:
    """Draw one window's rollout: a heatmap of queries and keys, or bars where there's one query only.

    Parameters
    ----------
    matrix
        (query, key), (key,), or the same with a first axis of one window.
    dates
        Dates of the window's bars, one a key. None counts bars back from the decision, t.
    null
        Rollout of uniform attention, of the same shape. A heatmap then shows how many times the null a cell
        is, on a logarithmic scale about 1, blank where the null is 0; bars get the null as an outline.
    ax
        None makes a figure.
    provenance
        Of the prices; made-up prices are named in the title.

    Returns
    -------
    Axes
        Where a few cells (the diagonal, as a rule) would hide the rest, a heatmap's colours saturate at the
        98th percentile and its colour bar ends in an arrow; a single bar runs off the top, its share written.

    Raises
    ------
    ValueError
        If there are several windows, or dates or null don't match the matrix.
    """
    shares = _one_window(matrix, "matrix")
    checked_dates(dates, shares.shape[1], "keys")
    baseline = None if null is None else _one_window(null, "null")
    if baseline is not None and baseline.shape != shares.shape:
        raise ValueError(f"null must have the matrix' shape {shares.shape}. Got {baseline.shape}.")
    when = "" if dates is None else f"window to {dates[-1]:%d %b %Y}"
    if len(shares) == 1:
        ax = one(ax)
        signed_bars(ax, shares[0], None if baseline is None else baseline[0])
        label_bars(ax.xaxis, dates, shares.shape[1])
        ax.set_ylabel(SHARE.capitalize())
        said = "" if baseline is None else "line: uniform attention, pale: less than that"
        titled(ax, "Attention rollout of the decision bar", when, said, provenance=provenance)
        return ax
    ax = one(ax, size=(6.6, 5.4))
    _draw_matrix(ax, shares, baseline)
    label_bars(ax.yaxis, dates, len(shares), "Query, the bar that looks")
    label_bars(ax.xaxis, dates, shares.shape[1], "Key, the bar looked at")
    titled(ax, "Attention rollout", when, provenance=provenance)
    return ax


def _one_window(matrix: ArrayLike, name: str) -> np.ndarray:
    """Return (query, key); one row for a rollout of one position."""
    values = array(matrix)
    shape = values.shape
    if values.ndim == 3 and len(values) == 1:
        values = values[0]
    values = np.atleast_2d(values)
    if values.ndim != 2 or len(values) not in (1, values.shape[1]):
        raise ValueError(
            f"{name} must be one window: (query, key) with as many queries as keys, or (key,). Got {shape}. "
            f"Pick one of several windows first, e.g. {name}[0]."
        )
    return values


def _draw_matrix(ax: Axes, shares: np.ndarray, null: np.ndarray | None) -> None:
    if null is None:
        scale, extend = magnitudes(shares)
        image = ax.imshow(shares, cmap=MAGNITUDE, norm=scale, aspect="auto")
        ax.figure.colorbar(image, ax=ax, label=SHARE, extend=extend)
        return
    ratio = np.divide(shares, null, out=np.full_like(shares, np.nan), where=null > 0)
    low, high = np.nanpercentile(ratio, [1, 99])
    widest = max(high, 1 / max(low, 1e-9))
    bound = next((bound for bound in _BOUNDS if bound >= widest), _BOUNDS[-1])
    norm = LogNorm(1 / bound, bound, clip=True)
    image = ax.imshow(ratio, cmap=palette().signed, norm=norm, aspect="auto", interpolation="nearest")
    ticks = (
        bound ** np.array([-1, 0, 1]) if bound < 4 else 2.0 ** np.arange(-np.log2(bound), np.log2(bound) + 1)
    )
    bar = ax.figure.colorbar(image, ax=ax, label=f"{SHARE} ÷ that of uniform attention", extend="both")
    bar.set_ticks(list(ticks), labels=[f"{tick:.3g}×" for tick in ticks])
    bar.ax.minorticks_off()


def importance(
    series: pd.Series,
    null: ArrayLike | None = None,
    ax: Axes | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Axes:
    """Draw the importance of each bar of a window, and that of an indifferent model as an outline.

    Parameters
    ----------
    series
        (time,), indexed by the bars' dates or by labels such as t−3; negative values get the second colour.
    null
        (time,) importance under uniform attention.
    ax
        None makes a figure.
    provenance
        Of the prices; by default that in `series.attrs`. Made-up prices are named in the title.

    Raises
    ------
    ValueError
        If null hasn't one value a bar.
    """
    values = array(series)
    baseline = null_of(null, len(values))
    ax = one(ax)
    signed_bars(ax, values, baseline)
    label_bars(ax.xaxis, series.index, len(values))
    ax.set_ylabel("Importance [share]" if (values >= 0).all() else "Importance [signed]")
    said = "" if baseline is None else "line: uniform attention, pale: less than that"
    method = f" by {series.name}" if series.name else ""
    titled(ax, f"Importance of each bar{method}", said, provenance=provenance or provenance_of(series))
    return ax
