"""How far back units remember, how far back attention looks, and how far back the loss hangs on the bars."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from workbench.plots.layerpanels import counted
from workbench.plots.panels import bars, stack
from workbench.plots.style import DISTINCT, array, palette, provenance_of, titled

_BARS = 60  # drawn where no lags are given


def memory(
    units: pd.DataFrame,
    attention: ArrayLike | None = None,
    lags: pd.DataFrame | None = None,
    ax: Axes | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> dict[str, Axes]:
    """Draw the memory lengths of units above what attention and gradient say, on one axis of lags.

    A unit's memory length, −1 / mean(ln f), is after how many bars its forget gates have left 1/e of what the
    cell held. It takes no account of what goes round through h, which the gradient does.

    Parameters
    ----------
    units
        By (layer, unit), as a snapshot's `units`: column `memory_length` [bars].
    attention
        (time,) how much each bar of the window counted, the decision bar last: the mean of an explanation's
        scores. None leaves it out.
    lags
        By lag, 0 being the last bar, as a snapshot's `lags`: column `input_gradient`. None leaves it out.
    ax
        Becomes the topmost panel. None makes a figure.
    provenance
        Of the prices; made-up prices are named in the title.

    Returns
    -------
    dict of Axes
        "memory", and "attention" and "input_gradient" as given. Lines mark the median unit, and mean lags.
        Units that remember beyond the window are counted in the title.

    Raises
    ------
    ValueError
        If no unit has a memory length, lags are of different windows, or a share is negative.
    """
    lengths = _lengths(units)
    below = _below(attention, lags)
    counts = {len(shares) for shares in below.values()}
    if len(counts) > 1:
        raise ValueError(
            f"attention and lags must be of one window's bars. Got {' and '.join(map(str, sorted(counts)))}."
        )
    count = counts.pop() if counts else _BARS
    stacked = stack(ax, (1.5, *[1] * len(below)), size=(9.0, 3.0 + 1.2 * len(below)))
    panels = dict(zip(("memory", *below), stacked, strict=True))
    _draw_lengths(panels["memory"], lengths, count)
    for name, shares in below.items():
        _draw_shares(panels[name], shares, name)
    stacked[-1].set_xlim(-0.6, count - 0.4)
    stacked[-1].xaxis.set_major_locator(MaxNLocator(10, integer=True))
    stacked[-1].set_xlabel("Lag [bars before the decision]")
    told = _told(lengths, count)
    titled(stacked[0], *told, provenance=provenance or provenance_of(units), share=0.75)
    return panels


def _told(lengths: pd.Series, count: int) -> tuple[str, str]:
    """Return the title: the median, and how many units remember beyond the bars that are drawn."""
    median = f"{lengths.median():.3g}"
    head = f"Memory: the median unit's is {median} bar{'s' * (median != '1')}"
    beyond = int((lengths > count - 0.5).sum())
    if not beyond:
        return head, counted(len(lengths))
    verb = "remembers" if beyond == 1 else "remember"
    return head, f"{beyond} of {counted(len(lengths))} {verb} beyond the {counted(count, 'bar')}"


def _lengths(units: pd.DataFrame) -> pd.Series:
    """Return the memory lengths that there are; one of ∞ is a unit that forgets nothing."""
    known = pd.Series(units.get("memory_length", []), dtype=float).dropna()
    if known.empty or units.index.nlevels != 2 or (known < 0).any():
        raise ValueError(
            "units must be by (layer, unit), one snapshot's, with a column memory_length [bars] of 0 or "
            f"more. Got {list(units.index.names)} and {list(units.columns)[:8]}, {len(known)} with a length."
        )
    return known


def _below(attention: ArrayLike | None, lags: pd.DataFrame | None) -> dict[str, np.ndarray]:
    """Return shares by lag, the decision bar first."""
    found: dict[str, np.ndarray] = {}
    if attention is not None:
        found["attention"] = array(attention)[::-1]
    if lags is not None:
        if "input_gradient" not in lags or list(lags.index) != list(range(len(lags))):
            raise ValueError(
                "lags must be by lag, 0, 1, 2 …, with a column input_gradient. "
                f"Got {list(lags.index[:4])} … and {list(lags.columns)}."
            )
        found["input_gradient"] = array(lags["input_gradient"])
    for name, values in found.items():
        if values.ndim != 1 or not np.isfinite(values).all() or (values < 0).any() or not values.any():
            raise ValueError(
                f"{name} must be one number of 0 or more a bar, not all 0. Got shape {values.shape}. "
                "Take the mean over windows of absolute scores, e.g. abs(why.scores).mean(0)."
            )
        found[name] = values / values.sum()
    return found


def _draw_lengths(ax: Axes, lengths: pd.Series, count: int) -> None:
    """Draw how many units remember so many bars, layers upon each other."""
    edges, base = np.arange(count + 1) - 0.5, np.zeros(count)
    layers = lengths.index.unique(0)
    colours = DISTINCT if len(layers) > 1 else (palette().up,)
    for place, layer in enumerate(layers):
        heights = np.histogram(lengths.loc[layer], edges)[0].astype(float)
        bars(ax, heights, colours[place % len(colours)], bases=base, label=str(layer))
        base = base + heights
    _mark(ax, float(lengths.median()), count)
    ax.set_ylim(0, max(1.0, 1.15 * base.max()))
    ax.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    ax.set_ylabel("Memory length\n[units]")
    if len(layers) > 1:
        ax.legend(fontsize="small", loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)


def _draw_shares(ax: Axes, shares: np.ndarray, name: str) -> None:
    bars(ax, 100 * shares, palette().up)
    mean = float(shares @ np.arange(len(shares)))
    _mark(ax, mean, len(shares))
    ax.set_ylabel({"attention": "Attention\n[share, %]"}.get(name, "Input gradient\n[share, %]"))
    ax.set_title(f"mean lag {mean:.1f} bars", loc="right", fontsize="small", pad=3)


def _mark(ax: Axes, lag: float, count: int) -> None:
    if lag <= count - 0.5:
        ax.axvline(lag, color=palette().ink, linewidth=1.2, linestyle="--")
