import base64
import json
import threading
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import traitlets

import workbench.widgets.asking as asking
import workbench.widgets.explorer as widget
import workbench.widgets.opening as opening
import workbench.widgets.pictures as pictures
import workbench.widgets.scoring as scoring
import workbench.widgets.training as training
from workbench.explainers.explanation import explain
from workbench.explainers.methods import METHODS
from workbench.market.frame import SourceError
from workbench.market.loading import load_prices
from workbench.models.registry import build_model
from workbench.training.checkpoints import ensure_model
from workbench.training.reopening import reopen
from workbench.widgets.explorer import Explorer
from workbench.widgets.lenses import maps_of
from workbench.widgets.worker import Job

MARKET, OTHER = "LAG5-SNR2-BARS260", "NOISE-BARS260"


def kinds(messages):
    return [content["kind"] for content, _ in messages]


def saved(folder, **view):
    return Explorer(source="synthetic", ticker=MARKET, folder=str(folder), **view)


def run_of(explorer, kind):
    return next(r["key"] for r in explorer.choices["runs"] if r["label"].startswith(f"{kind} · {MARKET}"))


class TestOpening:
    def test_nothing_at_all_opens_on_the_bundled_model(self):
        explorer = Explorer()
        assert (explorer.source, explorer.ticker) == ("sample", "AAPL")
        assert explorer.facts["layers"]
        assert explorer.facts["trained"].startswith("trained on AAPL, 2000 → ")
        assert explorer.facts["traded"] == "test days, from 2011-04-07"
        assert explorer.money.equity.index[0] == pd.Timestamp("2011-04-07")
        assert explorer.choices["tickers"] == ["AAPL", "FB", "GOOG", "IBM", "MSFT"]

    def test_a_model_with_windows_and_prices_is_shown_at_the_last_known_decision(self, explorer, windows):
        assert explorer.run == "given"
        assert explorer.date == str(windows.labelled().dates[-1].date())
        assert explorer.facts["windows"] == len(windows)
        assert explorer.facts["synthetic"] is True

    def test_prices_left_out_are_loaded_as_the_windows_say(self, model, windows, prices):
        explorer = Explorer(model, windows)
        assert np.array_equal(explorer._subject.prices["close"], prices["close"])

    def test_prices_that_cannot_be_loaded_are_asked_for(self, model, windows):
        nameless = replace(windows, provenance={})
        with pytest.raises(ValueError, match=r"pass them as Explorer\(model, windows, prices\)"):
            Explorer(model, nameless)

    def test_a_folder_opens_with_the_data_of_its_training(self, trained, windows):
        folder = next(p for p in trained.iterdir() if p.name.startswith(f"transformer-{MARKET}"))
        explorer = Explorer(str(folder), folder=str(trained))
        assert explorer.run == folder.name
        assert explorer.ticker == MARKET
        assert explorer.facts["windows"] == len(windows)

    def test_a_folder_outside_the_list_opens_too(self, trained, tmp_path):
        folder = next(p for p in trained.iterdir() if p.name.startswith(f"transformer-{MARKET}"))
        explorer = Explorer(str(folder), folder=str(tmp_path))
        assert explorer.run == "given"
        assert explorer.code.startswith(f"wb.Explorer({str(folder)!r}")

    @pytest.mark.parametrize(
        ("arguments", "error", "words"),
        [
            (("nowhere",), FileNotFoundError, "no complete model in nowhere"),
            ((None, 1), TypeError, "go with a model"),
            ((torch.nn.Linear(1, 1),), TypeError, "needs the windows"),
        ],
    )
    def test_what_cannot_be_shown_is_refused_in_words(self, arguments, error, words):
        if len(arguments) == 2:
            arguments = (None, None, load_prices("AAPL"))
        with pytest.raises(error, match=words):
            Explorer(*arguments)

    def test_options_that_do_not_exist_are_refused_with_a_guess(self):
        with pytest.raises(TypeError, match="Did you mean 'method'"):
            Explorer(metod="rollout")

    @pytest.mark.parametrize(
        "view", [{"date": "1999-01-01"}, {"layer": 9}, {"head": "7"}, {"method": "magic"}, {"target": "up"}]
    )
    def test_a_view_that_does_not_exist_is_refused(self, model, windows, prices, view):
        with pytest.raises((ValueError, KeyError)):
            Explorer(model, windows, prices, **view)

    def test_one_of_several_tickers_is_chosen(self, panel, windows_of, listen):
        windows = windows_of(panel)
        model = build_model("lstm", windows)
        page = listen(Explorer(model, windows, panel))
        assert page.explorer.choices["tickers"][:2] == ["LAG2-BARS240", "NOISE-BARS240"]
        page.choose(ticker="NOISE-BARS240")
        assert page.explorer.error == ""
        assert page.explorer.facts["name"] == "NOISE-BARS240"
        assert page.explorer.run == "given"
        noise = panel.xs("NOISE-BARS240", level="ticker")["close"]
        assert np.array_equal(page.explorer._subject.prices["close"], noise)

    def test_prices_that_say_nothing_of_themselves_are_shown_and_can_be_left_and_found_again(
        self, model, prices, windows_of, listen
    ):
        bare = prices.copy()
        bare.attrs = {}
        page = listen(Explorer(model, windows_of(bare), bare))
        explorer = page.explorer
        assert (explorer.source, explorer.ticker) == ("given", "given")
        assert "interval" in explorer.status  # why there is no backtest
        page.choose(source="sample")
        assert (explorer.error, explorer.ticker) == ("", "AAPL")
        page.choose(source="given")
        assert (explorer.error, explorer.ticker, explorer.version) == ("", "given", 3)

    def test_a_model_handed_over_may_open_on_another_ticker(self, model, windows, prices):
        explorer = Explorer(model, windows, prices, source="sample", ticker="MSFT")
        assert explorer.facts["name"] == "MSFT"
        assert explorer.code.startswith("wb.Explorer(model, windows, prices, source='sample', ticker='MSFT'")

    def test_forecasts_can_be_explored(self, windows_of, prices, listen):
        windows = windows_of(prices, task="regression")
        page = listen(Explorer(build_model("transformer", windows, d_model=8, n_heads=2), windows, prices))
        assert page.explorer.choices["targets"] == [""]
        _, answers = page.ask(ask="data")
        assert answers[0]["outputs"] == 1

    def test_a_model_without_attention_falls_to_a_method_that_works_and_says_so(self, windows, prices):
        explorer = Explorer(build_model("lstm", windows), windows, prices)
        assert explorer.method == "gradient_x_input"
        assert "is shown instead of Attention rollout" in explorer.status
        disabled = {m["name"]: m["disabled"] for m in explorer.choices["methods"]}
        assert "needs attention" in disabled["rollout"]
        assert disabled["gradient_x_input"] == ""

    def test_a_module_of_the_users_own_works_without_a_spec(self, windows, prices, listen):
        own = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12 * 13, 3))
        page = listen(Explorer(own, windows, prices))
        (answer,) = page.ask(ask="scores", version=1, method="gradient_x_input", target="buy", windows=[3])
        assert answer[0]["kind"] == "scores"

    def test_every_method_that_explain_knows_is_offered(self, explorer):
        assert [m["name"] for m in explorer.choices["methods"]] == list(METHODS)


