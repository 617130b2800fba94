"""Equity, drawdown, positions and attention as drawn, against the result."""

from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench import plots
from workbench.plots.money import drawdown_of

DATES = pd.bdate_range("2011-03-01", periods=6, name="date")


def result_of(equity, positions=None, dates=None, **more):
    """What `plots.backtest` reads of a result."""
    dates = pd.bdate_range("2011-03-01", periods=len(equity), name="date") if dates is None else dates
    equity = pd.Series(equity, index=dates, dtype=float)
    given = {
        "equity": equity,
        "benchmark": equity * 0 + equity.iloc[0],
        "positions": pd.DataFrame({"AAPL": np.ones(len(dates))}, index=dates)
        if positions is None
        else positions,
        "stats": pd.Series({"Total return [%]": 12.345, "Sharpe": np.nan, "Max drawdown [%]": -20.0}),
        "fill": "next_open",
        "ledger": "on_change",
        "cost_bps": 5,
        "conventions": SimpleNamespace(initial_capital=100.0),
        "provenance": {"ticker": "AAPL", "currency": "USD"},
    }
    return SimpleNamespace(**{**given, **more})


def explained(scores, dates, null=None):
    return SimpleNamespace(scores=np.asarray(scores, dtype=float), dates=dates, null=null)


def test_both_curves_are_drawn_as_they_are():
    result = result_of([100, 110, 99, 120, 130, 90], benchmark=pd.Series(np.arange(6) + 100.0, index=DATES))
    strategy, benchmark = plots.backtest(result)["equity"].lines
    np.testing.assert_array_equal(strategy.get_ydata(), result.equity)
    np.testing.assert_array_equal(benchmark.get_ydata(), result.benchmark)
    assert [line.get_label() for line in (strategy, benchmark)] == ["strategy", "buy and hold"]


def test_drawdown_is_measured_from_the_peak_and_the_first_peak_is_the_initial_capital():
    fall = drawdown_of(pd.Series([90.0, 120.0, 60.0, 150.0]), initial=100)
    np.testing.assert_allclose(fall, [-10, 0, -50, 0])


@given(st.lists(st.floats(1, 1e6), min_size=1, max_size=30), st.floats(1, 1e6))
def test_drawdown_agrees_with_a_plain_loop(equity, initial):
    peak, expected = initial, []
    for value in equity:
        peak = max(peak, value)
        expected.append(100 * (value - peak) / peak)
    np.testing.assert_allclose(drawdown_of(pd.Series(equity), initial), expected, atol=1e-9)


def test_the_drawdown_panel_shows_the_drawdown_in_percent():
    ax = plots.backtest(result_of([90.0, 120.0, 60.0, 150.0]))["drawdown"]
    low = ax.collections[0].get_datalim(ax.transData).y0
    assert low == pytest.approx(-50)
    assert ax.get_ylabel() == "Drawdown\n[%]"


def test_positions_are_steps_long_above_and_short_beneath():
    positions = pd.DataFrame({"AAPL": [1.0, 1, -1, 0, 0, 0.5]}, index=DATES)
    long, short = plots.backtest(result_of(range(100, 106), positions))["positions"].patches[:2]
    np.testing.assert_array_equal(long.get_data()[0], [1, 1, 0, 0, 0, 0.5])
    np.testing.assert_array_equal(short.get_data()[0], [0, 0, -1, 0, 0, 0])


def test_a_position_stands_until_the_next_decision():
    positions = pd.Series([1.0, -1.0], index=DATES[[0, 3]])
    long, short = plots.backtest(result_of(range(100, 106), positions))["positions"].patches[:2]
    np.testing.assert_array_equal(long.get_data()[0], [1, 1, 1, 0, 0, 0])
    np.testing.assert_array_equal(short.get_data()[0], [0, 0, 0, -1, -1, -1])


def test_several_assets_are_shares_of_assets_long_and_short():
    positions = pd.DataFrame({"A": [1.0] * 6, "B": [-1.0] * 6, "C": [-1.0] * 6, "D": [0.0] * 6}, index=DATES)
    ax = plots.backtest(result_of(range(100, 106), positions))["positions"]
    np.testing.assert_array_equal(ax.patches[0].get_data()[0], [0.25] * 6)
    np.testing.assert_array_equal(ax.patches[1].get_data()[0], [-0.5] * 6)
    assert ax.get_ylabel() == "Share of\nassets"


def test_flat_throughout_is_said():
    positions = pd.DataFrame({"AAPL": np.zeros(6)}, index=DATES)
    ax = plots.backtest(result_of([100.0] * 6, positions))["positions"]
    assert [text.get_text() for text in ax.texts] == ["flat throughout"]


