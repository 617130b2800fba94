"""Rollout as the paper has it: one sample, layer and row at a time, whole matrices, float64 NumPy."""

import numpy as np


def naive_rollout(maps, fusion="mean", residual=0.5, discard=0.0, discard_by="map"):
    """Return R of every sample; `fusion` may be weights of heads, or a list of them, one a layer."""
    samples = []
    for sample in range(len(maps[0])):
        rolled = np.eye(maps[0].shape[-1])
        for number, layer in enumerate(maps):
            weights = np.array(layer[sample], dtype=np.float64)
            fused = dropped(joined(weights, fusion, number), discard, discard_by)
            passed = (1 - residual) * fused + residual * np.eye(len(fused))
            for i, row in enumerate(passed):
                passed[i] = row / row.sum() if row.sum() > 0 else np.eye(len(row))[i]
            rolled = passed @ rolled
        samples.append(rolled)
    return np.stack(samples)


def joined(weights, fusion, number):
    if isinstance(fusion, str):
        return {"mean": np.mean, "max": np.max, "min": np.min}[fusion](weights, axis=0)
    own = np.array(fusion[number] if np.ndim(fusion) == 2 else fusion, dtype=float)
    return sum(w * head for w, head in zip(own / own.sum(), weights, strict=True))


def dropped(fused, discard, discard_by):
    """Set the lowest entries to zero; those that equal the weakest one kept stay."""
    for values in [fused] if discard_by == "map" else list(fused):  # views of `fused`
        ranked = sorted(values.flatten())
        values[values < ranked[int(len(ranked) * discard)]] = 0
    return fused
