"""How much each key adds to what an attention block hands on: by the length of its part, or by its closeness.

A block's output y_i is a sum of one part a position, T_ij = L(Σ_h α_ij^h·v_j^h·W_O^h + [i = j]·x_i) / σ_i,
and of what belongs to none: L(b_O) / σ_i and the norm's bias. L takes the mean off and multiplies by the
norm's weight, and σ_i is the deviation of the sum that is normalised: given σ_i, a layer norm is linear.
Where no norm follows the residual (pre-norm), T_ij is the sum itself and x_i the stream not normalised, as
in the authors' code for machine translation (Ferrando, Gállego et al. 2022, "Towards Opening the Black Box of
Neural Machine Translation").

- Kobayashi et al. 2020, "Attention is Not Only a Weight", section 3: ‖Σ_h α_ij^h·v_j^h·W_O^h‖₂.
- Kobayashi et al. 2021, "Incorporating Residual and Normalization Layers into Analysis of Masked Language
  Models", section 3: ‖T_ij‖₂.
- ALTI: Ferrando et al. 2022, "Measuring the Mixing of Contextual Information in the Transformer", section 4:
  max(0, ‖y_i‖₁ − ‖y_i − T_ij‖₁), y_i with all that belongs to no position.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.explainers.blocks import Block

Weights = Float[Tensor, "#batch #head query key"]
Rows = Float[Tensor, "batch query key"]
CHUNK_BYTES = 2**20  # of what is computed for some keys at a time: what stays in a core's caches


class Parts:
    """What an attention block's outputs are made of.

    All are multiplied by σ_i, which changes no share of a row, and makes no rounding large where the norm's
    input is nearly constant.

    Parameters
    ----------
    block
        The block.
    name
        Where it is, for messages.
    """

    def __init__(self, block: Block, name: str) -> None:
        self.block, self.name = block, name

    def summed(self, weights: Weights, start: int) -> Float[Tensor, "batch query d_model"]:
        """Return Σ_j Σ_h α_ij^h·v_j^h·W_O^h + x_i + b_O of the queries from position `start` on."""
        block = self.block
        gathered = weights.to(block.values.dtype) @ block.values  # (batch, head, query, d_head)
        summed = torch.einsum("bhqe,hed->bqd", gathered, block.w_o)
        summed += block.residual[:, start : start + summed.shape[1]]
        return summed if block.b_o is None else summed.add_(block.b_o)

    def linear(self, x: Float[Tensor, "*rest d_model"]) -> Float[Tensor, "*rest d_model"]:
        """Return L(x)."""
        norm = self.block.norm
        if norm is None:
            return x
        centred = x - x.mean(-1, keepdim=True)
        return centred if norm.weight is None else centred.mul_(norm.weight.to(x.dtype))

    def deviation(self, summed: Float[Tensor, "batch query d_model"]) -> Float[Tensor, "batch query 1"]:
        """Return σ, as the layer norm computes it; 1 without one."""
        norm = self.block.norm
        if norm is None:
            return torch.ones_like(summed[..., :1])
        centred = summed - summed.mean(-1, keepdim=True)  # Tensor.var takes forty times as long
        return (centred.square_().mean(-1, keepdim=True) + norm.eps).sqrt_()

    def outputs(self, summed: Float[Tensor, "batch query d_model"]) -> Float[Tensor, "batch query d_model"]:
        """Return σ·y, of what `summed` gives."""
        norm = self.block.norm
        if norm is None or norm.bias is None:
            return self.linear(summed)
        return self.linear(summed) + norm.bias.to(summed.dtype) * self.deviation(summed)

    def gap(self, summed: Float[Tensor, "batch query d_model"], start: int) -> float:
        """Return how far the parts miss what the module answered, as a share of the largest number."""
        output = self.block.output
        actual = output if output.shape[1] == 1 else output[:, start : start + summed.shape[1]]
        actual = actual * self.deviation(summed)
        size = torch.maximum(actual.abs().amax(), self.linear(summed).abs().amax())
        return float(
            (self.outputs(summed) - actual).abs().amax() / size.clamp_min(torch.finfo(size.dtype).tiny)
        )

    def check(self, summed: Float[Tensor, "batch query d_model"], start: int) -> None:
        """Raise ValueError unless the parts add up to what the module answered, from position `start` on."""
        gap = self.gap(summed, start)
        if not gap <= self.block.precision:
            raise ValueError(
                f"the parts of {self.name} miss its output by {gap:.1e} of its size, and "
                f"{self.block.precision:.0e} is allowed: its forward does more than attention, residual and "
                "layer norm. Use rollout or flow, which need the attention alone"
            )

    def own(
        self, weights: Weights, start: int, w_o: Float[Tensor, "head d_head d_model"]
    ) -> Float[Tensor, "batch query d_model"]:
        """Return σ_i·T_ii, with the residual in it, of the queries from position `start` on."""
        here = slice(start, start + weights.shape[2])
        alpha = weights[..., here].diagonal(dim1=2, dim2=3).to(w_o.dtype)  # (batch, head, query)
        kept = torch.einsum("bhqe,hed->bqd", self.block.values[:, :, here] * alpha[..., None], w_o)
        return kept + self.linear(self.block.residual[:, here])


class Measure(ABC):
    """A measure of the parts of one block."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    @abstractmethod
    def rows(self, weights: Weights, summed: Tensor | None, start: int) -> Rows:
        """Return what each key adds to the queries from position `start` on.

        `weights` is their attention, where one head may stand for all, and `summed` what `Parts.summed` gives
        for it, computed here if needed and None.
        """


