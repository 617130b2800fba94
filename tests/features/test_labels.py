import inspect

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.features.labels import CLASSES, forward_return, label_moves
from workbench.market.frame import PriceError

seeds = st.integers(0, 2**32 - 1)
SELL, HOLD, BUY = 0.0, 1.0, 2.0


def closes(*values) -> pd.DataFrame:
    index = pd.bdate_range("2000-01-03", periods=len(values), name="date")
    return pd.DataFrame({"close": values}, index=index, dtype=float)


def test_forward_return_by_hand():
    prices = closes(100, 110, 99, 99, 198)
    np.testing.assert_allclose(forward_return(prices), [0.1, -0.1, 0, 1, np.nan])
    np.testing.assert_allclose(forward_return(prices, horizon=2), [-0.01, -0.1, 1, np.nan, np.nan])


def test_fixed_labels_by_hand():
    prices = closes(100, 102, 101.5, 100, 100.5, 103)
    # +2 %, −0.49 %, −1.48 %, +0.5 %, +2.49 %, unknown
    assert label_moves(prices).tolist()[:5] == [BUY, HOLD, SELL, HOLD, BUY]
    assert label_moves(prices, threshold=0.02 + 1e-9).tolist()[:5] == [HOLD, HOLD, HOLD, HOLD, BUY]
    # over two bars: +1.5 %, −1.96 %, −0.99 %, +3 %
    assert label_moves(prices, horizon=2).tolist()[:4] == [BUY, SELL, HOLD, BUY]
    assert label_moves(prices, horizon=2).isna().tolist() == [False] * 4 + [True] * 2


def test_a_move_of_exactly_the_threshold_is_held():
    assert label_moves(closes(4, 5, 3.75, 3.75), threshold=0.25).tolist()[:3] == [HOLD, HOLD, HOLD]
    assert label_moves(closes(4, 5, 5), threshold=0).tolist()[:2] == [BUY, HOLD]


def test_volatility_scaled_labels_by_hand():
    zigzag = np.exp(np.cumsum([0.0] + [0.01, -0.01] * 10))  # volatility of exactly 1 % a bar at bar 20
    for growth, label in ((1.0045, HOLD), (1.0055, BUY), (0.9955, HOLD), (0.9945, SELL)):
        found = label_moves(closes(*zigzag, zigzag[-1] * growth), scale="volatility")
        assert found.isna().tolist() == [True] * 20 + [False, True]
        assert found.iloc[20] == label
    for growth, label in ((1.019, HOLD), (1.021, BUY)):  # over four bars the band doubles: ±2 %
        path = [*zigzag, 1.0, 1.0, 1.0, zigzag[-1] * growth]
        assert label_moves(closes(*path), 4, threshold=1.0, scale="volatility").iloc[20] == label


@given(
    seed=seeds,
    horizon=st.integers(1, 30),
    threshold=st.floats(0, 2),
    scale=st.sampled_from(["fixed", "volatility"]),
)
def test_labels_equal_the_naive_formula(make_prices, seed, horizon, threshold, scale):
    prices = make_prices(60, seed)
    found = label_moves(prices, horizon, threshold * 0.02 if scale == "fixed" else threshold, scale)
    close = prices["close"].tolist()
    for t in range(60):
        band = threshold * 0.02
        if scale == "volatility":
            returns = [np.log(close[s] / close[s - 1]) for s in range(max(t - 19, 1), t + 1)]
            band = threshold * np.std(returns) * np.sqrt(horizon) if t >= 20 else np.nan
        if t + horizon >= 60 or np.isnan(band):
            assert np.isnan(found.iloc[t])
            continue
        move = close[t + horizon] / close[t] - 1
        if abs(abs(move) - band) > 1e-9:
            assert found.iloc[t] == (BUY if move > band else SELL if move < -band else HOLD)


def test_volatility_scaled_classes_stay_balanced_where_fixed_ones_do_not(make_prices):
    prices = make_prices(4000)
    calm = prices.copy()
    calm["close"] = prices["close"] ** 0.1  # a tenth of the volatility
    fixed = [(label_moves(p) == HOLD).mean() for p in (prices, calm)]
    scaled = [(label_moves(p, scale="volatility") == HOLD).mean() for p in (prices, calm)]
    assert fixed[1] - fixed[0] > 0.5
    assert abs(scaled[1] - scaled[0]) < 0.02


def test_each_ticker_is_followed_through_its_own_bars(make_panel):
    panel = make_panel((60, 40, 50))
    for label in (
        lambda p: label_moves(p, 3),
        lambda p: label_moves(p, 3, scale="volatility"),
        lambda p: forward_return(p, 3),
    ):
        together = label(panel)
        assert together.index.equals(panel.index)
        for ticker in ("A", "B", "C"):
            alone = label(panel.xs(ticker, level="ticker"))
            pd.testing.assert_series_equal(together.xs(ticker, level="ticker"), alone, check_exact=True)
            assert alone.iloc[-3:].isna().all()


def test_labels_say_what_they_are(make_prices):
    prices = make_prices(60)
    labels = label_moves(prices, horizon=5, threshold=0.7, scale="volatility")
    assert labels.attrs == {
        "provenance": prices.attrs["provenance"],
        "task": "classification",
        "horizon": 5,
        "classes": list(CLASSES),
        "threshold": 0.7,
        "scale": "volatility",
    }
    assert forward_return(prices, 2).attrs == {
        "provenance": prices.attrs["provenance"],
        "task": "regression",
        "horizon": 2,
        "classes": [],
    }
    assert label_moves(prices).attrs["threshold"] == 0.01
    assert label_moves(prices).dtype == "float64"


def test_a_history_shorter_than_the_horizon_is_all_unknown(make_prices):
    assert label_moves(make_prices(3), horizon=5).isna().all()
    assert len(forward_return(make_prices(3), horizon=5)) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": 0}, "horizon must be at least 1 bar: a label follows its decision bar. Got 0"),
        ({"threshold": -0.01}, "threshold must be a number ≥ 0, such as 0.01 for ±1 %. Got -0.01"),
        ({"threshold": float("nan")}, "threshold must be a number ≥ 0"),
    ],
)
def test_invalid_arguments_are_refused_with_the_repair(make_prices, options, message):
    with pytest.raises(ValueError, match=message):
        label_moves(make_prices(30), **options)


def test_closes_that_are_not_positive_are_refused():
    with pytest.raises(PriceError, match=r"(?s)prices not positive in 1 of 3 rows.*2000-01-04"):
        forward_return(closes(1, 0, 2))


def test_an_unknown_scale_is_refused_with_the_choices(make_prices):
    unchecked = inspect.unwrap(label_moves)  # as outside the tests, where annotations are not enforced
    with pytest.raises(ValueError, match=r"scale must be 'fixed' or 'volatility'. Got 'atr'"):
        unchecked(make_prices(30), scale="atr")
