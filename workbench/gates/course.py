"""A training, as far as what watches it must know."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from workbench.gates.tables import number


@dataclass(frozen=True)
class Course:
    """Where a training begins, and how far it may go.

    Attributes
    ----------
    epochs
        Most of them; None where nobody knows.
    done
        Epochs that were over before: more than 0 when a training is resumed.
    steps
        Steps of the optimiser in those.
    past
        Figures of each of those.
    marks
        What the training is recognised by, as JSON can hold it.
    """

    epochs: int | None = None
    done: int = 0
    steps: int = 0
    past: Sequence[Mapping[str, float]] = ()
    marks: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, net: Any) -> "Course":
        """Read it from skorch's net: `fit`'s says also seed and options, and its batches an epoch."""
        job, rows = getattr(net, "job", None), list(net.history)
        return cls(
            epochs=net.max_epochs,
            done=len(rows),
            steps=0 if job is None else job.batches * len(rows),
            past=[figures_of(row, job) for row in rows],
            marks={} if job is None else {"seed": job.seed, "options": job.options.recipe()},
        )

    def progress(self, epoch: int) -> float:
        """Return the share of the course that is over after an epoch; NaN where its length isn't known."""
        return epoch / self.epochs if self.epochs else float("nan")


def figures_of(row: Mapping[str, Any], job: Any = None) -> dict[str, float]:
    """Return an epoch's figures out of skorch's history: those of `fit`'s job, or else all numbers."""
    names = row if job is None else job.figures
    found = {name: row[name] for name in names if name in row and name != "epoch"}
    return {n: number(v) for n, v in found.items() if isinstance(v, int | float) and not isinstance(v, bool)}
