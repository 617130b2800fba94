"""One training run, as it was asked for."""

import threading
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor, nn

from workbench.features.windows import Windows
from workbench.training.days import cross_sections, days_of, is_cross_sectional, learnable
from workbench.training.options import MONITORS, TrainingOptions


@dataclass(frozen=True, eq=False)
class Job:
    """What to learn from and how.

    Attributes
    ----------
    train, valid
        Windows whose labels are known; of a cross-sectional model also their neighbours of the same days.
    seed
        Decides the order of the batches, and dropout.
    options
        The knobs.
    stop
        Set from any thread, ends training after the batch at hand.
    cross_sectional
        Whether the model reads the windows of one decision date together.
    """

    train: Windows
    valid: Windows
    seed: int
    options: TrainingOptions
    stop: threading.Event
    cross_sectional: bool = False

    @classmethod
    def of(
        cls,
        model: nn.Module,
        sets: tuple[Windows, Windows],
        seed: int,
        options: TrainingOptions,
        stop: threading.Event | None,
    ) -> "Job":
        """Choose the windows of train and valid that can be learnt from, and settle the options for them."""
        options.lower_is_better(sets[0].task)  # refuses a monitor that the task doesn't have
        together = is_cross_sectional(model)
        train, valid = (learnable(windows, together) for windows in sets)
        settled = options.settled(train.task, together, train.is_panel)
        stop = threading.Event() if stop is None else stop
        return cls(train, valid, seed, settled, stop, together)

    @property
    def figures(self) -> tuple[str, ...]:
        """Names of the figures of an epoch."""
        lacking = () if self.train.is_panel else ("valid_icir",)  # one ticker has one correlation, no spread
        of_valid = [name for name in MONITORS[self.train.task] if name not in lacking]
        return ("train_loss", *of_valid, "lr", "seconds")

    @property
    def batches(self) -> int:
        """Training batches an epoch."""
        count = len(self.train) if self.days is None else len(self.days[0])
        return -(-count // self.batch_size)

    @property
    def batch_size(self) -> int:
        """Windows, or days, a training batch."""
        return self.options.batch_size or 64

    @cached_property
    def days(self) -> tuple[list[Tensor], list[Tensor]] | None:
        """Rows of each day of train and of valid; None where batches are made of windows."""
        if self.options.batch_by != "day":
            return None
        found = cross_sections if self.cross_sectional else days_of
        return found(self.train), found(self.valid)

    def best_epoch(self, scores: list[float]) -> int:
        """Return the first of the best scores of the monitor, counted from 1; 0 if there are none.

        An undefined score is never better.
        """
        sign = 1 if self.options.lower_is_better(self.train.task) else -1
        ranked = [float("inf") if score != score else sign * score for score in scores]
        return ranked.index(min(ranked)) + 1 if ranked else 0
