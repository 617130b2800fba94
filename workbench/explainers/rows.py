"""Heads that a model joins with its batch, as it must for a product of three axes such as `torch.bmm`."""

from dataclasses import dataclass, replace

from torch import Tensor

RESHAPING = frozenset({"view", "reshape", "flatten", "unflatten", "view_as", "reshape_as"})


@dataclass(frozen=True)
class Rows:
    """How channels were divided into heads, and heads joined with the batch.

    Attributes
    ----------
    heads
        Into how many the channels were divided; None if they were not.
    batch
        How many samples there are beside the heads in one axis; None where they have axes of their own.
    batch_first
        Whether the heads of a sample follow each other, or the samples of a head; None where that cannot be
        known, since there are as many samples as heads.
    """

    heads: int | None = None
    batch: int | None = None
    batch_first: bool | None = True

    def after(self, before: Tensor, now: Tensor) -> "Rows":
        """Return what a change of shape makes of it."""
        old, new = before.shape, now.shape
        if len(new) == len(old) + 1 and new[:-2] == old[:-1]:
            return Rows(heads=new[-2])  # (…, channel) → (…, head, channel of a head)
        if len(new) == len(old) == 3 and old[0] == new[0] and old[2] and new[1] > old[1]:
            return Rows(old[2] // new[2], old[1])  # (time, batch, channel) → (time, batch·head, …)
        if len(old) == 4 and len(new) == 3 and new[1:] == old[2:] and self.heads in old[:2]:
            return self._joined(before)
        return self

    def _joined(self, before: Tensor) -> "Rows":
        """Return the rows of (batch, head, …) or (head, batch, …) made one axis."""
        first, second = before.shape[:2]
        if first != second:
            batch_first = second == self.heads
            return replace(self, batch=first if batch_first else second, batch_first=batch_first)
        if before.is_contiguous():
            return replace(self, batch=first, batch_first=None)
        return replace(self, batch=first, batch_first=before.stride(0) > before.stride(1))

    def parted(self, weights: Tensor) -> Tensor:
        """Return weights (row, 1, query, key) as (batch, head, query, key) where the rows are known."""
        if self.heads is None or self.batch is None or self.batch_first is None:
            return weights
        if weights.shape[1] != 1 or len(weights) != self.heads * self.batch:
            return weights
        if self.batch_first:
            return weights.reshape(self.batch, self.heads, *weights.shape[2:])
        return weights.reshape(self.heads, self.batch, *weights.shape[2:]).transpose(0, 1)

    def joined(self, weights: Tensor) -> Tensor:
        """Return what `parted` was given."""
        return (weights if self.batch_first else weights.transpose(0, 1)).flatten(0, 1)[:, None]


NO_ROWS = Rows()
