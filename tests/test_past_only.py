"""From prices to equity, nothing before a bar changes when that bar and all later ones do."""

import numpy as np
import pandas as pd
import pytest

from workbench.explainers.explanation import explain
from workbench.features.indicators import make_features
from workbench.features.labels import label_moves
from workbench.features.windows import Windows
from workbench.gates.daily import gates_by_date
from workbench.market.frame import COLUMNS
from workbench.market.loading import load_panel, load_prices
from workbench.models.registry import build_model
from workbench.trading.ledger import backtest
from workbench.trading.signals import positions
from workbench.training.fitting import fit
from workbench.training.prediction import predict

LOOKBACK = 12


def loaded(panel: bool) -> pd.DataFrame:
    span = {"start": "2009-06-01", "end": "2012-12-31"}
    return load_panel(["AAPL", "IBM"], **span) if panel else load_prices("AAPL", **span)


def altered(prices: pd.DataFrame, first: pd.Timestamp) -> pd.DataFrame:
    """The same bars before `first`, and wilder ones from it on."""
    changed = prices.copy()
    later = changed.index.get_level_values("date") >= first
    random = np.random.default_rng(0)
    changed.loc[later, list(COLUMNS)] *= random.uniform(0.5, 2, (int(later.sum()), 1))
    return changed


def windows_of(prices: pd.DataFrame) -> Windows:
    return Windows.of(make_features(prices), label_moves(prices, scale="volatility"), LOOKBACK)


@pytest.fixture(scope="module", params=[False, True], ids=["one stock", "panel"])
def market(request):
    """Prices, and a model trained on their first years."""
    prices = loaded(request.param)
    train, valid, _ = windows_of(prices).split("2011", "2012")
    model = build_model("transformer", train, d_model=16, n_heads=2, n_layers=2, d_ff=32, dropout=0.0)
    fit(model, train, valid, epochs=2, progress=False)
    return prices, model


@pytest.mark.parametrize("day", ["2012-02-01", "2012-07-16", "2012-12-31"])
def test_no_station_hears_of_a_later_bar(market, day):
    prices, model = market
    first = pd.Timestamp(day)
    before, after = windows_of(prices), windows_of(altered(prices, first))
    past, past_too = before[before.dates < first], after[after.dates < first]
    assert past.dates.equals(past_too.dates)
    assert past.batch(range(len(past))).equal(past_too.batch(range(len(past))))
    known = np.asarray(past.label_dates < first)
    assert known.any()
    assert past.y[known].equal(past_too.y[known])

    # All windows, those of the altered bars too, so that a batch cannot carry one into another unnoticed.
    answers, answers_too = (predict(model, windows[windows.dates >= "2012"]) for windows in (before, after))
    early = answers.index.get_level_values("date") < first
    pd.testing.assert_frame_equal(answers[early], answers_too[early], check_exact=True)
    assert early.all() or not answers[~early].equals(answers_too[~early])

    why, why_too = (explain(model, windows[windows.dates >= "2012"]) for windows in (before, after))
    np.testing.assert_array_equal(why.scores[early], why_too.scores[early])

    held, held_too = (positions(frame, threshold=0.35) for frame in (answers, answers_too))
    assert held[held.index < first].equals(held_too[held_too.index < first])
    money, money_too = (
        backtest(one, bars, cost_bps=5) for one, bars in ((held, prices), (held_too, altered(prices, first)))
    )
    assert money.equity[money.equity.index < first].equals(money_too.equity[money_too.equity.index < first])


def test_a_later_training_bar_leaves_the_model_alone(market):
    prices, model = market
    train, valid, _ = windows_of(altered(prices, pd.Timestamp("2012-01-03"))).split("2011", "2012")
    twin = build_model("transformer", train, d_model=16, n_heads=2, n_layers=2, d_ff=32, dropout=0.0)
    fit(twin, train, valid, epochs=2, progress=False)
    assert all(
        a.equal(b) for a, b in zip(model.state_dict().values(), twin.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("name", ["lstm", "gru", "alstm"])
@pytest.mark.parametrize("panel", [False, True], ids=["one stock", "panel"])
def test_no_gate_hears_of_a_later_bar(name: str, panel: bool):
    prices, first = loaded(panel), pd.Timestamp("2012-07-16")
    before, after = windows_of(prices), windows_of(altered(prices, first))
    model = build_model(name, before, hidden_size=8)
    gates, gates_too = (gates_by_date(model, windows[windows.dates >= "2012"]) for windows in (before, after))
    early = gates.index.get_level_values("date") < first
    assert 0 < early.sum() < len(early)
    pd.testing.assert_frame_equal(gates[early], gates_too[early], check_exact=True)
    assert not gates[~early].equals(gates_too[~early])
