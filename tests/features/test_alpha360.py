import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from naive_alphas import naive_alpha360

from workbench.features.alpha360 import alpha360, alpha360_bars
from workbench.features.labels import forward_return
from workbench.features.windows import Windows
from workbench.market.loading import load_panel, load_prices
from workbench.models.columns import anchors_of
from workbench.models.scaling import window_units


@pytest.mark.parametrize("ticker", ["AAPL", "GOOG"])
def test_every_column_equals_its_definition_on_real_bars(ticker):
    prices = load_prices(ticker).iloc[:200]
    found = alpha360(prices)
    assert found.shape == (200, 360)
    for t in (0, 1, 30, 58, 59, 60, 199):
        expected = naive_alpha360(prices, t)
        assert list(found.columns) == list(expected)
        np.testing.assert_allclose(found.iloc[t], list(expected.values()), rtol=1e-6)


def test_three_bars_by_hand():
    index = pd.bdate_range("2000-01-03", periods=3, name="date")
    columns = {"open": [8.0, 10, 9], "high": [12.0, 12, 12], "low": [8.0, 8, 6], "close": [10.0, 10, 8]}
    found = alpha360(pd.DataFrame({**columns, "volume": [2.0, 8, 4]}, index=index)).iloc[-1]
    expected = {
        **{
            "CLOSE2": 1.25,
            "CLOSE1": 1.25,
            "CLOSE0": 1,
            "OPEN2": 1,
            "OPEN0": 1.125,
            "HIGH1": 1.5,
            "LOW0": 0.75,
        },
        **{"VWAP1_hlc3": 1.25, "VOLUME2": 0.5, "VOLUME1": 2, "VOLUME0": 1, "CLOSE3": np.nan},
    }
    np.testing.assert_allclose(found[list(expected)], list(expected.values()), rtol=1e-6)


@pytest.mark.parametrize("panel", [False, True])
def test_windows_of_the_bars_are_the_classic_columns(panel):
    span = {"start": "2010", "end": "2010-07"}
    prices = load_panel(["IBM", "AAPL"], **span) if panel else load_prices("AAPL", **span)
    windows = Windows.of(alpha360_bars(prices), forward_return(prices), 60)
    classic = Windows.of(alpha360(prices), forward_return(prices), 1)
    x = windows.batch(slice(None))
    ratios = x / window_units(x, anchors_of(windows.feature_names))
    assert windows.dates.equals(classic.dates)
    assert windows.tickers.tolist() == classic.tickers.tolist()
    by_field = classic.batch(slice(None))[:, 0].unflatten(1, (6, 60)).transpose(1, 2)
    torch.testing.assert_close(ratios, by_field, rtol=1e-6, atol=0)


@given(seed=st.integers(0, 2**32 - 1), quiet=st.floats(0, 1))
def test_a_bar_without_trades_has_the_smallest_volume_of_its_past(make_prices, seed, quiet):
    prices = make_prices(80, seed)
    prices["volume"] *= np.random.default_rng(seed).random(80) >= quiet
    found = alpha360_bars(prices)["VOLUME / last volume"]
    volume = prices["volume"].tolist()
    for t in range(80):
        traded = [v for v in volume[max(t - 59, 0) : t + 1] if v]
        expected = volume[t] or (min(traded) if traded else np.nan)
        np.testing.assert_equal(found.iloc[t], np.float32(expected))


@pytest.mark.parametrize("make", [alpha360, alpha360_bars])
def test_later_bars_leave_every_column_alone_to_the_last_bit(make, alter_future):
    prices = load_panel(["IBM", "AAPL", "MSFT"], start="2010", end="2010-06")
    for day in ("2010-01-20", "2010-04-01", "2010-06-01"):
        moment = pd.Timestamp(day)
        past = np.asarray(prices.index.get_level_values("date") <= moment)
        for other in (alter_future(prices, moment, 1), prices[past]):
            pd.testing.assert_frame_equal(
                make(prices)[past], make(other).iloc[: past.sum()], check_exact=True
            )


@pytest.mark.parametrize("make", [alpha360, alpha360_bars])
def test_a_panel_holds_each_ticker_s_own_columns(make, make_panel):
    panel = make_panel((90, 40, 1, 61))
    found = make(panel)
    for ticker in "ABCD":
        alone = make(panel.xs(ticker, level="ticker"))
        pd.testing.assert_frame_equal(found.xs(ticker, level="ticker"), alone, check_exact=True)


def test_closes_alone_give_what_they_can():
    prices = load_panel(["KO", "XOM"], "sample20", start="2020")
    classic, bars = alpha360(prices), alpha360_bars(prices)
    assert list(classic.columns) == [f"CLOSE{lag}" for lag in range(59, -1, -1)]
    assert len(classic.attrs["features"]["left_out"]) == 300
    assert list(bars.columns) == ["CLOSE / last close"]
    assert bars.attrs["features"]["kind"] == "alpha360_bars"
    assert len(bars.attrs["features"]["left_out"]) == 5


def test_some_columns_are_those_of_all():
    prices = load_prices("AAPL", start="2012")
    some = alpha360(prices, columns=["VOLUME3", "CLOSE59"])
    pd.testing.assert_frame_equal(some, alpha360(prices)[["VOLUME3", "CLOSE59"]], check_exact=True)
    two = ["CLOSE / last close", "LOW / last close"]
    pd.testing.assert_frame_equal(alpha360_bars(prices, two), alpha360_bars(prices)[two], check_exact=True)
    alone = alpha360_bars(prices, ["VOLUME / last volume"])
    assert alone.shape[1] == 1


def test_columns_that_cannot_be_made_are_refused():
    prices = load_prices("AAPL", start="2012")
    with pytest.raises(ValueError, match=r"alpha360 has no column 'CLOSE60'. Did you mean 'CLOSE"):
        alpha360(prices, columns=["CLOSE60"])
    with pytest.raises(
        ValueError, match=r"LOW / last close are divided by the last close: add 'CLOSE / last"
    ):
        alpha360_bars(prices, columns=["LOW / last close"])
    with pytest.raises(ValueError, match=r"OPEN5 needs open, which these prices don't have"):
        alpha360(load_prices("KO", "sample20", start="2021"), columns=["OPEN5"])


def test_an_own_vwap_goes_under_its_own_name():
    prices = load_prices("AAPL", start="2012")
    prices["vwap"] = prices["low"]
    assert alpha360(prices)["VWAP7"].equals(alpha360(prices)["LOW7"])
    assert (alpha360_bars(prices)["VWAP / last close"] == prices["low"].astype("float32")).all()
