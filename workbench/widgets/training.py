"""Training a network on what an Explorer shows."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from workbench.features.windows import Windows
from workbench.models.registry import entry
from workbench.training.checkpoints import ensure_model
from workbench.widgets.opening import Library
from workbench.widgets.subject import Subject
from workbench.widgets.worker import Job

FRACTIONS = (0.7, 0.85)  # of the decision dates, where no earlier training says where to cut


def trained(name: str, subject: Subject, library: Library) -> Callable[[Job], Subject | None]:
    """Return the work of training a network of that name; ValueError says why it can't be done."""
    entry(name)
    train, valid = parts_of(subject)

    def work(job: Job) -> Subject | None:
        def progress(epoch: int, epochs: int, row: dict[str, Any]) -> None:
            job.step(epoch, epochs)

        model, history = ensure_model(
            name, train, valid, folder=library.view.folder, stop=job.stop, progress=progress
        )
        if job.stop.is_set():
            return None
        run, folder = library.key_of(history, name)
        return replace(subject, model=model, history=history, run=run, folder=folder, note="").prepared()

    return work


def parts_of(subject: Subject) -> tuple[Windows, Windows]:
    """Return the windows to learn from and those that choose the best epoch, cut where they were before."""
    windows = subject.windows
    if not windows.label_dates.notna().any():
        raise ValueError(
            "No move of these windows is known: how they were labelled isn't said. Train in the notebook "
            "with wb.ensure_model, and open the Explorer on its model."
        )
    told = subject.history.provenance.get("split") if subject.history else None
    dates = windows.dates.strftime("%Y-%m-%dT%H:%M:%S")
    if told is not None and dates[0] < told["valid"] < told["test"] <= dates[-1]:
        train, valid, _ = windows.split(told["valid"], told["test"])
    else:
        train, valid, _ = windows.split(*FRACTIONS)
    return train, valid
