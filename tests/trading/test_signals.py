import numpy as np
import pandas as pd
import pytest
from cases import days
from hypothesis import given
from hypothesis import strategies as st

from workbench.trading.signals import positions, positions_from_forecast

CLASSES = ["sell", "hold", "buy"]


def frame(rows, columns=CLASSES):
    return pd.DataFrame(rows, days(len(rows)), columns)


def random_probabilities(seed, n_rows=40):
    return frame(np.random.default_rng(seed).dirichlet([0.5, 0.5, 0.5], n_rows))


def test_hold_keeps_and_doubt_goes_flat():
    rows = [
        [0.2, 0.7, 0.1],
        [0.1, 0.2, 0.7],
        [0.1, 0.8, 0.1],
        [0.4, 0.3, 0.3],
        [0.1, 0.8, 0.1],
        [0.9, 0.1, 0],
    ]
    assert positions(frame(rows), threshold=0.5).tolist() == [0, 1, 1, 0, 0, -1]


def test_a_confidence_equal_to_the_threshold_acts():
    assert positions(frame([[0.5, 0.3, 0.2], [0.2, 0.3, 0.5]]), threshold=0.5).tolist() == [-1, 1]


def test_of_equal_probabilities_the_first_of_sell_hold_buy_wins_in_any_column_order():
    tied = frame([[0.45, 0.1, 0.45]])
    assert positions(tied, threshold=0.4).tolist() == [-1]
    assert positions(tied[["buy", "hold", "sell"]], threshold=0.4).tolist() == [-1]


def test_two_classes_are_always_in_the_market_when_sure():
    assert positions(frame([[0.8, 0.2], [0.45, 0.55]], ["sell", "buy"]), threshold=0.6).tolist() == [-1, 0]


@given(seed=st.integers(0, 10**6), row=st.integers(0, 39))
def test_later_predictions_change_no_earlier_position(seed, row):
    known = random_probabilities(seed)
    altered = known.copy()
    altered.iloc[row:] = random_probabilities(seed + 1).iloc[row:].to_numpy()
    before, after = positions(known, 0.5), positions(altered, 0.5)
    assert before.iloc[:row].equals(after.iloc[:row])


@given(seed=st.integers(0, 10**6))
def test_the_rule_agrees_with_a_loop(seed):
    probabilities, held, wanted = random_probabilities(seed), 0, []
    for row in probabilities.to_numpy():
        best = int(np.argmax(row))
        if row[best] < 0.55:
            held = 0
        elif best != 1:
            held = best - 1
        wanted.append(held)
    assert positions(probabilities, 0.55).tolist() == wanted


def test_a_panel_becomes_wide_and_each_asset_keeps_its_own_position():
    dates = days(3)
    index = pd.MultiIndex.from_tuples(
        [(dates[0], "A"), (dates[0], "B"), (dates[1], "A"), (dates[2], "A"), (dates[2], "B")],
        names=["date", "ticker"],
    )
    buy, sell, hold = [0, 0.1, 0.9], [0.9, 0.1, 0], [0.05, 0.9, 0.05]
    wide = positions(pd.DataFrame([buy, sell, hold, sell, hold], index, CLASSES), threshold=0.5)
    assert isinstance(wide, pd.DataFrame)
    assert wide["A"].tolist() == [1, 1, -1]
    assert wide["B"].tolist() == [-1, -1, -1]  # no prediction on the second day: kept


def test_provenance_travels_with_positions():
    known = frame([[0.1, 0.1, 0.8]])
    known.attrs = {"provenance": {"source": "sample"}, "horizon": 1}
    assert positions(known, 0.5).attrs == {"provenance": {"source": "sample"}}


@pytest.mark.parametrize(("classes", "threshold"), [(3, 1 / 3), (3, 0.2), (2, 0.5)])
def test_a_threshold_that_never_binds_is_warned_of(classes, threshold):
    columns = CLASSES if classes == 3 else ["sell", "buy"]
    with pytest.warns(UserWarning, match=f"does nothing: the largest of {classes}"):
        positions(frame([[1 / classes] * classes], columns), threshold)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (frame([[0.1, 0.1, 0.8]], ["down", "hold", "up"]), "columns sell, hold, buy"),
        (frame([[0.1, 0.9]], ["sell", "hold"]), "columns sell, hold, buy"),
        (frame([[0.1, 0.1, 0.8], [1.0, 2.0, 3.0]]), "sum to one.*1 of 2 rows are not, first 2020-01-02"),
        (frame([[-0.5, 0.5, 1.0]]), "sum to one"),
        (frame([[np.nan, 0.5, 0.5]]), "sum to one"),
        (pd.concat([frame([[0.1, 0.1, 0.8]])] * 2), "comes twice"),
    ],
)
def test_what_are_not_probabilities_is_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        positions(bad, 0.5)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, np.nan])
def test_a_threshold_is_a_probability(threshold):
    with pytest.raises(ValueError, match="threshold must be a probability"):
        positions(frame([[0.1, 0.1, 0.8]]), threshold)


def test_a_forecast_acts_by_its_sign_when_it_is_large_enough():
    forecast = pd.Series([0.02, -0.01, 0.004, 0.0, -0.03], days(5))
    assert positions_from_forecast(forecast, 0.01).tolist() == [1, -1, 0, 0, -1]
    assert positions_from_forecast(forecast.to_frame("forecast")).tolist() == [1, -1, 1, 0, -1]


def test_a_panel_of_forecasts_becomes_wide():
    index = pd.MultiIndex.from_product([days(2), ["A", "B"]], names=["date", "ticker"])
    wide = positions_from_forecast(pd.DataFrame({"forecast": [1.0, -1.0, 0.0, 2.0]}, index), 0.5)
    assert wide.to_numpy().tolist() == [[1, -1], [0, 1]]


@pytest.mark.parametrize(
    ("bad", "threshold", "message"),
    [
        (frame([[0.1, 0.1, 0.8]]), 0.0, "use `positions` for class probabilities"),
        (pd.Series([1.0, np.nan], days(2)), 0.0, "1 of 2 rows are not, first 2020-01-02"),
        (pd.Series([1.0], days(1)), -1.0, "at least 0"),
        (pd.Series([1.0], days(1)), np.nan, "at least 0"),
    ],
)
def test_what_is_not_a_forecast_is_refused(bad, threshold, message):
    with pytest.raises(ValueError, match=message):
        positions_from_forecast(bad, threshold)
