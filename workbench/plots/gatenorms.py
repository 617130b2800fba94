"""How large the gradients of each gate's weights were, epoch by epoch."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from workbench.plots.layerpanels import ORDER
from workbench.plots.panels import stack
from workbench.plots.style import DISTINCT, palette, provenance_of, titled

_PARAMETER = re.compile(
    r"^(?P<module>.*?)\.?(?:weight|bias)_(?:ih|hh)_l(?P<layer>\d+)(?P<reverse>_reverse)?$"
)
_GATES = tuple(dict.fromkeys((*ORDER["lstm"], *ORDER["gru"])))
_COLOURS = dict(zip(_GATES, (*DISTINCT[:4], DISTINCT[4], DISTINCT[5]), strict=True))
_LINES = dict(zip(_GATES, ("-", "--", ":", "-.", "-", "--"), strict=True))


def gate_norms(
    weights: pd.DataFrame, ax: Axes | None = None, provenance: Mapping[str, Any] | None = None
) -> dict[str, Axes]:
    """Draw gradient norms by gate over the epochs, on a logarithmic scale, a panel a layer.

    A gate's norm is that of its row blocks of all the layer's weights and biases together,
    √(Σ ‖∂L/∂θ‖²).

    Parameters
    ----------
    weights
        By (epoch, parameter, gate), as a log's `weights`: column `gradient_norm`, and it may be `not_finite`.
    ax
        Becomes the topmost panel. None makes a figure.
    provenance
        Of the prices; made-up prices are named in the title.

    Returns
    -------
    dict of Axes
        By layer: "lstm.l0". Crosses at the top mark epochs in which a weight or a gradient of the gate was
        not finite; epochs that weren't measured, and norms of 0, are gaps.

    Raises
    ------
    TypeError
        If it is no table.
    ValueError
        If the frame isn't such, or no recurrent layer's norm is known.
    """
    _check_table(weights)
    norms, broken = _by_layer(weights)
    layers = list(norms.columns.unique(0))
    panels = dict(zip(layers, stack(ax, [1.0] * len(layers), (9.0, 1.6 + 1.7 * len(layers))), strict=True))
    for layer, panel in panels.items():
        _draw(panel, pd.DataFrame(norms[layer]), pd.DataFrame(broken[layer]))
        panel.set_ylabel(f"{layer}\nGradient norm")
    top, lowest = panels[layers[0]], panels[layers[-1]]
    lowest.set_xlabel("Epoch")
    first, last = norms.index.to_numpy(dtype=float)[[0, -1]]
    margin = max(0.5, 0.03 * (last - first))  # one epoch alone still gets whole numbers
    lowest.set_xlim(first - margin, last + margin)
    lowest.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    handles = {
        name: line
        for panel in panels.values()
        for line, name in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    top.legend(handles.values(), handles.keys(), loc="lower right", bbox_to_anchor=(1, 1), ncols=3,
               fontsize="small", frameon=False)  # fmt: skip
    spoilt = int(broken.any(axis=1).sum())
    said = f"× not finite in {spoilt} epoch{'s' * (spoilt > 1)}" if spoilt else ""
    titled(top, "Gradient norms by gate", f"{len(norms)} epoch{'s' * (len(norms) > 1)}", said,
           provenance=provenance or provenance_of(weights), share=0.55)  # fmt: skip
    return panels


def _check_table(weights: object) -> None:
    if not isinstance(weights, pd.DataFrame):
        raise TypeError(
            "weights must be a table by (epoch, parameter, gate). "
            f"Got {type(weights).__name__}: of a monitor give monitor.log.weights, of a log log.weights."
        )


def _by_layer(weights: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return norms, and where something was not finite, by epoch, a column a (layer, gate)."""
    levels = ["epoch", "parameter", "gate"]
    if list(weights.index.names) != levels or "gradient_norm" not in weights:
        raise ValueError(
            "weights must be by (epoch, parameter, gate) with a column gradient_norm, as GateLog.weights. "
            f"Got {list(weights.index.names)} and {list(weights.columns)}."
        )
    layers = [_layer(parameter) for parameter in weights.index.get_level_values("parameter")]
    rows = weights.assign(layer=layers).reset_index()
    rows = pd.DataFrame(rows[(rows["layer"] != "") & (rows["gate"] != "")])
    norms = rows["gradient_norm"].to_numpy(dtype=float)
    if np.isnan(norms).all():
        raise ValueError("weights must hold a gradient norm of a recurrent layer. Got none.")
    counts = rows["not_finite"].to_numpy(dtype=float) if "not_finite" in rows else np.zeros(len(rows))
    rows = rows.assign(square=norms**2, spoilt=np.isinf(norms) | (counts > 0))
    groups = {"index": "epoch", "columns": ["layer", "gate"], "sort": False, "dropna": False}
    there = list(dict.fromkeys(zip(rows["layer"], rows["gate"], strict=True)))
    squares = rows.pivot_table(values="square", aggfunc=_sum, **groups)
    broken = rows.pivot_table(values="spoilt", aggfunc="any", fill_value=False, **groups)
    return squares.loc[:, there].pow(0.5), broken.loc[:, there]


def _sum(values: pd.Series) -> float:
    """Return the sum of the numbers that there are, NaN of none."""
    return float(values.sum(min_count=1))


def _layer(parameter: str) -> str:
    """Return the layer's name, "" of what is no gate's weight."""
    found = _PARAMETER.match(str(parameter))
    if found is None:
        return ""
    place = f"l{found['layer']}" + (".reverse" if found["reverse"] else "")
    return ".".join(filter(None, (found["module"], place)))


def _draw(ax: Axes, norms: pd.DataFrame, broken: pd.DataFrame) -> None:
    few = len(norms) <= 30
    for gate in sorted(norms, key=_GATES.index):
        values = norms[gate].to_numpy(dtype=float)
        values = np.where(np.isfinite(values) & (values > 0), values, np.nan)
        style = {"color": _COLOURS[gate], "linestyle": _LINES[gate], "marker": "." if few else None}
        ax.plot(norms.index, values, label=gate, **style)
        spoilt = norms.index[broken[gate].to_numpy(dtype=bool)]
        ax.plot(
            spoilt, np.full(len(spoilt), 0.96), "x", color=_COLOURS[gate], transform=ax.get_xaxis_transform()
        )
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,), numticks=8))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.grid(axis="y", color=palette().ink, alpha=0.15)
