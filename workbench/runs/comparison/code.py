"""Which code a figure was computed by: a hash of what runs, so that words and formatting change nothing."""

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[2]
LEFT_OUT = ("workbench.models.registry",)  # imports every network: each cell names its own instead


@cache
def code_version(roots: tuple[str, ...], left_out: tuple[str, ...] = LEFT_OUT) -> str:
    """Return the SHA-256 of the modules `roots` and of all of the workbench that they import, in turn.

    Comments, docstrings and formatting do not count; a name, a number or an order does.

    Parameters
    ----------
    roots
        Names of modules, such as "workbench.models.recurrent".
    left_out
        Modules not followed.
    """
    seen: dict[str, str] = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        path = _file_of(name)
        if path is None or name in seen or name in left_out:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        waiting += _imported(tree)
        seen[name] = plain_code(tree)
    content = "\n".join(f"{name}\n{seen[name]}" for name in sorted(seen))
    return hashlib.sha256(content.encode()).hexdigest()


def plain_code(tree: ast.Module) -> str:
    """Return the code of a module without its docstrings and comments, written one way."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def _imported(tree: ast.Module) -> Iterable[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _file_of(name: str) -> Path | None:
    """The file of one of our own modules; packages' own files hold no code."""
    first, *rest = name.split(".")
    if first != "workbench" or not rest:
        return None
    path = PACKAGE.joinpath(*rest).with_suffix(".py")
    return path if path.is_file() else None
