"""The strongest recurrent edges of a gate as a graph that unrolls in time, still or moving."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize

from workbench.plots.animations import Animation, packed, quantised, tables
from workbench.plots.barticks import lags
from workbench.plots.gateframes import checked_labels, still_of
from workbench.plots.gatepanels import label_units
from workbench.plots.layerpanels import STATES, bounds, heading
from workbench.plots.panels import checked_dates, one
from workbench.plots.recurrentedges import Edges
from workbench.plots.style import MAGNITUDE, palette, titled, worded

_NOTE = (
    "Drawn: {which}, on average {share:.0f} % of all terms' size; blue adds to the gate's sum, vermilion "
    "takes from it; width grows with size, on one scale for all bars."
)
_BEND = np.linspace(0, 1, 17)


def recurrent_graph(
    edges: Edges,
    dates: pd.DatetimeIndex | None = None,
    step: int = -1,
    steps: int = 4,
    ax: Axes | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Axes:
    """Draw what units tell a gate over the last bars: a column a bar, a line an edge.

    A line from unit j at one column to unit i at the next is the term W_hh[i, j]·h_j of the pre-activation
    of i's gate at the next: blue adds to it, vermilion takes from it; width and strength grow with its size.
    Dots are the state h at that column; those of the last column are the gate's own values.

    Parameters
    ----------
    edges
        As `recurrent_edges` returns them.
    dates
        Dates of the window's bars. None counts bars back from the last, t.
    step
        The last bar drawn, one of the window's steps.
    steps
        How many bars. A layer with a projection mixes units into fewer states, so of it one is drawn.
    ax
        None makes a figure.
    provenance
        Of the prices; made-up prices are named in the title.

    Raises
    ------
    ValueError
        If there is no such step, `steps` is below 1, or dates don't match the bars.
    """
    shown = _steps(edges, step, steps)
    names = _names(edges, dates)
    ax = one(ax, size=(9.0, 5.4))
    largest = _largest(edges)
    for column, at in enumerate(shown):
        _draw_edges(ax, edges, at, column, largest)
    _draw_nodes(ax, edges, shown)
    label_units(ax, edges.openings.shape[1])
    before = "after" if edges.reverse else "before"
    columns = [f"h {before}", *[names[edges.bars[at]] for at in shown]]
    ax.set_xticks(range(len(columns)), columns)
    ax.set_xlim(-0.25, len(shown) + 0.25)
    ax.set_xlabel("Date" if dates is not None else "Bar (t: the last)")
    ax.grid(visible=False)
    ax.spines[["top", "right", "bottom", "left"]].set_visible(False)
    ax.tick_params(length=0)
    titled(ax, *_told(edges), *_facts(edges, shown), provenance=provenance)
    return ax


def recurrent_animation(
    edges: Edges,
    dates: pd.DatetimeIndex | None = None,
    labels: Sequence[str] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Animation:
    """Draw the edges into a gate bar by bar, with Play and a slider: left the states before, right the gate.

    Parameters
    ----------
    edges
        As `recurrent_edges` returns them.
    dates
        Dates of the window's bars, which name the frames. None counts bars back from the last, t.
    labels
        One a step, instead of dates.
    provenance
        Of the prices; made-up prices are named in the title.

    Returns
    -------
    Animation
        Hovering, or the arrow keys, read an edge's exact size (32 bits). Dots are kept in 8 bits.

    Raises
    ------
    ValueError
        If dates or labels don't match the steps.
    """
    names = _names(edges, dates)
    named = [names[bar] for bar in edges.bars] if labels is None else labels
    left, states = _column(edges.states, "hidden", f"h {'after' if edges.reverse else 'before'}", 0)
    right, openings = _column(edges.openings, edges.gate, f"{heading(edges.gate)} now", 1)
    facts = {
        "kind": "graph",
        "left": left,
        "right": right,
        "edges": edges.size.shape[1],
        "largest": _largest(edges),
        "tables": tables(),
        "note": _NOTE.format(which=edges.head, share=100 * edges.covered.mean()),
        "buffers": {
            "source": packed(edges.source.astype(np.uint16)),
            "target": packed(edges.target.astype(np.uint16)),
            "size": packed(edges.size.astype(np.float32)),
            "states": packed(states),
            "openings": packed(openings),
        },
    }
    title = worded(1000, *_told(edges), provenance=provenance).replace("\n", " · ")
    still = still_of(recurrent_graph(edges, dates, steps=1, provenance=provenance))
    return Animation(title, tuple(checked_labels(named, len(edges.bars))), facts, still)


def _steps(edges: Edges, step: int, steps: int) -> list[int]:
    """Return the steps drawn, first the one that is read first of them."""
    count = len(edges.bars)
    if not -count <= step < count or steps < 1:
        raise ValueError(
            f"step must be one of the {count} of the window, and steps at least 1. Got {step} and {steps}."
        )
    if edges.states.shape[1] != edges.openings.shape[1]:
        steps = 1
    last = step % count
    if edges.reverse:  # it reads from the right: what came before a bar stands at the one after it
        return list(range(min(count - 1, last + steps - 1), last - 1, -1))
    return list(range(max(0, last - steps + 1), last + 1))


def _names(edges: Edges, dates: pd.DatetimeIndex | None) -> list[str]:
    count = int(edges.bars.max()) + 1
    if dates is None:
        return [str(label) for label in lags(count)]
    checked_dates(dates if len(dates) < count else dates[:count], count, "bars")
    return list(dates.strftime("%d %b %Y" if bool((dates == dates.normalize()).all()) else "%d %b %H:%M"))


def _largest(edges: Edges) -> float:
    return float(np.abs(edges.size).max()) or 1.0


def _told(edges: Edges) -> tuple[str, str]:
    head = f"What units tell the {heading(edges.gate).lower()} of {edges.layer} ({edges.kind.upper()})"
    return head, edges.head


def _facts(edges: Edges, shown: list[int]) -> tuple[str, ...]:
    """Say how much of all that units tell is drawn, and how to read it."""
    if not edges.size[shown].any():
        return ("all terms are 0",)
    covered = f"{100 * edges.covered[shown].mean():.0f} % of all terms' size"
    return covered, f"widest line {_largest(edges):.3g}", "blue adds, vermilion takes"


def _draw_edges(ax: Axes, edges: Edges, at: int, column: int, largest: float) -> None:
    """Draw one bar's edges from `column` to the next, the strongest on top."""
    shades = palette()
    states, units = edges.states.shape[1], edges.openings.shape[1]
    rank = np.flatnonzero(edges.size[at])[::-1]  # of a first step from 0 there is none
    if len(rank) == 0:
        return
    size = edges.size[at, rank]
    share = np.abs(size) / largest
    from_ = (edges.source[at, rank] + 0.5) * units / states - 0.5  # fewer states stand as far apart as units
    rise = _BEND**2 * (3 - 2 * _BEND)
    x = np.broadcast_to(column + _BEND, (len(rank), len(_BEND)))
    y = from_[:, None] + (edges.target[at, rank] - from_)[:, None] * rise
    colours = np.where(size < 0, shades.down, shades.up)
    lines = LineCollection(
        list(np.stack([x, y], axis=-1)), colors=list(colours), linewidths=0.5 + 3.5 * share
    )
    lines.set_alpha(list(0.25 + 0.75 * share))
    ax.add_collection(lines)


