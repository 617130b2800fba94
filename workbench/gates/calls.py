"""One run of recurrent layers, laid out alike whatever form its input, state and answer had."""

from collections.abc import Sequence
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
    given
        The input as it was given, whose form the answer has.
    """

    module: Recurrent
    x: Steps
    lengths: Int[Tensor, " batch"] | None
    first: tuple[Tensor, ...]
    last: tuple[Tensor, ...]
    output: Steps
    given: Tensor | PackedSequence

    @classmethod
    def of(
        cls, module: Recurrent, args: tuple[Any, ...], kwargs: dict[str, Any], answer: Any
    ) -> "RecurrentCall":
        """Take what a forward hook is given."""
        given = args[0] if args else kwargs.get("input")
        state = args[1] if len(args) > 1 else kwargs.get("hx")
        if not (isinstance(answer, tuple) and len(answer) == 2):
            raise ValueError(
                f"{type(module).__name__} must answer (output, state), as PyTorch's layers do, got "
                f"{type(answer).__name__}. Let a module around it take the part that you need."
            )
        output, last = answer
        last = _states(last)
        first = tuple(torch.zeros_like(one) for one in last) if state is None else _states(state)
        if isinstance(given, PackedSequence):
            x, lengths = pad_packed_sequence(given)
            return cls(module, x, lengths.to(x.device), first, last, pad_packed_sequence(output)[0], given)
        if not isinstance(given, Tensor):
            raise TypeError(
                f"{type(module).__name__} must be given a tensor or a PackedSequence as `input`, "
                f"got {type(given).__name__}."
            )
        return cls(module, _time_first(module, given), None, first, last, _time_first(module, output), given)

    def __post_init__(self) -> None:
        inexact = {self.x.dtype, self.output.dtype} - set(EXACT)
        if inexact:
            raise ValueError(
                f"gates are recovered in float32 or float64, and these layers run in {inexact.pop()}. Look "
                "at a copy, copy.deepcopy(model).float(), whose forward does not call for less."
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

    def answer(self, output: Steps, last: Sequence[Tensor]) -> Any:
        """Return h_t and the last states, each (layer · direction, batch, state), as the module would."""
        given, states = self.given, last
        if isinstance(given, PackedSequence):
            order = given.sorted_indices
            rows, mask = (output, self.mask) if order is None else (output[:, order], self.mask[:, order])
            answer: Any = given._replace(data=rows[mask])
        elif given.dim() == 2:
            answer, states = output[:, 0], [state[:, 0] for state in last]
        else:
            answer = output.transpose(0, 1) if self.module.batch_first else output
        return answer, (tuple(states) if isinstance(self.module, nn.LSTM) else states[0])


def _time_first(module: Recurrent, values: Tensor) -> Steps:
    if values.dim() == 2:  # without a batch, where batch_first counts not
        return values[:, None]
    return values.transpose(0, 1) if module.batch_first else values


def _states(state: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    both = (state,) if isinstance(state, Tensor) else tuple(state)
    return tuple(one[:, None] if one.dim() == 2 else one for one in both)
