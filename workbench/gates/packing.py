"""States of recurrent layers as small arrays, and back."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from workbench.gates.states import GATES, GateStates, LayerGates

LEVELS = 254  # steps between the ends of a gate's range
UNKNOWN = 255  # stands for NaN

Arrays = dict[str, np.ndarray]


def low_of(gate: str) -> float:
    """Return the lower end of a gate's range: −1 of a candidate, 0 of the others. The upper end is 1."""
    return -1.0 if gate == "candidate" else 0.0


def quantised(values: Float[Tensor, "*shape"], low: float) -> UInt8[np.ndarray, "*shape"]:
    """Return values from `low` to 1 in 8 bits: k stands for low + k·(1 − low)/254, 255 for NaN.

    The error is at most half a step: 0.002 of a gate, 0.004 of a candidate.
    """
    levels = (values.detach().cpu() - low).mul_(LEVELS / (1 - low)).clamp_(0, LEVELS).round_()
    return levels.nan_to_num_(nan=UNKNOWN).byte().numpy()


def restored(levels: UInt8[np.ndarray, "*shape"], low: float) -> Float[Tensor, "*shape"]:
    """Return the values that 8 bits stand for; NaN where there was one."""
    values = torch.from_numpy(levels.astype(np.float32)) * ((1 - low) / LEVELS) + low
    return values.masked_fill(torch.from_numpy(levels == UNKNOWN), torch.nan)


def packed(states: GateStates) -> Arrays:
    """Return what is worth keeping: gates in 8 bits, c and h in float16.

    h of an LSTM without projection is not kept, since it is o ⊙ tanh(c).
    """
    arrays: Arrays = {"error": np.array(states.error)}
    about = [
        {"name": e.name, "module": e.module, "kind": e.kind, "layer": e.layer, "reverse": e.reverse}
        for e in states.layers
    ]
    arrays["layers"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    for i, layer in enumerate(states.layers):
        arrays[f"{i}/gates"] = np.stack([quantised(v, low_of(gate)) for gate, v in layer.gates.items()])
        arrays[f"{i}/mask"] = layer.mask.cpu().numpy()
        if layer.cell is not None:
            arrays[f"{i}/cell"] = _half(layer.cell)
        if layer.cell is None or layer.cell.shape != layer.hidden.shape:
            arrays[f"{i}/hidden"] = _half(layer.hidden)
    return arrays


def unpacked(arrays: Mapping[str, np.ndarray]) -> GateStates:
    """Return the states that `packed` kept, in float32."""
    layers = []
    for i, about in enumerate(json.loads(arrays["layers"].tobytes())):
        levels = dict(zip(GATES[about["kind"]], arrays[f"{i}/gates"], strict=True))
        gates = {gate: restored(kept, low_of(gate)) for gate, kept in levels.items()}
        cell = torch.from_numpy(arrays[f"{i}/cell"]).float() if f"{i}/cell" in arrays else None
        if f"{i}/hidden" in arrays:
            hidden = torch.from_numpy(arrays[f"{i}/hidden"]).float()
        elif cell is not None:
            hidden = gates["output"] * cell.tanh()
        else:
            raise ValueError(f"layer {about['name']} has neither its hidden state nor its cell")
        layers.append(
            LayerGates(
                **about, gates=gates, cell=cell, hidden=hidden, mask=torch.from_numpy(arrays[f"{i}/mask"])
            )
        )
    return GateStates(tuple(layers), float(arrays["error"]))


def joined(parts: Sequence[GateStates]) -> GateStates:
    """Return the states of several batches as those of one, sequence after sequence.

    Raises
    ------
    ValueError
        The batches are of other lengths, or other layers ran.
    """
    if len(parts) == 1:
        return parts[0]
    named = [[layer.name for layer in part.layers] for part in parts]
    if any(names != named[0] for names in named):
        raise ValueError(f"the same layers must run in every batch; there were {named}")
    alike = zip(*(part.layers for part in parts), strict=True)
    return GateStates(tuple(map(_layer, alike)), max(part.error for part in parts))


def first_rows(states: GateStates, most: int) -> GateStates:
    """Return the states of at most that many sequences, chosen evenly."""
    count = len(states.layers[0].mask)
    if count <= most:
        return states
    rows = torch.from_numpy(evenly(count, most))
    return GateStates(tuple(_rows(layer, rows) for layer in states.layers), states.error)


def evenly(count: int, most: int) -> np.ndarray:
    """Return at most `most` of the numbers 0 … count − 1, evenly spaced, both ends among them.

    Of several, one alone is the middle one.
    """
    if count <= most:
        return np.arange(count)
    return np.array([count // 2]) if most == 1 else np.linspace(0, count - 1, most).round().astype(int)


def _rows(layer: LayerGates, rows: Tensor) -> LayerGates:
    return replace(
        layer,
        gates={gate: values[rows] for gate, values in layer.gates.items()},
        cell=None if layer.cell is None else layer.cell[rows],
        hidden=layer.hidden[rows],
        mask=layer.mask[rows],
    )


def _layer(parts: Sequence[LayerGates]) -> LayerGates:
    first = parts[0]
    cells = [part.cell for part in parts if part.cell is not None]
    return replace(
        first,
        gates={gate: torch.cat([part.gates[gate] for part in parts]) for gate in first.gates},
        cell=torch.cat(cells) if cells else None,
        hidden=torch.cat([part.hidden for part in parts]),
        mask=torch.cat([part.mask for part in parts]),
    )


def _half(values: Tensor) -> np.ndarray:
    return values.detach().cpu().half().numpy()
