"""The notebook's vocabulary: small, lazily bound, and used."""

import ast
import inspect
import subprocess
import sys
from types import ModuleType

import pytest

import workbench as wb
from workbench.environment import ROOT

NAMES = sorted(wb.__all__)


def notebook_names() -> set[str]:
    """Names read from `wb.` in a notebook."""
    used = set()
    for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "wb":
                used.add(node.attr)
    return used


def test_the_vocabulary_is_at_most_forty_names():
    assert 20 < len(NAMES) <= 40


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_documented_and_is_no_module_of_its_own_name(name):
    thing = getattr(wb, name)
    assert inspect.getdoc(thing)
    assert (name == "plots") == isinstance(thing, ModuleType)


def test_every_name_is_used_by_a_notebook():
    assert sorted(set(NAMES) - notebook_names()) == []


def test_using_layers_never_shadows_a_name():
    code = (
        "import workbench as wb, workbench.explainers.explanation, workbench.trading.signals, types;"
        "print([n for n in wb.__all__ if n != 'plots' and isinstance(getattr(wb, n), types.ModuleType)])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importing_the_workbench_imports_no_library():
    code = (
        "import sys; before = set(sys.modules); import workbench;"
        "heavy = {'torch', 'numpy', 'pandas', 'matplotlib', 'requests', 'skorch', 'sklearn'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="rolout"):
        wb.rolout  # noqa: B018
