"""Portfolios: which assets the answer for each asset was drawn from."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from numpy.typing import ArrayLike

from workbench.plots.panels import one
from workbench.plots.style import DISTINCT, array, named, palette, provenance_of, titled

_OTHERS = "#8c8c8c"


def portfolio_bars(
    matrix: ArrayLike | pd.DataFrame,
    tickers: Sequence[str] | np.ndarray | None = None,
    ax: Axes | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Axes:
    """Draw how much of the answer for each asset comes from every asset, as stacked horizontal bars.

    Six source assets at most have a colour of their own, those with the most attribution in all; the rest
    are added up as one. An asset's own part is outlined. Negative attribution goes to the left.

    Parameters
    ----------
    matrix
        (asset, asset): row i says from which assets (columns) the answer for asset i was drawn.
    tickers
        Names of the assets. By default the columns of a DataFrame.
    ax
        None makes a figure.
    provenance
        Of the prices; made-up prices are named in the title.

    Raises
    ------
    ValueError
        If the matrix isn't square, or tickers are not one an asset.
    """
    values = array(matrix)
    names = _names(matrix, tickers)
    if values.ndim != 2 or values.shape[0] != values.shape[1] or len(names) != len(values):
        raise ValueError(
            f"matrix must be (asset, asset) with one ticker an asset. Got {values.shape} and {len(names)} "
            "tickers."
        )
    ax = one(ax, size=(9.0, max(2.2, 0.28 * len(names) + 1.4)))
    chosen = np.argsort(-np.abs(values).sum(0), kind="stable")
    chosen = np.sort(chosen[: len(DISTINCT)])
    _draw_stacks(ax, values, chosen, names)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    signed = bool((values < 0).any())
    ax.set_xlabel("Attribution [signed]" if signed else "Attribution [share]")
    ax.set_ylabel("Answer for")
    titled(
        ax,
        "Asset to asset attribution",
        "outlined: the asset itself",
        provenance=provenance or provenance_of(matrix),
    )
    return ax


def _names(matrix: object, tickers: Sequence[str] | np.ndarray | None) -> list[str]:
    if tickers is None:
        if not isinstance(matrix, pd.DataFrame):
            raise ValueError("tickers must name the assets. Pass a list, or the matrix as a DataFrame.")
        tickers = list(matrix.columns)
    return [named(str(ticker), most=16) for ticker in tickers]


def _draw_stacks(ax: Axes, values: np.ndarray, chosen: np.ndarray, names: list[str]) -> None:
    """Stack the chosen source assets (columns), then all others as one."""
    rows = np.arange(len(values))
    right, left = np.zeros(len(values)), np.zeros(len(values))
    sources = [(names[i], DISTINCT[k], values[:, [i]], rows == i) for k, i in enumerate(chosen)]
    others = np.setdiff1d(rows, chosen)
    if len(others):
        sources.append((f"{len(others)} others", _OTHERS, values[:, others], np.zeros(len(rows), dtype=bool)))
    for _, colour, parts, own in sources:
        for part, ends in ((parts.clip(min=0).sum(1), right), (parts.clip(max=0).sum(1), left)):
            outline = np.where(own & (part != 0), 1.6, 0.0)
            ax.barh(
                rows, part, left=ends, height=0.72, color=colour, edgecolor=palette().ink, linewidth=outline
            )
            ends += part
    keys = [Patch(facecolor=colour, label=name) for name, colour, _, _ in sources]
    ax.legend(
        handles=keys,
        title="drawn from",
        loc="upper left",
        bbox_to_anchor=(1.01, 1.02),
        frameon=False,
        fontsize="small",
        title_fontsize="small",
    )
    if left.any():
        ax.axvline(0, color=palette().ink, linewidth=0.8)
