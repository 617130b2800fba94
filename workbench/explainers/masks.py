"""What queries may look at, told for a few rows at a time."""

import torch
from jaxtyping import Bool
from torch import Tensor

MASKING = 9000.0  # masks add −1e4 or less, a little more once rounded or added to a score
APART = 9.0  # how many times larger than every other score a masked one is, whatever its constant
UNDERFLOW = 1000.0  # a score this far below its row's largest has no weight in any float
LOWEST = -1e30  # nothing but a mask comes near the lowest float32
CONSTANTS = (*(-(10.0**k) for k in range(4, 13)), torch.finfo(torch.float16).min)


def unblocked(scores: Tensor, axis: int = -1) -> Tensor | None:
    """Return where scores, or what a mask adds to them, let a query look at the keys along `axis`.

    Returns
    -------
    Tensor or None
        None if everywhere.

    Notes
    -----
    A mask blocks by −inf or by some large negative number, but a score may be large and negative without one,
    of features that were never scaled, say. So a score at most −9,000 counts as masked only if it underflows
    in its row and nothing but a mask explains it:

    - it is near the lowest float; or
    - all such scores are exactly numbers that masks are filled with: −1e4, −1e5, … −1e12, or the lowest of
      half precision; or
    - all such scores are 9 times larger than every score above them, and lie about one constant, or up to
      four times that where masks were added up, no farther than a few times what the others reach.

    A mask that is added to scores nearly as large, −1e4 to scores of 2,000, is not told from them.
    """
    scores = scores.detach()
    low = scores <= -MASKING
    if not bool(low.any()):
        return None
    blocked = scores.isneginf()
    if not torch.equal(blocked, low):
        masked = (scores <= LOWEST) | _filled(scores, low) | _apart(scores)
        blocked = blocked | (masked & low & (scores <= scores.amax(axis, keepdim=True) - UNDERFLOW))
    return ~blocked if bool(blocked.any()) else None


def _filled(scores: Tensor, low: Tensor) -> Tensor:
    """Return the low scores if all are exactly what masks are filled with, else none."""
    if scores.dtype in (torch.float32, torch.float64):
        filled = torch.isin(scores, scores.new_tensor(CONSTANTS))
    else:  # so few large numbers are there that scores meet them by chance, save the lowest
        filled = scores == torch.finfo(scores.dtype).min
    return filled if bool((filled | ~low | (scores <= LOWEST)).all()) else torch.zeros_like(filled)


def _apart(scores: Tensor) -> Tensor:
    """Return where scores lie about a large negative constant, or its multiples, far from all others."""
    sizes, bound, largest = scores.abs(), MASKING, 0.0
    while bound < -LOWEST:  # until no score lies between those of the model and those of a mask
        largest = float(sizes.where((scores > -bound) & ~scores.isnan(), 0).amax())
        if APART * largest <= bound:
            break
        bound = APART * largest
    masked = (scores <= -bound) & (scores > LOWEST)
    nearest = sizes.where(masked, torch.inf).amin()
    times = (sizes / nearest).round().clamp(1, 4)
    # A few percent beside: what a mask was added to may reach farther than what it was not.
    slack = 3 * (times + 1) * largest + nearest / 50 + 2 * torch.finfo(scores.dtype).eps * sizes
    about = (sizes - times * nearest).abs() <= slack
    return masked if bool((about | ~masked).all()) else torch.zeros_like(masked)


def past(start: int, stop: int, keys: int, device: torch.device) -> Bool[Tensor, "query key"]:
    """Return the rows from `start` to before `stop` of the triangle that keeps queries from later keys.

    As in torch, query 0 sees key 0 alone, whatever the lengths.
    """
    return torch.arange(start, stop, device=device)[:, None] >= torch.arange(keys, device=device)
