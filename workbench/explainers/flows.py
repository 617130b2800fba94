"""Attention flow: how much of an output position could come from each input, if nothing else wanted the way.

Abnar & Zuidema 2020, "Quantifying Attention Flow in Transformers", section 3. The layers are a graph whose
edge from position i of layer l to position j below has the capacity Ã_l[i, j] of rollout, residual included.
The flow to an input is the largest that the graph can carry from the output position to it, each input on
its own; a row of them is scaled to sum to one.

Flow saturates. No input gets more than min(1, Σ_k Ã₁[k, j]), and where a flow meets that cut the layers above
have no say in it: with many layers nearly every flow does. So the share that does is told with every flow.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.explainers.flow_solvers import Capacities, Solver, flows, solver_of
from workbench.explainers.maps import AttentionMaps
from workbench.explainers.options import chosen
from workbench.explainers.rollouts import RolloutOptions, check_ranked, fuse, passed_on
from workbench.explainers.softmax import AttentionLayer
from workbench.explainers.stacks import stack_of, stack_position
from workbench.explainers.watching import Watch

MET = 1e-9  # a flow this near to its cut has met it


@dataclass(frozen=True)
class AttentionFlow:
    """The flows of some output positions to every input.

    Attributes
    ----------
    shares
        (batch, query, key), or (batch, key) of one position: the flows, each row scaled to sum to one.
    values
        The flows themselves, each between zero and one, shaped alike.
    saturated
        (batch, query) or (batch,): of the inputs a position can reach, the share whose flow is
        min(1, Σ_k Ã₁[k, j]) over the positions k it can reach. Near one, the flow is that of the first layer.
    solver
        What computed them: `numba`, or `scipy`, to 1e-9.
    """

    shares: Float[Tensor, "batch query key"] | Float[Tensor, "batch key"]
    values: Float[Tensor, "batch query key"] | Float[Tensor, "batch key"]
    saturated: Float[Tensor, "batch query"] | Float[Tensor, " batch"]
    solver: str


def attention_flow(
    maps: AttentionMaps | Sequence[Tensor],
    position: int | None = None,
    solver: str | None = None,
    watch: Watch | None = None,
    **joining: Any,
) -> AttentionFlow:
    """Return the maximum flow from output positions to every input.

    Parameters
    ----------
    maps
        Self-attention maps, each (batch, head, query, key), first layer first.
    position
        The output position wanted, negative from the end. By default all of them, at as many times the cost.
    solver
        `numba`, the quick one, which needs the extra `flow`; or `scipy`, exact to 1e-9, some 30 to 70 times
        slower. By default numba where it is installed; the answer says which it was.
    watch
        Follows the samples done, and may end the work early from another thread.
    **joining
        `fusion`, `residual`, `discard`, `discard_by`, `start_layer`, as `rollout` has them.

    Returns
    -------
    AttentionFlow
        The shares, the flows, and how many are saturated.

    Raises
    ------
    ValueError
        If a layer is cross-attention, lengths differ between layers, or an option is out of range.
    ModuleNotFoundError
        If numba is asked for and not installed.
    Cancelled
        If `watch` was told to stop.

    Examples
    --------
    >>> even = torch.full((1, 1, 2, 2), 0.5)
    >>> attention_flow([even, even], position=-1).values
    tensor([[0.5000, 1.0000]], dtype=torch.float64)
    """
    options = chosen("attention_flow", RolloutOptions, joining)
    layers = stack_of(maps, options.start_layer)
    rows = _rows(layers, options, position)
    known, watch = solver_of(solver), Watch() if watch is None else watch
    passed = capacities_of(layers, options)
    batch, values, saturated = len(passed[0]), [], []
    watch.report(0, batch)
    for done in range(batch):
        for row in rows:
            found, share = row_flow(
                [layer[done] for layer in passed], row, known, lambda done=done: watch.check(done, batch)
            )
            values.append(found)
            saturated.append(share)
        watch.report(done + 1, batch)
    shape = (batch,) if position is not None else (batch, len(rows))
    flow = torch.from_numpy(np.stack(values)).view(*shape, -1)
    met = torch.tensor(saturated, dtype=torch.float64).view(shape)
    return AttentionFlow(flow / flow.sum(-1, keepdim=True), flow, met, known.name)


def row_flow(
    passed: Sequence[Float[np.ndarray, "_ key"]], row: int, solver: Solver, check: Callable[[], None]
) -> tuple[Float[np.ndarray, " key"], float]:
    """Return the flow from one row of the last layer to every input, and the share that is saturated.

    Parameters
    ----------
    passed
        Ã of every layer, first layer first; the last may be one row.
    row
        The row of the last.
    solver
        What to compute it with.
    check
        Called every tenth of a second or so; may raise to end the work.
    """
    capacities = Capacities.below(passed, row)
    pieces = []
    for piece in flows(capacities, solver):
        pieces.append(piece)
        check()
    found, cuts = np.concatenate(pieces), capacities.cuts()
    met = found >= cuts - MET
    return found, float(met[cuts > 0].mean())


def capacities_of(
    layers: Sequence[AttentionLayer], options: RolloutOptions
) -> list[Float[np.ndarray, "batch _ key"]]:
    """Return Ã of every layer as rollout has it, in float64: heads joined, the residual added."""
    batch = max(layer.weight_shape[0] for layer in layers)
    passed = []
    for layer, own in zip(layers, options.by_layer(len(layers)), strict=True):
        fused = fuse(layer.weights().detach().cpu().double(), own)
        found = passed_on(fused, own.residual, diagonal=-1 if layer.kind == "last" else 0)
        passed.append(found.expand(batch, -1, -1).numpy())
    return passed


def _rows(layers: Sequence[AttentionLayer], options: RolloutOptions, position: int | None) -> list[int]:
    """Return which rows of the last layer to follow."""
    last = layers[-1]
    check_ranked(layers, options)
    if position is None:
        return list(range(last.queries))
    index = stack_position(position, layers[0].keys, last.kind)
    return [0 if last.kind == "last" else index]
