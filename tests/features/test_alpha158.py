import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_alphas import naive_alpha158
from plain_alpha158 import plain_alpha158

from workbench.features.alpha158 import ALPHA158_20, LENGTHS, alpha158
from workbench.features.labels import forward_return
from workbench.features.windows import Windows
from workbench.market.frame import PriceError
from workbench.market.loading import load_panel, load_prices

seeds = st.integers(0, 2**32 - 1)


def bars(n: int, seed: int, still: float = 0.0, quiet: float = 0.0) -> pd.DataFrame:
    """A random walk whose closes repeat, and whose bars are without trades, with these chances."""
    rng = np.random.default_rng(seed)
    close = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, n) * (rng.random(n) >= still)))
    opening = close * np.exp(rng.normal(0, 0.005, n))
    high = np.maximum(opening, close) * np.exp(np.abs(rng.normal(0, 0.01, n)))
    low = np.minimum(opening, close) * np.exp(-np.abs(rng.normal(0, 0.01, n)))
    volume = np.round(np.exp(rng.normal(12, 0.5, n))) * (rng.random(n) >= quiet)
    index = pd.bdate_range("2000-01-03", periods=n, name="date")
    return pd.DataFrame(
        {"open": opening, "high": high, "low": low, "close": close, "volume": volume}, index=index
    )


def check(found: pd.DataFrame, expected: dict[str, np.ndarray]) -> None:
    assert sorted(found.columns) == sorted(expected)
    for name in found:
        np.testing.assert_allclose(found[name], expected[name], rtol=2e-6, atol=2e-7, err_msg=str(name))


@pytest.mark.parametrize("ticker", ["AAPL", "IBM", "FB"])
def test_every_column_equals_its_definition_on_real_bars(ticker):
    prices = load_prices(ticker)
    rows = [*range(0, 70, 3), 70, 100, 137, 190]
    check(alpha158(prices).iloc[rows], naive_alpha158(prices.iloc[:191], rows))


@settings(max_examples=8)
@given(seed=seeds, n=st.integers(1, 75))
def test_every_column_equals_its_definition_with_still_and_quiet_bars(seed, n):
    prices = bars(n, seed, still=0.5, quiet=0.2)
    rows = sorted({*range(0, n, 7), n - 1})
    check(alpha158(prices).iloc[rows], naive_alpha158(prices, rows))


def test_every_column_equals_pandas_rolling_windows_on_real_bars():
    prices = load_prices("MSFT", start="2008", end="2009")
    check(alpha158(prices), {name: column.to_numpy() for name, column in plain_alpha158(prices).items()})


def test_six_bars_by_hand():
    index = pd.bdate_range("2000-01-03", periods=6, name="date")
    prices = pd.DataFrame(
        {
            "open": [10.0, 10, 11, 12, 14, 12],
            "high": [11.0, 12, 13, 15, 15, 13],
            "low": [9.0, 10, 11, 12, 11, 8],
            "close": [10.0, 11, 12, 14, 12, 10],
            "volume": [4.0, 2, 2, 6, 2, 4],
        },
        index=index,
    )
    last = alpha158(prices).iloc[-1]
    of_the_bar = {"KMID": -2 / 12, "KLEN": 5 / 12, "KUP": 1 / 12, "KLOW2": 2 / 5, "KSFT": -1 / 12}
    of_five = {  # closes 11 12 14 12 10, mean 11.8; distances −0.8 0.2 2.2 0.2 −1.8, squares 8.8
        "ROC5": 1.0,
        "MA5": 1.18,
        "STD5": np.sqrt(8.8 / 4) / 10,
        "BETA5": -0.02,  # (−2·−0.8 − 0.2 + 0.2 + 2·−1.8) / 10 = −0.2
        "RSQR5": 0.2**2 * 10 / 8.8,
        "RESI5": (-1.8 + 0.2 * 2) / 10,
        "MAX5": 1.5,
        "MIN5": 0.8,
        "QTLU5": 1.24,  # sorted 10 11 12 12 14: place 3.2 is 12.4, 0.8 is 10.8
        "QTLD5": 1.08,
        "RANK5": 0.2,
        "RSV5": 2 / 7,
        "IMAX5": 0.6,  # highs 12 13 15 15 13: the first of the two 15s
        "IMIN5": 1.0,
        "IMXD5": -0.4,
        "CNTP5": 0.6,  # +1 +1 +2 −2 −2
        "CNTN5": 0.4,
        "CNTD5": 0.2,
        "SUMP5": 0.5,
        "SUMN5": 0.5,
        "SUMD5": 0.0,
        "VMA5": 0.8,  # volumes 2 2 6 2 4, mean 3.2, squares of the distances 12.8
        "VSTD5": np.sqrt(12.8 / 4) / 4,
        "VSUMP5": 0.5,  # −2 0 +4 −4 +2
        "VSUMN5": 0.5,
    }
    moves = np.array([1 / 10 * 2, 1 / 11 * 2, 2 / 12 * 6, 2 / 14 * 2, 2 / 12 * 4])
    of_five["WVMA5"] = moves.std(ddof=1) / moves.mean()
    of_five["CORR5"] = np.corrcoef([11, 12, 14, 12, 10], np.log([3, 3, 7, 3, 5]))[0, 1]
    changes, volumes = [11 / 10, 12 / 11, 14 / 12, 12 / 14, 10 / 12], [0.5, 1, 3, 1 / 3, 2]
    of_five["CORD5"] = np.corrcoef(changes, np.log(np.array(volumes) + 1))[0, 1]
    for name, value in (of_the_bar | of_five).items():
        assert last[name] == pytest.approx(value, abs=1e-6), name


