import numpy as np
import pandas as pd
import pytest
from cases import days, one_asset, panel, random_market

from workbench.trading.ledger import backtest
from workbench.trading.report import date_text, figure, names_text


def result_of(prices=None, **options):
    prices = one_asset(100 + np.sin(np.arange(40.0)) * 5) if prices is None else prices
    signal = pd.Series(np.where(np.arange(len(prices)) % 7 < 4, 1.0, 0.0), prices.index)
    return backtest(signal, prices, **options)


def test_the_report_states_every_convention():
    text = str(result_of(cost_bps=7.5, exposure=0.5, risk_free=0.02, liquidate=True))
    for said in (
        "Backtest of AAPL, 2020-01-01 to 2020-02-25, 40 bars",
        "Fill: next_open, filled at the open of the bar after the decision",
        "Ledger: on_change, units held until a position changes",
        "Costs: 7.5 bp a side; initial capital 100,000, exposure 0.5; liquidated at the end",
        "A year: 252 bars (daily bars, weekdays); risk-free rate 2.00% a year, divided by 252 for a bar",
        "Prices: sample, adjusted: splits",
        "Buy and hold",
        "Max drawdown [%]",
    ):
        assert said in text
    assert "Same-bar fill" not in text


@pytest.mark.parametrize(
    ("options", "note"),
    [
        ({"fill": "close"}, "Same-bar fill"),
        ({"ledger": "formula"}, "No broker holds a constant exposure for free"),
        ({"exposure": 2}, "Exposure above 1 borrows"),
    ],
)
def test_the_report_warns_of_what_flatters(options, note):
    assert note in result_of(**options).report()


def test_the_report_says_that_prices_are_synthetic():
    prices = one_asset(np.linspace(100, 110, 30), source="synthetic", synthetic=True)
    assert "(synthetic prices)" in result_of(prices).report().splitlines()[0]


def test_the_report_names_what_is_undefined_and_why():
    text = result_of(one_asset(np.linspace(100, 110, 30))).report()
    assert "! Sortino is undefined: no bar returned less than the risk-free rate." in text


def test_a_short_book_is_told_what_it_does_not_pay():
    prices = one_asset(np.linspace(110, 100, 30))
    short, long = (backtest(pd.Series(side, prices.index), prices).report() for side in (-1.0, 1.0))
    assert "no borrowing fee" in short
    assert "Ruin is judged at fills and closes" in short
    assert "Ruin is judged" not in long


def test_the_notebook_sees_the_same_figures_as_a_table():
    result = result_of()
    html = result._repr_html_()
    assert "<table" in html
    assert figure("Sharpe", result.stats["Sharpe"]) in html
    assert repr(result) == result.report()


def test_markup_in_a_ticker_is_text():
    prices = one_asset(np.linspace(110, 100, 30), ticker="<b>X</b>")
    assert "<b>X</b>" not in result_of(prices)._repr_html_()


def test_conventions_are_attributes_of_the_result():
    result = result_of(fill="close", ledger="every_bar", cost_bps=3, periods_per_year=250)
    assert (result.fill, result.ledger, result.cost_bps, result.periods_per_year) == (
        "close",
        "every_bar",
        3,
        250,
    )


def test_many_assets_are_counted_in_the_title():
    opens, closes, positions = random_market(0, n_assets=6)
    wide = pd.DataFrame(positions, days(40), [f"A{i}" for i in range(6)])
    title = backtest(wide, panel(closes, opens)).report().splitlines()[0]
    assert title.startswith("Backtest of A0, A1, A2, A3, … (6 assets), 2020-01-01")


def test_figures_print_with_their_kind():
    assert figure("Sharpe", 1.234) == "1.23"
    assert figure("Trades", 12.0) == "12"
    assert figure("Final equity", 1234567.8) == "1,234,568"
    assert figure("Sharpe", float("nan")) == "–"


def test_dates_and_names_print_shortly():
    assert date_text(pd.Timestamp("2024-01-02")) == "2024-01-02"
    assert date_text(pd.Timestamp("2024-01-02 00:00", tz="UTC")) == "2024-01-02 00:00 UTC"
    assert names_text(("A", "B")) == "A, B"
