"""The rules see what they are there to see, and sanitising leaves what must be compared."""

import configparser
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jupytext
import nbformat
import notebook_rules as rules
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

OPENING = "# A market\n**Goal.** x **Prerequisites.** none **Time.** 5 s"


@pytest.fixture
def good() -> NotebookNode:
    cells = [
        new_markdown_cell(OPENING),
        new_code_cell("SEED = 0", execution_count=1, metadata={"tags": ["parameters"]}),
        new_code_cell(
            "# NBVAL_CHECK_OUTPUT\nprint(SEED)",
            execution_count=2,
            outputs=[new_output("stream", text="0 2011-08-08\n")],
        ),
    ]
    return new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})


@pytest.fixture
def faults(tmp_path: Path) -> Callable[[NotebookNode], list[str]]:
    """The faults of a notebook that is written with its twin beside it."""

    def of(notebook: NotebookNode) -> list[str]:
        path = tmp_path / "01_a.ipynb"
        nbformat.write(notebook, path)
        jupytext.write(notebook, path.with_suffix(".py"), fmt="py:percent")
        return rules.all_faults(path)

    return of


def test_a_good_notebook_has_no_fault(good: NotebookNode, faults):
    assert faults(good) == []
    assert len(rules.checked_cells(good)) == 1


def no_count(notebook: NotebookNode) -> None:
    notebook.cells[1].execution_count = None


def run_twice(notebook: NotebookNode) -> None:
    notebook.cells[2].execution_count = 7


def failed(notebook: NotebookNode) -> None:
    notebook.cells[2].outputs = [new_output("error", ename="E", evalue="", traceback=[])]


def lost_print(notebook: NotebookNode) -> None:
    notebook.cells[2].outputs = []


def widgets(notebook: NotebookNode) -> None:
    notebook.metadata["widgets"] = {}


def view_of_a_widget(notebook: NotebookNode) -> None:
    view = {rules.LIVE: {"model_id": "0f"}, "image/png": "iVBOR"}
    notebook.cells[2].outputs.append(new_output("display_data", view))


def widget_without_a_picture(notebook: NotebookNode) -> None:
    text = {"text/plain": "<workbench.widgets.explorer.Explorer object at 0x7f>"}
    notebook.cells[2].outputs.append(new_output("display_data", text))


def other_kernel(notebook: NotebookNode) -> None:
    notebook.metadata["kernelspec"]["name"] = "my-env"


def injected(notebook: NotebookNode) -> None:
    notebook.cells[2].metadata["tags"] = ["injected-parameters"]


def printed_path(notebook: NotebookNode) -> None:
    notebook.cells[2].outputs[0].text = "saved in /home/me/x\n"


def path_in_a_traceback(notebook: NotebookNode) -> None:
    notebook.cells[2].outputs = [new_output("display_data", {"text/html": r"<p>C:\Users\me</p>"})]


def path_in_metadata(notebook: NotebookNode) -> None:
    notebook.metadata["source"] = "/tmp/x.ipynb"


def untagged(notebook: NotebookNode) -> None:
    notebook.cells[1].metadata["tags"] = []


def untitled(notebook: NotebookNode) -> None:
    notebook.cells[0].source = "Goal, prerequisites, time"


def no_goal(notebook: NotebookNode) -> None:
    notebook.cells[0].source = OPENING.replace("Goal", "Aim")


@pytest.mark.parametrize(
    "spoil",
    [
        no_count,
        run_twice,
        failed,
        lost_print,
        widgets,
        view_of_a_widget,
        widget_without_a_picture,
        other_kernel,
        injected,
        printed_path,
        path_in_a_traceback,
        path_in_metadata,
        untagged,
        untitled,
        no_goal,
    ],
)
def test_each_fault_is_seen(good: NotebookNode, faults, spoil):
    spoil(good)
    assert faults(good) != []


def test_a_picture_that_happens_to_spell_a_path_is_none(good: NotebookNode):
    good.cells[2].outputs.append(new_output("display_data", {"image/png": "iVBOR/tmp/abc"}))
    assert rules.leaked_paths(good) == []


def test_a_twin_that_differs_or_is_missing_is_seen(good: NotebookNode, tmp_path: Path):
    path = tmp_path / "01_a.ipynb"
    assert "is missing" in rules.unpaired(good, path)[0]
    jupytext.write(good, path.with_suffix(".py"), fmt="py:percent")
    assert rules.unpaired(good, path) == []
    good.cells[2].source += "\nprint(1)"
    assert "cell 3 differs" in rules.unpaired(good, path)[0]
    del good.cells[2]
    assert "2 cells" in rules.unpaired(good, path)[0]


def test_the_hook_names_the_notebook_and_its_fault(good: NotebookNode, tmp_path: Path):
    path = tmp_path / "01_a.ipynb"
    nbformat.write(good, path)
    command = [sys.executable, rules.__file__, str(path.with_suffix(".py")), str(path)]
    failing = subprocess.run(command, capture_output=True, text=True)
    assert (failing.returncode, failing.stderr.count("01_a.py is missing")) == (1, 1)
    jupytext.write(good, path.with_suffix(".py"), fmt="py:percent")
    assert subprocess.run(command).returncode == 0


def test_a_function_in_two_notebooks_is_seen():
    one = new_notebook(cells=[new_code_cell("%matplotlib inline\ndef plot_it(x):\n    return x")])
    two = new_notebook(cells=[new_code_cell("def other():\n    pass"), new_code_cell("def plot_it(): ...")])
    assert rules.defined_twice([("01", one), ("02", two)]) == ["plot_it is defined in 01, 02"]
    assert rules.defined_twice([("01", one)]) == []


@pytest.fixture(scope="module")
def sanitised():
    """The text that nbval compares."""
    config = configparser.RawConfigParser()
    config.read(Path(__file__).with_name("sanitize.cfg"))

    def apply(text: str) -> str:
        for section in config.sections():
            text = re.sub(config[section]["regex"], config[section].get("replace", ""), text)
        return text

    return apply


@pytest.mark.parametrize(
    "text",
    [
        "2011-08-08 hold 0.4321",
        "Total return [%]  12.34",
        "share of trades that won 0.6",
        "2517 windows, 3 classes, 60 bars",
        "buy/sell/hold",
        "5 stocks",
        "sha256 5abadf99b2d394f920120a27de6f0df129859d71d4cfb0bf661bcc99446ab1fd",
    ],
)
def test_results_are_compared_as_they_are(sanitised, text: str):
    assert sanitised(text) == text


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("done 2026-11-21T07:53:10Z", "done 2027-01-01T00:00:00.123Z"),
        ("trained in 12.3 s", "trained in 9 s"),
        ("took 5.1 ms", "took 12 ms"),
        ("<object at 0x7fd36b51>", "<object at 0x55aa11bb22>"),
        ("id 123e4567-e89b-12d3-a456-426614174000", "id 00000000-e89b-12d3-a456-426614174999"),
        ("saved in /home/a/runs/x.json", "saved in /Users/b/c/runs/y.json"),
        ("\x1b[31mred\x1b[0m", "red"),
    ],
)
def test_what_may_differ_is_not(sanitised, one: str, two: str):
    assert sanitised(one) == sanitised(two)
