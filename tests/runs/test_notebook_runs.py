import sys
from pathlib import Path

import nbformat
import pytest

from workbench.runs.notebooks import Limits, NotebookError, NotebookRun, Progress, run_notebook, run_notebooks

LOOK = """
import os, sys, workbench
print(sys.executable, os.getcwd(), workbench.__file__, os.environ["OMP_NUM_THREADS"], TICKER, LOOKBACK)
"""


def output_of(path: Path) -> str:
    notebook = nbformat.read(path, as_version=4)
    return "".join(
        output.text for cell in notebook.cells for output in cell.get("outputs", []) if "text" in output
    )


@pytest.fixture
def shadowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `python3` kernel that somebody registered for an interpreter which is not this one."""
    folder = tmp_path / "jupyter" / "kernels" / "python3"
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(
        '{"argv": ["/nowhere/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"],'
        ' "display_name": "Other", "language": "python"}'
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    return folder


def test_a_notebook_runs_in_this_environment_with_its_parameters(write, tmp_path, shadowed, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    path = write("01_a.ipynb", "#md # A", LOOK, "1 + 1", parameters="TICKER, LOOKBACK = 'AAPL', 60")
    heard: list[Progress] = []
    run = run_notebook(path, tmp_path / "out" / "01_a.ipynb", {"TICKER": "MSFT"}, progress=heard.append)

    assert (run.status, run.error, run.cell) == ("finished", None, None)
    executable, folder, package, threads, ticker, lookback = output_of(run.output).split()
    assert executable == sys.executable
    assert folder == str(path.parent)
    assert Path(package).parents[1] == Path(__file__).resolve().parents[2]
    assert (threads, ticker, lookback) == ("1", "MSFT", "60")
    assert [position.cell for position in heard] == [1, 2, 3, 4, 4]
    assert heard[-1].cells == run.cells == 4
    assert heard[-1].seconds <= run.seconds
    assert "4 cells" in str(run)


def test_an_executed_notebook_names_no_folder_and_holds_no_widget(write, tmp_path):
    path = write("01_a.ipynb", "import ipywidgets; ipywidgets.IntSlider()")
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": {}}}
    nbformat.write(notebook, path)
    run = run_notebook(path, tmp_path / "out" / "01_a.ipynb")
    text = run.output.read_text()
    assert str(tmp_path) not in text
    assert "widgets" not in nbformat.read(run.output, as_version=4).metadata
    assert not [path for path in run.output.parent.iterdir() if path != run.output]


def test_a_failing_cell_is_a_status_and_the_partial_notebook_is_kept(write, tmp_path):
    path = write(
        "02_b.ipynb", "#md # B", "print('before')", "# why\nraise ValueError('bad bar')", "print('after')"
    )
    run = run_notebook(path, tmp_path / "out" / "02_b.ipynb")
    assert (run.status, run.cell, run.source) == ("failed", 2, "raise ValueError('bad bar')")
    assert run.error == "ValueError: bad bar"
    assert "02_b failed in cell [2] (raise ValueError('bad bar'))" in str(run)
    assert "before" in output_of(run.output)
    assert "after" not in output_of(run.output)


def test_a_killed_kernel_is_a_status(write, tmp_path):
    path = write("03_c.ipynb", "print('here')", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    run = run_notebook(path, tmp_path / "out" / "03_c.ipynb")
    assert (run.status, run.cell) == ("failed", 2)
    assert "the kernel died" in str(run.error)
    assert "here" in output_of(run.output)


def test_a_cell_or_a_notebook_that_takes_too_long_is_stopped(write, tmp_path):
    path = write("04_d.ipynb", "1", "import time; time.sleep(120)")
    for limits in (Limits(cell=1), Limits(notebook=1)):
        run = run_notebook(path, tmp_path / "out" / "04_d.ipynb", limits=limits)
        assert (run.status, run.cell) == ("failed", 2)
        assert "time limit" in str(run.error)
        assert run.seconds < 60


def test_notebooks_stop_at_the_first_failure_and_each_gets_its_own_parameters(write, tmp_path):
    one = write("01_a.ipynb", "#md # A", "print(SEED)", parameters="SEED = 0")
    two = write("02_b.ipynb", "#md # B", "print(TICKER)\n1/0", parameters="TICKER = 'AAPL'")
    three = write("03_c.ipynb", "print('never')")
    heard: list[Progress] = []
    runs = run_notebooks(
        [one, two, three], tmp_path / "out", {"SEED": 4, "TICKER": "IBM"}, progress=heard.append
    )
    assert [run.status for run in runs] == ["finished", "failed"]
    assert [run.parameters for run in runs] == [{"SEED": 4}, {"TICKER": "IBM"}]
    assert [output_of(run.output).strip() for run in runs] == ["4", "IBM"]
    assert {(position.notebook, position.number, position.of) for position in heard} == {
        ("01_a", 1, 3),
        ("02_b", 2, 3),
    }


def test_what_cannot_run_is_refused_before_anything_starts(write, tmp_path):
    path = write("01_a.ipynb", "#md # A", "1", parameters="SEED = 0")
    with pytest.raises(NotebookError, match="overwrite itself"):
        run_notebook(path, path)
    with pytest.raises(NotebookError, match="SEDE"):
        run_notebook(path, tmp_path / "out.ipynb", {"SEDE": 1})
    with pytest.raises(NotebookError, match="SEDE"):
        run_notebooks([path], tmp_path / "out", {"SEDE": 1})
    assert not (tmp_path / "out").exists()


def test_a_kernel_that_does_not_start_is_told(write, tmp_path, monkeypatch):
    from workbench.runs import kernels

    monkeypatch.setattr(kernels, "kernel_environment", lambda: {"PYTHONPATH": str(tmp_path / "broken")})
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "ipykernel_launcher.py").write_text("raise SystemExit(3)")
    run = run_notebook(write("01_a.ipynb", "1"), tmp_path / "out" / "01_a.ipynb")
    assert (run.status, run.cell) == ("failed", None)
    assert "did not start" in str(run.error)


def test_an_interruption_stops_the_run_and_keeps_what_there_is(write, tmp_path, monkeypatch):
    path = write("01_a.ipynb", "print('one')", "print('two')", "print('three')")

    heard: list[int] = []

    def third(position: Progress) -> None:
        heard.append(position.cell)
        if heard == [1, 2, 3]:
            raise KeyboardInterrupt

    run = run_notebook(path, tmp_path / "out" / "01_a.ipynb", progress=third)
    assert isinstance(run, NotebookRun)
    assert (run.status, run.cell) == ("interrupted", 3)
    assert output_of(run.output).split() == ["one", "two"]
