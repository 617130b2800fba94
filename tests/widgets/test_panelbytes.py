"""Gate values as bytes: what is averaged, what is lost, what is told."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_gates import layer_of, states_of

from workbench.gates.states import GATES
from workbench.widgets.panelbytes import MOST_EPOCH_BYTES, panels_of

NONE = pd.DataFrame(index=pd.MultiIndex.from_tuples([], names=["layer", "unit"]))


def naive_mean(layer, gate):
    """Sum, count, divide: one number at a time."""
    batch, time, units = layer.gates[gate].shape
    means = np.full((units, time), np.nan)
    for unit in range(units):
        for step in range(time):
            there = [float(layer.gates[gate][i, step, unit]) for i in range(batch) if layer.mask[i, step]]
            if there:
                means[unit, step] = sum(there) / len(there)
    return means


def test_a_hand_worked_gate_of_three_steps_is_averaged_and_coded():
    gates = {gate: torch.zeros(2, 3, 1) for gate in GATES["lstm"]}
    gates["forget"] = torch.tensor([[[0.0], [0.5], [1.0]], [[0.5], [0.5], [1.0]]])
    gates["candidate"] = torch.tensor([[[-1.0], [0.5], [1.0]], [[-1.0], [-0.5], [0.0]]])
    layer = replace(layer_of(shape=(2, 3, 1)), gates=gates)
    (panel,) = panels_of(states_of(layer), NONE)
    assert panel.means[1].tolist() == [[64, 127, 254]]  # 0.25 · 254 = 63.5, rounded to even
    assert panel.means[2].tolist() == [[0, 127, 190]]  # −1, 0 and 0.5 on −1 … 1: 0, 127, 190.5
    assert panel.values("candidate").tolist() == [[-1.0, 0.0, pytest.approx(0.496063)]]


@given(st.integers(0, 1000), st.sampled_from(["lstm", "gru"]))
def test_means_are_those_of_a_loop_within_half_a_step(seed, kind):
    layer = layer_of(kind=kind, seed=seed)
    mask = torch.rand(layer.mask.shape, generator=torch.Generator().manual_seed(seed)) < 0.6
    gates = {gate: values.where(mask[:, :, None], 0.0) for gate, values in layer.gates.items()}
    layer = replace(layer, mask=mask, gates=gates)
    (panel,) = panels_of(states_of(layer), NONE)
    for gate in GATES[kind]:
        half = 1 / 254 if gate == "candidate" else 1 / 508
        np.testing.assert_allclose(panel.values(gate), naive_mean(layer, gate), atol=half + 1e-6)


def test_what_is_no_number_has_a_code_of_its_own():
    layer = layer_of()
    layer.gates["input"][1, 2, 3] = torch.nan
    layer.gates["output"][0, 0, 0] = torch.nan
    (panel,) = panels_of(states_of(layer), NONE)
    assert panel.means[0, 3, 2] == panel.means[3, 0, 0] == 255
    assert (panel.means == 255).sum() == 2


def test_the_shares_are_the_snapshots():
    index = pd.MultiIndex.from_product([["lstm.l0", "lstm.l1"], range(4)], names=["layer", "unit"])
    units = pd.DataFrame({"forget_saturation_left": np.arange(8) / 8, "candidate_saturation": 0.5}, index)
    (panel,) = panels_of(states_of(layer_of()), units)
    np.testing.assert_allclose(panel.shares("forget")[0], np.arange(4) / 8, atol=1 / 508)
    np.testing.assert_allclose(panel.shares("candidate")[1], 0.5, atol=1 / 508)
    assert np.isnan(panel.shares("forget")[1]).all()
    assert np.isnan(panel.shares("candidate")[0]).all()
    assert np.isnan(panel.shares("input")).all()


def test_large_layers_become_means_over_blocks_within_an_epochs_bytes():
    layer = layer_of(shape=(2, 300, 300), kind="gru")
    (panel,) = panels_of(states_of(layer), NONE)
    facts = panel.facts()
    assert facts["block"] > 1
    assert panel.means.nbytes <= MOST_EPOCH_BYTES
    block = facts["block"]
    wanted = layer.gates["reset"].mean(dim=0).T[:block, :block].mean()
    assert panel.values("reset")[0, 0] == pytest.approx(float(wanted), abs=1 / 500)
    assert (facts["units"], facts["steps"]) == (300, 300)
    assert panel.means.shape[1:] == (facts["rows"], facts["columns"])
