"""One training run, as it was asked for."""

import threading
from dataclasses import dataclass

from workbench.features.windows import Windows
from workbench.training.options import MONITORS, TrainingOptions


@dataclass(frozen=True, eq=False)
class Job:
    """What to learn from and how.

    Attributes
    ----------
    train, valid
        Windows whose labels are all known.
    seed
        Decides the order of the batches, and dropout.
    options
        The knobs.
    stop
        Set from any thread, ends training after the batch at hand.
    """

    train: Windows
    valid: Windows
    seed: int
    options: TrainingOptions
    stop: threading.Event

    @property
    def figures(self) -> tuple[str, ...]:
        """Names of the figures of an epoch."""
        return ("train_loss", *MONITORS[self.train.task], "lr", "seconds")

    @property
    def batches(self) -> int:
        """Training batches an epoch."""
        return -(-len(self.train) // self.options.batch_size)

    def best_epoch(self, scores: list[float]) -> int:
        """Return the first of the best scores of the monitor, counted from 1; 0 if there are none.

        An undefined score is never better.
        """
        sign = 1 if self.options.lower_is_better(self.train.task) else -1
        ranked = [float("inf") if score != score else sign * score for score in scores]
        return ranked.index(min(ranked)) + 1 if ranked else 0
