"""The results as frames for people: a row a model, the numbers with their spread."""

from collections.abc import Mapping
from textwrap import shorten
from typing import Any

import pandas as pd

from workbench.runs.comparison.results import COSTS

SHOWN = ("ic", "rank_ic", "ic_ir", "hit_rate", "sharpe", "sharpe_before_costs")
NAMES = {
    "ic": "IC",
    "rank_ic": "rank IC",
    "ic_ir": "ICIR",
    "rank_ic_ir": "rank ICIR",
    "ic_over_time": "IC over time",
    "hit_rate": "hit rate",
    "r2_against_zero": "R² against 0",
    "sharpe": "Sharpe",
    "sharpe_before_costs": "Sharpe before costs",
    "cagr": "CAGR",
    "max_drawdown": "max drawdown",
    "turnover_a_day": "turnover a day",
    "train_cpu_s": "training [CPU s]",
    "epoch_cpu_s": "epoch [CPU s]",
    "predict_cpu_ms_a_window": "answer [CPU ms]",
    "peak_mb": "peak memory [MB]",
    "parameters": "parameters",
}


def figures_table(results: Mapping[str, Any], dataset: str, names: tuple[str, ...] = SHOWN) -> pd.DataFrame:
    """Return mean ± sd over seeds of each figure by model, the largest IC first; "–" where undefined.

    Parameters
    ----------
    results
        What `results.json` holds.
    dataset
        Name of the dataset.
    names
        Names from `FIGURES` or `COSTS`.
    """
    rows = {}
    for model in _models(results, dataset):
        cells = {NAMES[n]: with_spread((model["figures"] | model["cost"])[n]) for n in names}
        rows[model["model"]] = {**cells, "seeds": str(len(model["seeds"]))}
    for name, why in _absent(results, dataset).items():
        rows[name] = {**{NAMES[n]: "not run" for n in names}, "seeds": why}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")


def costs_table(results: Mapping[str, Any], dataset: str) -> pd.DataFrame:
    """Return what each model cost, mean ± sd over seeds."""
    return figures_table(results, dataset, COSTS)


def intervals_table(results: Mapping[str, Any], dataset: str, figure: str = "ic") -> pd.DataFrame:
    """Return `mean`, `low` and `high` of a figure by model, the largest first, where it is defined."""
    rows = {
        model["model"]: [model["figures"][figure]["mean"], *model["intervals"][figure]]
        for model in _models(results, dataset)
        if model["intervals"].get(figure) is not None
    }
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["mean", "low", "high"], dtype="float64")
    return table.sort_values("mean", ascending=False).rename_axis("model")


def needs_table(results: Mapping[str, Any], dataset: str) -> pd.DataFrame:
    """Return which model for which need, as measured on one dataset."""
    rows = [need for need in results["needs"] if need["dataset"] == dataset]
    shown = {
        need["need"]: {"measured by": NAMES[need["figure"]], "first": _first(need), "so": need["verdict"]}
        for need in rows
    }
    return pd.DataFrame.from_dict(shown, orient="index").rename_axis("a model is wanted …")


def published_table(results: Mapping[str, Any], dataset: str) -> pd.DataFrame:
    """Return ours and, in columns of their own, what others published of other data."""
    ours = figures_table(results, dataset, ("ic", "rank_ic"))[["IC", "rank IC"]]
    theirs = pd.DataFrame.from_dict(results["published"]["figures"], orient="index")
    told = theirs.map(lambda value: "–" if value is None or value != value else f"{value:.4f}")
    told = told.reindex(ours.index).fillna("–")
    return pd.concat({"measured here": ours, "published, of CSI 300": told}, axis=1)


def learning_curves(results: Mapping[str, Any], dataset: str, figure: str) -> dict[str, pd.DataFrame]:
    """Return a figure of the logged epochs by model: a row an epoch, a column a seed."""
    curves: dict[str, dict[int, list[float]]] = {}
    for cell in results["cells"]:
        if cell["dataset"] == dataset and cell["epochs"]:
            values = [float("nan") if row[figure] is None else row[figure] for row in cell["epochs"]]
            curves.setdefault(cell["model"], {})[cell["seed"]] = values
    return {
        name: pd.DataFrame(seeds, index=pd.RangeIndex(1, len(next(iter(seeds.values()))) + 1, name="epoch"))
        for name, seeds in curves.items()
    }


def report(results: Mapping[str, Any]) -> str:
    """Return all tables as text."""
    parts = []
    for name, data in results["datasets"].items():
        first, last = data["tested"]
        parts.append(f"{name}: {data['what']}; {data['test_days']} days tested, {first} to {last}")
        parts += [figures_table(results, name).to_string(), costs_table(results, name).to_string()]
        parts.append(needs_table(results, name).to_string())
    return "\n\n".join(parts)


def with_spread(spread: Mapping[str, float | None]) -> str:
    """Write mean ± sd with three digits of the mean; the sd is left out where there is one seed."""
    mean, sd = spread["mean"], spread["sd"]
    if mean is None:
        return "–"
    digits = 0 if abs(mean) >= 100 or mean == 0 else 1 if abs(mean) >= 10 else 2 if abs(mean) >= 1 else 4
    return f"{mean:,.{digits}f}" if sd is None else f"{mean:,.{digits}f} ± {sd:,.{digits}f}"


def _models(results: Mapping[str, Any], dataset: str) -> list[dict[str, Any]]:
    mine = [model for model in results["models"] if model["dataset"] == dataset]
    means = {model["model"]: model["figures"]["ic"]["mean"] for model in mine}
    return sorted(mine, key=lambda m: (means[m["model"]] is None, -(means[m["model"]] or 0.0)))


def _absent(results: Mapping[str, Any], dataset: str) -> dict[str, str]:
    ran = {model["model"] for model in _models(results, dataset)}
    mine = [each for each in results["not_run"] if each["dataset"] == dataset]
    return {each["model"]: shorten(each["why"], 60) for each in mine if each["model"] not in ran}


def _first(need: Mapping[str, Any]) -> str:
    digits = 0 if abs(need["value"]) >= 100 else 4 if abs(need["value"]) < 1 else 2
    low, high = need["interval"] or (None, None)
    told = "" if low is None or high is None else f" [{low:,.{digits}f}, {high:,.{digits}f}]"
    return f"{need['best']}, {need['value']:,.{digits}f}{told}"
