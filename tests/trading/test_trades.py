import numpy as np
import pandas as pd
import pytest
from cases import one_asset, panel, random_market
from hypothesis import given
from hypothesis import strategies as st

from workbench.trading.ledger import backtest


def run(positions, closes, opens=None, **options):
    prices = one_asset(closes, opens)
    signal = pd.Series(np.asarray(positions, dtype=float), prices.index[: len(positions)])
    return backtest(signal, prices, periods_per_year=252, **options)


def test_a_flip_closes_one_trade_and_opens_the_next_and_pays_two_fees():
    result = run([1, -1, -1, 0], [100, 110, 88, 99], fill="close", cost_bps=100)
    trades = result.trades
    assert trades["side"].tolist() == [1, -1]
    assert trades["exit_date"].iloc[0] == trades["entry_date"].iloc[1] == result.equity.index[1]
    # Long 100 → 110: 10 %, less 1 % of 100 and of 110. Short 110 → 99: 10 %, less 1 % of 110 and of 99.
    assert trades["gross_return"].tolist() == pytest.approx([0.10, 0.10])
    assert trades["net_return"].tolist() == pytest.approx([0.10 - 0.021, 0.10 - 0.019])
    assert trades["bars"].tolist() == [1, 2]
    assert result.turnover.iloc[1] == pytest.approx(1 + 1.1 / 1.09)


def test_an_open_trade_has_no_exit_and_counts_its_bars_so_far():
    trades = run([0, 1, 1], [100, 110, 121], fill="close").trades
    assert trades["open"].tolist() == [True]
    assert trades["exit_date"].isna().all()
    assert trades[["exit_price", "gross_return", "net_return"]].isna().all(axis=None)
    assert trades["bars"].tolist() == [1]


def test_a_change_of_size_is_the_same_trade():
    trades = run([0.5, 1.0, 0.25, 0], [100, 110, 120, 130], fill="close").trades
    assert len(trades) == 1
    assert trades["net_return"].iloc[0] == pytest.approx(0.3)


def test_money_of_a_resized_trade_by_hand():
    # .1 of 100,000 at 100: 100 units, fee 100. At 110 all in: equity 100,900, 917.27 units, 1 % of 89,900.
    # At 108.9 out: lost 1.1 a unit. The price rose by 8.9 % and the account lost: the trade is no win.
    result = run([0.1, 1.0, 0.0], [100, 110, 108.9], fill="close", cost_bps=100)
    units = 100_900 / 110
    wanted = 100 * 10 - 100 - 1.1 * units - 0.01 * (89_900 + 108.9 * units)
    assert result.trades["pnl"].tolist() == pytest.approx([wanted], rel=1e-12)
    assert result.trades["net_return"].iloc[0] > 0 > wanted
    assert result.stats["Trade win rate [%]"] == 0


@pytest.mark.parametrize("ledger", ["on_change", "every_bar", "formula"])
@given(seed=st.integers(0, 10**6))
def test_trades_money_together_is_the_accounts_gain(ledger, seed):
    opens, closes, positions = random_market(seed, n_bars=25)
    prices = panel(closes, opens)
    sizes = positions * np.random.default_rng(seed).choice([0.3, 1.0], positions.shape)
    wide = pd.DataFrame(sizes, prices.index.unique("date"), prices.index.unique("ticker"))
    result = backtest(wide, prices, ledger=ledger, cost_bps=30, liquidate=True)
    assert result.trades["pnl"].sum() == pytest.approx(result.equity.iloc[-1] - 100_000, abs=1e-5)


def test_no_trade_is_an_empty_frame_with_the_same_columns():
    flat, one = run([0, 0], [100, 101]).trades, run([1, 0], [100, 101, 102]).trades
    assert flat.empty
    assert list(flat.columns) == list(one.columns)
    assert flat.dtypes.equals(one.dtypes)


def test_ruin_closes_the_open_trade_at_the_last_mark():
    with pytest.warns(UserWarning, match="ruined on 2020-01-03"):
        result = run([-1, -1, -1, 1, 1], [100, 150, 220, 100, 90], fill="close")
    assert result.trades["open"].tolist() == [False]
    assert result.trades["exit_date"].tolist() == [result.ruined]
    assert result.trades["exit_price"].tolist() == [220]
    assert result.trades["net_return"].tolist() == pytest.approx([-1.2])
    assert result.trades["pnl"].tolist() == pytest.approx([-120_000])


@given(seed=st.integers(0, 10**6))
def test_trades_of_one_asset_compound_to_its_equity_without_costs(seed):
    opens, closes, positions = random_market(seed, n_assets=1)
    result = run(positions[:, 0], closes[:, 0], opens[:, 0], liquidate=True)
    grown = (1 + result.trades["gross_return"]).prod() * 100_000
    assert not result.trades["open"].any()
    assert result.equity.iloc[-1] == pytest.approx(grown, rel=1e-11)


