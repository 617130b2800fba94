"""Robust distances, and the healthy snapshots of a phase."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_snapshots import EPOCHS, made_runs, made_snapshot
from scipy.stats import median_abs_deviation

from workbench.gates.features import named_features
from workbench.gates.healthy import FEWEST, PHASE, Healthy, robust_z

NO_FLOOR = np.zeros(1)


def z_of(value: float, healthy: list[float], floor: float = 0.0) -> float:
    return float(robust_z(np.array([value]), np.array(healthy)[:, None], np.array([floor]))[0])


def test_median_mad_and_z_are_those_worked_by_hand():
    # 1 2 4 7 11: the median is 4, the distances from it 3 2 0 3 7, their median 3, times 1.482602 is 4.447807
    healthy = [7.0, 1.0, 11.0, 4.0, 2.0]
    assert z_of(13.0, healthy) == pytest.approx(9 / 4.447806655516806, rel=1e-12)
    assert z_of(1.0, healthy) == pytest.approx(-3 / 4.447806655516806, rel=1e-12)
    # with a sixth, 1 2 4 6 7 11: median 5, distances 4 3 1 1 2 6, median 2.5, scale 3.706506
    assert z_of(13.0, [*healthy, 6.0]) == pytest.approx(8 / 3.706505546264005, rel=1e-12)


def test_the_scale_makes_the_mad_of_normal_values_their_standard_deviation():
    values = np.random.default_rng(0).normal(3.0, 2.0, 200_001)
    assert z_of(5.0, values.tolist()) == pytest.approx(1.0, abs=0.02)


def test_z_equals_scipys_median_absolute_deviation():
    rng = np.random.default_rng(1)
    healthy, value = rng.normal(size=(23, 40)), rng.normal(size=40)
    scale = median_abs_deviation(healthy, axis=0, scale="normal")
    expected = (value - np.median(healthy, axis=0)) / scale
    np.testing.assert_allclose(robust_z(value, healthy, np.zeros(40)), expected, rtol=1e-12)


def naive_median(values: list[float]) -> float:
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(values) % 2 else (ordered[half - 1] + ordered[half]) / 2


def test_gaps_are_left_out_as_by_a_loop():
    rng = np.random.default_rng(2)
    healthy, value = rng.normal(size=(11, 30)), rng.normal(size=30)
    healthy[rng.random(healthy.shape) < 0.5] = np.nan
    found = robust_z(value, healthy, np.full(30, 0.1))
    for i in range(30):
        known = [x for x in healthy[:, i].tolist() if x == x]
        if len(known) < 4:
            assert np.isnan(found[i])
            continue
        centre = naive_median(known)
        scale = 1.482602218505602 * naive_median([abs(x - centre) for x in known])
        assert found[i] == pytest.approx((value[i] - centre) / max(scale, 0.1), rel=1e-12)


@given(
    st.lists(st.integers(-1000, 1000), min_size=4, max_size=12),
    st.integers(-1000, 1000),
    st.sampled_from([0.5, 2.0, 1024.0]),
    st.integers(-1000, 1000),
)
def test_z_knows_neither_unit_nor_zero_point(healthy: list[int], value: int, scale: float, shift: int):
    floor = 0.25
    before = z_of(float(value), [float(x) for x in healthy], floor)
    after = z_of(scale * value + shift, [scale * x + shift for x in healthy], scale * floor)
    assert after == pytest.approx(before, rel=1e-9, abs=1e-9)
    mirrored = z_of(-float(value), [-float(x) for x in healthy], floor)
    assert mirrored == pytest.approx(-before, rel=1e-12)


def test_a_signal_that_never_moved_is_measured_by_its_floor():
    assert z_of(1.1, [1.0] * 5, floor=0.02) == pytest.approx(5.0)
    assert z_of(1.0, [1.0] * 5) == 0.0
    assert z_of(1.1, [1.0] * 5) == np.inf


def test_a_value_that_is_missing_has_no_distance():
    assert np.isnan(z_of(np.nan, [1.0, 2.0, 3.0, 4.0]))
    assert np.isnan(z_of(1.0, [1.0, 2.0, 3.0, np.nan]))


@pytest.fixture(scope="module")
def healthy() -> Healthy:
    return Healthy.of(made_runs(range(5)), named_features)


def test_a_run_begins_where_the_epoch_does_not_rise(healthy: Healthy):
    assert healthy.runs.tolist() == [run for run in range(5) for _ in range(EPOCHS)]


def test_each_run_is_held_out_once_and_whole(healthy: Healthy):
    folds = healthy.folds()
    assert np.array_equal(np.sum(folds, axis=0), np.ones(5 * EPOCHS))
    assert all(len({*healthy.runs[part].tolist()} & {*healthy.runs[~part].tolist()}) == 0 for part in folds)


def test_a_phase_is_the_nearest_in_progress_and_all_as_near_as_the_last(healthy: Healthy):
    # 5 runs: the 15 of epochs 2 to 4 are nearer than any other to epoch 3; the 16th is as near as 9 others
    rows = healthy.near(3 / EPOCHS)
    assert len(rows) == 25 >= PHASE
    assert {healthy.snapshots[row].epoch for row in rows} == {1, 2, 3, 4, 5}
    assert {healthy.snapshots[row].epoch for row in healthy.near(1 / EPOCHS)} == {1, 2, 3, 4}
    assert {healthy.snapshots[row].epoch for row in healthy.near(1.0)} == {3, 4, 5, 6}


def test_a_distance_is_to_the_phase_alone(healthy: Healthy):
    early, late = made_snapshot(50, 1), made_snapshot(50, EPOCHS)
    column = healthy.keys.index(("units", "lstm.l0", "forget_mean", "mean"))
    features = healthy.described(late)
    assert abs(healthy.distances(features, late.progress)[column]) < abs(
        healthy.distances(features, early.progress)[column]
    )


def test_an_inputs_mean_is_measured_against_its_spread(healthy: Healthy):
    floors = dict(zip(healthy.keys, healthy.floors, strict=True))
    assert floors["inputs", "return_1", "mean", ""] == pytest.approx(0.3 * 0.02)


@pytest.mark.parametrize(("runs", "said"), [(range(3), "got 18 of 3"), (range(0), "got 0 of 0")])
def test_too_few_snapshots_are_refused(runs: range, said: str):
    with pytest.raises(ValueError, match=f"at least {FEWEST} snapshots of at least 3 runs.*{said}"):
        Healthy.of(made_runs(runs), named_features)


def test_many_snapshots_of_too_few_runs_are_refused():
    one = [made_snapshot(0, epoch) for epoch in range(1, 31)]
    with pytest.raises(ValueError, match="got 30 of 1"):
        Healthy.of(one, named_features)
