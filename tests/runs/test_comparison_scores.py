import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr

from workbench.runs.comparison.scores import (
    Resampling,
    correlations_over_time,
    daily_correlations,
    daily_hits,
    interval,
    mean_over_spread,
    ratio,
)


def panel(values: np.ndarray) -> pd.Series:
    """(day, ticker) as a series by date and ticker."""
    dates = pd.bdate_range("2020-01-01", periods=len(values), name="date")
    tickers = pd.Index([f"T{i}" for i in range(values.shape[1])], name="ticker")
    return pd.Series(values.ravel(), pd.MultiIndex.from_product([dates, tickers]), dtype="float64")


def test_three_days_worked_by_hand():
    forecast = panel(np.array([[1.0, 2.0, 3.0], [3.0, 1.0, 2.0], [1.0, 2.0, 6.0]]))
    outcome = panel(np.array([[2.0, 4.0, 6.0], [1.0, 3.0, 2.0], [0.0, 3.0, 3.0]]))
    found = daily_correlations(forecast, outcome)
    # third day: deviations (−2, −1, 3), (−2, 1, 1) → 6 / √(14 · 6); ranks (−1, 0, 1), (−1, ½, ½) → 1.5 / √3
    assert found["ic"].to_numpy() == pytest.approx([1, -1, 6 / math.sqrt(84)])
    assert found["rank_ic"].to_numpy() == pytest.approx([1, -1, 1.5 / math.sqrt(3)])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_each_day_agrees_with_scipy(seed: int):
    rng = np.random.default_rng(seed)
    forecast = rng.integers(-3, 4, (6, 9)).astype(float)  # with ties
    outcome = rng.normal(size=(6, 9))
    outcome[rng.random((6, 9)) < 0.2] = np.nan
    found = daily_correlations(panel(forecast), panel(outcome))
    for day in range(6):
        known = np.isfinite(outcome[day])
        a, b = forecast[day][known], outcome[day][known]
        if len(a) < 3 or np.ptp(a) == 0:
            assert found.iloc[day].isna().all()
            continue
        assert found["ic"].iloc[day] == pytest.approx(pearsonr(a, b).statistic, abs=1e-12)
        assert found["rank_ic"].iloc[day] == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)


def test_a_days_common_move_changes_no_correlation():
    rng = np.random.default_rng(0)
    forecast, outcome = panel(rng.normal(size=(5, 8))), panel(rng.normal(size=(5, 8)))
    moved = outcome + outcome.groupby(level="date").transform("mean") * 7
    pd.testing.assert_frame_equal(daily_correlations(forecast, outcome), daily_correlations(forecast, moved))


def test_forecasts_that_are_all_alike_have_no_correlation():
    for constant, stocks in itertools.product((0.0, 0.1, 1 / 3, 0.7), range(5, 12)):  # means that are rounded
        outcome = panel(np.random.default_rng(0).normal(size=(stocks, stocks)))
        forecast = panel(np.full((stocks, stocks), constant))
        assert daily_correlations(forecast, outcome).isna().all(axis=None)
        assert correlations_over_time(forecast, outcome).isna().all()


def test_two_stocks_a_day_are_too_few():
    assert daily_correlations(panel(np.eye(2)), panel(np.eye(2))).isna().all(axis=None)


def test_over_time_each_stock_has_its_own():
    rng = np.random.default_rng(1)
    forecast, outcome = rng.normal(size=(30, 4)), rng.normal(size=(30, 4))
    found = correlations_over_time(panel(forecast), panel(outcome))
    wanted = [pearsonr(forecast[:, i], outcome[:, i]).statistic for i in range(4)]
    assert found.to_numpy() == pytest.approx(wanted)


def test_hits_are_counted_where_both_have_a_sign():
    forecast = panel(np.array([[1.0, -1.0, 0.0, 2.0], [1.0, 1.0, -3.0, -1.0]]))
    outcome = panel(np.array([[2.0, 1.0, 1.0, np.nan], [3.0, 0.0, -2.0, 1.0]]))
    assert daily_hits(forecast, outcome).to_numpy().tolist() == [[1, 2], [2, 3]]


def test_the_interval_of_a_mean_of_independent_days_is_the_textbooks():
    values = np.random.default_rng(2).normal(0.05, 1, 1500)
    low, high = interval(np.column_stack([values, np.ones(1500)]), ratio, Resampling(1, draws=2000))
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / math.sqrt(1500), rel=0.12)


def test_days_that_resemble_their_neighbours_widen_the_interval():
    rng = np.random.default_rng(3)
    steps = rng.normal(size=1500)
    values = np.convolve(steps, np.ones(20) / math.sqrt(20), mode="same")
    sums = np.column_stack([values, np.ones(1500)])
    low, high = interval(sums, ratio, Resampling(1))
    assert (high - low) > 2 * (2 * 1.96 * values.std() / math.sqrt(1500))


def test_too_few_days_have_no_interval():
    assert all(map(math.isnan, interval(np.ones((19, 2)), ratio, Resampling(1))))


def test_mean_over_spread_is_numpys():
    values = np.random.default_rng(4).normal(0.3, 2, 50)
    sums = np.column_stack([values, values**2, np.ones(50)]).sum(axis=0)[None]
    assert mean_over_spread(sums)[0] == pytest.approx(values.mean() / values.std(ddof=1))


def test_what_is_counted_nowhere_has_no_ratio():
    assert np.isnan(ratio(np.array([[1.0, 0.0]])))[0]
