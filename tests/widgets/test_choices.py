import json
import shutil
from pathlib import Path

import pytest

from workbench.training.checkpoints import ensure_model
from workbench.training.reopening import bundled_models
from workbench.widgets.assets import script
from workbench.widgets.explorer import Explorer

MARKET = "LAG5-SNR2-BARS260"
PARTS = {"source": "synthetic", "ticker": MARKET}


def saved_of(folder: Path, kind: str = "transformer") -> Path:
    return next(place for place in folder.iterdir() if place.name.startswith(f"{kind}-{MARKET}"))


@pytest.fixture
def folder(trained, tmp_path):
    """The saved models, in a folder of this test's own."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_models_that_look_alike_are_told_apart(folder, windows):
    train, valid, _ = windows.split(0.6, 0.8)
    ensure_model("lstm", train, valid, folder=folder, seed=7, epochs=1, progress=False)
    runs = Explorer(**PARTS, folder=str(folder)).choices["runs"]
    labels = [run["label"] for run in runs]
    assert len(set(labels)) == len(labels)
    twice = {run["label"]: run["key"] for run in runs if run["label"].startswith(f"lstm · {MARKET}")}
    assert len(twice) == 2
    assert all(label == f"lstm · {MARKET} · 12 bars · {key}" for label, key in twice.items())
    assert f"transformer · {MARKET} · 12 bars" in labels  # alone of its kind, so that it needs no more words


def test_models_that_cannot_be_used_come_last_disabled_and_tell_no_path(folder):
    broken = saved_of(folder, "lstm")
    (broken / "model.json").write_text("{")
    explorer = Explorer(**PARTS, folder=str(folder))
    runs = explorer.choices["runs"]
    assert [run["key"] for run in runs if run["disabled"]] == [broken.name]
    assert (runs[-1]["key"], runs[-1]["group"]) == (broken.name, "cannot be used")
    assert runs[-1]["note"].startswith(f"{broken.name}/model.json is not JSON")
    assert str(folder) not in json.dumps(explorer.choices)
    visitor = Explorer(**PARTS, folder=str(folder), read_only=True)
    assert not any(run["disabled"] for run in visitor.choices["runs"])


def test_a_copy_of_a_bundled_model_is_listed_once_unless_it_is_shown(tmp_path):
    shutil.copytree(bundled_models() / "transformer-AAPL", tmp_path / "copy")
    explorer = Explorer(folder=str(tmp_path))
    keys = [run["key"] for run in explorer.choices["runs"]]
    assert explorer.run == "transformer-AAPL"
    assert "copy" not in keys
    shown = Explorer(run="copy", folder=str(tmp_path))
    assert {"copy", "transformer-AAPL"} <= {run["key"] for run in shown.choices["runs"]}


def test_a_model_with_other_weights_than_the_bundled_one_like_it_is_listed(tmp_path, monkeypatch):
    shutil.copytree(bundled_models() / "transformer-AAPL", tmp_path / "copy")
    monkeypatch.setattr("workbench.widgets.choices._weights", lambda model: model.key)
    assert "copy" in [run["key"] for run in Explorer(folder=str(tmp_path)).choices["runs"]]


def test_the_page_shows_what_cannot_be_used_but_does_not_let_it_be_chosen():
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    text = script("explorer.js").replace("export default", "window.widget =") + "window.Controls = Controls;"
    runs = [
        {"key": "a", "label": "A", "note": "good", "group": "given", "disabled": False},
        {"key": "b", "label": "B", "note": "broken", "group": "cannot be used", "disabled": True},
    ]
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--headless", "--no-sandbox"])
        page = browser.new_page()
        page.add_script_tag(content=text, type="module")
        page.wait_for_function("window.Controls !== undefined")
        page.evaluate("runs => new Controls(document.body, () => {}).showRuns(runs, 'a', false)", runs)
        options = page.locator("[data-awb=run] option")
        assert options.evaluate_all("all => all.map(o => [o.value, o.disabled, o.title])") == [
            ["a", False, "good"],
            ["b", True, "broken"],
        ]
        browser.close()
