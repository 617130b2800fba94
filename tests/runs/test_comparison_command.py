import json
import os
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from workbench.environment import ROOT
from workbench.runs.comparison import command, contest, results, trial
from workbench.runs.comparison.baselines import NotRun
from workbench.runs.comparison.command import parse, run_compare
from workbench.runs.comparison.datasets import load_dataset
from workbench.runs.comparison.published import published
from workbench.runs.comparison.results import disagreeing, read_results
from workbench.runs.comparison.tables import (
    costs_table,
    figures_table,
    intervals_table,
    learning_curves,
    needs_table,
    published_table,
    with_spread,
)

SMALL = ["--smallest", "--datasets", "closes20", "--models", "zero", "ridge", "lstm", "--seeds", "0"]


@pytest.fixture(scope="module", autouse=True)
def loaded_once():
    """Datasets are loaded once for all these tests: nothing here changes one."""
    with pytest.MonkeyPatch.context() as patch:
        once = cache(load_dataset)
        patch.setattr(contest, "load_dataset", once)
        patch.setattr(results, "load_dataset", once)
        yield


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a smallest comparison."""
    folder = tmp_path_factory.mktemp("comparison")
    assert run_compare(parse([*SMALL, "--out", str(folder)]), ROOT) == 0
    (folder / "first.json").write_bytes(
        (folder / "results.json").read_bytes()
    )  # which other tests write anew
    return folder


@pytest.fixture(scope="module")
def first(done: Path) -> str:
    return (done / "first.json").read_text(encoding="utf-8")


@pytest.fixture
def found(first: str) -> dict[str, Any]:
    return json.loads(first)


def test_every_figure_is_there_with_how_it_was_made(found: dict[str, Any]):
    assert [cell["model"] for cell in found["cells"]] == ["zero", "ridge", "lstm"]
    lstm = found["cells"][2]
    assert set(lstm["figures"]) == set(results.FIGURES)
    assert set(lstm["cost"]) == set(results.COSTS)
    assert lstm["cost"]["parameters"] > 10_000
    assert lstm["cost"]["train_cpu_s"] > 0
    assert [row["valid_ic"] for row in lstm["epochs"]] == [lstm["epochs"][0]["valid_ic"]]
    assert len({cell["key"] for cell in found["cells"]}) == 3
    data = found["datasets"]["closes20"]
    assert data["test_days"] == len(set(data["tested"])) + 123
    y = load_dataset("closes20", smallest=True).test.labelled().y
    assert data["commoner_sign"] == pytest.approx(max((y > 0).float().mean(), (y < 0).float().mean()))
    low, high = found["models"][2]["intervals"]["ic"]
    assert low < found["models"][2]["figures"]["ic"]["mean"] < high


def test_what_was_not_run_says_so(found: dict[str, Any]):
    table = figures_table(found, "closes20")
    assert table.loc["gru", "IC"] == "not run"
    assert table.loc["gru", "seeds"] == "not asked for"
    assert table.loc["zero", "IC"] == "–"
    assert list(table.index)[2] == "zero"  # after those that have one
    assert costs_table(found, "closes20").loc["zero", "parameters"] == "0"


def test_published_figures_stand_in_columns_of_their_own(found: dict[str, Any]):
    table = published_table(found, "closes20")
    assert table.loc["lstm", ("published, of CSI 300", "Alpha360 IC")] == "0.0448"
    assert table.loc["ridge", ("published, of CSI 300", "Alpha360 IC")] == "–"
    assert "microsoft/qlib" in found["published"]["citation"]
    assert published().loc["sfm", "Alpha158 IC"] == 0.0379


def test_tables_of_needs_intervals_and_curves_are_made_of_it(found: dict[str, Any]):
    assert needs_table(found, "closes20").shape == (8, 3)
    assert list(intervals_table(found, "closes20").columns) == ["mean", "low", "high"]
    assert "zero" not in intervals_table(found, "closes20").index
    curves = learning_curves(found, "closes20", "train_loss")
    assert list(curves) == ["lstm"]
    assert curves["lstm"].shape == (1, 1)


def test_what_is_there_is_not_computed_again(done: Path, monkeypatch, capsys):
    def refuse(*_: object) -> None:
        raise AssertionError("a cell ran again")

    monkeypatch.setattr(trial, "run_cell", refuse)
    before = {path: path.stat().st_mtime_ns for path in done.glob("cells/*")}
    assert run_compare(parse([*SMALL, "--out", str(done)]), ROOT) == 0
    assert {path: path.stat().st_mtime_ns for path in done.glob("cells/*")} == before
    assert capsys.readouterr().out.count("was there") == 3


def test_another_seed_epoch_or_setting_is_another_cell(done: Path, monkeypatch):
    ran = []

    def note(cell: Any, *_: object) -> None:
        ran.append((cell.model, cell.seed))
        raise NotRun("enough")

    monkeypatch.setattr(trial, "run_cell", note)
    run_compare(parse([*SMALL, "1", "--out", str(done)]), ROOT)
    assert ran == [("lstm", 1)]  # the others have no chance in them
    run_compare(parse([*SMALL, "--epochs", "2", "--out", str(done)]), ROOT)
    assert len(ran) == 4


def test_a_narrower_call_keeps_what_an_earlier_one_found(done: Path, found: dict[str, Any]):
    assert run_compare(parse([*SMALL[:3], "--models", "zero", "--out", str(done)]), ROOT) == 0
    kept = json.loads((done / "results.json").read_text())
    assert kept["cells"] == found["cells"]


def test_what_is_there_can_be_put_together_without_running_anything(done: Path, found, monkeypatch, capsys):
    monkeypatch.setattr(trial, "run_cell", lambda *_: pytest.fail("a cell ran"))
    asked = [*SMALL[:3], "--models", "zero", "ridge", "lstm", "gru", "--seeds", "0", "--gather"]
    assert run_compare(parse([*asked, "--out", str(done)]), ROOT) == 0
    assert "gru                seed 0  not run: not yet" in capsys.readouterr().out
    kept = json.loads((done / "results.json").read_text())
    assert kept["cells"] == found["cells"]
    assert figures_table(kept, "closes20").loc["gru", "seeds"] == "not yet"


def test_a_cell_that_cannot_run_leaves_the_others_theirs(tmp_path: Path, monkeypatch, capsys):
    whole = trial.run_cell

    def sometimes(cell: Any, *rest: Any) -> dict[str, Any]:
        if cell.model == "ridge":
            raise ValueError("no such luck")
        return whole(cell, *rest)

    monkeypatch.setattr(trial, "run_cell", sometimes)
    asked = ["--smallest", "--datasets", "closes20", "--models", "zero", "ridge", "last_return"]
    assert run_compare(parse([*asked, "--out", str(tmp_path)]), ROOT) == 1
    assert "failed: no such luck" in capsys.readouterr().out
    found = json.loads((tmp_path / "results.json").read_text())
    assert [cell["model"] for cell in found["cells"]] == ["zero", "last_return"]
    assert figures_table(found, "closes20").loc["ridge", "seeds"] == "failed: no such luck"


def test_a_model_that_cannot_read_the_windows_is_not_run_and_no_failure(tmp_path: Path, capsys):
    asked = ["--smallest", "--datasets", "ohlcv5", "--models", "zero", "hist", "--seeds", "0"]
    assert run_compare(parse([*asked, "--out", str(tmp_path)]), ROOT) == 0
    assert "not run: HIST needs columns concept:<name>" in capsys.readouterr().out
    found = json.loads((tmp_path / "results.json").read_text())
    assert figures_table(found, "ohlcv5").loc["hist", "IC"] == "not run"


def test_a_killed_run_is_picked_up_where_it_was(tmp_path: Path):
    models = ["--models", "zero", "last_return", "ridge", "lightgbm", "lstm", "--seeds", "0"]
    asked = [sys.executable, "-m", "workbench", "compare", *SMALL[:3], *models, "--out", str(tmp_path)]
    settings = {**os.environ, "WORKBENCH_ENV": "current", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    run = subprocess.Popen(asked, env=settings, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not list(tmp_path.glob("cells/[a-z]*.json")) and time.monotonic() < until:
        time.sleep(0.005)
    run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    kept = {path: path.read_bytes() for path in tmp_path.glob("cells/[a-z]*.json")}
    assert 1 <= len(kept) < 5
    assert not (tmp_path / "results.json").exists()
    assert all(json.loads(content)["key"] for content in kept.values())
    assert run_compare(parse(asked[4:]), ROOT) == 0
    cells = sorted(path for path in tmp_path.glob("cells/[a-z]*.json"))
    assert len(cells) == 5
    assert {path: path.read_bytes() for path in kept} == kept


def test_results_of_other_code_data_or_settings_are_told(found: dict[str, Any]):
    assert disagreeing(found) == []
    found["cells"][0]["code"] = "0" * 64
    found["cells"][1]["data"] = "0" * 64
    found["cells"][2]["model"] = "gone"
    told = [(each["model"], each["differs"]) for each in disagreeing(found)]
    assert told == [("zero", ["code"]), ("ridge", ["data"]), ("gone", ["model"])]


def test_results_are_read_or_it_is_said_how_they_are_made(done: Path, tmp_path: Path):
    assert read_results(done / "results.json")["smallest"] is True
    with pytest.raises(FileNotFoundError, match="python3 -m workbench compare"):
        read_results(tmp_path / "results.json")


def test_a_misspelt_model_starts_nothing(tmp_path: Path, capsys):
    assert run_compare(parse(["--models", "lstn", "--out", str(tmp_path)]), ROOT) == 2
    assert "Did you mean 'lstm'?" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments", [["--epochs", "0"], ["--epochs", "x"], ["--datasets", "x"], ["--seed", "1"]]
)
def test_a_mistake_is_told_before_anything_is_imported(arguments: list[str], capsys):
    with pytest.raises(SystemExit) as stop:
        command.parse(arguments)
    assert stop.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_spreads_are_written_with_digits_that_suit_their_size():
    for mean, sd, told in (
        (0.01234, 0.00056, "0.0123 ± 0.0006"),
        (1.234, None, "1.23"),
        (-12.34, 0.5, "-12.3 ± 0.5"),
        (12345.6, 7.0, "12,346 ± 7"),
        (0.0, None, "0"),
        (None, None, "–"),
    ):
        assert with_spread({"mean": mean, "sd": sd}) == told
