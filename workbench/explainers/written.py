"""Attention that a model writes out itself: a softmax whose result is multiplied with values, and summed.

The result of every softmax is followed through dropout, casts, masks and changes of shape until it is
multiplied with values. Beside it goes, in the same shapes, the number of the key that each entry weighs, so
that the axis of the keys is known wherever the model puts it. A softmax that meets no values, as that over
classes, is no attention.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from workbench.explainers.calls import Call
from workbench.explainers.contractions import PRODUCTS, Roles, roles_of, roles_of_times
from workbench.explainers.lineage import Layers, Lineage, Roots, tensors_in
from workbench.explainers.masks import unblocked
from workbench.explainers.rows import Rows
from workbench.explainers.softmax import AttentionLayer
from workbench.explainers.unseen import Lost, Unseen

_RESHAPED = frozenset({"view", "view_as", "reshape", "reshape_as"})
_MOVED = _RESHAPED | {
    *("transpose", "swapaxes", "swapdims", "permute", "movedim", "moveaxis", "t", "T", "mT", "H", "mH"),
    *("flatten", "unflatten", "ravel", "unsqueeze", "squeeze", "expand", "expand_as", "broadcast_to"),
    *("getitem", "select", "narrow", "chunk", "split", "tensor_split", "unbind", "index_select"),
    *("repeat", "repeat_interleave", "tile", "adjoint"),
}
_UNCHANGED = frozenset(
    {"to", "float", "double", "half", "bfloat16", "type", "type_as", "contiguous", "clone", "cpu", "cuda"}
)
_DROPPED = frozenset({"dropout", "alpha_dropout", "feature_dropout", "native_dropout"})
_TIMES = frozenset({"mul", "multiply", "imul"})
_REVALUED = _TIMES | {
    *("div", "divide", "true_divide", "truediv", "itruediv", "add", "iadd", "where", "masked_fill"),
    *("nan_to_num", "clamp", "clamp_min", "detach", "data"),
}
_SOFTMAXES = frozenset({"softmax", "safe_softmax", "softmin", "log_softmax"})
_SUMMED = frozenset({"sum", "nansum", "mean"})
_HALVES = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Followed:
    """A tensor that came of a softmax.

    Attributes
    ----------
    weights
        What it was before dropout, in its present shape.
    keys
        The key that each entry weighs, in the same shape.
    allowed
        Where the mask let the query look, in the same shape; None where everywhere.
    softmax, length
        Which softmax it came of, or part of one, and over how many keys.
    pair
        The roots of query and key, where they are known.
    rows
        What the rows of a product of three axes are.
    layers
        The layers that query and key draw on; None where that is not known.
    plain
        Nothing but the softmax was done to the values, so that they sum to one.
    upstream
        What the model goes on with is computed from `weights`.
    dropped
        Dropout was at work since.
    """

    weights: Tensor
    keys: Tensor
    allowed: Tensor | None
    softmax: Hashable
    length: int
    pair: tuple[Roots, Roots] | None
    rows: Rows
    layers: Layers | None
    plain: bool = True
    upstream: bool = True
    dropped: bool = False

    @property
    def axes(self) -> list[int]:
        """The axes that the keys may lie along: one, or those of length one where there is but one key."""
        if self.length == 1:
            return [axis for axis, size in enumerate(self.keys.shape) if size == 1]
        return _axes(self.keys)


@dataclass(frozen=True)
class Pending:
    """Weights times values, not yet summed over the keys."""

    layer: AttentionLayer
    followed: Followed
    values: Tensor
    axis: int


class WrittenAttention:
    """Follows what softmaxes give through the operations of a pass, to the products with values.

    Parameters
    ----------
    lineage
        Where the tensors of the pass come from: values that are constants are none of the input's.
    gradients
        Whether the weights found must be what the model's result is computed from.
    found
        Told of every layer, and of the layers that its values draw on; answers with its number.
    where
        The path of the module now running.
    """

    def __init__(
        self,
        lineage: Lineage,
        gradients: bool,
        found: Callable[[AttentionLayer, Layers | None], int],
        where: Callable[[], str],
    ) -> None:
        self.lineage = lineage
        self.gradients = gradients
        self.found = found
        self.softmaxes = 0
        self._followed: Any = WeakTensorKeyDictionary()
        self._pending: Any = WeakTensorKeyDictionary()
        self._logs: Any = WeakTensorKeyDictionary()  # what log_softmax gave, and the scores it was given
        self.lost = Lost(lineage, where)
        self._met: dict[Hashable, int] = {}  # softmaxes known to be attention, and the number of the layer

    @property
    def needed(self) -> bool:
        """Whether any was found so far."""
        return bool(self._met)

    @property
    def unseen(self) -> list[Unseen]:
        """The softmaxes that met values in none of the ways that are known."""
        found = {_whole(softmax) for softmax in self._met}
        return [lost for softmax, lost in self.lost.met.items() if _whole(softmax) not in found]

    def run(self, call: Call) -> Any:
        """Run an operation of the model and follow what it does to weights."""
        if call.name in _SOFTMAXES or (call.name == "exp" and call.args and call.args[0] in self._logs):
            return self._softmax(call)
        tensors = list(tensors_in((call.args, call.kwargs)))
        if call.name in _SUMMED and tensors and tensors[0] in self._pending:
            return self._sum(call, self._pending[tensors[0]])
        tensor = next((t for t in tensors if t in self._followed), None)
        if tensor is None:
            return self._through(call, tensors if any(one in self.lost for one in tensors) else ())
        if call.name in PRODUCTS:
            return self._product(call, tensor)
        if call.name in _TIMES and len(tensors) == 2:
            return self._times(call, tensor, tensors[tensors[0] is tensor])
        if call.name in _REVALUED:
            return self._revalue(call, tensor)
        if not call.args or call.args[0] is not tensor:
            return self._through(call, tensors, tensor)
        if call.name in _MOVED:
            return self._move(call, tensor)
        if call.name in _UNCHANGED or (call.name in _DROPPED and not call.trains):
            return self._keep(call, tensor)
        return self._drop(call, tensor) if call.name in _DROPPED else self._through(call, tensors, tensor)

    def _through(self, call: Call, lost: Sequence[Tensor] = (), weights: Tensor | None = None) -> Any:
        """Run an operation that is not followed; `lost` are its tensors where weights are among them."""
        result = call.run()
        self.lineage.follow(call.name, call.args, call.kwargs, result)
        if lost:
            paired = {}
            if weights is not None and self._followed[weights].pair is not None:
                paired[weights] = self._followed[weights].softmax
            self.lost.follow(call, lost, paired, result)
        return result

    def _softmax(self, call: Call) -> Tensor:
        scores = call.kwargs["input"] if "input" in call.kwargs else call.args[0]
        if call.name == "exp":
            return self._weigh(call, *self._logs[scores])
        dim = call.argument(1, "dim")
        if not isinstance(dim, int) or scores.ndim == 0:
            return self._through(call)
        scores, axis = -scores if call.name == "softmin" else scores, dim % scores.ndim
        if call.name == "softmin":
            self.lineage.follow("neg", (call.argument(0, "input"),), {}, scores)
        if call.name == "log_softmax":
            result = self._through(call)
            self._logs[result] = scores, axis
            return result
        return self._weigh(call, scores, axis)

    def _weigh(self, call: Call, scores: Tensor, axis: int) -> Tensor:
        """Run the operation that gives the softmax of `scores`, and follow what it gives."""
        allowed = unblocked(scores, axis)
        result = weights = self._through(call)
        if result.dtype in _HALVES:
            weights = scores.float().softmax(axis)  # shares to the precision of shares
        if self.gradients and torch.is_grad_enabled() and not result.requires_grad:
            result.requires_grad_()  # nothing before it does: the model is frozen
        self.softmaxes += 1
        self._followed[result] = Followed(
            weights,
            _numbers(scores, axis),
            allowed,
            self.softmaxes,
            scores.shape[axis],
            self.lineage.pair(scores),
            Rows(scores.shape[1], scores.shape[0]) if scores.ndim == 4 else self.lineage.rows(scores),
            self.lineage.layers(scores),
            upstream=weights is result,
        )
        return result

    def _move(self, call: Call, tensor: Tensor) -> Any:
        followed = self._followed[tensor]
        result = self._through(call)
        if any(isinstance(given, torch.dtype) for given in (*call.args, *call.kwargs.values())):
            return result  # the same bytes read as other numbers

        def moved(carried: Tensor) -> list[Tensor]:
            if call.name in _RESHAPED:
                return [carried.reshape(result.shape)]  # it may not lie in memory as the model's does
            return list(tensors_in(call.replaced(tensor, carried).run()))

        parts = list(tensors_in(result))
        own = followed.weights is tensor
        weights = parts if own else moved(followed.weights)
        keys = moved(followed.keys)
        allowed = [None] * len(parts) if followed.allowed is None else moved(followed.allowed)
        for i, part in enumerate(parts):
            beside = {"weights": weights[i], "keys": keys[i], "allowed": allowed[i]}
            softmax = followed.softmax
            if part.numel() < tensor.numel():  # one head of several, say: attention of its own
                softmax = (softmax, i, weights[i].storage_offset(), part.shape)
            self._followed[part] = replace(followed, **beside, softmax=softmax, upstream=own)
        return result

    def _keep(self, call: Call, tensor: Tensor) -> Any:
        followed = self._followed[tensor]
        result = self._through(call)
        if isinstance(result, Tensor):
            same = followed.weights is tensor and result.dtype == tensor.dtype
            self._followed[result] = replace(followed, weights=result) if same else followed
        return result

    def _drop(self, call: Call, tensor: Tensor) -> Any:
        followed = self._followed[tensor]
        if followed.weights is tensor and call.in_place:
            followed = replace(followed, weights=tensor.clone(), upstream=False)
        result = self._through(call)
        out = next(tensors_in(result))  # native_dropout returns its mask too
        self._followed[out] = replace(followed, dropped=True)
        return result

    def _revalue(self, call: Call, tensor: Tensor) -> Any:
        followed = self._followed[tensor]
        own, weights = followed.weights is tensor, followed.weights
        shape = tensor.shape
        if not own:
            weights = call.replaced(tensor, weights.clone() if call.in_place else weights).run()
        allowed = followed.allowed
        if call.name == "masked_fill" and call.argument(2, "value") == 0:
            blocked = call.argument(1, "mask").expand(shape)
            allowed = ~blocked if allowed is None else allowed & ~blocked
        result = self._through(call)
        if isinstance(result, Tensor) and result.shape == shape:
            weights = result if own else weights
            plain = followed.plain and call.name in ("detach", "data")
            self._followed[result] = replace(
                followed, weights=weights, allowed=allowed, plain=plain, upstream=own
            )
        return result

    def _product(self, call: Call, tensor: Tensor) -> Any:
        followed = self._followed[tensor]
        for axis in followed.axes:
            roles = roles_of(call.name, call.args, call.kwargs, tensor, axis)
            if roles is not None and self.lineage.roots(roles.values):
                layer, factor = self._layer(followed, tensor, roles)
                drawn = self._meet(layer, followed, roles.values)
                result = self._through(call.replaced(tensor, factor))
                self.lineage.renew(result, drawn)
                return result
        return self._through(call, list(tensors_in((call.args, call.kwargs))), tensor)

    def _times(self, call: Call, tensor: Tensor, values: Tensor) -> Any:
        """Multiply by values or a mask; which of the two is seen when a product is summed over the keys."""
        followed = self._followed[tensor]
        rooted = self.lineage.roots(values)
        for axis in followed.axes if rooted and not call.in_place else []:
            roles = roles_of_times(tensor, values, axis)
            if roles is not None:
                layer, factor = self._layer(followed, tensor, roles)
                result = self._through(call.replaced(tensor, factor))
                self._pending[result] = Pending(layer, followed, values, axis)
                return result
        return self._revalue(call, tensor)

    def _sum(self, call: Call, pending: Pending) -> Any:
        dims = call.argument(1, "dim", "axis")
        ndim = next(tensors_in((call.args, call.kwargs))).ndim
        over = [dims] if isinstance(dims, int) else list(dims or [])
        result = self._through(call)
        if pending.axis in [axis % ndim for axis in over]:
            self.lineage.renew(result, self._meet(pending.layer, pending.followed, pending.values))
        return result

    def _meet(self, layer: AttentionLayer, followed: Followed, values: Tensor) -> Layers | None:
        """Keep the layer if it is new, and return the layers that its result draws on."""
        gathered, weighed = self.lineage.layers(values), followed.layers
        if followed.softmax not in self._met:
            self._met[followed.softmax] = self.found(layer, gathered)
        own = self._met[followed.softmax]
        return None if gathered is None or weighed is None else gathered | weighed | {own}

    def _layer(self, followed: Followed, tensor: Tensor, roles: Roles) -> tuple[AttentionLayer, Tensor]:
        """Return the layer, and the factor that the model's product is to be taken with."""
        gathered = roles.gather(followed.weights)
        allowed = None if followed.allowed is None else roles.gather(followed.allowed)
        weights = followed.rows.parted(gathered)
        allowed = None if allowed is None else followed.rows.parted(allowed)
        complete = followed.plain and weights.shape[-1] == followed.length
        kind = kind_of(followed.pair, weights.shape[-2], weights.shape[-1])
        layer = AttentionLayer(kind, allowed, kept=weights, sums_to_one=complete)
        if not self.gradients or (followed.upstream and weights is followed.weights):
            return layer, tensor
        back = weights if weights is gathered else followed.rows.joined(weights)
        factor = roles.scatter(back, tensor.shape).to(tensor.dtype)
        if followed.dropped:
            drop = tensor.detach() / followed.weights.detach().to(tensor.dtype)
            factor = factor * torch.where(followed.weights == 0, 0, drop)
        return layer, factor


