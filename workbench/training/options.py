"""How to train: every knob of `fit`, checked before any time is spent."""

import difflib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from os import PathLike
from typing import Any

MONITORS = {  # validation figure → whether lower is better
    "classification": {
        "valid_loss": True,
        "valid_balanced_accuracy": False,
        "valid_accuracy": False,
        "valid_mcc": False,
    },
    "regression": {"valid_loss": True, "valid_ic": False, "valid_rank_ic": False, "valid_icir": False},
}
SCHEDULES = ("cosine", "plateau", "none")
LOSSES = ("mse", "ic")  # of forecasts; classes have the cross-entropy
BATCHES = ("window", "day")
BYSTANDERS = ("progress", "checkpoint", "callbacks")  # options that don't change the outcome


@dataclass(frozen=True)
class TrainingOptions:
    """Options of `fit`.

    Attributes
    ----------
    epochs
        Most passes over the training windows.
    batch_size
        Windows a step, or decision days; the last, smaller batch of an epoch is used too. None is 64
        windows, or one day of a panel.
    lr, weight_decay
        Of AdamW.
    patience
        Stop after this many epochs without a better `monitor`; None never stops early.
    monitor
        What decides the best epoch: "valid_loss"; for classes also "valid_balanced_accuracy",
        "valid_accuracy" and "valid_mcc" (Matthews correlation); for forecasts also "valid_ic",
        "valid_rank_ic", and of a panel "valid_icir" (see `History`).
    clip_norm
        Longest gradient allowed (its Euclidean norm over all weights); None leaves it.
    schedule
        "cosine" lets the learning rate sink to 1 % over `epochs`; "plateau" halves it whenever the
        validation loss hasn't improved for a third of `patience`; "none" keeps it.
    warmup
        Epochs over which the learning rate first rises in equal steps.
    class_weights
        "balanced" lets every class of the training labels weigh the same in the loss; None lets every
        window; or one weight a class.
    batch_by
        "day" puts all windows of a decision date into one batch. None does so where that is needed: for
        models that read a day's stocks together, and for the loss "ic" of a panel.
    loss
        Of forecasts. "mse", which None is too: the squared error over the variance of the training labels.
        "ic": 1 − information coefficient, the day's correlation of forecast and outcome averaged over the
        days; over the batch for a single ticker. It knows order and spacing, but neither level nor unit:
        the forecasts are then no returns.
    threads
        Processor threads while training. One makes the outcome the same on machines of any number of
        cores, and a network of a laptop's size loses little by it; on a busy machine two threads wait for
        each other many times as long. Large networks on idle cores gain from more. None keeps PyTorch's
        setting.
    progress
        Show one line that is rewritten as training goes; or a function, called after every epoch with its
        number, `epochs` and its figures. Not part of what a model is recognised by.
    checkpoint
        Folder that keeps the state after every epoch: the same call resumes from it after a kill.
    callbacks
        Further skorch callbacks. Not part of what a checkpoint or a saved model is recognised by.
    """

    epochs: int = 40
    batch_size: int | None = None
    lr: float | int = 1e-3
    weight_decay: float | int = 0.01
    patience: int | None = 8
    monitor: str = "valid_loss"
    clip_norm: float | int | None = 1.0
    schedule: str = "cosine"
    warmup: int = 0
    class_weights: str | Sequence[float | int] | None = "balanced"
    batch_by: str | None = None
    loss: str | None = None
    threads: int | None = 1
    progress: bool | Callable[[int, int, dict[str, Any]], None] = True
    checkpoint: str | PathLike[str] | None = None
    callbacks: Sequence[Any] = ()

    def __post_init__(self):
        positive = {"epochs": self.epochs, "batch_size": self.batch_size, "lr": self.lr}
        positive |= {"patience": self.patience, "clip_norm": self.clip_norm, "threads": self.threads}
        for name, value in positive.items():
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be positive, got {value}.")
        for name, value in {"weight_decay": self.weight_decay, "warmup": self.warmup}.items():
            if value < 0:
                raise ValueError(f"{name} must not be negative, got {value}.")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, got {self.schedule!r}.")
        for name, value, known in (("loss", self.loss, LOSSES), ("batch_by", self.batch_by, BATCHES)):
            if value is not None and value not in known:
                raise ValueError(f"{name} must be None or one of {', '.join(known)}, got {value!r}.")
        if isinstance(self.class_weights, str) and self.class_weights != "balanced":
            raise ValueError(
                f"class_weights must be 'balanced', None or numbers, got {self.class_weights!r}."
            )

    @classmethod
    def of(cls, options: dict[str, Any]) -> "TrainingOptions":
        """Make options from keyword arguments; an unknown one is refused with the list of those there are."""
        known = [field.name for field in fields(cls)]
        for name in options:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                guess = f"Did you mean {near[0]!r}? " if near else ""
                raise TypeError(f"fit has no option {name!r}. {guess}There are: {', '.join(known)}.")
        return cls(**options)

    def recipe(self) -> dict[str, Any]:
        """Return the options that decide the outcome, as JSON can hold them.

        A loss and batches that are the usual ones are not named: so a run is recognised that was recorded
        before there were others.
        """
        chosen = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in BYSTANDERS}
        chosen["batch_size"] = self.batch_size or 64
        for name, usual in (("loss", (None, "mse")), ("batch_by", (None, "window"))):
            if chosen[name] in usual:
                del chosen[name]
        if not isinstance(self.class_weights, str | None):
            chosen["class_weights"] = [float(weight) for weight in self.class_weights]
        return chosen

    def lower_is_better(self, task: str) -> bool:
        """Tell the direction of the monitor; one that the task doesn't have is refused."""
        monitors = MONITORS[task]
        if self.monitor not in monitors:
            raise ValueError(
                f"monitor must be one of {', '.join(monitors)} for {task}, got {self.monitor!r}."
            )
        return monitors[self.monitor]

    def settled(self, task: str, cross_sectional: bool, is_panel: bool) -> "TrainingOptions":
        """Return the options with `batch_by` and `batch_size` decided for a model and its windows.

        Raises ValueError where task, model or windows cannot have such a loss, monitor or batches.
        """
        if task == "classification" and self.loss is not None:
            raise ValueError(
                f"loss={self.loss!r} is for forecasts, and these labels are classes, which have the "
                "cross-entropy: leave loss out, or label with forward_return."
            )
        if self.monitor == "valid_icir" and not is_panel:
            raise ValueError(
                "valid_icir is the spread of the information coefficient over the days of a panel, and these "
                "windows are of one ticker: monitor valid_ic."
            )
        needs_days = cross_sectional or (self.loss == "ic" and is_panel)
        if needs_days and self.batch_by == "window":
            who = "this model reads" if cross_sectional else "loss='ic' compares"
            raise ValueError(f"{who} all stocks of a day together: leave batch_by out, or give 'day'.")
        batch_by = self.batch_by or ("day" if needs_days else "window")
        size = self.batch_size or (1 if batch_by == "day" and is_panel else 64)
        if self.loss == "ic" and not is_panel and size < 2:
            raise ValueError(
                "loss='ic' of one ticker is a correlation over the batch: batch_size at least 2."
            )
        return replace(self, batch_by=batch_by, batch_size=size)

    def lr_factor(self, epoch: int, losses: Sequence[float]) -> float:
        """Return what the learning rate is multiplied by in an epoch counted from 0.

        Parameters
        ----------
        epoch
            Number of epochs that are over.
        losses
            Validation loss of each of them.
        """
        rise = min(1.0, (epoch + 1) / (self.warmup + 1))
        if self.schedule == "plateau":
            return rise * 0.5 ** _plateaus(losses, max(1, (self.patience or 9) // 3))
        if self.schedule == "none" or epoch < self.warmup:
            return rise
        done = (epoch - self.warmup) / max(1, self.epochs - self.warmup)
        return 0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2


def _plateaus(losses: Sequence[float], patience: int) -> int:
    """Count how often `patience` epochs in a row brought no better loss."""
    best, since, count = math.inf, 0, 0
    for loss in losses:
        best, since = (loss, 0) if loss < best else (best, since + 1)
        if since == patience:
            count, since = count + 1, 0
    return count
