"""The maximum flow from one output position to each input, by the solver there is.

Through one layer it is the layer itself, and through two Σ_k min(Ã₂[s, k], Ã₁[k, v]): every path has a middle
node of its own. From three layers on it takes a solver: our own, compiled by numba (the extra `flow`), exact
to rounding; or SciPy's, slower, whose whole-number capacities are refined until what is left to find is
below `LEFT`.
"""

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from workbench.models.registry import one_of

LEFT = 1e-9  # flow that SciPy's solver may leave unfound, by its own bound
SCIPY_PACE, NUMBA_PACE = 2**18, 2**24  # capacities gone through in about a tenth of a second
_UNITS = 2.0**29  # whole units of the largest capacity: twice it still fits SciPy's 32 bits

Solve = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Solver:
    """A way to compute maximum flows.

    Attributes
    ----------
    name
        `numba` or `scipy`.
    solve
        Takes what the source sends (key,), capacities between layers (layer, query, key) from the top down,
        and what each sink takes (sink, query); answers one flow a sink.
    pace
        How many capacities to give it at once, so that a call stays short.
    """

    name: str
    solve: Solve
    pace: int


@dataclass(frozen=True)
class Capacities:
    """What can flow from one output position down through the layers.

    Attributes
    ----------
    top
        The position's row of the last layer.
    lower
        The layers below it, first layer first.
    """

    top: Float[np.ndarray, " key"]
    lower: Float[np.ndarray, "layer query key"]

    @classmethod
    def below(cls, passed: Sequence[Float[np.ndarray, "_ key"]], row: int) -> "Capacities":
        """Return what can flow from a row of the last of these layers, given first layer first."""
        nodes = passed[0].shape[-1]
        lower = np.stack(passed[:-1]) if len(passed) > 1 else np.zeros((0, nodes, nodes))
        return cls(np.ascontiguousarray(passed[-1][row]), lower)

    def cuts(self) -> Float[np.ndarray, " key"]:
        """Return the trivial bound of each flow: all the position sends, and all that can reach an input."""
        if len(self.lower) == 0:
            return self.top
        lit: Bool[np.ndarray, " key"] = self.top > 0
        for layer in self.lower[:0:-1]:
            lit = (layer[lit] > 0).any(0)
        return np.minimum(self.top.sum(), self.lower[0][lit].sum(0))


def solver_of(name: str | None) -> Solver:
    """Return the solver of that name; by default numba's where it is installed, else SciPy's."""
    if name not in (None, "numba", "scipy"):
        raise ValueError(f"There is no solver {name!r}. {one_of(str(name), ('numba', 'scipy'))}")
    if name == "scipy" or (name is None and importlib.util.find_spec("numba") is None):
        return Solver("scipy", _refined, SCIPY_PACE)
    try:
        from workbench.explainers import flow_dinic
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "solver='numba' needs numba: install attention-workbench[flow], or use solver='scipy', which is "
            "exact too and slower"
        ) from error
    return Solver("numba", flow_dinic.flows, NUMBA_PACE)


def flows(capacities: Capacities, solver: Solver) -> Iterator[Float[np.ndarray, " sink"]]:
    """Yield the maximum flows to the inputs, a few at a time, in order."""
    top, lower = capacities.top, capacities.lower
    if len(lower) == 0:
        yield top
    elif len(lower) == 1:
        yield np.minimum(top[:, None], lower[0]).sum(0)
    else:
        inner, sinks = lower[:0:-1], lower[0].T
        size = max(1, solver.pace // inner.size)
        for start in range(0, len(sinks), size):
            yield solver.solve(top, inner, sinks[start : start + size])


def _refined(top: np.ndarray, inner: np.ndarray, sinks: np.ndarray) -> np.ndarray:
    """Return the maximum flows by SciPy."""
    layers, nodes = len(inner) + 1, len(top)
    capacity = np.zeros((layers * nodes + 2,) * 2)
    capacity[0, 1 : nodes + 1] = top
    for i, layer in enumerate(inner):
        start = 1 + i * nodes
        capacity[start : start + nodes, start + nodes : start + 2 * nodes] = layer
    found: list[float] = []
    for sink in sinks:
        capacity[-1 - nodes : -1, -1] = sink
        found.append(_refined_flow(capacity.copy()))
    return np.array(found)


def _refined_flow(capacity: Float[np.ndarray, "node node"]) -> float:
    """Return the maximum flow from the first node to the last, at most one; `capacity` is used up.

    Rounded down to whole units, no edge of the smallest cut loses more than a unit; so what is left to find
    in the residual graph is less than a unit an edge, and is found in units that much smaller.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_flow

    found, bound, edges = 0.0, 1.0, np.count_nonzero(capacity)
    while bound > LEFT:
        unit = bound / _UNITS
        whole = csr_array(np.floor(np.clip(capacity, 0, bound) / unit).astype(np.int32))
        sent = maximum_flow(whole, 0, len(capacity) - 1)
        found += sent.flow_value * unit
        capacity -= sent.flow.toarray() * unit
        bound = unit * edges
    return float(found)
