"""Which windows are meant: numbers, slices and masks, resolved with their errors."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

__all__ = ["Rows", "even_step", "resolve"]

Rows = int | np.integer | slice | Sequence | np.ndarray | Tensor | pd.Series | pd.Index
"""A number, a slice, row numbers, or a mask as long as there are windows."""


def resolve(rows: Rows, n: int) -> slice | Int[Tensor, " row"]:
    """Turn `rows` into a forward slice or row numbers from 0 to n − 1.

    Raises
    ------
    IndexError
        A number lies outside, or a mask has another length than n.
    """
    if isinstance(rows, slice):
        return rows if rows.step is None or rows.step > 0 else torch.arange(n)[list(range(*rows.indices(n)))]
    if isinstance(rows, int | np.integer):
        if not -n <= rows < n:
            raise IndexError(f"There are {n} windows, numbered from 0. Got {rows}.")
        return torch.tensor([int(rows) % n])
    return _numbers(rows if isinstance(rows, Tensor) else torch.from_numpy(np.array(rows)), n)


def _numbers(chosen: Tensor, n: int) -> Int[Tensor, " row"]:
    if chosen.dtype == torch.bool:
        if chosen.shape != (n,):
            raise IndexError(f"A mask must have shape ({n},), one entry a window. Got {tuple(chosen.shape)}.")
        return chosen.nonzero().squeeze(1)
    if chosen.numel() == 0:
        return torch.zeros(0, dtype=torch.int64)
    if chosen.is_floating_point() or chosen.ndim != 1:
        raise IndexError(
            f"Row numbers must be one axis of integers. Got {chosen.dtype} {tuple(chosen.shape)}."
        )
    if int(chosen.min()) < -n or int(chosen.max()) >= n:
        raise IndexError(
            f"There are {n} windows, numbered from 0. Got {int(chosen.min())} … {int(chosen.max())}."
        )
    return chosen.long().remainder(n)


def even_step(starts: Int[Tensor, " window"]) -> int | None:
    """Return the distance between successive starts when it is positive and the same throughout."""
    if len(starts) < 2:
        return 1 if len(starts) else None
    steps = starts.diff()
    step = int(steps[0])
    return step if step > 0 and bool((steps == step).all()) else None
