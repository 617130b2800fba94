import threading
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from workbench.models.registry import build_model
from workbench.trading.ledger import backtest
from workbench.trading.signals import positions
from workbench.training.history import History
from workbench.training.prediction import predict
from workbench.widgets.accounts import PURGED, TEST, TRAIN, UNKNOWN, VALID, splits_of
from workbench.widgets.subject import GIVEN, Bench, Subject, conventions, one_ticker
from workbench.widgets.told import facts
from workbench.widgets.views import View


@pytest.fixture
def subject_of():
    def make(model, windows, prices, history=None, **view):
        told = conventions(View(**view), prices)
        return Subject(model, windows, prices, "synthetic", "LAG5", GIVEN, told, history).prepared()

    return make


@pytest.fixture
def subject(subject_of, model, windows, prices):
    return subject_of(model, windows, prices)


def test_answers_are_those_of_predict(subject, model, windows):
    expected = predict(model, windows).to_numpy()
    assert np.array_equal(subject.answers.outputs, expected)


def test_each_decision_lies_on_its_own_bar(subject, windows, prices):
    assert (prices.index[subject.answers.rows] == windows.dates).all()


def test_what_happened_next_is_the_return_over_the_horizon(subject, prices):
    rows, close = subject.answers.rows, prices["close"].to_numpy()
    assert subject.answers.happened[10] == close[rows[10] + 1] / close[rows[10]] - 1
    assert np.isnan(subject.answers.happened[-1])


def test_moves_are_the_labels(subject, windows):
    assert subject.answers.moved.tolist() == windows.y.tolist()


def test_accounts_start_at_100_and_follow_the_backtest(subject):
    money = subject.account.money
    equity = subject.answers.equity
    inside = np.flatnonzero(np.isfinite(equity))
    assert equity[inside[0]] == pytest.approx(100)
    assert np.allclose(equity[inside], money.equity.to_numpy() / 1000)
    assert np.isnan(equity[: inside[0]]).all()
    assert inside[0] == subject.answers.rows[0]


def test_days_that_the_model_was_made_by_earn_nothing(subject_of, model, windows, prices):
    train, valid, test = windows.split(0.6, 0.8)
    subject = subject_of(model, windows, prices, _history(train, valid))
    answers, money, signals = subject.answers, subject.account.money, subject.account.positions
    first = answers.rows[windows.dates.get_loc(test.dates[0])]
    for account in (answers.equity, answers.benchmark):
        assert np.isnan(account[:first]).all()
        assert account[first] == 100
        assert np.isfinite(account[first:]).all()
    alone = backtest(signals[test.dates], prices, fill="next_open", cost_bps=5.0)
    pd.testing.assert_series_equal(money.equity, alone.equity)
    assert np.isfinite(answers.position).all()
    assert np.array_equal(answers.position, positions(subject.predictions, threshold=0.4))
    tested = windows.dates.get_indexer(test.dates)
    assert np.array_equal(answers.position[tested], money.positions.loc[test.dates].iloc[:, 0])
    assert subject.account.traded == f"test days, from {test.dates[0]:%Y-%m-%d}"


def test_where_the_training_dates_are_unknown_all_days_are_traded_and_it_is_said(subject):
    assert subject.account.money.equity.index[0] == subject.windows.dates[0]
    assert subject.account.traded == "all days: training dates unknown"


def test_days_that_all_belong_to_the_training_have_no_backtest(subject_of, model, windows, prices):
    train, valid, _ = windows.split(0.6, 0.8)
    early = windows[:100]
    subject = subject_of(model, early, prices, _history(train, valid))
    assert subject.account.money is None
    assert subject.account.traded == ""
    assert subject.account.why_none.startswith(
        "None of these days come after the training: with its validation it took all up to "
        f"{valid.dates[-1]:%Y-%m-%d}, and these days end on {early.dates[-1]:%Y-%m-%d}."
    )
    assert np.isnan(subject.answers.equity).all()
    assert np.isfinite(subject.answers.position).all()


def test_prices_without_opens_fill_at_the_next_close(subject_of, model, windows, prices):
    assert conventions(View(), prices).fill == "next_open"
    closes = prices.copy()
    closes.attrs = {"provenance": prices.attrs["provenance"] | {"fields": ["close"]}}
    assert conventions(View(), closes).fill == "next_close"
    assert conventions(View(fill="close"), prices).fill == "close"


def test_prices_of_something_else_are_refused_before_the_model_runs(subject_of, model, windows, prices):
    with pytest.raises(ValueError, match="must hold every bar of the windows"):
        subject_of(model, windows, prices.iloc[100:])


def test_classes_that_are_no_moves_have_no_money_and_say_why(subject_of, prices, windows):
    odd = replace(windows, classes=("up", "down", "same"))
    subject = subject_of(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12 * 13, 3)), odd, prices)
    assert subject.account.money is None
    assert "sell, hold, buy" in subject.account.why_none
    assert np.isnan(subject.answers.equity).all()
    assert np.isfinite(subject.answers.outputs).all()


def test_forecasts_trade_by_their_sign(subject_of, windows_of, prices):
    windows = windows_of(prices, task="regression")
    subject = subject_of(build_model("lstm", windows), windows, prices)
    assert subject.answers.outputs.shape == (len(windows), 1)
    assert np.array_equal(subject.answers.position, np.sign(subject.answers.outputs[:, 0]))
    assert (subject.answers.moved == -1).all()
    assert facts(subject, View())["forecast_unit"] == "return"


