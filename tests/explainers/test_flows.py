import threading
from fractions import Fraction

import igraph
import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.explainers import flow_solvers
from workbench.explainers.flow_solvers import Capacities, Solver, flows, solver_of
from workbench.explainers.flows import attention_flow
from workbench.explainers.maps import AttentionMaps
from workbench.explainers.rollouts import rollout
from workbench.explainers.watching import Cancelled, Watch

BOTH = pytest.mark.parametrize("solver", ["numba", "scipy"])


def random_maps(seed, layers=4, batch=2, heads=3, length=6, causal=False, sharpness=2.0):
    scores = torch.randn(
        layers,
        batch,
        heads,
        length,
        length,
        dtype=torch.float64,
        generator=torch.Generator().manual_seed(seed),
    )
    if causal:
        scores = scores.masked_fill(torch.ones(length, length).triu(1).bool(), -torch.inf)
    return list(scores.mul(sharpness).softmax(-1))


def passed_on(maps, sample, residual=0.5):
    """Ã of one sample in NumPy, first layer first."""
    return [(1 - residual) * m[sample].mean(0).numpy() + residual * np.eye(m.shape[-1]) for m in maps]


def published(passed, row):
    """The paper's algorithm: a graph in networkx, Edmonds–Karp for each pair."""
    graph = nx.DiGraph()
    for layer, matrix in enumerate(passed):
        for i, j in zip(*np.nonzero(matrix), strict=True):
            graph.add_edge((layer + 1, int(i)), (layer, int(j)), capacity=float(matrix[i, j]))
    top = len(passed), row
    return [
        nx.maximum_flow_value(graph, top, (0, j), flow_func=nx.algorithms.flow.edmonds_karp)
        if (0, j) in graph
        else 0.0
        for j in range(passed[0].shape[-1])
    ]


def by_igraph(passed, row):
    edges, capacity = [], []
    length = passed[0].shape[-1]
    for layer, matrix in enumerate(passed):
        for i, j in zip(*np.nonzero(matrix), strict=True):
            edges.append(((layer + 1) * length + int(i), layer * length + int(j)))
            capacity.append(float(matrix[i, j]))
    graph = igraph.Graph((len(passed) + 1) * length, edges, directed=True)
    return [graph.maxflow_value(len(passed) * length + row, j, capacity) for j in range(length)]


def solved(top, lower, solver="numba"):
    """The maximum flows through capacities that need not be attention."""
    capacities = Capacities(np.asarray(top, np.float64), np.asarray(lower, np.float64))
    return np.concatenate(list(flows(capacities, solver_of(solver))))


@BOTH
def test_three_layers_by_hand_send_flow_back_up_and_stop_at_the_cuts(solver):
    # Two positions, one head, α = 1/2, so Ã = (A + I)/2.
    #   A₁ = [1 0; 1 0] → Ã₁ = [1 0; ½ ½]
    #   A₂ = [0 1; 0 1] → Ã₂ = [½ ½; 0 1]
    #   A₃ = [½ ½; 1 0] → Ã₃ = [¾ ¼; ½ ½]
    # From position 0 (sends ¾ to 0 and ¼ to 1): of the ¾ in node 0 of layer 2, ½ goes to 0 and the rest to 1;
    # the ¼ in node 1 goes to 1. So layer 1 can hold ½ and ½.
    #   to 0: node 0 hands on all of its ½, node 1 at most ½, and it has ½: together 1.
    #   to 1: node 0 hands on nothing; node 1 at most ½, and it can have ½: ½.
    # From position 1 (sends ½ and ½): node 0 of layer 2 hands on ½ to either, node 1 its ½ to 1 only.
    #   to 0: ½ by way of 0, and ½ by way of 1: 1.   to 1: only by way of 1, which hands on ½: ½.
    # All four meet min(1, column sums of Ã₁) = (1, ½).
    layers = [[[1.0, 0], [1, 0]], [[0.0, 1], [0, 1]], [[0.5, 0.5], [1, 0]]]
    maps = [torch.tensor(layer, dtype=torch.float64)[None, None] for layer in layers]
    flow = attention_flow(maps, solver=solver)
    torch.testing.assert_close(flow.values[0], torch.tensor([[1, 0.5], [1, 0.5]]).double(), rtol=0, atol=1e-9)
    third = torch.tensor([float(Fraction(2, 3)), float(Fraction(1, 3))], dtype=torch.float64)
    torch.testing.assert_close(flow.shares[0], third.expand(2, 2), rtol=0, atol=1e-9)
    assert torch.equal(flow.saturated, torch.ones(1, 2, dtype=torch.float64))
    # The other way round it is another graph: from 0, Ã₁ sends 1 to 0, Ã₂ ½ and ½ of it, and Ã₃
    #   to 0: min(½, ¾) + min(½, ½) = 1;  to 1: min(½, ¼) + min(½, ½) = ¾.
    backwards = attention_flow(maps[::-1], position=0, solver=solver)
    torch.testing.assert_close(backwards.values[0], torch.tensor([1, 0.75]).double(), rtol=0, atol=1e-9)


