"""The panels of the picture of one decision, each drawn on axes that are there already."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import CenteredNorm, Normalize
from numpy.typing import ArrayLike

from workbench.plots.barticks import label_bars
from workbench.plots.candles import draw_prices, rising
from workbench.plots.panels import bars, null_of, signed_bars
from workbench.plots.style import MAGNITUDE, amounts, array, holds, named, palette

MOST_FEATURES = 12


@dataclass(frozen=True)
class Moment:
    """What is known of one decision; whatever is None is said to be missing, in words, in its panel.

    Attributes
    ----------
    weights
        (query, key) attention of one layer, its heads fused.
    weights_title
        What the weights are: "layer 0, mean of 4 heads". Without weights, why there are none.
    top
        Fixed end of the weights' colour scale; None takes their largest.
    block
        Bars a side of a cell, where cells are means over several.
    row
        The query that is picked out, counted from 0; −1 for none.
    scores
        (time,) or (time, feature) explanation of the window's bars; with features their sum is drawn, and
        each of them in a strip beneath.
    null
        (time,) what an indifferent model would show, or None.
    method
        What the scores are: "rollout of the last bar". Without scores, why there are none.
    feature_names
        One a feature of the scores.
    trust
        The measured faithfulness, or None when it was not measured.
    probabilities
        By class, or one forecast named "forecast".
    happened
        Return over the horizon, as a fraction; None when it is not known yet.
    moved
        The class of that move.
    horizon
        Bars from the decision to its label.
    position, equity, benchmark
        By date; equity and benchmark start from 100 where the backtest does.
    model
        What answered: "transformer, trained on AAPL to 2009".
    part
        Which part of the training the day belongs to: "train", "valid", "test" or, between two of them,
        "purged"; empty if it isn't known.
    forecast_unit
        What a forecast is: a "return" as a fraction, shown in percent, or another "value", shown as it is.
    """

    weights: ArrayLike | None = None
    weights_title: str = ""
    top: float | int | None = None
    block: int = 1
    row: int = -1
    scores: ArrayLike | None = None
    null: ArrayLike | None = None
    method: str = ""
    feature_names: Sequence[str] = ()
    trust: object | None = None
    probabilities: pd.Series | None = None
    happened: float | int | None = None
    moved: str | None = None
    horizon: int = 1
    position: pd.Series | None = None
    equity: pd.Series | None = None
    benchmark: pd.Series | None = None
    model: str = ""
    part: str = ""
    forecast_unit: str = "return"


def say(ax: Axes, words: str) -> None:
    """Write into a panel that has nothing to draw why that is so."""
    box, figure = ax.get_window_extent(), ax.get_figure(root=True)
    assert figure is not None
    lines = textwrap.wrap(" ".join(words.split()), max(12, int(13 * box.width / figure.dpi)))
    ax.text(
        0.5, 0.5, "\n".join(lines[:6]), transform=ax.transAxes, ha="center", va="center", fontsize="small",
        parse_math=False,
    )  # fmt: skip
    ax.tick_params(left=False, labelleft=False)


def draw_candles(ax: Axes, prices: pd.DataFrame) -> None:
    """Draw candles, or closes and that there is nothing else."""
    draw_prices(ax, prices)
    ax.yaxis.label.set_parse_math(False)
    if not all(holds(prices, column) for column in ("open", "high", "low")):
        ax.set_title("only closes are known", loc="right", fontsize="small", pad=4)


def draw_volume(ax: Axes, prices: pd.DataFrame) -> None:
    """Draw volume, in the colours of the candles."""
    ax.set_ylabel("Volume\n[units]")
    if not holds(prices, "volume"):
        say(ax, "Volume is not known.")
        return
    bars(ax, prices["volume"].to_numpy(dtype=float), rising(prices)).set_alpha(0.65)
    ax.yaxis.set_major_formatter(amounts)
    ax.locator_params(axis="y", nbins=3)


def draw_scores(ax: Axes, values: np.ndarray, null: ArrayLike | None, first: int) -> None:
    """Draw scores (time,) or the sums of (time, feature) from bar `first` on, over the null's outline."""
    sums = values.sum(1) if values.ndim == 2 else values
    baseline = null_of(null, len(sums))
    signed = bool((values < 0).any())
    scale = 1.0 if signed else 100.0
    padding = np.full(first, np.nan)
    shifted = np.concatenate([padding, scale * sums])
    outline = None if baseline is None else np.concatenate([padding, scale * baseline])
    signed_bars(ax, shifted, outline)
    ax.set_ylabel("Explanation\n[signed]" if signed else "Explanation\n[share, %]")
    ax.locator_params(axis="y", nbins=4)


