"""How far methods agree on which bars of a window matter most, by the size of their scores.

Only sizes are compared: methods with signed scores and methods that give shares can be set side by side.
"""

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

Scores = Float[np.ndarray, "method window time"]


def by_bar(
    scores: Float[np.ndarray, "window time"] | Float[np.ndarray, "window time feature"],
) -> Float[np.ndarray, "window time"]:
    """Return one score a bar: those of its features added up, signs and all."""
    return scores.sum(axis=2, dtype=np.float64) if scores.ndim == 3 else scores.astype(np.float64)


def rank_correlations(scores: Scores) -> Float[np.ndarray, "method method window"]:
    """Return Spearman's rank correlation of |scores| over the bars, of any two methods in each window.

    It is the Pearson correlation of the ranks; tied bars share the mean of their ranks. NaN where one of the
    two scores all bars alike, since that ranks nothing.
    """
    ranks = np.asarray(rankdata(np.abs(scores), axis=-1))
    centred = ranks - ranks.mean(axis=-1, keepdims=True)
    products = np.einsum("awt,bwt->abw", centred, centred)
    spread = np.einsum("awt,awt->aw", centred, centred)
    scale = np.sqrt(spread[:, None] * spread[None])
    return np.divide(products, scale, out=np.full_like(products, np.nan), where=scale > 0)


def top_bars(scores: Scores, k: int) -> Scores:
    """Return how likely each bar is among the k with the largest |score|, where lots decide between ties.

    It is 1 or 0 but for bars tied for the last places, which have equal chances of them.
    """
    sizes = np.abs(scores)
    last = np.sort(sizes, axis=-1)[..., -k, None]
    above, tied = sizes > last, sizes == last
    left = k - above.sum(axis=-1, keepdims=True)
    return above + tied * left / tied.sum(axis=-1, keepdims=True)


def top_overlap(scores: Scores, k: int) -> Float[np.ndarray, "method method window"]:
    """Return the expected share of the k largest bars that two methods have in common, in each window.

    Two methods that know nothing of each other share k ÷ time of them on average, ties or not.
    """
    chances = top_bars(scores, k)
    return np.einsum("awt,bwt->abw", chances, chances) / k
