"""Real steps of a training that is not begun: how long they take, and which weights they never reach."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, islice, repeat

import numpy as np
import torch
from torch import Tensor, nn

from workbench.models.seeds import seeded
from workbench.training.fitting import training_net
from workbench.training.job import Job
from workbench.training.losses import loss_for
from workbench.training.prediction import placement
from workbench.training.threads import using_threads

__all__ = ["Steps", "take_steps"]


@dataclass(frozen=True)
class Steps:
    """Steps of forward, backward and optimiser, as `fit` takes them.

    Attributes
    ----------
    seconds
        Of each step measured, by the clock; a first step, which also sets things up, is not among them.
    batches, epochs
        Steps an epoch of training, and the most epochs asked for.
    without_gradient
        Names of trainable weights that no step's loss depends on.
    zero_gradient
        Names of those whose gradient was exactly zero, everywhere and in every step.
    """

    seconds: tuple[float, ...]
    batches: int
    epochs: int
    without_gradient: tuple[str, ...]
    zero_gradient: tuple[str, ...]

    @property
    def quartiles(self) -> tuple[float, float, float]:
        """Lower quartile, median and upper quartile of a step [s]."""
        low, middle, high = np.quantile(self.seconds, [0.25, 0.5, 0.75]).tolist()
        return low, middle, high

    @property
    def epoch(self) -> tuple[float, float, float]:
        """The same for an epoch's training steps, validation left out: an estimate from the steps [s]."""
        low, middle, high = (seconds * self.batches for seconds in self.quartiles)
        return low, middle, high


def take_steps(model: nn.Module, job: Job, count: int) -> Steps:
    """Take `count` steps of the job's training, and one before them.

    The model is changed as training changes it: see `untouched`.
    """
    device, dtype = placement(model)
    criterion = loss_for(job.train, job.options.class_weights, dtype, job.options.loss)
    net, _ = training_net(model, criterion, job, {})
    seconds: list[float] = []
    reached, moved = set[str](), set[str]()
    with seeded(job.seed, device), using_threads(job.options.threads):
        net.initialize()
        net.notify("on_train_begin", X=job.train, y=None)
        net.notify("on_epoch_begin", dataset_train=job.train, dataset_valid=job.valid)
        epochs = chain.from_iterable(net.get_iterator(job.train, training=True) for _ in repeat(None))
        for batch in islice(epochs, count + 1):
            net.history.new_batch()
            seconds.append(_timed(net.train_step, batch, device))
            for name, weight in model.named_parameters():
                if weight.grad is not None:
                    reached.add(name)
                    moved |= {name} if bool(weight.grad.any()) else set()
    names = [name for name, weight in model.named_parameters() if weight.requires_grad]
    return Steps(
        seconds=tuple(seconds[1:]),
        batches=job.batches,
        epochs=job.options.epochs,
        without_gradient=tuple(name for name in names if name not in reached),
        zero_gradient=tuple(name for name in names if name in reached - moved),
    )


def _timed(
    step: Callable[[tuple[Tensor, Tensor]], object], batch: tuple[Tensor, Tensor], device: torch.device
) -> float:
    began = time.perf_counter()
    step(batch)
    if device.type == "cuda":  # whose work goes on after the call
        torch.cuda.synchronize(device)
    return time.perf_counter() - began
