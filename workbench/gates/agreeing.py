"""Whether states computed in another way are those that PyTorch computed, but for rounding."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from workbench.gates.calls import Steps
from workbench.gates.directions import Direction

ROUNDINGS = 64  # of the largest number at work: what a difference may be and still be rounding


def check_rounding(
    pairs: Iterable[tuple[Tensor, Tensor]], direction: Direction, h: Steps, name: str
) -> float:
    """Return the largest difference from what PyTorch computed.

    Parameters
    ----------
    pairs
        Differences, and PyTorch's own values. Where those are not finite, nothing is expected.
    direction, h, name
        What ran, its states, and what it is called.

    Raises
    ------
    RuntimeError
        The difference is more than rounding explains.
    """
    error = max(_largest(apart.detach(), own) for apart, own in pairs)
    unit = ROUNDINGS * torch.finfo(h.dtype).eps
    if error <= unit:  # as a rule; then the rest need not be computed
        return error
    allowed = unit * _reach(direction, h)
    if error > allowed:
        raise RuntimeError(
            f"the gates of {name} do not give the states that it computed: they differ by {error:.2g}, "
            f"where rounding explains {allowed:.2g}. {type(direction.call.module).__name__} at {name!r} "
            "must compute what PyTorch's nn.LSTM or nn.GRU does; look for a forward of its own, for a hook "
            "that changes its answer, and for weights that change while it runs."
        )
    return error


def _largest(apart: Tensor, own: Tensor) -> float:
    if not apart.numel():  # a batch of no sequences
        return 0.0
    found = float(apart.abs().max())
    if math.isfinite(found):
        return found
    return float(torch.where(own.isfinite(), apart.abs().nan_to_num(nan=math.inf), 0.0).max())


def _reach(of: Direction, h: Steps) -> float:
    """Return what the terms of a pre-activation, or a state, add up to at most; at least 1."""
    terms = ((of.needed("weight_ih"), of.x), (of.needed("weight_hh"), of.previous(h)))
    sums = sum(float(_finite(w).abs().sum(1).max() * _finite(v).abs().max()) for w, v in terms)
    return max(1.0, sums, *(float(_finite(state).abs().max()) for state in (h, *of.last)))


def _finite(values: Tensor) -> Tensor:
    return values.detach().nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
