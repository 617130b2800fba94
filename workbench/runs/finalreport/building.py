"""All sections of a report, put together and held to its schema."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from workbench.market.frame import SourceError
from workbench.runs.finalreport.advice import recommend
from workbench.runs.finalreport.numbers import not_run
from workbench.runs.finalreport.opened import Opened
from workbench.runs.finalreport.performance import Measured, Wishes, measure, performance_section
from workbench.runs.finalreport.sections import (
    configuration_section,
    data_section,
    features_section,
    project_section,
    strategy_section,
    training_section,
)
from workbench.training.findings import Study
from workbench.training.options import TrainingOptions
from workbench.training.studies import study

__all__ = ["FORMAT", "Built", "build_report", "check_report", "schema"]

FORMAT = "attention-workbench study 1"


@dataclass(frozen=True, eq=False)
class Built:
    """A report, without its figures, and what they are drawn from."""

    report: dict[str, Any]
    study: Study | None
    measured: Measured | None


def build_report(opened: Opened, wishes: Wishes, steps: int = 7) -> Built:
    """Compute every section of a report.

    Parameters
    ----------
    opened
        The saved model.
    wishes
        Costs, threshold, bootstrap.
    steps
        Steps of training to time; 0 times none.
    """
    studied, unstudied = _studied(opened, steps)
    found, why = None, opened.why
    if opened.parts is not None:
        try:
            found = measure(opened, opened.parts, wishes)
        except (ValueError, SourceError) as error:
            why = str(error)
    report = {
        "format": FORMAT,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "project": project_section(opened),
        "data": data_section(opened),
        "configuration": configuration_section(opened, studied or unstudied),
        "features": features_section(opened),
        "training": training_section(opened),
        "strategy": not_run(why),
        "performance": not_run(why),
    }
    if found is not None and opened.parts is not None:
        report["strategy"] = strategy_section(found.strategy, found.book)
        report["performance"] = performance_section(found, opened.parts, wishes)
    report = json.loads(json.dumps(report, allow_nan=False))
    return Built({**report, "recommendations": recommend(report), "figures": []}, studied, found)


def schema() -> dict[str, Any]:
    """Return the JSON schema of report.json, which describes every field."""
    text = files("workbench.runs.finalreport").joinpath("report.schema.json").read_text(encoding="utf-8")
    return json.loads(text)


def check_report(report: dict[str, Any]) -> None:
    """Raise jsonschema.ValidationError, naming the place, unless the report keeps to its schema."""
    from jsonschema import Draft202012Validator

    Draft202012Validator(schema(), format_checker=Draft202012Validator.FORMAT_CHECKER).validate(report)


def _studied(opened: Opened, steps: int) -> tuple[Study | None, str]:
    """Return the study on the training windows, or None and why there is none."""
    if opened.parts is None:
        return None, opened.why
    told = opened.history.options if opened.history is not None else {}
    known = TrainingOptions.__dataclass_fields__
    options = {name: value for name, value in told.items() if name in known}
    try:
        return study(opened.model, opened.parts.train, opened.parts.valid, steps=steps, **options), ""
    except ValueError as error:
        return None, str(error)