def draw_features(ax: Axes, values: np.ndarray, names: Sequence[str], first: int) -> None:
    """Draw scores (time, feature) as a strip a feature, the strongest where there are many."""
    strongest = np.sort(np.argsort(-np.abs(values).sum(0), kind="stable")[:MOST_FEATURES])
    signed = bool((values < 0).any())
    ax.imshow(
        values[:, strongest].T,
        cmap=palette().signed if signed else MAGNITUDE,
        norm=CenteredNorm(0) if signed else Normalize(0),
        aspect="auto",
        interpolation="nearest",
        extent=(first - 0.5, first + len(values) - 0.5, len(strongest) - 0.5, -0.5),
    )
    told = [str(names[i]) if len(names) else f"feature {i}" for i in strongest]
    ax.set_yticks(range(len(told)), [named(name, 17) for name in told], fontsize="xx-small", parse_math=False)
    ax.tick_params(axis="y", length=0)


def draw_weights(ax: Axes, bar: Axes, shown: Moment, bar_dates: pd.DatetimeIndex) -> None:
    """Draw attention (query, key) with dates on both axes, and its colour bar on axes of its own."""
    if shown.weights is None:
        say(ax, shown.weights_title or "This model has no attention to show.")
        ax.tick_params(bottom=False, labelbottom=False)
        bar.remove()
        return
    weights = np.atleast_2d(array(shown.weights))
    if weights.ndim != 2:
        raise ValueError(
            f"weights must be of one layer, its heads fused: (query, key). Got {weights.shape}. "
            "Fuse them first, e.g. maps.layers[0][0].mean(0)."
        )
    most = 100 * float(np.nanmax(weights))
    top = most if shown.top is None else 100 * float(shown.top)
    image = ax.imshow(
        100 * weights, cmap=MAGNITUDE, norm=Normalize(0, top), aspect="auto", interpolation="nearest"
    )
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.colorbar(image, cax=bar, extend="max" if most > top * (1 + 1e-6) else "neither")
    bar.set_ylabel("Share of attention [%]", fontsize="small")
    bar.tick_params(labelsize="small")
    for axis, cells, name in ((ax.yaxis, len(weights), "Query"), (ax.xaxis, weights.shape[1], "Key")):
        label_bars(axis, _cell_dates(bar_dates, cells, shown.block), cells, name)
        axis.label.set_fontsize("small")
    ax.tick_params(labelsize="small")
    if 0 <= shown.row < len(weights):
        ax.axhspan(shown.row - 0.5, shown.row + 0.5, fill=False, edgecolor="#ffffff", linewidth=1.2)
    title = "\n".join(textwrap.wrap(shown.weights_title or "Attention", 44))
    ax.set_title(title, loc="left", fontsize="small", pad=4, parse_math=False)


def _cell_dates(bar_dates: pd.DatetimeIndex, cells: int, block: int) -> pd.DatetimeIndex | None:
    """Date of each cell's first bar; the last bar's where one query alone was computed."""
    if cells == 1:
        return bar_dates[-1:]
    dates = bar_dates[::block]
    return dates if len(dates) == cells else None
