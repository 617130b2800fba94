from pathlib import Path

import pytest

from workbench.runs.comparison import code
from workbench.runs.comparison.code import code_version

ONE = "from workbench.two import double\n\n\ndef four(x):\n    return double(double(x))\n"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three modules: one imports two, two imports three, inside a function."""
    monkeypatch.setattr(code, "PACKAGE", tmp_path)
    (tmp_path / "one.py").write_text(ONE)
    (tmp_path / "two.py").write_text(
        "def double(x):\n    from workbench import three\n    return three.N * x\n"
    )
    (tmp_path / "three.py").write_text("N = 2\n")
    return tmp_path


def version(*left_out: str) -> str:
    return code_version.__wrapped__(("workbench.one",), left_out)


def test_comments_docstrings_and_formatting_do_not_count(package: Path):
    before = version()
    text = '"""Words."""\n' + ONE.replace("(x):\n", '(x):\n    """Say it."""\n    # twice\n')
    (package / "one.py").write_text(text.replace("double(double(x))", "(double( double(x) ))"))
    assert version() == before


@pytest.mark.parametrize("name", ["one", "two", "three"])
def test_what_runs_counts_however_far_it_is_imported_from(package: Path, name: str):
    before = version()
    path = package / f"{name}.py"
    path.write_text(path.read_text() + "\nMORE = 1\n")
    assert version() != before


def test_what_is_left_out_or_not_imported_does_not_count(package: Path):
    before = version("workbench.two")
    (package / "three.py").write_text("N = 3\n")
    (package / "four.py").write_text("N = 4\n")
    assert version("workbench.two") == before


def test_a_cell_hangs_on_its_own_network_and_on_no_other():
    from workbench.runs.comparison.cells import COMMON

    own, other, none = (
        code_version((COMMON, f"workbench.models.{name}")) if name else code_version((COMMON,))
        for name in ("recurrent", "transformer", "")
    )
    assert len({own, other, none}) == 3
