"""A snapshot as one row of named numbers, and the ruler by which each is measured."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from workbench.gates.snapshots import Snapshot
from workbench.gates.states import GATES

LEVELS = ("part", "where", "signal", "over")
LOSSES = ("train_loss", "valid_loss")
SUMMED = ("gradient_norm", "weight_norm")  # lengths, whose squares add up over row blocks
GATE_NAMES = tuple(dict.fromkeys(gate for gates in GATES.values() for gate in gates))
SMALLEST = 1e-12  # what a logarithm takes zero for

Array = np.ndarray
Key = tuple[str, str, str, str]  # part, where, signal, over


@dataclass(frozen=True)
class Ruler:
    """How differences of a signal are measured.

    Attributes
    ----------
    logarithmic
        By log10: a factor counts, not a difference.
    floor
        Smallest standard deviation that is believed, so that a signal that hardly moved while all was well
        does not cry at rounding.
    """

    logarithmic: bool
    floor: float

    def of(self, values: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Return the values on this ruler."""
        return np.log10(np.maximum(values, SMALLEST)) if self.logarithmic else values

    def back(self, value: float) -> float:
        """Return a value on this ruler in its own unit."""
        return float(10.0**value) if self.logarithmic else float(value)


SHARE = Ruler(False, 0.02)  # on [0, 1], or on [−1, 1]
FACTOR = Ruler(True, 0.1)  # a quarter more or less
RULERS = {  # (part, signal); what is not named is a share
    ("units", "memory_length"): FACTOR,
    ("units", "cell_spread"): FACTOR,
    ("units", "cell_mean"): Ruler(False, 0.1),
    ("weights", "gradient_norm"): Ruler(True, 0.2),
    ("weights", "weight_norm"): Ruler(True, 0.02),
    ("weights", "update_ratio"): FACTOR,
    ("inputs", "spread"): Ruler(True, 0.04),
    ("inputs", "largest"): Ruler(True, 0.04),
    ("lags", "total"): Ruler(True, 0.2),
    ("figures", "train_loss"): Ruler(True, 0.02),
    ("figures", "valid_loss"): Ruler(True, 0.02),
}
DRIFT = 0.3  # of an input's spread: the least standard deviation of its mean that is believed
LEFT_OUT = {  # said by another signal, or by the finite check
    ("units", "half_life"),
    ("weights", "not_finite"),
}


def snapshot_features(snapshot: Snapshot) -> pd.Series:
    """Return a snapshot's signals as one row of named numbers, NaN where a signal does not apply.

    Units have no identity across trainings, so a layer's count by their mean; features and parameters keep
    their names. An LSTM of one layer has some 70, and five more for every input.

    Returns
    -------
    Series
        By (part, where, signal, over), in the signals' own units. ("units", "lstm.l0", "forget_mean", "mean")
        is the mean over a layer's units; ("weights", "lstm.weight_hh_l0", "gradient_norm", "") is of all row
        blocks together, biases left out; ("inputs", "return_1", "spread", "") of a feature; ("lags", "",
        "input_gradient", "total") of the gradient by lag, and its "centre", from 0 the last bar to 1 the
        first; ("figures", "", "train_loss", "") of the epoch.
    """
    found = named_features(snapshot)
    index = pd.MultiIndex.from_tuples(list(found), names=LEVELS)
    return pd.Series(list(found.values()), index=index, dtype=float, name=snapshot.epoch)


def named_features(snapshot: Snapshot) -> dict[Key, float]:
    """Return the same by key, which is quicker made."""
    return {
        **_of_units(snapshot.units),
        **_of_weights(snapshot.weights),
        **_of_inputs(snapshot.inputs),
        **_of_lags(snapshot.lags),
        **{("figures", "", name, ""): float(snapshot.figures.get(name, np.nan)) for name in LOSSES},
    }


def ruler(key: Key) -> Ruler:
    """Return how differences of a feature are measured."""
    part, _, signal, over = key
    return RULERS.get((part, over if part == "lags" else signal), SHARE)


def gate_of(signal: str) -> tuple[str, str]:
    """Split a unit's signal into its gate and the rest: "forget_mean" → "forget", "mean"; "" without one."""
    for gate in GATE_NAMES:
        if signal.startswith(f"{gate}_"):
            return gate, signal.removeprefix(f"{gate}_")
    return "", signal


def blocks_joined(blocks: Float[Array, "gate signal"], signals: Sequence[str]) -> Float[Array, " signal"]:
    """Return the weight signals of a whole parameter from those of its row blocks, which are equal in size.

    ‖θ‖² = Σ ‖θ_g‖², the gradient's likewise; ‖Δθ‖ / ‖θ‖ with ‖Δθ_g‖ = ratio_g ‖θ_g‖; shares are averaged.
    """
    joined = blocks.mean(axis=0)
    place = {name: i for i, name in enumerate(signals)}
    for name in SUMMED:
        if name in place:
            joined[place[name]] = np.linalg.norm(blocks[:, place[name]])
    if {"update_ratio", "weight_norm"} <= set(place):
        ratio, length = place["update_ratio"], place["weight_norm"]
        moved = np.linalg.norm(blocks[:, ratio] * blocks[:, length])
        joined[ratio] = moved / max(joined[length], SMALLEST)
    return joined


def _of_units(units: pd.DataFrame) -> dict[Key, float]:
    signals = _kept("units", units.columns)
    layers = np.array(units.index.get_level_values(0), dtype=str)
    values = units[signals].to_numpy(float)
    found: dict[Key, float] = {}
    for layer in dict.fromkeys(layers.tolist()):
        means = values[layers == layer].mean(axis=0)  # NaN where any unit is: the finite check says which
        found |= {("units", layer, s, "mean"): float(m) for s, m in zip(signals, means, strict=True)}
    return found


def _of_weights(weights: pd.DataFrame) -> dict[Key, float]:
    signals = _kept("weights", weights.columns)
    parameters = np.array(weights.index.get_level_values(0), dtype=str)
    values = weights[signals].to_numpy(float)
    found: dict[Key, float] = {}
    for parameter in dict.fromkeys(parameters.tolist()):
        if "bias" in parameter.rpartition(".")[2]:
            continue  # it moves as its matrix does
        joined = blocks_joined(values[parameters == parameter], signals)
        found |= {("weights", parameter, s, ""): float(v) for s, v in zip(signals, joined, strict=True)}
    return found


def _of_inputs(inputs: pd.DataFrame) -> dict[Key, float]:
    signals = _kept("inputs", inputs.columns)
    values = inputs[signals].to_numpy(float)
    return {
        ("inputs", str(name), signal, ""): float(value)
        for name, row in zip(inputs.index, values, strict=True)
        for signal, value in zip(signals, row, strict=True)
    }


def _of_lags(lags: pd.DataFrame) -> dict[Key, float]:
    found: dict[Key, float] = {}
    for signal in lags.columns:
        values, bars = lags[signal].to_numpy(float), lags.index.to_numpy(float)
        total = float(values.sum())
        centre = float(bars @ values) / total if total > 0 else np.nan
        found["lags", "", str(signal), "total"] = total
        found["lags", "", str(signal), "centre"] = centre / max(len(bars) - 1, 1)
    return found


def _kept(part: str, columns: Sequence[str] | pd.Index) -> list[str]:
    return [str(name) for name in columns if (part, str(name)) not in LEFT_OUT]
