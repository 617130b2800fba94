"""Which parts of a window are kept in each perturbation, and what the model's answers then say of each part.

KernelSHAP (Lundberg & Lee 2017) and LIME (Ribeiro et al. 2016) fit a linear model to answers by the parts
kept. Coalitions are drawn once for all windows, so that one factorisation solves them all.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

MOST_ENUMERATED = 16  # parts beyond which nobody asks for all coalitions


@dataclass(frozen=True, eq=False)
class Coalitions:
    """Parts kept (coalition, part), the first row keeping all, and the weight of each row in the fit.

    `samples` were asked for, of which some may have been alike.
    """

    kept: Bool[Tensor, "coalition part"]
    weights: Float[Tensor, " coalition"]
    samples: int


def shapley_coalitions(parts: int, samples: int, seed: int) -> Coalitions:
    """Return all, none, then coalitions by the Shapley kernel.

    If `samples` allow, every coalition is there once, weighted by the kernel. Else they are drawn by it, each
    together with its complement, which cancels much of the chance in the fit; `weights` counts repetitions.
    """
    ends = torch.stack([torch.ones(parts), torch.zeros(parts)]).bool()
    sizes = torch.arange(1, parts, dtype=torch.float64)
    likely = 1 / (sizes * (parts - sizes))  # of a size; times a constant
    if parts <= MOST_ENUMERATED and 2**parts <= samples:
        inner = _all(parts)[1:-1]
        kept = inner.sum(1)
        every = torch.tensor([float(torch.lgamma(torch.tensor(n + 1.0))) for n in range(parts + 1)]).double()
        choices = (every[parts] - every[kept] - every[parts - kept]).exp().round()
        weights = likely[kept - 1] / choices if len(inner) else torch.zeros(0).double()
    else:
        random = torch.Generator().manual_seed(seed)
        drawn = -(-(samples - 2) // 2)
        size = 1 + torch.multinomial(likely, drawn, replacement=True, generator=random)
        place = torch.rand(drawn, parts, generator=random).argsort(1).argsort(1)
        some = place < size[:, None]
        pairs = torch.stack([some, ~some], 1).flatten(0, 1)[: samples - 2]
        # Small and large ones come up again and again: they are asked once, and count as often as drawn.
        inner, times = pairs.unique(dim=0, return_counts=True)
        weights = times.double()
    return Coalitions(torch.cat([ends, inner]), torch.cat([torch.zeros(2).double(), weights]), samples)


def even_coalitions(parts: int, samples: int, width: float | int, seed: int) -> Coalitions:
    """Return all parts, then coalitions that keep each part by the toss of a coin, nearer ones weighing more.

    The weight is exp(−d²/width²), d the cosine distance of the parts kept from all. Every coalition is there
    once if `samples` allow.
    """
    full = torch.ones(1, parts, dtype=torch.bool)
    if parts <= MOST_ENUMERATED and 2**parts <= samples:
        others = _all(parts)[:-1]
    else:
        random = torch.Generator().manual_seed(seed)
        others = torch.rand(samples - 1, parts, generator=random) < 0.5
    kept = torch.cat([full, others])
    distance = 1 - kept.double().mean(1).sqrt()
    return Coalitions(kept, (-((distance / width) ** 2)).exp(), samples)


def _all(parts: int) -> Bool[Tensor, "coalition part"]:
    return (torch.arange(2**parts)[:, None] >> torch.arange(parts) & 1).bool()


@dataclass(frozen=True, eq=False)
class ShapleyFit:
    """Least squares by the Shapley kernel whose values add up to f(all) − f(none) exactly."""

    design: Float[Tensor, "part coalition"]  # Zᵀ W
    factor: Float[Tensor, "part part"]  # Cholesky of Zᵀ W Z
    ones: Float[Tensor, " part"]  # (Zᵀ W Z)⁻¹ 1

    @classmethod
    def of(cls, coalitions: Coalitions) -> "ShapleyFit":
        """Factorise what all windows share."""
        kept = coalitions.kept.double()
        parts = kept.shape[1]
        design = kept.T * coalitions.weights
        normal = design @ kept if parts > 1 else torch.ones(1, 1).double()
        factor = _factor(normal, coalitions)
        return cls(design, factor, torch.cholesky_solve(torch.ones(parts, 1).double(), factor)[:, 0])

    def __call__(self, answers: Float[Tensor, "window coalition"]) -> Float[Tensor, "window part"]:
        """Return the Shapley value of each part; rows of `answers` are those of the coalitions."""
        none, change = answers[:, 1], answers[:, 0] - answers[:, 1]
        free = torch.cholesky_solve(self.design @ (answers - none[:, None]).T, self.factor).T
        lacking = change - free.sum(1)  # what a Lagrange multiplier makes up for
        return free + lacking[:, None] * self.ones / self.ones.sum()


@dataclass(frozen=True, eq=False)
class LinearFit:
    """Weighted least squares with an intercept, and with `ridge` added to the diagonal."""

    design: Float[Tensor, "part coalition"]
    factor: Float[Tensor, "part part"]
    weights: Float[Tensor, " coalition"]

    @classmethod
    def of(cls, coalitions: Coalitions, ridge: float | int) -> "LinearFit":
        """Factorise what all windows share."""
        kept, weights = coalitions.kept.double(), coalitions.weights
        centred = kept - (weights @ kept) / weights.sum()
        design = centred.T * weights
        normal = design @ centred + ridge * torch.eye(kept.shape[1]).double()
        return cls(design, _factor(normal, coalitions), weights / weights.sum())

    def __call__(self, answers: Float[Tensor, "window coalition"]) -> Float[Tensor, "window part"]:
        """Return the slope of each part."""
        centred = answers - (answers @ self.weights)[:, None]
        return torch.cholesky_solve(self.design @ centred.T, self.factor).T


def _factor(normal: Float[Tensor, "part part"], coalitions: Coalitions) -> Float[Tensor, "part part"]:
    size = torch.linalg.eigvalsh(normal)
    if size[0] <= 1e-9 * size[-1]:
        parts, asked = coalitions.kept.shape[1], coalitions.samples
        more = max(4 * parts, 2 * asked)
        more = min(more, 2**parts) if parts <= MOST_ENUMERATED else more  # at which none is left out
        repair = (
            f"raise samples to {more} or more" if more > asked else "raise width, so that more of them count"
        )
        raise ValueError(
            f"the coalitions drawn in {asked} samples do not tell {parts} parts apart: {repair}, or choose "
            "larger parts, such as parts='bars'"
        )
    return torch.linalg.cholesky(normal)
