"""Formulas of the signals on plain arrays: the last axis is the unit, those before it are steps looked at."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray as Array

BINS = 16  # of the entropy
LEFT, RIGHT = 0.1, 0.9  # beyond which a sigmoid is saturated (Karpathy, Johnson & Fei-Fei 2015)
TANH = 0.99  # beyond which a tanh is
DEAD = 1e-3  # spread of a unit's state below which it tells nothing
FROZEN = 1e-6  # change of a unit's state that counts as none
LONGEST = 2.0**24  # bars of memory: float32 knows no number between 1 − 2⁻²⁴ and 1


def share(flags: Bool[Array, "step unit"]) -> Float[Array, " unit"]:
    """Return the share of steps that are marked."""
    return np.einsum("su->u", flags.view(np.uint8), dtype=np.uint32) / len(flags)


def mean_and_spread(
    values: Float[Array, "step unit"],
) -> tuple[Float[Array, " unit"], Float[Array, " unit"]]:
    """Return mean and standard deviation, of the steps themselves: the sum is divided by their number.

    Both are NaN where a value is not finite.
    """
    values = values.astype(np.float64)
    each = np.full(len(values), 1 / len(values))
    mean = each @ values  # several times as fast as values.mean(axis=0)
    spread = np.sqrt(each @ np.square(values - mean))
    return np.where(np.isnan(spread), np.nan, mean), spread


def crossings(
    values: Float[Array, "batch time unit"],
    level: Float[Array, " unit"] | float,
    mask: Bool[Array, "batch time"] | None = None,
) -> Float[Array, " unit"]:
    """Return the share of steps on whose other side of `level` the step before was.

    A value at the level counts as below it. NaN where no sequence has two steps.
    """
    above = values > level
    crossed = above[:, 1:] != above[:, :-1]
    pairs = np.ones(crossed.shape[:2], bool) if mask is None else mask[:, 1:] & mask[:, :-1]
    if not pairs.any():
        return np.full(values.shape[-1], np.nan)
    return share(crossed[pairs] if mask is not None else crossed.reshape(-1, values.shape[-1]))


def entropy(values: Float[Array, "step unit"], low: float = 0.0, high: float = 1.0) -> Float[Array, " unit"]:
    """Return − Σ_k p_k ln p_k / ln 16 of the shares p_k of 16 equal bins from `low` to `high`, 0 to 1.

    A value beyond the range counts in the nearest bin. All values must be finite.
    """
    units = values.shape[-1]
    kind = values.dtype.type
    scaled = (values - kind(low)) * kind(BINS / (high - low))
    bins = np.clip(scaled, 0, BINS - 1, out=scaled).astype(np.int32)
    bins += np.arange(units, dtype=np.int32) * BINS
    counts = torch.bincount(torch.from_numpy(bins.ravel()), minlength=units * BINS)  # NumPy's takes 1.5 times
    p = counts.numpy().reshape(units, BINS) / len(values)
    return np.abs((p * np.log(p, where=p > 0, out=np.zeros_like(p))).sum(axis=1)) / np.log(BINS)


def memory_length(kept: Float[Array, "step unit"]) -> Float[Array, " unit"]:
    """Return −1 / mean ln f in steps: after how many a memory kept by the shares f is down to 1/e.

    The mean is over all steps, so that it is the constant f which would forget as much. 0 where f was ever 0,
    and at most 2²⁴, since float32 tells no f closer to 1 from 1.
    """
    with np.errstate(divide="ignore"):
        rate = -np.log(kept).mean(axis=0, dtype=np.float64)
    return 1.0 / np.maximum(rate, 1.0 / LONGEST)
