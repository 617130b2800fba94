import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from naive_indicators import naive_classics

from workbench.features.indicators import indicators, make_features, volatility
from workbench.features.scaling import trailing_zscore
from workbench.market.frame import PriceError

CLASSICS = [
    *("sma_10", "sma_20", "rsi_14", "macd", "macd_signal", "macd_hist"),
    *("bollinger_upper", "bollinger_middle", "bollinger_lower", "volatility_20"),
]
MODEL_COLUMNS = [
    *("log_return", "range", "log_volume", "close_position", "gap", "sma_10", "sma_20"),
    *("rsi_14", "macd", "macd_signal", "macd_hist", "bollinger", "volatility_20"),
]
seeds = st.integers(0, 2**32 - 1)


def closes(values) -> pd.DataFrame:
    """Closes only, all that `indicators` reads."""
    index = pd.bdate_range("2000-01-03", periods=len(values), name="date")
    prices = pd.DataFrame({"close": np.asarray(values, dtype=float)}, index=index)
    prices.attrs["provenance"] = {"fields": ["close"]}
    return prices


@given(seed=seeds)
def test_every_indicator_equals_its_naive_formula(make_prices, seed):
    prices = make_prices(90, seed)
    expected = naive_classics(prices["close"])
    found = indicators(prices)
    assert list(found.columns) == CLASSICS
    for name in CLASSICS:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-9, atol=1e-9, err_msg=name)


def test_rsi_by_hand_through_three_losses():
    rise = list(range(100, 115))  # 14 gains of 1: average gain 1, average loss 0
    found = indicators(closes([*rise, 113, 112, 111]))["rsi_14"]
    expected = [100, 100 * 13 / 14, 100 * 169 / 196, 100 * 2197 / 2744]
    np.testing.assert_allclose(found.iloc[14:], expected, rtol=1e-12)
    assert found.iloc[:14].isna().all()


def test_macd_of_a_steady_rise_is_the_distance_of_the_two_lags():
    found = indicators(closes(np.arange(100.0, 160.0)))
    # an n-bar mean lags a rise of 1 a bar by (n − 1)/2: 5.5 and 12.5 bars
    np.testing.assert_allclose(found["macd"].iloc[33:], 7, rtol=1e-12)
    np.testing.assert_allclose(found["macd_signal"].iloc[33:], 7, rtol=1e-12)
    np.testing.assert_allclose(found["macd_hist"].iloc[33:], 0, atol=1e-10)
    assert found["macd"].iloc[:33].isna().all()


def test_bollinger_bands_of_a_price_that_alternates_by_hand():
    found = indicators(closes([99.0, 101.0] * 15)).iloc[19:]
    np.testing.assert_allclose(found["bollinger_upper"], 102, rtol=1e-12)
    np.testing.assert_allclose(found["bollinger_middle"], 100, rtol=1e-12)
    np.testing.assert_allclose(found["bollinger_lower"], 98, rtol=1e-12)
    position = make_features(closes([99.0, 101.0] * 15))["bollinger"].iloc[19:]
    np.testing.assert_allclose(position, [0.5, -0.5] * 5 + [0.5], rtol=1e-12)


def test_volatility_is_per_bar_and_of_the_population():
    close = np.exp(np.cumsum([0.0] + [0.01, -0.01] * 10))  # twenty returns of ±1 %, mean zero
    np.testing.assert_allclose(volatility(close, 20)[-1], 0.01, rtol=1e-12)


def test_bar_columns_by_hand():
    index = pd.DatetimeIndex(["2000-01-03", "2000-01-04", "2000-01-05"], name="date")
    prices = pd.DataFrame(
        {
            "open": [10.0, 11.0, 9.0],
            "high": [12.0, 12.0, 10.0],
            "low": [10.0, 8.0, 9.0],
            "close": [11.0, 9.0, 10.0],
            "volume": [1.0, 1.0, 1.0],
        },
        index=index,
    )
    found = make_features(prices)
    np.testing.assert_allclose(found["log_return"], [np.nan, np.log(9 / 11), np.log(10 / 9)])
    np.testing.assert_allclose(found["range"], [np.log(1.2), np.log(1.5), np.log(10 / 9)])
    np.testing.assert_allclose(found["close_position"], [0.0, -0.5, 1.0])
    np.testing.assert_allclose(found["gap"], [np.nan, np.log(11 / 11), np.log(9 / 9)])


