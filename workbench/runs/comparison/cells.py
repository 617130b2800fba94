"""One cell of the comparison: a dataset, a model, a seed; and the file its figures are kept in."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from workbench.files import replacing
from workbench.models.registry import NETWORKS, options_for
from workbench.runs.comparison.baselines import BASELINES
from workbench.runs.comparison.code import code_version
from workbench.runs.comparison.datasets import Dataset

COMMON = "workbench.runs.comparison.trial"  # and all that it imports, makes every cell
WHOLE = 12  # digits of a key in a file's name


@dataclass(frozen=True)
class Settings:
    """What all cells of a comparison share.

    Attributes
    ----------
    epochs
        Passes over the training windows.
    batch
        Windows a step, or for models of a whole day the days that hold about as many.
    lr
        Learning rate of AdamW.
    cost_bps
        Fee per side of the book.
    draws
        Samples of the bootstrap.
    """

    epochs: int = 6
    batch: int = 256
    lr: float = 1e-3
    cost_bps: float = 5.0
    draws: int = 1000


@dataclass(frozen=True)
class Cell:
    """A dataset, a model and a seed, under some settings.

    Attributes
    ----------
    key
        SHA-256 of the data, the configuration and the code: a cell whose key agrees need not run again.
    """

    dataset: str
    model: str
    seed: int
    configuration: dict[str, Any]
    data: str
    code: str

    @property
    def key(self) -> str:
        """What the cell is recognised by."""
        told = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()

    def path(self, folder: Path) -> Path:
        """Where its figures are kept."""
        return folder / "cells" / f"{self.dataset}-{self.model}-{self.seed}-{self.key[:WHOLE]}.json"


def cell_of(data: Dataset, model: str, seed: int, settings: Settings) -> Cell:
    """Return the cell; a model that does not exist is a ValueError that names those there are."""
    configuration: dict[str, Any] = {"settings": asdict(settings)}
    roots: tuple[str, ...] = (COMMON,)
    if model not in BASELINES:
        configuration["options"] = options_for(model, data.recipe.lookback, {})
        roots += (NETWORKS[model].network.__module__,)
    configuration = json.loads(json.dumps(configuration))
    return Cell(data.name, model, seed, configuration, data.digest, code_version(roots))


def read(path: Path) -> dict[str, Any] | None:
    """Return the record of a cell, or None if there is none."""
    if not path.is_file():
        return None
    return json.loads(path.read_text(encoding="utf-8"))


def write(record: dict[str, Any], path: Path) -> None:
    """Write a record whole or not at all; NaN becomes null."""
    with replacing(path) as temporary:
        text = json.dumps(_plain(record), ensure_ascii=False, allow_nan=False, indent=1)
        temporary.write_text(text + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
