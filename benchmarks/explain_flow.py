"""Attention flow by our solver against networkx, igraph and SciPy.

    python benchmarks/explain_flow.py

Four layers of random attention, full and causal, the residual included; the flow from the last position to
every input, each on its own. One thread, processor time of this process, contestants interleaved; medians of
the ratios of the rounds. Graphs are built beforehand, compiling is timed apart, and the caches of compiled
code are emptied for it.

- numba: our compiled solver, what `explain(..., method="flow")` uses where numba is installed.
- scipy: SciPy's Dinic in whole units, refined until exact to 1e-9: what it uses elsewhere.
- igraph: push–relabel in floats. networkx: Edmonds–Karp, as the original authors' code has it; at 60 and 120
  positions it is asked for a few inputs only, evenly spread, and compared with our time for as many.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import igraph
import networkx as nx
import numpy as np
import record

from workbench.explainers.flow_solvers import Capacities, flows, solver_of

LAYERS, HEADS, SHARPNESS = 4, 4, 2.0
ASKED = {20: 20, 60: 4, 120: 2}  # inputs that networkx is asked for
ROUNDS = {20: 9, 60: 7, 120: 3}  # of networkx

COMPILE = """
import time, numpy as np
from workbench.explainers.flow_solvers import Capacities, flows, solver_of
start = time.process_time()
import numba
imported = time.process_time()
list(flows(Capacities(np.full(3, 1 / 3), np.full((2, 3, 3), 1 / 3)), solver_of("numba")))
print(imported - start, time.process_time() - imported)
"""


def attention(length: int, causal: bool) -> np.ndarray:
    """Ã of every layer, first layer first."""
    scores = np.random.default_rng(0).normal(size=(LAYERS, HEADS, length, length)) * SHARPNESS
    if causal:
        scores = np.where(np.tri(length), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return 0.5 * weights.mean(1) + 0.5 * np.eye(length)


def edges_of(passed: np.ndarray) -> tuple[list[tuple[int, int]], list[float]]:
    """Edges and capacities; node l·n + i is position i above layer l."""
    length = passed.shape[-1]
    layer, query, key = np.nonzero(passed)
    tails, heads = (layer + 1) * length + query, layer * length + key
    return list(zip(tails.tolist(), heads.tolist(), strict=True)), passed[layer, query, key].tolist()


def contestants_of(passed: np.ndarray) -> dict[str, Callable[[], list[float]]]:
    """What is timed, by name; networkx answers for some inputs only."""
    length = passed.shape[-1]
    source = len(passed) * length + length - 1
    capacities = Capacities(np.ascontiguousarray(passed[-1, -1]), np.ascontiguousarray(passed[:-1]))
    edges, widths = edges_of(passed)
    graph = igraph.Graph((len(passed) + 1) * length, edges, directed=True)
    digraph = nx.DiGraph()
    digraph.add_nodes_from(range((len(passed) + 1) * length))
    digraph.add_weighted_edges_from(
        [(*edge, width) for edge, width in zip(edges, widths, strict=True)], weight="capacity"
    )

    def by(name: str) -> Callable[[], list[float]]:
        solver = solver_of(name)
        return lambda: np.concatenate(list(flows(capacities, solver))).tolist()

    return {
        "numba": by("numba"),
        "scipy": by("scipy"),
        "igraph": lambda: [graph.maxflow_value(source, sink, widths) for sink in range(length)],
        "networkx": lambda: [
            nx.maximum_flow_value(digraph, source, sink, flow_func=nx.algorithms.flow.edmonds_karp)
            for sink in asked(length)
        ],
    }


def asked(length: int) -> list[int]:
    """The inputs that networkx is asked for."""
    return np.linspace(0, length - 1, ASKED.get(length, 2)).astype(int).tolist()


def contest(length: int, causal: bool, rounds: int) -> dict[str, float | int | bool]:
    """Times and ratios at one length."""
    passed = attention(length, causal)
    contestants = contestants_of(passed)
    found = {name: np.array(work()) for name, work in contestants.items()}
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for round_ in range(rounds):
        for name, work in contestants.items():
            if name == "networkx" and round_ >= ROUNDS.get(length, 3):
                continue
            start = time.process_time()
            work()
            spent = time.process_time() - start
            times[name].append(spent * (length / len(asked(length)) if name == "networkx" else 1))

    def ratio(name: str) -> float:
        return statistics.median(a / b for a, b in zip(times[name], times["numba"], strict=False))

    cuts = np.minimum(1, passed[0].sum(0))
    return {
        "positions": length,
        "causal": causal,
        **{f"ms, {name}": 1e3 * statistics.median(times[name]) for name in contestants},
        **{f"{name} ÷ numba": ratio(name) for name in ("scipy", "igraph", "networkx")},
        "networkx rounds": len(times["networkx"]),
        **{
            f"error, {name}": float(np.abs(found[name][asked(length)] - found["networkx"]).max())
            for name in ("numba", "scipy", "igraph")
        },
        "numba and igraph apart": float(np.abs(found["numba"] - found["igraph"]).max()),
        "saturated": float((found["numba"] >= cuts - 1e-9).mean()),
    }


def compiling() -> dict[str, float]:
    """Processor seconds to import numba, and to compile, or load what was compiled before."""
    told = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("compiled", "loaded"):
            answer = subprocess.run(
                [sys.executable, "-c", COMPILE],
                env={**os.environ, "NUMBA_CACHE_DIR": folder},
                check=True,
                capture_output=True,
                text=True,
            )
            imported, spent = map(float, answer.stdout.split())
            told |= {"imported": imported, name: spent}
    return told


def main() -> None:
    """Print a table and write benchmarks/results/explain_flow.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--positions", type=int, nargs="+", default=list(ASKED))
    arguments = parser.parse_args()
    seconds = compiling()
    print(", ".join(f"{name} in {spent:.2f} s" for name, spent in seconds.items()))
    rows = []
    for length in arguments.positions:
        for causal in (False, True):
            rows.append(contest(length, causal, arguments.rounds))
            print(", ".join(f"{name} {value:.3g}" for name, value in rows[-1].items()), flush=True)
    packages = ("numpy", "numba", "scipy", "igraph", "networkx")
    record.write("explain_flow", {"rounds": arguments.rounds, "seconds": seconds, "rows": rows}, packages)


if __name__ == "__main__":
    main()
