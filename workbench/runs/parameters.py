"""What a notebook lets a run change: the names in its cell tagged `parameters`."""

import ast
import difflib
import json
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path


class NotebookError(ValueError):
    """A notebook that cannot be run as asked: it is missing, is none, or declares no such parameter."""


def read_notebook(path: str | PathLike[str]):
    """Return the notebook at `path` as an nbformat 4 node.

    Raises
    ------
    NotebookError
        If there is no such file, or it isn't a notebook.
    """
    import nbformat

    file = Path(path)
    if not file.is_file():
        there = sorted(found.name for found in file.parent.glob("*.ipynb"))
        listing = f"That folder holds: {', '.join(there)}." if there else "That folder holds no notebook."
        raise NotebookError(f"There is no notebook {file}. {listing}")
    try:
        text = file.read_text(encoding="utf-8")
        content = json.loads(text)
        if not isinstance(content, dict) or not isinstance(content.get("cells"), list):
            raise NotebookError(f"{file} is not a notebook of format 4: it has no list of cells.")
        notebook = nbformat.reads(text, as_version=4)
        nbformat.validate(notebook)
    except (json.JSONDecodeError, UnicodeDecodeError, nbformat.ValidationError) as error:
        cause = str(error).partition("\n")[0]
        raise NotebookError(f"{file} is not a notebook: {cause}. Open and save it in JupyterLab.") from error
    return notebook


def declared_parameters(path: str | PathLike[str]) -> dict[str, object]:
    """Return the names that a notebook declares in its cell tagged `parameters`, with their defaults.

    Both `TICKER = "AAPL"` and `TICKER, LOOKBACK = "AAPL", 60` are read. A default that is no literal
    (a call, say) is given as None. A notebook without such a cell declares nothing.
    """
    sources = [
        cell.source for cell in read_notebook(path).cells if "parameters" in cell.metadata.get("tags", [])
    ]
    if not sources:
        return {}
    try:
        statements = ast.parse(sources[0]).body
    except SyntaxError as error:
        raise NotebookError(
            f"The cell tagged 'parameters' in {path} is not plain Python: {error}. "
            "Keep magics and shell commands out of it."
        ) from error
    return dict(pair for statement in statements for pair in _assigned(statement))


def known_parameters(paths: Iterable[str | PathLike[str]]) -> dict[str, object]:
    """Return what several notebooks declare, the first default winning where two differ."""
    known: dict[str, object] = {}
    for path in paths:
        known = {**declared_parameters(path), **known}
    return known


def check_known(names: Iterable[str], known: Iterable[str]) -> None:
    """Raise `NotebookError` for the first of `names` that no notebook declares."""
    choices = sorted(known)
    for name in names:
        if name in choices:
            continue
        close = difflib.get_close_matches(name.upper(), choices, n=1, cutoff=0.5)
        hint = f" Did you mean {close[0]}?" if close else ""
        listing = ", ".join(choices) if choices else "none"
        raise NotebookError(f"No notebook has a parameter {name!r}.{hint} Parameters: {listing}.")


def parse_parameters(
    texts: Mapping[str, str], paths: Iterable[str | PathLike[str]], raw: Mapping[str, str] | None = None
) -> dict[str, object]:
    """Turn parameters given as text into values, each typed by the default it replaces.

    Where the default is text the value stays text (`2009` and `0700` too); where it is a number, a
    truth value or a list it must read as one; where it is None, numbers, `True`, `False` and `None`
    are recognised and the rest is text.

    Parameters
    ----------
    texts, raw
        Name → text, and name → text to be passed as it is.
    paths
        The notebooks that will run.

    Raises
    ------
    NotebookError
        If no notebook declares a name, or a text cannot be read.
    """
    known = known_parameters(paths)
    verbatim = dict(raw or {})
    check_known([*texts, *verbatim], known)
    return {name: parse_value(name, text, known[name]) for name, text in texts.items()} | verbatim


def parse_value(name: str, text: str, default: object) -> object:
    """Read one text as the kind of thing that `default` is; `name` is for the error."""
    if isinstance(default, str):
        return text
    literal = _literal(text)
    if default is None or literal is None:
        return literal
    if isinstance(default, list | tuple):
        items = literal if isinstance(literal, list | tuple) else [_literal(item) for item in text.split(",")]
        return type(default)(items)
    if not _same_kind(literal, default):
        raise NotebookError(
            f"{name} is {default!r} by default, so {type(default).__name__} was expected. Got {text!r}."
        )
    return literal


def _same_kind(value: object, default: object) -> bool:
    if isinstance(default, bool):
        return isinstance(value, bool)
    if isinstance(default, float):
        return isinstance(value, float | int) and not isinstance(value, bool)
    return type(value) is type(default)


def _literal(text: str) -> object:
    """Read `text` as a Python literal; `true` and `false` count, anything else is text."""
    stripped = text.strip()
    words = {"true": True, "false": False, "nan": float("nan"), "inf": float("inf"), "-inf": -float("inf")}
    if stripped.lower() in words:
        return words[stripped.lower()]
    try:
        return ast.literal_eval(stripped)
    except (ValueError, SyntaxError):
        return stripped


def _assigned(statement: ast.stmt) -> list[tuple[str, object]]:
    """Names and literal values that one statement binds."""
    if isinstance(statement, ast.AnnAssign) and statement.value is not None:
        return _pairs(statement.target, statement.value)
    if isinstance(statement, ast.Assign):
        return [pair for target in statement.targets for pair in _pairs(target, statement.value)]
    return []


def _pairs(target: ast.expr, value: ast.expr) -> list[tuple[str, object]]:
    if isinstance(target, ast.Name):
        return [(target.id, _constant(value))]
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        return [
            pair for one, other in zip(target.elts, value.elts, strict=True) for pair in _pairs(one, other)
        ]
    return []


def _constant(value: ast.expr) -> object:
    try:
        return ast.literal_eval(value)
    except ValueError:
        return None
