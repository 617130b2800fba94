import math

import empyrical
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.trading import metrics
from workbench.trading.metrics import Undefined

FOUR = np.array([0.10, -0.05, 0.02, -0.01])


STEADY = 1.01 ** np.arange(1, 50) / 1.01 ** np.arange(49) - 1  # 1 % a bar, but for rounding


def returns_of(seed, n_bars=300):
    return np.random.default_rng(seed).standard_t(4, n_bars) * 0.01 + 0.0005


def test_four_returns_by_hand():
    # mean .015; deviations .085 −.065 .005 −.025: squares .0121 in all, /3 → .0635085; downside squares
    # .0025 + .0001, /4 → .0254951; growth 1.1·.95·1.02·.99 = 1.0552410.
    assert metrics.sharpe_ratio(FOUR, 4) == pytest.approx(0.015 / math.sqrt(0.0121 / 3) * 2, rel=1e-13)
    assert metrics.sortino_ratio(FOUR, 4) == pytest.approx(0.015 / math.sqrt(0.0026 / 4) * 2, rel=1e-13)
    assert metrics.volatility(FOUR, 4) == pytest.approx(math.sqrt(0.0121 / 3) * 2, rel=1e-13)
    assert metrics.cagr(FOUR, 4) == pytest.approx(1.1 * 0.95 * 1.02 * 0.99 - 1, rel=1e-13)
    assert metrics.cagr(FOUR, 8) == pytest.approx((1.1 * 0.95 * 1.02 * 0.99) ** 2 - 1, rel=1e-13)
    curve = np.cumprod(np.append(1.0, 1 + FOUR))
    assert metrics.max_drawdown(curve) == pytest.approx(-0.05, rel=1e-13)
    assert metrics.total_return(curve) == pytest.approx(1.1 * 0.95 * 1.02 * 0.99 - 1, rel=1e-13)


def test_the_risk_free_rate_is_divided_among_the_bars():
    # 4 % a year over 4 bars is 1 % a bar.
    assert metrics.sharpe_ratio(FOUR, 4, 0.04) == pytest.approx(
        metrics.sharpe_ratio(FOUR - 0.01, 4), rel=1e-13
    )
    assert metrics.sortino_ratio(FOUR, 4, 0.04) == pytest.approx(
        metrics.sortino_ratio(FOUR - 0.01, 4), rel=1e-13
    )


def test_the_deepest_fall_runs_from_its_own_peak_through_a_recovery():
    assert metrics.max_drawdown(np.array([1.0, 1.2, 0.9, 1.0, 0.84, 1.3, 1.0])) == pytest.approx(-0.3)


def test_a_loss_on_the_first_bar_is_a_drawdown_from_the_initial_capital():
    assert metrics.max_drawdown(np.array([1.0, 0.8, 0.9])) == pytest.approx(-0.2)


@given(seed=st.integers(0, 10**6), year=st.sampled_from([12, 252, 365, 8760]))
def test_figures_agree_with_empyrical(seed, year):
    returns = returns_of(seed)
    curve = np.cumprod(np.append(1.0, 1 + returns))
    rate = 0.03
    pairs = [
        (
            metrics.sharpe_ratio(returns, year, rate),
            empyrical.sharpe_ratio(returns, rate / year, annualization=year),
        ),
        (
            metrics.sortino_ratio(returns, year, rate),
            empyrical.sortino_ratio(returns, rate / year, annualization=year),
        ),
        (metrics.cagr(returns, year), empyrical.cagr(returns, annualization=year)),
        (metrics.volatility(returns, year), empyrical.annual_volatility(returns, annualization=year)),
        (metrics.calmar_ratio(returns, year), empyrical.calmar_ratio(returns, annualization=year)),
        (metrics.max_drawdown(curve), empyrical.max_drawdown(returns)),
        (metrics.value_at_risk(returns), empyrical.value_at_risk(returns)),
        (metrics.expected_shortfall(returns), empyrical.conditional_value_at_risk(returns)),
        (metrics.total_return(curve), empyrical.cum_returns_final(returns)),
    ]
    for ours, theirs in pairs:
        assert ours == pytest.approx(theirs, rel=1e-10)