def test_the_names_are_qlib_s_in_its_order():
    names = list(alpha158(load_prices("AAPL", end="2000-06")).columns)
    assert len(names) == 158
    assert names[:13] == [
        *("KMID", "KLEN", "KMID2", "KUP", "KUP2", "KLOW", "KLOW2", "KSFT", "KSFT2"),
        *("OPEN0", "HIGH0", "LOW0", "VWAP0_hlc3"),
    ]
    families = "ROC MA STD BETA RSQR RESI MAX MIN QTLU QTLD RANK RSV IMAX IMIN IMXD CORR CORD CNTP CNTN CNTD"
    families += " SUMP SUMN SUMD VMA VSTD WVMA VSUMP VSUMN VSUMD"
    assert names[13:] == [f"{name}{d}" for name in families.split() for d in LENGTHS]


@given(seed=seeds, power=st.integers(-3, 10))
def test_the_unit_of_prices_changes_nothing(seed, power):
    prices = bars(70, seed)
    other = prices.assign(**{name: prices[name] * 2.0**power for name in ("open", "high", "low", "close")})
    ours, theirs = alpha158(prices), alpha158(other)
    span = [
        "KMID2",
        "KUP2",
        "KLOW2",
        "KSFT2",
        *(f"{name}{d}" for name in ("RSV", "SUMP", "SUMN", "SUMD") for d in LENGTHS),
    ]
    np.testing.assert_allclose(ours[span], theirs[span], atol=1e-6)  # their ε has a unit
    pd.testing.assert_frame_equal(ours.drop(columns=span), theirs.drop(columns=span), check_exact=True)


@given(seed=seeds)
def test_shares_and_places_keep_to_their_ranges(seed):
    found = alpha158(bars(80, seed, still=0.3, quiet=0.3))
    for name in ("RSQR", "RANK", "IMAX", "IMIN", "CNTP", "CNTN", "SUMP", "SUMN", "VSUMP", "VSUMN", "RSV"):
        values = found[[f"{name}{d}" for d in LENGTHS]].to_numpy()
        assert np.nanmin(values) >= 0
        assert np.nanmax(values) <= 1 + 1e-6
    for name in ("CORR", "CORD"):
        assert np.nanmax(np.abs(found[[f"{name}{d}" for d in LENGTHS]])) <= 1 + 1e-6
    for d in LENGTHS:
        np.testing.assert_allclose(found[f"IMXD{d}"], found[f"IMAX{d}"] - found[f"IMIN{d}"], atol=1e-6)


@pytest.mark.parametrize("day", ["2010-02-03", "2010-04-01", "2010-06-01"])
def test_later_bars_leave_every_column_alone_to_the_last_bit(alter_future, day):
    for prices in (
        load_prices("AAPL", start="2010", end="2010-06"),
        load_panel(["IBM", "AAPL", "MSFT"], start="2010", end="2010-06"),
    ):
        moment = pd.Timestamp(day)
        past = np.asarray(prices.index.get_level_values("date") <= moment)
        before = alpha158(prices)
        for other in (alter_future(prices, moment, 1), prices[past]):
            after = alpha158(other).iloc[: past.sum()]
            pd.testing.assert_frame_equal(before[past], after, check_exact=True)


def test_earlier_bars_than_the_windows_leave_all_alone_to_the_last_bit():
    prices = load_prices("AAPL", start="2009")
    late = prices.iloc[500:]
    pd.testing.assert_frame_equal(alpha158(prices).iloc[561:], alpha158(late).iloc[61:], check_exact=True)


def test_a_panel_holds_each_ticker_s_own_columns(make_panel):
    panel = make_panel((150, 40, 7, 1, 90))
    found = alpha158(panel)
    assert found.index.equals(panel.index)
    for ticker in "ABCDE":
        alone = alpha158(panel.xs(ticker, level="ticker"))
        pd.testing.assert_frame_equal(found.xs(ticker, level="ticker"), alone, check_exact=True)


def test_bars_that_a_ticker_lacks_are_not_filled(make_panel):
    panel = make_panel((60, 60))
    gappy = panel.drop([(panel.index[40][0], "A"), (panel.index[60][0], "A")])
    alone = alpha158(gappy.xs("A", level="ticker"))
    assert len(alone) == 58
    pd.testing.assert_frame_equal(alpha158(gappy).xs("A", level="ticker"), alone, check_exact=True)


def test_a_price_that_never_moves_has_no_line_and_no_correlation():
    prices = bars(70, 0)
    prices[["open", "high", "low", "close"]] = 42.1
    found = alpha158(prices).iloc[-1]
    for name in ("RSQR", "CORR", "CORD"):
        assert found[[f"{name}{d}" for d in LENGTHS]].isna().all()
    for name, value in {
        "STD": 0,
        "BETA": 0,
        "RESI": 0,
        "MA": 1,
        "RSV": 0,
        "SUMP": 0,
        "CNTP": 0,
        "WVMA": 0,
    }.items():
        assert (found[[f"{name}{d}" for d in LENGTHS]] == value).all(), name
    assert found["RANK5"] == np.float32(0.6)  # five alike: the middle rank, 3 of 5
    assert found["IMAX5"] == np.float32(0.2)


def test_moves_below_the_tolerance_count_as_none():
    prices = bars(30, 0)
    prices["close"] = 42 + 1e-6 * np.arange(30)
    prices["high"], prices["low"] = 43.0, 41.0
    prices["open"] = 42.0
    assert alpha158(prices)["RSQR20"].isna().all()
    prices["close"] = 42 + 1e-4 * np.arange(30)
    assert alpha158(prices)["RSQR20"].iloc[-1] == pytest.approx(1)
    assert alpha158(prices)["CORR20"].notna()[1:].all()
    prices["volume"] = 1e6 + np.arange(30) % 3  # of which the logarithm hardly moves
    assert alpha158(prices)["CORR20"].isna().all()


def test_one_bar_is_enough_for_what_needs_no_other():
    found = alpha158(bars(1, 3)).iloc[0]
    assert found["MA60"] == 1
    assert found["IMAX60"] == pytest.approx(1 / 60)
    assert found["CNTP5"] == 0
    assert found[["STD5", "BETA5", "RSQR5", "ROC5", "SUMP5", "CORR5", "VSTD5", "WVMA5"]].isna().all()


def test_closes_alone_give_75_columns_and_the_others_are_named():
    found = alpha158(load_panel(["KO", "XOM"], "sample20", start="2020"))
    told = found.attrs["features"]
    assert found.shape[1] == 75
    assert told["kind"] == "alpha158"
    assert len(told["left_out"]) == 83
    assert {"KMID", "VWAP0_hlc3", "MAX5", "WVMA60"} <= set(told["left_out"])
    assert not found.iloc[-1].isna().any()


def test_an_own_vwap_is_used_and_a_wrong_one_refused():
    prices = load_prices("AAPL", start="2012")
    stand_in = alpha158(prices)
    prices["vwap"] = (prices["high"] + prices["low"]) / 2
    found = alpha158(prices)
    np.testing.assert_allclose(found["VWAP0"], prices["vwap"] / prices["close"], rtol=1e-6)
    assert "VWAP0_hlc3" not in found
    assert "VWAP0" not in stand_in
    prices.iloc[7, prices.columns.get_loc("vwap")] = np.nan
    with pytest.raises(PriceError, match=r"vwap must be a finite, positive price. It is nan at 2012-01-12"):
        alpha158(prices)


def test_some_columns_are_those_of_all():
    prices = load_prices("AAPL", start="2012")
    every = alpha158(prices)
    some = alpha158(prices, columns=ALPHA158_20)
    assert list(some.columns) == list(ALPHA158_20)
    pd.testing.assert_frame_equal(some, every[list(ALPHA158_20)], check_exact=True)
    assert some.attrs == every.attrs


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["MA7"], r"alpha158 has no column 'MA7'.* Did you mean 'MA"),
        (["KLEN"], r"KLEN needs open and high and low, which these prices don't have \(they have close\)"),
        (["MA5", "MA5"], r"name each column once"),
        ([], r"at least one"),
        ("MA5", r"Got the text 'MA5': pass \['MA5'\]"),
    ],
)
def test_columns_that_cannot_be_made_are_refused(columns, message):
    with pytest.raises(ValueError, match=message):
        alpha158(load_prices("KO", "sample20", start="2021"), columns=columns)


def test_prices_that_break_the_contract_are_refused():
    prices = bars(10, 0)
    prices.iloc[3, 3] = np.nan
    with pytest.raises(PriceError, match="prices not finite"):
        alpha158(prices)


def test_windows_take_them_as_they_are():
    prices = load_prices("AAPL", start="2011")
    windows = Windows.of(alpha158(prices, ALPHA158_20), forward_return(prices), 20)
    assert windows.feature_names == ALPHA158_20
    assert len(windows) == len(prices) - 60 - 19  # ROC60 waits longest
