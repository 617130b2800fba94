"""What a way to explain is asked, what it answers, and what a reader must know to choose it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn

from workbench.explainers.watching import Watch
from workbench.features.windows import Windows


@dataclass(frozen=True)
class Question:
    """What a method is asked: of which windows, about which answer, how, and who watches."""

    model: nn.Module
    windows: Windows
    target: str | None
    watch: Watch
    options: dict[str, Any]


@dataclass(frozen=True)
class Scored:
    """What a method answers: the fields of `Explanation` that depend on it, and the model's raw outputs."""

    scores: Float[np.ndarray, "window ..."]
    outputs: Float[Tensor, "window output"]
    target: str
    null: Float[np.ndarray, "..."] | None = None
    options: dict[str, Any] | None = None
    change: Float[np.ndarray, " window"] | None = None
    axes: tuple[str, ...] | None = None  # where they are not the method's
    axis_labels: dict[str, tuple[str, ...]] | None = None


@dataclass(frozen=True)
class Method:
    """A way to explain.

    Attributes
    ----------
    name, label, what
        How it is asked for, what a menu shows, and a sentence.
    run
        Answers a `Question`.
    needs_attention
        It needs a model that attends; others work for any network.
    targets
        It explains one class, or a forecast; others take no target.
    by_feature
        Its scores are (window, time, feature); others are (window, time).
    signed
        Its scores push the answer up or down; others are shares of one.
    slow
        It takes many times what a prediction does: many passes of the model a window, or work after one, as
        flow does. "quick" comparisons leave it out.
    over
        What its scores are over where these are not bars, such as "module"; None for bars.
    inside
        Name of the part of a model that it shows (see `inside.parts_of`), and without which it refuses; empty
        for methods that ask for no such thing.
    cross_sectional
        It explains models that read the stocks of a day together; others take each window alone.
    """

    name: str
    label: str
    what: str
    run: Callable[[Question], Scored]
    needs_attention: bool
    targets: bool
    by_feature: bool
    signed: bool
    slow: bool = False
    over: str | None = None
    inside: str = ""
    cross_sectional: bool = False

    @property
    def axes(self) -> tuple[str, ...]:
        """What its scores have a number for each of, window by window."""
        if self.over is not None:
            return (self.over,)
        return ("time", "feature") if self.by_feature else ("time",)
