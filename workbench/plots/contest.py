"""Models side by side: figures with their intervals, and how each of them learnt."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from workbench.plots.panels import one
from workbench.plots.style import named, palette, provenance_of, titled

_COLUMNS = 4


def intervals(
    table: pd.DataFrame, figure: str, chance: float | int = 0.0, head: str = "", ax: Axes | None = None
) -> Axes:
    """Draw a figure of every model with its interval, beside what knowing nothing is worth.

    Parameters
    ----------
    table
        By model, from top to bottom: `mean`, `low` and `high`.
    figure
        Name of the figure, with its unit.
    chance
        Where a dotted line stands.
    head
        Title.
    ax
        None makes a figure.

    Returns
    -------
    Axes
        Models whose interval leaves out `chance` are filled, the others hollow.

    Raises
    ------
    ValueError
        If there is no row, a column is missing, or a mean is not finite.
    """
    missing = [name for name in ("mean", "low", "high") if name not in table]
    if missing or table.empty:
        raise ValueError(
            f"table needs a row a model and the columns mean, low, high. Got {len(table)} rows with columns "
            f"{list(table.columns)}."
        )
    mean, low, high = (table[name].to_numpy(dtype=np.float64) for name in ("mean", "low", "high"))
    if not np.isfinite(mean).all():
        raise ValueError(f"means must be finite. That of {table.index[~np.isfinite(mean)][0]!r} is not.")
    ax = one(ax, size=(8.0, 1.3 + 0.28 * len(table)))
    colours = palette()
    places = np.arange(len(table))
    for place, at, least, most in zip(places, mean, low, high, strict=True):
        colour = colours.up if least > chance else colours.down if most < chance else colours.ink
        ax.plot([least, most], [place, place], color=colour, linewidth=1.6)
        face = colour if colour != colours.ink else ax.get_facecolor()
        ax.plot([at], [place], marker="o", color=colour, markerfacecolor=face, linestyle="none")
    ax.axvline(chance, color=colours.ink, linewidth=0.9, linestyle=":")
    ax.set_yticks(places, [named(str(name), 26) for name in table.index], parse_math=False)
    ax.set_ylim(len(table) - 0.5, -0.5)
    ax.set_xlabel(f"{figure} (dotted: what knowing nothing is worth)")
    titled(ax, head or figure, "95 % intervals; filled where they leave out the dotted line",
           provenance=provenance_of(table))  # fmt: skip
    return ax


def learning_curves(curves: Mapping[str, pd.DataFrame], figure: str, head: str = "") -> dict[str, Axes]:
    """Draw a figure of every model's epochs: a thin line a seed, a thick one for their mean.

    Parameters
    ----------
    curves
        By model: a row an epoch, a column a seed.
    figure
        Name of the figure, with its unit.
    head
        Title.

    Returns
    -------
    dict of Axes
        By model; all share one scale.

    Raises
    ------
    ValueError
        If there is no model, or one has no epoch.
    """
    empty = [name for name, curve in curves.items() if curve.empty]
    if not curves or empty:
        raise ValueError(f"curves need a model with at least one epoch each. Without one: {empty or 'all'}.")
    import matplotlib.pyplot as plt

    wide = min(_COLUMNS, len(curves))
    rows = math.ceil(len(curves) / wide)
    sheet, grid = plt.subplots(
        rows, wide, sharex=True, sharey=True, squeeze=False, layout="constrained",
        figsize=(2.25 * max(2, wide), 1.0 + 1.5 * rows),
    )  # fmt: skip
    colours, drawn = palette(), {}
    for ax, (name, curve) in zip(grid.flat, curves.items(), strict=False):
        ax.plot(curve.index, curve.to_numpy(dtype=float), color=colours.up, linewidth=0.7, alpha=0.6)
        dot = "." if len(curve) == 1 else None  # one epoch is no line
        ax.plot(curve.index, curve.mean(axis=1), color=colours.ink, linewidth=1.6, marker=dot)
        ax.set_title(named(name, 20), fontsize="small", loc="left", parse_math=False)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        drawn[name] = ax
    for ax in grid.flat[len(curves) :]:
        ax.set_visible(False)
    sheet.supxlabel("Epoch", fontsize="medium")
    sheet.supylabel(figure, fontsize="medium")
    sheet.suptitle(head or figure, fontsize="medium", x=0.01, ha="left")
    return drawn
