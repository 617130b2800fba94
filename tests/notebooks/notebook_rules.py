"""What a committed notebook must be; each rule returns its faults, one line each.

`python tests/notebooks/notebook_rules.py notebooks/01_market.ipynb …` prints them, for a hook.
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

MACHINE = re.compile(r"(?<![\w.])(/root/|/home/|/tmp/|/work/|/Users/|/private/|/opt/|[A-Z]:\\{1,2}Users)")
OPENING = ("goal", "prerequisites", "time")
CHECKED = "# NBVAL_CHECK_OUTPUT"
LIVE = "application/vnd.jupyter.widget-view+json"


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """Those that a kernel runs."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def not_executed(notebook: NotebookNode) -> list[str]:
    """Run from the top, once, without an error, its prints kept."""
    cells = code_cells(notebook)
    counts = [cell.execution_count for cell in cells]
    faults = [] if counts == [*range(1, len(cells) + 1)] else [f"executed as {counts}, not in order from 1"]
    for cell in cells:
        kinds = {output.output_type for output in cell.outputs}
        if "error" in kinds:
            faults.append(f"cell [{cell.execution_count}] failed")
        if not cell.outputs and (_prints(cell.source) or cell.source.startswith(CHECKED)):
            faults.append(f"cell [{cell.execution_count}] prints, but has no output")
    return faults


def ill_described(notebook: NotebookNode) -> list[str]:
    """Metadata as another machine can use it."""
    faults = [f"metadata.{name} is there" for name in ("widgets", "papermill") if name in notebook.metadata]
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        faults.append("metadata.kernelspec.name is not python3")
    for cell in notebook.cells:
        if "injected-parameters" in cell.metadata.get("tags", []):
            faults.append("it was run with other parameters than its own")
    return faults


def live_widgets(notebook: NotebookNode) -> list[str]:
    """A widget is kept as its picture: without a kernel, a view of it says 'model not found'."""
    faults = []
    for cell in code_cells(notebook):
        kinds = [output.get("data", {}) for output in cell.outputs]
        if any(LIVE in data for data in kinds):
            faults.append(
                f"cell [{cell.execution_count}] keeps the view of a widget; only its picture can be shown"
            )
        if any(set(data) == {"text/plain"} and "object at 0x" in data["text/plain"] for data in kinds):
            faults.append(f"cell [{cell.execution_count}] shows an object that has no picture")
    return faults


def leaked_paths(notebook: NotebookNode) -> list[str]:
    """No folder of the machine that it was run on, in a text that it shows or in its metadata."""
    texts = [str(notebook.metadata)]
    for cell in notebook.cells:
        texts += [str(cell.metadata), *_texts(cell.get("outputs", []))]
    return [f"a path of this machine: {text[match.start() : match.start() + 60]!r}" for text in texts
            if (match := MACHINE.search(text))]  # fmt: skip


def no_parameters(notebook: NotebookNode) -> list[str]:
    """Its first code is the cell that papermill replaces, and it assigns something."""
    first = code_cells(notebook)[0]
    if "parameters" not in first.metadata.get("tags", []):
        return ["the first code cell is not tagged 'parameters'"]
    return [] if "=" in first.source else ["the cell tagged 'parameters' assigns nothing"]


def no_opening(notebook: NotebookNode) -> list[str]:
    """A title, then what for, what before, how long."""
    first = notebook.cells[0]
    if first.cell_type != "markdown" or not first.source.startswith("# "):
        return ["it does not open with a title"]
    return [f"its opening says nothing of: {word}" for word in OPENING if word not in first.source.lower()]


def unpaired(notebook: NotebookNode, path: Path) -> list[str]:
    """The .py beside it holds the same cells."""
    twin = path.with_suffix(".py")
    if not twin.exists():
        return [f"{twin.name} is missing; make it with: jupytext --set-formats ipynb,py:percent {path.name}"]
    own, other = ([_content(cell) for cell in each.cells] for each in (notebook, jupytext.read(twin)))
    for number, (one, two) in enumerate(zip(own, other, strict=False), start=1):
        if one != two:
            return [f"cell {number} differs from {twin.name}; jupytext --sync {path.name}"]
    return [] if len(own) == len(other) else [f"{len(own)} cells, {twin.name} has {len(other)}"]


def defined_twice(notebooks: Iterable[tuple[str, NotebookNode]]) -> list[str]:
    """A function wanted by two notebooks belongs into the package."""
    homes: dict[str, list[str]] = {}
    for name, notebook in notebooks:
        for function in _functions(notebook):
            homes.setdefault(function, []).append(name)
    return [f"{function} is defined in {', '.join(where)}" for function, where in homes.items() if where[1:]]


def all_faults(path: Path) -> list[str]:
    """What is wrong with the notebook at `path`, or with its twin."""
    notebook = nbformat.read(path, as_version=4)
    rules = (not_executed, ill_described, live_widgets, leaked_paths, no_parameters, no_opening)
    return [fault for rule in rules for fault in rule(notebook)] + unpaired(notebook, path)


def checked_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """Those whose printed numbers must come again."""
    return [cell for cell in code_cells(notebook) if cell.source.startswith(CHECKED)]


def _content(cell: NotebookNode) -> tuple[str, str, tuple[str, ...]]:
    return cell.cell_type, cell.source.strip(), tuple(sorted(cell.metadata.get("tags", [])))


def _tree(source: str) -> ast.Module:
    plain = "\n".join(line for line in source.splitlines() if not line.lstrip().startswith(("%", "!")))
    return ast.parse(plain)


def _functions(notebook: NotebookNode) -> Iterator[str]:
    for cell in code_cells(notebook):
        for node in ast.walk(_tree(cell.source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node.name


def _prints(source: str) -> bool:
    """Whether a statement at the top of the cell is a print."""
    return any(
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Name)
        and node.value.func.id == "print"
        for node in _tree(source).body
    )


def _texts(outputs: Iterable[NotebookNode]) -> Iterator[str]:
    for output in outputs:
        yield output.get("text", "")
        yield "\n".join(output.get("traceback", []))
        for kind, data in output.get("data", {}).items():
            if not kind.startswith("image/") or kind == "image/svg+xml":
                yield str(data)


if __name__ == "__main__":
    paths = sorted({Path(name).with_suffix(".ipynb") for name in sys.argv[1:]})
    lines = [f"{path}: {fault}" for path in paths for fault in all_faults(path)]
    sys.exit("\n".join(lines) or 0)
