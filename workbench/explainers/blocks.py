"""Attention blocks whose weights are known: what goes into them and comes out while a model runs.

A block is attention with its residual, and with its layer norm where that follows (post-norm). This package's
own attention is one; in `nn.TransformerEncoderLayer` it is `self_attn` with `norm1`. Of no other module is it
known which weights are the values' and the output's, so none is guessed.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from workbench.models.attention import MultiHeadAttention

PRECISION = {torch.float64: 1e-10, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 1e-1}


@dataclass(frozen=True)
class Block:
    """One call of an attention block: y_i = LN(x_i + Σ_h Σ_j α_ij^h·v_j^h·W_O^h + b_O), or without LN.

    Attributes
    ----------
    residual
        x, what the residual path carries past the attention, at every position.
    values
        v = xW_V + b_V, a head's own; in a pre-norm block of the normalised x.
    w_o, b_o
        The output's weights, a head's own, and its bias, which belongs to no position.
    norm
        The layer norm after the residual; None in a pre-norm block.
    output
        y as the module computed it: of every query, or of the last alone.
    precision
        How far the parts of y may miss it, as a share of its size.
    """

    residual: Float[Tensor, "batch key d_model"]
    values: Float[Tensor, "batch head key d_head"]
    w_o: Float[Tensor, "head d_head d_model"]
    b_o: Float[Tensor, " d_model"] | None
    norm: nn.LayerNorm | None
    output: Float[Tensor, "batch query d_model"]
    precision: float


@dataclass
class Projections:
    """The weights of an attention module that make its values and its output."""

    heads: int
    w_v: Tensor
    b_v: Tensor | None
    out: nn.Linear

    @classmethod
    def of(cls, module: nn.Module) -> "Projections | None":
        """Return those of a module of a kind that is known, None of others."""
        if isinstance(module, MultiHeadAttention):
            return cls(module.n_heads, module.w_v.weight, module.w_v.bias, module.w_o)
        if isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
            bias = None if module.in_proj_bias is None else module.in_proj_bias.chunk(3)[2]
            return cls(module.num_heads, module.in_proj_weight.chunk(3)[2], bias, module.out_proj)
        return None

    def block(self, residual: Tensor, source: Tensor, norm: nn.LayerNorm | None, output: Tensor) -> Block:
        """Return the block that these make of the `source` of the values; all (batch, time, d_model)."""
        values = F.linear(source, self.w_v, self.b_v).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        w_o = self.out.weight.T.unflatten(0, (self.heads, -1))  # heads lie side by side in what it reads
        return Block(
            _precise(residual),
            _precise(values),
            _precise(w_o),
            None if self.out.bias is None else _precise(self.out.bias),
            norm,
            _precise(output),
            PRECISION[output.dtype],
        )


@dataclass
class Call:
    """What was seen of one call of a block, until it is looked at."""

    module: nn.Module
    residual: Tensor
    norm: nn.LayerNorm | None
    batch_first: bool
    source: Tensor | None = None
    output: Tensor | None = None

    def block(self) -> Block | None:
        """Return the block, or None where it did not run through."""
        projections = Projections.of(self.module)
        if self.source is None or self.output is None or projections is None:
            return None
        seen = (_rows(given, self.batch_first) for given in (self.residual, self.source, self.output))
        residual, source, output = seen
        return projections.block(residual, source, self.norm, output)


@dataclass
class Blocks:
    """The calls of one pass, by the path of the attention module, in order."""

    calls: dict[str, list[Call]] = field(default_factory=dict)

    def clear(self) -> None:
        """Forget the pass."""
        self.calls.clear()

    def of(self, name: str) -> Block | None:
        """Return the block of an attention layer by the name that capture gives it; None if not known."""
        path, _, count = name.partition("#")
        calls = self.calls.get("" if path.startswith("attention ") else path, [])  # a model that is one block
        index = int(count or 1) - 1
        return calls[index].block() if index < len(calls) else None

    def begin(self, path: str, call: Call) -> None:
        """Note that a block is entered."""
        self.calls.setdefault(path, []).append(call)

    def last(self, path: str) -> Call:
        """Return the call at hand."""
        return self.calls[path][-1]


@contextmanager
def blocks_of(module: nn.Module) -> Iterator[Blocks]:
    """Yield the blocks of every pass of `module` inside the block; nothing stays hooked after it."""
    blocks = Blocks()
    with ExitStack() as stack:
        for name, part in module.named_modules():
            name = name.replace("._orig_mod", "")  # torch.compile's, which is run as it was written
            handles = []
            if isinstance(part, MultiHeadAttention) and isinstance(part.w_o, nn.Linear):
                handles = _follow_own(part, name, blocks)
            elif isinstance(part, nn.TransformerEncoderLayer) and _is_standard(part):
                handles = _follow_encoder(part, f"{name}.self_attn".lstrip("."), blocks)
            for handle in handles:
                stack.callback(handle.remove)
        yield blocks


def _follow_own(part: MultiHeadAttention, path: str, blocks: Blocks) -> list[Any]:
    def enter(module: nn.Module, args: Any, kwargs: Any) -> None:
        query, key, value = _asked(args, kwargs)
        norm = None if part.norm_first else part.norm
        call = Call(part, query.clone(), norm, batch_first=True)
        if key is None:
            key = part.norm.forward(query) if part.norm_first else query
        call.source = (key if value is None else value).clone()
        blocks.begin(path, call)

    def leave(module: nn.Module, args: Any, output: Tensor) -> None:
        blocks.last(path).output = output.clone()

    return [part.register_forward_pre_hook(enter, with_kwargs=True), part.register_forward_hook(leave)]


def _follow_encoder(part: nn.TransformerEncoderLayer, path: str, blocks: Blocks) -> list[Any]:
    attention, before = part.self_attn, part.norm_first

    def enter(module: nn.Module, args: Any, kwargs: Any) -> None:
        x = args[0] if args else kwargs["src"]
        norm = None if before else part.norm1
        blocks.begin(path, Call(attention, x.clone(), norm, attention.batch_first))

    def attend(module: nn.Module, args: Any, kwargs: Any) -> None:
        query, key, value = _asked(args, kwargs)
        found = next(given for given in (value, key, query) if given is not None)
        blocks.last(path).source = found.clone()

    def leave(module: nn.Module, args: Any, output: Tensor | None = None) -> None:
        blocks.last(path).output = (args[0] if output is None else output).clone()

    return [
        part.register_forward_pre_hook(enter, with_kwargs=True),
        attention.register_forward_pre_hook(attend, with_kwargs=True),
        part.norm2.register_forward_pre_hook(leave) if before else part.norm1.register_forward_hook(leave),
    ]


def _is_standard(part: nn.TransformerEncoderLayer) -> bool:
    return isinstance(part.self_attn, nn.MultiheadAttention) and isinstance(part.norm1, nn.LayerNorm)


def _asked(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """Return query, key and value, None where left out."""
    names = ("query", "key", "value")
    return [args[i] if i < len(args) else kwargs.get(name) for i, name in enumerate(names)]


def _rows(x: Tensor, batch_first: bool) -> Float[Tensor, "batch time d_model"]:
    if x.ndim == 2:  # one sample without a batch
        return x[None]
    return x if batch_first else x.transpose(0, 1)


def _precise(tensor: Tensor) -> Tensor:
    """Return half-precision numbers as float32; others as they are."""
    return tensor.detach().float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor.detach()