def test_the_title_states_figures_fill_ledger_and_costs():
    title = plots.backtest(result_of([100, 110, 99]))["equity"].get_title(loc="left").replace("\n", " ")
    assert "AAPL: return 12.35 %, Sharpe undefined, drawdown −20.00 %" in title
    assert "decided at the close, filled at the next open" in title
    assert "units held until the position changes" in title
    assert "costs 5 bp a side" in title


def test_filling_at_the_close_decided_on_is_called_impossible():
    title = (
        plots.backtest(result_of([100, 110], fill="close"))["equity"].get_title(loc="left").replace("\n", " ")
    )
    assert "which nobody can trade" in title


def test_made_up_prices_are_named_in_the_title():
    result = result_of([100, 110], provenance={"ticker": "LAG5", "synthetic": True})
    assert plots.backtest(result)["equity"].get_title(loc="left").startswith("SYNTHETIC · LAG5")


@pytest.mark.parametrize(("last", "scale"), [(250, "linear"), (350, "log")])
def test_equity_over_a_factor_of_three_is_logarithmic_and_says_so(last, scale):
    ax = plots.backtest(result_of([100, 200, last]))["equity"]
    assert ax.get_yscale() == scale
    assert ax.get_ylabel() == ("Equity [USD, log]" if scale == "log" else "Equity [USD]")


def test_a_ruined_account_stays_on_a_linear_scale():
    assert plots.backtest(result_of([100, 10, 0]))["equity"].get_yscale() == "linear"


def test_the_attention_strip_is_the_recent_quarters_share_at_its_decisions():
    # four bars a window: the quarter is the last one
    scores = [[1, 1, 1, 1], [0, 0, 1, 3], [-2, 0, 0, 2]]
    null = np.array([0.1, 0.2, 0.3, 0.4])
    panels = plots.backtest(result_of(range(100, 106)), explained(scores, DATES[[1, 2, 5]], null))
    share, dashed = panels["attention"].lines
    np.testing.assert_array_equal(share.get_xdata(), [1, 2, 5])
    np.testing.assert_allclose(share.get_ydata(), [25, 75, 50])
    np.testing.assert_allclose(dashed.get_ydata(), [40, 40, 40])
    assert panels["attention"].get_ylabel() == "Recent\nshare [%]"


def test_assets_of_a_date_are_averaged_and_windows_without_attribution_left_out():
    scores = [[0, 0, 0, 1], [1, 1, 1, 1], [0, 0, 0, 0]]
    panels = plots.backtest(result_of(range(100, 106)), explained(scores, DATES[[1, 1, 3]]))
    (share,) = panels["attention"].lines
    np.testing.assert_array_equal(share.get_xdata(), [1])
    np.testing.assert_allclose(share.get_ydata(), [62.5])


def test_scores_by_feature_are_added_up_by_size():
    scores = np.zeros((1, 4, 2))
    scores[0, 3] = [1, -1]
    scores[0, 0] = [2, 0]
    (share,) = plots.backtest(result_of(range(100, 106)), explained(scores, DATES[:1]))["attention"].lines
    np.testing.assert_allclose(share.get_ydata(), [50])


def test_an_explanation_of_other_dates_is_refused():
    with pytest.raises(ValueError, match="explanation must cover decisions of the backtest, 2011-03-01"):
        plots.backtest(result_of([100, 110]), explained([[1.0]], pd.bdate_range("2001", periods=1)))


def test_an_empty_result_is_refused():
    with pytest.raises(ValueError, match="at least one bar"):
        plots.backtest(SimpleNamespace(**{**vars(result_of([100])), "equity": pd.Series(dtype=float)}))


def test_the_given_axes_become_the_equity_panel():
    _, (first, _) = plt.subplots(2, 1, layout="constrained")
    panels = plots.backtest(result_of([100, 110, 99]), ax=first)
    assert panels["equity"] is first
    assert list(panels) == ["equity", "drawdown", "positions"]


@pytest.mark.parametrize(("count", "background"), [(1, "light"), (5, "dark"), (800, "light")])
def test_texts_can_be_read(readable, count, background):
    equity = 1e5 * np.exp(np.cumsum(np.random.default_rng(1).normal(0.002, 0.02, size=count)))
    dates = pd.bdate_range("2009-01-01", periods=count, name="date")
    result = result_of(
        equity, provenance={"ticker": "1000PEPEUSDT-LINEAR-PERPETUAL-A-LONG-NAME", "synthetic": True}
    )
    result = SimpleNamespace(**{**vars(result), **vars(result_of(equity, dates=dates))})
    with plots.theme(background):
        readable(plots.backtest(result, explained(np.ones((count, 8)), dates, np.ones(8)))["equity"].figure)


def test_an_explanation_that_is_not_by_bar_is_refused():
    why = explained(np.ones((6, 3)), DATES)
    why.axes = ("module",)
    with pytest.raises(ValueError, match=r"attention beneath a backtest is by bar\. Got scores by module"):
        plots.backtest(result_of([100, 110, 99, 120, 130, 90]), why)