@BOTH
def test_a_path_that_must_be_taken_back_is_taken_back(solver):
    # The source sends 1 to a and 1 to b; a leads to c and d, b to c only; c and d each hand on 1.
    # A walk that takes a → c first must give c up to b again, for a flow of 2.
    inner = [[1.0, 1.0], [1.0, 0.0]]
    bottom = [[1.0, 0.0], [1.0, 0.0]]
    halves = np.array([bottom, inner]) / 2
    np.testing.assert_allclose(solved([0.5, 0.5], halves, solver), [1, 0], rtol=0, atol=1e-9)


def test_flow_short_of_every_trivial_cut_is_told_as_not_saturated():
    # Position 1 sends 1 to itself; Ã₂ lets ¼ of it over to 0, so that layer 1 holds ¼ and ¾.
    # To 0: ¼ + min(¾, ½) = ¾, below min(1, 1 + ½); to 1: min(¾, ½) = ½, its cut. So one of two is saturated.
    passed = [np.array([[1, 0], [0.5, 0.5]]), np.array([[0.75, 0.25], [0.25, 0.75]]), np.eye(2)]
    maps = [torch.from_numpy(layer)[None, None] for layer in passed]
    flow = attention_flow(maps, position=1, residual=0.0)
    torch.testing.assert_close(flow.values[0], torch.tensor([0.75, 0.5]).double())
    assert flow.saturated.tolist() == [0.5]


@BOTH
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("layers", [1, 2, 3, 4, 6])
def test_flow_is_the_published_algorithm(solver, causal, layers):
    maps = random_maps(layers, layers, causal=causal, sharpness=4.0)
    flow = attention_flow(maps, solver=solver)
    assert flow.solver == solver
    for sample in range(2):
        passed = passed_on(maps, sample)
        for row in (0, 3, 5):
            expected = published(passed, row)
            np.testing.assert_allclose(flow.values[sample, row], expected, rtol=0, atol=1e-9)
            np.testing.assert_allclose(
                flow.shares[sample, row], expected / np.sum(expected), rtol=0, atol=1e-9
            )
    torch.testing.assert_close(
        attention_flow(maps, position=-3, solver=solver).values, flow.values[:, 3], rtol=0, atol=1e-15
    )


@BOTH
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("sharpness", [1.0, 4.0])
def test_flow_over_more_positions_than_a_word_has_bits_agrees_with_igraph(solver, causal, sharpness):
    maps = random_maps(7, 4, batch=1, length=70, causal=causal, sharpness=sharpness)
    if solver == "scipy":
        maps = [layer[..., :24, :24] / layer[..., :24, :24].sum(-1, keepdim=True) for layer in maps]
    expected = by_igraph(passed_on(maps, 0), maps[0].shape[-1] - 1)
    flow = attention_flow(maps, position=-1, solver=solver)
    np.testing.assert_allclose(flow.values[0], expected, rtol=0, atol=1e-9)


def test_one_layer_is_itself_and_two_are_sums_of_narrower_halves():
    first, second = passed_on(random_maps(3, 2, batch=1), 0)
    maps = random_maps(3, 2, batch=1)
    alone = attention_flow(maps[:1], solver="scipy")
    np.testing.assert_allclose(alone.values[0], first, rtol=0, atol=1e-15)
    both = np.minimum(second[:, :, None], first[None]).sum(1)
    np.testing.assert_allclose(attention_flow(maps).values[0], both, rtol=0, atol=1e-15)


