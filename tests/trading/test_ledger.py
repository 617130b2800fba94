import numpy as np
import pandas as pd
import pytest
from cases import days, one_asset, panel, random_market
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.market.loading import load_prices
from workbench.trading.ledger import backtest

FILLS, LEDGERS = ("next_open", "next_close", "close"), ("on_change", "every_bar", "formula")
conventions = st.tuples(st.sampled_from(FILLS), st.sampled_from(LEDGERS))


def panel_case(seed, n_assets=3, holes=False):
    opens, closes, positions = random_market(seed, n_assets=n_assets)
    prices = panel(closes, opens)
    if holes:
        keep = np.random.default_rng(seed).random(len(prices)) > 0.1
        keep[: 2 * n_assets] = True
        attrs, prices = prices.attrs, prices[keep]
        prices.attrs = attrs
    wide = pd.DataFrame(positions, days(len(closes)), [f"A{i}" for i in range(n_assets)])
    return wide[wide.index.isin(prices.index.unique("date"))], prices


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), how=conventions, bar=st.integers(5, 35), holes=st.booleans())
def test_altering_future_prices_changes_nothing_earlier(seed, how, bar, holes):
    positions, prices = panel_case(seed, holes=holes)
    dates = prices.index.get_level_values("date")
    today = positions.index[bar]
    altered = prices.copy()
    noise = np.exp(np.random.default_rng(seed + 1).normal(0, 0.1, len(prices)))
    altered.loc[dates > today, ["open", "close"]] *= noise[dates > today, None]
    fill, ledger = how
    before, after = (backtest(positions, p, fill, ledger, cost_bps=20) for p in (prices, altered))
    for name in ("equity", "costs", "turnover", "weights", "positions", "units", "benchmark"):
        if getattr(before, name) is not None:
            assert getattr(before, name).loc[:today].equals(getattr(after, name).loc[:today]), name
    closed = [r.trades[r.trades["exit_date"] <= today].reset_index(drop=True) for r in (before, after)]
    assert closed[0].equals(closed[1])
    assert not before.equity.equals(after.equity) or not positions.iloc[bar - 1 :].any(axis=None)


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("ledger", LEDGERS)
@pytest.mark.parametrize("n_assets", [2, 3, 8])
@settings(max_examples=5)
@given(seed=st.integers(0, 10**6))
def test_a_bar_that_will_be_missing_changes_no_earlier_bit(fill, ledger, n_assets, seed):
    positions, prices = panel_case(seed, n_assets=n_assets)
    dates, names = prices.index.get_level_values("date"), prices.index.get_level_values("ticker")
    holed = prices[(dates != positions.index[30]) | (names != "A1")]
    holed.attrs = prices.attrs
    before, after = (backtest(positions, p, fill, ledger, cost_bps=20) for p in (prices, holed))
    until = positions.index[29]
    for name in ("equity", "costs", "turnover", "weights", "benchmark"):
        assert getattr(before, name).loc[:until].equals(getattr(after, name).loc[:until]), name


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), how=conventions)
def test_altering_future_positions_changes_nothing_earlier(seed, how):
    positions, prices = panel_case(seed)
    altered = positions.copy()
    altered.iloc[20:] = -altered.iloc[20:]
    before, after = (backtest(p, prices, *how, cost_bps=20) for p in (positions, altered))
    until = positions.index[19]
    assert before.equity[:until].equals(after.equity[:until])
    assert before.weights[:until].equals(after.weights[:until])


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), how=conventions)
def test_permuting_assets_permutes_results(seed, how):
    positions, prices = panel_case(seed)
    one = backtest(positions, prices, *how, cost_bps=20)
    other = backtest(positions[["A2", "A0", "A1"]], prices, *how, cost_bps=20)
    assert other.equity.to_numpy() == pytest.approx(one.equity.to_numpy(), rel=1e-12)
    by = ["ticker", "entry_date"]
    pd.testing.assert_frame_equal(
        other.trades.sort_values(by, ignore_index=True), one.trades.sort_values(by, ignore_index=True)
    )


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), how=conventions)
def test_results_scale_with_the_initial_capital(seed, how):
    positions, prices = panel_case(seed)
    one, two = (backtest(positions, prices, *how, cost_bps=9, initial_capital=c) for c in (1024, 2048))
    assert (2 * one.equity).equals(two.equity)
    assert (2 * one.costs).equals(two.costs)
    assert one.returns.equals(two.returns)


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), how=conventions)
def test_returns_compound_to_the_equity(seed, how):
    positions, prices = panel_case(seed)
    result = backtest(positions, prices, *how, cost_bps=9)
    assert 100_000 * (1 + result.returns).prod() == pytest.approx(result.equity.iloc[-1], rel=1e-12)
    assert result.returns.index.equals(result.equity.index[1:])


