"""How the heads of a layer become one map, and what of it is passed on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.explainers.options import check_whole, is_number

Fusion = str | Sequence[float | int] | Sequence[Sequence[float | int]] | Tensor

Shares = tuple[float, ...]


@dataclass(frozen=True)
class RolloutOptions:
    """How heads and layers are joined. See `rollout`."""

    fusion: Fusion = "mean"
    residual: float | int = 0.5
    discard: float | int = 0.0
    discard_by: str = "map"
    start_layer: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "fusion", _checked(self.fusion))
        if not (is_number(self.residual) and 0 <= self.residual <= 1):
            raise ValueError(f"residual is a share between 0 and 1 (0.5 as published); got {self.residual!r}")
        if not (is_number(self.discard) and 0 <= self.discard < 1):
            raise ValueError(
                f"discard is the share of entries dropped, at least 0 and below 1; got {self.discard!r}"
            )
        check_whole("start_layer", self.start_layer, "the first layer counted")
        if self.discard_by not in ("map", "row"):
            raise ValueError(
                f"discard_by is 'map', the weakest entries of each whole map, or 'row', those of each of its "
                f"rows; got {self.discard_by!r}"
            )

    @property
    def ranks_maps(self) -> bool:
        """Whether all queries of a layer must be known before any entry is dropped."""
        return self.discard > 0 and self.discard_by == "map"

    def by_layer(self, count: int) -> list["RolloutOptions"]:
        """Return the options of each of the `count` layers from `start_layer` on."""
        if isinstance(self.fusion, str) or not isinstance(self.fusion[0], tuple):
            return [self] * count
        if len(self.fusion) != self.start_layer + count:
            raise ValueError(
                f"head weights by layer are one row for each of the {self.start_layer + count} layers, those "
                f"below start_layer included; got {len(self.fusion)} rows"
            )
        return [replace(self, fusion=shares) for shares in self.fusion[self.start_layer :]]


def _checked(fusion: Any) -> str | Shares | tuple[Shares, ...]:
    """Return a way to join heads as a word, or as shares that sum to one, perhaps by layer."""
    if isinstance(fusion, str):
        if fusion in ("mean", "max", "min"):
            return fusion
        raise ValueError(f"fusion is 'mean', 'max', 'min' or one weight a head; got {fusion!r}")
    try:
        rows = list(fusion.tolist() if hasattr(fusion, "tolist") else fusion)
    except TypeError as error:
        raise ValueError(f"fusion is 'mean', 'max', 'min' or one weight a head; got {fusion!r}") from error
    nested = [isinstance(row, Sequence | Tensor) or hasattr(row, "tolist") for row in rows]
    if any(nested) and all(nested):
        return tuple(_shares(row) for row in rows)
    return _shares(rows)


def _shares(given: Any) -> Shares:
    try:
        shares = torch.as_tensor(given, dtype=torch.float64)
    except (TypeError, ValueError):
        shares = torch.empty(0)
    total = float(shares.sum())
    if shares.ndim != 1 or not len(shares) or not bool((shares >= 0).all()) or not 0 < total < torch.inf:
        raise ValueError(
            f"head weights are finite numbers of zero or more, one a head, not all zero, or a row of them a "
            f"layer; got {given}"
        )
    return tuple((shares / total).tolist())


def head_shares(fusion: Fusion, weights: Tensor) -> Float[Tensor, " head"] | None:
    """Return the share of every head of `weights` (batch, head, …), or None where it is not the same for all.

    The mean is shares too; the largest and the smallest are chosen entry by entry.
    """
    heads = weights.shape[1]
    if isinstance(fusion, str):
        return weights.new_full((heads,), 1 / heads) if fusion == "mean" else None
    if len(fusion) != heads:
        raise ValueError(f"head weights are {heads} numbers, one a head; got {len(fusion)}")
    return weights.new_tensor(fusion)


def joined(
    weights: Float[Tensor, "batch head query key"], fusion: Fusion
) -> Float[Tensor, "batch query key"]:
    """Join the heads of one layer."""
    if fusion == "mean":
        return weights.mean(1)
    if fusion == "max":
        return weights.amax(1)
    if fusion == "min":
        return weights.amin(1)
    return torch.einsum("h,bhqk->bqk", head_shares(fusion, weights), weights)


def fuse(
    weights: Float[Tensor, "batch head query key"], options: RolloutOptions
) -> Float[Tensor, "batch query key"]:
    """Join the heads of one layer, all its queries given, and drop its weakest entries."""
    fused = joined(weights, options.fusion)
    if not options.discard:
        return fused
    ranked = fused if options.discard_by == "row" else fused.flatten(1)[:, None]  # (batch, row, entry)
    return without(fused, weakest_kept(ranked, options.discard))


def weakest_kept(
    entries: Float[Tensor, "batch row entry"], share: float | int
) -> Float[Tensor, "batch row 1"]:
    """Return the smallest entry of every row that stays when its lowest int(entries · share) are dropped."""
    return entries.kthvalue(int(entries.shape[-1] * share) + 1, dim=-1, keepdim=True).values


def without(
    fused: Float[Tensor, "batch query key"], least: Float[Tensor, "batch _ 1"]
) -> Float[Tensor, "batch query key"]:
    """Return the entries of at least `least`, zero for the others."""
    return fused * (fused >= least)


def passed_on(
    fused: Float[Tensor, "batch query key"], residual: float | int, diagonal: int
) -> Float[Tensor, "batch query key"]:
    """Return Ã: the residual added and rows scaled to sum to one; an empty row draws on itself.

    With `diagonal=-1` the map is one row, that of the last position.
    """
    passed = (1 - residual) * fused
    own = passed[..., -1] if diagonal else passed.diagonal(dim1=-2, dim2=-1)
    own += residual
    own += (passed.sum(-1) == 0).to(passed.dtype)
    return passed / passed.sum(-1, keepdim=True)
