"""One direction of one layer of a recurrent module, and the way through all of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from workbench.gates.calls import RecurrentCall, Steps


@dataclass(frozen=True, eq=False)
class Direction:
    """One direction of one layer within a call; all steps in the order in which it reads them."""

    call: RecurrentCall
    layer: int
    reverse: bool
    x: Steps

    @property
    def kind(self) -> str:
        """The family: "lstm" or "gru"."""
        return "lstm" if isinstance(self.call.module, nn.LSTM) else "gru"

    @property
    def number(self) -> int:
        """Place among the states of the module."""
        return self.layer * (1 + self.call.module.bidirectional) + self.reverse

    @property
    def suffix(self) -> str:
        """What the names of its weights end in."""
        return f"_l{self.layer}" + "_reverse" * self.reverse

    def weight(self, name: str) -> Tensor | None:
        """Return a weight by its name without suffix; None where the layer has none such."""
        return getattr(self.call.module, name + self.suffix, None)

    def needed(self, name: str) -> Tensor:
        """Return a weight that every layer has."""
        weight = self.weight(name)
        assert weight is not None, name
        return weight

    @property
    def first(self) -> tuple[Tensor, ...]:
        """h and, of an LSTM, c before the first step, each (batch, state)."""
        return tuple(state[self.number] for state in self.call.first)

    @property
    def last(self) -> tuple[Tensor, ...]:
        """h and c after the last step, as the module answered them."""
        return tuple(state[self.number] for state in self.call.last)

    @property
    def own(self) -> Steps | None:
        """The module's own h_t where it hands them out, which it does of the last layer."""
        module = self.call.module
        if self.layer < module.num_layers - 1:
            return None
        if not module.bidirectional:
            return self.call.output
        h = self.call.output.chunk(2, dim=-1)[self.reverse]
        return self.call.turned(h) if self.reverse else h

    def previous(self, h: Steps) -> Steps:
        """Return h_{t−1} of h_t."""
        return torch.cat([self.first[0][None], h[:-1]])

    def products(
        self, weight: str, bias: str, values: Steps, added: Tensor | None = None
    ) -> Float[Tensor, "gate time batch unit"]:
        """Return W v_t + b at all steps by gate, on top of `added`, which is written over."""
        time, batch, width = values.shape
        w, b = self.needed(weight), self.weight(bias)
        units = self.call.module.hidden_size
        gates = len(w) // units
        each = values.reshape(time * batch, width).expand(gates, -1, -1)
        w = w.reshape(gates, units, width).transpose(1, 2)
        if added is None:
            found = each @ w if b is None else torch.baddbmm(b.reshape(gates, 1, units), each, w)
        else:
            found = added.view(gates, time * batch, units).baddbmm_(each, w)
            found = found if b is None else found.add_(b.reshape(gates, 1, units))
        return found.view(gates, time, batch, units)

    def fused(self, x: Steps, weights: list[Tensor], train: bool = False) -> tuple[Steps, tuple[Tensor, ...]]:
        """Run PyTorch's own kernel over `x`; return h_t, and h and c after the last step, (batch, state)."""
        call, options = self.call, (weights, self.call.module.bias, 1, 0.0, train, False)
        kernel: Any = torch.lstm if self.kind == "lstm" else torch.gru
        states = [state[None].contiguous() for state in self.first]
        if call.lengths is None:
            h, *last = kernel(x, self._only(states), *options, False)
            return h, tuple(state[0] for state in last)
        packed = pack_padded_sequence(x, call.lengths.cpu(), enforce_sorted=False)
        states = [state[:, packed.sorted_indices] for state in states]
        data, *last = kernel(packed.data, packed.batch_sizes, self._only(states), *options)
        h = pad_packed_sequence(packed._replace(data=data), total_length=len(x))[0]
        return h, tuple(state[0, packed.unsorted_indices] for state in last)

    def _only(self, states: list[Tensor]) -> Any:
        return states if self.kind == "lstm" else states[0]

    def shown(self, values: Steps) -> Float[Tensor, "batch time _"]:
        """Return values for a reader: batch first, time from left to right, padding 0."""
        call = self.call
        values = call.turned(values) if self.reverse else values
        values = values if call.lengths is None else values.masked_fill(~call.mask[..., None], 0.0)
        return values.transpose(0, 1)

    def name(self, path: str, run: int) -> str:
        """Return what this is called: path of the module, layer, direction, and which run from the second."""
        place = f"l{self.layer}" + ".reverse" * self.reverse + (f"#{run}" if run > 1 else "")
        return f"{path}.{place}" if path else place

    @property
    def weights(self) -> list[Tensor]:
        """The weights in the order of PyTorch's kernels."""
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        return [weight for name in names if (weight := self.weight(name)) is not None]


def through(call: RecurrentCall, run: Callable[[Direction], Steps]) -> Steps:
    """Take a call's input through its layers, each direction by `run`, and return the last layer's h."""
    x = call.x
    for layer in range(call.module.num_layers):
        outs = []
        for reverse in (False, True)[: 1 + call.module.bidirectional]:
            h = run(Direction(call, layer, reverse, call.turned(x) if reverse else x))
            outs.append(call.turned(h) if reverse else h)
        x = torch.cat(outs, dim=-1) if len(outs) > 1 else outs[0]
    return x