@given(seed=st.integers(0, 10**6))
def test_trades_agree_with_a_loop_over_each_assets_positions(seed):
    opens, closes, positions = random_market(seed, n_bars=20)
    prices = panel(closes, opens)
    wide = pd.DataFrame(positions, prices.index.unique("date"), prices.index.unique("ticker"))
    result, wanted = backtest(wide, prices, cost_bps=10), []
    for name in wide.columns:
        side, entered = 0, 0
        for bar, held in enumerate(np.sign(result.weights[name])):
            if held != side:
                if side:
                    wanted.append((name, side, entered, bar))
                side, entered = held, bar
        if side:
            wanted.append((name, side, entered, None))
    dates = result.equity.index
    found = result.trades
    assert found["ticker"].tolist() == [trade[0] for trade in wanted]
    assert found["side"].tolist() == [trade[1] for trade in wanted]
    assert dates.get_indexer(found["entry_date"]).tolist() == [trade[2] for trade in wanted]
    assert dates.get_indexer(found["exit_date"]).tolist() == [-1 if t[3] is None else t[3] for t in wanted]


def test_outcomes_of_decisions_by_hand():
    # Next open. Bar 0: long, 100 → 110, fee 1 %. Bar 1: long again, 110 → 99, sold for the flip: 1 % of .9.
    # Bar 2: short, 99 → 99, two fees. Bar 3: flat. Bar 4: long, 99 → 108.9, fee of the way in, and is kept.
    # Bar 5: filled at the last bar, its end unknown.
    opens = [90, 100, 110, 99, 99, 99, 108.9]
    result = run([1, 1, -1, 0, 1, 1], opens, opens, cost_bps=100)
    found = result.outcomes["AAPL"]
    wanted = [0.10 - 0.01, -0.10 - 0.009, -0.02, np.nan, 0.10 - 0.01, np.nan, np.nan]
    assert found.to_numpy() == pytest.approx(np.array(wanted), abs=1e-14, nan_ok=True)


def test_a_round_trip_that_lost_money_is_no_win():
    # +8 bp at 5 bp a side: 8 − 5 − 5.004 bp.
    result = run([1, 0, 0], [100, 100.08, 100], fill="close", cost_bps=5)
    assert result.outcomes["AAPL"].iloc[0] == pytest.approx(8e-4 - 5e-4 * (1 + 1.0008), rel=1e-9)
    assert result.equity.iloc[1] < 100_000


def test_a_resize_pays_its_change_and_a_liquidation_its_closing():
    # In .5, up to 1, down to .25, out at the end, at a price that stands: 1 % of .5, .5, .75 + .25.
    result = run([0.5, 1, 0.25, 0.25], [100] * 4, fill="close", cost_bps=100, liquidate=True)
    wanted = np.array([-0.005, -0.005, -0.01, np.nan])
    assert result.outcomes["AAPL"].to_numpy() == pytest.approx(wanted, abs=1e-14, nan_ok=True)


@given(st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.25, 1.0]), min_size=2, max_size=20))
def test_decisions_together_pay_for_every_change_once(positions):
    result = run([*positions, 0.0], [100] * (len(positions) + 1), fill="close", cost_bps=10)
    changes = np.abs(np.diff([0.0, *positions, 0.0])).sum()
    assert result.outcomes["AAPL"].sum() == pytest.approx(-0.001 * changes, abs=1e-14)


def test_outcomes_follow_the_fill():
    opens, closes = [100, 100, 120, 100], [100, 110, 99, 99]
    same = run([1, 1], closes, opens, fill="close").outcomes["AAPL"]
    after = run([1, 1], closes, opens, fill="next_close").outcomes["AAPL"]
    assert same.iloc[0] == pytest.approx(0.10)
    assert after.iloc[0] == pytest.approx(-0.10)


def test_bars_without_a_decision_or_a_price_have_no_outcome():
    prices = one_asset([100, 101, np.nan, 103, 104, 105, 106])
    signal = pd.Series([1.0, 1.0, 1.0, 1.0], prices.index[[0, 1, 3, 5]])
    result = backtest(signal, prices, fill="close")
    assert result.positions["AAPL"].tolist() == [1] * 6
    assert result.outcomes["AAPL"].isna().tolist() == [False, True, True, False, True, True]


def test_outcomes_end_with_the_account():
    with pytest.warns(UserWarning, match="ruined"):
        result = run([-1] * 5, [100, 150, 220, 100, 90], fill="close")
    assert result.outcomes["AAPL"].isna().tolist() == [False, False, True, True, True]
