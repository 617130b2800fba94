"""What a model was built for: enough to build it again, and to refuse windows it doesn't know."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class WindowsLike(Protocol):
    """What a model needs to know of the windows it is built for."""

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the columns of a bar."""
        ...

    @property
    def lookback(self) -> int:
        """Number of bars a window."""
        ...

    @property
    def task(self) -> Any:
        """Either "classification" or "regression"."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; empty for regression."""
        ...


@dataclass(frozen=True)
class ModelSpec:
    """How a model was built.

    Attributes
    ----------
    name
        Name in the registry, such as "transformer".
    options
        Every option that its class was called with, defaults included.
    feature_names, lookback, task, classes
        The windows it reads and what it answers; `classes` is empty for regression.
    seed
        Seed of its first weights.
    """

    name: str
    options: dict[str, Any]
    feature_names: tuple[str, ...]
    lookback: int
    task: str
    classes: tuple[str, ...]
    seed: int = 0


def check_task(task: str) -> None:
    """Raise ValueError unless `task` is "classification" or "regression"."""
    if task not in ("classification", "regression"):
        raise ValueError(f"task must be 'classification' or 'regression', got {task!r}.")
