"""Small notebooks for the tests of `workbench.runs`."""

from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

Write = Callable[..., Path]


def written(path: Path, *cells: str, parameters: str | None = None) -> Path:
    """Write a notebook; a cell that starts with `#md ` is text."""
    made = [new_markdown_cell(cell[4:]) if cell.startswith("#md ") else new_code_cell(cell) for cell in cells]
    if parameters is not None:
        made.insert(1, new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=made), path)
    return path


@pytest.fixture
def write(tmp_path: Path) -> Write:
    return lambda name, *cells, **options: written(tmp_path / "notebooks" / name, *cells, **options)
