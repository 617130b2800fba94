"""Gradients and updates of a model's weights, gate by gate, at chosen steps of its optimiser."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from workbench.gates.passes import recurrent_layers
from workbench.gates.states import GATES

THRESHOLD = 1e-3  # of a weight: an entry counts as updated where |Δ| is more than this times |θ|
SMALLEST = 1e-12  # keeps a ratio finite where a weight is all zeros
SIGNALS = ("gradient_norm", "weight_norm", "update_ratio", "update_frequency", "not_finite")
OF_STEPS = ("gradient_norm", "update_ratio", "update_frequency")  # those that need one

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Blocks:
    """The trainable weights of a model, laid end to end, and where the row block of each gate begins.

    Attributes
    ----------
    parameters
        In the order in which they lie.
    starts
        First entry of each block.
    index
        (parameter, gate) of each block.
    """

    parameters: tuple[nn.Parameter, ...]
    starts: Array
    index: pd.MultiIndex

    @classmethod
    def of(cls, model: nn.Module) -> "Blocks":
        """Find the blocks of a model that has recurrent layers."""
        gates = dict(_gates_of(model))
        named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        keys: list[tuple[str, str]] = []
        starts: list[int] = []
        at = 0
        for name, parameter in named:
            blocks = gates.get(name, ("",))
            keys += [(name, gate) for gate in blocks]
            starts += [at + i * parameter.numel() // len(blocks) for i in range(len(blocks))]
            at += parameter.numel()
        index = pd.MultiIndex.from_tuples(keys, names=["parameter", "gate"])
        return cls(tuple(p for _, p in named), np.array(starts), index)

    def flat(self) -> Float[Tensor, " entry"]:
        """Return a copy of all weights, one after the other."""
        return torch.cat([parameter.detach().reshape(-1) for parameter in self.parameters])

    def signals(self, before: Tensor, after: Tensor, gradient: Tensor) -> Float[Array, "block signal"]:
        """Return the signals of one step by block, summed in float64.

        `gradient_norm` ‖∂L/∂θ‖₂; `weight_norm` ‖θ_{s+1}‖₂; `update_ratio` ‖θ_{s+1} − θ_s‖ / ‖θ_s‖;
        `update_frequency`, the share of entries with |Δ| > 0.001 |θ_s|; `not_finite`, how many entries of
        weights and gradient are no finite numbers.
        """
        old, new, slope = (values.cpu().numpy() for values in (before, after, gradient))
        with np.errstate(over="ignore", invalid="ignore"):  # infinity minus infinity is told as not finite
            change = new - old
            lengths = [self._norms(values) for values in (slope, new, change, old)]
            moved = np.abs(change) > THRESHOLD * np.abs(old)
        sizes = np.diff(np.append(self.starts, len(new)))
        shares = np.add.reduceat(moved, self.starts, dtype=np.int64) / sizes
        broken = np.zeros(len(self.starts))
        if not np.isfinite(lengths[:2]).all():
            both = ~np.isfinite(new) + (~np.isfinite(slope)).astype(np.int64)
            broken += np.add.reduceat(both, self.starts)
        return np.stack([*lengths[:2], lengths[2] / (lengths[3] + SMALLEST), shares, broken], axis=1)

    def at_rest(self) -> pd.DataFrame:
        """Return the signals of weights alone: norms and what is not finite; the rest is NaN."""
        weights = self.flat()
        values = self.signals(weights, weights, torch.zeros_like(weights))
        values[:, [SIGNALS.index(name) for name in OF_STEPS]] = np.nan
        return self.frame(values)

    def frame(self, values: Float[Array, "block signal"]) -> pd.DataFrame:
        """Return signals by (parameter, gate)."""
        return pd.DataFrame(values, index=self.index, columns=list(SIGNALS))

    def _norms(self, values: Array) -> Float[Array, " block"]:
        return np.sqrt(np.add.reduceat(np.square(values, dtype=np.float64), self.starts))


@dataclass(eq=False)
class StepWatch:
    """Measures a step of the optimiser: the gradient as it was accumulated, the weights before and after.

    The gradient is taken as autograd hands it over, before anything clips it. A weight that no gradient
    reaches has a gradient of 0.

    Attributes
    ----------
    blocks
        Of the model.
    clock
        Seconds.
    measured
        Signals by block, of each step that was measured since they were last asked for.
    within
        Seconds that the hooks took within the step at hand.
    """

    blocks: Blocks
    clock: Callable[[], float] = time.perf_counter
    measured: list[Array] = field(default_factory=list)
    within: float = 0.0
    _gradient: Tensor | None = None
    _before: Tensor | None = None
    _hooks: list[RemovableHandle] = field(default_factory=list)

    @property
    def armed(self) -> bool:
        """Whether the next step is to be measured."""
        return self._gradient is not None

    def arm(self) -> None:
        """Measure the next step."""
        self.disarm()
        self.within = 0.0
        parameters = self.blocks.parameters
        gradient = torch.zeros(sum(p.numel() for p in parameters), dtype=parameters[0].dtype)
        self._gradient = gradient = gradient.to(parameters[0].device)
        parts = gradient.split([p.numel() for p in parameters])
        for parameter, part in zip(parameters, parts, strict=True):
            if parameter.requires_grad:  # it may have been frozen since
                self._hooks.append(parameter.register_post_accumulate_grad_hook(self._copier(part)))

    def _copier(self, part: Tensor) -> Callable[[Tensor], None]:
        def keep(parameter: Tensor) -> None:
            began, gradient = self.clock(), parameter.grad
            if gradient is not None:  # called again where a step goes backward several times: the sum so far
                part.copy_((gradient.to_dense() if gradient.is_sparse else gradient).reshape(-1))
            self.within += self.clock() - began

        return keep

    def disarm(self) -> None:
        """Measure nothing more, and take the hooks off the model."""
        while self._hooks:
            self._hooks.pop().remove()
        self._gradient = self._before = None

    def begin_step(self) -> None:
        """Keep the weights as they are before the optimiser changes them."""
        self._before = self.blocks.flat()

    def end_step(self) -> None:
        """Compare, and disarm."""
        if self._gradient is not None and self._before is not None:
            self.measured.append(self.blocks.signals(self._before, self.blocks.flat(), self._gradient))
        self.disarm()

    def taken(self) -> pd.DataFrame:
        """Return the mean over the steps measured since the last call; of what is not finite, the most.

        The weights' norms are of now. Without a step measured, see `Blocks.at_rest`.
        """
        rest, steps, self.measured = self.blocks.at_rest(), self.measured, []
        if not steps:
            return rest
        mean = self.blocks.frame(np.mean(steps, axis=0))
        most = np.max(steps, axis=0)[:, SIGNALS.index("not_finite")]
        mean["weight_norm"] = rest["weight_norm"]
        mean["not_finite"] = np.maximum(most, rest["not_finite"])
        return mean


def _gates_of(model: nn.Module) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each weight whose rows lie gate by gate, with their names."""
    for path, module in recurrent_layers(model).items():
        gates = GATES["lstm" if isinstance(module, nn.LSTM) else "gru"]
        for name, _ in module.named_parameters():
            if not name.startswith("weight_hr"):  # the projection of h has no gates
                yield (f"{path}.{name}" if path else name), gates