@pytest.mark.parametrize("fill", FILLS)
def test_buy_and_hold_is_its_own_benchmark(fill):
    positions, prices = panel_case(4)
    positions.loc[:] = 1.0
    result = backtest(positions, prices, fill, cost_bps=25)
    assert result.equity.equals(result.benchmark.rename("equity"))
    assert (result.benchmark_stats == result.stats[result.benchmark_stats.index]).all()
    assert result.costs.sum() == pytest.approx(250)


def test_units_are_bought_with_the_initial_capital():
    prices = one_asset([100, 110, 125])
    result = backtest(pd.Series([1.0, 1.0], prices.index[:2]), prices, initial_capital=50_000)
    assert result.units is not None
    assert result.units["AAPL"].tolist() == [0, 500, 500]
    assert result.equity.tolist() == pytest.approx([50_000, 55_000, 62_500])


def test_one_asset_in_a_panel_is_that_asset_alone():
    positions, prices = panel_case(7)
    alone = prices.xs("A1", level="ticker")
    alone.attrs = prices.attrs
    one = backtest(positions["A1"], alone, cost_bps=5)
    two = backtest(positions[["A1"]], prices, cost_bps=5)
    assert one.equity.equals(two.equity)


def test_formula_without_costs_is_position_times_return():
    _, closes, positions = random_market(5, n_assets=1)
    result = backtest(pd.Series(positions[:, 0], days(40)), one_asset(closes[:, 0]), "close", "formula")
    wanted = positions[:-1, 0] * (closes[1:, 0] / closes[:-1, 0] - 1)
    assert result.returns.to_numpy() == pytest.approx(wanted, rel=1e-9, abs=1e-13)


def test_liquidation_closes_everything_at_the_last_fill():
    prices = one_asset([100, 110, 120, 130], [100, 105, 115, 125])
    signal = pd.Series([1.0, 1.0, 1.0], prices.index[:3])
    left = backtest(signal, prices, cost_bps=10)
    closed = backtest(signal, prices, cost_bps=10, liquidate=True)
    assert left.stats["Open trades"] == 1
    assert left.equity.iloc[-1] == pytest.approx(100_000 * (130 / 105 - 0.001))
    assert closed.stats["Open trades"] == 0
    assert closed.trades["exit_price"].tolist() == [125]
    assert closed.equity.iloc[-1] == pytest.approx(100_000 * (125 / 105 - 0.001 - 0.001 * 125 / 105))
    assert closed.benchmark.iloc[-1] == closed.equity.iloc[-1]


def test_exposure_and_fractions_scale_the_weights():
    positions, prices = panel_case(2)
    result = backtest(positions * 0.5, prices, exposure=1.5)
    assert result.weights.abs().max().tolist() == [0.25, 0.25, 0.25]


def test_a_decision_that_found_no_fill_is_told():
    prices = one_asset([100, 101, 102])
    result = backtest(pd.Series([0.0, 0.0, 1.0], prices.index), prices)
    assert result.unfilled == ("AAPL",)
    assert "not filled yet: AAPL" in result.report()
    assert backtest(pd.Series([0.0, 1.0], prices.index[:2]), prices).unfilled == ()


def test_a_run_of_one_bar_has_an_account_and_reasons():
    prices = one_asset([100])
    result = backtest(pd.Series([1.0], prices.index), prices)
    assert result.equity.tolist() == [100_000]
    assert result.returns.empty
    assert np.isnan(result.stats["Sharpe"])
    assert "Sharpe" in result.reasons


def test_a_flat_run_says_why_its_figures_are_undefined():
    prices = one_asset(np.linspace(100, 130, 40))
    result = backtest(pd.Series(0.0, prices.index), prices)
    assert (result.equity == 100_000).all()
    undefined = set(result.stats.index[result.stats.isna()])
    assert undefined == set(result.reasons) >= {"Sharpe", "Sortino", "Trade win rate [%]", "Bar hit rate [%]"}
    assert result.stats["Total return [%]"] == 0


