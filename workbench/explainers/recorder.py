"""The torch function mode that sees attention, and the path of modules that it is in."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from types import FunctionType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from workbench.explainers.calls import Call
from workbench.explainers.lineage import Layers, Lineage
from workbench.explainers.products import Product, Shelf
from workbench.explainers.softmax import AttentionLayer, Recall
from workbench.explainers.unseen import Batched, Unseen, transformed
from workbench.explainers.written import WrittenAttention
from workbench.models.attention import MultiHeadAttention
from workbench.models.transformer import TradingTransformer

FLEX = Unseen("flex_attention", "", "use scaled_dot_product_attention")  # runs where no mode sees it
VMAPPED = Unseen("attention under torch.vmap", "", "give it a batch axis, or call it in a loop")

FUSED = (F.scaled_dot_product_attention, torch.ops.aten.scaled_dot_product_attention.default)
ATTENDING = frozenset({*FUSED, F.multi_head_attention_forward})


class Recorder(TorchFunctionMode):
    """A torch function mode that keeps what the attention functions are asked and answer.

    The first pass is traced: every operation is seen, to find attention that is written out, and to tell
    self- from cross-attention by where queries and keys come from. After `clear`, further passes are traced
    only if the first needed it; else the kinds found in the first hold, and operations run untouched.

    Attributes
    ----------
    layers
        The attention layers seen, in order.
    names
        The path of the module that attended, such as `layers.0.attention`; the second call within a module
        is `layers.0.attention#2`.
    """

    def __init__(self, keep: Shelf | None, gradients: bool = False) -> None:
        super().__init__()
        self.keep = keep
        self.gradients = gradients
        self.layers: list[AttentionLayer] = []
        self.names: list[str] = []
        self.path: list[tuple[str, nn.Module, Recall | None]] = []
        self._unseen: list[Unseen] = []
        self.batched = Batched()
        self.lineage = Lineage()
        self.written: WrittenAttention | None = WrittenAttention(
            self.lineage, gradients, self._found, self._where
        )
        self._values_of: frozenset[str] | None = None  # the layers that the values now gathered draw on
        self._kinds: list[str] = []
        self._above: list[frozenset[str] | None] = []
        self._gone = 0  # how many layers the passes before had: tensors kept from them draw on those

    def clear(self) -> None:
        """Forget the passes seen so far, before the next one."""
        if self.layers and self.written is not None and not self.written.needed:
            self._unseen = self.unseen
            self.written = None
            self._kinds = [layer.kind for layer in self.layers]
            self._above = [layer.above for layer in self.layers]
        self._gone += len(self.layers)
        self.layers, self.names = [], []
        if self.keep is not None:
            self.keep.rewind()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.written is None and func not in ATTENDING:
            return func(*args, **kwargs)
        if transformed():
            return self._transformed(func, args, kwargs)
        if func in FUSED:
            asked = Product(*args, **kwargs)
            return self._attended(lambda: self._product(asked, None), asked.query, asked.key, asked.value)
        if func is F.multi_head_attention_forward:
            given = inspect.signature(func).bind(*args, **kwargs).arguments
            sources = given["query"], given["key"], given["value"]
            return self._attended(lambda: self._multi_head(given), *sources)
        assert self.written is not None
        call = Call.of(func, args, kwargs)
        if call.name == FLEX.what:
            self._miss(FLEX)
        return self.written.run(call)

    def _transformed(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a function under torch.vmap, where weights have no values to keep."""
        if func in FUSED or func is F.multi_head_attention_forward:
            self._miss(VMAPPED)
            return func(*args, **kwargs)
        result, attends = self.batched.run(Call.of(func, args, kwargs))
        if attends:
            self._miss(VMAPPED)
        return result

    def _miss(self, what: Unseen) -> None:
        found = replace(what, where=self._where())
        if found not in self._unseen:
            self._unseen.append(found)

    def _where(self) -> str:
        return self.path[-1][0] if self.path else ""

    @property
    def unseen(self) -> list[Unseen]:
        """Attention that ran and cannot be watched."""
        lost = self.written.unseen if self.written is not None else []
        return list(dict.fromkeys(self._unseen + lost))

    def _attended(self, attend: Callable[[], Any], query: Tensor, key: Tensor, value: Tensor) -> Any:
        """Return what a layer answers, once it is known what its values draw on."""
        if self.written is None:
            known = len(self.layers) < len(self._above)
            self._values_of = self._above[len(self.layers)] if known else None
            return attend()
        drawn = self.lineage.layers(query, key, value)
        self._values_of = self._named(self.lineage.layers(value))
        result = attend()
        self.lineage.renew(result, None if drawn is None else drawn | {self._newest()})
        return result

    def _named(self, layers: Layers | None) -> frozenset[str] | None:
        gone = self._gone
        return None if layers is None else frozenset(self.names[i - gone] for i in layers if i >= gone)

    def _newest(self) -> int:
        return self._gone + len(self.layers) - 1

    def _found(self, layer: AttentionLayer, values: Layers | None) -> int:
        """Keep a layer that the model wrote out, and return its number."""
        self._values_of = self._named(values)
        self._add(layer)
        return self._newest()

    def _product(self, asked: Product, kind: str | None) -> Tensor:
        if kind is None:
            alike = asked.query.shape[-2] == asked.key.shape[-2]
            kind = self._marked() or (self._told(asked.query, asked.key) if alike else "cross")
        layer = AttentionLayer.of_product(kind, asked)
        if kind == "last":  # the heads were asked as the queries of one attention
            heads = layer.heads_from_queries()
            self._add(heads)
            return asked.by_torch() if not self.gradients else heads.weights().transpose(1, 2) @ asked.value
        if self.gradients:
            layer.keep(Shelf(reuse=False))
            self._add(layer)
            return layer.applied(asked)
        self._add(layer)
        if self.keep is None:
            layer.compact(self.path[-1][2] if self.path and not asked.query.requires_grad else None)
        if self.keep is None or not asked.by_hand:
            return asked.by_torch()
        answered = self.keep.attend(asked, self.keep) if self.keep.attend is not None else None
        if answered is not None:
            answer, mean = answered
            layer.keep_mean(mean)
            return answer
        layer.keep(self.keep)
        return layer.product(asked.value, asked.query)

    def _multi_head(self, given: dict[str, Any]) -> Any:
        # Within a mode's handler the mode is off, so the function's own calls would go unseen: run a copy
        # of it whose softmax and product are ours. Nothing of torch is patched.
        query, key, heads = given["query"], given["key"], given["num_heads"]
        alike = query is key or query.shape == key.shape
        kind = (self._told(query, key) if alike else "cross") or _itself(query, key)
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
        return watched(**given)

    def _told(self, query: Tensor, key: Tensor) -> str | None:
        """Tell self- from cross-attention by the origins of query and key, or as the first pass told them."""
        if self.written is None:
            return self._kinds[len(self.layers)] if len(self.layers) < len(self._kinds) else None
        roots = self.lineage.roots(query), self.lineage.roots(key)
        if not any(roots):
            return None
        return "self" if roots[0] == roots[1] else "cross"

    def _marked(self) -> str | None:
        """Return what a module of this package says of its attention."""
        innermost = self.path[-1][1] if self.path else None
        return "last" if getattr(innermost, "last_query_only", False) is True else None

    def _add(self, layer: AttentionLayer) -> None:
        path = self._where()
        if self.gradients:
            if not torch.is_grad_enabled():
                raise ValueError(
                    f"attention in {path or 'the model'} runs with gradients turned off, so none can reach "
                    "its weights: look for torch.no_grad, and turn checkpointing off"
                )
            layer.differentiate()
        layer.above = self._values_of
        self.layers.append(layer)
        before = sum(name.partition("#")[0] == path for name in self.names)
        own = f"attention {len(self.layers)}" if not path else path if not before else f"{path}#{before + 1}"
        self.names.append(own)


