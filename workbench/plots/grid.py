"""Attention of every layer and head, side by side."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator

from workbench.plots.barticks import label_bars
from workbench.plots.panels import checked_dates
from workbench.plots.style import MAGNITUDE, SHARE, array, magnitudes, worded

_GAP = 0.12  # inches between cells


@runtime_checkable
class Maps(Protocol):
    """What is read of attention maps."""

    @property
    def layers(self) -> Sequence[Any]:
        """One tensor (batch, head, query, key) a layer."""
        ...

    @property
    def names(self) -> Sequence[str]:
        """Path of each layer's module."""
        ...

    @property
    def kinds(self) -> Sequence[str]:
        """`self`, `cross` or `last` (the last query alone), one a layer."""
        ...


def attention_grid(
    maps: Maps,
    dates: pd.DatetimeIndex | None = None,
    sample: int = 0,
    provenance: Mapping[str, Any] | None = None,
) -> np.ndarray:
    """Draw the attention of every layer (down) and head (across) on one colour scale.

    Parameters
    ----------
    maps
        As `attention_maps` returns them: layers (batch, head, query, key).
    dates
        Dates of the window's bars. None counts bars back from the decision, t.
    sample
        Which window of the batch.
    provenance
        Of the prices; made-up prices are named in the title.

    Returns
    -------
    ndarray of Axes
        (layer, head), None where a layer has fewer heads than another. A layer that computed its last query
        alone is one strip.

    Raises
    ------
    ValueError
        If there is no such sample, a layer hasn't four axes, or dates match no layer.
    """
    layers = [_sampled(layer, name, sample) for layer, name in zip(maps.layers, maps.names, strict=True)]
    if dates is not None and all(len(dates) not in layer.shape[1:] for layer in layers):
        checked_dates(dates, layers[0].shape[2], "bars")
    grid = _grid(len(layers), max(len(layer) for layer in layers))
    scale, extend = magnitudes(np.concatenate([layer.ravel() for layer in layers]))
    for row, layer in enumerate(layers):
        for head, weights in enumerate(layer):
            _draw_cell(grid[row, head], weights, dates, scale)
        for spare in range(len(layer), grid.shape[1]):
            grid[row, spare].remove()
            grid[row, spare] = None
        kind = "" if maps.kinds[row] == "self" else f"\n({maps.kinds[row]})"
        grid[row, 0].set_ylabel(f"layer {row}{kind}", fontsize="small")
    _label_edges(grid)
    when = "" if dates is None else f"window to {dates[-1]:%d %b %Y}"
    width = grid[0, 0].figure.get_figwidth()
    _frame(grid, worded(width, "Attention by layer and head", when, provenance=provenance), extend)
    return grid


def _sampled(layer: Any, name: str, sample: int) -> np.ndarray:
    weights = array(layer)
    if weights.ndim != 4:
        raise ValueError(f"{name} must have shape (batch, head, query, key). Got {weights.shape}.")
    if not -len(weights) <= sample < len(weights):
        raise ValueError(f"sample must be one of the {len(weights)} windows, counted from 0. Got {sample}.")
    return weights[sample]


def _grid(layers: int, heads: int) -> np.ndarray:
    import matplotlib.pyplot as plt

    across = min(2.4, 7.4 / heads)
    down = min(across, 11.0 / layers)
    size = (max(4.8, across * heads + 1.6), max(2.6, down * layers + 1.4))
    # Laid out by hand in `_frame`: a hundred cells take the constrained layout eight seconds.
    return plt.figure(figsize=size, layout="none").subplots(layers, heads, squeeze=False).astype(object)


def _draw_cell(ax: Axes, weights: np.ndarray, dates: pd.DatetimeIndex | None, scale: Normalize) -> None:
    ax.imshow(weights, cmap=MAGNITUDE, norm=scale, aspect="auto")
    for axis, count in ((ax.yaxis, weights.shape[0]), (ax.xaxis, weights.shape[1])):
        labels = dates if dates is not None and len(dates) == count else None
        label_bars(axis, labels, count)
        axis.set_label_text("")
    ax.tick_params(labelsize="x-small", labelleft=False, labelbottom=False, left=False, bottom=False)


def _label_edges(grid: np.ndarray) -> None:
    for row in grid[:, 0]:
        row.tick_params(left=True, labelleft=True)
    for head, column in enumerate(grid.T):
        there = [ax for ax in column if ax is not None]
        there[0].set_title(f"head {head}", fontsize="small")
        there[-1].tick_params(bottom=True, labelbottom=True)


def _frame(grid: np.ndarray, title: str, extend: str) -> None:
    """Place cells, title, axis labels and colour bar, each margin as wide as what stands in it."""
    figure = grid[0, 0].figure
    width, height = figure.get_size_inches()
    above = 0.35 + 0.17 * (title.count("\n") + 1)
    labels = max(row.yaxis.get_tightbbox().width for row in grid[:, 0]) / figure.dpi
    beneath = max(ax.xaxis.get_tightbbox().height for ax in grid[-1] if ax is not None) / figure.dpi
    left, right = (labels + 0.4) / width, 1 - 1.05 / width
    bottom, top = (beneath + 0.4) / height, 1 - above / height
    figure.subplots_adjust(left, bottom, right, top)
    cell = grid[0, 0].get_position()
    figure.subplots_adjust(wspace=_GAP / (cell.width * width), hspace=_GAP / (cell.height * height))
    bar = figure.add_axes((1 - 0.9 / width, bottom, 0.15 / width, top - bottom))
    arrow = 0.12 / ((top - bottom) * height)
    figure.colorbar(grid[0, 0].images[0], cax=bar, label=SHARE, extend=extend, extendfrac=arrow)
    bar.yaxis.set_major_locator(MaxNLocator(5))
    figure.suptitle(title, fontsize="medium", x=0.1 / width, y=1 - 0.1 / height, ha="left", va="top")
    middle = {"x": (left + right) / 2, "y": (bottom + top) / 2}
    figure.supxlabel("Key: the bar looked at", fontsize="medium", x=middle["x"], y=0.08 / height)
    figure.supylabel("Query: the bar that looks", fontsize="medium", x=0.08 / width, y=middle["y"])
