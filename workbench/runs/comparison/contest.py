"""Cells one after another, what is there already left alone, and the results of all that is there."""

import importlib
import importlib.util
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from workbench.models.registry import NETWORKS, one_of
from workbench.runs.comparison import trial
from workbench.runs.comparison.baselines import BASELINES, SEEDED, NotRun
from workbench.runs.comparison.cells import Cell, Settings, cell_of, read, write
from workbench.runs.comparison.datasets import RECIPES, Dataset, load_dataset
from workbench.runs.comparison.results import results_of

_LAZY = ("workbench.training.loop", "sklearn.linear_model", "sklearn.pipeline", "arch.bootstrap")


@dataclass(frozen=True)
class Asked:
    """What to compare.

    Attributes
    ----------
    models
        Names of networks and baselines; none is all.
    seeds
        A contestant without chance in it runs once, as of seed 0.
    datasets
        Names from `RECIPES`.
    smallest
        A few months of them, to see that it works.
    settings
        Of all cells.
    gather
        Run nothing, and put together what is there.
    """

    models: Sequence[str] = ()
    seeds: Sequence[int] = (0, 1, 2)
    datasets: Sequence[str] = tuple(RECIPES)
    smallest: bool = False
    settings: Settings = field(default_factory=Settings)
    gather: bool = False

    def __post_init__(self) -> None:
        known = contestants()
        for name in self.models:
            if name not in known:
                raise ValueError(f"There is no model or baseline {name!r}. {one_of(name, known)}")

    @property
    def names(self) -> list[str]:
        """Contestants in order."""
        return [name for name in contestants() if not self.models or name in self.models]


def contestants() -> list[str]:
    """Names of the baselines and of the registry's networks."""
    return [*BASELINES, *NETWORKS]


def contest(
    asked: Asked, folder: str | PathLike[str], tell: Callable[[str], object] | None = None, command: str = ""
) -> dict[str, Any]:
    """Run the cells that are missing and write `results.json`.

    On one thread, so that seconds mean the same wherever there are more. A killed run loses the cell at hand
    and no other.

    Parameters
    ----------
    asked
        What to compare.
    folder
        Where cells and results are kept. Results hold whatever is there of the same data, settings and code.
    tell
        Called with a line a cell, if given.
    command
        What was typed, to be kept with the results.

    Returns
    -------
    dict
        What `results.json` holds; cells that could not run are in `not_run`, with the reason.
    """
    before, folder = torch.get_num_threads(), Path(folder)
    torch.set_num_threads(1)
    try:
        datasets = {name: load_dataset(name, asked.smallest) for name in asked.datasets}
        missing = run_cells(datasets, asked, folder, tell or _say_nothing)
    finally:
        torch.set_num_threads(before)
    left = [name for name in contestants() if name not in asked.names]
    rest: dict[str, Any] = {"seed": None, "why": "not asked for", "failed": False}
    missing += [{"dataset": dataset, "model": name, **rest} for dataset in datasets for name in left]
    records = gathered(datasets, asked.settings, folder)
    told = {"command": command, "smallest": asked.smallest}
    results = results_of(records, datasets, missing, asked.settings, told)
    write(results, folder / "results.json")
    return results


def run_cells(
    datasets: Mapping[str, Dataset], asked: Asked, folder: Path, tell: Callable[[str], object]
) -> list[dict[str, Any]]:
    """Run the cells that are not there yet; of those that could not, say which and why."""
    _import_all()
    missing = []
    for data in datasets.values():
        for name in asked.names:
            for seed in (0,) if _without_chance(name) else asked.seeds:
                cell, began = cell_of(data, name, seed, asked.settings), time.perf_counter()
                there = cell.path(folder).is_file()
                left = "not run: not yet" if asked.gather else ""
                why = "" if there else left or _tried(cell, data, asked.settings, folder)
                took = why or ("was there" if there else f"{time.perf_counter() - began:.1f} s")
                tell(f"{data.name:<9} {name:<18} seed {seed}  {took}")
                missing += [_missing(cell, why)] if why else []
    return missing


def gathered(datasets: Mapping[str, Dataset], settings: Settings, folder: Path) -> list[dict[str, Any]]:
    """Return the records in the folder of these datasets and settings and of this code, earlier runs' too."""
    found, order = [], {name: place for place, name in enumerate(contestants())}
    for data in datasets.values():
        for path in sorted((folder / "cells").glob(f"{data.name}-*.json")):
            record = read(path) or {}
            name, seed = record.get("model"), record.get("seed", 0)
            if name not in order or (_without_chance(name) and seed):
                continue
            if cell_of(data, name, seed, settings).key == record["key"]:
                found.append(record)
    return sorted(found, key=lambda r: (list(datasets).index(r["dataset"]), order[r["model"]], r["seed"]))


def _without_chance(name: str) -> bool:
    return name in BASELINES and name not in SEEDED


def _tried(cell: Cell, data: Dataset, settings: Settings, folder: Path) -> str:
    """Run a cell and keep its record; return why it could not, or nothing."""
    try:
        write(trial.run_cell(cell, data, settings), cell.path(folder))
    except NotRun as reason:
        return f"not run: {reason}"
    except (FloatingPointError, RuntimeError, ValueError) as error:
        return f"failed: {error}"
    return ""


def _missing(cell: Cell, why: str) -> dict[str, Any]:
    which = {"dataset": cell.dataset, "model": cell.model, "seed": cell.seed}
    return {**which, "why": why.removeprefix("not run: "), "failed": why.startswith("failed: ")}


def _say_nothing(line: str) -> None:
    """Keep it to oneself."""


def _import_all() -> None:
    """Import what cells import where they use it, lest the first of them be charged for it."""
    for name in _LAZY:
        importlib.import_module(name)
    if importlib.util.find_spec("lightgbm") is not None:
        importlib.import_module("lightgbm")
    weight = torch.nn.Parameter(torch.ones(1))
    weight.square().sum().backward()
    torch.optim.AdamW([weight]).step()  # the first of a process imports hundreds of modules
