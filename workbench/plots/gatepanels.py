"""The gates and states of a recurrent layer, unit by unit and bar by bar."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator

from workbench.plots.barticks import label_bars
from workbench.plots.layerpanels import STATES, Gates, Panel, bounds, panels_of, told, unit_of
from workbench.plots.panels import checked_dates, heatmap
from workbench.plots.style import worded


def gates(
    layer: Gates,
    dates: pd.DatetimeIndex | None = None,
    window: int | None = None,
    panels: Sequence[str] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> dict[str, Axes]:
    """Draw a recurrent layer's gates and states as heatmaps of units and bars, in a figure of their own.

    Gates are drawn from 0 to 1 and candidate and hidden state from −1 to 1 whatever their values, so pictures
    can be compared; the cell's colours reach as far as its largest value on either side of 0.

    Parameters
    ----------
    layer
        One of `gate_states(…).layers`: arrays (batch, time, unit).
    dates
        Dates of the bars, where the windows drawn have the same. None counts bars back from the last one, t.
    window
        Which of the batch, counted from 0. None draws the mean over all.
    panels
        Names of gates, "cell" and "hidden". None is input, forget, cell and output of an LSTM, and reset,
        update, candidate and hidden of a GRU.
    provenance
        Of the prices; made-up prices are named in the title.

    Returns
    -------
    dict of Axes
        By the panels' names. Blank: no window has that step, or its value is not finite.

    Raises
    ------
    TypeError
        If it is no single layer.
    ValueError
        If there is no such window or panel, or dates don't match the bars.

    Notes
    -----
    Karpathy, Johnson & Li (2015), "Visualizing and Understanding Recurrent Networks".
    """
    shown = panels_of(layer, panels, window)
    checked_dates(dates, shown[0].drawn.shape[1], "bars")
    figure, grid = _grid(len(shown))
    drawn: dict[str, Axes] = {}
    for ax, panel in zip(grid, shown, strict=False):
        draw_panel(ax, panel, dates)
        drawn[panel.name] = ax
    for spare in grid[len(shown) :]:
        spare.remove()
    for ax in grid[: len(shown) - 2]:
        ax.set_xlabel("")
    for ax in grid[1 : len(shown) : 2]:
        ax.set_ylabel("")
    name, which = told(layer, window)
    when = "" if dates is None else f"bars to {dates[-1]:%d %b %Y}"
    head = worded(figure.get_figwidth() - 0.4, f"Inside {name}", which, when, provenance=provenance)
    figure.suptitle(head, x=0.01, ha="left", fontsize="medium")
    return drawn


def draw_panel(ax: Axes, panel: Panel, dates: pd.DatetimeIndex | None) -> None:
    """Draw one gate or state (unit, time) on axes, with its colour bar."""
    draw_units(ax, panel.name, panel.drawn)
    ax.set_title(panel.head, loc="left", fontsize="medium")
    label_bars(ax.xaxis, dates, panel.drawn.shape[1])


def draw_units(ax: Axes, name: str, values: np.ndarray) -> None:
    """Draw the values (unit, time) of a gate or state on its range, units from 0 at the top."""
    scale = Normalize(*bounds(name, values))
    heatmap(ax, np.ma.masked_invalid(values), unit_of(name), signed=name in STATES, scale=scale)
    label_units(ax, len(values))
    if not np.isfinite(values).any():
        ax.text(0.5, 0.5, "no finite value", transform=ax.transAxes, ha="center", va="center")


def label_units(ax: Axes, count: int) -> None:
    """Count units down the y axis from 0."""
    several = MaxNLocator(min(8, count - 1), integer=True) if count > 1 else FixedLocator([0])
    ax.yaxis.set_major_locator(several)
    ax.set_ylim(count - 0.5, -0.5)
    ax.set_ylabel("Unit")


def _grid(count: int) -> tuple[Figure, list[Axes]]:
    """Return a figure with two panels beside each other; up to three stand in one row or column."""
    import matplotlib.pyplot as plt

    across = 1 if count == 1 else 2
    down = -(-count // across)
    figure, grid = plt.subplots(
        down, across, squeeze=False, figsize=(9.0, 0.5 + 2.6 * down), layout="constrained"
    )
    return figure, list(grid.ravel())
