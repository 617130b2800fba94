"""Frames of signals: of units from recovered gates, of inputs from windows, of lags from their gradients."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from numpy import ndarray as Array
from torch import Tensor

from workbench.gates import measures
from workbench.gates.signals import INPUT_SIGNALS, LAG_SIGNALS, UNIT_SIGNALS
from workbench.gates.states import GateStates, LayerGates
from workbench.models.scaling import InputScaling

Column = Float[Array, " unit"]
_PLACES = {name: place for place, name in enumerate(UNIT_SIGNALS)}
_COLUMNS = pd.Index(list(UNIT_SIGNALS), name="signal")
_KEPT = {"lstm": "forget", "gru": "update"}  # the gate that is the share of memory kept


def unit_signals(states: GateStates, before: GateStates | None = None) -> pd.DataFrame:
    """Return the signals of `UNIT_SIGNALS` of every unit.

    Parameters
    ----------
    states
        Of a probe; padding is left out.
    before
        Of the same probe at the snapshot before, for `frozen`, which is NaN without it.

    Returns
    -------
    DataFrame
        By (layer, unit). NaN where a signal does not apply: of the gates of the other kind of layer, of the
        cell of a GRU, of hidden states beyond `proj_size`; and where the unit's values are not finite.
    """
    widths = tuple((layer.name, _width(layer)) for layer in states.layers)
    values = np.full((sum(width for _, width in widths), len(UNIT_SIGNALS)), np.nan)
    earlier = {} if before is None else {layer.name: layer for layer in before.layers}
    start = 0
    with np.errstate(over="ignore", invalid="ignore"):  # a unit that overflowed comes out as NaN
        for layer in states.layers:
            for name, column in layer_signals(layer, earlier.get(layer.name)).items():
                values[start : start + len(column), _PLACES[name]] = column
            start += _width(layer)
    return pd.DataFrame(values, index=_index(widths), columns=_COLUMNS)


def layer_signals(layer: LayerGates, before: LayerGates | None = None) -> dict[str, Column]:
    """Return the signals of one layer by name, as far as they apply."""
    mask = layer.mask.cpu().numpy()
    steps = _Steps(None if mask.all() else mask)
    gates = {name: _numbers(gate) for name, gate in layer.gates.items()}
    signed = {"candidate": gates.pop("candidate"), "hidden": _numbers(layer.hidden)}
    if layer.cell is not None:
        signed["cell"] = np.tanh(_numbers(layer.cell))
    found: dict[str, Column] = {}
    for name, values in gates.items():
        found |= steps.course(name, values, low=0.0)
    for name, values in signed.items():
        found |= steps.course(name, values, low=-1.0)
    if layer.cell is not None:
        found["cell_mean"], found["cell_spread"] = steps.mean_and_spread(_numbers(layer.cell))
    memory = measures.memory_length(steps.flat(gates[_KEPT[layer.kind]]))
    found |= {"memory_length": memory, "half_life": memory * np.log(2)}
    return found | _stillness(layer, before, steps)


def _stillness(layer: LayerGates, before: LayerGates | None, steps: "_Steps") -> dict[str, Column]:
    """Return whether units are dead, and frozen."""
    said = _said(layer)
    spread = steps.mean_and_spread(said)[1]
    found = {"dead": np.where(np.isnan(spread), np.nan, spread < measures.DEAD)}
    if before is not None and before.hidden.shape == layer.hidden.shape:
        change = np.abs(steps.flat(said) - steps.flat(_said(before))).max(axis=0)
        found["frozen"] = np.where(np.isnan(change), np.nan, change <= measures.FROZEN)
    return found


@dataclass(frozen=True, eq=False)
class _Steps:
    """Which steps count; None is all."""

    mask: Bool[Array, "batch time"] | None

    def flat(self, values: Float[Array, "batch time unit"]) -> Float[Array, "step unit"]:
        """Return the steps that count, one below the other."""
        if self.mask is not None:
            return values[self.mask]
        return values.swapaxes(0, 1).reshape(-1, values.shape[-1])  # no copy: so they come from `gate_states`

    def mean_and_spread(self, values: Float[Array, "batch time unit"]) -> tuple[Column, Column]:
        """Return both; NaN where a value is not finite."""
        return measures.mean_and_spread(self.flat(values))

    def course(self, name: str, values: Float[Array, "batch time unit"], low: float) -> dict[str, Column]:
        """Return what every signal between `low` and 1 is asked. One at a time, they fit into the cache."""
        flat = self.flat(values)
        mean, spread = measures.mean_and_spread(flat)
        broken = np.isnan(spread)
        if broken.any():
            flat = np.where(broken, values.dtype.type(0), flat)  # has no bin
        found = {"mean": mean, "spread": spread} | _saturations(flat, low)
        found["crossings"] = measures.crossings(values, (low + 1) / 2, self.mask)
        found["entropy"] = measures.entropy(flat, low, 1.0)
        return {f"{name}_{signal}": np.where(broken, np.nan, column) for signal, column in found.items()}


def _saturations(flat: Float[Array, "step unit"], low: float) -> dict[str, Column]:
    if low < 0:
        return {"saturation": measures.share(np.abs(flat) > measures.TANH)}
    left, right = flat < measures.LEFT, flat > measures.RIGHT
    return {"saturation_left": measures.share(left), "saturation_right": measures.share(right)}


def input_signals(
    x: Float[Tensor, "window time feature"], names: Sequence[str], scaling: InputScaling | None = None
) -> pd.DataFrame:
    """Return the signals of `INPUT_SIGNALS` of every feature.

    Parameters
    ----------
    x
        The windows looked at, as they are given to the model. NaN counts as missing and as nothing else.
    names
        Of the features.
    scaling
        The model's own, `model.scaling`; without one, z is x.

    Returns
    -------
    DataFrame
        By feature. A signal without anything to be measured on is NaN.
    """
    if len(names) != x.shape[-1]:
        raise ValueError(f"there must be a name for each of {x.shape[-1]} features, got {len(names)}.")
    with torch.no_grad():
        z = (x if scaling is None else scaling(x)).double().cpu().flatten(0, 1).numpy()
    given = x.double().cpu().numpy()
    before, after = given[:, :-1], given[:, 1:]
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        missing = np.isnan(z)
        known = (~missing).sum(axis=0)
        mean = np.where(missing, 0, z).sum(axis=0) / known
        square = np.where(missing, 0, (z - mean) ** 2).sum(axis=0) / known
        pairs = (~np.isnan(before) & ~np.isnan(after)).sum(axis=(0, 1))
        columns = {
            "mean": mean,
            "spread": np.sqrt(square),
            "largest": np.where(known > 0, np.where(missing, 0, np.abs(z)).max(axis=0), np.nan),
            "unchanged": (before == after).sum(axis=(0, 1)) / pairs,
            "missing": np.isnan(given).mean(axis=(0, 1)),
        }
    return pd.DataFrame(columns, index=pd.Index(list(names), name="feature"), columns=list(INPUT_SIGNALS))


def lag_signals(gradient: Float[Tensor, "window time feature"]) -> pd.DataFrame:
    """Return the signals of `LAG_SIGNALS` from the gradient of a loss by the inputs (`input_gradients`).

    Returns
    -------
    DataFrame
        By lag in bars, 0 being the last.
    """
    norms = torch.linalg.vector_norm(gradient.double(), dim=-1).sum(0).flip(0).cpu().numpy()
    return pd.DataFrame(dict.fromkeys(LAG_SIGNALS, norms), index=pd.RangeIndex(len(norms), name="lag"))


def _numbers(values: Float[Tensor, "batch time _"]) -> Float[Array, "batch time _"]:
    return values.detach().cpu().numpy()


def _projected(layer: LayerGates) -> bool:
    return layer.hidden.shape[-1] != _width(layer)


def _said(layer: LayerGates) -> Float[Array, "batch time unit"]:
    """Return what each unit says: o tanh c, which is h but for a projection."""
    if layer.cell is None or not _projected(layer):
        return _numbers(layer.hidden)
    return _numbers(layer.gates["output"] * layer.cell.tanh())


def _width(layer: LayerGates) -> int:
    return layer.gates["candidate"].shape[-1]


@lru_cache(maxsize=8)
def _index(widths: tuple[tuple[str, int], ...]) -> pd.MultiIndex:
    layers = [name for name, width in widths for _ in range(width)]
    units = [unit for _, width in widths for unit in range(width)]
    return pd.MultiIndex.from_arrays([layers, units], names=["layer", "unit"])
