"""What is told of a subject in words and small numbers: its facts, and the Python that shows it again."""

from typing import Any

from workbench.widgets.accounts import unit_of
from workbench.widgets.lenses import facts_of
from workbench.widgets.subject import GIVEN, Subject
from workbench.widgets.views import View

CONVENTIONS = ("confidence", "cost_bps", "fill")


def facts(subject: Subject, view: View) -> dict[str, Any]:
    """Return what the browser shows and needs to read the buffers."""
    windows, told = subject.windows, subject.provenance
    return {
        "name": str(told.get("ticker", subject.ticker)),
        "interval": str(told.get("interval", "")),
        "intraday": subject.intraday,
        "synthetic": bool(told.get("synthetic", False)),
        "adjusted": str(told.get("adjusted", "")),
        "unit": str(told.get("currency") or ""),
        "lookback": windows.lookback,
        "horizon": windows.horizon,
        "classes": list(windows.classes),
        "feature_names": list(windows.feature_names),
        **facts_of(subject.lens),
        "top": subject.top,
        "windows": len(windows),
        "code": opening_line(subject, view),
        "trained": subject.trained,
        "cost_bps": subject.told.cost_bps,
        "fill": subject.told.fill,
        "confidence": subject.told.confidence,
        "model": subject.kind,
        "traded": subject.account.traded,
        "no_money": subject.account.why_none,
        "forecast_unit": unit_of(windows),
    }


def opening_line(subject: Subject, view: View) -> str:
    """Return the call of Explorer that shows this subject, open at its end for the choices of the view."""
    told, standard = {"source": subject.source, "ticker": subject.ticker}, View()
    told |= {name: getattr(view, name) for name in CONVENTIONS}
    known = {"features", "labels"} <= subject.windows.provenance.keys()
    if subject.folder is None:
        parts = ["model", "windows", "prices", *(["history=history"] if subject.history else [])]
    elif not known:  # windows of the user's own columns or labels, which the folder can't make again
        parts = [f"wb.load_model({subject.folder.as_posix()!r})", "windows", "prices"]
    elif subject.run == GIVEN:
        parts = [repr(subject.folder.as_posix())]
    else:
        parts = [f"run={subject.run!r}"]
        if not view.read_only:  # a visitor need not know where files lie
            told["folder"] = view.folder
    parts += [f"{name}={value!r}" for name, value in told.items() if value != getattr(standard, name)]
    return f"wb.Explorer({', '.join(parts)}"


def closing_line(chosen: dict[str, Any]) -> str:
    """Return the choices of the view as further arguments, and the closing bracket."""
    standard = View()
    named = [f", {name}={value!r}" for name, value in chosen.items() if value != getattr(standard, name)]
    return "".join(named) + ")"