capacity = st.integers(0, 8).map(lambda eighths: eighths / 8)
graphs = st.integers(1, 5).flatmap(
    lambda n: st.integers(3, 5).flatmap(
        lambda layers: st.tuples(
            st.lists(capacity, min_size=n, max_size=n),
            st.lists(
                st.lists(st.lists(capacity, min_size=n, max_size=n), min_size=n, max_size=n),
                min_size=layers - 1,
                max_size=layers - 1,
            ),
        )
    )
)


@given(graph=graphs)
@settings(max_examples=150)
def test_sparse_graphs_with_ties_agree_with_igraph(graph):
    top, lower = np.array(graph[0]), np.array(graph[1])
    rows = np.zeros_like(lower[0])
    rows[0] = top
    expected = by_igraph([*lower, rows], 0)
    np.testing.assert_allclose(solved(top, lower), expected, rtol=0, atol=1e-12)


@given(graph=graphs)
def test_no_flow_is_negative_or_above_its_trivial_cut(graph):
    top, lower = np.array(graph[0]), np.array(graph[1])
    found = solved(top, lower)
    assert (found >= 0).all()
    assert (found <= Capacities(top, lower).cuts() + 1e-12).all()
    middle = lower[1].sum() if len(lower) > 1 else np.inf  # every layer is a cut too
    assert (found <= middle + 1e-12).all()


@given(graph=graphs, seed=st.integers(0, 2**31))
def test_wider_edges_carry_no_less(graph, seed):
    top, lower = np.array(graph[0]), np.array(graph[1])
    wider = lower + np.random.default_rng(seed).random(lower.shape) / 4
    assert (solved(top, wider) >= solved(top, lower) - 1e-12).all()


@given(seed=st.integers(0, 2**31), order=st.permutations(range(6)), causal=st.booleans())
def test_renaming_the_positions_renames_the_flow(seed, order, causal):
    maps = random_maps(seed, layers=3, batch=1, causal=causal)
    renamed = [layer[..., order, :][..., order] for layer in maps]
    expected = attention_flow(maps).values[..., order, :][..., order]
    torch.testing.assert_close(attention_flow(renamed).values, expected, rtol=0, atol=1e-12)


@given(
    seed=st.integers(0, 2**31),
    residual=st.floats(0, 1),
    fusion=st.sampled_from(["mean", "max", "min"]),
    discard=st.floats(0, 0.9),
    causal=st.booleans(),
    layers=st.integers(1, 5),
)
def test_flow_is_at_least_the_rollout_and_rows_are_shares(seed, residual, fusion, discard, causal, layers):
    # What rollout sends to an input is one flow to it; the largest is no smaller.
    maps = random_maps(seed, layers, causal=causal)
    joining = {"fusion": fusion, "residual": residual, "discard": discard}
    flow = attention_flow(maps, **joining)
    assert (flow.values >= rollout(maps, **joining) - 1e-12).all()
    assert (flow.values <= 1 + 1e-12).all()
    torch.testing.assert_close(flow.shares.sum(-1), torch.ones(2, 6, dtype=torch.float64))
    assert ((flow.saturated >= 0) & (flow.saturated <= 1)).all()
    if causal:
        assert (flow.values.triu(1) == 0).all()


def test_deep_flow_is_that_of_the_first_layer_and_says_so():
    shallow = attention_flow(random_maps(1, 3, 1, length=20, sharpness=4.0), -1)
    assert shallow.saturated.item() < 0.5
    maps = random_maps(1, 12, 1, length=20, sharpness=1.0)
    deep = attention_flow(maps, position=-1)
    assert deep.saturated.tolist() == [1.0]
    np.testing.assert_allclose(deep.values[0], np.minimum(1, passed_on(maps, 0)[0].sum(0)), atol=1e-9)