@given(seed=st.integers(0, 10**6), factor=st.floats(0.1, 10))
def test_sharpe_and_sortino_do_not_depend_on_leverage_nor_on_order(seed, factor):
    returns = returns_of(seed, 60)
    for ratio in (metrics.sharpe_ratio, metrics.sortino_ratio):
        assert ratio(factor * returns, 252) == pytest.approx(ratio(returns, 252), rel=1e-9)
        assert ratio(returns[::-1].copy(), 252) == pytest.approx(ratio(returns, 252), rel=1e-9)


@given(seed=st.integers(0, 10**6), n_bars=st.integers(20, 200))
def test_the_tail_holds_at_least_five_percent_and_is_worse_than_its_edge(seed, n_bars):
    returns = returns_of(seed, n_bars)
    assert metrics.expected_shortfall(returns) <= metrics.value_at_risk(returns)
    assert (returns <= metrics.value_at_risk(returns)).mean() >= 0.05 - 1 / n_bars


def test_an_account_that_lost_everything_grew_by_minus_one():
    assert metrics.cagr(np.array([0.1, -1.0]), 252) == -1


@pytest.mark.parametrize(
    ("figure", "why"),
    [
        (lambda: metrics.sharpe_ratio(np.full(50, 0.001), 252), "do not vary"),
        (lambda: metrics.sharpe_ratio(np.zeros(50), 252), "do not vary"),
        (lambda: metrics.sharpe_ratio(STEADY, 252), "do not vary"),
        (lambda: metrics.sharpe_ratio(np.array([0.1]), 252), "at least 2 bars"),
        (lambda: metrics.sortino_ratio(np.array([0.1, 0.2, 0.0]), 252), "no bar returned less"),
        (lambda: metrics.sortino_ratio(np.full(9, 0.02 / 252), 252, 0.02), "no bar returned less"),
        (lambda: metrics.sortino_ratio(np.zeros(50), 252, 0.02), "do not vary"),
        (lambda: metrics.calmar_ratio(np.array([0.1, 0.2]), 252), "no drawdown"),
        (lambda: metrics.value_at_risk(np.zeros(19)), "at least 20 bars of returns, has 19"),
        (lambda: metrics.expected_shortfall(np.zeros(19)), "at least 20 bars"),
        (lambda: metrics.volatility(np.zeros(1), 252), "at least 2"),
        (lambda: metrics.cagr(np.zeros(0), 252), "at least 1"),
        (lambda: metrics.cagr(np.array([1.0]), 8760), "too few to annualise"),
        (lambda: metrics.bar_hit_rate(np.ones(3), np.zeros(2, dtype=bool)), "never in the market"),
        (lambda: metrics.trade_win_rate(pd.DataFrame({"open": [True], "net_return": [np.nan]})), "no trade"),
    ],
)
def test_the_undefined_says_why(figure, why):
    with pytest.raises(Undefined, match=why):
        figure()


def test_steady_returns_vary_by_rounding_alone():
    assert 0 < STEADY.std() < 1e-14


def test_measured_collects_values_and_reasons():
    values, reasons = metrics.measured(
        {"a": lambda: 1.5, "b": lambda: metrics.sharpe_ratio(np.zeros(5), 252)}
    )
    assert values["a"] == 1.5
    assert math.isnan(values["b"])
    assert reasons == {"b": "the returns do not vary"}


def test_the_hit_rate_counts_bars_in_the_market_and_no_rounding():
    equity = np.array([1.0, 1.0, 1.1, 1.1 * (1 + 1e-15), 1.0, 1.2])
    in_market = np.array([False, True, True, True, True])
    assert metrics.bar_hit_rate(equity, in_market) == 0.5


def test_the_win_rate_counts_closed_trades_with_a_net_gain():
    trades = pd.DataFrame({"open": [False, False, False, True], "net_return": [0.1, -0.1, 0.0, np.nan]})
    assert metrics.trade_win_rate(trades) == pytest.approx(1 / 3)
