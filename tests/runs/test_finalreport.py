"""A final report's numbers, against computations of their own."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from jsonschema import ValidationError
from sklearn.metrics import balanced_accuracy_score, log_loss, matthews_corrcoef

from workbench.features.indicators import make_features
from workbench.features.labels import forward_return, label_moves
from workbench.features.windows import Windows
from workbench.market.loading import load_panel, load_prices
from workbench.models.registry import build_model
from workbench.runs.finalreport.building import build_report, check_report, schema
from workbench.runs.finalreport.judging import judge
from workbench.runs.finalreport.numbers import figure, value_at
from workbench.runs.finalreport.opened import open_run
from workbench.runs.finalreport.performance import Wishes, measure
from workbench.runs.finalreport.strategy import Strategy, choose_strategy, traded
from workbench.trading.ledger import backtest
from workbench.trading.signals import positions
from workbench.training.checkpoints import ensure_model, save_model
from workbench.training.prediction import predict

START, END = "2009-01-02", "2011-12-30"
WISHES = Wishes(draws=200)


def kept(folder: Path, prices: pd.DataFrame, labels: pd.Series, **options) -> Path:
    """Train a tiny LSTM on the first half of the windows, and return where it is kept."""
    windows = Windows.of(make_features(prices), labels, 10)
    train, valid, _ = windows.split(0.5, 0.7)
    ensure_model(
        "lstm", train, valid, folder=folder, hidden_size=4, progress=False, **{"epochs": 2, **options}
    )
    return next(folder.iterdir())


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    prices = load_prices("AAPL", start=START, end=END)
    return kept(tmp_path_factory.mktemp("models"), prices, label_moves(prices, scale="volatility"))


@pytest.fixture(scope="module")
def opened(folder):
    return open_run(folder)


@pytest.fixture(scope="module")
def built(opened):
    return build_report(opened, WISHES, steps=1)


@pytest.fixture(scope="module")
def report(built):
    return built.report


def test_the_report_keeps_to_its_schema(report):
    check_report(report)
    json.dumps(report, allow_nan=False)


def test_every_recommendation_hangs_on_a_number_of_the_report(report):
    assert report["recommendations"]
    for advice in report["recommendations"]:
        assert value_at(report, advice["about"]) == advice["value"]
        assert isinstance(advice["value"], int | float)


def test_years_and_months_compound_to_the_total(report):
    money = report["performance"]
    for account in ("strategy", "buy_and_hold"):
        total = 1 + money[account]["Total return [%]"] / 100
        for rows in (money["years"], money["months"]):
            assert np.prod([1 + row[f"{account} [%]"] / 100 for row in rows]) == pytest.approx(total)
    assert sum(year["bars"] for year in money["years"]) == money["span"]["bars"] - 1
    assert [m["month"] for m in money["months"]] == sorted({m["month"] for m in money["months"]})


def test_answers_are_judged_as_scikit_learn_judges_them(report, opened):
    test = opened.parts.test.labelled()
    answers = predict(opened.model, test)
    y, predicted = test.y.numpy(), answers.to_numpy().argmax(1)
    found = report["performance"]["answers"]
    assert found["windows"] == len(y)
    assert found["figures"]["balanced accuracy"] == pytest.approx(balanced_accuracy_score(y, predicted))
    assert found["figures"]["accuracy"] == pytest.approx((y == predicted).mean())
    assert found["figures"]["Matthews correlation"] == pytest.approx(matthews_corrcoef(y, predicted))
    assert found["figures"]["log loss [nat]"] == pytest.approx(
        log_loss(y, answers.to_numpy(), labels=[0, 1, 2])
    )
    assert found["guessing"] == pytest.approx(1 / 3)


def test_the_interval_of_answers_is_about_four_standard_errors_wide(opened):
    """Independent windows: each class is found with p, and the mean of three such shares spreads as here."""
    test = opened.parts.test.labelled()
    chance = np.random.default_rng(3).dirichlet([1, 1, 1], len(test))
    found = judge(pd.DataFrame(chance, test.dates, ["sell", "hold", "buy"]), test, draws=500)
    p, counts = found["figures"]["balanced accuracy"], np.bincount(test.y.numpy(), minlength=3)
    spread = np.sqrt((p * (1 - p) / counts).sum()) / 3
    low, high = found["interval"]
    assert low < p < high
    assert 3 * spread < high - low < 5 * spread


def test_money_is_what_a_backtest_by_hand_earns(report, opened):
    told = report["strategy"]
    answers = predict(opened.model, opened.parts.test)
    by_hand = backtest(positions(answers, told["threshold"]), opened.prices, "next_open", cost_bps=5.0)
    for name, value in report["performance"]["strategy"].items():
        if not isinstance(value, dict):
            assert value == pytest.approx(by_hand.stats[name]), name
        else:
            assert value["undefined"] == by_hand.reasons[name]
    assert told["conventions"]["cost_bps"] == 5.0
    assert told["rule"] == "classes"


def test_buy_and_hold_is_the_stock_at_the_same_fill_and_costs(report, opened):
    prices = opened.prices
    dates = opened.parts.test.dates
    bought = prices["open"].iloc[prices.index.get_loc(dates[0]) + 1]
    last = pd.Timestamp(report["performance"]["span"]["last"])
    by_hand = 100 * (prices["close"][last] / bought - 1 - 0.0005)
    assert report["performance"]["buy_and_hold"]["Total return [%]"] == pytest.approx(by_hand)


def test_cash_earns_nothing_and_has_no_ratio(report):
    cash = report["performance"]["cash"]
    assert (cash["CAGR [%]"], cash["Volatility (ann.) [%]"], cash["Max drawdown [%]"]) == (0, 0, 0)
    assert cash["Sharpe"] == {"undefined": "the returns do not vary"}


def test_the_excess_is_the_mean_difference_of_returns(built):
    book, hold = built.measured.book, built.measured.hold
    found = built.report["performance"]["excess_over_buy_and_hold"]
    assert found["mean [% a year]"] == pytest.approx(252 * 100 * (book.returns - hold.returns).mean())
    low, high = found["interval"]
    assert low < found["mean [% a year]"] < high


def test_the_threshold_is_the_best_of_the_validation_windows(report, opened):
    told = report["strategy"]
    trial = predict(opened.model, opened.parts.valid)
    for tried in told["trials"]:
        found = backtest(positions(trial, tried["threshold"]), opened.prices, cost_bps=5.0).stats
        expected = None if np.isnan(found["Sharpe"]) else pytest.approx(found["Sharpe"])
        assert (tried["Sharpe"], tried["trades"]) == (expected, found["Trades"])
    best = max((t for t in told["trials"] if t["Sharpe"] is not None), key=lambda t: t["Sharpe"])
    assert told["threshold"] == best["threshold"]


def test_prices_after_validation_never_move_the_threshold(report, opened):
    begins = opened.parts.test.dates[0]
    prices = opened.prices.copy()
    prices.attrs = opened.prices.attrs
    prices.loc[begins:, ["open", "high", "low", "close"]] *= np.linspace(1, 9, len(prices.loc[begins:]))[
        :, None
    ]
    trial = predict(opened.model, opened.parts.valid)
    chosen = choose_strategy(trial, opened.parts.valid, prices)
    assert chosen.threshold == report["strategy"]["threshold"]
    assert [dict(t) for t in chosen.trials] == report["strategy"]["trials"]


def test_a_model_that_is_never_sure_is_tried_at_a_threshold_that_binds(opened):
    valid = opened.parts.valid
    answers = pd.DataFrame(1 / 3, valid.dates, ["sell", "hold", "buy"])
    chosen = choose_strategy(answers, valid, opened.prices)
    assert (chosen.threshold, len(chosen.trials)) == (0.3334, 1)
    assert chosen.trials[0] == {"threshold": 0.3334, "Sharpe": None, "trades": 0}
    assert "no validation trade" in chosen.chosen


@pytest.mark.parametrize("least", [0.33336, 0.41236])
def test_rounding_moves_no_threshold_past_answers_that_hardly_differ(opened, least):
    valid = opened.parts.valid
    buy = np.linspace(least, least + 1e-6, len(valid))
    answers = pd.DataFrame({"sell": (1 - buy) / 2, "hold": (1 - buy) / 2, "buy": buy}, valid.dates)
    tried = [trial["threshold"] for trial in choose_strategy(answers, valid, opened.prices).trials]
    shares = [float((buy >= cut).mean()) for cut in tried]
    assert shares == pytest.approx([0.9, 0.7, 0.5, 0.3, 0.1], abs=0.01)


def test_forecasts_that_hardly_differ_are_traded_on_too(opened):
    valid = opened.parts.valid
    forecast = pd.DataFrame({"forecast": np.full(len(valid), 0.00123456)}, valid.dates)
    chosen = choose_strategy(forecast, replace(valid, task="regression", classes=()), opened.prices)
    assert (chosen.threshold, chosen.trials[0]["Sharpe"] is None) == (0.00123456, False)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_windows_whose_labels_nobody_knows_yet_are_judged_by_no_figure(task):
    prices = load_prices("AAPL", start=START, end="2009-06-30")
    labels = label_moves(prices, horizon=5) if task == "classification" else forward_return(prices, 5)
    windows = Windows.of(make_features(prices), labels, 10)[-3:]
    found = judge(predict(build_model("lstm", windows, hidden_size=4), windows), windows)
    assert found["windows"] == 0
    for value in (*found["figures"].values(), *found["interval"]):
        assert value == {"undefined": "the label of no window is known"}


def test_the_interval_of_daily_correlations_is_of_the_days_that_their_mean_is_of():
    prices = load_panel(["AAPL", "IBM"], start=START, end="2009-12-31")
    windows = Windows.of(make_features(prices), forward_return(prices, 2), 5)
    forecast = np.random.default_rng(0).normal(size=len(windows))
    keys = pd.MultiIndex.from_arrays([windows.dates, windows.tickers], names=["date", "ticker"])
    found = judge(pd.DataFrame({"forecast": forecast}, keys), windows, draws=200)
    low, high = found["interval"]
    assert low < found["figures"]["IC"] < high  # two stocks a day, correlated at −1 or 1


def test_a_threshold_that_is_given_is_taken(opened):
    found = measure(opened, opened.parts, replace(WISHES, threshold=0.99, cost_bps=0.0))
    assert (found.strategy.threshold, found.strategy.chosen) == (0.99, "given by the user")
    assert found.book.stats["Exposure [%]"] == 0
    assert found.book.stats["Total return [%]"] == found.free.stats["Total return [%]"] == 0


def test_what_describes_the_model_is_what_its_card_says(report, opened, folder):
    card = json.loads((folder / "model.json").read_text())
    project, configuration = report["project"], report["configuration"]
    assert (project["run"], project["network"], project["class"]) == (folder.name, "lstm", "LSTMModel")
    assert project["weights_sha256"] == card["weights_sha256"]
    assert configuration["options"] == card["model"]["options"]
    assert report["features"]["names"] == card["model"]["feature_names"]
    assert report["training"]["epochs"] == card["history"]["epochs"]
    assert report["training"]["best"] == card["history"]["epochs"][report["training"]["best_epoch"] - 1]
    assert report["data"]["ticker"] == "AAPL"
    assert report["data"]["windows"]["test"]["windows"] == len(opened.parts.test)
    shares = report["features"]["labels"]["train"]
    assert shares["hold"] == pytest.approx((opened.parts.train.y == 1).double().mean().item())
    assert sum(shares.values()) == pytest.approx(1)
    assert configuration["study"]["parameters"]["total"] == configuration["parameters"]


def test_the_same_model_gives_the_same_report_but_for_seconds(report, opened):
    again = build_report(opened, WISHES, steps=1).report

    def still(plain):
        rest = json.loads(json.dumps(plain))
        rest.pop("made_at")
        rest["configuration"]["study"].pop("step")
        return rest

    assert still(again) == still(report)


def test_forecasts_of_one_ticker_are_traded_by_their_sign_and_size(tmp_path):
    prices = load_prices("IBM", start=START, end=END)
    opened = open_run(kept(tmp_path, prices, forward_return(prices, 2)))
    report = build_report(opened, WISHES, steps=0).report
    check_report(report)
    assert report["strategy"]["rule"] == "forecast"
    found = report["performance"]["answers"]
    test = opened.parts.test.labelled()
    forecast = predict(opened.model, test)["forecast"].to_numpy()
    assert found["figures"]["IC"] == pytest.approx(np.corrcoef(forecast, test.y.numpy())[0, 1], abs=1e-6)
    assert found["guessing"] == 0
    low, high = found["interval"]
    assert low < found["figures"]["IC"] < high
    assert report["configuration"]["study"]["step"] is None
    assert report["features"]["labels"]["test"]["mean"] == pytest.approx(float(test.y.double().mean()))


def test_forecasts_of_a_panel_are_traded_by_rank_against_the_unlevered_panel(tmp_path):
    prices = load_panel(["AAPL", "GE", "JPM", "KO", "PG"], source="sample20", start=START, end=END)
    opened = open_run(kept(tmp_path, prices, forward_return(prices, 1), epochs=1))
    built = build_report(opened, WISHES, steps=0)
    report = built.report
    check_report(report)
    assert (report["strategy"]["rule"], report["strategy"]["threshold"]) == ("ranks", None)
    book, hold = built.measured.book, built.measured.hold
    held = book.weights.to_numpy()[5:-1]
    np.testing.assert_allclose(np.abs(held).sum(1), 1)
    np.testing.assert_allclose(held.sum(1), 0, atol=1e-12)
    assert hold.conventions.exposure == 1
    closes = opened.prices["close"].unstack("ticker").loc[book.equity.index]  # noqa: PD010
    bought = 1 + (closes.iloc[-1] / closes.iloc[1] - 1).mean() - 0.0005  # at the close after the decision
    assert hold.equity.iloc[-1] == pytest.approx(1e5 * bought)
    pd.testing.assert_series_equal(book.benchmark, hold.equity, check_names=False)
    test = opened.parts.test.labelled()
    frame = predict(opened.model, test)
    frame["y"] = test.y.double().numpy()
    daily = [day["forecast"].corr(day["y"]) for _, day in frame.groupby(level="date")]
    assert report["performance"]["answers"]["figures"]["IC"] == pytest.approx(np.mean(daily), abs=1e-6)
    assert report["data"]["tickers"] == 5
    refused = build_report(opened, replace(WISHES, threshold=0.1), steps=0).report
    assert "ranks have no threshold" in refused["performance"]["reason"]


def test_later_forecasts_never_size_an_earlier_book_of_ranks():
    prices = load_panel(["AAPL", "GE", "JPM", "KO", "PG"], source="sample20", start=START, end="2009-06-30")
    noise = np.random.default_rng(1).normal(size=len(prices))
    whole = pd.DataFrame({"forecast": noise}, prices.index)
    whole.attrs["horizon"] = 5
    days = whole.index.get_level_values("date")
    early = whole.loc[days <= days.unique()[8]]
    rule = Strategy("ranks", None, "", "next_close", 0.0)
    before = traded(early, prices, rule).weights
    pd.testing.assert_frame_equal(before, traded(whole, prices, rule).weights.loc[before.index])
    calm = pd.DataFrame({"forecast": np.tile(np.arange(5.0), len(days) // 5)}, prices.index)
    calm.attrs["horizon"] = 5
    full = traded(calm, prices, rule)
    assert full.conventions.exposure == 2.5
    held = full.weights.to_numpy()
    assert np.abs(held[5]).sum() == pytest.approx(1)  # a fifth is filled on each of the first five days
    assert np.abs(held).sum(1).max() < 1.2  # and drifts from then on


def test_windows_of_the_users_own_are_not_run_with_the_reason(tmp_path):
    prices = load_prices("AAPL", start=START, end=END)
    features = make_features(prices)[["rsi_14"]] * 2
    features.attrs.pop("features", None)
    windows = Windows.of(features, label_moves(prices), 10)
    model = build_model("lstm", windows, hidden_size=4)
    opened = open_run(save_model(model, tmp_path / "own", windows=windows))
    report = build_report(opened, WISHES).report
    check_report(report)
    for section in (report["performance"], report["strategy"], report["configuration"]["study"]):
        assert section["status"] == "not run"
        assert "doesn't say how its features were made" in section["reason"]
    assert report["training"]["reason"] == "the model was saved without the history of its training"
    assert report["configuration"]["parameters"] == sum(p.numel() for p in model.parameters())
    assert report["recommendations"] == []


def test_a_model_whose_training_dates_are_unknown_is_not_tested(tmp_path):
    prices = load_prices("AAPL", start=START, end=END)
    windows = Windows.of(make_features(prices), label_moves(prices), 10)
    model = build_model("lstm", windows, hidden_size=4)
    opened = open_run(save_model(model, tmp_path / "plain", windows=windows.labelled()))
    assert opened.parts is None
    assert "nobody knows which dates it learnt from" in opened.why


def test_test_windows_follow_validation_where_no_split_is_told(folder, opened, tmp_path):
    card = json.loads((folder / "model.json").read_text())
    history = opened.history
    windows = replace(opened.parts.train, provenance={k: v for k, v in card["data"].items() if k != "split"})
    place = save_model(
        opened.model, tmp_path / "unsplit", replace(history, provenance=windows.provenance), windows
    )
    again = open_run(place)
    assert again.card["data"].get("split") is None
    for name in ("train", "valid"):
        assert len(getattr(again.parts, name)) == len(getattr(opened.parts, name))
    assert again.parts.test.dates[0] > again.parts.valid.label_dates.max()
    assert again.parts.test.dates[-1] == opened.parts.test.dates[-1]


def test_one_class_alone_has_no_correlation_but_a_reason(opened):
    test = opened.parts.test.labelled()
    only = test[test.y.numpy() == 1]
    found = judge(predict(opened.model, only), only, draws=50)
    assert found["figures"]["Matthews correlation"] == {"undefined": "all windows are of one class"}
    assert found["guessing"] == 1


def test_too_few_days_have_no_interval_but_a_reason(opened):
    few = opened.parts.test[:10]
    found = judge(predict(opened.model, few), few, draws=50)
    assert found["interval"] == [{"undefined": "fewer than 20 days, too few to draw from"}] * 2


def test_a_figure_without_number_or_reason_is_a_fault():
    assert figure(1.5) == 1.5
    assert figure(float("nan"), "why") == {"undefined": "why"}
    with pytest.raises(ValueError, match="needs a reason"):
        figure(float("inf"))


def test_pointers_lead_to_what_they_name():
    report = {"a": [{"b/c [%]": 1}], "d~e": 2}
    assert value_at(report, "/a/0/b~1c [%]") == 1
    assert value_at(report, "/d~0e") == 2
    for wrong in ("/a/1", "/x", "/d~0e/0", "/a/b"):
        with pytest.raises(KeyError, match="leads nowhere"):
            value_at(report, wrong)


def broken(report, change):
    plain = json.loads(json.dumps(report))
    change(plain)
    return plain


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r.pop("strategy"),
        lambda r: r.update(format="attention-workbench study 0"),
        lambda r: r["performance"]["cash"].update(Sharpe=None),
        lambda r: r["performance"]["cash"].update(Sharpe={"undefined": ""}),
        lambda r: r["performance"].update(status="not run"),
        lambda r: r.update(performance={"status": "not run"}),
        lambda r: r["performance"].update(luck=7),
        lambda r: r["recommendations"][0].update(about="no pointer"),
        lambda r: r["recommendations"][0].update(value="many"),
        lambda r: r.update(figures=[{"name": "a", "title": "A"}]),
        lambda r: r["data"]["windows"]["test"].update(windows=-1),
        lambda r: r.update(made_at=7),
    ],
)
def test_the_schema_refuses_what_is_missing_silent_or_strange(report, change):
    with pytest.raises(ValidationError):
        check_report(broken(report, change))


def test_every_field_of_the_schema_is_described():
    missing = []

    def walk(part, path):
        if not isinstance(part, dict):
            return
        for name, field in part.get("properties", {}).items():
            if not {"description", "$ref", "const"} & field.keys():
                missing.append(f"{path}/{name}")
            walk(field, f"{path}/{name}")
        for name in ("items", "then", "else"):
            walk(part.get(name), path)
        for name in ("oneOf", "prefixItems"):
            for inner in part.get(name, []):
                walk(inner, path)

    walk(schema(), "")
    assert missing == []


def test_traded_by_hand_of_three_forecasts():
    dates = pd.bdate_range("2020-01-06", periods=3, name="date")
    prices = pd.DataFrame({"close": [100.0, 110.0, 99.0]}, index=dates)
    prices.attrs["provenance"] = {"ticker": "A", "interval": "1d", "fields": ["close"]}
    answers = pd.DataFrame({"forecast": [0.02, -0.03, 0.001]}, index=dates)
    book = traded(answers, prices, Strategy("forecast", 0.01, "", "next_close", 0.0))
    assert book.positions.iloc[:, 0].tolist() == [1.0, -1.0, 0.0]
    assert book.equity.tolist() == pytest.approx([100_000, 100_000, 90_000])
