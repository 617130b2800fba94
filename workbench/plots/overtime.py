"""What a model drew on in the course of time: bars of the window, features, modules, predictors, assets."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from workbench.plots.barticks import label_bars
from workbench.plots.panels import heatmap, one
from workbench.plots.periods import averaged, joined, label_periods, stacked_bars
from workbench.plots.style import array, check_by_bar, named, provenance_of, titled

MANY = 12  # series from which a heatmap shows more than stacked bars


@runtime_checkable
class Explained(Protocol):
    """What is read of an explanation."""

    @property
    def scores(self) -> Any:
        """(window, …)."""
        ...

    @property
    def dates(self) -> pd.DatetimeIndex:
        """Decision of each window."""
        ...

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the axes of a window's scores."""
        ...

    @property
    def axis_labels(self) -> Mapping[str, tuple[str, ...]]:
        """Names along an axis."""
        ...


def attention_over_time(explained: Explained, every: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw how much each bar of the window counted, decision by decision: a heatmap of time and lag.

    Parameters
    ----------
    explained
        Scores by bar, those of features added up in absolute value; of several tickers the mean of a date.
    every
        "D" draws each date; "M", "Q" and "Y" means of months, quarters and years; None is what fits.
    ax
        None makes a figure.

    Raises
    ------
    ValueError
        If the scores are not by bar, or `every` is unknown.
    """
    check_by_bar(explained, "attention over time")
    scores = array(explained.scores)
    scores = np.abs(scores).sum(tuple(range(2, scores.ndim))) if scores.ndim > 2 else scores
    means, dates, told = averaged(scores, explained.dates, every)
    ax = one(ax)
    heatmap(ax, means.T, _unit(explained, scores), signed=bool((means < 0).any()))
    label_bars(ax.yaxis, None, means.shape[1], "Bar")
    label_periods(ax, dates)
    ax.set_xlim(-0.5, len(dates) - 0.5)
    head = f"{_method(explained)} over time, by bar of the window"
    titled(ax, head, told, _who(explained), provenance=provenance_of(explained))
    return ax


def shares_over_time(
    explained: Explained, axis: str | None = None, every: str | None = None, ax: Axes | None = None
) -> Axes:
    """Draw what counted in the course of time: features, modules, concepts, frequencies, predictors, assets.

    Up to 12 series are stacked bars, the largest six in colours of their own; more are a heatmap.

    Parameters
    ----------
    explained
        What other axes its scores have is added up, in absolute value where that is several numbers.
    axis
        Which of `explained.axes`; None is the last.
    every
        "D" draws each date; "M", "Q" and "Y" means of months, quarters and years; None is what fits.
    ax
        None makes a figure.

    Raises
    ------
    ValueError
        If there is no such axis, or `every` is unknown.
    """
    axes = tuple(explained.axes)
    axis = axes[-1] if axis is None else axis
    if axis not in axes:
        raise ValueError(f"axis must be one of {', '.join(axes)}, those of these scores. Got {axis!r}.")
    if axis == "time":
        raise ValueError("bars over time are drawn by attention_over_time.")
    scores = array(explained.scores)
    others = tuple(i for i, name in enumerate(axes, start=1) if name != axis)
    scores = np.abs(scores).sum(others) if others else scores
    names = [named(str(name), 22) for name in explained.axis_labels.get(axis, range(scores.shape[1]))]
    means, dates, told = averaged(scores, explained.dates, every)
    ax = one(ax)
    unit = _unit(explained, scores)
    if len(names) > MANY:
        heatmap(ax, means.T, unit, signed=bool((means < 0).any()))
        step = -(-len(names) // 24)
        ax.set_yticks(range(0, len(names), step), names[::step], fontsize="small", parse_math=False)
        ax.set_ylabel(axis.capitalize())
    else:
        stacked_bars(ax, *joined(means, names))
        ax.set_ylabel(unit.capitalize())
    label_periods(ax, dates)
    method = _method(explained)
    head = f"{method} over time" + f", by {axis}" * (axis[:-1] not in method.lower())
    titled(ax, head, told, _who(explained), provenance=provenance_of(explained))
    return ax


def _unit(explained: Explained, scores: np.ndarray) -> str:
    """Say what the scores are: shares, differences of shares, or parts of the answer."""
    if getattr(explained, "against_null", False):
        return "share less the null's"
    total = np.abs(scores.sum(1)) if scores.ndim > 1 else scores
    shares = bool((scores >= 0).all()) and bool(np.isclose(total, 1, atol=1e-3).mean() > 0.5)
    if shares:
        return "share"
    return "part of the answer [signed]" if (scores < 0).any() else "part of the answer, absolute"


def _method(explained: Explained) -> str:
    return (
        str(getattr(explained, "method", "attribution")).replace("_x_", " × ").replace("_", " ").capitalize()
    )


def _who(explained: Explained) -> str:
    tickers = sorted({str(name) for name in np.asarray(getattr(explained, "tickers", []))} - {""})
    return named(tickers[0] if len(tickers) == 1 else tickers) if tickers else ""
