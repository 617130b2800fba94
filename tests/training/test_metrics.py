import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr
from sklearn import metrics as sklearn_metrics

from workbench.training.metrics import (
    balanced_accuracy,
    confusion,
    information_coefficient,
    information_coefficients,
    information_ratio,
    matthews,
    rank_information_coefficient,
)

# 6 windows: sell found 1 of 2, hold 2 of 3, buy 0 of 1.
TRUE, PREDICTED = np.array([0, 0, 1, 1, 1, 2]), np.array([0, 1, 1, 1, 0, 1])
answers = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=60)
answers = answers.filter(
    lambda pairs: len({y for pair in pairs for y in pair}) > 1
)  # else scikit-learn warns


def test_windows_are_counted_by_true_row_and_predicted_column():
    assert confusion(TRUE, PREDICTED, 3).tolist() == [[1, 1, 0], [1, 2, 0], [0, 1, 0]]


def test_balanced_accuracy_worked_by_hand():
    assert balanced_accuracy(confusion(TRUE, PREDICTED, 3)) == pytest.approx((1 / 2 + 2 / 3 + 0) / 3)


def test_matthews_worked_by_hand():
    # right 3 of 6; true (2, 3, 1), predicted (2, 4, 0): (3·6 − 16) / √((36 − 20)(36 − 14))
    assert matthews(confusion(TRUE, PREDICTED, 3)) == pytest.approx(2 / (16 * 22) ** 0.5)


@given(answers)
def test_both_agree_with_scikit_learn(pairs):
    true, predicted = np.array(pairs).T
    counts = confusion(true, predicted, 3)
    assert matthews(counts) == pytest.approx(sklearn_metrics.matthews_corrcoef(true, predicted), abs=1e-12)
    found = sklearn_metrics.recall_score(
        true, predicted, labels=np.unique(true), average="macro", zero_division=0
    )
    assert balanced_accuracy(counts) == pytest.approx(found, abs=1e-12)


@given(st.lists(st.integers(0, 2), min_size=3).filter(lambda y: len(set(y)) == 3), st.integers(0, 2))
def test_always_the_same_answer_earns_a_third_and_no_correlation(true, answer):
    counts = confusion(np.array(true), np.full(len(true), answer), 3)
    assert balanced_accuracy(counts) == pytest.approx(1 / 3)
    assert matthews(counts) == 0


def test_information_coefficient_worked_by_hand():
    # day 1: (1, 2, 3) with (2, 4, 6) is 1; day 2: (1, 2) with (5, 4) is −1; day 3: constant, left out
    forecast = np.array([1.0, 2.0, 3.0, 1.0, 2.0, 7.0, 7.0])
    y = np.array([2.0, 4.0, 6.0, 5.0, 4.0, 1.0, 2.0])
    assert information_coefficient(forecast, y, np.array([1, 1, 1, 2, 2, 3, 3])) == pytest.approx(0.0)
    assert information_coefficient(forecast[:3], y[:3], np.zeros(3)) == pytest.approx(1.0)


@given(st.integers(0, 10_000), st.integers(1, 5))
def test_it_agrees_with_scipy_day_by_day(seed, days):
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(days), 6)[rng.permutation(days * 6)]
    forecast, y = rng.normal(size=(2, days * 6)) + groups  # days differ in level, which must not count
    expected = np.mean([pearsonr(forecast[groups == d], y[groups == d])[0] for d in range(days)])
    assert information_coefficient(forecast, y, groups) == pytest.approx(expected, abs=1e-10)


def test_a_constant_forecast_has_no_coefficient():
    assert np.isnan(information_coefficient(np.full(5, 0.1), np.arange(5.0), np.zeros(5)))


# Four days: ranks (1, 2, 3) with (1, 3, 2) is 1/2; a tie (1.5, 1.5, 3) with (1, 2, 3) is √3/2; one window
# alone and a constant outcome have none.
DAYS = np.array([1, 1, 1, 2, 2, 2, 3, 4, 4])
FORECAST = np.array([1.0, 2.0, 9.0, 5.0, 5.0, 8.0, 1.0, 1.0, 2.0])
OUTCOME = np.array([0.1, 0.9, 0.2, 1.0, 2.0, 30.0, 4.0, 7.0, 7.0])


def test_rank_coefficient_worked_by_hand():
    expected = (1 / 2 + 3**0.5 / 2) / 2
    assert rank_information_coefficient(FORECAST, OUTCOME, DAYS) == pytest.approx(expected)


def test_ratio_worked_by_hand():
    # three days with coefficients 1, −1 and 1: mean 1/3, sample deviation √(4/3)
    forecast, y = np.array([1.0, 2.0, 1.0, 2.0, 1.0, 2.0]), np.array([3.0, 4.0, 4.0, 3.0, 1.0, 9.0])
    days = np.array([0, 0, 1, 1, 2, 2])
    assert information_coefficients(forecast, y, days).tolist() == pytest.approx([1, -1, 1])
    assert information_ratio(forecast, y, days) == pytest.approx((1 / 3) / (4 / 3) ** 0.5)


def test_one_day_or_equal_days_have_no_ratio():
    assert np.isnan(information_ratio(FORECAST[:3], OUTCOME[:3], DAYS[:3]))
    twice = np.array([1.0, 2.0, 1.0, 2.0])
    assert np.isnan(information_ratio(twice, twice, np.array([0, 0, 1, 1])))


# Few values, so that ties, lonely windows and constant days are common.
several = st.lists(
    st.tuples(st.integers(0, 4), st.integers(-2, 2), st.integers(-2, 2)), min_size=1, max_size=40
)


@given(several)
def test_all_three_agree_with_pandas_and_scipy_by_day(rows):
    days, forecast, y = (np.array(column) for column in zip(*rows, strict=True))
    forecast, y = forecast.astype(float) / 3, y.astype(float) / 7
    of_days = [day for _, day in pd.DataFrame({"f": forecast, "y": y}).groupby(days)]
    of_days = [day for day in of_days if np.ptp(day["f"]) > 0 and np.ptp(day["y"]) > 0]
    pearson = np.array([day["f"].corr(day["y"]) for day in of_days])
    spearman = np.array([spearmanr(day["f"], day["y"]).statistic for day in of_days])
    assert information_coefficients(forecast, y, days) == pytest.approx(_by_appearance(pearson, rows, days))
    if not len(pearson):
        assert np.isnan(information_coefficient(forecast, y, days))
        assert np.isnan(rank_information_coefficient(forecast, y, days))
        return
    assert information_coefficient(forecast, y, days) == pytest.approx(pearson.mean())
    assert rank_information_coefficient(forecast, y, days) == pytest.approx(spearman.mean())
    if len(pearson) > 1 and pearson.std() > 1e-9:
        assert information_ratio(forecast, y, days) == pytest.approx(pearson.mean() / pearson.std(ddof=1))


def _by_appearance(values, rows, days):
    """Put values, one a day that has any, from the days' order into that of their first windows."""
    frame = pd.DataFrame(rows, columns=["day", "f", "y"])
    defined = frame.groupby("day").nunique().min(axis=1) > 1
    by_day = dict(zip(defined.index[defined], values, strict=True))
    return [by_day[day] for day in pd.unique(days) if day in by_day]


@given(several, st.integers(1, 5))
def test_ranks_do_not_change_with_what_keeps_the_order(rows, power):
    days, forecast, y = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    plain = rank_information_coefficient(forecast, y, days)
    bent = rank_information_coefficient(np.sinh(power * forecast) + 4, y, days)
    assert bent == pytest.approx(plain, nan_ok=True)