class TestAsks:
    def test_data_are_the_bars_and_answers_of_the_package(self, page, prices, numbers):
        bars, answers = page.ask(ask="data")
        assert kinds([bars, answers]) == ["bars", "answers"]
        assert np.array_equal(numbers(bars[1][4], "<f8"), prices["close"])
        predictions = page.explorer._subject.predictions.to_numpy(np.float32)
        assert np.array_equal(numbers(answers[1][1], "<f4", *predictions.shape), predictions)

    def test_everything_is_answered_again_for_a_second_view(self, page):
        first, second = page.ask(ask="data"), page.ask(ask="data")
        assert kinds(first) == kinds(second) == ["bars", "answers"]
        ask = {"ask": "scores", "version": 1, "method": "rollout", "target": "", "windows": [1]}
        assert page.ask(**ask)[0][1] == page.ask(**ask)[0][1]

    def test_maps_come_one_message_a_window(self, page, numbers):
        found = page.ask(ask="maps", version=1, windows=[7, 2])
        assert [content["window"] for content, _ in found] == [7, 2]
        layers = page.explorer.facts["layers"]
        for layer, buffer in zip(layers, found[0][1], strict=True):
            weights = numbers(buffer, "<f4", layer["heads"], layer["queries"], layer["keys"])
            assert np.allclose(weights.sum(axis=2), 1, atol=1e-5)

    def test_maps_of_too_many_windows_are_those_of_the_first_and_come_in_portions(self, page, monkeypatch):
        each = sum(4 * la["heads"] * la["queries"] * la["keys"] for la in page.explorer.facts["layers"])
        monkeypatch.setattr(asking, "MOST_BYTES", 5 * each + 1)
        monkeypatch.setattr(asking, "PORTION_BYTES", 2 * each)
        portions = []

        def counted(model, windows, lens, rows):
            portions.append(rows)
            return maps_of(model, windows, lens, rows)

        monkeypatch.setattr(asking, "maps_of", counted)
        found = page.ask(ask="maps", version=1, windows=list(range(30)))
        assert [content["window"] for content, _ in found] == [0, 1, 2, 3, 4]
        assert portions == [[0, 1], [2, 3], [4]]
        monkeypatch.setattr(asking, "MOST_BYTES", 1)
        assert kinds(page.ask(ask="maps", version=1, windows=[7, 8])) == ["maps"]

    @pytest.mark.parametrize(
        "ask",
        [{"ask": "maps"}, {"ask": "scores", "method": "rollout", "target": ""}],
        ids=lambda ask: ask["ask"],
    )
    def test_of_a_flood_of_asks_the_newest_few_are_answered(self, page, ask):
        going, go_on = threading.Event(), threading.Event()
        quick = page.explorer._lanes["quick"]
        quick.submit(
            Job("waiting", lambda job: going.set() or go_on.wait(20), lambda done: None, pytest.fail)
        )
        assert going.wait(10)
        for window in range(0, 200, 2):
            page.explorer._handle_custom_msg({**ask, "version": 1, "windows": [window]}, [])
        go_on.set()
        page.explorer.wait(30)
        windows = [content.get("window", content.get("windows")) for content, _ in page.messages]
        asked = [192, 194, 196, 198]
        assert windows == (asked if ask["ask"] == "maps" else [[window] for window in asked])

    @pytest.mark.parametrize("method", ["rollout", "gradient_x_input"])
    def test_scores_are_those_of_explain(self, page, model, windows, numbers, method):
        ((content, buffers),) = page.ask(
            ask="scores", version=1, method=method, target="", windows=[70, 3, 130]
        )
        expected = explain(model, windows[[70, 3, 130]], method).scores
        assert content["windows"] == [70, 3, 130]
        assert np.allclose(numbers(buffers[0], "<f4", *expected.shape), expected, atol=1e-6)
        assert content["signed"] is METHODS[method].signed
        assert content["target"] == ""

    def test_each_window_says_which_class_was_explained(self, page):
        ((content, _),) = page.ask(
            ask="scores", version=1, method="gradient_x_input", target="", windows=list(range(60))
        )
        likeliest = page.explorer._subject.predictions.iloc[:60].idxmax(axis=1).tolist()
        assert content["answered"] in (likeliest, likeliest[0])
        ((content, _),) = page.ask(
            ask="scores", version=1, method="gradient_x_input", target="sell", windows=[0, 1]
        )
        assert content["answered"] == "sell"

    def test_scores_once_computed_are_not_computed_again(self, page, monkeypatch):
        ask = {"ask": "scores", "version": 1, "method": "rollout", "target": "", "windows": [3]}
        page.ask(**ask)
        monkeypatch.setattr(scoring, "explain", None)
        assert kinds(page.ask(**ask | {"windows": [0, 63]})) == ["scores"]  # of the same block
        assert kinds(page.ask(**ask | {"windows": [64]})) == ["failed"]

    @pytest.mark.parametrize(
        "wrong",
        [
            {"version": "1"},
            {"version": None},
            {"windows": [100000]},
            {"windows": [-1]},
            {"windows": [1.5]},
            {"windows": [None]},
            {"windows": [True]},
            {"windows": []},
            {"windows": "all"},
            {"method": "magic"},
            {"method": None},
            {"target": "up"},
        ],
        ids=str,
    )
    def test_a_bad_ask_is_answered_by_what_is_wrong_with_it(self, page, wrong):
        ask = {"ask": "scores", "version": 1, "method": "rollout", "target": "", "windows": [0]} | wrong
        ((content, _),) = page.ask(**ask)
        assert content["kind"] == "failed"
        assert (content["ask"], content["version"]) == (ask, ask["version"])
        assert len(content["error"]) > 20
        assert kinds(page.ask(ask="maps", version=1, windows=[0])) == ["maps"]

    @pytest.mark.parametrize("ask", [{"ask": "maps"}, {"ask": "scores", "method": "rollout", "target": ""}])
    def test_an_ask_about_what_is_no_longer_shown_is_not_answered(self, page, ask):
        page.choose(ticker="LAG2-BARS300")
        assert page.ask(**ask, version=1, windows=[0]) == []
        assert kinds(page.ask(**ask, version=2, windows=[0])) == [ask["ask"]]

    def test_maps_of_a_model_without_attention_fail_with_the_reason(self, windows, prices, listen):
        page = listen(Explorer(build_model("lstm", windows), windows, prices))
        ((content, _),) = page.ask(ask="maps", version=1, windows=[0])
        assert "recurrent" in content["error"]

    @pytest.mark.parametrize("content", [{"ask": "format disk"}, {}, "data", None, {"ask": 3}], ids=str)
    def test_an_unknown_ask_is_an_error_and_nothing_more(self, page, content):
        page.explorer._handle_custom_msg(content, [])
        assert "There is no ask" in page.explorer.error
        assert kinds(page.ask(ask="data")) == ["bars", "answers"]

    def test_an_explanation_that_fails_is_told_and_the_next_works(self, page, monkeypatch):
        def broken(*arguments, **more):
            raise RuntimeError("out of luck")

        ask = {"ask": "scores", "version": 1, "method": "rollout", "target": "", "windows": [0]}
        with monkeypatch.context() as patch:
            patch.setattr(scoring, "explain", broken)
            ((content, _),) = page.ask(**ask)
        assert (content["kind"], content["error"]) == ("failed", "out of luck")
        assert kinds(page.ask(**ask)) == ["scores"]

    def test_a_slow_method_shows_progress_and_can_be_cancelled_while_maps_go_on(self, page, monkeypatch):
        seen, going = [], threading.Event()
        page.explorer.observe(lambda change: seen.append(change["new"]), "progress")
        monkeypatch.setitem(METHODS, "rollout", replace(METHODS["rollout"], slow=True))

        def endless(model, windows, method, target, watch):
            for done in range(1000):
                watch.report(done, 1000)
                going.set()
                time.sleep(0.02)

        monkeypatch.setattr(scoring, "explain", endless)
        ask = {"ask": "scores", "version": 1, "method": "rollout", "target": "", "windows": [0]}
        page.explorer._handle_custom_msg(ask, [])
        assert going.wait(10)
        time.sleep(0.5)
        page.explorer._handle_custom_msg({"ask": "maps", "version": 1, "windows": [4]}, [])
        assert page.explorer._lanes["quick"].wait(10)
        assert kinds(page.messages) == ["maps"]
        assert seen[-1]["what"] == "Attention rollout of 1 days"
        assert seen[-1]["seconds_left"] > 1
        last = page.ask(ask="cancel")
        assert "cancelled" in last[0][0]["error"]
        assert page.explorer.progress == {}