def _recall(part: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> Recall | None:
    """Return how this package's self-attention computes its queries and keys again from its one input."""
    if type(part) is not MultiHeadAttention or len(given) != 1 or not {"mask", "causal"} >= named.keys():
        return None
    return lambda: part.queries_and_keys(given[0])


def _itself(query: Tensor, key: Tensor) -> str:
    return "self" if query is key or torch.equal(query, key) else "cross"


@contextmanager
def followed(module: nn.Module, recorder: Recorder, named: bool) -> Iterator[None]:
    """Keep `recorder.path` at the modules now running, innermost last."""

    # An input is half as large as queries and keys, so of long sequences it alone is held: of the package's
    # own model, which surely writes over none.
    ours = type(module) is TradingTransformer

    def enter(name: str) -> Any:
        return lambda part, given, named: recorder.path.append(
            (name, part, _recall(part, given, named) if ours else None)
        )

    def leave(part: nn.Module, inputs: Any, output: Any) -> None:
        recorder.path.pop()

    with ExitStack() as stack:
        for name, part in module.named_modules():
            if not (named or hasattr(part, "last_query_only")):
                continue
            name = name.replace("._orig_mod", "")  # torch.compile's, which is run as it was written
            stack.callback(part.register_forward_pre_hook(enter(name), with_kwargs=True).remove)
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
