"""The command `python3 -m workbench compare`: models × seeds on the same windows, against baselines.

Standard library only where it is imported, so that a misspelt option is told before anything is installed.
"""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.runs.comparison.cells import Cell, Settings
    from workbench.runs.comparison.datasets import Dataset

DATASETS = ("closes20", "ohlcv5")


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the options of `compare`; argparse itself answers --help and mistakes, and exits."""
    parser = argparse.ArgumentParser(
        prog="python3 -m workbench compare",
        description="Train every model on the same windows and score it on the same days, beside baselines.",
        epilog="What is there already, of the same data, configuration and code, is not computed again.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--models", nargs="+", default=[], metavar="NAME", help="models and baselines (all there are)")
    add("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="SEED", help="seeds (0 1 2)")
    add(
        "--datasets", nargs="+", default=list(DATASETS), choices=DATASETS, metavar="NAME",
        help="closes20, twenty stocks' closes; ohlcv5, five stocks with open to volume (both)",
    )  # fmt: skip
    add("--epochs", type=_count, default=None, help="passes over the training windows (12)")
    add("--out", type=Path, default=None, metavar="FOLDER", help="where results go (runs/comparison)")
    add("--smallest", action="store_true", help="a few months, one epoch: to see that it works")
    return parser.parse_args(arguments)


def run_compare(options: argparse.Namespace, root: Path) -> int:
    """Run what is missing and write results.json; return 0, 1 (a cell failed) or 2 (misunderstood)."""
    import torch

    from workbench.runs.comparison.cells import Settings, write
    from workbench.runs.comparison.datasets import load_dataset
    from workbench.runs.comparison.results import results_of
    from workbench.runs.comparison.tables import report

    names, problem = _contestants(options.models)
    if problem:
        sys.stderr.write(f"{problem}\n")
        return 2
    torch.set_num_threads(1)
    folder = options.out or root / "runs" / "comparison"
    small = {"epochs": 1, "draws": 200} if options.smallest else {}
    settings = Settings(**({**small, "epochs": options.epochs} if options.epochs else small))
    datasets = {name: load_dataset(name, options.smallest) for name in options.datasets}
    missing = run_cells(datasets, (names, options.seeds), settings, folder)
    missing += _not_asked(names, datasets)
    results = results_of(gathered(datasets, settings, folder), datasets, missing, settings, _typed())
    write(results, folder / "results.json")
    sys.stdout.write(f"\n{report(results)}\nResults  {folder / 'results.json'}\n")
    return 1 if any(each["failed"] for each in missing) else 0


def run_cells(
    datasets: "Mapping[str, Dataset]",
    asked: tuple[Sequence[str], Sequence[int]],
    settings: "Settings",
    folder: Path,
) -> list[dict[str, Any]]:
    """Run the cells that are not there yet.

    Parameters
    ----------
    datasets
        By name.
    asked
        Names of models and baselines, and seeds. A baseline without chance in it runs once.
    settings
        Of all cells.
    folder
        Where records are kept. A killed run loses the cell at hand and no other.

    Returns
    -------
    list of dict
        Of the cells that could not run: `dataset`, `model`, `seed`, `why` and `failed`.
    """
    from workbench.runs.comparison.baselines import BASELINES, SEEDED
    from workbench.runs.comparison.cells import cell_of

    _import_all()
    missing = []
    for data in datasets.values():
        for name in asked[0]:
            once = name in BASELINES and name not in SEEDED
            for seed in asked[1][:1] if once else asked[1]:
                cell = cell_of(data, name, seed, settings)
                why = _done(cell, data, settings, folder)
                missing += [_missing(cell, why)] if why else []
    return missing


def gathered(datasets: "Mapping[str, Dataset]", settings: "Settings", folder: Path) -> list[dict[str, Any]]:
    """Return the records in the folder of these datasets and settings and of this code, earlier runs' too."""
    from workbench.runs.comparison.cells import cell_of, read

    found = []
    for data in datasets.values():
        for path in sorted((folder / "cells").glob(f"{data.name}-*.json")):
            record = read(path)
            if record is not None and record["model"] in _contestants([])[0]:
                cell = cell_of(data, record["model"], record["seed"], settings)
                found += [record] if cell.key == record["key"] else []
    order = {name: place for place, name in enumerate(_contestants([])[0])}
    return sorted(found, key=lambda r: (list(datasets).index(r["dataset"]), order[r["model"]], r["seed"]))


def _import_all() -> None:
    """Import what cells import where they use it, lest the first of them be charged for it."""
    import importlib.util

    for name in ("workbench.training.loop", "sklearn.linear_model", "sklearn.pipeline", "arch.bootstrap"):
        importlib.import_module(name)
    if importlib.util.find_spec("lightgbm") is not None:
        importlib.import_module("lightgbm")


def _done(cell: "Cell", data: "Dataset", settings: "Settings", folder: Path) -> str:
    """Run a cell that is not there; return why it could not, or nothing."""
    from workbench.runs.comparison.baselines import NotRun
    from workbench.runs.comparison.cells import write
    from workbench.runs.comparison.trial import run_cell

    path, began, why = cell.path(folder), time.perf_counter(), ""
    there = path.is_file()
    if not there:
        try:
            write(run_cell(cell, data, settings), path)
        except NotRun as reason:
            why = f"not run: {reason}"
        except (FloatingPointError, RuntimeError, ValueError) as error:
            why = f"failed: {error}"
    told = why or ("was there" if there else f"{time.perf_counter() - began:.1f} s")
    sys.stdout.write(f"{cell.dataset:<9} {cell.model:<18} seed {cell.seed}  {told}\n")
    sys.stdout.flush()
    return why


def _missing(cell: "Cell", why: str) -> dict[str, Any]:
    return {
        "dataset": cell.dataset, "model": cell.model, "seed": cell.seed, "why": why.removeprefix("not run: "),
        "failed": why.startswith("failed: "),
    }  # fmt: skip


def _contestants(asked: Sequence[str]) -> tuple[list[str], str]:
    """Names to run, and what is wrong with those asked for."""
    from workbench.models.registry import NETWORKS, one_of
    from workbench.runs.comparison.baselines import BASELINES

    known = [*BASELINES, *NETWORKS]
    for name in asked:
        if name not in known:
            return [], f"There is no model or baseline {name!r}. {one_of(name, known)}"
    return [name for name in known if not asked or name in asked], ""


def _not_asked(names: Sequence[str], datasets: "Mapping[str, Dataset]") -> list[dict[str, Any]]:
    every, _ = _contestants([])
    left = [name for name in every if name not in names]
    rest: dict[str, Any] = {"seed": None, "why": "not asked for", "failed": False}
    return [{"dataset": dataset, "model": name, **rest} for dataset in datasets for name in left]


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number from 1 on was expected, got {text!r}")
    return int(text)


def _typed() -> str:
    return " ".join(["python3 -m workbench", *sys.argv[1:]])