class TestChoices:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("date", "1999-01-01"),
            ("date", "2000-07-02"),  # a Sunday
            ("date", "yesterday"),
            ("date", None),
            ("layer", 2),
            ("layer", -1),
            ("layer", float("nan")),
            ("layer", "0"),
            ("layer", None),
            ("head", "2"),
            ("head", "median"),
            ("head", 0),
            ("row", 12),
            ("row", -2),
            ("row", True),
            ("method", "magic"),
            ("target", "up"),
            ("span", ["2000-05-01"]),
            ("span", ["2000-06-01", "2000-05-01"]),
            ("span", ["1990-06-01", "2000-05-01"]),
            ("span", [1, 2]),
            ("ticker", "x" * 5000),
            ("version", 77),
            ("read_only", False),
            ("choices", {}),
            ("_esm", "alert(1)"),
            ("nonsense", 1),
            ("x" * 100_000, 1),
        ],
        ids=lambda value: f"{value!s:.30}",
    )
    def test_a_bad_value_is_refused_in_words_and_put_back(self, page, name, value):
        explorer = page.explorer
        before = getattr(explorer, name, None)
        page.states.clear()
        page.choose(**{name: value})
        assert 15 < len(explorer.error) < 1100
        assert getattr(explorer, name, None) == before
        if explorer.has_trait(name):
            assert any(state.get(name) == before for state in page.states)
        page.choose(head="max")
        assert (explorer.head, explorer.error) == ("max", "")

    def test_of_many_bad_values_the_first_are_told(self, page):
        page.choose(**{f"nonsense{i}": i for i in range(5000)})
        assert "nonsense0 is not" in page.explorer.error
        assert page.explorer.error.endswith("So it is with 4990 more.")
        assert len(page.explorer.error) < 1000

    def test_good_values_are_taken_over(self, page):
        day = page.explorer._subject.date_texts[40]
        good = {
            "date": day,
            "layer": 1,
            "head": "1",
            "row": 3,
            "target": "buy",
            "span": ["2000-05-01", "2000-06-01"],
        }
        page.choose(**good)
        assert page.explorer.error == ""
        assert {name: getattr(page.explorer, name) for name in good} == good

    def test_a_date_is_put_into_its_own_form(self, page):
        day = page.explorer._subject.date_texts[40]
        page.choose(date=f"{day}T00:00:00")
        assert page.explorer.date == day
        assert {"date": day} in page.states

    def test_python_is_refused_by_an_exception(self, explorer):
        with pytest.raises(traitlets.TraitError, match="layer must be from 0 to 1"):
            explorer.layer = 5
        assert explorer.layer == 0

    def test_no_synced_trait_is_large(self, page):
        page.ask(ask="data")
        page.explorer.snapshot()
        state = page.explorer.get_state()
        sizes = {
            name: len(json.dumps(value)) for name, value in state.items() if name not in ("_esm", "_css")
        }
        assert sizes.pop("picture") < 111_000
        assert max(sizes.values()) < 20_000


