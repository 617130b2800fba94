"""What happened while a model was trained."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import pandas as pd

from workbench.features.windows import Windows

ENDINGS = {
    "finished": "ran all its {} epochs",
    "early": "stopped early after {} epochs",
    "cancelled": "was cancelled after {} epochs",
}


@dataclass(frozen=True)
class History:
    """The epochs of one training run and how it ended.

    Attributes
    ----------
    epochs
        One row an epoch, numbered from 1: train_loss (mean over its batches, dropout on), valid_loss and
        the other validation figures, lr, seconds. The loss of classes is the weighted cross-entropy [nat];
        that of forecasts the squared error over the variance of the training labels, so that 1 is as good
        as always forecasting their mean, or 1 − IC where `loss="ic"` was asked for; a model's own penalties
        are in train_loss alone. valid_ic is the correlation of forecast and outcome: over time for one
        ticker, the mean of the days' cross-sections for a panel. valid_rank_ic is the same of ranks, and
        valid_icir, of a panel, the mean of the daily coefficients over their standard deviation, by day.
    best_epoch
        The epoch whose weights the model has, chosen by `monitor`; 0 if none was completed.
    seconds
        Time spent in the epochs, also those before a resumption [s].
    monitor
        Name of the validation figure that chose the best epoch.
    seed
        Seed of batches and dropout.
    stopped
        "finished", "early" or "cancelled".
    splits
        {"train": {"first", "last", "windows"}, "valid": {…}}: decision dates in ISO format.
    task, classes
        As in the windows.
    options
        The training options that decide the outcome.
    provenance
        Where the prices came from.
    """

    epochs: pd.DataFrame
    best_epoch: int
    seconds: float
    monitor: str
    seed: int
    stopped: str
    splits: dict[str, dict[str, Any]]
    task: str = "classification"
    classes: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def best(self) -> pd.Series:
        """The row of the best epoch."""
        if self.best_epoch == 0:
            raise ValueError("No epoch was completed, so there is no best one. Train again.")
        return self.epochs.loc[self.best_epoch]

    def __str__(self) -> str:
        ending = ENDINGS[self.stopped].format(len(self.epochs))
        lines = [f"Training {ending}, {self.seconds:.1f} s (seed {self.seed})"]
        lines += [
            f"  {name:5}  {part['windows']:6,} windows, {part['first'][:10]} → {part['last'][:10]}"
            for name, part in self.splits.items()
        ]
        if self.best_epoch:
            figures = self.best.filter(like="valid_").to_dict()
            lines.append(
                f"  best epoch {self.best_epoch}, chosen by {self.monitor}; its weights are in the model"
            )
            lines += [f"    {name:24} {value:8.4f}" for name, value in figures.items()]
        else:
            lines.append("  no epoch was completed; the weights are as they were when it was cancelled")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"

    def to_dict(self) -> dict[str, Any]:
        """Return the history as JSON can hold it, NaN as None."""
        names, table = list(self.epochs), self.epochs.to_numpy().tolist()
        rows = [
            {name: None if math.isnan(value) else value for name, value in zip(names, row, strict=True)}
            for row in table
        ]
        plain = {name: value for name, value in self.__dict__.items() if name not in ("epochs", "classes")}
        return {**plain, "classes": list(self.classes), "figures": names, "epochs": rows}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "History":
        """Return the history that `to_dict` wrote."""
        rest = dict(plain)
        epochs = epochs_frame(rest.pop("epochs"), rest.pop("figures"))
        return cls(epochs=epochs, classes=tuple(rest.pop("classes")), **rest)


def epochs_frame(rows: list[dict[str, Any]], figures: Sequence[str]) -> pd.DataFrame:
    """Return one float64 row an epoch, numbered from 1."""
    index = pd.RangeIndex(1, len(rows) + 1, name="epoch")
    return pd.DataFrame(rows, index=index, columns=list(figures), dtype="float64")


def span(windows: Windows) -> dict[str, Any]:
    """Return first and last decision date and the number of windows."""
    first, last = (moment.isoformat() for moment in windows.dates.sort_values()[[0, -1]])
    return {"first": first, "last": last, "windows": len(windows)}
