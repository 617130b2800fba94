"""Shares that a model computes on its way: of concepts, frequencies, predictors and values."""

from dataclasses import dataclass
from typing import Any

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from workbench.explainers.capture import unwrapped
from workbench.explainers.inside import Parts, Wanted, collected, inside_method, refuse_options, shares
from workbench.explainers.options import BadOption, check_whole, chosen
from workbench.explainers.questions import Method, Question, Scored

CONCEPTS = Wanted("concepts", "concepts", "HIST, which gathers from the concepts that it is given")
FREQUENCIES = Wanted("frequencies", "frequencies", "SFM, which keeps its memory by frequency")
OVER_TIME = FREQUENCIES._replace(part="over_time")
ROUTING = Wanted("routing", "routing", "TRA, which chooses between predictors")
MASKS = Wanted("masks", "masks", "TabNet, which masks values in steps")


def _one(question: Question, wanted: Wanted) -> tuple[Tensor, Tensor]:
    """Return one part (window, …) and the outputs."""
    found = collected(question, wanted, lambda parts, _: {"part": parts[wanted.part]})
    return found["part"], found["outputs"]


def _concepts(question: Question) -> Scored:
    refuse_options(question, "concepts")
    found, outputs = _one(question, CONCEPTS)
    names = tuple(getattr(unwrapped(question.model), "concepts", ())) or numbered(found.shape[1])
    return Scored(shares(found, "shares of concepts"), outputs, "answer", axis_labels={"concept": names})


def _frequencies(question: Question) -> Scored:
    options = chosen("frequencies", FrequencyOptions, question.options)
    found, outputs = _one(question, OVER_TIME if options.over_time else FREQUENCIES)
    return Scored(
        shares(found, "energies"),
        outputs,
        "memory at every bar" if options.over_time else "memory at the last bar",
        options={"over_time": options.over_time, "energy": pd.Series(found.flatten(1).sum(1).numpy())},
        axes=("time", "frequency") if options.over_time else None,
        axis_labels={"frequency": numbered(found.shape[-1])},
    )


def _routing(question: Question) -> Scored:
    refuse_options(question, "routing")
    found, outputs = _one(question, ROUTING)
    names = tuple(f"predictor {i + 1}" for i in range(found.shape[1]))
    return Scored(shares(found, "probabilities"), outputs, "answer", axis_labels={"predictor": names})


def _masks(question: Question) -> Scored:
    step = chosen("masks", MaskOptions, question.options).step

    def pick(parts: Parts, _: Tensor) -> Parts:
        return {"masks": parts["masks"] if step is None else _step(parts["steps"], step)}

    found = collected(question, MASKS, pick)
    told = "answer" if step is None else f"step {step}"
    return Scored(shares(found["masks"], "masks"), found["outputs"], told, options={"step": step})


def _step(steps: Float[Tensor, "step batch time feature"], step: int) -> Tensor:
    if not -len(steps) <= step < len(steps):
        raise BadOption(f"step is one of the model's {len(steps)}, counted from 0; got {step}")
    return steps[step]


def numbered(count: int) -> tuple[str, ...]:
    """Return labels for what has no names, counted from 0."""
    return tuple(str(i) for i in range(count))


@dataclass(frozen=True)
class FrequencyOptions:
    """What `explain` takes for frequencies: the memory after the last bar, or after every one."""

    over_time: bool = False


@dataclass(frozen=True)
class MaskOptions:
    """What `explain` takes for masks: one step's mask, or None for all, weighed by what each step gave."""

    step: Any = None

    def __post_init__(self) -> None:
        if self.step is not None:
            check_whole("step", self.step, "a step of the model")


HOLDINGS: tuple[Method, ...] = (
    inside_method(
        CONCEPTS,
        ("Concepts", "which of the given concepts HIST gathers from for a stock"),
        _concepts,
        over="concept",
    ),
    inside_method(
        FREQUENCIES,
        ("Frequencies", "how the energy of the memory of an SFM is spread over frequencies"),
        _frequencies,
        over="frequency",
    ),
    inside_method(
        ROUTING,
        ("Routing", "how likely TRA hands a window to each of its predictors"),
        _routing,
        over="predictor",
    ),
    inside_method(
        MASKS,
        ("Feature masks", "which values TabNet lets through in its steps, each weighed by what it gave"),
        _masks,
        by_feature=True,
    ),
)