class TestSubjects:
    def test_another_ticker_comes_with_its_own_model(self, trained, listen):
        page = listen(saved(trained))
        page.states.clear()
        page.choose(ticker=OTHER)
        explorer = page.explorer
        assert (explorer.error, explorer.version, explorer.facts["name"]) == ("", 2, OTHER)
        assert explorer.run.startswith(f"transformer-{OTHER}")
        assert explorer.status == ""
        changed = next(state for state in page.states if "version" in state)
        assert {"facts", "choices", "run"} <= changed.keys()  # the page learns all of it at once
        assert kinds(page.ask(ask="maps", version=2, windows=[0])) == ["maps"]

    def test_a_ticker_without_a_model_of_its_own_is_read_by_the_one_shown(self, trained, listen):
        page = listen(saved(trained))
        page.choose(ticker="LAG2-BARS300")
        assert page.explorer.error == ""
        assert page.explorer.facts["name"] == "LAG2-BARS300"
        assert f"was trained on {MARKET}, not on LAG2-BARS300" in page.explorer.status

    def test_a_model_handed_over_reads_other_tickers_too(self, page, model, windows_of):
        from workbench.training.prediction import predict

        page.choose(ticker="LAG2-BARS300")
        assert (page.explorer.error, page.explorer.run) == ("", "given")
        other = windows_of(load_prices("LAG2-BARS300", source="synthetic"))
        assert np.array_equal(page.explorer._subject.predictions, predict(model, other))
        assert np.array_equal(page.explorer._subject.answers.moved, other.y)
        page.choose(ticker=MARKET)
        assert page.explorer.facts["name"] == MARKET

    def test_what_was_chosen_stays_as_far_as_it_can(self, trained, listen):
        page = listen(saved(trained))
        page.choose(date="2000-06-01", layer=1, head="1", row=5)
        page.choose(ticker=OTHER)
        explorer = page.explorer
        assert (explorer.date, explorer.layer, explorer.head, explorer.row) == ("2000-06-01", 1, "1", 5)
        page.choose(run=run_of(explorer, "lstm"))
        assert (explorer.layer, explorer.head, explorer.row) == (0, "mean", -1)
        assert explorer.method == "gradient_x_input"
        assert "instead of" in explorer.status
        assert explorer.facts["name"] == OTHER

    def test_an_unknown_ticker_keeps_what_is_shown(self, page):
        page.choose(ticker="<img src=x onerror=alert(1)>")
        explorer = page.explorer
        assert "a synthetic ticker must read" in explorer.error
        assert (explorer.ticker, explorer.version) == (MARKET, 1)
        assert explorer.progress == {}
        assert kinds(page.ask(ask="data")) == ["bars", "answers"]

    def test_a_key_that_is_no_saved_model_is_not_taken_for_a_path(self, trained, listen):
        page = listen(saved(trained))
        before = page.explorer.run
        page.choose(run=f"../{trained.name}/{before}")
        assert "no saved model" in page.explorer.error
        assert page.explorer.run == before

    def test_another_source_begins_with_a_ticker_of_its_own(self, page):
        page.choose(source="sample")
        explorer = page.explorer
        assert (explorer.error, explorer.source, explorer.ticker) == ("", "sample", "AAPL")
        assert explorer.choices["tickers"] == ["AAPL", "FB", "GOOG", "IBM", "MSFT"]

    def test_a_source_of_any_ticker_waits_for_one_to_be_typed(self, page):
        page.choose(source="yahoo")
        assert page.explorer.ticker == ""
        assert page.explorer.choices["tickers"] == []
        assert page.explorer.version == 1
        assert "Type a ticker" in page.explorer.status
        page.choose(source="synthetic")
        assert (page.explorer.ticker, page.explorer.version, page.explorer.error) == (MARKET, 1, "")

    def test_an_unknown_source_is_refused(self, page):
        page.choose(source="etc")
        assert "source must be one of" in page.explorer.error
        assert page.explorer.source == "synthetic"

    def test_the_latest_wish_wins(self, page, monkeypatch):
        go_on, asked = threading.Event(), []

        def slow(ticker, **more):
            asked.append(ticker)
            if ticker == OTHER:
                go_on.wait(10)
            return load_prices(ticker, **more)

        monkeypatch.setattr(opening, "load_prices", slow)
        explorer = page.explorer
        explorer.set_state({"ticker": OTHER})
        while not asked:
            time.sleep(0.01)
        assert explorer.progress["what"] == f"loading {OTHER} from synthetic"
        explorer.set_state({"ticker": "LAG2-BARS300"})
        go_on.set()
        explorer.wait(20)
        assert asked == [OTHER, "LAG2-BARS300"]
        assert (explorer.facts["name"], explorer.version, explorer.error) == ("LAG2-BARS300", 2, "")

    def test_going_back_while_another_loads_stays(self, page, monkeypatch):
        go_on = threading.Event()
        monkeypatch.setattr(opening, "load_prices", lambda *a, **k: go_on.wait(10) and load_prices(*a, **k))
        page.explorer.set_state({"ticker": OTHER})
        page.explorer.set_state({"ticker": MARKET})
        go_on.set()
        page.explorer.wait(20)
        assert (page.explorer.ticker, page.explorer.version) == (MARKET, 1)

    def test_a_download_can_be_abandoned_and_says_so(self, page, monkeypatch):
        go_on, begun = threading.Event(), threading.Event()

        def download(ticker, **more):
            begun.set()
            go_on.wait(20)
            raise AssertionError("nobody looks at this any more")

        monkeypatch.setattr(opening, "load_prices", download)
        explorer = page.explorer
        explorer.set_state({"source": "yahoo"})
        explorer.set_state({"ticker": "TSLA"})
        assert begun.wait(10)
        assert explorer.progress["what"] == "downloading TSLA from yahoo"
        assert explorer.progress["cancellable"] is True
        page.ask(ask="cancel")
        assert explorer.status == "The download of TSLA was abandoned."
        assert (explorer.source, explorer.ticker, explorer.error) == ("synthetic", MARKET, "")
        go_on.set()

    def test_a_source_that_fails_is_told(self, page, monkeypatch):
        def fails(*arguments, **more):
            raise SourceError("Yahoo answered TSLA with HTTP 429.")

        monkeypatch.setattr(opening, "load_prices", fails)
        page.choose(source="yahoo")
        page.choose(ticker="TSLA")
        assert page.explorer.error == "Yahoo answered TSLA with HTTP 429."
        assert (page.explorer.source, page.explorer.ticker) == ("synthetic", MARKET)

    def test_setting_a_ticker_in_python_loads_it(self, page):
        page.explorer.ticker = OTHER
        assert page.explorer.wait(20).facts["name"] == OTHER


