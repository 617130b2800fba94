"""The numbers that a committed notebook shows come again when it is run as it stands."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import notebook_rules as rules
import pytest

from workbench.environment import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def compared(*paths: Path) -> subprocess.CompletedProcess[str]:
    """Run notebooks by nbval; cells marked NBVAL_CHECK_OUTPUT must show what they showed."""
    command = [
        *(sys.executable, "-m", "pytest", *map(str, paths), "--nbval-lax", "--nbval-current-env"),
        *("--nbval-sanitize-with", str(Path(__file__).with_name("sanitize.cfg"))),
        *("--nbval-cell-timeout", "240", "--nbval-kernel-startup-timeout", "120"),
        *(
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
            "-q",
            "-c",
            os.devnull,
            "--rootdir",
            str(paths[0].parent),
        ),
    ]
    search = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return subprocess.run(
        command, env={**os.environ, "PYTHONPATH": search}, capture_output=True, text=True, timeout=600
    )


@pytest.mark.notebook
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_its_printed_numbers_come_again(path: Path):
    checked = rules.checked_cells(nbformat.read(path, as_version=4))
    assert checked, f"no cell of {path.name} starts with {rules.CHECKED}"
    assert all(cell.outputs for cell in checked)
    answer = compared(path)
    assert answer.returncode == 0, answer.stdout


def test_a_number_that_changed_is_seen_and_a_duration_that_changed_is_not(tmp_path: Path):
    shown = {"same": "return 12.5 in 9 s\n", "other": "return 12.6 in 3 s\n"}
    for name, text in shown.items():
        cell = nbformat.v4.new_code_cell(
            f"{rules.CHECKED}\nprint('return 12.5 in 3 s')",
            execution_count=1,
            outputs=[nbformat.v4.new_output("stream", text=text)],
        )
        metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
        nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=metadata), tmp_path / f"{name}.ipynb")
    answer = compared(*(tmp_path / f"{name}.ipynb" for name in shown))
    assert "1 failed, 1 passed" in answer.stdout
    assert "other.ipynb::Cell 0" in answer.stdout
