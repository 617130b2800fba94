"""A saved model with all that can still be had of what it was trained on, and reasons for what cannot."""

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from workbench.features.windows import Windows
from workbench.market.frame import SourceError
from workbench.models.spec import ModelSpec
from workbench.training.card import read_card, spec_of
from workbench.training.checkpoints import load_history, load_model
from workbench.training.history import History
from workbench.training.reopening import reopen

__all__ = ["Opened", "Parts", "open_run"]


@dataclass(frozen=True, eq=False)
class Parts:
    """The windows that the model learnt from, was chosen by, and never saw."""

    train: Windows
    valid: Windows
    test: Windows


@dataclass(frozen=True, eq=False)
class Opened:
    """What a report is made of.

    Attributes
    ----------
    name, folder
        Of the run.
    card, spec, model, history
        As saved; the history is None if none was.
    prices, parts
        Made again; None where they cannot be.
    why
        Why not, in a sentence; empty where they are there.
    note
        What differs from training.
    """

    name: str
    folder: Path
    card: dict[str, Any]
    spec: ModelSpec
    model: nn.Module
    history: History | None
    prices: pd.DataFrame | None
    parts: Parts | None
    why: str
    note: str


def open_run(folder: Path) -> Opened:
    """Open a saved model for its report.

    Raises
    ------
    FileNotFoundError, ModelFileError
        The folder holds no model that can be loaded. Prices or windows that cannot be had again are no
        error: `why` says so.
    """
    card, model, history = read_card(folder), load_model(folder), load_history(folder)
    opened = Opened(folder.name, folder, card, spec_of(card), model, history, None, None, "", "")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # its note says the same
            again = reopen(folder)
        parts = _parts(again.windows, again.split, history)
    except (ValueError, SourceError, OSError) as error:
        return replace(opened, why=str(error.args[0] if error.args else error))
    return replace(opened, model=again.model, prices=again.prices, parts=parts, note=again.note)


def _parts(windows: Windows, split: tuple[str, str] | None, history: History | None) -> Parts:
    if split is not None:
        return Parts(*windows.split(*split))
    if history is None:
        raise ValueError(
            "The model was saved without its history and without a split, so nobody knows which dates it "
            "learnt from: what it earns on any of them proves nothing. Train it with ensure_model."
        )
    train, valid = (_between(windows, history.splits[name]) for name in ("train", "valid"))
    known = train.label_dates.append(valid.label_dates).max()
    test = windows[np.asarray(windows.dates > known)]
    if not len(test):
        raise ValueError("No window follows the validation windows, so there is nothing to test on.")
    return Parts(train, valid, test)


def _between(windows: Windows, span: dict[str, Any]) -> Windows:
    dates = windows.dates
    inside = (dates >= pd.Timestamp(span["first"])) & (dates <= pd.Timestamp(span["last"]))
    return windows[np.asarray(inside)].labelled()
