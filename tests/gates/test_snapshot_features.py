"""A snapshot as one row of named numbers."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_snapshots import made_snapshot

from workbench.gates.features import (
    LEFT_OUT,
    Ruler,
    blocks_joined,
    gate_of,
    ruler,
    snapshot_features,
)
from workbench.gates.signals import INPUT_SIGNALS, UNIT_SIGNALS, WEIGHT_SIGNALS

SIGNALS = ("gradient_norm", "weight_norm", "update_ratio", "update_frequency")


def test_features_are_those_worked_by_hand():
    snapshot = made_snapshot(0, 2, units=3)
    units, weights, inputs = snapshot.units.copy(), snapshot.weights.copy(), snapshot.inputs.copy()
    units["forget_mean"] = [0.2, 0.3, 0.7]
    weights.loc[["lstm.weight_hh_l0"], "gradient_norm"] = [1.0, 2.0, 4.0, 10.0]
    inputs.loc["volume", "unchanged"] = 0.25
    lags = pd.DataFrame({"input_gradient": [4.0, 2.0, 2.0]}, index=pd.RangeIndex(3, name="lag"))
    found = snapshot_features(
        replace(snapshot, units=units, weights=weights, inputs=inputs, lags=lags, figures={"train_loss": 0.9})
    )
    assert found["units", "lstm.l0", "forget_mean", "mean"] == pytest.approx(0.4)
    assert found["weights", "lstm.weight_hh_l0", "gradient_norm", ""] == pytest.approx(11.0)  # √121
    assert found["inputs", "volume", "unchanged", ""] == 0.25
    assert found["lags", "", "input_gradient", "total"] == 8.0
    assert found["lags", "", "input_gradient", "centre"] == pytest.approx(0.375)  # (2 + 4) / 8 of 2 bars
    assert found["figures", "", "train_loss", ""] == 0.9
    assert np.isnan(found["figures", "", "valid_loss", ""])


def test_row_blocks_join_to_what_the_whole_parameter_shows():
    rng = torch.Generator().manual_seed(0)
    old, new, slope = (torch.randn(12, 5, generator=rng, dtype=torch.float64) for _ in range(3))

    def signals(before: torch.Tensor, after: torch.Tensor, gradient: torch.Tensor) -> list[float]:
        moved = after - before
        ratio = moved.norm() / before.norm()
        share = (moved.abs() > 0.5 * before.abs()).double().mean()
        return [float(gradient.norm()), float(before.norm()), float(ratio), float(share)]

    parts = zip(old.chunk(4), new.chunk(4), slope.chunk(4), strict=True)
    blocks = np.array([signals(*part) for part in parts])
    np.testing.assert_allclose(blocks_joined(blocks, SIGNALS), signals(old, new, slope), rtol=1e-12)


@given(st.permutations(range(8)))
def test_units_have_no_identity(order: list[int]):
    snapshot = made_snapshot(1, 3)
    index = snapshot.units.index
    shuffled = snapshot.units.iloc[order].set_axis(index, axis=0)
    pd.testing.assert_series_equal(
        snapshot_features(replace(snapshot, units=shuffled)), snapshot_features(snapshot), rtol=1e-12
    )


def test_what_does_not_apply_is_nan():
    found = snapshot_features(made_snapshot(0, 2, "gru"))
    assert np.isnan(found["units", "gru.l0", "forget_mean", "mean"])
    assert np.isfinite(found["units", "gru.l0", "update_mean", "mean"])


def test_biases_move_as_their_matrices_and_are_left_out():
    where = set(snapshot_features(made_snapshot(0)).loc["weights"].index.get_level_values("where"))
    assert where == {"lstm.weight_ih_l0", "lstm.weight_hh_l0", "head.weight"}


def test_every_signal_is_a_feature_or_is_said_by_another():
    tables = {"units": UNIT_SIGNALS, "weights": WEIGHT_SIGNALS, "inputs": INPUT_SIGNALS}
    named = {(table, signal) for table, signals in tables.items() for signal in signals}
    assert named >= LEFT_OUT
    for table, signal in named - LEFT_OUT:
        bounds = tables[table][signal]
        scale = ruler((table, "somewhere", signal, ""))
        bounded = np.isfinite(bounds.low) and np.isfinite(bounds.high) and bounds.high <= 1
        assert bounded != scale.logarithmic or not bounded, (table, signal)
        assert scale.floor > 0


def test_a_logarithmic_ruler_counts_factors():
    scale = Ruler(True, 0.1)
    assert scale.of(np.array([1.0, 10.0, 1000.0])).tolist() == pytest.approx([0.0, 1.0, 3.0])
    assert scale.of(np.array([0.0]))[0] == -12.0
    assert scale.back(3.0) == pytest.approx(1000.0)
    assert Ruler(False, 0.1).back(3.0) == 3.0


@pytest.mark.parametrize(
    ("signal", "split"),
    [
        ("forget_saturation_right", ("forget", "saturation_right")),
        ("update_mean", ("update", "mean")),
        ("hidden_spread", ("", "hidden_spread")),
        ("memory_length", ("", "memory_length")),
    ],
)
def test_a_units_signal_says_its_gate(signal: str, split: tuple[str, str]):
    assert gate_of(signal) == split