@pytest.mark.parametrize("named", [False, True], ids=["unnamed", "named"])
def test_forecasts_of_something_else_than_returns_are_not_traded(subject_of, prices, named):
    from workbench.features.indicators import make_features
    from workbench.features.labels import forward_return
    from workbench.features.windows import Windows

    labels = forward_return(prices)
    spread = (labels.abs()).rename("spread")
    spread.attrs = labels.attrs
    windows = Windows.of(make_features(prices), spread, 12)
    if named:
        windows = replace(windows, provenance=windows.provenance | {"labels": {"kind": "volatility"}})
    subject = subject_of(build_model("lstm", windows), windows, prices)
    assert subject.account.positions is None
    assert subject.account.why_none.startswith("The model forecasts something other than the return")
    assert np.isnan(subject.answers.position).all()
    told = facts(subject, View())
    assert (told["forecast_unit"], told["no_money"]) == ("value", subject.account.why_none)


def test_parts_are_told_apart_and_what_was_purged_belongs_to_none(windows):
    train, valid, test = windows.split(0.6, 0.8)
    history = _history(train, valid)
    split = splits_of(windows, history)
    for part, number in ((train, TRAIN), (valid, VALID), (test, TEST)):
        assert (split[windows.dates.get_indexer(part.dates)] == number).all()
    assert (split == PURGED).sum() == len(windows) - len(train) - len(valid) - len(test) > 0


def test_days_before_the_training_and_all_days_without_a_history_belong_to_no_known_part(windows):
    train, valid, _ = windows[40:].split(0.6, 0.8)
    split = splits_of(windows, _history(train, valid))
    assert (split[:40] == UNKNOWN).all()
    assert (split[40:] != UNKNOWN).all()
    assert (splits_of(windows, None) == UNKNOWN).all()


def test_without_a_note_of_the_split_the_test_begins_a_horizon_after_valid(windows):
    train, valid, _ = windows.split(0.6, 0.8)
    told = _history(train, valid)
    silent = _history(train, valid, provenance={})
    assert np.array_equal(splits_of(windows, silent), splits_of(windows, told))
    assert (splits_of(windows, None) == UNKNOWN).all()


def test_one_of_several_tickers_is_taken_with_its_own_prices(panel, windows_of):
    windows, prices = one_ticker(windows_of(panel), panel, "NOISE-BARS240")
    assert set(windows.tickers) == {"NOISE-BARS240"}
    assert not windows.is_panel
    assert prices.attrs["provenance"]["ticker"] == windows.provenance["ticker"] == "NOISE-BARS240"
    assert np.array_equal(prices["close"], panel.xs("NOISE-BARS240", level="ticker")["close"])
    with pytest.raises(ValueError, match="hold no 'X'"):
        one_ticker(windows_of(panel), panel, "X")


def test_dates_are_found_and_the_nearest_is_named(subject, windows):
    assert subject.row_of(subject.date_texts[5]) == 5
    assert subject.row_of("2000-06-01T00:00:00") == subject.row_of("2000-06-01")
    with pytest.raises(KeyError, match="nearest"):
        subject.row_of("1999-01-01")
    assert subject.nearest("1999-01-01") == subject.date_texts[0]
    assert subject.last_known == subject.date_texts[-2]


def test_training_is_told_in_words(subject, subject_of, model, windows, prices):
    train, valid, _ = windows.split(0.6, 0.8)
    known = subject_of(model, windows, prices, _history(train, valid))
    assert known.trained == f"trained on {prices.attrs['provenance']['ticker']}, 2000 → 2000, best epoch 3"
    assert known.foreign == ""
    assert subject.trained == "training dates unknown"
    provenance = prices.attrs["provenance"] | {"ticker": "AAPL"}
    assert (
        "was trained on AAPL, not on"
        in subject_of(model, windows, prices, _history(train, valid, provenance=provenance)).foreign
    )


def test_a_model_that_cannot_be_copied_is_used_itself(model):
    assert Bench.of(model).model is not model
    held = torch.nn.Linear(2, 2)
    held.derived = held.weight * 2
    assert Bench.of(held).model is held


def test_a_model_that_cannot_be_copied_runs_for_one_ticker_at_a_time(subject_of, windows, prices):
    held = build_model("lstm", windows).eval()
    held.derived = next(held.parameters()) * 2
    first = subject_of(held, windows, prices)
    assert first.quick.model is first.slow.model is held
    second = replace(first)  # as for another ticker: nothing of it is computed yet
    for name in ("predictions", "lens", "top"):
        done = threading.Event()

        def compute(name=name, done=done):
            getattr(second, name)
            done.set()

        with first.quick.lock:
            thread = threading.Thread(target=compute)
            thread.start()
            assert not done.wait(0.2)
        assert done.wait(10)
        thread.join(10)


def test_copies_of_a_model_need_not_wait_for_each_other(subject_of, model, windows, prices):
    subject = subject_of(model, windows, prices)
    done = threading.Event()

    def compute():
        with subject.slow.lock:
            predict(model, windows)
        done.set()

    with subject.quick.lock:
        thread = threading.Thread(target=compute)
        thread.start()
        assert done.wait(10)
        thread.join(10)


def _history(train, valid, provenance=None):
    def span(part):
        first, last = part.dates[[0, -1]]
        return {"first": first.isoformat(), "last": last.isoformat(), "windows": len(part)}

    return History(
        epochs=pd.DataFrame({"valid_loss": [3.0, 2.0, 1.0]}),
        best_epoch=3,
        seconds=1.0,
        monitor="valid_loss",
        seed=0,
        stopped="finished",
        splits={"train": span(train), "valid": span(valid)},
        provenance=dict(train.provenance) if provenance is None else provenance,
    )