def _draw_nodes(ax: Axes, edges: Edges, shown: list[int]) -> None:
    """Draw the states that each bar starts from, and the gate at the last one, with their colour bars."""
    states, units = edges.states.shape[1], edges.openings.shape[1]
    places = (np.arange(states) + 0.5) * units / states - 0.5
    size = float(np.clip(1600 / units, 8, 60))
    line = {"edgecolors": palette().ink, "linewidths": 0.4 if units <= 64 else 0, "zorder": 3}
    scale = Normalize(*bounds("hidden", edges.states))
    signed = palette().signed
    for column, at in enumerate(shown):
        ax.scatter(np.full(states, column), places, size, edges.states[at], cmap=signed, norm=scale, **line)
    openings = edges.openings[shown[-1]]
    own = Normalize(*bounds(edges.gate, openings))
    cmap = signed if edges.gate in STATES else MAGNITUDE
    ax.scatter(np.full(units, len(shown)), np.arange(units), size, openings, cmap=cmap, norm=own, **line)
    for norm, colours, label in (
        (scale, signed, "state h"),
        (own, cmap, f"{heading(edges.gate).lower()}, last column"),
    ):
        ax.figure.colorbar(ScalarMappable(norm, colours), ax=ax, label=label, fraction=0.03, pad=0.015)


def _column(values: np.ndarray, name: str, head: str, x: int) -> tuple[dict[str, Any], np.ndarray]:
    codes, scale = quantised(values, *bounds(name, values))
    return scale | {"count": values.shape[1], "head": head, "x": x, "signed": name in STATES}, codes
