"""What recurrent layers computed at every step, by name, and the gradients there."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

GATES = {  # in PyTorch's order of row blocks
    "lstm": ("input", "forget", "candidate", "output"),
    "gru": ("reset", "update", "candidate"),
}


@dataclass(frozen=True, eq=False)
class LayerGates:
    """One direction of one recurrent layer, over a batch of sequences.

    Attributes
    ----------
    name
        The module's path, the layer and, of a backward direction, "reverse": "lstm.l0", "rnn.l1.reverse"; of
        a bare module "l0".
    module
        Path of the `nn.LSTM` or `nn.GRU` within the model that was asked; "" for the model itself.
    kind
        "lstm" or "gru".
    layer
        Counted from 0.
    reverse
        Whether it reads from the last step to the first. Values stand at the step that they are of,
        so time runs from left to right in both directions.
    gates
        Values after the sigmoid or, for the candidate, the tanh, each (batch, time, unit), by the names of
        `GATES[kind]`.
    cell
        c_t of an LSTM; None of a GRU.
    hidden
        h_t, what the layer hands on; narrower than the gates where `proj_size` is set.
    mask
        Where a sequence has a step; elsewhere values are 0 and mean nothing.
    """

    name: str
    module: str
    kind: str
    layer: int
    reverse: bool
    gates: Mapping[str, Float[Tensor, "batch time unit"]]
    cell: Float[Tensor, "batch time unit"] | None
    hidden: Float[Tensor, "batch time state"]
    mask: Bool[Tensor, "batch time"]

    def __repr__(self) -> str:
        sequences, steps, units = next(iter(self.gates.values())).shape
        told = f"{sequences} sequences × {steps} steps × {units} units"
        return f"LayerGates({self.name}: {self.kind}, {', '.join(self.gates)}; {told})"


@dataclass(frozen=True, eq=False)
class GateStates:
    """All recurrent layers of a module, as they ran on one batch.

    Attributes
    ----------
    layers
        In the order in which they ran.
    error
        Largest difference between the states recovered and those of the module's own pass: the check that
        is made on each capture.
    """

    layers: tuple[LayerGates, ...]
    error: float

    def __repr__(self) -> str:
        return f"GateStates({', '.join(map(repr, self.layers))}; error {self.error:.2g})"

    def __getitem__(self, name: str) -> LayerGates:
        """Return the layer of a name; KeyError lists those that there are."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(
            f"there is no layer {name!r}. There are {', '.join(each.name for each in self.layers)}."
        )


@dataclass(frozen=True, eq=False)
class LayerGradients:
    """Gradients of a loss by the pre-activations of one direction of one layer.

    Attributes
    ----------
    name, module, kind, layer, reverse, mask
        As of `LayerGates`.
    by_input
        By gate, ∂L/∂(W_ih x_t + b_ih), (batch, time, unit).
    by_state
        By gate, ∂L/∂(W_hh h_{t−1} + b_hh). The same but for a GRU's candidate, tanh(W x + b + r ⊙ (W h + b)),
        where it is r times as much.
    inputs, previous
        x_t and h_{t−1}, at the step that they went into.
    """

    name: str
    module: str
    kind: str
    layer: int
    reverse: bool
    by_input: Mapping[str, Float[Tensor, "batch time unit"]]
    by_state: Mapping[str, Float[Tensor, "batch time unit"]]
    inputs: Float[Tensor, "batch time feature"]
    previous: Float[Tensor, "batch time state"]
    mask: Bool[Tensor, "batch time"]

    def weights(self) -> dict[str, Tensor]:
        """Return the gradients by weight_ih, weight_hh, bias_ih and bias_hh of this layer.

        Σ δ_t x_tᵀ, Σ δ_t h_{t−1}ᵀ and Σ δ_t: what backpropagation sums up.
        """
        found = {}
        for name, parts, heard in (("ih", self.by_input, self.inputs), ("hh", self.by_state, self.previous)):
            delta = torch.cat(tuple(parts.values()), dim=-1)
            found[f"weight_{name}"] = torch.einsum("btr,btc->rc", delta, heard)
            found[f"bias_{name}"] = delta.sum((0, 1))
        return {name: found[name] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
