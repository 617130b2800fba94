"""The attention of one layer as a static picture, for where no widget runs."""

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axis import Axis
from matplotlib.figure import Figure

from workbench.plots.barticks import label_bars
from workbench.plots.style import MAGNITUDE, SHARE, worded
from workbench.widgets.mapdata import MapLayer

WIDTH = 6.4  # inches


def draw_map(
    values: Float[np.ndarray, "query key"],
    layer: MapLayer,
    heading: list[str],
    dates: pd.DatetimeIndex | None,
    top: float | int,
) -> Figure:
    """Draw one map on the colour scale from 0 to `top`; its bars are those of `layer`."""
    figure = Figure(figsize=(WIDTH, 5.4 if len(values) > 1 else 2.4), layout="constrained")
    ax = figure.add_subplot()
    queries, keys = layer.bars
    edges = (-0.5, keys - 0.5, queries - 0.5, -0.5)  # in bars, whatever a cell holds
    image = ax.imshow(
        values, cmap=MAGNITUDE, vmin=0, vmax=top, aspect="auto", interpolation="nearest", extent=edges
    )
    _label(ax.yaxis, dates, queries, "Query, the bar that looks")
    _label(ax.xaxis, dates, keys, "Key, the bar looked at")
    if queries == 1:
        ax.set_ylabel("Query")
    over = bool(np.nanmax(values) > top) if np.isfinite(values).any() else False
    figure.colorbar(image, ax=ax, label=SHARE, extend="max" if over else "neither")
    when = "" if dates is None else f"window to {dates[-1]:%d %b %Y}"
    figure.suptitle(worded(WIDTH, *heading, when), fontsize="medium", x=0.02, ha="left")
    return figure


def _label(axis: Axis, dates: pd.DatetimeIndex | None, bars: int, name: str) -> None:
    named = dates is not None and bars in (1, len(dates))
    label_bars(axis, dates[-bars:] if dates is not None and named else None, bars, name)
