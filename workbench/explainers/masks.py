"""What queries may look at, told for a few rows at a time."""

import torch
from jaxtyping import Bool
from torch import Tensor

BLOCKING = 1000.0  # a score this far below its row's largest has no weight in any float: it was masked


def unblocked(scores: Tensor, axis: int = -1) -> Tensor | None:
    """Return where a float mask lets a query look at the keys along `axis`, None if everywhere.

    Masks block by −inf or by some large negative number; both lie far below the row's largest score.
    """
    blocked = scores.isneginf() | (scores <= scores.amax(axis, keepdim=True) - BLOCKING)
    return ~blocked if bool(blocked.any()) else None


def past(start: int, stop: int, keys: int, device: torch.device) -> Bool[Tensor, "query key"]:
    """Return the rows from `start` to before `stop` of the triangle that keeps queries from later keys.

    As in torch, query 0 sees key 0 alone, whatever the lengths.
    """
    return torch.arange(start, stop, device=device)[:, None] >= torch.arange(keys, device=device)
