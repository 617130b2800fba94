"""The worst falls of an account, by hand, by a loop, and by what must hold of any curve."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.market.loading import load_prices
from workbench.trading.drawdowns import worst_drawdowns
from workbench.trading.ledger import backtest
from workbench.trading.metrics import max_drawdown


def curve(*values: float) -> pd.Series:
    return pd.Series(
        np.array(values, dtype=float), pd.bdate_range("2020-01-01", periods=len(values), name="date")
    )


def test_three_falls_by_hand():
    #                bar: 0    1    2    3    4    5    6    7    8    9    10
    equity = curve(100, 120, 90, 108, 120, 120, 114, 130, 104, 117, 91)
    found = worst_drawdowns(equity)
    at = {name: equity.index.get_indexer(found[name]).tolist() for name in ("peak", "trough")}
    # 120 → 90 is −25 %, back at bar 4; 120 → 114 is −5 %, from the last bar there, 5, back at 7; 130 → 91
    # is −30 %, never made good.
    assert at == {"peak": [7, 1, 5], "trough": [10, 2, 6]}
    assert found["depth"].tolist() == pytest.approx([-0.30, -0.25, -0.05])
    assert found["bars"].tolist() == [3, 1, 1]
    assert pd.isna(found["recovery"].iloc[0])
    assert found["recovery"].tolist()[1:] == [equity.index[4], equity.index[7]]
    assert found.index.tolist() == [1, 2, 3]
    assert worst_drawdowns(equity, 2).equals(found.iloc[:2])


def test_falls_within_a_fall_by_hand():
    #                bar: 0   1    2   3   4   5   6   7   8
    equity = curve(90, 100, 60, 80, 72, 90, 81, 95, 70)
    assert worst_drawdowns(equity)[["depth", "bars"]].to_numpy().tolist() == [[pytest.approx(-0.4), 1]]
    found = worst_drawdowns(equity, nested=True)
    # 100 → 60 is −40 %, never made good. After it 95 → 70 is −26.3 %; between bars 2 and 7, where 80 is the
    # highest at 3, 80 → 72 is −10 %, back at 5; and 90 → 81 is −10 %, back at 7. Of two alike the earlier.
    assert equity.index.get_indexer(found["peak"]).tolist() == [1, 7, 3, 5]
    assert equity.index.get_indexer(found["trough"]).tolist() == [2, 8, 4, 6]
    assert found["depth"].tolist() == pytest.approx([-0.4, 70 / 95 - 1, -0.1, -0.1])
    assert found["recovery"].isna().tolist() == [True, True, False, False]
    assert equity.index.get_indexer(found["recovery"][2:]).tolist() == [5, 7]


def all_pairs(values: list[int], first: int, end: int) -> tuple[float, int, int] | None:
    """The deepest fall within bars by trying all pairs: depth, first trough, and minus its last peak."""
    pairs = [
        (values[trough] / values[peak] - 1, trough, -peak)
        for peak in range(first, end)
        for trough in range(peak + 1, end)
        if values[trough] < values[peak]
    ]
    return min(pairs, default=None)


def naive_nested(values: list[int]) -> list[tuple[int, int, float]]:
    """Cut out the deepest pair, and ask the same of what is before and after."""

    def within(first: int, end: int) -> list[tuple[int, int, float]]:
        pair = all_pairs(values, first, end)
        if pair is None:
            return []
        depth, trough, peak = pair[0], pair[1], -pair[2]
        return [(peak, trough, depth), *within(first, peak + 1), *within(trough, end)]

    return sorted(within(0, len(values)), key=lambda fall: (fall[2], fall[0]))


def naive(values: list[float], initial: float) -> list[tuple[int, int, int | None, float]]:
    """Walk from bar to bar: peak, trough, recovery, depth, as a person would note them."""
    falls, highest, peak, trough = [], initial, 0, None
    for bar, value in enumerate(values):
        if value >= highest * (1 - 1e-12):
            if trough is not None:
                falls.append((peak, trough, bar, values[trough] / highest - 1))
                trough = None
            highest, peak = max(highest, value), bar
        elif trough is None or value < values[trough]:
            trough = bar
    if trough is not None:
        falls.append((peak, trough, None, values[trough] / highest - 1))
    return sorted(falls, key=lambda fall: (fall[3], fall[0]))


curves = st.lists(st.integers(1, 12), min_size=1, max_size=40)


@given(values=curves, count=st.integers(1, 8))
def test_it_agrees_with_a_walk_from_bar_to_bar(values: list[int], count: int):
    equity = curve(*values)
    expected = naive([float(value) for value in values], float(values[0]))[:count]
    found = worst_drawdowns(equity, count)
    dates = equity.index
    assert found["peak"].tolist() == [dates[fall[0]] for fall in expected]
    assert found["trough"].tolist() == [dates[fall[1]] for fall in expected]
    for told, fall in zip(found["recovery"], expected, strict=True):
        assert pd.isna(told) if fall[2] is None else told == dates[fall[2]]
    assert found["depth"].to_numpy() == pytest.approx(np.array([fall[3] for fall in expected]))


@given(values=st.lists(st.integers(1, 12), min_size=1, max_size=25), count=st.integers(1, 8))
def test_falls_within_falls_agree_with_trying_all_pairs(values: list[int], count: int):
    equity = curve(*values)
    found, expected = worst_drawdowns(equity, count, nested=True), naive_nested(values)[:count]
    assert equity.index.get_indexer(found["peak"]).tolist() == [fall[0] for fall in expected]
    assert equity.index.get_indexer(found["trough"]).tolist() == [fall[1] for fall in expected]
    assert found["depth"].to_numpy() == pytest.approx(np.array([fall[2] for fall in expected]))
    later = [values[fall[1] :] for fall in expected]
    back = [
        any(value >= values[fall[0]] for value in after) for fall, after in zip(expected, later, strict=True)
    ]
    assert found["recovery"].notna().tolist() == back


@given(values=curves, factor=st.floats(0.01, 1e6))
def test_falls_never_overlap_the_first_is_the_largest_and_money_has_no_unit(values: list[int], factor: float):
    equity = curve(*values)
    found = worst_drawdowns(equity, 100)
    assert (
        found["depth"].min() == pytest.approx(max_drawdown(equity.to_numpy()))
        if len(found)
        else (max_drawdown(equity.to_numpy()) == 0)
    )
    ordered = found.sort_values("peak")
    over = ordered["recovery"].fillna(equity.index[-1] + pd.Timedelta(days=1))
    assert (ordered["peak"].to_numpy()[1:] >= over.to_numpy()[:-1]).all()
    assert (found["peak"] < found["trough"]).all()
    scaled = worst_drawdowns(equity * factor, 100)
    assert scaled.drop(columns="depth").equals(found.drop(columns="depth"))
    assert scaled["depth"].to_numpy() == pytest.approx(found["depth"].to_numpy())


def test_a_fall_that_starts_from_the_initial_capital_is_counted_from_it():
    prices = load_prices("AAPL", start="2008-01-02", end="2008-03-31")
    result = backtest(pd.Series(1.0, prices.index), prices, fill="close", cost_bps=100)
    worst = worst_drawdowns(result, 1).iloc[0]
    assert result.equity.iloc[0] < 100_000  # the fee
    assert worst["peak"] == prices.index[0]
    assert 100 * worst["depth"] == pytest.approx(result.stats["Max drawdown [%]"])
    assert worst_drawdowns(result.equity, 1).iloc[0]["depth"] > worst["depth"]


def test_an_account_that_is_ruined_never_recovers():
    found = worst_drawdowns(curve(100, 50, 0, 0))
    assert found["depth"].tolist() == [-1.0]
    assert found["bars"].tolist() == [2]
    assert found["recovery"].isna().all()


def test_without_a_fall_the_table_is_empty_and_has_its_columns():
    found = worst_drawdowns(curve(100, 100, 101, 101 * (1 - 1e-14)))
    assert found.empty
    assert found.columns.tolist() == ["peak", "trough", "recovery", "depth", "bars"]


@pytest.mark.parametrize(
    ("equity", "count", "match"),
    [
        (curve(100, 90), 0, "count must be at least 1"),
        (curve(100, np.nan), 1, "1 unknown"),
        (curve(0, 1), 1, "start above 0"),
        (curve(), 1, "Got 0 bars"),
        (curve(100, 90)[::-1], 1, "sort_index"),
        (pd.Series([1.0, 2.0]), 1, "increasing dates"),
    ],
)
def test_what_is_no_account_is_refused(equity: pd.Series, count: int, match: str):
    with pytest.raises(ValueError, match=match):
        worst_drawdowns(equity, count)
