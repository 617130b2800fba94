import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.market.adjustment import SPLITS, adjusted, split_shares


def raw(close: list[float], adj_close: list[float]) -> pd.DataFrame:
    index = pd.bdate_range("2020-01-01", periods=len(close), name="date")
    close_, up, down = np.array(close), 1.02 * np.array(close), 0.97 * np.array(close)
    columns = {
        "open": close_,
        "high": up,
        "low": down,
        "close": close_,
        "volume": 100.0,
        "adj_close": adj_close,
    }
    return pd.DataFrame(columns, index=index)


def test_a_split_and_a_dividend_by_hand() -> None:
    # 2:1 on day 2, a dividend of 10 % on day 3, 1:4 (reverse) on day 5; nothing else moves
    close = [100.0, 100.0, 50.0, 45.0, 45.0, 180.0]
    adj = [180.0, 180.0, 180.0, 180.0, 180.0, 180.0]
    prices, splits = adjusted(raw(close, adj))
    assert splits == {"2020-01-03": "2:1", "2020-01-08": "1:4"}
    assert prices["volume"].tolist() == [50.0, 50.0, 25.0, 25.0, 25.0, 100.0]
    assert prices["close"].tolist() == adj
    np.testing.assert_allclose(prices["high"], 1.02 * 180)
    np.testing.assert_allclose(prices["low"], 0.97 * 180)


def test_a_crash_of_a_half_is_no_split() -> None:
    prices, splits = adjusted(raw([100.0, 50.0, 51.0], [10.0, 5.0, 5.1]))
    assert splits == {}
    assert prices["volume"].tolist() == [100.0] * 3
    np.testing.assert_allclose(prices["open"], [10.0, 5.0, 5.1])


def test_a_split_shows_whatever_the_market_did_that_day() -> None:
    shares = split_shares(np.array([100.0, 60.0]), np.array([50.0, 60.0]))
    assert shares.tolist() == [1.0, 2.0]


@given(
    st.lists(st.floats(-0.2, 0.2), min_size=5, max_size=30),
    st.sampled_from(SPLITS),
    st.integers(1, 3),
    st.floats(0.0, 0.1),
)
def test_what_a_split_did_is_undone(moves: list[float], split: float, day: int, dividend: float) -> None:
    true = 100 * np.exp(np.cumsum(moves))
    held = np.where(np.arange(len(true)) < day, float(split), 1.0)  # old prices are those of more shares
    paid = np.where(np.arange(len(true)) < len(true) - 1, 1.0, 1.0 - dividend)
    frame = raw(list(true * held * paid), list(true)).assign(volume=7.0 / held)
    prices, splits = adjusted(frame)
    np.testing.assert_allclose(prices["volume"], 7.0)
    np.testing.assert_allclose(np.diff(np.log(prices["close"])), np.diff(np.log(true)))
    np.testing.assert_allclose(prices["high"] / prices["close"], frame["high"] / frame["close"])
    assert list(splits) == [str(frame.index[day])[:10]]


def test_a_fund_of_closes_alone_is_adjusted() -> None:
    frame = raw([100.0, 50.0], [50.0, 50.0]).assign(open=np.nan, high=np.nan, low=np.nan, volume=np.nan)
    prices, _ = adjusted(frame)
    assert prices["close"].tolist() == [50.0, 50.0]
    assert prices.drop(columns="close").isna().all(axis=None)


@pytest.mark.parametrize(("ratio", "written"), [(2 / 3, "3:2"), (0.8, "5:4"), (1 / 30, "30:1"), (8.0, "1:8")])
def test_splits_are_written_as_new_for_old(ratio: float, written: str) -> None:
    _, splits = adjusted(raw([100.0, 100.0 * ratio], [1.0, 1.0]))
    assert list(splits.values()) == [written]


@pytest.mark.parametrize(
    ("off", "is_split"), [(0.009, True), (-0.009, True), (0.011, False), (-0.011, False)]
)
def test_a_split_is_within_a_hundredth_of_a_usual_ratio(off: float, is_split: bool) -> None:
    shares = split_shares(np.array([100.0, 50.0 * (1 + off)]), np.array([1.0, 1.0]))
    assert shares.tolist() == [1.0, 2.0 if is_split else 1.0]
