"""Every numbered notebook: committed executed, in step with its twin, and running with small parameters."""

from pathlib import Path

import nbformat
import notebook_rules as rules
import pytest

from workbench.environment import ROOT
from workbench.runs.notebooks import Limits, run_notebook

NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))

# Small enough for a few seconds each. "{folder}" is one folder that all of them share.
SMALL: dict[str, dict[str, object]] = {}

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
def test_it_opens_with_a_title_a_goal_and_its_parameters(path: Path):
    notebook = nbformat.read(path, as_version=4)
    assert rules.no_opening(notebook) + rules.no_parameters(notebook) == []


@each
def test_it_agrees_with_its_twin(path: Path):
    assert rules.unpaired(nbformat.read(path, as_version=4), path) == []


def test_no_function_is_defined_in_two_notebooks():
    assert rules.defined_twice((path.stem, nbformat.read(path, as_version=4)) for path in NOTEBOOKS) == []


@pytest.mark.notebook
@each
def test_it_runs_with_small_parameters(path: Path, folder: Path):
    parameters = {
        name: value.format(folder=folder) if isinstance(value, str) else value
        for name, value in SMALL[path.stem].items()
    }
    run = run_notebook(
        path, folder / "executed" / path.name, parameters, Limits(start=120, cell=120, notebook=240)
    )
    assert run.status == "finished", str(run)
