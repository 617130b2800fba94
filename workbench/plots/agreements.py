"""How far methods agree, as a table whose cells are coloured."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, TwoSlopeNorm

from workbench.plots.panels import one
from workbench.plots.style import array, named, palette, provenance_of, rgb, titled


def agreement(table: pd.DataFrame, chance: float | None = None, ax: Axes | None = None) -> Axes:
    """Draw the agreement of any two methods, number by number.

    Parameters
    ----------
    table
        (method, method): rank correlations from −1 to 1 or, with `chance`, shares from 0 to 1. NaN is written
        as a dash. `attrs` may hold the provenance of the prices, and the number of bars k that are shared.
    chance
        What methods that know nothing of each other share: cells above it have one colour, below it the
        other. By default that in `table.attrs`. A correlation's chance is 0.
    ax
        None makes a figure.

    Returns
    -------
    Axes
        The columns are numbered as the rows are.

    Raises
    ------
    ValueError
        If the table is not square, its rows and columns differ, or a value is out of range.

    Examples
    --------
    >>> seen = compare(model, test, "all")  # doctest: +SKIP
    >>> agreement(seen.spearman), agreement(seen.top_k(5))  # doctest: +SKIP
    """
    chance = table.attrs.get("chance") if chance is None else chance
    values = _checked(table, chance)
    count = len(values)
    ax = one(ax, size=(3.4 + 0.52 * count, 1.6 + 0.42 * count))
    norm = Normalize(-1, 1) if chance is None else TwoSlopeNorm(min(chance, 0.99), 0, 1)
    image = ax.imshow(values, cmap=palette().signed, norm=norm, aspect="auto", interpolation="nearest")
    _write(ax, values, image.to_rgba(values))
    names = [f"{i} {named(str(name), 26)}" for i, name in enumerate(table.index, start=1)]
    ax.set_yticks(range(count), names, parse_math=False)
    ax.set_xticks(range(count), [str(i) for i in range(1, count + 1)])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    label = "rank correlation" if chance is None else "share in common"
    bar = ax.figure.colorbar(image, ax=ax, label=label)
    if chance is not None:
        bar.set_ticks([0, chance, 1], labels=["0", f"{chance:.2g}", "1"])
    titled(ax, *_titles(table, chance), provenance=provenance_of(table))
    return ax


def _checked(table: pd.DataFrame, chance: float | None) -> np.ndarray:
    values = array(table)
    if values.ndim != 2 or not len(values) or list(table.index) != list(table.columns):
        raise ValueError(
            f"table must have the same methods as rows and columns. Got {list(table.index)} and "
            f"{list(table.columns)}. compare(…).spearman is such a table."
        )
    low = -1 if chance is None else 0
    outside = values[(values < low - 1e-9) | (values > 1 + 1e-9)]
    if len(outside):
        raise ValueError(
            f"values must be from {low} to 1. Got {outside[0]:.3g}. "
            + ("Without chance they are correlations." if chance is None else "With chance they are shares.")
        )
    return values


def _write(ax: Axes, values: np.ndarray, colours: np.ndarray) -> None:
    """Write each number in black or white, whichever its cell sets off."""
    for (row, column), value in np.ndenumerate(values):
        known = bool(np.isfinite(value))
        red, green, blue = colours[row, column, :3] if known else rgb(ax.get_facecolor())
        light = 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.45
        text = f"{round(value, 2) + 0:.2f}".replace("-", "−") if known else "–"
        ax.text(
            column, row, text, ha="center", va="center", fontsize="small",
            color="#000000" if light else "#ffffff",
        )  # fmt: skip


def _titles(table: pd.DataFrame, chance: float | None) -> tuple[str, str]:
    if chance is None:
        return "Do the methods rank the bars alike?", "Spearman's correlation of |score|, mean over windows"
    k = table.attrs.get("k")
    bars = f"the {k} bars" if k else "the bars"
    return f"Do the methods agree on {bars} that matter most?", f"share in common · by chance {chance:.2g}"
