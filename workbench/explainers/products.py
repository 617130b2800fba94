"""What a scaled dot product was asked, and where its weights are kept."""

import math
from dataclasses import dataclass

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
        """Whether the weights times the values are the same as torch's answer.

        Dropout's random numbers must be those of an unwatched run.
        """
        return self.dropout_p == 0


class Shelf:
    """Where the weights of a pass are kept.

    With `reuse` each layer's are written over those of the last pass: fresh memory, which the system hands
    out page by page, costs more than the arithmetic.
    """

    def __init__(self, reuse: bool) -> None:
        self.reuse = reuse
        self.buffers: list[Tensor] = []
        self.next = 0

    def rewind(self) -> None:
        """Begin the next pass."""
        self.next = 0

    def take(self, size: tuple[int, int, int, int], like: Tensor) -> Tensor | None:
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
