"""Means over days, months or years, in the order of time, and stacks of them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from workbench.plots.barticks import label_bars
from workbench.plots.panels import bars
from workbench.plots.style import DISTINCT, palette

FEW = 40  # periods that are drawn one by one; more are joined into longer ones
EVERY = {"D": "each decision", "M": "monthly means", "Q": "quarterly means", "Y": "yearly means"}
OTHERS = "#8c8c8c"


def averaged(
    values: np.ndarray, dates: pd.DatetimeIndex, every: str | None
) -> tuple[np.ndarray, pd.DatetimeIndex, str]:
    """Return means over the windows of each period that has any, their first dates, and what they are.

    Parameters
    ----------
    values
        (window, …).
    dates
        Decision of each window.
    every
        "D", "M", "Q" or "Y"; None is the shortest of them of which there are at most 40, months at least.

    Raises
    ------
    ValueError
        For another `every`, or without windows.
    """
    if every is not None and every not in EVERY:
        raise ValueError(
            f"every must be one of {', '.join(EVERY)}, or None to have it chosen. Got {every!r}."
        )
    if len(dates) == 0:
        raise ValueError("There are no windows to draw. Explain some.")
    clock = dates.tz_localize(None)
    if every is None:
        counts = {unit: len(_starts(clock, unit).unique()) for unit in EVERY}
        most = {"D": FEW, "M": 72, "Q": 80}
        every = next((unit for unit, most_of in most.items() if counts[unit] <= most_of), "Y")
    starts = _starts(clock, every)
    at, found = starts.factorize(sort=True)
    sums = np.zeros((len(found), *values.shape[1:]))
    np.add.at(sums, at, values)
    counts = np.bincount(at).reshape(-1, *[1] * (values.ndim - 1))
    return sums / counts, pd.DatetimeIndex(found), EVERY[every]


def _starts(dates: pd.DatetimeIndex, unit: str) -> pd.DatetimeIndex:
    return dates if unit == "D" else dates.to_period(unit).to_timestamp()


def joined(
    values: np.ndarray, names: Sequence[str], most: int = len(DISTINCT)
) -> tuple[np.ndarray, list[str], list[str]]:
    """Return (period, series) with the largest `most` series kept, the rest added up; names and colours."""
    order = np.argsort(-np.abs(values).sum(0), kind="stable")
    kept = np.sort(order[:most])
    shown, labels = values[:, kept], [str(names[i]) for i in kept]
    colours: list[str] = list(DISTINCT[: len(kept)])
    if len(order) > most:
        rest = values[:, np.sort(order[most:])].sum(1, keepdims=True)
        shown, labels, colours = (
            np.hstack([shown, rest]),
            [*labels, f"{len(order) - most} others"],
            [*colours, OTHERS],
        )
    return shown, labels, colours


def stacked_bars(ax: Axes, values: np.ndarray, labels: Sequence[str], colours: Sequence[str]) -> None:
    """Stack the columns of (period, series), what is negative downwards, with a legend beside."""
    up, down = np.zeros(len(values)), np.zeros(len(values))
    for column, colour in zip(values.T, colours, strict=True):
        for part, ends in ((column.clip(min=0), up), (column.clip(max=0), down)):
            if part.any():
                bars(ax, np.where(part == 0, np.nan, part), colour, bases=ends.copy(), width=0.9)
            ends += part
    span = max(float(up.max() - down.min()), 1e-12)
    ax.set_ylim(down.min() - 0.04 * span * bool(down.any()), up.max() + 0.04 * span)
    if down.any():
        ax.axhline(0, color=palette().ink, linewidth=0.8)
    keys = [Patch(facecolor=colour, label=label) for label, colour in zip(labels, colours, strict=True)]
    ax.legend(
        handles=keys[::-1], loc="upper left", bbox_to_anchor=(1.01, 1.02), frameon=False, fontsize="small"
    )


def label_periods(ax: Axes, dates: pd.DatetimeIndex) -> None:
    """Label an x axis of periods, one a position."""
    label_bars(ax.xaxis, dates, len(dates))
    ax.set_xlabel("Decision")
    ax.set_xlim(-0.5, max(len(dates), 3) - 0.5)