class TestTraining:
    def test_a_trained_model_is_shown_and_listed(self, page, monkeypatch, tmp_path):
        _quickly(monkeypatch)
        page.ask(ask="train", name="lstm")
        explorer = page.explorer
        assert explorer.error == ""
        assert explorer.facts["model"] == "lstm"
        assert explorer.version == 2
        assert (tmp_path / explorer.run / "model.safetensors").exists()
        assert explorer.run in [
            r["key"] for r in explorer.choices["runs"] if r["group"] == f"trained on {MARKET}"
        ]
        assert explorer.facts["trained"].startswith(f"trained on {MARKET}")

    def test_choosing_to_train_trains(self, page, monkeypatch):
        _quickly(monkeypatch)
        page.choose(run="train:lstm")
        assert page.explorer.facts["model"] == "lstm"
        assert not page.explorer.run.startswith("train:")

    def test_training_tells_what_is_left_and_a_cancelled_one_leaves_all_as_it_was(
        self, page, tmp_path, monkeypatch
    ):
        _for(monkeypatch, epochs=400, patience=None)  # long enough to be cancelled, however quick the machine
        explorer, seen = page.explorer, []
        explorer.observe(lambda change: seen.append(change["new"]), "progress")
        explorer._handle_custom_msg({"ask": "train", "name": "transformer"}, [])
        end = time.monotonic() + 30
        while not any(told.get("seconds_left") for told in seen) and time.monotonic() < end:
            time.sleep(0.02)
        assert f"training transformer on {MARKET}" == seen[0]["what"]
        page.ask(ask="cancel")
        assert "was cancelled" in explorer.status
        assert (explorer.run, explorer.version, explorer.progress) == ("given", 1, {})
        assert not list(tmp_path.glob("*/model.json"))

    def test_one_who_went_on_is_not_torn_away_by_a_finished_training(self, page, monkeypatch):
        go_on = threading.Event()
        _quickly(monkeypatch, lambda: go_on.wait(20))
        page.explorer._handle_custom_msg({"ask": "train", "name": "lstm"}, [])
        page.explorer.set_state({"ticker": OTHER})
        assert page.explorer._lanes["load"].wait(20)
        go_on.set()
        page.explorer.wait(30)
        assert page.explorer.facts["name"] == OTHER
        assert f"lstm trained on {MARKET} is ready" in page.explorer.status
        assert any(r["label"].startswith("lstm") for r in page.explorer.choices["runs"])

    def test_a_failing_training_is_told(self, page, monkeypatch):
        def broken(*arguments, **more):
            raise FloatingPointError("The loss of epoch 1 was not finite.")

        monkeypatch.setattr(training, "ensure_model", broken)
        page.ask(ask="train", name="lstm")
        assert page.explorer.error == "The loss of epoch 1 was not finite."
        assert page.explorer.run == "given"

    @pytest.mark.parametrize("name", ["oracle", None, "../../etc"])
    def test_a_network_that_does_not_exist_is_refused(self, page, name):
        page.ask(ask="train", name=name)
        assert "There is no model" in page.explorer.error


