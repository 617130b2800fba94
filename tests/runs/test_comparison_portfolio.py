import numpy as np
import pandas as pd
import pytest

from workbench.market.loading import load_panel
from workbench.runs.comparison.portfolio import long_short, money, trade

TICKERS = ["AAPL", "BAC", "CVX", "GE", "HD", "JNJ", "JPM", "KO"]


@pytest.fixture(scope="module")
def prices() -> pd.DataFrame:
    return load_panel(TICKERS, "sample20", "2020", "2020")


def panel(values: np.ndarray, prices: pd.DataFrame) -> pd.Series:
    dates = prices.index.unique("date")[: len(values)]
    return pd.Series(values.ravel(), pd.MultiIndex.from_product([dates, TICKERS[: values.shape[1]]],
                     names=["date", "ticker"]))  # fmt: skip


def test_three_days_worked_by_hand(prices: pd.DataFrame):
    forecast = panel(np.array([[1.0, 2, 3, 4], [4.0, 3, 2, 1], [0.0, 9, np.nan, -1]]), prices)
    # each day buys one and sells one; half of a position is of the day, half of the day before
    wanted = [[-0.5, 0, 0, 0.5], [0, 0, 0, 0], [0.5, 0.5, 0, -1]]
    assert long_short(forecast, horizon=2).to_numpy().tolist() == wanted


def test_a_quarter_is_bought_and_a_quarter_sold(prices: pd.DataFrame):
    values = np.random.default_rng(0).normal(size=(30, 8))
    chosen = long_short(panel(values, prices), horizon=1).to_numpy()
    assert (chosen == 1).sum(axis=1).tolist() == (chosen == -1).sum(axis=1).tolist() == [2] * 30
    for day in range(30):
        assert set(np.flatnonzero(chosen[day] == 1)) == set(np.argsort(values[day])[-2:])


def test_forecasts_all_alike_choose_nothing(prices: pd.DataFrame):
    assert not long_short(panel(np.full((6, 8), 0.3), prices), horizon=3).to_numpy().any()


def test_later_forecasts_change_no_earlier_position(prices: pd.DataFrame):
    values = np.random.default_rng(1).normal(size=(40, 8))
    before = long_short(panel(values, prices), horizon=5)
    values[25:] = -values[25:]
    after = long_short(panel(values, prices), horizon=5)
    assert np.array_equal(before.to_numpy()[:25], after.to_numpy()[:25])
    assert not np.array_equal(before.to_numpy()[25:], after.to_numpy()[25:])


def test_who_knows_the_future_earns_and_who_knows_it_the_wrong_way_round_loses(prices: pd.DataFrame):
    closes = prices["close"].unstack("ticker")  # noqa: PD010
    known = (closes.shift(-6) / closes.shift(-1) - 1).iloc[:200]  # from the fill on
    right = panel(known.to_numpy(), prices)
    good, _ = money(*(trade(long_short(right, 5), prices, cost) for cost in (5.0, 0.0)))
    bad, _ = money(*(trade(long_short(-right, 5), prices, cost) for cost in (5.0, 0.0)))
    assert good["sharpe"] > 5
    assert bad["sharpe"] < -5
    assert good["sharpe_before_costs"] > good["sharpe"]


def test_a_full_book_is_put_up_once(prices: pd.DataFrame):
    values = np.random.default_rng(2).normal(size=(30, 8))
    book = trade(long_short(panel(values, prices), horizon=1), prices)
    assert book.weights.abs().sum(axis=1).iloc[1:-1].to_numpy() == pytest.approx(1.0)


def test_who_never_trades_keeps_the_money_and_has_no_sharpe_ratio(prices: pd.DataFrame):
    book = trade(long_short(panel(np.zeros((30, 8)), prices), horizon=5), prices)
    figures, reasons = money(book, book)
    assert (book.equity == book.equity.iloc[0]).all()
    assert np.isnan(figures["sharpe"])
    assert reasons["sharpe"] == reasons["sharpe_before_costs"] == "the returns do not vary"


def test_equal_forecasts_share_the_places_they_take(prices: pd.DataFrame):
    values = np.zeros((3, 8))
    values[:, 7] = 1.0  # one stands out, and seven are alike: two places are sold, one more is bought
    chosen = long_short(panel(values, prices), horizon=1).to_numpy()
    assert chosen[:, 7].tolist() == [1.0] * 3
    assert chosen[:, :7] == pytest.approx(np.full((3, 7), 1 / 7 - 2 / 7))
    assert chosen.sum(axis=1) == pytest.approx(np.zeros(3))


def test_later_forecasts_change_no_earlier_weight(prices: pd.DataFrame):
    values = np.random.default_rng(3).normal(size=(40, 8))
    whole = trade(long_short(panel(values, prices), horizon=5), prices)
    part = trade(long_short(panel(values[:12], prices), horizon=5), prices)
    assert np.array_equal(whole.weights.to_numpy()[:10], part.weights.to_numpy()[:10])
