"""One cached series on disk: its bars and the stretches of time they are complete for."""

import hashlib
import io
import json
import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from workbench.files import replacing
from workbench.market.frame import COLUMNS, Request, content_sha256, is_intraday
from workbench.market.stretches import Span, Stretch

_FORMAT = 1
_MOMENTS = ("first", "last", "fetched", "seen")


def cache_folder() -> Path:
    """Folder of cached prices: `data/cache` of a checkout, else attention-workbench in the user's cache."""
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "pyproject.toml").is_file() and (checkout / "data").is_dir():
        return checkout / "data" / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "attention-workbench"


def entry_path(folder: Path, source: str, request: Request) -> Path:
    """File of a series. Upper and lower case share one; what a file name cannot hold is written %XX."""
    name = quote(request.ticker.upper(), safe="^=")
    if set(name) <= {"."} or name.startswith("."):
        name = name.replace(".", "%2E")
    return folder / source / name / f"{request.interval}.parquet"


@dataclass(frozen=True)
class Entry:
    """Bars of one series and the stretches, apart from one another, that they are complete for."""

    bars: pd.DataFrame
    stretches: tuple[Stretch, ...] = ()

    @classmethod
    def empty(cls, interval: str) -> "Entry":
        """An entry that knows nothing."""
        zone = "UTC" if is_intraday(interval) else None
        index = pd.DatetimeIndex([], name="date", tz=zone).as_unit("us")
        return cls(pd.DataFrame({column: [] for column in COLUMNS}, index=index, dtype="float64"))

    def within(self, span: Span) -> pd.DataFrame:
        """Bars of the span."""
        return self.bars.loc[span.first : span.last]

    def replaced(self, old: Iterable[Stretch], new: Stretch, bars: pd.DataFrame) -> "Entry":
        """An entry in which `new` with its bars stands for the old stretches and theirs."""
        gone = set(map(id, old))
        others = [stretch for stretch in self.stretches if id(stretch) not in gone]
        kept = pd.concat([*(self.within(stretch) for stretch in others), bars]).sort_index()
        return Entry(kept, (*others, new))

    @classmethod
    def read(cls, path: Path, interval: str) -> "Entry":
        """The entry of a file; none, or a damaged one, which is warned of, gives an empty entry."""
        try:
            content = path.read_bytes()  # at once: a reader that opened it twice could meet two versions
        except (FileNotFoundError, NotADirectoryError):
            return cls.empty(interval)
        try:
            bars = pd.read_parquet(io.BytesIO(content))
            kept, bars.attrs = bars.attrs["cache"], {}
            if kept["format"] != _FORMAT or kept["sha256"] != _digest(bars, kept["stretches"]):
                raise ValueError("its checksum differs from its content")
            return cls(bars, tuple(map(_stretch, kept["stretches"])))
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
        ) as error:  # what pyarrow and pandas raise
            warnings.warn(
                f"The cached prices in {path} are damaged ({error}) and are fetched anew.", stacklevel=5
            )
            return cls.empty(interval)

    def write(self, path: Path) -> None:
        """Write the entry whole; when that fails the prices are good still, so it is only warned of."""
        stretches = [_described(stretch) for stretch in self.stretches]
        bars = self.bars.copy()
        bars.attrs = {
            "cache": {"format": _FORMAT, "stretches": stretches, "sha256": _digest(bars, stretches)}
        }
        try:
            with replacing(path) as temporary:
                bars.to_parquet(temporary)
        except OSError as error:
            warnings.warn(f"The prices could not be cached in {path}: {error}.", stacklevel=5)


def _digest(bars: pd.DataFrame, stretches: list[dict[str, Any]]) -> str:
    """Checksum of bars, of their form and of the stretches together (hex)."""
    form = [str(bars.index.dtype), bars.index.name, list(bars.columns), list(map(str, bars.dtypes))]
    described = json.dumps([form, stretches], sort_keys=True)
    return hashlib.sha256((content_sha256(bars) + described).encode()).hexdigest()


def _described(stretch: Stretch) -> dict[str, Any]:
    moments = {key: getattr(stretch, key).isoformat() for key in _MOMENTS}
    return moments | {"provenance": stretch.provenance}


def _stretch(described: dict[str, Any]) -> Stretch:
    moments: dict[str, Any] = {key: pd.Timestamp(described[key]) for key in _MOMENTS}
    return Stretch(**moments, provenance=described["provenance"])
