"""The methods that `explain` knows, in the order a menu shows them."""

from dataclasses import dataclass

import pandas as pd
from torch import nn

from workbench.explainers.attention_pass import ATTENTION
from workbench.explainers.attributions import ATTRIBUTIONS
from workbench.explainers.batches import rollout_pass
from workbench.explainers.decompositions import DECOMPOSITIONS
from workbench.explainers.flow_pass import FLOW
from workbench.explainers.gradients import gradient_pass
from workbench.explainers.holdings import HOLDINGS
from workbench.explainers.neighbours import NEIGHBOURS
from workbench.explainers.options import BadOption, check_position, chosen
from workbench.explainers.perturbations import PERTURBATIONS
from workbench.explainers.questions import Method, Question, Scored
from workbench.explainers.rollouts import RolloutOptions
from workbench.explainers.values import VALUES
from workbench.models.registry import one_of
from workbench.training.days import is_cross_sectional

__all__ = ["METHODS", "Method", "Question", "Scored", "list_methods", "method_of"]


def list_methods() -> pd.DataFrame:
    """Return what `explain` knows, by name: what each says, and what it needs and gives."""
    columns = ["label", "what", "axes", "needs_attention", "targets", "by_feature", "signed", "slow"]
    columns += ["inside", "cross_sectional"]
    rows = {name: [getattr(method, column) for column in columns] for name, method in METHODS.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("name")


def method_of(name: str, target: str | None) -> Method:
    """Return the method, or raise ValueError if there is none of that name or it takes no such target."""
    if name not in METHODS:
        raise ValueError(f"There is no method {name!r}. {one_of(str(name), METHODS)}")
    method = METHODS[name]
    if target is not None and not method.targets:
        able = ", ".join(other.name for other in METHODS.values() if other.targets)
        raise BadOption(
            f"{name} says what the whole answer draws on, not what speaks for {target!r}: "
            f"leave out target, or choose a method that explains a class: {able}"
        )
    return method


def check_suits(method: Method, model: nn.Module) -> None:
    """Raise ValueError if the method takes each window alone and the model reads several together."""
    if is_cross_sectional(model) and not method.cross_sectional:
        raise ValueError(
            f"{method.name} takes each window alone, and {type(model).__name__} cannot be explained so "
            "because the answers of a day hang together: ask for its neighbours, or of HIST for modules and "
            "concepts"
        )


@dataclass(frozen=True)
class RowOptions(RolloutOptions):
    """What `explain` takes for the method rollout; see `rollout`."""

    position: int = -1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_position(self.position)


def _rollout(question: Question) -> Scored:
    options, windows = chosen("rollout", RowOptions, question.options), question.windows
    position = options.position
    scores, null, outputs = rollout_pass(question.model, windows, options, position, question.watch)
    return Scored(
        scores=scores.numpy(),
        outputs=outputs,
        target="last bar" if position in (-1, windows.lookback - 1) else f"bar {position}",
        null=None if null is None else null.numpy(),
        options={**question.options, "position": position},
    )


def _gradient_x_input(question: Question) -> Scored:
    if question.options:
        raise BadOption(f"gradient_x_input has no options; got {', '.join(sorted(question.options))}")
    asked = question.model, question.windows, question.target, question.watch
    scores, outputs, target = gradient_pass(*asked)
    return Scored(scores.numpy(), outputs, target)


FIRST: tuple[Method, ...] = (
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

FAMILIES: tuple[tuple[Method, ...], ...] = (
    FIRST,
    ATTENTION,
    FLOW,
    VALUES,
    ATTRIBUTIONS,
    PERTURBATIONS,
    DECOMPOSITIONS,
    NEIGHBOURS,
    HOLDINGS,
)  # in the order a menu shows them

METHODS: dict[str, Method] = {method.name: method for family in FAMILIES for method in family}
