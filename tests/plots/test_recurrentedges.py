"""Recurrent edges: exact terms of a gate's sum."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from workbench import plots
from workbench.gates.recover import gate_states


def by_hand(reverse=False):
    """Two units over three bars."""
    hidden = np.array([[[0.5, -1.0], [0.25, 0.5], [1.0, 1.0]]])
    gates = dict.fromkeys(("input", "forget", "candidate", "output"), np.full((1, 3, 2), 0.5))
    return SimpleNamespace(name="l0", kind="lstm", reverse=reverse, gates=gates, cell=None, hidden=hidden,
                           mask=np.ones((1, 3), bool))  # fmt: skip


WEIGHT = np.zeros((8, 2))
WEIGHT[2:4] = [[2.0, 1.0], [-4.0, 0.1]]  # of the forget gate


def table(edges, step):
    """{(j, i): size} of a bar."""
    return {
        (int(j), int(i)): float(size)
        for j, i, size in zip(edges.source[step], edges.target[step], edges.size[step], strict=True)
    }


def test_three_bars_worked_by_hand():
    edges = plots.recurrent_edges(by_hand(), WEIGHT, "forget", top=3)
    assert table(edges, 0) == dict.fromkeys(table(edges, 0), 0)  # nothing was said before the first
    # h_0 = (0.5, −1): 2 · 0.5, 1 · −1, −4 · 0.5, 0.1 · −1
    assert table(edges, 1) == {(0, 1): -2, (0, 0): 1, (1, 0): -1}
    # h_1 = (0.25, 0.5): 2 · 0.25, 1 · 0.5, −4 · 0.25, 0.1 · 0.5
    assert table(edges, 2) == {(0, 1): -1, (0, 0): 0.5, (1, 0): 0.5}
    assert edges.size[1:, 0].tolist() == [-2, -1]  # the strongest is first
    np.testing.assert_allclose(edges.covered, [1, 4 / 4.1, 2 / 2.05])
    assert edges.states.tolist() == [[0, 0], [0.5, -1], [0.25, 0.5]]


def test_a_backward_layer_hears_from_the_bar_to_the_right():
    edges = plots.recurrent_edges(by_hand(reverse=True), WEIGHT, "forget", top=1, initial=[0.0, 3.0])
    assert edges.states.tolist() == [[0.25, 0.5], [1, 1], [0, 3]]
    assert [table(edges, step) for step in range(3)] == [{(0, 1): -1}, {(0, 1): -4}, {(1, 0): 3}]


@given(
    st.sampled_from(["lstm", "gru"]), st.booleans(), st.integers(1, 5), st.integers(1, 4), st.integers(0, 99)
)
@settings(max_examples=30, deadline=None)
def test_all_edges_and_the_rest_add_up_to_the_pre_activation(kind, reverse, units, time, seed):
    torch.manual_seed(seed)
    rnn = {"lstm": nn.LSTM, "gru": nn.GRU}[kind](3, units, batch_first=True, bidirectional=reverse).double()
    x = torch.randn(2, time, 3, dtype=torch.float64)
    states = gate_states(rnn, x)
    layer = states.layers[-1]
    ending = "_reverse" if layer.reverse else ""
    w_ih, w_hh, b_ih, b_hh = (
        getattr(rnn, f"{name}_l0{ending}").detach().numpy()
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    for block, gate in enumerate(layer.gates):
        rows = slice(block * units, (block + 1) * units)
        edges = plots.recurrent_edges(layer, w_hh, gate, window=1, top=units * units)
        for t in range(time):
            inner = np.zeros(units)
            np.add.at(inner, edges.target[t], edges.size[t])
            scale = layer.gates["reset"][1, t].numpy() if kind == "gru" and gate == "candidate" else 1.0
            a = inner + w_ih[rows] @ x[1, t].numpy() + b_ih[rows] + scale * b_hh[rows]
            value = np.tanh(a) if gate == "candidate" else 1 / (1 + np.exp(-a))
            np.testing.assert_allclose(value, layer.gates[gate][1, t].numpy(), atol=1e-12)


@given(st.integers(0, 500), st.integers(1, 30))
@settings(deadline=None)
def test_the_strongest_are_those_of_a_plain_sort(seed, top):
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(1, 4, 5))
    gates = dict.fromkeys(("input", "forget", "candidate", "output"), rng.random((1, 4, 5)))
    layer = SimpleNamespace(name="l", kind="lstm", reverse=False, gates=gates, cell=None, hidden=hidden,
                            mask=np.ones((1, 4), bool))  # fmt: skip
    weight = rng.normal(size=(20, 5))
    edges = plots.recurrent_edges(layer, weight, "output", top=top)
    for t in (1, 2, 3):
        terms = {(j, i): weight[15 + i, j] * hidden[0, t - 1, j] for i in range(5) for j in range(5)}
        wanted = sorted(terms.values(), key=abs, reverse=True)[:top]
        np.testing.assert_allclose(edges.size[t], wanted)
        assert table(edges, t) == pytest.approx({at: terms[at] for at in table(edges, t)})
        assert edges.covered[t] == pytest.approx(sum(map(abs, wanted)) / sum(map(abs, terms.values())))


def test_steps_outside_of_a_sequence_are_left_out():
    layer = by_hand()
    layer.mask[0, 2] = False
    edges = plots.recurrent_edges(layer, WEIGHT, "forget", top=1)
    assert edges.bars.tolist() == [0, 1]
    assert len(edges.size) == len(edges.openings) == 2


def test_what_does_not_match_the_layer_is_refused_in_words():
    layer = by_hand()
    with pytest.raises(ValueError, match=r"gate must be one of input, forget, candidate, output.*'update'"):
        plots.recurrent_edges(layer, WEIGHT, "update")
    with pytest.raises(ValueError, match=r"weight_hh, of shape \(4 × 2, 2\)\. Got \(8, 3\)"):
        plots.recurrent_edges(layer, np.zeros((8, 3)), "forget")
    with pytest.raises(ValueError, match=r"window must be one of the 1 of 'l0'\. Got 1"):
        plots.recurrent_edges(layer, WEIGHT, "forget", window=1)
    with pytest.raises(ValueError, match=r"top must be at least 1\. Got 0"):
        plots.recurrent_edges(layer, WEIGHT, "forget", top=0)
    with pytest.raises(ValueError, match=r"initial must have 2 states.*Got 3"):
        plots.recurrent_edges(layer, WEIGHT, "forget", initial=np.zeros(3))
    with pytest.raises(ValueError, match=r"weights and states of 'l0' must be finite"):
        plots.recurrent_edges(layer, np.full((8, 2), np.nan), "forget")
    layer.mask[:] = False
    with pytest.raises(ValueError, match=r"window 0 of 'l0' has no step"):
        plots.recurrent_edges(layer, WEIGHT, "forget")


def test_it_is_told_in_a_line():
    edges = plots.recurrent_edges(by_hand(), WEIGHT, "forget", top=3)
    share = 100 * (1 + 4 / 4.1 + 2 / 2.05) / 3
    kept = f"the 3 strongest edges a bar, {share:.0f} % of all terms' size"
    assert repr(edges) == f"Edges(layer='l0', gate='forget': 3 bars, {kept})"
    assert plots.recurrent_edges(by_hand(), WEIGHT, "forget", top=1).head == "the strongest edge a bar"
