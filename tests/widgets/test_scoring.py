"""Explanations as an Explorer keeps and sends them: methods registered elsewhere, and a measured trust."""

import shutil
import threading
import time
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

import workbench.widgets.scoring as scoring
from workbench.explainers.explanation import explain
from workbench.explainers.methods import METHODS, Method, Scored
from workbench.widgets.assets import script
from workbench.widgets.explorer import Explorer


@dataclass(frozen=True)
class Faithfulness:
    """As another part of the package may measure it."""

    comprehensiveness: float

    def __str__(self) -> str:
        return f"comprehensiveness {self.comprehensiveness:.2f}, better than 9 of 10 orders"


def _ask(method, windows, target=""):
    return {"ask": "scores", "version": 1, "method": method, "target": target, "windows": windows}


def _trusting(monkeypatch, trust_of):
    def trusted(*arguments, **more):
        found = explain(*arguments, **more)
        return replace(found, trust=trust_of(found))

    monkeypatch.setattr(scoring, "explain", trusted)


@pytest.fixture
def later(monkeypatch):
    """Register methods as another module would: one by feature, and one that takes its time."""
    go_on = threading.Event()

    def by_feature(question):
        x = question.windows.batch(slice(None))
        outputs = torch.zeros(len(x), question.windows.n_outputs)
        return Scored(x.numpy() * 2, outputs, question.target or "likeliest class")

    def patient(question):
        count, lookback = len(question.windows), question.windows.lookback
        for done in range(1, 200):
            question.watch.report(done, 200)
            if go_on.wait(0.05):
                break
        outputs = torch.zeros(count, question.windows.n_outputs)
        return Scored(np.full((count, lookback), 1 / lookback, np.float32), outputs, "last bar")

    kinds = {"needs_attention": False}
    double = Method(
        "double", "Doubled values", "twice each value", by_feature,
        **kinds, targets=True, by_feature=True, signed=True,
    )  # fmt: skip
    patience = Method(
        "patience", "Patience", "after a while", patient,
        **kinds, targets=False, by_feature=False, signed=False, slow=True,
    )  # fmt: skip
    monkeypatch.setitem(METHODS, "double", double)
    monkeypatch.setitem(METHODS, "patience", patience)
    yield go_on
    go_on.set()


@pytest.fixture
def opened(later, model, windows, prices, tmp_path, listen):
    return listen(Explorer(model, windows, prices, folder=str(tmp_path)))


def test_methods_registered_later_are_offered(opened):
    methods = {method["name"]: method for method in opened.explorer.choices["methods"]}
    assert list(methods)[-2:] == ["double", "patience"]
    assert methods["double"] == {
        "name": "double",
        "label": "Doubled values",
        "what": "twice each value",
        "targets": True,
        "by_feature": True,
        "signed": True,
        "disabled": "",
    }


def test_scores_by_feature_of_a_method_registered_later_are_sent(opened, windows, numbers):
    opened.choose(method="double", target="buy")
    assert (opened.explorer.method, opened.explorer.error) == ("double", "")
    ((content, (buffer,)),) = opened.ask(**_ask("double", [70, 3], "buy"))
    assert (content["features"], content["signed"], content["null"]) == (13, True, 0)
    assert content["answered"] == "buy"
    expected = windows[[70, 3]].batch(slice(None)).numpy() * 2
    assert np.array_equal(numbers(buffer, "<f4", *expected.shape), expected)


def test_a_slow_method_registered_later_tells_its_progress_and_can_be_cancelled(opened, later):
    explorer, seen = opened.explorer, []
    explorer.observe(lambda change: seen.append(change["new"]), "progress")
    explorer._handle_custom_msg(_ask("patience", [5, 6]), [])
    end = time.monotonic() + 20
    while not any(told.get("seconds_left") for told in seen) and time.monotonic() < end:
        time.sleep(0.02)
    assert seen[0]["what"] == "Patience of 2 days"
    assert seen[-1]["total"] == 200
    assert seen[-1]["cancellable"] is True
    ((content, _),) = opened.ask(ask="cancel")
    assert content["error"] == "Patience of 2 days: cancelled."
    assert explorer.progress == {}
    later.set()
    ((content, _),) = opened.ask(**_ask("patience", [5, 6]))
    assert (content["kind"], content["windows"], content["features"]) == ("scores", [5, 6], 0)


@pytest.mark.parametrize(
    ("trust", "said"),
    [
        (Faithfulness(0.314), "comprehensiveness 0.31, better than 9 of 10 orders"),
        ("tested: holds", "tested: holds"),
        (0.25, "0.25"),
        (0, "0"),
        (None, None),
    ],
    ids=str,
)
def test_a_measured_trust_goes_with_the_scores(page, monkeypatch, trust, said):
    _trusting(monkeypatch, lambda found: trust)
    ((content, _),) = page.ask(**_ask("rollout", [3, 4]))
    assert content["trust"] == said


def test_scores_measured_apart_name_each_trust(page, monkeypatch):
    _trusting(monkeypatch, lambda found: str(found.dates[0].date()))
    days = page.explorer._subject.date_texts
    ((content, _),) = page.ask(**_ask("rollout", [3, 70, 4]))
    assert content["trust"] == f"{days[0]}; {days[64]}"


def test_a_measured_trust_stands_in_the_line_of_the_page(page, monkeypatch):
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    _trusting(monkeypatch, lambda found: Faithfulness(0.314))
    ((content, _),) = page.ask(**_ask("rollout", [3]))
    text = script("explorer.js").replace("export default", "window.widget =") + "window.Display = Display;"
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--headless", "--no-sandbox"])
        shown = browser.new_page()
        shown.add_script_tag(content=text, type="module")
        shown.wait_for_function("window.Display !== undefined")
        line = shown.evaluate(
            "found => { const trust = document.body;"
            " Display.prototype.showTrust.call({ parts: { trust } }, found, 'Attention rollout');"
            " return trust.textContent; }",
            content,
        )
        browser.close()
    assert line.endswith("comprehensiveness 0.31, better than 9 of 10 orders")
    assert str(page.explorer.explanation.trust) in line
