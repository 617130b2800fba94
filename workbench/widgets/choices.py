"""What the selectors of an Explorer offer."""

from collections import Counter
from os import sep
from pathlib import Path
from typing import Any

from workbench.explainers.methods import METHODS, Method
from workbench.market.loading import list_tickers
from workbench.market.sources import SOURCES
from workbench.models.registry import NETWORKS
from workbench.training.card import read_card
from workbench.training.days import is_cross_sectional
from workbench.training.reopening import bundled_models
from workbench.widgets.catalogue import SavedModel, saved_models
from workbench.widgets.subject import GIVEN, TOGETHER, Subject
from workbench.widgets.views import View

VISITOR_SOURCES = ("sample", "sample20", "synthetic")  # bundled, or made on the spot: no network and no file
TRAIN = "train:"


def models_of(view: View) -> list[SavedModel]:
    """List the saved models: the bundled ones, transformers in front, then those of the view's folder."""
    home = bundled_models().resolve()
    models = saved_models(home, Path(view.folder))
    bundled = [model for model in models if model.folder.parent == home]
    bundled.sort(key=lambda model: (model.kind != "transformer", model.key))
    return bundled + [model for model in models if model.folder.parent != home]


def offered(subject: Subject, given: Subject | None, view: View, models: list[SavedModel]) -> dict[str, Any]:
    """Return everything that can be chosen beside this subject."""
    return {
        "sources": sources(view, given),
        "tickers": tickers(subject.source, view, given),
        "runs": runs(subject, given, view, models),
        "methods": methods(subject),
        "targets": ["", *subject.windows.classes],
    }


def sources(view: View, given: Subject | None) -> list[dict[str, Any]]:
    """Return the sources, with whether a ticker that isn't listed may be typed."""
    rows = [
        {"name": name, "what": source.what, "open": not view.read_only and name not in ("sample", "sample20")}
        for name, source in SOURCES.items()
        if not view.read_only or name in VISITOR_SOURCES
    ]
    if given is not None and given.source not in [row["name"] for row in rows]:
        rows.insert(0, {"name": given.source, "what": "the prices handed over", "open": False})
    return rows


def tickers(source: str, view: View, given: Subject | None) -> list[str]:
    """Return the tickers of a source that can be listed, the handed-over ones first."""
    mine = (given.held or (given.ticker,)) if given is not None and given.source == source else ()
    readable = source in SOURCES and (not view.read_only or source in VISITOR_SOURCES)
    listed = list_tickers(source) if readable else []
    return list(dict.fromkeys([*mine, *listed]))


def runs(
    subject: Subject, given: Subject | None, view: View, models: list[SavedModel]
) -> list[dict[str, Any]]:
    """Return the models to choose from: handed over, saved for this ticker or others, or to be trained.

    Their labels are distinct. Those that can't be used come last, disabled.
    """
    rows = []
    if given is not None and given.run == GIVEN:
        rows.append(_run(GIVEN, given.kind, given.trained, "given"))
    usable = [model for model in models if not model.fault]
    twins = _twins(usable) - {subject.run}
    listed = [model for model in usable if model.key not in twins]
    labels = _labels(listed)
    here = [model for model in listed if subject.ticker in model.tickers]
    others = [model for model in listed if subject.ticker not in model.tickers]
    for group, members in {f"trained on {subject.ticker}": here, "trained on others": others}.items():
        rows += [_run(model.key, labels[model.key], model.note, group) for model in members]
    if not view.read_only:
        rows += [
            _run(TRAIN + key, f"train {key}", network.what, "train here")
            for key, network in NETWORKS.items()
            if not network.needs and not network.cross_sectional  # the windows here are one ticker's features
        ]
        rows += [
            _run(model.key, model.key, _pathless(model), "cannot be used", disabled=True)
            for model in models
            if model.fault
        ]
    return rows


def _run(key: str, label: str, note: str, group: str, disabled: bool = False) -> dict[str, Any]:
    return {"key": key, "label": label, "note": note, "group": group, "disabled": disabled}


def _labels(models: list[SavedModel]) -> dict[str, str]:
    """Return the label of each model by its key; where several have the same, their keys tell them apart."""
    often = Counter(model.label for model in models)
    return {m.key: m.label if often[m.label] == 1 else f"{m.label} · {m.key}" for m in models}


def _twins(models: list[SavedModel]) -> set[str]:
    """Return the keys of those that have the very weights of a bundled model, without being one."""
    home = bundled_models().resolve()
    bundled = {_looks(model): model for model in models if model.folder.parent == home}
    alike = [m for m in models if m.folder.parent != home and _looks(m) in bundled]
    return {m.key for m in alike if _weights(m) == _weights(bundled[_looks(m)])}


def _looks(model: SavedModel) -> tuple[object, ...]:
    """Return what models of the same weights have in common, so that few cards need be read again."""
    return (model.kind, model.tickers, model.source, model.lookback, model.horizon, model.trained)


def _weights(model: SavedModel) -> str:
    return read_card(model.folder)["weights_sha256"]


def _pathless(model: SavedModel) -> str:
    """Return why a model can't be used, without telling where its folder lies."""
    return model.fault.replace(f"{model.folder.parent}{sep}", "")


def methods(subject: Subject) -> list[dict[str, Any]]:
    """Return every method that `explain` knows, with why it can't be used here where it can't."""
    return [
        {
            "name": method.name,
            "label": method.label,
            "what": method.what,
            "targets": method.targets,
            "by_feature": method.by_feature,
            "signed": method.signed,
            "disabled": disabled(method, subject),
        }
        for method in METHODS.values()
    ]


def disabled(method: Method, subject: Subject) -> str:
    """Return why a method can't be used on this subject, or nothing."""
    if method.over is not None:
        return (
            f"{method.label} is by {method.over}, and this screen is about bars: explain(model, windows, "
            f"{method.name!r}) says it, and plots.shares_over_time draws it"
        )
    if is_cross_sectional(subject.model) and not method.cross_sectional:
        return f"{method.label} takes each window alone: {TOGETHER.format(subject.kind)}"
    if method.inside and method.inside not in subject.held_inside:
        return f"{method.label} is inside of other models: {subject.kind} has nothing of the kind"
    if method.needs_attention and not subject.lens.layers:
        return f"{method.label} needs attention: {subject.lens.why_none}"
    return ""


def usable(wanted: str, subject: Subject) -> tuple[str, str]:
    """Return the method wanted if it can be used, else the first that can, and words on the change.

    Where none can, the one wanted stays: in the place of its scores the page shows why there are none.
    """
    why = disabled(METHODS[wanted], subject)
    if not why:
        return wanted, ""
    for method in METHODS.values():
        if not disabled(method, subject):
            return method.name, f"{method.label} is shown instead of {METHODS[wanted].label}: {why}"
    return wanted, f"No method explains this model by bar: {why}"