@given(seed=seeds)
def test_model_columns_follow_from_prices_and_classics(make_prices, seed):
    prices = make_prices(80, seed)
    found, raw, c, v = make_features(prices), indicators(prices), prices["close"], np.log(prices["volume"])
    expected = {
        "log_return": np.log(c).diff(),
        "range": np.log(prices["high"]) - np.log(prices["low"]),
        "log_volume": v - [np.mean(v.iloc[t - 19 : t + 1]) if t >= 19 else np.nan for t in range(len(v))],
        "close_position": (2 * c - prices["high"] - prices["low"]) / (prices["high"] - prices["low"]),
        "gap": np.log(prices["open"]) - np.log(c.shift(1)),
        "sma_10": np.log(c) - np.log(raw["sma_10"]),
        "sma_20": np.log(c) - np.log(raw["sma_20"]),
        "rsi_14": (raw["rsi_14"] - 50) / 100,
        "macd": raw["macd"] / c,
        "macd_signal": raw["macd_signal"] / c,
        "macd_hist": raw["macd_hist"] / c,
        "bollinger": (c - raw["bollinger_middle"]) / (raw["bollinger_upper"] - raw["bollinger_lower"]) * 2,
        "volatility_20": raw["volatility_20"],
    }
    assert list(found.columns) == MODEL_COLUMNS
    for name in MODEL_COLUMNS:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-9, atol=1e-12, err_msg=name)


@given(seed=seeds)
def test_columns_keep_to_their_stated_ranges(make_prices, seed):
    found = make_features(make_prices(120, seed)).iloc[33:]
    assert found.notna().all(axis=None)
    assert found["close_position"].abs().max() <= 1 + 1e-12
    assert found["rsi_14"].abs().max() <= 0.5
    assert found["bollinger"].abs().max() <= math.sqrt(19) / 2 + 1e-9
    assert (found[["range", "volatility_20"]] >= 0).all(axis=None)


def test_log_volume_by_hand_and_monotone_in_the_bar_s_own_volume(make_prices):
    prices = make_prices(25)
    prices["volume"] = 1000.0
    found = []
    for volume in (500.0, 1000.0, 1000.0 * np.e):
        prices.iloc[22, 4] = volume
        found.append(make_features(prices)["log_volume"].iloc[22])
    np.testing.assert_allclose(found, [np.log(0.5) * 0.95, 0.0, 0.95], atol=1e-12)


def test_a_bar_without_trades_counts_as_the_quietest_of_the_last_twenty(make_prices):
    prices = make_prices(60)
    prices.iloc[40, 4] = 0.0
    quietest = prices["volume"].iloc[21:40].min()
    filled = prices.copy()
    filled.iloc[40, 4] = quietest
    found = make_features(prices)["log_volume"]
    pd.testing.assert_series_equal(found, make_features(filled)["log_volume"])
    assert found.iloc[19:].notna().all()


def test_volume_that_is_never_there_stays_unknown(make_prices):
    prices = make_prices(60)
    prices["volume"] = 0.0
    assert make_features(prices)["log_volume"].isna().all()


@pytest.mark.parametrize("price", [1e-8, 1.0, 40000.123, 7e5])
def test_flat_prices_are_neutral_in_every_column(price):
    index = pd.bdate_range("2000-01-03", periods=80, name="date")
    prices = pd.DataFrame(price, index=index, columns=["open", "high", "low", "close", "volume"])
    found = make_features(prices).iloc[33:]
    np.testing.assert_allclose(found, 0.0, atol=1e-12)
    assert (indicators(prices)["rsi_14"].iloc[14:] == 50).all()


def test_prices_that_stop_moving_leave_no_rounding_behind(make_prices):
    prices = make_prices(120, seed=3)
    prices.iloc[60:, :4] = prices["close"].iloc[59]
    found = make_features(prices).iloc[81:]
    for name in ("log_return", "range", "close_position", "gap", "bollinger", "volatility_20"):
        assert (found[name] == 0).all(), name
    assert np.isfinite(found.to_numpy()).all()


@given(seed=seeds, price=st.sampled_from([1e-9, 1e-4, 3.0, 1e6]), volume=st.sampled_from([1e-6, 7.0, 1e9]))
def test_the_unit_of_price_and_volume_does_not_matter(make_prices, seed, price, volume):
    prices = make_prices(80, seed)
    scaled = prices * [price, price, price, price, volume]
    np.testing.assert_allclose(make_features(scaled), make_features(prices), rtol=1e-6, atol=1e-9)


def test_a_ticker_in_a_panel_has_the_features_it_has_alone(make_panel):
    panel = make_panel((120, 80, 100))
    for compute in (make_features, indicators, lambda p: make_features(p, zscore=10)):
        together = compute(panel)
        assert together.index.equals(panel.index)
        for ticker in ("A", "B", "C"):
            alone = compute(panel.xs(ticker, level="ticker"))
            pd.testing.assert_frame_equal(together.xs(ticker, level="ticker"), alone, check_exact=True)


def test_closes_only_prices_leave_out_what_needs_more():
    assert list(make_features(closes(np.arange(100.0, 160.0))).columns) == [
        name for name in MODEL_COLUMNS if name not in ("range", "log_volume", "close_position", "gap")
    ]


def test_unknown_fields_may_be_present_as_nan(make_prices):
    prices = make_prices(60)
    prices[["open", "high", "low", "volume"]] = np.nan
    prices.attrs["provenance"]["fields"] = ["close"]
    assert "range" not in make_features(prices)
    assert make_features(prices).iloc[33:].notna().all(axis=None)


@pytest.mark.parametrize("n", [1, 2, 14, 20, 33])
def test_too_few_bars_give_nan_instead_of_an_error(make_prices, n):
    assert make_features(make_prices(n))["macd"].isna().all()
    assert indicators(make_prices(n))["macd_signal"].isna().all()
    assert len(make_features(make_prices(n))) == n


def test_warm_up_ends_after_thirty_three_bars(make_prices):
    known = make_features(make_prices(60)).notna().all(axis=1).to_numpy()
    assert not known[:33].any()
    assert known[33:].all()


def test_features_carry_index_and_provenance(make_prices, make_panel):
    for prices in (make_prices(50), make_panel((50, 40))):
        for found in (make_features(prices), indicators(prices), make_features(prices, zscore=5)):
            assert found.index.equals(prices.index)
            assert found.attrs["provenance"] == prices.attrs["provenance"]
            assert (found.dtypes == "float64").all()


def test_zscore_standardises_every_column_over_trailing_bars(make_prices):
    prices = make_prices(100)
    found = make_features(prices, zscore=30)
    assert list(found) == [f"{name}_z30" for name in MODEL_COLUMNS]
    pd.testing.assert_frame_equal(
        found.set_axis(MODEL_COLUMNS, axis=1), trailing_zscore(make_features(prices), 30)
    )


def test_prices_are_left_as_they_were(make_prices):
    prices = make_prices(60)
    before = prices.copy()
    make_features(prices, zscore=10)
    pd.testing.assert_frame_equal(prices, before)


def test_prices_that_break_the_contract_are_refused_with_their_rows(make_prices):
    negative = make_prices(40)
    negative.iloc[7, 3] = -1.0
    with pytest.raises(PriceError, match=r"(?s)prices not positive in 1 of 40 rows.*2000-01-12.*-1\.0"):
        make_features(negative)
    gap = make_prices(40)
    gap.iloc[7, 3] = np.nan
    with pytest.raises(PriceError, match=r"(?s)not finite.*2000-01-12.*dropna"):
        indicators(gap)
    with pytest.raises(PriceError, match=r"need the columns close"):
        make_features(make_prices(40).drop(columns="close"))
