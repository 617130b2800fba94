import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.market.remarks import extreme, log_moves, robust_sigma, split_like


def test_extreme_moves_by_hand() -> None:
    # moves 1 −1 1 −1 10 9 %: median 1, distances 0 2 0 2 9 8, their median 2; sigma 2.9652 → 8 sigma 23.7
    moves = np.array([np.nan, 0.01, -0.01, 0.01, -0.01, 0.10, 0.09])
    assert robust_sigma(moves) == pytest.approx(0.02 * 1.4826)
    assert not extreme(moves).any()
    moves[-1] = 0.01 + 8 * 0.02 * 1.4826 + 1e-9
    assert extreme(moves).tolist() == [False] * 6 + [True]
    moves[-1] -= 2e-9
    assert not extreme(moves).any()


def test_robust_sigma_agrees_with_a_plain_computation_and_is_a_normals_deviation() -> None:
    from statistics import NormalDist, median

    moves = np.random.default_rng(0).normal(0.3, 2.0, 20_001).tolist()
    centre = median(moves)
    plain = median(abs(move - centre) for move in moves) / NormalDist().inv_cdf(0.75)
    assert robust_sigma(np.array(moves)) == pytest.approx(plain, rel=1e-4)
    assert plain == pytest.approx(2.0, rel=0.02)


@given(st.sampled_from([2, 3, 4, 5, 10, 1.5]), st.floats(-0.029, 0.029), st.booleans())
def test_a_splits_ratio_is_suspected_both_ways(split: float, drift: float, reverse: bool) -> None:
    ratio = (split if reverse else 1 / split) * np.exp(drift)
    close = np.array([100.0, 101.0, 101.0 * ratio, 101.0 * ratio * 1.01])
    assert split_like(close, None).tolist() == [False, False, True, False]


def test_a_fall_within_the_day_is_no_split() -> None:
    close = np.array([100.0, 50.0])
    assert split_like(close, np.array([100.0, 50.2])).tolist() == [False, True]
    assert split_like(close, np.array([100.0, 97.0])).tolist() == [False, False]
    assert split_like(np.array([100.0, 80.0]), None).tolist() == [False, True], "5 for 4, as in adjustment"
    assert split_like(np.array([100.0, 48.1]), None).tolist() == [False, False], "AAPL, 2000-09-29"


def test_log_moves_by_hand() -> None:
    moves = log_moves(np.array([1.0, 2.0, 4.0, 0.0, 8.0]), np.array([1.0, 2.0, 8.0, -1.0, 8.0]))
    np.testing.assert_allclose(moves, [np.nan, np.log(2), np.log(2), np.nan, np.nan])
