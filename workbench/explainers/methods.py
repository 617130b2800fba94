"""The methods that `explain` knows, each with what a reader must know to choose one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor, nn

from workbench.explainers.batches import rollout_pass
from workbench.explainers.gradients import gradient_pass
from workbench.explainers.rollouts import RolloutOptions
from workbench.explainers.watching import Watch
from workbench.features.windows import Windows
from workbench.models.registry import one_of

__all__ = ["METHODS", "Method", "Question", "Scored", "list_methods", "method_of"]


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

    scores: Float[np.ndarray, "window time"] | Float[np.ndarray, "window time feature"]
    outputs: Float[Tensor, "window output"]
    target: str
    null: Float[np.ndarray, "..."] | None = None
    options: dict[str, Any] | None = None


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
        It takes many passes of the model a window, not one.
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


def list_methods() -> pd.DataFrame:
    """Return what `explain` knows, by name: what each says, and what it needs and gives."""
    columns = ["label", "what", "needs_attention", "targets", "by_feature", "signed", "slow"]
    rows = {name: [getattr(method, column) for column in columns] for name, method in METHODS.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("name")


def method_of(name: str, target: str | None) -> Method:
    """Return the method, or raise ValueError if there is none of that name or it takes no such target."""
    if name not in METHODS:
        raise ValueError(f"There is no method {name!r}. {one_of(name, METHODS)}")
    method = METHODS[name]
    if target is not None and not method.targets:
        able = ", ".join(other.name for other in METHODS.values() if other.targets)
        raise ValueError(
            f"{name} says what the whole answer draws on, not what speaks for {target!r}: "
            f"leave out target, or choose a method that explains a class: {able}"
        )
    return method


def _rollout(question: Question) -> Scored:
    options = dict(question.options)
    position = options.pop("position", -1)
    known = RolloutOptions.__dataclass_fields__
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f"rollout has no option {unknown[0]!r}; it has {', '.join([*known, 'position'])}")
    chosen, windows = RolloutOptions(**options), question.windows
    scores, null, outputs = rollout_pass(question.model, windows, chosen, position, question.watch)
    return Scored(
        scores=scores.numpy(),
        outputs=outputs,
        target="last bar" if position in (-1, windows.lookback - 1) else f"bar {position}",
        null=None if null is None else null.numpy(),
        options={**options, "position": position},
    )


def _gradient_x_input(question: Question) -> Scored:
    if question.options:
        raise ValueError(f"gradient_x_input has no options; got {', '.join(sorted(question.options))}")
    asked = question.model, question.windows, question.target, question.watch
    scores, outputs, target = gradient_pass(*asked)
    return Scored(scores.numpy(), outputs, target)


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            "rollout",
            "Attention rollout",
            "which bars the answer draws on, followed through all attention layers",
            _rollout,
            needs_attention=True,
            targets=False,
            by_feature=False,
            signed=False,
        ),
        Method(
            "gradient_x_input",
            "Gradient × input",
            "which values push one class, or the forecast, up or down, to first order",
            _gradient_x_input,
            needs_attention=False,
            targets=True,
            by_feature=True,
            signed=True,
        ),
    )
}
