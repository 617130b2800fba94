"""The finite check comes first, whoever detects."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_snapshots import made_runs, made_snapshot, with_values
from sklearn.ensemble import IsolationForest

from workbench.gates.calibrated import CalibratedDetector
from workbench.gates.detect import (
    FiniteCheck,
    IsolationForestDetector,
    NeighbourDetector,
    RobustRules,
    finite_findings,
)
from workbench.gates.snapshots import Snapshot

HEALTHY = made_runs(range(8))
FOREST = IsolationForestDetector(trees=10)


@pytest.fixture(scope="module")
def detectors() -> list[CalibratedDetector]:
    return [detector.calibrate(HEALTHY) for detector in (RobustRules(), FOREST, NeighbourDetector())]


def cells() -> list[tuple[str, int, int]]:
    """Every cell of every table that holds a number in a healthy snapshot."""
    snapshot = made_snapshot(0, 2)
    return [
        (table, int(row), int(column))
        for table in ("units", "weights", "inputs", "lags")
        for row, column in zip(*np.nonzero(getattr(snapshot, table).notna().to_numpy()), strict=True)
    ]


def spoiled(snapshot: Snapshot, cell: tuple[str, int, int], value: float) -> Snapshot:
    table, row, column = cell
    frame = getattr(snapshot, table).copy()
    frame.iloc[row, column] = value
    return replace(snapshot, **{table: frame})


@given(st.sampled_from(cells()), st.sampled_from([np.nan, np.inf, -np.inf]))
def test_one_number_that_is_not_finite_is_found_wherever_it_stands(
    detectors: list[CalibratedDetector], cell: tuple[str, int, int], value: float
):
    snapshot = spoiled(made_snapshot(9, 2), cell, value)
    for detector in (*detectors, FiniteCheck()):
        found = detector.check(snapshot)
        assert [finding.rule for finding in found] == ["finite"]
        assert found[0].deviation == np.inf
        assert np.isinf(detector.score(snapshot))


@pytest.mark.parametrize("name", ["train_loss", "valid_loss"])
def test_a_loss_that_is_not_finite_is_found(detectors: list[CalibratedDetector], name: str):
    snapshot = made_snapshot(9, 2)
    snapshot = replace(snapshot, figures={**snapshot.figures, name: np.nan})
    for detector in detectors:
        assert str(detector.check(snapshot)[0]) == f"the model: {name} is nan, which is no finite number"


def test_a_healthy_snapshot_is_finite_with_all_that_does_not_apply():
    for kind in ("lstm", "gru"):
        assert finite_findings(made_snapshot(0, 1, kind)) == []  # gates of the other kind; nothing before it


def test_an_isolation_forest_takes_nan_for_normal_and_the_detector_does_not(
    detectors: list[CalibratedDetector],
):
    rng = np.random.default_rng(0)
    forest = IsolationForest(random_state=0).fit(rng.normal(size=(200, 6)))
    assert forest.predict(np.full((1, 6), np.nan)) == 1  # normal, says scikit-learn
    dead = made_snapshot(9, 2)
    for table in ("units", "weights", "inputs", "lags"):
        dead = replace(dead, **{table: getattr(dead, table) * np.nan})
    for detector in detectors:
        assert detector.check(dead)
        assert detector.score(dead) == np.inf


def test_a_hidden_state_that_is_all_nan_is_found_without_any_calibration():
    snapshot = with_values(made_snapshot(0, 2), "units", slice(None), "hidden_mean", np.nan)
    found = finite_findings(snapshot)
    assert [str(each) for each in found] == ["lstm.l0: hidden_mean is nan, which is no finite number"]


def test_a_gate_that_is_all_nan_is_found_by_who_knows_that_it_was_not(
    detectors: list[CalibratedDetector],
):
    snapshot = with_values(made_snapshot(0, 2), "units", slice(None), "forget_mean", np.nan)
    assert finite_findings(snapshot) == []  # as if there were no such gate
    assert [detector.check(snapshot)[0].signal for detector in detectors] == ["forget_mean"] * 3


def test_weights_that_were_not_measured_at_this_epoch_are_no_finding(detectors: list[CalibratedDetector]):
    snapshot = made_snapshot(9, 2)
    for column in ("gradient_norm", "update_ratio", "update_frequency"):
        snapshot = with_values(snapshot, "weights", slice(None), column, np.nan)
    snapshot = with_values(snapshot, "units", slice(None), "frozen", np.nan)
    assert detectors[0].check(snapshot) == []


def test_entries_counted_as_not_finite_are_found():
    snapshot = with_values(made_snapshot(0), "weights", [("lstm.weight_hh_l0", "forget")], "not_finite", 3.0)
    (found,) = finite_findings(snapshot)
    assert (found.where, found.gate, found.signal, found.value) == (
        "lstm.weight_hh_l0", "forget", "not_finite", 3.0,
    )  # fmt: skip
    assert str(found) == "lstm.weight_hh_l0 forget gate: not_finite is 3"


def test_units_are_named_and_a_whole_layer_is_one_finding():
    some = with_values(
        made_snapshot(0, units=64), "units", [("lstm.l0", 3), ("lstm.l0", 7)], "hidden_mean", np.nan
    )
    (found,) = finite_findings(some)
    assert (found.unit, found.units) == (None, (3, 7))
    assert str(found) == "lstm.l0 units 3, 7: hidden_mean is nan, which is no finite number"
    one = with_values(made_snapshot(0, units=64), "units", [("lstm.l0", 3)], "cell_spread", np.inf)
    (found,) = finite_findings(one)
    assert (found.unit, found.units) == (3, (3,))
    whole = replace(made_snapshot(0, units=64), units=made_snapshot(0, units=64).units * np.nan)
    (found,) = finite_findings(whole)
    assert (found.unit, found.units) == (None, ())
