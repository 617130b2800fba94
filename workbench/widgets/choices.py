"""What the selectors of an Explorer offer."""

from pathlib import Path
from typing import Any

from workbench.explainers.methods import METHODS, Method
from workbench.market.loading import list_tickers
from workbench.market.sources import SOURCES
from workbench.models.registry import NETWORKS
from workbench.training.reopening import bundled_models
from workbench.widgets.catalogue import SavedModel, saved_models
from workbench.widgets.subject import GIVEN, Subject
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
) -> list[dict[str, str]]:
    """Return the models to choose from: handed over, saved for this ticker or others, or to be trained."""
    rows = []
    if given is not None and given.run == GIVEN:
        rows.append({"key": GIVEN, "label": given.kind, "note": given.trained, "group": "given"})
    here, name = f"trained on {subject.ticker}", subject.ticker
    for group in (here, "trained on others"):
        rows += [
            {"key": model.key, "label": model.label, "note": model.note, "group": group}
            for model in models
            if (name in model.tickers and not model.fault) == (group == here)
            and not (view.read_only and model.fault)  # which says where files lie
        ]
    if not view.read_only:
        rows += [
            {"key": TRAIN + key, "label": f"train {key}", "note": network.what, "group": "train here"}
            for key, network in NETWORKS.items()
        ]
    return rows


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
    if method.needs_attention and not subject.lens.layers:
        return f"{method.label} needs attention: {subject.lens.why_none}"
    return ""


def usable(wanted: str, subject: Subject) -> tuple[str, str]:
    """Return the method wanted if it can be used, else the first that can, and words on the change."""
    why = disabled(METHODS[wanted], subject)
    if not why:
        return wanted, ""
    for method in METHODS.values():
        if not disabled(method, subject):
            return method.name, f"{method.label} is shown instead of {METHODS[wanted].label}: {why}"
    raise ValueError(f"No method can explain this model. {why}")
