"""A training from inside as a static picture, for where no widget runs."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from workbench.gates.states import GATES
from workbench.plots.barticks import label_bars
from workbench.plots.gatepanels import draw_units
from workbench.plots.style import DISTINCT, palette, worded
from workbench.widgets.monitordata import Story
from workbench.widgets.monitorwords import LOSSES
from workbench.widgets.panelbytes import LayerPanel

WIDTH = 9.0  # inches
LINES = {  # gate → colour and dash, as in the browser
    "input": (DISTINCT[0], "-"),
    "reset": (DISTINCT[0], "-"),
    "forget": (DISTINCT[5], "--"),
    "update": (DISTINCT[5], "--"),
    "candidate": (DISTINCT[2], ":"),
    "output": (DISTINCT[3], "-."),
}


def draw_monitor(story: Story, layer: str, epoch: int, status: str, findings: Sequence[str]) -> Figure:
    """Draw losses, gradient norms and the gates of a layer at an epoch, "" and 0 being the first and newest.

    `findings` are what is wrong now, in words; the first of them are written below the title.
    """
    shown = story.nearest(epoch)
    names = [facts["name"] for facts in story.layers]
    name = layer if layer in names else names[0] if names else ""
    panels = [] if shown is None else [panel for panel in story.panels[shown] if panel.layer == name]
    gates = [] if not panels else list(GATES[panels[0].kind])
    rows = 1 + -(-len(gates) // 2)
    figure = Figure(figsize=(WIDTH, 0.9 + 2.6 * rows), layout="constrained")
    grid = figure.add_gridspec(rows, 2)
    _losses(figure.add_subplot(grid[0, 0]), story)
    _norms(figure.add_subplot(grid[0, 1]), story, name)
    for i, gate in enumerate(gates):
        _gate(figure.add_subplot(grid[1 + i // 2, i % 2]), panels[0], gate, f"{name}, epoch {shown}")
    head = worded(WIDTH - 0.4, "Gates in training", *status.split(" · "))
    figure.suptitle("\n".join([head, *_first(findings)]), x=0.01, ha="left", fontsize="medium")
    return figure


def _first(findings: Sequence[str], most: int = 2) -> list[str]:
    more = [f"and {len(findings) - most} more findings"] if len(findings) > most else []
    return [line for text in [*findings[:most], *more] for line in worded(WIDTH - 0.4, text).split("\n")]


def _losses(ax: Axes, story: Story) -> None:
    shades = palette()
    looks = {"train_loss": (shades.ink, "--"), "valid_loss": (shades.up, "-")}
    for name, (colour, dash) in looks.items():
        _line(ax, story.rows, name, colour, dash, LOSSES[name])
    _dressed(ax, "Loss")


def _norms(ax: Axes, story: Story, layer: str) -> None:
    for gate, (colour, dash) in LINES.items():
        name = f"norm|{layer.split('#')[0]}|{gate}"
        if name in story.columns:
            _line(ax, story.rows, name, colour, dash, gate)
    if any(np.any(np.asarray(line.get_ydata()) > 0) for line in ax.lines):
        ax.set_yscale("log")
    _dressed(ax, "Gradient norm before clipping")


def _line(
    ax: Axes, rows: Mapping[int, Mapping[str, float]], name: str, colour: str, dash: str, label: str
) -> None:
    known = [epoch for epoch in sorted(rows) if np.isfinite(rows[epoch].get(name, np.nan))]
    if known:
        ax.plot(known, [rows[epoch][name] for epoch in known], dash, color=colour, label=label, marker=".")


def _dressed(ax: Axes, unit: str) -> None:
    ax.set_xlabel("Epoch")
    ax.set_ylabel(unit)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if ax.lines:
        ax.legend(fontsize="small")
    else:
        ax.text(0.5, 0.5, "not known yet", ha="center", va="center", transform=ax.transAxes)


def _gate(ax: Axes, panel: LayerPanel, gate: str, where: str) -> None:
    values = panel.values(gate)
    if panel.block > 1:  # cells back to units and bars
        values = values.repeat(panel.block, axis=0).repeat(panel.block, axis=1)
        values = values[: panel.units, : panel.steps]
    draw_units(ax, gate, values)
    label_bars(ax.xaxis, None, panel.steps)
    ax.set_title(f"{gate} of {where}, mean of {panel.windows} windows", loc="left", fontsize="medium")
