import io
import re
from pathlib import Path

import pytest

from workbench.runs.job import Line, chosen, new_folder, parse, run_job
from workbench.runs.notebooks import Progress
from workbench.runs.parameters import NotebookError


@pytest.fixture
def root(tmp_path: Path, write) -> Path:
    write("01_a.ipynb", "#md # A", "print(TICKER)", parameters="TICKER, SEED = 'AAPL', 0")
    write("02_b.ipynb", "#md # B", "assert SEED != 13, 'unlucky'", parameters="SEED = 0")
    write("03_c.ipynb", "#md # C", "1")
    write("notes.ipynb", "1/0")
    return tmp_path


def test_the_whole_job_says_where_its_results_lie(root: Path, capsys: pytest.CaptureFixture[str]):
    assert run_job(parse(["-p", "TICKER", "MSFT", "--only", "01", "03_c"]), root) == 0
    said = capsys.readouterr().out
    assert re.search(r"1/2  01_a +cell +3 of 3 +\d+\.\d s\n2/2  03_c +cell", said)
    folder = Path(re.search(r"Executed notebooks  (.*)", said)[1])
    report = Path(re.search(r"Report +(.*)", said)[1])
    assert sorted(path.name for path in folder.iterdir()) == ["01_a.ipynb", "03_c.ipynb", "report.html"]
    assert folder.parent == root / "runs"
    assert "TICKER MSFT" in report.read_text()


def test_a_failing_notebook_stops_the_job_and_the_report_says_so(
    root: Path, capsys: pytest.CaptureFixture[str]
):
    assert run_job(parse(["-p", "SEED", "13"]), root) == 1
    said = capsys.readouterr()
    assert "02_b failed in cell [3]" in said.err
    assert "AssertionError: unlucky" in said.err
    assert "Not started: 1 of 3 notebooks" in said.err
    report = Path(re.search(r"Report +(.*)", said.out)[1])
    assert "AssertionError: unlucky" in report.read_text()
    assert sorted(path.name for path in report.parent.glob("*.ipynb")) == ["01_a.ipynb", "02_b.ipynb"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-p", "TIKER", "X"], "Did you mean TICKER"),
        (["-p", "SEED", "many"], "int was expected"),
        (["-r", "SEDE", "1"], "Did you mean SEED"),
        (["--only", "07"], "no notebook '07'. Notebooks: 01_a, 02_b, 03_c"),
    ],
)
def test_what_is_misunderstood_starts_nothing(root: Path, capsys, arguments: list[str], message: str):
    assert run_job(parse(arguments), root) == 2
    assert message in capsys.readouterr().err
    assert not (root / "runs").exists()


def test_a_clone_without_notebooks_is_told(tmp_path: Path):
    with pytest.raises(NotebookError, match="is the clone complete"):
        chosen(tmp_path, [])


def test_only_numbered_notebooks_run_and_in_order(root: Path):
    names = [path.stem for path in chosen(root / "notebooks", [])]
    assert names == ["01_a", "02_b", "03_c"]
    assert [path.stem for path in chosen(root / "notebooks", ["03", "01_a.ipynb"])] == ["01_a", "03_c"]


def test_a_files_path_may_be_relative_to_the_caller(root: Path, capsys, monkeypatch: pytest.MonkeyPatch):
    (root / "mine.csv").write_text("date,close\n")
    monkeypatch.chdir(root)
    assert run_job(parse(["-p", "TICKER", "mine.csv", "--only", "01"]), root) == 0
    executed = next((root / "runs").glob("*/01_a.ipynb"))
    assert str(root / "mine.csv") in executed.read_text()


def test_two_jobs_in_one_second_get_two_folders(tmp_path: Path):
    folders = {new_folder(tmp_path / "runs") for _ in range(5)}
    assert len(folders) == 5
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ", folder.name) for folder in folders)


def test_a_terminal_sees_one_line_rewritten_and_a_file_one_line_a_notebook():
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream, drawn in ((Terminal(), 4), (io.StringIO(), 0)):
        with Line(stream) as line:
            line.show(Progress("01_a", 1, 2, 1, 3, 0.1))
            line.show(Progress("01_a", 1, 2, 3, 3, 0.2))
            line.show(Progress("02_b", 2, 2, 1, 1, 0.3))
        lines = stream.getvalue().split("\n")
        assert len(lines) == 3
        assert stream.getvalue().count("\r\x1b[2K") >= drawn
        assert "01_a" in lines[0]
        assert lines[1].endswith("0.3 s")


def test_options_are_not_guessed_from_their_beginning():
    with pytest.raises(SystemExit) as stop:
        parse(["--onl", "03"])
    assert stop.value.code == 2
