"""What chance can do to a series whose neighbours resemble each other: blocks are drawn, not bars."""

import math
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Int

_DRAWS_AT_ONCE = 256


def block_length(series: Float[np.ndarray, " date"], least: int = 1) -> int:
    """Mean block of a stationary bootstrap of `series`, at least `least`, at most a quarter of it.

    Politis & White (2004), corrected by Patton, Politis & White (2009).
    """
    most = max(1, len(series) // 4)
    if len(series) < 8 or series.std() <= 1e-12 * np.abs(series).max():
        return min(max(1, least), most)
    from arch.bootstrap import optimal_block_length

    optimal = float(optimal_block_length(series)["stationary"].iloc[0])
    return min(max(1, least, math.ceil(optimal)), most)


def bootstrap_counts(
    n_dates: int, block: int, draws: int, seed: int
) -> Iterator[Float[np.ndarray, "draw date"]]:
    """How often each of `draws` stationary bootstrap samples holds each date, in batches of draws."""
    from arch.bootstrap import StationaryBootstrap

    samples = StationaryBootstrap(block, np.arange(n_dates), seed=seed).bootstrap(draws)
    for start in range(0, draws, _DRAWS_AT_ONCE):
        batch = np.zeros((min(_DRAWS_AT_ONCE, draws - start), n_dates))
        for counts, ((dates,), _) in zip(batch, samples, strict=False):
            counts += np.bincount(dates, minlength=n_dates)
        yield batch


def shuffled_labels(
    labels: Bool[np.ndarray, " row"],
    dates: Int[np.ndarray, " row"],
    assets: Int[np.ndarray, " row"],
    block: int,
    draws: int,
    seed: int,
) -> Iterator[Bool[np.ndarray, "draw row"]]:
    """`labels` of rows sorted by asset, then date, with blocks of dates shuffled, in batches of draws.

    The dates, a circle cut at a random place into blocks, are put in a random order of blocks; each asset's
    labels follow it. Neighbours stay neighbours within a block, assets keep the labels of a date together,
    and each keeps its number of labels.
    """
    rng, n_dates = np.random.default_rng(seed), int(dates.max()) + 1
    for start in range(0, draws, _DRAWS_AT_ONCE):
        batch = np.empty((min(_DRAWS_AT_ONCE, draws - start), len(labels)), dtype=bool)
        for row in batch:
            row[:] = labels[np.lexsort((_places(n_dates, block, rng)[dates], assets))]
        yield batch


def _places(n_dates: int, block: int, rng: np.random.Generator) -> Int[np.ndarray, " date"]:
    """Place of each date after blocks of the rotated calendar have been shuffled."""
    rotated = (np.arange(n_dates) + rng.integers(n_dates)) % n_dates
    moved = rng.permutation(math.ceil(n_dates / block))[rotated // block]
    places = np.empty(n_dates, dtype=np.intp)
    places[np.lexsort((rotated, moved))] = np.arange(n_dates)
    return places


def false_discovery_rates(p_values: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """Benjamini–Hochberg q-values: the least false discovery rate at which each test is a discovery.

    q of the i-th smallest of m p-values is min over j ≥ i of m·p_j / j (Benjamini & Hochberg 1995).
    """
    order = np.argsort(p_values)
    scaled = p_values[order] * len(p_values) / np.arange(1, len(p_values) + 1)
    q_values = np.empty_like(p_values)
    q_values[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q_values