class ValueNorms(Measure):
    """‖Σ_h α_ij^h·v_j^h·W_O^h‖₂ (Kobayashi et al. 2020)."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self._lengths = _Lengths(parts.block.values, parts.block.w_o)

    def rows(self, weights: Weights, summed: Tensor | None, start: int) -> Rows:
        """Return the norms."""
        return self._lengths.of(weights)


class PartNorms(Measure):
    """‖T_ij‖₂, the residual and the layer norm within (Kobayashi et al. 2021)."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.w_o = parts.linear(parts.block.w_o)
        self._lengths = _Lengths(parts.block.values, self.w_o)

    def rows(self, weights: Weights, summed: Tensor | None, start: int) -> Rows:
        """Return the norms, all multiplied by σ_i."""
        found = self._lengths.of(weights)
        own = self.parts.own(weights, start, self.w_o)
        found.diagonal(offset=start, dim1=1, dim2=2).copy_(own.norm(dim=-1))
        return found


class Closeness(Measure):
    """max(0, ‖y_i‖₁ − ‖y_i − T_ij‖₁) (Ferrando et al. 2022).

    Channels are subtracted before they are added up: the rounding of two sums is as large as a small part.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.w_o = parts.linear(parts.block.w_o)
        self._handed = parts.block.values @ self.w_o  # (batch, head, key, d_model)

    def rows(self, weights: Weights, summed: Tensor | None, start: int) -> Rows:
        """Return the contributions, all multiplied by σ_i."""
        parts = self.parts
        y = parts.outputs(parts.summed(weights, start) if summed is None else summed)
        found = self._closed(weights.to(y.dtype), y)
        own = y.abs() - (y - parts.own(weights, start, self.w_o)).abs_()
        found.diagonal(offset=start, dim1=1, dim2=2).copy_(own.sum(-1))
        return found.clamp_min_(0)

    def _closed(self, weights: Weights, y: Float[Tensor, "batch query d_model"]) -> Rows:
        """Return ‖y_i‖₁ − ‖y_i − T_ij‖₁ without the residual, some keys at a time."""
        by_key = weights.permute(0, 3, 2, 1).contiguous()  # (batch, key, query, head)
        handed = self._handed.sum(1, keepdim=True) if by_key.shape[-1] == 1 else self._handed
        found = y.new_empty(len(y), weights.shape[-1], y.shape[1])
        size = y.abs()[:, None]
        chunks = list(_chunks(found.shape[1], y.numel() * y.element_size()))
        # Reused, for fresh memory costs more than the arithmetic.
        blank = y.new_empty(len(y), chunks[0].stop - chunks[0].start, *y.shape[1:])
        for here in chunks:
            alpha, added = by_key[:, here], handed[:, :, here].transpose(1, 2)  # (batch, key, head, d_model)
            missing = blank[:, : alpha.shape[1]]  # (batch, key, query, d_model)
            if added.shape[2] == 1:
                torch.addcmul(y[:, None], alpha, added, value=-1, out=missing)
            else:
                torch.matmul(alpha, added, out=missing).sub_(y[:, None])
            torch.sum(missing.abs_().sub_(size), -1, out=found[:, here])
        return found.neg_().transpose(1, 2)


def shares(rows: Rows) -> Rows:
    """Return rows that sum to one; a row that nothing adds to stays zero."""
    total = rows.sum(-1, keepdim=True)
    return rows / total.masked_fill(total == 0, 1)


class _Lengths:
    """‖Σ_h α_ij^h·v_j^h·W^h‖₂ of any weights α.

    The square is Σ α^h·α^h'·G_j^hh' with G_j^hh' = v_j^h·W^h·W^h'ᵀ·v_j^h'ᵀ, one small matrix a key in place
    of a vector a pair. It is in float64, since heads that hand on nearly opposite vectors cancel in it.
    """

    def __init__(
        self, values: Float[Tensor, "batch head key d_head"], w_o: Float[Tensor, "head d_head d_model"]
    ) -> None:
        self.values, self.w_o = values, w_o
        self._gram: Tensor | None = None

    def of(self, weights: Weights) -> Rows:
        """Return the lengths, new memory."""
        if weights.shape[2] == 1:  # of one query the vectors take less than the products between heads
            scaled = self.values * weights.to(self.values.dtype).transpose(2, 3)
            return torch.einsum("bhke,hed->bkd", scaled, self.w_o).norm(dim=-1)[:, None]
        if self._gram is None:
            self._gram = self._products()
        if weights.shape[1] == 1:  # all heads attend alike
            return weights[:, 0] * self._gram.sum((-2, -1)).clamp_min_(0).sqrt_().to(weights.dtype)[:, None]
        batch, _, queries, keys = weights.shape
        found = weights.new_empty(batch, keys, queries)
        each = 2 * weights[..., 0].numel() * self._gram.element_size()
        by_key = weights.permute(0, 3, 2, 1).contiguous()  # (batch, key, query, head)
        for here in _chunks(keys, each):
            alpha = by_key[:, here].to(self._gram.dtype)
            squares = (alpha @ self._gram[:, here]).mul_(alpha).sum(-1)
            found[:, here] = squares.clamp_min_(0).sqrt_()
        return found.transpose(1, 2)

    def _products(self) -> Float[Tensor, "batch key head head"]:
        """Return G of every key."""
        values, w_o = _wide(self.values), _wide(self.w_o)
        batch, heads, keys, width = values.shape
        between = torch.einsum("hed,gfd->hegf", w_o, w_o).flatten(2)  # (head, d_head, head · d_head)
        rows = values.transpose(0, 1).reshape(heads, batch * keys, width)
        grams = []
        for here in _chunks(rows.shape[1], heads * between.shape[-1] * rows.element_size() // 2):
            part = rows[:, here]
            half = (part @ between).unflatten(-1, (heads, width))  # (head, row, head, d_head)
            grams.append(torch.einsum("hngf,gnf->nhg", half, part))
        return torch.cat(grams).unflatten(0, (batch, keys))


def _chunks(count: int, each: int) -> Iterator[slice]:
    """Yield all of `count`, a few at a time, where one takes `each` bytes."""
    size = min(count, max(1, CHUNK_BYTES // each))
    for first in range(0, count, size):
        yield slice(first, min(first + size, count))


def _wide(x: Tensor) -> Tensor:
    """Return float64, or float32 on Apple's GPUs, which have no other."""
    return x if x.device.type == "mps" else x.double()
