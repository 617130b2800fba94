"""The README's examples run as they stand, and what it points to is there."""

import re

import matplotlib
import pytest

from workbench.environment import ROOT
from workbench.explainers.methods import METHODS

README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("code", EXAMPLES, ids=["ten lines", "any model", "gates", "methods"])
def test_an_example_runs_as_it_stands(code: str, capsys: pytest.CaptureFixture[str]):
    matplotlib.use("Agg")
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    if "money" in names:
        assert "Sharpe" in capsys.readouterr().out
    elif "seen" in names:
        assert "3 methods on 10 windows" in capsys.readouterr().out
    elif "forget" in names:
        assert names["forget"].shape == (1, 20, 16)
    else:
        assert names["share"].shape == (1, 30)
    matplotlib.pyplot.close("all")


def test_every_file_it_points_to_is_there():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_numbered_notebook_is_in_its_table():
    listed = re.findall(r"\]\(notebooks/(\d\d_\w+)\.ipynb\)", README)
    assert listed == sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def test_every_method_is_in_its_table():
    rows = re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE)
    assert sorted(rows) == sorted(METHODS)