def _whole(softmax: Hashable) -> Hashable:
    """Return which softmax weights are part of."""
    while isinstance(softmax, tuple):
        softmax = softmax[0]
    return softmax


def kind_of(pair: tuple[Roots, Roots] | None, queries: int, keys: int) -> str:
    """Return `self` where queries and keys are the same positions: as many, and of the same origin."""
    return "self" if pair is not None and pair[0] == pair[1] and queries == keys else "cross"


def _numbers(scores: Tensor, axis: int) -> Tensor:
    """Return the number of the key that each score is of, without taking memory for each."""
    shape = [1] * scores.ndim
    shape[axis] = scores.shape[axis]
    return torch.arange(shape[axis], device=scores.device).view(shape).expand(scores.shape)


def _axes(keys: Tensor) -> list[int]:
    """Return the one axis along which key follows key, every other only repeating them; else nothing."""
    varying = [axis for axis, size in enumerate(keys.shape) if size > 1 and keys.stride(axis) != 0]
    if len(varying) > 1:  # copied: the numbers themselves must tell
        varying = [axis for axis in varying if not bool((keys == keys.narrow(axis, 0, 1)).all())]
    if len(varying) != 1:
        return []
    line = keys.movedim(varying[0], -1).reshape(-1, keys.shape[varying[0]])[0]
    return varying if bool((line.diff() == 1).all()) else []
