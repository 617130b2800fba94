import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from workbench.gates.packing import (
    UNKNOWN,
    evenly,
    first_rows,
    joined,
    low_of,
    packed,
    quantised,
    restored,
    unpacked,
)
from workbench.gates.recover import gate_states

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")

KINDS = [
    lambda: nn.LSTM(3, 5, 2, batch_first=True),
    lambda: nn.GRU(3, 5, 2, batch_first=True),
    lambda: nn.LSTM(3, 5, batch_first=True, proj_size=2),
    lambda: nn.LSTM(3, 5, batch_first=True, bidirectional=True),
]


def states_of(module, batch=4, seed=0):
    return gate_states(module, torch.randn(batch, 7, 3, generator=torch.Generator().manual_seed(seed)))


def test_three_gates_by_hand():
    # 0.5 · 254 = 127; 0.9 · 254 = 228.6, rounded to 229, which stands for 229/254
    levels = quantised(torch.tensor([0.5, 0.9, 1.0]), 0.0)
    assert levels.tolist() == [127, 229, 254]
    assert restored(levels, 0.0).tolist() == pytest.approx([0.5, 229 / 254, 1.0], abs=1e-7)


def test_three_candidates_by_hand():
    # (−0.25 + 1) · 127 = 95.25, rounded to 95, which stands for 95/127 − 1
    levels = quantised(torch.tensor([-1.0, -0.25, 0.0]), -1.0)
    assert levels.tolist() == [0, 95, 127]
    assert restored(levels, -1.0).tolist() == pytest.approx([-1.0, 95 / 127 - 1, 0.0], abs=1e-7)


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=30), st.sampled_from([0.0, -1.0]))
def test_the_error_is_at_most_half_a_step(shares, low):
    values = torch.tensor(shares, dtype=torch.float32) * (1 - low) + low
    error = (restored(quantised(values, low), low) - values).abs().max()
    assert error <= (1 - low) / 254 / 2 + 1e-6


def test_what_is_not_a_number_stays_one():
    levels = quantised(torch.tensor([0.2, float("nan"), 1.0]), 0.0)
    assert levels[1] == UNKNOWN
    assert restored(levels, 0.0).isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("make", KINDS)
def test_states_come_back_nearly_as_they_were(make):
    states = states_of(make())
    again = unpacked(packed(states))
    assert again.error == states.error
    for old, new in zip(states.layers, again.layers, strict=True):
        assert (old.name, old.module, old.kind, old.layer, old.reverse) == (
            new.name,
            new.module,
            new.kind,
            new.layer,
            new.reverse,
        )
        assert list(old.gates) == list(new.gates)
        for gate, values in old.gates.items():
            assert (new.gates[gate] - values).abs().max() <= (1 - low_of(gate)) / 508 + 1e-6
        assert (old.cell is None) == (new.cell is None)
        if old.cell is not None and new.cell is not None:
            torch.testing.assert_close(new.cell, old.cell, rtol=2**-10, atol=1e-6)
        torch.testing.assert_close(new.hidden, old.hidden, rtol=0, atol=4e-3)
        assert torch.equal(old.mask, new.mask)


def test_the_state_of_an_lstm_is_not_kept_twice():
    assert {"0/gates", "0/cell", "0/mask"} == {n for n in packed(states_of(KINDS[0]())) if n[0] == "0"}
    assert "0/hidden" in packed(states_of(KINDS[1]()))
    assert "0/hidden" in packed(states_of(KINDS[2]()))  # projected: o ⊙ tanh(c) is not it


def test_batches_are_joined_in_their_order():
    module = nn.GRU(3, 5, batch_first=True)
    x = torch.randn(6, 7, 3)
    whole, parts = gate_states(module, x), joined([gate_states(module, x[:2]), gate_states(module, x[2:])])
    torch.testing.assert_close(parts["l0"].hidden, whole["l0"].hidden)
    torch.testing.assert_close(parts["l0"].gates["reset"], whole["l0"].gates["reset"])
    with pytest.raises(ValueError, match="the same layers"):
        joined([whole, states_of(KINDS[0]())])


def test_of_many_sequences_evenly_spaced_ones_are_kept():
    states = states_of(nn.LSTM(3, 5, batch_first=True), batch=9)
    few = first_rows(states, 3)
    assert torch.equal(few["l0"].hidden, states["l0"].hidden[[0, 4, 8]])
    cell, kept = states["l0"].cell, few["l0"].cell
    assert cell is not None
    assert kept is not None
    assert torch.equal(kept, cell[[0, 4, 8]])
    assert first_rows(states, 9) is states


@given(st.integers(1, 500), st.integers(1, 40))
def test_evenly_spaced_numbers_are_distinct_and_in_range(count, most):
    rows = evenly(count, most)
    assert len(rows) == min(count, most)
    assert len(np.unique(rows)) == len(rows)
    assert rows.min() >= 0
    assert rows.max() < count
    if 1 < most < count:
        assert (rows[0], rows[-1]) == (0, count - 1)
        assert np.ptp(np.diff(rows)) <= 1


def test_one_of_several_is_the_middle_one():
    assert evenly(9, 1).tolist() == [4]