class TestVisitors:
    @pytest.fixture
    def visit(self, trained, listen):
        return listen(Explorer(folder=str(trained), read_only=True))

    def test_only_bundled_and_made_up_prices_are_offered_and_no_training(self, visit):
        choices = visit.explorer.choices
        assert [s["name"] for s in choices["sources"]] == ["sample", "sample20", "synthetic"]
        assert not any(s["open"] for s in choices["sources"])
        assert not any(r["group"] == "train here" for r in choices["runs"])
        assert visit.explorer.read_only is True

    @pytest.mark.parametrize(
        "wish",
        [
            {"source": "yahoo"},
            {"source": "yahoo", "ticker": "AAPL"},
            {"source": "csv", "ticker": "/etc/passwd"},
            {"source": "synthetic", "ticker": "LAG5-BARS9999999"},
            {"ticker": "/etc/passwd"},
            {"run": "/etc"},
            {"run": "train:lstm"},
        ],
        ids=str,
    )
    def test_nothing_else_can_be_had_even_by_a_page_that_cheats(self, visit, wish, monkeypatch):
        monkeypatch.setattr(opening, "load_prices", None)
        visit.choose(read_only=False)
        visit.explorer.read_only = False  # even if that came through
        visit.choose(**wish)
        explorer = visit.explorer
        assert explorer.error
        assert (explorer.source, explorer.ticker, explorer.version) == ("sample", "AAPL", 1)
        assert not explorer.run.startswith("train")

    def test_a_visitor_cannot_train(self, visit):
        visit.ask(ask="train", name="lstm")
        assert "looking only" in visit.explorer.error

    def test_a_visitor_can_look_around(self, visit):
        visit.choose(ticker="MSFT")
        assert (visit.explorer.error, visit.explorer.facts["name"]) == ("", "MSFT")

    def test_what_differs_from_the_training_is_told_without_the_folder(
        self, tmp_path, prices, windows_of, monkeypatch, listen
    ):
        home = tmp_path / "of the house"
        changed = prices.copy()
        changed.attrs = {"provenance": prices.attrs["provenance"] | {"sha256": "0" * 64}}
        windows = windows_of(changed)
        train, valid, _ = windows.split(0.6, 0.8)
        ensure_model("lstm", train, valid, folder=home, epochs=1, progress=False)
        with pytest.warns(UserWarning, match="no longer those"):
            explorer = Explorer(source="synthetic", ticker=MARKET, folder=str(home), read_only=True)
        page = listen(explorer)
        assert "that the model in lstm-" in explorer.status
        monkeypatch.setattr(scoring, "explain", lambda *a, **k: (_ for _ in ()).throw(OSError(f"{home}/x")))
        ask = {"ask": "scores", "version": 1, "method": explorer.method, "target": "", "windows": [0]}
        failed = page.ask(**ask)
        assert failed[0][0]["error"] == "x"
        explorer.error = f"{home}/lstm is gone, and so is /srv/data/AAPL.csv (see https://pytorch.org/docs)."
        assert explorer.error == "lstm is gone, and so is AAPL.csv (see https://pytorch.org/docs)."
        state = {k: v for k, v in explorer.get_state().items() if not k.startswith("_")}
        told = json.dumps([state, page.messages[-1][0], page.states], default=str)
        assert str(tmp_path) not in told
        assert "/srv" not in told

    def test_where_files_lie_stays_in_the_house(self, visit, trained):
        state = {k: v for k, v in visit.explorer.get_state().items() if not k.startswith("_")}
        assert str(trained) not in json.dumps({**state, "code": visit.explorer.code}, default=str)


