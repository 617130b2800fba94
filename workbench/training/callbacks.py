"""What happens between the steps of skorch's loop. Imported by `loop`, since skorch is slow to import."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from skorch import NeuralNet
from skorch.callbacks import Callback
from torch import Tensor

from workbench.training.job import Job
from workbench.training.progress import ProgressLine, bar
from workbench.training.states import TrainingState, Weights, copied, weights_of


class Ended(Exception):
    """Training is over: `how` is "finished", "early" or "cancelled"."""

    def __init__(self, how: str):
        super().__init__(how)
        self.how = how


class BestKeeper(Callback):
    """Keep the weights of the best epoch, end the run in time, and save its state after every epoch."""

    def __init__(self, job: Job, recipe: dict[str, Any]):
        self.job = job
        self.recipe = recipe
        self.best: Weights | None = None

    def best_epoch(self, net: NeuralNet) -> int:
        """Return the best epoch so far, counted from 1; 0 before the first is over."""
        return self.job.best_epoch([row[self.job.options.monitor] for row in self.rows(net)])

    def rows(self, net: NeuralNet) -> list[dict[str, Any]]:
        """Return the figures of the epochs that are over."""
        return [{name: row[name] for name in self.job.figures} for row in net.history if "lr" in row]

    def on_epoch_end(self, net: NeuralNet, *args: Any, **kwargs: Any) -> None:
        """Look at the epoch that is over."""
        options, done, best = self.job.options, len(net.history), self.best_epoch(net)
        if best == done:
            self.best = weights_of(net.module_)
        early = options.patience is not None and done - best >= options.patience
        how = "finished" if done == options.epochs else "early" if early else None
        if options.checkpoint is not None:
            self.state(net, how).save(Path(options.checkpoint))
        if how is not None:
            raise Ended(how)

    def state(self, net: NeuralNet, how: str | None) -> TrainingState:
        """Return all that the next epoch depends on."""
        device = torch.device(net.device)
        random = {"cpu": torch.get_rng_state()}
        if device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(device)
        return TrainingState(
            recipe=self.recipe,
            rows=self.rows(net),
            stopped=how,
            weights=weights_of(net.module_),
            best=self.best or {},
            optimizer=_flattened(net.optimizer_.state_dict()["state"]),
            random=random,
        )

    def resume(self, net: NeuralNet, state: TrainingState) -> None:
        """Put the run back to where the state was taken."""
        net.module_.load_state_dict(state.weights)
        self.best = state.best
        optimizer = net.optimizer_.state_dict()
        optimizer["state"] = _nested(state.optimizer)
        net.optimizer_.load_state_dict(optimizer)
        for group in net.optimizer_.param_groups:
            group["initial_lr"] = group["lr"]  # what a schedule that starts in the middle asks for
        for row in state.rows:
            net.history.new_epoch()
            for name in self.job.figures:
                value = row.get(name)  # an earlier version kept fewer figures
                net.history.record(name, math.nan if value is None else value)
        torch.set_rng_state(state.random["cpu"])
        if "cuda" in state.random:
            torch.cuda.set_rng_state(state.random["cuda"], torch.device(net.device))


class Progress(Callback):
    """Rewrite one line as batches and epochs go by."""

    def __init__(self, job: Job):
        self.job = job

    def on_train_begin(self, net: NeuralNet, *args: Any, **kwargs: Any) -> None:
        """Open the line."""
        self.line_ = ProgressLine()
        self.batch_ = 0

    def on_epoch_begin(self, net: NeuralNet, *args: Any, **kwargs: Any) -> None:
        """Count the epoch's batches from 0."""
        self.batch_ = 0

    def on_batch_end(self, net: NeuralNet, *args: Any, training: bool = False, **kwargs: Any) -> None:
        """Show how far the epoch is."""
        self.batch_ += training
        if self.line_.due():
            self.line_.write(self._line(net, len(net.history) - 1 + self.batch_ / self.job.batches))

    def on_train_end(self, net: NeuralNet, *args: Any, **kwargs: Any) -> None:
        """Show the end."""
        self.line_.write(self._line(net, len(net.history)), last=True)

    def _line(self, net: NeuralNet, epochs_done: float | int) -> str:
        monitor, epochs = self.job.options.monitor, self.job.options.epochs
        rows = [row for row in net.history if "seconds" in row]
        shown = f"{monitor} {rows[-1][monitor]:.4f}" if rows else "first epoch"
        seconds = sum(row["seconds"] for row in rows)
        return f"{bar(epochs_done / epochs)} epoch {len(net.history)} of {epochs} · {shown} · {seconds:.0f} s"


class EpochReport(Callback):
    """Tell a function of every epoch that is over."""

    def __init__(self, job: Job, tell: Callable[[int, int, dict[str, Any]], None]):
        self.job = job
        self.tell = tell

    def on_epoch_end(self, net: NeuralNet, *args: Any, **kwargs: Any) -> None:
        """Hand over the epoch's number, how many there are at most, and a copy of its figures."""
        row = list(net.history)[-1]
        self.tell(len(net.history), self.job.options.epochs, {name: row[name] for name in self.job.figures})


def _flattened(state: dict[int, dict[str, Tensor]]) -> dict[str, Tensor]:
    return {f"{i}/{name}": copied(value) for i, values in state.items() for name, value in values.items()}


def _nested(flat: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in flat.items():
        i, name = key.split("/", 1)
        state.setdefault(int(i), {})[name] = value
    return state
