"""The worked cases of golden/backtest.json, through the public functions, every figure to 1e-12."""

import numpy as np
import pandas as pd
import pytest
from cases import FILL, GOLDEN, prices_of, probabilities_of

from workbench.trading.ledger import backtest
from workbench.trading.signals import positions

LEDGERS = ("formula", "every_bar", "on_change")
each_case = pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
each_ledger = pytest.mark.parametrize("ledger", LEDGERS)


def run(case, ledger="on_change"):
    return backtest(
        positions(probabilities_of(case), threshold=case["threshold"]),
        prices_of(case),
        fill=FILL[case["fill"], case["lag_bars"]],
        ledger=ledger,
        cost_bps=1e4 * case["cost_per_side"],
        exposure=case["exposure"],
        initial_capital=case["initial_equity"],
        liquidate=case["liquidate_at_last_fill"],
    )


def close_to(wanted):
    return pytest.approx(np.array(wanted), rel=1e-12, abs=1e-14)


@each_case
def test_positions_follow_the_threshold_rule(case):
    decided = positions(probabilities_of(case), threshold=case["threshold"])
    assert np.array_equal(decided.to_numpy().reshape(case["n_bars"], -1).T, case["signal_position"])


@each_case
@each_ledger
def test_each_ledger_gives_the_worked_account(case, ledger):
    wanted, result = case["expected"][ledger], run(case, ledger)
    assert result.equity.to_numpy() == close_to(wanted["equity"])
    assert result.turnover.to_numpy() == close_to(wanted["turnover"])
    assert result.costs.to_numpy() == close_to(wanted["fee"])
    if wanted["units"] is None:
        assert result.units is None
    else:
        units = result.units.to_numpy().T
        assert units == close_to(wanted["units"])
    weights = result.weights.to_numpy().T
    assert weights == close_to(case["held_weight"])
    assert result.stats["Total return [%]"] == pytest.approx(100 * wanted["total_return"], rel=1e-12)
    fall = 100 * wanted["max_drawdown_incl_initial"]
    assert result.stats["Max drawdown [%]"] == pytest.approx(fall, rel=1e-12)


@each_case
def test_trades_are_the_worked_ones(case):
    result = run(case)
    trades, dates = result.trades, result.equity.index
    assert trades["ticker"].tolist() == [f"A{trade['asset']}" for trade in case["trades"]]
    for column in ("side", "open"):
        assert trades[column].tolist() == [trade[column] for trade in case["trades"]]
    for column in ("entry", "exit"):
        bars = [trade[f"{column}_bar"] for trade in case["trades"]]
        assert [date if date is not pd.NaT else None for date in trades[f"{column}_date"]] == [
            None if bar is None else dates[bar] for bar in bars
        ]
    for column in ("entry_price", "exit_price", "gross_return", "net_return"):
        wanted = np.array([trade[column] for trade in case["trades"]], dtype=float)
        assert trades[column].to_numpy() == pytest.approx(wanted, rel=1e-12, abs=1e-14, nan_ok=True)


@each_case
def test_rates_and_counts_are_the_worked_ones(case):
    result = run(case)
    assert result.stats["Trades"] == case["n_closed_trades"]
    assert result.stats["Open trades"] == sum(trade["open"] for trade in case["trades"])
    assert (result.weights.diff().fillna(result.weights) != 0).sum().sum() == case["n_position_changes"]
    assert result.stats["Trade win rate [%]"] == pytest.approx(100 * case["trade_win_rate"], rel=1e-12)
    assert result.stats["Bar hit rate [%]"] == pytest.approx(100 * case["bar_hit_rate_on_change"], rel=1e-12)
