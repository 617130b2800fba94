"""The torch function mode that sees attention, and the path of modules that it is in."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FunctionType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from workbench.explainers.products import Product, Shelf
from workbench.explainers.softmax import AttentionLayer


class Recorder(TorchFunctionMode):
    """A torch function mode that keeps what the attention functions are asked and answer.

    Attributes
    ----------
    layers
        The attention layers seen, in order.
    names
        The path of the module that attended, such as `layers.0.attention`.
    """

    def __init__(self, keep: Shelf | None) -> None:
        super().__init__()
        self.keep = keep
        self.layers: list[AttentionLayer] = []
        self.names: list[str] = []
        self.path: list[tuple[str, nn.Module]] = []

    def clear(self) -> None:
        """Forget the passes seen so far, before the next one."""
        self.layers, self.names = [], []
        if self.keep is not None:
            self.keep.rewind()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            return self._product(Product(*args, **kwargs), self._marked())
        if func is F.multi_head_attention_forward:
            return self._multi_head(args, kwargs)
        return func(*args, **kwargs)

    def _product(self, asked: Product, kind: str | None) -> Tensor:
        layer = AttentionLayer.of_product(kind, asked)
        if kind == "last":  # the heads were asked as the queries of one attention
            self._add(layer.heads_from_queries())
            return asked.by_torch()
        self._add(layer)
        if self.keep is None or not asked.by_hand:
            return asked.by_torch()
        layer.keep(self.keep)
        return layer.product(asked.value, asked.query)

    def _multi_head(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # Within a mode's handler the mode is off, so the function's own calls would go unseen: run a copy
        # of it whose softmax and product are ours. Nothing of torch is patched.
        bound = inspect.signature(F.multi_head_attention_forward).bind(*args, **kwargs)
        given = bound.arguments
        query, key, heads = given["query"], given["key"], given["num_heads"]
        itself = query is key or (query.shape == key.shape and torch.equal(query, key))
        kind = "self" if itself else "cross"
        same_mask = given.get("attn_mask") is None and given.get("key_padding_mask") is None

        def softmax(scores: Tensor, dim: int) -> Tensor:
            layer = AttentionLayer.of_scores(kind, scores, heads, same_mask)
            self._add(layer)
            return layer.weights().view(scores.shape).to(scores.dtype)

        def product(*args: Any, **kwargs: Any) -> Tensor:
            return self._product(Product(*args, **kwargs), kind)

        watched = watched_copy(
            F.multi_head_attention_forward, softmax=softmax, scaled_dot_product_attention=product
        )
        return watched(*args, **kwargs)

    def _marked(self) -> str | None:
        """Return what a module of this package says of its attention; of others, the lengths must tell."""
        innermost = self.path[-1][1] if self.path else None
        return "last" if getattr(innermost, "last_query_only", False) is True else None

    def _add(self, layer: AttentionLayer) -> None:
        self.layers.append(layer)
        self.names.append(
            self.path[-1][0] if self.path and self.path[-1][0] else f"attention {len(self.layers)}"
        )


@contextmanager
def followed(module: nn.Module, recorder: Recorder, named: bool) -> Iterator[None]:
    """Keep `recorder.path` at the modules now running, innermost last."""

    def enter(name: str) -> Any:
        return lambda part, inputs: recorder.path.append((name, part))

    def leave(part: nn.Module, inputs: Any, output: Any) -> None:
        recorder.path.pop()

    with ExitStack() as stack:
        for name, part in module.named_modules():
            if not (named or hasattr(part, "last_query_only")):
                continue
            stack.callback(part.register_forward_pre_hook(enter(name)).remove)
            stack.callback(part.register_forward_hook(leave, always_call=True).remove)
        yield


def watched_copy(function: Callable[..., Any], **replaced: Any) -> Callable[..., Any]:
    """Copy a Python function so that the global names in `replaced` mean something else to the copy alone."""
    copy = FunctionType(
        function.__code__,
        {**function.__globals__, **replaced},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy
