"""The entry of a given rank among more numbers than are held at once, exactly.

Numbers of zero or more are ordered as their bits are, read as whole numbers. So a histogram of the upper bits
says which of them the entry wanted begins with, and one of the next bits, among the numbers that begin so,
what follows: two passes for float32, four for float64.
"""

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float
from torch import Tensor

# Whole numbers of the same size, and how many bits each pass reads; the sign is left out.
DIGITS = {torch.float32: (torch.int32, (16, 15)), torch.float64: (torch.int64, (16, 16, 16, 15))}


def entry_of_rank(
    parts: Callable[[], Iterable[Float[Tensor, "batch ..."]]],
    rank: int,
    entries: int,
    like: Float[Tensor, " batch"],
) -> Float[Tensor, " batch"]:
    """Return each sample's entry of a rank.

    Parameters
    ----------
    parts
        Yields the entries, all zero or more, some at a time; called once a pass.
    rank
        The rank wanted; 0 is the smallest.
    entries
        How many there are a sample. Those that `parts` leaves out are zero.
    like
        Says how many samples there are, and which numbers.
    """
    whole, widths = DIGITS[like.dtype]
    begins = torch.zeros(len(like), dtype=torch.int64, device=like.device)
    left, unread, lacking = torch.full_like(begins, rank), sum(widths), None
    for width in widths:
        unread -= width
        counts = torch.zeros(len(like), 2**width, dtype=torch.int64, device=like.device)
        for part in parts():
            _count(counts, part.view(whole).flatten(1), begins if lacking is not None else None, unread)
        lacking = entries - counts.sum(1) if lacking is None else lacking
        counts[:, 0] += torch.where(begins == 0, lacking, 0)
        ends = counts.cumsum(1)
        digit = torch.searchsorted(ends, left[:, None], right=True).clamp_(max=2**width - 1)
        left -= (ends - counts).gather(1, digit)[:, 0]
        begins = (begins << width) | digit[:, 0]
    return begins.to(whole).view(like.dtype)


def _count(counts: Tensor, bits: Tensor, begins: Tensor | None, unread: int) -> None:
    """Add to `counts` (batch, digit) the next digits of the numbers that begin as the one wanted does."""
    digits = counts.shape[1]
    width = digits.bit_length() - 1
    for i, mine in enumerate(bits):
        if begins is not None:
            mine = mine[mine >> (unread + width) == begins[i]]
        counts[i] += torch.bincount(mine >> unread & (digits - 1), minlength=digits)