def test_ruin_is_dated_warned_of_and_ends_the_figures():
    prices = one_asset([100, 120, 210, 100, 100, 100])
    signal = pd.Series(-1.0, prices.index)
    with pytest.warns(UserWarning, match="ruined on 2020-01-03"):
        result = backtest(signal, prices, fill="close")
    assert result.ruined == prices.index[2]
    assert result.equity.tolist() == [100_000, pytest.approx(80_000), 0, 0, 0, 0]
    assert result.returns.tolist() == [pytest.approx(-0.2), -1, 0, 0, 0]
    assert (
        result.stats["Total return [%]"]
        == result.stats["CAGR [%]"]
        == result.stats["Max drawdown [%]"]
        == -100
    )
    assert result.stats["Volatility (ann.) [%]"] == pytest.approx(100 * 0.8 / np.sqrt(2) * np.sqrt(252))
    assert "Ruined on 2020-01-03" in result.report()


def test_counts_and_costs_by_hand():
    # Held from bar 1's close to bar 3's, two of five bars; 1 % of 100,000 and of 110,000.
    prices = one_asset([100, 100, 105, 110, 110])
    result = backtest(pd.Series([1.0, 1, 0, 0], prices.index[:4]), prices, "next_close", cost_bps=100)
    stats = result.stats
    assert stats["Exposure [%]"] == pytest.approx(40)
    assert stats["Costs paid"] == pytest.approx(1_000 + 0.01 * 110_000)
    assert stats["Turnover"] == pytest.approx(1 + 110_000 / 109_000)
    assert stats["Final equity"] == pytest.approx(109_000 - 1_100)
    assert (stats["Trades"], stats["Open trades"]) == (1, 0)
    assert stats["Bar hit rate [%]"] == pytest.approx(200 / 3)  # bar 1 pays its fee; 2 and 3 rise by more


@pytest.mark.parametrize("fill", ["close", "next_open", "next_close"])
def test_a_position_held_one_bar_in_five_is_an_exposure_of_a_fifth(fill):
    prices = one_asset(np.linspace(100, 120, 21))
    decided = pd.Series([1.0, 0, 0, 0, 0] * 4, prices.index[:20])
    stats = backtest(decided, prices, fill).stats
    assert stats["Exposure [%]"] == pytest.approx(20, abs=1)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"cost_bps": -1}, ValueError, "cost_bps must be in"),
        ({"cost_bps": 10_000}, ValueError, "cost_bps must be in"),
        ({"initial_capital": 0}, ValueError, "initial_capital must be a positive"),
        ({"exposure": np.nan}, ValueError, "exposure must be a positive"),
        ({"periods_per_year": -252}, ValueError, "periods_per_year must be a positive"),
        ({"risk_free": -1}, ValueError, "risk_free must be an annual rate"),
        ({"initial_capitol": 5}, TypeError, "no option 'initial_capitol'. Did you mean 'initial_capital'"),
        ({"leverage": 5}, TypeError, "Its options are periods_per_year, initial_capital"),
        ({"ledger": "daily"}, ValueError, "ledger must be one of"),
        ({"fill": "open"}, ValueError, "fill must be one of"),
    ],
)
def test_wrong_options_are_refused_with_the_right_ones(options, error, message):
    prices = one_asset([100, 101])
    with pytest.raises(error, match=message):
        backtest(pd.Series([1.0], prices.index[:1]), prices, **options)


def test_an_unknown_year_is_asked_for_and_a_given_one_is_told():
    prices = one_asset([100, 101, 102])
    prices.attrs = {}
    signal = pd.Series([1.0, 1.0], prices.index[:2])
    with pytest.raises(ValueError, match="Pass periods_per_year"):
        backtest(signal, prices)
    result = backtest(signal, prices, periods_per_year=100)
    assert result.periods_per_year == 100
    assert "A year: 100 bars (as given)" in result.report()


def test_apple_bought_and_held_has_its_known_figures():
    prices = load_prices("AAPL")
    stats = backtest(pd.Series(1.0, prices.index), prices, fill="close").stats
    known = {
        "Sharpe": 0.678402,
        "Sortino": 0.954972,
        "CAGR [%]": 22.1540,
        "Max drawdown [%]": -81.8018,
        "VaR 95 [% a bar]": -4.159,
        "CVaR 95 [% a bar]": -6.240,
    }
    for name, value in known.items():
        assert stats[name] == pytest.approx(value, abs=6e-7 if name in ("Sharpe", "Sortino") else 6e-4)
    hurdle = backtest(pd.Series(1.0, prices.index), prices, fill="close", risk_free=0.02).stats
    assert hurdle["Sharpe"] == pytest.approx(0.634890, abs=6e-7)
