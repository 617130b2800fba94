"""The files that come with the package: where they lie, and whether they are what was shipped."""

import csv
import gzip
import hashlib
import io
from functools import lru_cache
from pathlib import Path

import pandas as pd

from workbench.market.frame import SourceError

SUMS = "SHA256SUMS"
_PACKAGE = Path(__file__).parents[1]


def folder() -> Path:
    """Where the bundled files lie: inside an installed package, or `data/` of a checkout."""
    places = (_PACKAGE / "_data", _PACKAGE.parent / "data")
    for place in places:
        if (place / SUMS).is_file():
            return place
    raise SourceError(
        f"The bundled prices are missing: no {SUMS} in {' or '.join(map(str, places))}. "
        "Install the package again, or restore the folder with 'git checkout -- data'."
    )


def read_bundled(name: str) -> pd.DataFrame:
    """Return a bundled gzip-compressed CSV as a frame, its numbers exactly as written.

    An absent file, or one whose SHA-256 differs from the one in `SHA256SUMS`, is a SourceError.
    """
    place = folder()
    path = place / name
    expected = _sums(place).get(name)
    if expected is None or not path.is_file():
        raise SourceError(f"{path} is missing. Restore it with 'git checkout -- data' or install again.")
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise SourceError(
            f"{path} was altered: its SHA-256 is {found}, {SUMS} says {expected}. "
            "Restore it with 'git checkout -- data' or install again; load prices of your own with "
            'source="csv".'
        )
    return _parsed(content)


def _sums(place: Path) -> dict[str, str]:
    lines = (place / SUMS).read_text(encoding="ascii").splitlines()
    return {name.lstrip("*"): digest for digest, name in (line.split() for line in lines if line)}


@lru_cache(maxsize=4)
def _parsed(content: bytes) -> pd.DataFrame:
    table = list(csv.reader(io.StringIO(gzip.decompress(content).decode("ascii"))))
    columns = dict(zip(table[0], zip(*table[1:], strict=True), strict=True))
    return pd.DataFrame({name: _typed(name, cells) for name, cells in columns.items()})


def _typed(name: str, cells: tuple[str, ...]) -> pd.Series:
    if name == "Date":
        return pd.to_datetime(pd.Series(cells), format="%Y-%m-%d").dt.as_unit("us")
    if name == "Ticker":
        return pd.Series(cells, dtype="str")
    return pd.Series([float(cell) for cell in cells])  # exact; read_csv's rounding depends on its version
