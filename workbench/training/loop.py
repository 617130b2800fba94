"""skorch's training loop, fed with windows from memory. Imported by `fit` alone: skorch is slow to import."""

import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
from skorch import NeuralNet
from skorch.callbacks import GradientNormClipping, LRScheduler
from torch import Tensor

from workbench.features.windows import Windows
from workbench.training.callbacks import Ended
from workbench.training.job import Job
from workbench.training.losses import CorrelationLoss
from workbench.training.metrics import (
    balanced_accuracy,
    confusion,
    information_coefficient,
    information_ratio,
    matthews,
    rank_information_coefficient,
)
from workbench.training.prediction import check_output, placement
from workbench.training.turns import turn


class Batches:
    """Windows batch by batch, sliced from memory; what else there is to know of the batch that is out.

    Attributes
    ----------
    rows, number
        Which windows it holds, and its number in the epoch, from 1.
    sizes
        Windows of each of its days, one after the other; empty where batches aren't made of days.
    days
        (window,) of all windows: the same number for those of one day; of a single ticker the same for all.
    known
        (window,) of all windows: whether the label is known.
    """

    def __init__(self, windows: Windows, net: "WindowsNet", training: bool):
        self.windows, self.net, self.shuffled = windows, net, training
        self.rows: slice | Tensor = slice(0)
        self.number, self.sizes = 0, list[int]()
        days = net.job.days
        self.groups = None if days is None else days[0 if training else 1]
        self.days = torch.from_numpy(_days(windows))
        self.known = torch.from_numpy(np.asarray(windows.label_dates.notna()))
        self.all_known = bool(self.known.all())  # as a rule; then nothing need be left out

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        windows, size = self.windows, self.net.batch_size
        device, dtype = placement(self.net.module_)
        y = windows.y.to(device)
        y = y.to(dtype) if y.is_floating_point() else y
        # The order of an epoch follows from the seed and its number alone, so a resumed run repeats it.
        random = np.random.default_rng([self.net.job.seed, len(self.net.history) - 1])
        count = len(windows) if self.groups is None else len(self.groups)
        order = random.permutation(count) if self.shuffled else None
        for number, start in enumerate(range(0, count, size), start=1):
            self.rows, self.sizes = self._chosen(slice(start, start + size), order)
            self.number = number
            # Copies, so that a model may change its input: rows in order are a view of the bars.
            x = windows.batch(self.rows).to(device, dtype, copy=isinstance(self.rows, slice))
            yield x, y[self.rows]

    def _chosen(self, part: slice, order: np.ndarray | None) -> tuple[slice | Tensor, list[int]]:
        """Return rows, and the sizes of the days they are of, of one part of the epoch's order."""
        if self.groups is None:
            return part if order is None else torch.from_numpy(order[part]), []
        days = self.groups[part] if order is None else [self.groups[day] for day in order[part]]
        return torch.cat(days), [len(day) for day in days]