def test_an_input_that_cannot_be_reached_counts_neither_way():
    maps = random_maps(2, causal=True, sharpness=4.0)
    first = attention_flow(maps, position=0)
    assert torch.equal(first.values, torch.tensor([[1.0, 0, 0, 0, 0, 0]] * 2, dtype=torch.float64))
    assert first.saturated.tolist() == [1.0, 1.0]


def test_layers_below_the_start_layer_are_left_out():
    maps = random_maps(4)
    torch.testing.assert_close(attention_flow(maps, start_layer=1).values, attention_flow(maps[1:]).values)


def test_a_last_layer_of_one_query_gives_the_last_row():
    maps = random_maps(6)
    pruned = AttentionMaps(
        (*maps[:-1], maps[-1][:, :, -1:]), tuple("abcd"), (*["self"] * 3, "last"), (None,) * 4
    )
    expected = attention_flow(maps, position=-1)
    torch.testing.assert_close(attention_flow(pruned, position=-1).values, expected.values)
    torch.testing.assert_close(attention_flow(pruned).values[:, 0], expected.values)
    with pytest.raises(ValueError, match=r"position 0 was not computed.*full=True"):
        attention_flow(pruned, position=0)
    with pytest.raises(ValueError, match=r"discard ranks every entry.*full=True"):
        attention_flow(pruned, discard=0.1)


def test_what_cannot_flow_is_refused_with_the_repair():
    maps = random_maps(9)
    with pytest.raises(ValueError, match=r"no solver 'ortools'\..*There are: numba, scipy"):
        attention_flow(maps, solver="ortools")
    with pytest.raises(ValueError, match=r"no option 'resdual'.*residual"):
        attention_flow(maps, resdual=0.3)
    with pytest.raises(ValueError, match="outside the 6 positions"):
        attention_flow(maps, position=6)
    with pytest.raises(ValueError, match="not finite"):
        attention_flow([torch.full((1, 1, 4, 4), torch.nan)])
    crossed = AttentionMaps((torch.zeros(1, 1, 3, 5),), ("decoder.cross",), ("cross",), (None,))
    with pytest.raises(ValueError, match=r"decoder.cross is cross-attention \(3 queries, 5 keys\)"):
        attention_flow(crossed)


def test_without_numba_scipy_is_used_and_named(monkeypatch):
    monkeypatch.setattr(flow_solvers.importlib.util, "find_spec", lambda name: None)
    assert attention_flow(random_maps(1, 3, 1, length=3)).solver == "scipy"
    monkeypatch.setitem(__import__("sys").modules, "workbench.explainers.flow_dinic", None)
    monkeypatch.delattr("workbench.explainers.flow_dinic")
    with pytest.raises(
        ModuleNotFoundError, match=r"install attention-workbench\[flow\], or use solver='scipy'"
    ):
        attention_flow(random_maps(1), solver="numba")


def test_samples_done_are_told_and_the_work_ends_when_asked(monkeypatch):
    told, stop = [], threading.Event()
    maps = random_maps(1, batch=3)
    attention_flow(maps, watch=Watch(lambda done, total: told.append((done, total))))
    assert told == [(1, 3), (2, 3), (3, 3)]
    few = solver_of("numba")
    few = Solver(few.name, few.solve, pace=1)  # one input at a time
    monkeypatch.setattr("workbench.explainers.flows.solver_of", lambda name: few)
    whole = attention_flow(maps, position=-1)
    torch.testing.assert_close(whole.values, attention_flow(maps).values[:, -1], rtol=0, atol=0)
    solves = []

    def solve(*asked):
        solves.append(len(asked[2]))
        if len(solves) == 8:
            stop.set()
        return few.solve(*asked)

    monkeypatch.setattr("workbench.explainers.flows.solver_of", lambda name: Solver("slow", solve, pace=1))
    with pytest.raises(Cancelled, match="after 1 of 3 windows"):
        attention_flow(maps, position=-1, watch=Watch(stop=stop))
    assert solves == [1] * 8


def test_maps_are_left_as_they_were():
    maps = random_maps(8)
    before = [layer.clone() for layer in maps]
    for solver in ("numba", "scipy"):
        attention_flow(maps, solver=solver)
    assert all(torch.equal(a, b) for a, b in zip(maps, before, strict=True))
