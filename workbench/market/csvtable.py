"""The cells of a CSV file, each known by its line and column so that an error can point at it."""

import csv
import hashlib
import io
import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from workbench.market.frame import COLUMNS, PriceError
from workbench.market.names import nearest, suggestion

DATE = "date"
ADJUSTED = "adj_close"
_NAMES = {
    **{name: name for name in COLUMNS},
    **dict.fromkeys(("date", "datetime", "time", "timestamp"), DATE),
    **dict.fromkeys(("adjclose", "adjustedclose"), ADJUSTED),
}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


@dataclass(frozen=True)
class Table:
    """A CSV file with a header: `columns` maps the names known here to positions in `rows`."""

    path: Path
    sha256: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]  # number of each row's line in the file, from 1
    columns: dict[str, int]
    unknown: tuple[str, ...]

    def cells(self, name: str) -> list[str]:
        """Texts of one column, without blanks around them."""
        position = self.columns[name]
        return [row[position] for row in self.rows]

    def numbers(self, name: str) -> Float64[np.ndarray, " bar"]:
        """One column as numbers; a column of empty cells alone is NaN, any other empty cell an error."""
        cells = self.cells(name)
        if not any(cells) and name != "close":
            return np.full(len(cells), np.nan)
        return np.array([self._number(row, name, cell) for row, cell in enumerate(cells)], dtype=np.float64)

    def _number(self, row: int, name: str, cell: str) -> float:
        value = float(cell) if _NUMBER.fullmatch(cell) else math.nan
        if not math.isfinite(value):
            raise self.error(
                row,
                name,
                f"expected a number such as 1234.5, got {cell!r}. "
                "Correct the cell or delete its line; write a point for decimals, and nothing for thousands.",
            )
        return value

    def error(self, row: int, name: str | None, message: str) -> PriceError:
        """Return the error that points at a row, and a column of it, by the file's own line and name."""
        column = "" if name is None else f", column {self.header[self.columns[name]]!r}"
        return PriceError(f"{self.path}, line {self.lines[row]}{column}: {message}")


def read_table(path: Path) -> Table:
    """Read a CSV file and find its columns; what is wrong with it as a table is a PriceError."""
    content = _content(path)
    text = _text(path, content)
    lines, rows = _rows(path, text)
    header = rows[0]
    columns, unknown = _columns(path, header)
    for line, row in zip(lines[1:], rows[1:], strict=True):
        if len(row) != len(header):
            raise PriceError(
                f"{path}, line {line}: expected {len(header)} cells as in the header, got {len(row)}. "
                "Complete or delete the line; put a text that holds the separator in quotes."
            )
    if len(rows) == 1:
        raise PriceError(f"{path}: expected lines of prices below the header, got none.")
    digest = hashlib.sha256(content).hexdigest()
    return Table(path, digest, header, tuple(rows[1:]), tuple(lines[1:]), columns, unknown)


def _content(path: Path) -> bytes:
    if path.is_dir():
        raise PriceError(f"{path}: expected a CSV file, got a folder. Name a file in it.")
    if not path.is_file():
        beside = sorted(file.name for file in path.parent.glob("*.csv")) if path.parent.is_dir() else []
        there = f"CSV files in {path.parent}: {', '.join(beside[:10]) or 'none'}."
        raise PriceError(f"{path}: no such file.{suggestion(path.name, beside)} {there}")
    return path.read_bytes()


def _text(path: Path, content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PriceError(
            f"{path}: expected UTF-8 text, but {error}. Save the table as 'CSV UTF-8', unpacked."
        ) from error
    if not text.strip():
        raise PriceError(f"{path}: the file is empty. Expected a header and lines of prices.")
    return text


def _rows(path: Path, text: str) -> tuple[list[int], list[tuple[str, ...]]]:
    first = text.lstrip().splitlines()[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count), strict=True)
    lines, rows = [], []
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                lines.append(reader.line_num)
                rows.append(tuple(cell.strip() for cell in row))
    except csv.Error as error:
        raise PriceError(f"{path}, line {reader.line_num}: not readable as CSV: {error}.") from error
    return lines, rows


def _columns(path: Path, header: tuple[str, ...]) -> tuple[dict[str, int], tuple[str, ...]]:
    known = [_NAMES.get(re.sub(r"[\s_-]", "", name.casefold())) for name in header]
    columns = {name: position for position, name in enumerate(known) if name}
    unknown = tuple(name for name, meaning in zip(header, known, strict=True) if meaning is None)
    for name in columns:
        twice = [written for written, meaning in zip(header, known, strict=True) if meaning == name]
        if len(twice) > 1:
            raise PriceError(f"{path}: columns {', '.join(twice)} all mean {name}. Keep one, or join them.")
    missing = [name for name in (DATE, *COLUMNS) if name not in columns]
    if missing:
        unnamed = " The first column has no name: is it the date?" if not header[0] else ""
        near = "".join(f" Is {found!r} the {name}?" for name in missing if (found := nearest(name, unknown)))
        raise PriceError(
            f"{path}: expected columns Date, Open, High, Low, Close, Volume, got {', '.join(header)}. "
            f"Missing: {', '.join(missing)}.{near}{unnamed} "
            "Rename the header; leave every cell of a column empty if its values are unknown."
        )
    return columns, unknown
