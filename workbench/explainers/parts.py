"""The parts of a window that are taken away together: bars, features, single values, or patches of them."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.models.registry import one_of

NAMES = ("bars", "features", "cells")


def parts_of(wanted: Any, time: int, features: int) -> Int[Tensor, "time feature"]:
    """Return the number of the part that each value of a window belongs to.

    Parameters
    ----------
    wanted
        `bars`, `features`, `cells` (one bar's one feature); a pair (bars, features), the size of patches laid
        from the last bar and the first feature; or a number for every value, (time, feature), where equal
        numbers are one part.
    time, features
        Size of a window.
    """
    if isinstance(wanted, str):
        if wanted not in NAMES:
            raise ValueError(
                f"There are no parts {wanted!r}. {one_of(wanted, NAMES)} "
                "Or give the size of patches as (bars, features)"
            )
        sizes = {"bars": (1, features), "features": (time, 1), "cells": (1, 1)}[wanted]
        return _patches(time, features, *sizes)
    if isinstance(wanted, tuple) and len(wanted) == 2 and all(type(size) is int for size in wanted):
        if min(wanted) < 1:
            raise ValueError(f"parts=(bars, features) are sizes of at least 1; got {wanted}")
        return _patches(time, features, min(wanted[0], time), min(wanted[1], features))
    numbers = np.asarray(wanted)
    if numbers.shape != (time, features) or not np.issubdtype(numbers.dtype, np.integer):
        raise ValueError(
            f"parts are {', '.join(NAMES)}, a pair of sizes (bars, features), or whole numbers of shape "
            f"(time, feature) = ({time}, {features}); got {numbers.dtype} of shape {numbers.shape}"
        )
    inverse = np.unique(numbers, return_inverse=True)[1]
    return torch.from_numpy(inverse.reshape(time, features).astype(np.int64))


def _patches(time: int, features: int, bars: int, width: int) -> Int[Tensor, "time feature"]:
    newest_first = torch.arange(time - 1, -1, -1) // bars
    rows = newest_first.max() - newest_first
    columns = torch.arange(features) // width
    return rows[:, None] * (columns.max() + 1) + columns


def spread(
    values: Float[Tensor, "window part"], parts: Int[Tensor, "time feature"]
) -> Float[Tensor, "window time"] | Float[Tensor, "window time feature"]:
    """Return scores by bar, or by bar and feature where a part divides a bar; parts share theirs evenly.

    So the scores of a window add up to those of its parts.
    """
    if bool((parts == parts[:, :1]).all()):
        parts = parts[:, 0]
    return (values / torch.bincount(parts.flatten()))[:, parts]
