"""Axes to draw on: one, or several sharing their x axis, and marks that a plot has many of."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import CenteredNorm, Normalize
from numpy.typing import ArrayLike

from workbench.plots.style import MAGNITUDE, array, magnitudes, mixed, palette


def one(ax: Axes | None, size: tuple[float, float] = (9.0, 4.0)) -> Axes:
    """Return `ax`, or axes in a new figure of `size` inches."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=size, layout="constrained")[1]


def heatmap(
    ax: Axes, values: np.ndarray, unit: str, signed: bool = False, scale: Normalize | None = None
) -> None:
    """Draw (row, column) as a heatmap with its colour bar, labelled by `unit`; masked cells stay blank.

    Without a `scale` colours reach as far as the values, on either side of 0 alike if `signed`.
    """
    extend = "neither"
    if scale is None:
        scale, extend = (CenteredNorm(0), extend) if signed else magnitudes(np.ma.compressed(values))
    cmap = palette().signed if signed else MAGNITUDE
    image = ax.imshow(values, cmap=cmap, norm=scale, aspect="auto", interpolation="nearest")
    ax.figure.colorbar(image, ax=ax, label=unit, extend=extend)


def stack(ax: Axes | None, heights: Sequence[float | int], size: tuple[float, float]) -> list[Axes]:
    """Divide axes into panels one above another that share the x axis.

    Parameters
    ----------
    ax
        What to divide; it becomes the topmost panel. None makes a figure of `size` inches.
    heights
        One a panel, from the top, relative to each other.
    size
        Of the new figure, in inches.

    Returns
    -------
    list of Axes
        From the top. Only the lowest shows the labels of the x axis.
    """
    top = one(ax, size)
    panels = [top, *_below(top, heights)]
    for panel in panels[:-1]:
        panel.tick_params(labelbottom=False)
    top.figure.align_ylabels(panels)
    return panels


def _below(top: Axes, heights: Sequence[float | int]) -> list[Axes]:
    spec = top.get_subplotspec()
    if spec is not None:
        grid = spec.subgridspec(len(heights), 1, height_ratios=list(heights))
        top.set_subplotspec(grid[0])
        return [top.figure.add_subplot(grid[i], sharex=top) for i in range(1, len(heights))]
    box = top.get_position()  # axes placed by hand: divide their rectangle
    gap = 0.06 * box.height
    share = (box.height - gap * (len(heights) - 1)) / sum(heights)
    uppers = box.y1 - np.concatenate([[0], np.cumsum([share * height + gap for height in heights])])
    rectangles = [
        (box.x0, upper - share * height, box.width, share * height)
        for upper, height in zip(uppers, heights, strict=False)
    ]
    top.set_position(rectangles[0])
    return [top.figure.add_axes(rectangle, sharex=top) for rectangle in rectangles[1:]]


def bars(
    ax: Axes,
    heights: np.ndarray,
    colours: str | Sequence[str] | np.ndarray,
    bases: np.ndarray | float = 0.0,
    width: float = 0.8,
    label: str = "",
) -> PolyCollection:
    """Draw bar i from `bases` by `heights` (bar,) at position i, all as one artist: quick for thousands.

    Bars whose height is NaN are left out. Returns the collection, one path a bar drawn.
    """
    base, top = np.broadcast_to(bases, heights.shape), bases + heights
    position = np.arange(len(heights))
    left, right = position - width / 2, position + width / 2
    corners = np.stack([left, base, left, top, right, top, right, base], axis=-1).reshape(-1, 4, 2)
    known = np.isfinite(corners).all((1, 2))
    chosen = np.broadcast_to(colours, heights.shape)[known]
    drawn = PolyCollection(list(corners[known]), facecolors=list(chosen), linewidths=0, label=label)
    if np.ndim(bases) == 0:
        drawn.sticky_edges.y.append(float(np.asarray(bases)))
    ax.add_collection(drawn)
    ax.autoscale_view()
    return drawn


def signed_bars(ax: Axes, values: np.ndarray, null: np.ndarray | None = None) -> PolyCollection:
    """Draw values (bar,) in two colours by sign, and the null (bar,) as a stepped outline over them.

    Bars of zero and more that stay below their null are pale.
    """
    shades = palette()
    signed = bool((values < 0).any())
    colours = np.where(values < 0, shades.down, shades.up)
    if null is not None and not signed:
        colours = np.where(values < null, mixed(shades.up, ax.get_facecolor()), colours)
    drawn = bars(ax, values, colours)
    if signed:
        ax.axhline(0, color=shades.ink, linewidth=0.8)
    if null is not None:
        edges = np.arange(len(null) + 1) - 0.5
        ax.stairs(null, edges, baseline=None, color=shades.ink, linewidth=1.2, label="null")
    if not signed:
        cut_tallest(ax, values, values if null is None else np.maximum(values, null))
    ax.set_xlim(-0.5, len(values) - 0.5)
    return drawn


def cut_tallest(ax: Axes, values: np.ndarray, tops: np.ndarray) -> None:
    """Let one bar that towers over the others run off the panel, with its value (bar,) written beside it.

    The residual path gives the decision bar a share that would flatten all others. `tops` (bar,) is the
    highest thing drawn at each bar; one more than three times the next is cut.
    """
    tops = np.nan_to_num(tops)
    if len(tops) < 3:
        return
    tallest, (second, first) = int(np.argmax(tops)), np.sort(tops)[-2:]
    if not first > 3 * second > 0:
        return
    ax.set_ylim(0, 1.35 * second)
    right = tallest >= len(tops) / 2
    ax.annotate(
        f"{values[tallest]:.2g} ↑" if right else f"↑ {values[tallest]:.2g}",
        (tallest + (-0.6 if right else 0.6), 1.35 * second),
        xytext=(0, -3),
        textcoords="offset points",
        ha="right" if right else "left",
        va="top",
        fontsize="small",
    )


def null_of(null: ArrayLike | None, count: int) -> np.ndarray | None:
    """Return a null (time,), given as such or as that of one window, if it has one value for each bar."""
    if null is None:
        return None
    values = array(null)
    values = values[0] if values.ndim == 2 and len(values) == 1 else values
    if values.shape != (count,):
        raise ValueError(f"null must have one value for each of {count} bars. Got {values.shape}.")
    return values


def checked_dates(dates: pd.DatetimeIndex | None, count: int, what: str) -> pd.DatetimeIndex | None:
    """Return `dates` if there is one per bar; else the error says which are wanted."""
    if dates is not None and len(dates) != count:
        raise ValueError(
            f"dates must hold one date for each of the {count} {what}. Got {len(dates)}. "
            "Pass the dates of the window's bars, windows.bar_dates, not its decision date."
        )
    return dates
