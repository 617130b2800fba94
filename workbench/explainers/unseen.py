"""Attention that ran where it cannot be watched, so that no part of a model is taken for the whole."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch._C._functorch import peek_interpreter_stack
from torch.utils.weak import WeakTensorKeyDictionary

from workbench.explainers.calls import Call
from workbench.explainers.contractions import PRODUCTS
from workbench.explainers.lineage import Lineage, tensors_in

CONTRACTING = PRODUCTS | {"bilinear", "vecdot", "dot", "multi_dot", "chain_matmul", "addbmm", "conv1d"}
_CARRIED = frozenset(  # what leaves weights weights, though not what is followed to the last digit
    {"cat", "concat", "concatenate", "stack", "hstack", "vstack", "topk", "gather", "take_along_dim", "tril"}
    | {"triu", "pow", "square", "sqrt", "exp", "log", "normalize", "scatter", "dropout", "to_sparse"}
)


@dataclass(frozen=True)
class Unseen:
    """Attention that was not seen: what it was, the path of its module, and what to do about it."""

    what: str
    where: str
    instead: str

    def __str__(self) -> str:
        return (
            f"{self.what}{f' in {self.where}' if self.where else ''}, which cannot be watched: {self.instead}"
        )


def transformed() -> bool:
    """Whether the code now running is within torch.vmap or another transform of torch.func.

    A tensor there stands for many, and has no values to look at.
    """
    return peek_interpreter_stack() is not None


class Lost:
    """Weights of queries and keys that a model goes on with in a way that is not followed.

    They count as attention when they are then multiplied with values that come of the input, and summed:
    what a softmax over classes, or a gate, never is that comes of no query and key.
    """

    def __init__(self, lineage: Lineage, where: Callable[[], str]) -> None:
        self.lineage = lineage
        self.where = where
        self.met: dict[Hashable, Unseen] = {}  # softmaxes that met values, and how
        self._lost: Any = WeakTensorKeyDictionary()

    def __contains__(self, tensor: Tensor) -> bool:
        return tensor in self._lost

    def follow(
        self, call: Call, tensors: Sequence[Tensor], weights: dict[Tensor, Hashable], result: object
    ) -> None:
        """Note what an operation does with `weights`, each with its softmax, or with some lost before."""
        lost = weights | {tensor: self._lost[tensor] for tensor in tensors if tensor in self._lost}
        if not lost:
            return
        softmax = next(iter(lost.values()))
        if call.name in CONTRACTING:
            if any(self.lineage.roots(tensor) for tensor in tensors if tensor not in lost):
                what = f"a softmax of queries and keys that meets its values in {call.name}"
                self.met[softmax] = Unseen(what, self.where(), "write it as weights @ values")
        elif call.name in _CARRIED:
            for tensor in tensors_in(result):
                self._lost[tensor] = softmax


class Batched:
    """Finds attention that runs under torch.vmap, by what is called there."""

    def __init__(self) -> None:
        self._weights: Any = WeakTensorKeyDictionary()

    def run(self, call: Call) -> tuple[Any, bool]:
        """Return what a function answers, and whether it multiplied a softmax with values."""
        tensors = list(tensors_in((call.args, call.kwargs)))
        weighs = any(tensor in self._weights for tensor in tensors)
        result = call.run()
        if call.name in ("softmax", "safe_softmax") or (weighs and call.name in _CARRIED):
            for tensor in tensors_in(result):
                self._weights[tensor] = True
        held = any(isinstance(tensor, nn.Parameter) for tensor in tensors)
        return result, weighs and call.name in CONTRACTING and not held
