"""The comparison as one JSON file: cells, models, needs, what was not run, what others published."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import Any

from workbench.runs.comparison.cells import Settings, cell_of
from workbench.runs.comparison.datasets import Dataset, load_dataset
from workbench.runs.comparison.needs import NEEDS, by_cost, by_figure
from workbench.runs.comparison.published import CITATION, published
from workbench.runs.comparison.summary import BY_DAY, Group, Record, drawn_figures, groups_of, interval_of

FIGURES = (
    "ic", "ic_ir", "rank_ic", "rank_ic_ir", "ic_over_time", "hit_rate", "r2_against_zero", "sharpe",
    "sharpe_before_costs", "cagr", "max_drawdown", "turnover_a_day",
)  # fmt: skip
COSTS = ("train_cpu_s", "epoch_cpu_s", "predict_cpu_ms_a_window", "peak_mb", "parameters")
_APART = ("days", "place")  # too much of a cell, and told once
DRAWS = 4  # times those of a cell: the far tails are asked for


def results_of(
    records: Sequence[Record],
    datasets: Mapping[str, Dataset],
    not_run: Sequence[dict[str, Any]],
    settings: Settings,
    told: Mapping[str, Any],
) -> dict[str, Any]:
    """Put everything together.

    Parameters
    ----------
    records
        Of the cells.
    datasets
        Those compared on.
    not_run
        `dataset`, `model`, `seed` (or None) and `why`.
    settings
        Of all cells.
    told
        What else to keep: the `command`, and whether it was the `smallest` form.
    """
    models, needs = [], []
    for name, data in datasets.items():
        groups = groups_of(records, name)
        drawn = {f: drawn_figures(groups, f, data.horizon, DRAWS * settings.draws) for f in BY_DAY}
        models += [_model(name, group, {f: drawn[f].get(group.model) for f in BY_DAY}) for group in groups]
        for need in NEEDS:
            if need.figure == "hit_rate":
                need = replace(need, chance=majority(data))
            found = (
                by_cost(need, groups) if need.part == "cost" else by_figure(need, groups, drawn[need.figure])
            )
            needs += [] if found is None else [{"dataset": name, **found}]
    return {
        **told,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "places": _places(records),
        "settings": asdict(settings),
        "datasets": {name: _dataset(data) for name, data in datasets.items()},
        "models": models,
        "needs": needs,
        "not_run": list(not_run),
        "published": {"citation": CITATION, "figures": published().to_dict(orient="index")},
        "cells": [{name: value for name, value in r.items() if name not in _APART} for r in records],
    }


def read_results(path: str | PathLike[str]) -> dict[str, Any]:
    """Return what a results file holds, or say how one is made."""
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"There is no {file}. Make one with: python3 -m workbench compare")
    return json.loads(file.read_text(encoding="utf-8"))


def disagreeing(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the cells of a results file whose hashes the data and code at hand no longer give."""
    settings, changed = Settings(**results["settings"]), []
    datasets = {name: load_dataset(name, results["smallest"]) for name in results["datasets"]}
    for record in results["cells"]:
        try:
            now = cell_of(datasets[record["dataset"]], record["model"], record["seed"], settings)
        except ValueError:  # a model that there is no more
            changed.append({**_name(record), "differs": ["model"]})
            continue
        differs = [part for part in ("data", "code", "configuration") if getattr(now, part) != record[part]]
        changed += [{**_name(record), "differs": differs}] if differs else []
    return changed


def majority(data: Dataset) -> float:
    """Return the share of test outcomes that have the commoner sign: who always says it hits so often."""
    y = data.test.y.numpy()
    up, down = int((y > 0).sum()), int((y < 0).sum())  # NaN is neither
    return max(up, down) / (up + down)


def _model(dataset: str, group: Group, drawn: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "dataset": dataset,
        "model": group.model,
        "seeds": [record["seed"] for record in group.records],
        "figures": {name: group.spread("figures", name) for name in FIGURES},
        "cost": {name: group.spread("cost", name) for name in COSTS},
        "intervals": {name: None if each is None else interval_of(each) for name, each in drawn.items()},
        "undefined": {name: why for record in group.records for name, why in record["undefined"].items()},
    }


def _dataset(data: Dataset) -> dict[str, Any]:
    days = data.test.dates.unique()
    return {
        **asdict(data.recipe),
        "sha256": data.digest,
        "features": list(data.train.feature_names),
        "windows": {part: len(getattr(data, part)) for part in ("train", "valid", "test")},
        "test_days": len(days),
        "commoner_sign": majority(data),
        "tested": [f"{days.min():%Y-%m-%d}", f"{days.max():%Y-%m-%d}"],
    }


def _name(record: Record) -> dict[str, Any]:
    return {name: record[name] for name in ("dataset", "model", "seed")}


def _places(records: Sequence[Record]) -> list[dict[str, str]]:
    """The machines and versions that computed the cells, each once."""
    found = {tuple(sorted(record["place"].items())): record["place"] for record in records}
    return list(found.values())
