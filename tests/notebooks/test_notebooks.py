"""Every numbered notebook: committed executed, in step with its twin, and running with small parameters."""

import importlib.util
from pathlib import Path

import nbformat
import notebook_rules as rules
import pytest
from nbformat import NotebookNode

from workbench.environment import ROOT
from workbench.market.loading import load_prices
from workbench.runs.notebooks import Limits, run_notebook
from workbench.runs.parameters import declared_parameters

NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))

# Small enough for a few seconds each. "{folder}" is one folder that all of them share.
QUICK = {"START": "2007-01-01", "LOOKBACK": 20, "EPOCHS": 2, "MODELS": "{folder}/models"}
SMALL: dict[str, dict[str, object]] = {
    "00_tour": {"DATE": "2008-09-29"},
    "01_market": {"START": "2007-01-01", "LOOKBACK": 20},
    "02_training": QUICK,
    "03_rollout": QUICK,
    "04_backtest": QUICK,
    "05_explainers": {**QUICK, "WINDOWS": 3, "PLANTED_EPOCHS": 1},
    "06_models": {
        "PANEL_FROM": "2015",
        "PANEL_VALID": "2016-07",
        "PANEL_TEST": "2017-07",
        "EPOCHS": 1,
        "SMALL": "{folder}/comparison",
    },
    "07_gates": {
        "START": "2007-01-01",
        "LOOKBACK": 20,
        "HIDDEN": 16,
        "EPOCHS": 3,
        "RUNS": 4,
        "RUN_EPOCHS": 6,
        "RECENT": 200,
    },
}

# Other data through the same notebooks: one that they know the truth of, one of a few months.
OTHERS = {
    "synthetic": {
        "SOURCE": "synthetic",
        "TICKER": "LAG6-SNR4",
        "START": None,
        "LOOKBACK": 20,
        "EPOCHS": 15,
    },
    "hourly": {"SOURCE": "synthetic", "TICKER": "NOISE", "INTERVAL": "1h", "START": None},
    "short": {"TICKER": "FB", "START": None, "LOOKBACK": 10, "HORIZON": 3},
    "csv": {"SOURCE": "csv", "TICKER": "{folder}/prices.csv", "START": None},
}

each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("notebooks")


def test_every_notebook_has_small_parameters():
    assert [path.stem for path in NOTEBOOKS] == list(SMALL)


@each
def test_it_is_committed_executed(path: Path):
    assert rules.not_executed(nbformat.read(path, as_version=4)) == []


@each
def test_it_knows_nothing_of_the_machine_it_was_run_on(path: Path):
    notebook = nbformat.read(path, as_version=4)
    assert rules.leaked_paths(notebook) + rules.ill_described(notebook) == []


@each
def test_its_widgets_are_pictures(path: Path):
    assert rules.live_widgets(nbformat.read(path, as_version=4)) == []


@each
def test_it_opens_with_a_title_a_goal_and_its_parameters(path: Path):
    notebook = nbformat.read(path, as_version=4)
    assert rules.no_opening(notebook) + rules.no_parameters(notebook) == []


@each
def test_it_agrees_with_its_twin(path: Path):
    assert rules.unpaired(nbformat.read(path, as_version=4), path) == []


def test_no_function_is_defined_in_two_notebooks():
    assert rules.defined_twice((path.stem, nbformat.read(path, as_version=4)) for path in NOTEBOOKS) == []


def ran(path: Path, folder: Path, parameters: dict[str, object]) -> NotebookNode:
    """Run a notebook and return it as executed."""
    filled = {
        name: value.format(folder=folder) if isinstance(value, str) else value
        for name, value in parameters.items()
    }
    output = folder / "executed" / path.name
    run = run_notebook(path, output, filled, Limits(start=120, cell=120, notebook=240))
    assert run.status == "finished", str(run)
    return nbformat.read(output, as_version=4)


@pytest.mark.notebook
@each
def test_it_runs_with_small_parameters(path: Path, folder: Path):
    ran(path, folder, SMALL[path.stem])


@pytest.mark.notebook
@pytest.mark.parametrize(("stem", "data"), [
    ("00_tour", "synthetic"),
    ("00_tour", "csv"),
    ("01_market", "hourly"),
    ("01_market", "csv"),
    ("02_training", "csv"),
    ("03_rollout", "synthetic"),
    ("04_backtest", "synthetic"),
    ("04_backtest", "short"),
    ("05_explainers", "short"),
    ("07_gates", "synthetic"),
    ("07_gates", "short"),
])  # fmt: skip
def test_it_runs_on_other_data(stem: str, data: str, folder: Path):
    if data == "csv":
        load_prices("IBM", start="2008-01-01").to_csv(folder / "prices.csv")
    path = ROOT / "notebooks" / f"{stem}.ipynb"
    parameters = {**SMALL[stem], **OTHERS[data]}
    declared = declared_parameters(path)
    notebook = ran(path, folder, {name: value for name, value in parameters.items() if name in declared})
    if (stem, data) == ("03_rollout", "synthetic"):
        printed = "".join(o.get("text", "") for cell in notebook.cells for o in cell.get("outputs", []))
        assert "the planted lag, t−6, is number 1 of 20 by attention over the null's" in printed


def test_the_part_on_hugging_face_says_what_to_install_where_it_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    notebook = nbformat.read(ROOT / "notebooks" / "05_explainers.ipynb", as_version=4)
    cells = [cell.source for cell in rules.code_cells(notebook) if "patch_tst" in cell.source]
    assert "transformers" in cells[0]
    known = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "transformers" else known(name, *rest),
    )
    names: dict[str, object] = {"importlib": importlib}
    for source in cells:
        exec(source, names)
    assert capsys.readouterr().out.splitlines() == [
        "Skipped, as transformers is not installed. To see this part: python -m pip install transformers"
    ]