class TestNotebook:
    def test_the_day_shown_is_at_hand(self, explorer, model, windows, prices):
        explorer.date = explorer._subject.date_texts[20]
        assert explorer.day.dates[0] == windows.dates[20]
        assert np.allclose(explorer.explanation.scores, explain(model, windows[20]).scores, atol=1e-6)
        assert explorer.explanation.dates[0] == windows.dates[20]
        assert explorer.maps.layers[0].shape == (1, 2, 12, 12)
        assert explorer.money.equity.index[0] == windows.dates[0]

    def test_code_shows_the_same_view_again(self, trained, tmp_path):
        explorer = saved(trained, confidence=0.35)
        explorer.set_state({"date": "2000-06-01", "layer": 1, "head": "1"})
        import workbench as wb

        again = eval(
            explorer.code, {"wb": type("wb", (), {"Explorer": Explorer, "load_model": wb.load_model})}
        )
        for name in ("source", "ticker", "run", "method", "date", "layer", "head"):
            assert getattr(again, name) == getattr(explorer, name)
        assert again.facts == explorer.facts
        assert explorer.code.startswith(explorer.facts["code"])

    def test_code_of_a_model_handed_over_names_its_parts(self, explorer):
        assert explorer.code.startswith("wb.Explorer(model, windows, prices, source='synthetic'")

    def test_code_hands_a_history_over_again(self, trained, tmp_path):
        folder = next(p for p in trained.iterdir() if p.name.startswith(f"transformer-{MARKET}"))
        opened = reopen(folder)
        names = {"model": opened.model, "windows": opened.windows, "prices": opened.prices}
        history = opened.history
        explorer = Explorer(**names, history=history, folder=str(tmp_path))
        assert explorer.code.startswith("wb.Explorer(model, windows, prices, history=history, source=")
        shown = {"wb": type("wb", (), {"Explorer": Explorer}), "history": history, **names}
        assert eval(explorer.code, shown).facts == explorer.facts

    def test_a_notebook_shows_a_picture_where_no_widget_runs(self, explorer):
        bundle, _ = explorer._repr_mimebundle_()
        assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")
        assert "application/vnd.jupyter.widget-view+json" in bundle
        assert explorer.picture == "data:image/png;base64," + bundle["image/png"]

    def test_a_picture_too_large_for_a_notebook_is_made_smaller(self):
        from io import BytesIO

        from PIL import Image

        from workbench.widgets.pictures import MOST_TEXT, data_url

        file = BytesIO()
        noise = np.random.default_rng(0).integers(0, 255, (400, 500, 3), dtype=np.uint8)
        Image.fromarray(noise).save(file, "png")
        assert len(file.getvalue()) > MOST_TEXT
        assert len(data_url(file.getvalue())) <= MOST_TEXT

    def test_a_snapshot_follows_the_view(self, explorer):
        before = explorer.snapshot().data
        explorer.layer = 1
        assert explorer.snapshot().data != before

    def test_the_page_can_ask_for_a_fresh_picture(self, page):
        page.ask(ask="picture")
        assert page.explorer.picture.startswith("data:image/png;base64,")

    def test_a_picture_asked_for_is_that_of_the_view_then(self, page, monkeypatch):
        explorer, drawn = page.explorer, []
        first = explorer._subject
        monkeypatch.setattr(widget, "draw", lambda *sight: drawn.append(sight) or b"png")
        monkeypatch.setattr(widget, "data_url", bytes.decode)
        going, go_on = threading.Event(), threading.Event()
        held = Job("waiting", lambda job: going.set() or go_on.wait(20), lambda done: None, pytest.fail)
        explorer._lanes["picture"].submit(held)
        assert going.wait(10)
        explorer.set_state({"date": first.date_texts[40]})
        explorer._handle_custom_msg({"ask": "picture"}, [])
        explorer.set_state({"date": first.date_texts[90]})
        explorer.set_state({"ticker": "LAG2-BARS300"})
        explorer._lanes["load"].wait(20)
        go_on.set()
        explorer.wait(20)
        ((subject, window, chosen, why),) = drawn
        assert (subject, window, chosen["date"]) == (first, 40, first.date_texts[40])
        assert why.dates[0] == first.windows.dates[40]

    def test_a_view_that_has_settled_is_drawn_once_as_it_was_left(self, page, monkeypatch):
        explorer, drawn, hung = page.explorer, [], threading.Event()
        monkeypatch.setattr(widget, "SETTLED", 0.3)
        monkeypatch.setattr(widget, "draw", lambda *sight: drawn.append(sight) or b"png")
        monkeypatch.setattr(widget, "data_url", bytes.decode)
        explorer.observe(lambda change: hung.set(), "picture")
        days = explorer._subject.date_texts[40:60]
        explorer.date = days[0]
        assert not hung.wait(0.6)  # nobody has it on a page
        page.ask(ask="data")
        for day in days:
            explorer.set_state({"date": day})
        explorer.set_state({"layer": 1})
        assert not drawn
        assert explorer.wait(1) is explorer  # which does not wait for the picture
        assert hung.wait(10)
        assert explorer.picture == "png"
        ((_, window, chosen, _),) = drawn
        assert (window, chosen["date"], chosen["layer"]) == (59, days[-1], 1)

    @pytest.mark.parametrize("way", ["closed", "visitor"])
    def test_no_view_is_drawn_that_nobody_can_keep(self, model, windows, prices, listen, monkeypatch, way):
        drawn = []
        monkeypatch.setattr(widget, "SETTLED", 0.2)
        monkeypatch.setattr(widget, "draw", lambda *sight: drawn.append(sight) or b"png")
        page = listen(Explorer(model, windows, prices, read_only=way == "visitor"))
        page.ask(ask="data")
        page.choose(layer=1)
        if way == "closed":
            page.explorer.close()
        time.sleep(0.5)
        assert not drawn

    def test_scores_long_in_coming_come_into_the_picture_that_is_kept(self, page, monkeypatch):
        drawn, hung = [], threading.Event()
        monkeypatch.setitem(METHODS, "rollout", replace(METHODS["rollout"], slow=True))
        monkeypatch.setattr(widget, "SETTLED", 0.1)
        monkeypatch.setattr(widget, "draw", lambda *sight: drawn.append(sight) or b"png")
        monkeypatch.setattr(widget, "data_url", bytes.decode)
        page.explorer.observe(lambda change: hung.set(), "picture")
        page.ask(ask="data")
        page.choose(target="buy", layer=1)
        assert hung.wait(10)
        assert drawn[-1][3] == "Attention rollout: not computed yet"
        window = page.explorer._window
        page.ask(ask="scores", version=1, method="rollout", target="buy", windows=[window])
        assert page.explorer._painter.wait(10)
        assert drawn[-1][3].dates[0] == page.explorer.day.dates[0]

    def test_pictures_are_drawn_beside_the_lane_of_maps(self, page, monkeypatch):
        going, go_on = threading.Event(), threading.Event()
        monkeypatch.setattr(widget, "draw", lambda *sight: (going.set(), go_on.wait(20)) and b"png")
        monkeypatch.setattr(widget, "data_url", bytes.decode)
        page.explorer._handle_custom_msg({"ask": "picture"}, [])
        assert going.wait(10)
        page.explorer._handle_custom_msg({"ask": "maps", "version": 1, "windows": [4]}, [])
        assert page.explorer._lanes["quick"].wait(10)
        assert kinds(page.messages) == ["maps"]
        go_on.set()
        page.explorer.wait(10)

    def test_a_day_of_the_training_has_a_picture_though_it_is_not_traded(self, trained):
        explorer = saved(trained, date="2000-03-15")
        assert explorer.snapshot().data
        told = pictures._money(explorer._subject, 0, 60)
        assert set(told) == {"position"}
        assert len(told["position"]) > 0

    def test_a_model_without_attention_has_a_picture_too(self, windows, prices):
        assert Explorer(build_model("lstm", windows), windows, prices).snapshot().data


def _quickly(monkeypatch, first=lambda: None):
    _for(monkeypatch, first, epochs=1)


def _for(monkeypatch, first=lambda: None, **options):
    """Let the Explorer train with other options of `fit`, once `first` returns."""
    ensure = training.ensure_model

    def trained(*arguments, **more):
        first()
        return ensure(*arguments, **more, **options)

    monkeypatch.setattr(training, "ensure_model", trained)
