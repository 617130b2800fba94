"""The parts of a report that describe: project, data, configuration, features, training and strategy."""

from dataclasses import asdict
from typing import Any

import numpy as np

from workbench.features.windows import Windows
from workbench.runs.finalreport.numbers import not_run
from workbench.runs.finalreport.opened import Opened
from workbench.runs.finalreport.strategy import RULES, Strategy
from workbench.trading.result import BacktestResult
from workbench.training.card import library_versions
from workbench.training.findings import Study
from workbench.training.history import span

__all__ = [
    "configuration_section",
    "data_section",
    "features_section",
    "project_section",
    "strategy_section",
    "training_section",
]

TOLD = ("source", "ticker", "interval", "adjusted", "currency", "calendar", "sha256", "fetched_at")


def project_section(opened: Opened) -> dict[str, Any]:
    """Return which model this is, by what it can be recognised, and what made it and this report."""
    card = opened.card
    return {
        "run": opened.name,
        "network": opened.spec.name,
        "class": type(opened.model).__name__,
        "task": opened.spec.task,
        "saved_at": card.get("saved_at"),
        "weights_sha256": card["weights_sha256"],
        "card_sha256": card["card_sha256"],
        "versions_of_training": card.get("versions", {}),
        "versions_of_report": library_versions(),
        "note": opened.note,
    }


def data_section(opened: Opened) -> dict[str, Any]:
    """Return where the prices came from, and which windows each part has."""
    data = opened.card.get("data") or {}
    tickers = data.get("ticker", [])
    windows: dict[str, Any] = not_run(opened.why)
    if opened.parts is not None:
        windows = {"status": "computed", **{name: _part(part) for name, part in vars(opened.parts).items()}}
    return {
        **{name: data.get(name) for name in TOLD},
        "tickers": 1 if isinstance(tickers, str) else len(tickers),
        "synthetic": bool(data.get("synthetic", False)),
        "bars": data.get("bars"),
        "windows": windows,
    }


def _part(windows: Windows) -> dict[str, Any]:
    return {**span(windows), "labelled": int(windows.label_dates.notna().sum())}


def configuration_section(opened: Opened, study: Study | str) -> dict[str, Any]:
    """Return how the network was built, and its study on the training windows, or why there is none."""
    spec = opened.spec
    studied = not_run(study) if isinstance(study, str) else {"status": "computed", **study.to_dict()}
    return {
        "options": spec.options,
        "lookback": spec.lookback,
        "horizon": spec.horizon,
        "classes": list(spec.classes),
        "seed": spec.seed,
        "parameters": sum(p.numel() for p in opened.model.parameters()),
        "study": studied,
    }


def features_section(opened: Opened) -> dict[str, Any]:
    """Return what a bar consists of, how it and the labels were made, and what the labels are like."""
    data = opened.card.get("data") or {}
    labels: dict[str, Any] = not_run(opened.why)
    if opened.parts is not None:
        parts = {name: _labels(part) for name, part in vars(opened.parts).items()}
        labels = {"status": "computed", **parts}
    return {
        "names": list(opened.spec.feature_names),
        "count": len(opened.spec.feature_names),
        "recipe": data.get("features"),
        "label_recipe": data.get("labels"),
        "scaling": opened.card.get("scaling"),
        "labels": labels,
    }


def _labels(windows: Windows) -> dict[str, Any]:
    """Return the share of each class among the known labels, or mean and standard deviation."""
    y = windows.y.double().numpy()[np.asarray(windows.label_dates.notna())]
    if windows.task == "classification":
        return {name: float((y == i).mean()) if len(y) else None for i, name in enumerate(windows.classes)}
    many = len(y) > 1
    return {"mean": float(y.mean()) if len(y) else None, "sd": float(y.std(ddof=1)) if many else None}


def training_section(opened: Opened) -> dict[str, Any]:
    """Return how training went, from the epochs that were logged."""
    history = opened.history
    if history is None:
        return not_run("the model was saved without the history of its training")
    plain = history.to_dict()
    kept = ("best_epoch", "seconds", "monitor", "seed", "stopped", "options")
    best = plain["epochs"][history.best_epoch - 1] if history.best_epoch else None
    return {
        "status": "computed",
        **{name: plain[name] for name in kept},
        "epochs_run": len(plain["epochs"]),
        "best": best,
        "epochs": plain["epochs"],
    }


def strategy_section(strategy: Strategy, book: BacktestResult) -> dict[str, Any]:
    """Return the rule, how its threshold was chosen, and the conventions of the ledger."""
    return {
        "status": "computed",
        "rule": strategy.rule,
        "words": RULES[strategy.rule],
        "threshold": strategy.threshold,
        "chosen_by": strategy.chosen,
        "trials": [dict(trial) for trial in strategy.trials],
        "conventions": asdict(book.conventions),
    }
