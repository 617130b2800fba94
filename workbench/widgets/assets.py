"""The JavaScript and CSS of the widgets: written as modules, handed to the browser as one text each."""

import re
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent / "static"
_IMPORT = re.compile(r'^import \{ ([\w, ]+) \} from "\./([\w-]+\.js)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?!default\b)(?=(?:async )?(?:class|function|const|let)\b)", re.MULTILINE)
_DEFAULT = re.compile(r"^export default\b", re.MULTILINE)
_LEFT_OVER = re.compile(r"^(?:import\b.*|export (?!default\b).*)$", re.MULTILINE)
_COMMENT = re.compile(r"^[ \t]*(?://.*|/\*[\s\S]*?\*/[ \t]*)\n", re.MULTILINE)  # on lines of its own
_INDENT = re.compile(r"^[ \t]+", re.MULTILINE)
_SPANNING = re.compile(
    r"^[^`\n]*(?:`[^`\n]*`[^`\n]*)*`[^`\n]*$", re.MULTILINE
)  # a backtick too many in a line
_NAMED = re.compile(r"^(export )?(?:async )?(?:class|function\*?|const|let|var) (\w+)", re.MULTILINE)


@cache
def script(entry: str, folder: Path = _FOLDER) -> str:
    """Return one ES module that holds `entry` and every module it needs, each once, needed ones first.

    Modules import each other by `import { X } from "./x.js";`, one line each, and export in place
    (`export class X`). All of them share one scope in the result, so their top-level names must differ.
    Comments on lines of their own and indents are left out, since every saved notebook holds the text.

    Parameters
    ----------
    entry
        File name of the entry, such as "price_chart.js"; it keeps its `export default`.
    folder
        Where the modules lie.

    Returns
    -------
    str
        The module, without imports, comments and indents.

    Raises
    ------
    FileNotFoundError
        If a module is not in the folder.
    ValueError
        If modules need each other in a circle, share a top-level name, import a name that is not exported,
        import or export in another way, or have a template literal of several lines.

    Examples
    --------
    >>> "class View" in script("price_chart.js")
    True
    """
    order: dict[str, str] = {}
    _collect(entry, folder, order, ())
    _check_names(order)
    stripped = [_EXPORT.sub("", _IMPORT.sub("", text)) for text in order.values()]
    return "".join(
        f"// {name}\n{_INDENT.sub('', _COMMENT.sub('', text))}"
        for name, text in zip(order, stripped, strict=True)
    )


@cache
def style(folder: Path = _FOLDER) -> str:
    """Return every style sheet of the widgets as one text, `view.css`, which the others build on, first."""
    sheets = sorted(folder.glob("*.css"), key=lambda sheet: (sheet.name != "view.css", sheet.name))
    return "\n".join(sheet.read_text(encoding="utf-8") for sheet in sheets)


def _collect(name: str, folder: Path, order: dict[str, str], above: tuple[str, ...]) -> None:
    """Put module `name` into `order`, after what it needs."""
    if name in above:
        raise ValueError(f"modules need each other in a circle: {' → '.join((*above, name))}. Split one.")
    if name in order:
        return
    file = folder / name
    if not file.is_file():
        wanted = f", which {above[-1]} imports" if above else ""
        raise FileNotFoundError(f"there is no {name}{wanted}, in {folder}")
    text = file.read_text(encoding="utf-8")
    _check_form(name, text, entry=not above)
    _check_lines(name, text)
    for _, needed in _IMPORT.findall(text):
        _collect(needed, folder, order, (*above, name))
    order[name] = text


def _check_form(name: str, text: str, entry: bool) -> None:
    odd = _LEFT_OVER.search(_EXPORT.sub("", _IMPORT.sub("", text)))
    if odd is None and not entry:
        odd = _DEFAULT.search(text)
    if odd is not None:
        raise ValueError(
            f'{name}: expected `import {{ X }} from "./x.js";` on one line and `export` before class, '
            f"function or const, and `export default` in entries alone. Got {odd.group()!r}."
        )


def _check_lines(name: str, text: str) -> None:
    """Refuse what would change its meaning without its indents."""
    spanning = _SPANNING.search(_COMMENT.sub("", text))
    if spanning is not None:
        raise ValueError(
            f"{name}: a template literal has to end in its line, since indents are left out. "
            f"Got {spanning.group().strip()!r}. Join single lines instead."
        )


def _check_names(order: dict[str, str]) -> None:
    """Refuse a top-level name that two modules share, and an import of what is not exported."""
    owners: dict[str, str] = {}
    exported: dict[str, set[str]] = {}
    for name, text in order.items():
        exported[name] = set()
        for public, word in _NAMED.findall(text):
            if word in owners:
                raise ValueError(f"{word} is a top-level name of {owners[word]} and of {name}. Rename one.")
            owners[word] = name
            if public:
                exported[name].add(word)
    for name, text in order.items():
        for words, needed in _IMPORT.findall(text):
            absent = {word.strip() for word in words.split(",")} - exported[needed]
            if absent:
                raise ValueError(
                    f"{name} imports {', '.join(sorted(absent))}, which {needed} does not export."
                )
