"""skorch's training loop, fed with windows from memory. Imported by `fit` alone: skorch is slow to import."""

import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import GradientNormClipping, LRScheduler
from torch import Tensor

from workbench.features.windows import Windows
from workbench.training.callbacks import Ended
from workbench.training.job import Job
from workbench.training.metrics import balanced_accuracy, confusion, information_coefficient, matthews
from workbench.training.prediction import check_output, placement
from workbench.training.turns import turn


class Batches:
    """Windows batch by batch, sliced from memory; `rows` and `number` tell which batch is out."""

    def __init__(self, windows: Windows, net: "WindowsNet", shuffled: bool):
        self.windows, self.net, self.shuffled = windows, net, shuffled
        self.rows, self.number = slice(0), 0

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        windows, size = self.windows, self.net.batch_size
        device, dtype = placement(self.net.module_)
        y = windows.y.to(device)
        y = y.to(dtype) if y.is_floating_point() else y
        # The order of an epoch follows from the seed and its number alone, so a resumed run repeats it.
        random = np.random.default_rng([self.net.job.seed, len(self.net.history) - 1])
        order = random.permutation(len(windows))
        for number, start in enumerate(range(0, len(windows), size), start=1):
            rows = slice(start, start + size)
            self.rows, self.number = torch.from_numpy(order[rows]) if self.shuffled else rows, number
            # Copies, so that a model may change its input: rows in order are a view of the bars.
            yield windows.batch(self.rows).to(device, dtype, copy=not self.shuffled), y[self.rows]


class WindowsNet(NeuralNet):
    """skorch's `NeuralNet` over two sets of windows, whose label every one knows.

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
        batches = Batches(dataset, self, shuffled=training)
        if training:
            self.train_batches_ = batches
        else:
            self.valid_batches_ = batches
        return batches

    def get_loss(self, y_pred: Tensor, y_true: Tensor, X: Any = None, training: bool = False) -> Tensor:
        """Return the batch's loss; one that isn't finite ends training with the batch named."""
        check_output(y_pred, len(y_true), self.job.train)
        loss = self.criterion_(y_pred, y_true)
        if not math.isfinite(loss.item()):
            self._diverged(loss.item(), self.train_batches_ if training else self.valid_batches_)
        return loss

    def on_epoch_begin(self, net: NeuralNet, *args: Any, **kwargs: Any) -> None:
        """Start the clock."""
        super().on_epoch_begin(net, *args, **kwargs)
        self.outputs_, self.began_ = [], time.perf_counter()

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
        self.outputs_.append(step["y_pred"])
        return step

    def on_epoch_end(self, net: NeuralNet, *args: Any, **kwargs: Any) -> None:
        """Record the epoch's figures before any callback asks for them."""
        batches = [batch for batch in list(self.history)[-1]["batches"] if "train_loss" in batch]
        sizes = [batch["train_batch_size"] for batch in batches]
        self.history.record(
            "train_loss", float(np.average([b["train_loss"] for b in batches], weights=sizes))
        )
        for name, value in self._figures(torch.cat(self.outputs_)).items():
            self.history.record(name, value)
        self.history.record("seconds", time.perf_counter() - self.began_)

    def _figures(self, outputs: Tensor) -> dict[str, float]:
        valid = self.job.valid
        loss = self.criterion_(outputs, valid.y.to(outputs.device)).item()  # over all, not a mean of batches
        y = valid.y.numpy()
        if valid.task == "regression":
            days = valid.dates.to_numpy() if valid.is_panel else np.zeros(len(valid))
            forecast = outputs.squeeze(1).double().cpu().numpy()
            return {"valid_loss": loss, "valid_ic": information_coefficient(forecast, y, days)}
        counts = confusion(y, outputs.argmax(dim=1).cpu().numpy(), len(valid.classes))
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
