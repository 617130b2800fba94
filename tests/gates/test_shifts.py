"""Circular shifts: every turn by hand and by a loop, chance at its stated rate, power as told."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from workbench.gates.shifts import Turns, contrast_weights, turned


def remembering(rng: np.random.Generator, n: int, keep: float, count: int = 1) -> np.ndarray:
    """Series whose neighbours have a correlation of `keep`, (n, count)."""
    noise, series = rng.normal(size=(n + 200, count)), np.zeros((n + 200, count))
    for step in range(1, n + 200):
        series[step] = keep * series[step - 1] + noise[step]
    return series[200:]


def marked(n: int, *spans: tuple[int, int]) -> np.ndarray:
    return np.stack([(np.arange(n) >= a) & (np.arange(n) < b) for a, b in spans])


def weights_of(groups: np.ndarray) -> np.ndarray:
    return contrast_weights(groups, ~groups.any(axis=0))[None]


def test_three_groups_by_hand():
    #            A  A  rest B  rest C  C  C
    groups = marked(8, (0, 2), (3, 4), (5, 8))
    series = np.array([1.0, 3.0, 5.0, 4.0, 1.0, 0.0, 3.0, 6.0])[:, None]
    # Means: A 2, B 4, C 3, each counts alike: 3; the rest (5 + 1)/2 = 3. So 0.
    # Turned by one bar the series reads 6 1 3 5 4 1 0 3: A 3.5, B 5, C 4/3, mean 59/18; the rest 3.5: −4/18.
    # By two, 3 6 1 3 5 4 1 0: A 4.5, B 3, C 5/3, mean 55/18; the rest 3: 1/18.
    found = turned(weights_of(groups), series)[:, 0, 0]
    assert found[:3] == pytest.approx([0, -4 / 18, 1 / 18], abs=1e-12)


def test_p_values_by_hand():
    # One bar of 4 against the others: (x − mean of the others) of each bar is what the turns give.
    series = np.array([[8.0], [0.0], [2.0], [6.0]])
    turns = Turns(weights_of(marked(4, (0, 1))), series)
    # 8 − 8/3 = 16/3; turned: 6 − 10/3 = 8/3, 2 − 14/3 = −8/3, 0 − 16/3 = −16/3.
    assert turns.differences[:, 0, 0] == pytest.approx(np.array([16, 8, -8, -16]) / 3)
    assert turns.p_values()[0, 0] == 2 / 4  # itself, and −16/3
    # Beside it a series whose turns are −7, 59/3, −7 and −17/3.
    both = np.column_stack([series, [0.0, 1.0, 0.0, 20.0]])
    pair = Turns(weights_of(marked(4, (0, 1))), both)
    assert pair.p_values()[0].tolist() == [2 / 4, 3 / 4]
    # Over their standard deviations of 4.22 and 11.37, the largest at each turn is 1.26, 1.73, .63, 1.26.
    spread = [np.sqrt((256 + 64 + 64 + 256) / 4) / 3, pair.differences[:, 0, 1].std()]
    largest = np.abs(pair.differences[:, 0] / spread).max(axis=1)
    reached = [(largest >= abs(pair.observed[0, s]) / spread[s] - 1e-12).mean() for s in (0, 1)]
    assert pair.family_p_values()[0].tolist() == reached == [3 / 4, 1.0]


def naive(weights: np.ndarray, series: np.ndarray) -> np.ndarray:
    n = len(series)
    found = np.zeros((n, len(weights), series.shape[1]))
    for turn in range(n):
        for contrast in range(len(weights)):
            for column in range(series.shape[1]):
                for bar in range(n):
                    found[turn, contrast, column] += weights[contrast, bar] * series[(bar - turn) % n, column]
    return found


@given(seed=st.integers(0, 10**6), n=st.integers(6, 31))
def test_it_agrees_with_a_loop_over_turns_and_bars(seed: int, n: int):
    rng = np.random.default_rng(seed)
    series = rng.normal(size=(n, 3)) + 100
    weights = np.concatenate([weights_of(marked(n, (0, 2), (3, 4))), weights_of(marked(n, (1, 5)))])
    expected = naive(weights, series)
    turns = Turns(weights, series)
    assert turns.differences == pytest.approx(expected, abs=1e-10)
    size = np.abs(expected)
    assert turns.p_values() == pytest.approx((size >= size[0] * (1 - 1e-9)).mean(axis=0))
    units = size / expected.std(axis=0)
    largest = units.max(axis=(1, 2))
    assert turns.family_p_values() == pytest.approx(
        (largest[:, None, None] >= units[0] * (1 - 1e-9)).mean(axis=0)
    )
    assert turns.chance() == pytest.approx(np.quantile(size, 0.95, axis=0))


numbers = arrays(float, (24, 2), elements=st.integers(-50, 50).map(float))


@given(
    series=numbers, slope=st.sampled_from([-3.0, 0.25, 8.0]), level=st.integers(-9, 9), by=st.integers(0, 23)
)
def test_neither_unit_nor_level_nor_a_turn_of_both_changes_what_is_found(
    series: np.ndarray, slope: float, level: int, by: int
):
    groups = marked(24, (2, 5), (9, 12), (20, 22))
    turns = Turns(weights_of(groups), series)
    other = Turns(weights_of(groups), slope * series + level)
    both = Turns(weights_of(np.roll(groups, by, axis=1)), np.roll(series, by, axis=0))
    assert other.observed == pytest.approx(slope * turns.observed, nan_ok=True, abs=1e-9)
    for same in (other, both):
        assert same.p_values() == pytest.approx(turns.p_values(), nan_ok=True)
        assert same.family_p_values() == pytest.approx(turns.family_p_values(), nan_ok=True)
    assert (turns.family_p_values() >= turns.p_values())[~np.isnan(turns.observed)].all()


def test_a_constant_differs_in_nothing_and_takes_no_part():
    rng = np.random.default_rng(0)
    series = np.column_stack([rng.normal(size=60), np.full(60, 0.1)])
    weights = weights_of(marked(60, (10, 15), (30, 35)))
    with_it, alone = Turns(weights, series), Turns(weights, series[:, :1])
    assert np.isnan(with_it.p_values()[0, 1])
    assert np.isnan(with_it.family_p_values()[0, 1])
    assert with_it.family_p_values()[0, 0] == alone.family_p_values()[0, 0]
    power = with_it.detectable(marked(60, (10, 15), (30, 35)).any(axis=0)[None].astype(float))
    assert np.isfinite(power[0, 0])
    assert np.isnan(power[0, 1])


SPANS = marked(250, (20, 30), (70, 80), (110, 120), (170, 180), (215, 225))


@pytest.mark.parametrize("keep", [0.0, 0.9])
def test_among_noise_p_values_are_spread_evenly(keep: float):
    p_values, family = [], []
    for seed in range(600):
        turns = Turns(weights_of(SPANS), remembering(np.random.default_rng(seed), 250, keep, 4))
        p_values.append(turns.p_values()[0, 0])
        family.append(turns.family_p_values().min())
    for share in (0.05, 0.25, 0.5, 0.75):
        spread = 3.5 * np.sqrt(share * (1 - share) / 600) + 0.01
        assert np.mean(np.array(p_values) <= share) == pytest.approx(share, abs=spread)
    assert 0.015 < np.mean(np.array(family) <= 0.05) < 0.09


def test_an_effect_as_large_as_told_is_found_about_as_often_as_told():
    first = Turns(weights_of(SPANS), remembering(np.random.default_rng(1), 250, 0.8, 3))
    on = SPANS.any(axis=0)[None].astype(float)
    told = float(first.detectable(on)[0, 0]) / float(first.spread[0])
    assert 0.3 < told < 4
    found = []
    for seed in range(300):
        series = remembering(np.random.default_rng(1000 + seed), 250, 0.8, 3)
        series[:, 0] += told * series[:, 0].std() * on[0]
        found.append(Turns(weights_of(SPANS), series).family_p_values()[0, 0] <= 0.05)
    assert 0.65 < np.mean(found) < 0.93


@pytest.mark.parametrize("spans", [[(5, 9), (20, 24), (41, 45)], [(5, 6), (20, 30), (33, 36)]])
def test_the_least_effect_found_agrees_with_adding_it_to_every_turn(spans: list[tuple[int, int]]):
    groups = marked(60, *spans)
    series, on = remembering(np.random.default_rng(4), 60, 0.6, 2), groups.any(axis=0)
    turns = Turns(weights_of(groups), series)
    told = turns.detectable(on[None].astype(float))[0, 0]

    def found(effect: float) -> float:
        """Share of the turns after which the effect, added to the first series, is found."""
        hits = []
        for turn in range(60):
            planted = np.roll(series, turn, axis=0)
            planted[:, 0] += effect * on
            hits.append(Turns(weights_of(groups), planted).family_p_values()[0, 0] <= 0.05)
        return float(np.mean(hits))

    assert found(told) >= 0.8 > found(told - 8 * turns.spread[0] / 256)
    alone = Turns(weights_of(groups), series[:, :1])  # with fewer to compete, less is enough
    assert alone.detectable(on[None].astype(float))[0, 0] <= told


def test_fewer_turns_than_twenty_find_nothing_however_large():
    short = marked(18, (3, 8))
    turns = Turns(weights_of(short), remembering(np.random.default_rng(0), 18, 0.5, 2))
    assert np.isinf(turns.detectable(short.any(axis=0)[None].astype(float))).all()


@pytest.mark.parametrize(
    ("groups", "rest"),
    [
        (marked(5, (0, 2)), np.zeros(5, bool)),
        (marked(5, (2, 2)), np.ones(5, bool)),
        (np.zeros((0, 5), bool), np.ones(5, bool)),
    ],
)
def test_groups_without_bars_are_refused(groups: np.ndarray, rest: np.ndarray):
    with pytest.raises(ValueError, match="each group and the rest need a bar"):
        contrast_weights(groups, rest)
