"""What a scaled dot product was asked, and where its weights are kept."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Product:
    """The arguments of `F.scaled_dot_product_attention`, by its names and in its order."""

    query: Tensor
    key: Tensor
    value: Tensor
    attn_mask: Tensor | None = None
    dropout_p: float = 0.0
    is_causal: bool = False
    scale: float | None = None
    enable_gqa: bool = False

    def by_torch(self) -> Tensor:
        """Return what torch itself answers."""
        return F.scaled_dot_product_attention(**vars(self))

    @property
    def by_hand(self) -> bool:
        """Whether weights times values are surely torch's answer, to rounding.

        Dropout's random numbers must be those of an unwatched run, half precision rounds as torch does, and
        shapes that torch broadcasts are left to it.
        """
        leading = self.query.shape[:-2]
        alike = self.key.shape[:-2] == self.value.shape[:-2] and (
            self.enable_gqa or self.key.shape[:-2] == leading
        )
        precise = self.query.dtype in (torch.float32, torch.float64)
        return self.dropout_p == 0 and alike and precise and self.broadcast()[0].shape[:-2] == leading

    def broadcast(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return query, key and mask with the leading axes that torch gives them; the mask's may stay 1."""
        query, key, mask = self.query, self.key, self.attn_mask
        if mask is None and query.shape[:-2] == key.shape[:-2]:
            return query, key, None
        axes = -3 if self.enable_gqa else -2  # grouped queries have more heads than the keys
        if mask is not None:
            missing = max(query.ndim - mask.ndim, 0)
            mask = mask.reshape(*(1,) * missing, *mask.shape)  # aligned from the right
            mask = mask.expand(*mask.shape[:-2], query.shape[-2], key.shape[-2])
        shapes = [query.shape[:axes], key.shape[:axes], *([] if mask is None else [mask.shape[:axes]])]
        leading = torch.broadcast_shapes(*shapes)
        query = query.expand(*leading, *query.shape[axes:])
        key = key.expand(*leading, *key.shape[axes:])
        if mask is not None and mask.ndim > 4:  # leading axes are about to be joined
            mask = mask.expand(*query.shape[:-2], *mask.shape[-2:])
        return query, key, mask


class Shelf:
    """Where the weights of a pass are kept.

    With `reuse` each layer's are written over those of the last pass: fresh memory, which the system hands
    out page by page, costs more than the arithmetic.

    `attend` answers a product by itself, where it can, and keeps the mean of the heads' weights alone: it
    returns the answer and that mean, (batch, query, key), in memory taken from this shelf.
    """

    def __init__(self, reuse: bool, attend: "Attend | None" = None) -> None:
        self.reuse = reuse
        self.attend = attend
        self.buffers: list[Tensor] = []
        self.next = 0

    def rewind(self) -> None:
        """Begin the next pass."""
        self.next = 0

    def take(self, size: tuple[int, ...], like: Tensor) -> Tensor | None:
        """Return memory for the weights of the pass's next layer, or None for fresh memory."""
        if not self.reuse:
            return None
        wanted = math.prod(size)
        if self.next == len(self.buffers):
            self.buffers.append(like.new_empty(wanted))
        elif self.buffers[self.next].numel() < wanted:
            self.buffers[self.next] = like.new_empty(wanted)
        self.next += 1
        return self.buffers[self.next - 1][:wanted].view(size)


Attend = Callable[[Product, Shelf], tuple[Tensor, Tensor] | None]


def own_memory(tensor: Tensor | None) -> Tensor | None:
    """Return a tensor that keeps nothing else in memory: a copy where it is part of a larger piece."""
    if tensor is None or tensor.untyped_storage().nbytes() <= tensor.numel() * tensor.element_size():
        return tensor
    return tensor.clone()


def scaled_product(query: Tensor, key: Tensor, scale: float, into: Tensor | None) -> Tensor:
    """Return scale·QKᵀ (batch, head, query, key) without a scaled copy of Q, written to `into` if given."""
    shape = (*query.shape[:-1], key.shape[-2])
    key = key.expand(*query.shape[:2], -1, -1).flatten(0, 1)
    blank = query.new_empty(()).expand(shape[0] * shape[1], *shape[2:])
    out = None if into is None else into.flatten(0, 1)
    product = torch.baddbmm(blank, query.flatten(0, 1), key.transpose(1, 2), beta=0, alpha=scale, out=out)
    return product.view(shape)


def softmax_of(scores: Tensor) -> Tensor:
    """Return the softmax over keys, in place where no gradient is asked for."""
    if torch.is_grad_enabled() and scores.requires_grad:
        return scores.softmax(-1)
    return torch.softmax(scores, -1, out=scores)