class WindowsNet(NeuralNet):
    """skorch's `NeuralNet` over two sets of windows.

    Parameters
    ----------
    module, criterion, **kwargs
        As in skorch.
    job
        What to learn from and how.
    """

    def __init__(self, module: torch.nn.Module, criterion: torch.nn.Module, job: Job, **kwargs: Any):
        super().__init__(module, criterion, **kwargs)
        self.job = job

    def run(self) -> str:
        """Train until it is over and say how it ended: "finished", "early" or "cancelled"."""
        self.notify("on_train_begin", X=self.job.train, y=None)
        try:
            self.fit_loop(self.job.train, epochs=self.max_epochs - len(self.history))
            how = "finished"
        except Ended as ending:
            how = ending.how
        self.notify("on_train_end", X=self.job.train, y=None)
        return how

    def get_default_callbacks(self) -> list[tuple[str, Any]]:
        """Return what every run needs: the learning rate's schedule and clipped gradients."""
        options, policy = self.job.options, "LambdaLR"

        def factor(epoch: int) -> float:
            return options.lr_factor(epoch, [row["valid_loss"] for row in list(self.history)[:epoch]])

        return [
            ("clipping", GradientNormClipping(options.clip_norm)),
            ("lr", LRScheduler(policy, event_name="lr", lr_lambda=factor)),
        ]

    def get_split_datasets(self, X: Any, y: Any = None, **_: Any) -> Any:
        """Return the two sets of windows."""
        return self.job.train, self.job.valid

    def get_iterator(self, dataset: Windows, training: bool = False) -> Any:
        """Return the windows in batches, shuffled for training."""
        batches = Batches(dataset, self, training)
        if training:
            self.train_batches_ = batches
        else:
            self.valid_batches_ = batches
        return batches

    def infer(self, x: Tensor, **fit_params: Any) -> Tensor:
        """Return the model's outputs, day by day where it reads a day's windows together."""
        if not self.job.cross_sectional:
            return self.module_(x)
        batches = self.train_batches_ if self.module_.training else self.valid_batches_
        return torch.cat([self.module_(day) for day in x.split(batches.sizes)])

    def get_loss(self, y_pred: Tensor, y_true: Tensor, X: Any = None, training: bool = False) -> Tensor:
        """Return the batch's loss; one that isn't finite ends training with the batch named.

        A model with a `training_loss(loss, y)` adds to it while training.
        """
        check_output(y_pred, len(y_true), self.job.train)
        batches = self.train_batches_ if training else self.valid_batches_
        loss = self._criterion(y_pred, y_true, batches, batches.rows)
        own = getattr(self.module_, "training_loss", None)
        if training and own is not None:
            loss = own(loss, y_true)
        if not math.isfinite(loss.item()):
            self._diverged(loss.item(), batches)
        if training:
            known = len(y_true) if batches.all_known else int(batches.known[batches.rows].sum())
            self.labels_.append(known)
        return loss

    def _criterion(self, outputs: Tensor, y: Tensor, batches: Batches, rows: slice | Tensor) -> Tensor:
        """Return the loss of the windows whose label is known."""
        known = slice(None) if batches.all_known else batches.known[rows]
        if isinstance(self.criterion_, CorrelationLoss):
            days = batches.days[rows][known].to(outputs.device)
            return self.criterion_(outputs[known], y[known], days)
        return self.criterion_(outputs[known], y[known])

    def on_epoch_begin(self, net: NeuralNet, *args: Any, **kwargs: Any) -> None:
        """Start the clock."""
        super().on_epoch_begin(net, *args, **kwargs)
        self.outputs_, self.labels_, self.began_ = [], list[int](), time.perf_counter()
        self.order_ = torch.arange(len(self.job.valid))

    def on_batch_begin(self, net: NeuralNet, *args: Any, **kwargs: Any) -> None:
        """End here if asked to."""
        if self.job.stop.is_set():
            raise Ended("cancelled")
        super().on_batch_begin(net, *args, **kwargs)

    def train_step(self, batch: tuple[Tensor, Tensor], **fit_params: Any) -> Any:
        """Learn from a batch, in a turn of its own: another thread may explain the model between two."""
        with turn(self.module_):
            return super().train_step(batch, **fit_params)

    def validation_step(self, batch: tuple[Tensor, Tensor], **fit_params: Any) -> dict[str, Any]:
        """Keep the outputs, from which the epoch's figures are made."""
        with turn(self.module_):
            step = super().validation_step(batch, **fit_params)
        rows = self.valid_batches_.rows
        self.outputs_.append((self.order_[rows], step["y_pred"]))
        return step

    def on_epoch_end(self, net: NeuralNet, *args: Any, **kwargs: Any) -> None:
        """Record the epoch's figures before any callback asks for them."""
        batches = [batch for batch in list(self.history)[-1]["batches"] if "train_loss" in batch]
        losses = [batch["train_loss"] for batch in batches]
        self.history.record("train_loss", float(np.average(losses, weights=self.labels_)))
        rows, outputs = (torch.cat(parts) for parts in zip(*self.outputs_, strict=True))
        figures = self._figures(outputs[rows.argsort()])  # batches of days may come in another order
        for name in self.job.figures:
            if name in figures:
                self.history.record(name, figures[name])
        self.history.record("seconds", time.perf_counter() - self.began_)

    def _figures(self, outputs: Tensor) -> dict[str, float]:
        valid, batches = self.job.valid, self.valid_batches_
        labels = valid.y.to(outputs.device)
        loss = self._criterion(
            outputs, labels, batches, slice(None)
        ).item()  # over all, not a mean of batches
        known = batches.known
        y, outputs = valid.y[known].numpy(), outputs.cpu()[known]
        if valid.task == "regression":
            told = outputs.squeeze(1).double().numpy(), y, batches.days[known].numpy()
            return {
                "valid_loss": loss,
                "valid_ic": information_coefficient(*told),
                "valid_rank_ic": rank_information_coefficient(*told),
                "valid_icir": information_ratio(*told),
            }
        counts = confusion(y, outputs.argmax(dim=1).numpy(), len(valid.classes))
        return {
            "valid_loss": loss,
            "valid_balanced_accuracy": balanced_accuracy(counts),
            "valid_accuracy": float(counts.trace() / counts.sum()),
            "valid_mcc": matthews(counts),
        }

    def _diverged(self, loss: float, batches: Batches) -> None:
        dates = batches.windows.dates[
            batches.rows.numpy() if isinstance(batches.rows, Tensor) else batches.rows
        ]
        first = ", ".join(str(date) for date in dates[:3])
        options, epoch = self.job.options, len(self.history)
        where = "training" if batches is self.train_batches_ else "validation"
        raise FloatingPointError(
            f"The loss became {loss} in epoch {epoch}, {where} batch {batches.number} (windows decided on "
            f"{first}{', …' if len(dates) > 3 else ''}). The model has the best weights so far. Try a "
            f"smaller lr (now {options.lr}) or clip_norm (now {options.clip_norm}), and look there."
        )


def _days(windows: Windows) -> np.ndarray:
    """Return the same number for windows that are compared with each other."""
    return pd.factorize(windows.dates)[0] if windows.is_panel else np.zeros(len(windows), dtype=np.int64)
