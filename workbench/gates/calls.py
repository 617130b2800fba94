"""One run of recurrent layers, laid out alike whatever form its input, state and answer had."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

Recurrent = nn.LSTM | nn.GRU
Steps = Float[Tensor, "time batch _"]
EXACT = (torch.float32, torch.float64)


@dataclass(frozen=True, eq=False)
class RecurrentCall:
    """What an `nn.LSTM` or `nn.GRU` was given and what it answered: time first, padded, in the batch's order.

    Attributes
    ----------
    module
        The layers.
    x
        (time, batch, feature).
    lengths
        Steps of each sequence; None where all have the same.
    first, last
        h_0 and, of an LSTM, c_0; h_n and c_n: each (layer · direction, batch, state).
    output
        The last layer's h_t, both directions side by side.
    """

    module: Recurrent
    x: Steps
    lengths: Int[Tensor, " batch"] | None
    first: tuple[Tensor, ...]
    last: tuple[Tensor, ...]
    output: Steps

    @classmethod
    def of(
        cls, module: Recurrent, args: tuple[Any, ...], kwargs: dict[str, Any], answer: Any
    ) -> "RecurrentCall":
        """Take what a forward hook is given."""
        given = args[0] if args else kwargs.get("input")
        state = args[1] if len(args) > 1 else kwargs.get("hx")
        output, last = answer
        last = _states(last)
        first = tuple(torch.zeros_like(one) for one in last) if state is None else _states(state)
        if isinstance(given, PackedSequence):
            x, lengths = pad_packed_sequence(given)
            return cls(module, x, lengths.to(x.device), first, last, pad_packed_sequence(output)[0])
        if not isinstance(given, Tensor):
            raise TypeError(
                f"{type(module).__name__} must be given a tensor or a PackedSequence as `input`, "
                f"got {type(given).__name__}."
            )
        return cls(module, _time_first(module, given), None, first, last, _time_first(module, output))

    def __post_init__(self) -> None:
        if self.x.dtype not in EXACT:
            raise ValueError(
                f"gates are recovered in float32 or float64, and these layers run in {self.x.dtype}. "
                "Look at a copy: copy.deepcopy(model).float()."
            )

    @property
    def mask(self) -> Bool[Tensor, "time batch"]:
        """Where a sequence has a step."""
        steps = torch.arange(len(self.x), device=self.x.device)[:, None]
        return (steps >= 0).expand(self.x.shape[:2]) if self.lengths is None else steps < self.lengths

    def turned(self, values: Float[Tensor, "time batch *rest"]) -> Float[Tensor, "time batch *rest"]:
        """Return each sequence's steps from its last to its first; padding stays. Twice, it does nothing."""
        if self.lengths is None:
            return values.flip(0)
        steps = torch.arange(len(values), device=values.device)[:, None]
        places = torch.where(steps < self.lengths, self.lengths - 1 - steps, steps)
        return values.take_along_dim(places.view(*places.shape, *[1] * (values.dim() - 2)), 0)

    def at_the_end(self, values: Steps) -> Float[Tensor, "batch _"]:
        """Return the values at the last step of each sequence, of steps in the order they were read."""
        if self.lengths is None:
            return values[-1]
        return values[self.lengths - 1, torch.arange(values.shape[1], device=values.device)]

    def through(self, run: Callable[["Direction"], Steps]) -> Steps:
        """Take the input through the layers, each direction of each by `run`, and return the last one's h."""
        x = self.x
        for layer in range(self.module.num_layers):
            outs = []
            for reverse in (False, True)[: 1 + self.module.bidirectional]:
                h = run(Direction(self, layer, reverse, self.turned(x) if reverse else x))
                outs.append(self.turned(h) if reverse else h)
            x = torch.cat(outs, dim=-1) if len(outs) > 1 else outs[0]
        return x


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
        w = w.view(gates, units, width).transpose(1, 2)
        if added is None:
            found = each @ w if b is None else torch.baddbmm(b.view(gates, 1, units), each, w)
        else:
            found = added.view(gates, time * batch, units).baddbmm_(each, w)
            found = found if b is None else found.add_(b.view(gates, 1, units))
        return found.view(gates, time, batch, units)

    def fused(self, x: Steps, weights: list[Tensor], train: bool = False) -> Steps:
        """Run PyTorch's own kernel over `x` with `weights`, in the order of `nn.LSTM` or `nn.GRU`."""
        states = [state[None].contiguous() for state in self.first]
        biased = self.call.module.bias
        if self.kind == "lstm":
            return torch.lstm(x, states, weights, biased, 1, 0.0, train, False, False)[0]
        return torch.gru(x, states[0], weights, biased, 1, 0.0, train, False, False)[0]

    @property
    def weights(self) -> list[Tensor]:
        """The weights in the order of PyTorch's kernels."""
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        return [weight for name in names if (weight := self.weight(name)) is not None]


def recurrent_layers(model: nn.Module) -> dict[str, Recurrent]:
    """Return every `nn.LSTM` and `nn.GRU` of a model by its path, "" for the model itself.

    Raises
    ------
    ValueError
        If there is none. The message names what there is instead.
    """
    found = {name: m for name, m in model.named_modules() if isinstance(m, nn.LSTM | nn.GRU)}
    if not found:
        raise ValueError(
            f"{type(model).__name__} has no nn.LSTM or nn.GRU, so there are no gates to look at. "
            + _instead(model)
        )
    return found


def _instead(model: nn.Module) -> str:
    """Say what a model without recurrent layers holds."""
    single = nn.LSTMCell | nn.GRUCell | nn.RNN | nn.RNNCell
    cells = {type(m).__name__: path for path, m in model.named_modules() if isinstance(m, single)}
    if cells:
        told = ", ".join(f"{kind} at {path or 'its top'!r}" for kind, path in cells.items())
        return f"It holds {told}, whose steps cannot be recovered; use nn.LSTM or nn.GRU there."
    kinds = dict.fromkeys(type(m).__name__ for m in model.modules() if m is not model)
    return (
        f"It is made of {', '.join(kinds) or 'nothing'}; a recurrence that a forward writes out itself, "
        "as SFM's, cannot be recovered."
    )


def _time_first(module: Recurrent, values: Tensor) -> Steps:
    if values.dim() == 2:  # without a batch, where batch_first counts not
        return values[:, None]
    return values.transpose(0, 1) if module.batch_first else values


def _states(state: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    both = (state,) if isinstance(state, Tensor) else tuple(state)
    return tuple(one[:, None] if one.dim() == 2 else one for one in both)
