"""How much of the time each unit's gates stand shut or open."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from workbench.plots.layerpanels import counted, heading
from workbench.plots.style import DISTINCT, palette, provenance_of, worded

_LEFT, _RIGHT = "_saturation_left", "_saturation_right"
_MARKERS = "os^DvP"
_NAMED = 3  # units a gate that are called by their number
_PLACES = 50  # along an axis; units in the same one cannot be told apart
_MUCH = 0.5  # share of steps from which they are


def saturation(units: pd.DataFrame, provenance: Mapping[str, Any] | None = None) -> dict[str, Axes]:
    """Draw each unit of each gate as a point: how often it is shut across, how often open up.

    A unit at (0, 0) moves in between; one at (1, 0) is always shut, one at (0, 1) always open. None can lie
    beyond the diagonal between these two; there it says how many are shut or open for more than half of the
    steps, and which three are most. Where many units lie on each other, a text says how many.

    Parameters
    ----------
    units
        By (layer, unit), as a snapshot's `units`: columns `forget_saturation_left`, the share of steps below
        0.1, `forget_saturation_right`, the share above 0.9, and those of other gates.
    provenance
        Of the prices; made-up prices are named in the title.

    Returns
    -------
    dict of Axes
        By the gates' names.

    Raises
    ------
    ValueError
        If no gate has both columns, units aren't by (layer, unit), or a share is outside 0 to 1.

    Notes
    -----
    Karpathy, Johnson & Li (2015), "Visualizing and Understanding Recurrent Networks", figure 3.
    """
    import matplotlib.pyplot as plt

    shares = _shares(units)
    figure, row = plt.subplots(
        1, len(shares), squeeze=False, sharex=True, sharey=True, layout="constrained",
        figsize=(max(4.6, min(13.0, 0.7 + 2.9 * len(shares))), 4.1),
    )  # fmt: skip
    panels = dict(zip(shares, row[0], strict=True))
    for gate, ax in panels.items():
        _draw(ax, shares[gate])
        ax.set_title(heading(gate), loc="left", fontsize="medium")
        ax.set_xlabel("Shut [share of steps < 0.1]")
    row[0][0].set_ylabel("Open [share of steps > 0.9]")
    layers = units.index.unique(0)
    if len(layers) > 1:
        handles, names = row[0][0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=min(4, len(layers)), fontsize="small")
    only = f"of {layers[0]}" if len(layers) == 1 else f"of {len(layers)} layers"
    head = worded(
        figure.get_figwidth() - 0.4, f"How often gates {only} stand shut or open", counted(len(units)),
        provenance=provenance or provenance_of(units),
    )  # fmt: skip
    figure.suptitle(head, x=0.01, ha="left", fontsize="medium")
    return panels


def _shares(units: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return left and right shares by gate, of the units that have the gate."""
    if units.index.nlevels != 2:
        raise ValueError(f"units must be by (layer, unit), one snapshot's. Got {list(units.index.names)}.")
    gates = [name.removesuffix(_LEFT) for name in units.columns if str(name).endswith(_LEFT)]
    found: dict[str, pd.DataFrame] = {}
    for gate in (gate for gate in gates if gate + _RIGHT in units):
        columns = {"left": units[gate + _LEFT], "right": units[gate + _RIGHT]}
        frame = pd.DataFrame(columns).dropna()
        if len(frame):
            found[gate] = frame
    if not found:
        raise ValueError(
            f"units must have columns such as forget{_LEFT} and forget{_RIGHT}, with a number in them. "
            f"Got {list(units.columns)[:8]}."
        )
    for gate, frame in found.items():
        if frame.to_numpy().min() < 0 or frame.to_numpy().max() > 1:
            raise ValueError(f"shares of steps must be from 0 to 1. Those of the {gate} gate are not.")
    return found


def _draw(ax: Axes, shares: pd.DataFrame) -> None:
    ink = palette().ink
    ax.plot([0, 1], [1, 0], color=ink, linewidth=0.8, linestyle=":")
    groups = shares.groupby(level=0, sort=False)
    colours = DISTINCT if groups.ngroups > 1 else (palette().up,)
    for place, (layer, frame) in enumerate(groups):
        colour, marker = colours[place % len(colours)], _MARKERS[place % len(_MARKERS)]
        ax.scatter(
            frame["left"], frame["right"], s=26, color=colour, marker=marker, alpha=0.65, linewidths=0,
            label=str(layer),
        )  # fmt: skip
    for (left, right), count in _crowded(shares):
        side, up = (1 if left < 0.5 else -1), (1 if right < 0.9 else -1)
        ax.annotate(
            counted(count), (left, right), xytext=(6 * side, 6 * up), textcoords="offset points",
            ha="left" if side > 0 else "right", va="bottom" if up > 0 else "top", fontsize="x-small",
        )  # fmt: skip
    ax.text(0.97, 0.97, _words(shares), transform=ax.transAxes, ha="right", va="top", fontsize="x-small",
            parse_math=False)  # fmt: skip
    ax.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04))
    ax.set_xticks(np.linspace(0, 1, 3))
    ax.set_yticks(np.linspace(0, 1, 3))


def _crowded(shares: pd.DataFrame) -> list[tuple[tuple[float, float], int]]:
    """Return the places, far from each other, at which many units lie, and how many."""
    rounded = np.round(shares.to_numpy() * _PLACES) / _PLACES
    places, counts = np.unique(rounded, axis=0, return_counts=True)
    found: list[tuple[tuple[float, float], int]] = []
    for at in np.argsort(-counts, kind="stable").tolist():
        left, right = float(places[at, 0]), float(places[at, 1])
        apart = all(abs(left - x) > 0.5 or abs(right - y) > 0.15 for (x, y), _ in found)
        if counts[at] >= max(3, len(shares) / 8) and apart:
            found.append(((left, right), int(counts[at])))
    return found


def _words(shares: pd.DataFrame) -> str:
    """Say how many units stand still for more than half of the steps, and which do most."""
    still = shares["left"].to_numpy() + shares["right"].to_numpy()
    order = np.argsort(-still, kind="stable")
    most = [f"{layer} unit {unit}" for layer, unit in shares.index[order[:_NAMED]]]
    count = int((still > _MUCH).sum())
    verb = "stands" if count == 1 else "stand"
    return "\n".join([f"{count} of {counted(len(still))} {verb} still", *most[:count]])
