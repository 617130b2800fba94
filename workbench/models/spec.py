"""What a model was built for: enough to build it again, and to refuse windows it doesn't know."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import nn


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

    @property
    def horizon(self) -> int:
        """Bars from the decision bar to the end of the label."""
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
    feature_names, lookback, task, classes, horizon
        The windows it reads and what it answers, that many bars ahead; `classes` is empty for regression.
    seed
        Seed of its first weights.
    """

    name: str
    options: dict[str, Any]
    feature_names: tuple[str, ...]
    lookback: int
    task: str
    classes: tuple[str, ...]
    horizon: int
    seed: int = 0


def check_task(task: str) -> None:
    """Raise ValueError unless `task` is "classification" or "regression"."""
    if task not in ("classification", "regression"):
        raise ValueError(f"task must be 'classification' or 'regression', got {task!r}.")


def n_outputs(task: str, n_classes: int) -> int:
    """Return how many numbers a network answers with: one a class, or one forecast."""
    check_task(task)
    return n_classes if task == "classification" else 1


def check_windows(model: nn.Module, windows: WindowsLike) -> None:
    """Raise ValueError if the model says what it was built for and these windows differ from it.

    Models without a `spec`, such as a user's own, are let through.
    """
    spec = getattr(model, "spec", None)
    if not isinstance(spec, ModelSpec):
        return
    wanted, got = spec.feature_names, tuple(windows.feature_names)
    if wanted != got:
        raise ValueError(f"The model and the windows have different features. {_difference(wanted, got)}")
    for name in ("lookback", "task", "classes", "horizon"):
        wanted, got = getattr(spec, name), getattr(windows, name)
        if wanted != got:
            raise ValueError(
                f"The model was built for {name} {wanted!r} and the windows have {got!r}. "
                "Make the windows as they were for training, or build a model for these."
            )


def _difference(wanted: tuple[str, ...], got: tuple[str, ...]) -> str:
    missing, extra = [n for n in wanted if n not in got], [n for n in got if n not in wanted]
    said = [f"The windows lack {', '.join(missing)}."] if missing else []
    said += [f"The model doesn't know {', '.join(extra)}."] if extra else []
    said += [] if said else ["They are the same names in another order."]
    return " ".join([*said, f"Make the windows from features[{list(wanted)}]."])
