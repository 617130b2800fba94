"""Explanations that are a model's own: what its modules say of themselves by a method `parts`.

`parts(x)` of a batch, of one day's windows for a model that reads the stocks of a day together, returns
tensors by name, such as the three forecasts that the answer of HIST is the sum of. Methods make scores of
them.
"""

import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypedDict, Unpack

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from workbench.explainers.capture import unwrapped
from workbench.explainers.options import BadOption
from workbench.explainers.questions import Method, Question, Scored
from workbench.features.windows import Windows
from workbench.models.spec import check_windows
from workbench.training.coverage import check_finite
from workbench.training.days import cross_sections, is_cross_sectional
from workbench.training.prediction import check_output, evaluating, placement

ROWS = 256  # windows a pass, of models that take each alone

Parts = dict[str, Tensor]
Pick = Callable[[Parts, Tensor], Parts]  # what is wanted of the parts and outputs of a pass, by window


class Traits(TypedDict, total=False):
    """What differs from one method to the next; see `Method`."""

    targets: bool
    signed: bool
    by_feature: bool
    over: str | None


class Wanted(NamedTuple):
    """What a method needs of `parts`: the method's name, the part's, and which models have it, in words."""

    method: str
    part: str
    what: str


class NotInside(ValueError):
    """The model holds nothing that the method could show."""


def parts_of(model: nn.Module, x: Tensor) -> Parts:
    """Return what a model says of itself about a batch; nothing if it has no such method."""
    tell = getattr(type(model), "parts", None)
    # Another's `parts` may be anything; only a method of an x alone is what is meant here.
    if not inspect.isfunction(tell) or list(inspect.signature(tell).parameters) != ["self", "x"]:
        return {}
    found = model.parts(x)  # pyright: ignore[reportCallIssue]  (nn.Module's stub knows tensors and modules)
    return found if isinstance(found, dict) else {}


def held_by(model: nn.Module, windows: Windows) -> frozenset[str]:
    """Return the names of what the model says of itself about a window."""
    module = unwrapped(model)
    with evaluating(module), torch.no_grad():
        return frozenset(parts_of(module, windows.batch([0]).to(*placement(module))))


def lacks(wanted: Wanted, model: nn.Module) -> NotInside:
    """Return the refusal of a method that this model cannot answer."""
    return NotInside(
        f"{wanted.method} cannot be shown because {type(model).__name__} has nothing of the kind: "
        f"it is of {wanted.what}"
    )


def batches_of(model: nn.Module, windows: Windows) -> Iterator[Tensor]:
    """Yield the rows of each pass: one day's of a model that reads a day's stocks together, else many."""
    yield from (
        cross_sections(windows) if is_cross_sectional(model) else torch.arange(len(windows)).split(ROWS)
    )


def inner_passes(question: Question, wanted: Wanted) -> Iterator[tuple[Tensor, Parts, Tensor]]:
    """Run all windows, yielding their rows, what the model says of itself, and its outputs.

    Raises ValueError if the windows are not the model's, or its `parts` lack the one wanted.
    """
    model, windows, watch = unwrapped(question.model), question.windows, question.watch
    check_windows(model, windows)
    check_finite(windows)
    device, dtype = placement(model)
    done = 0
    with evaluating(model), torch.no_grad():
        for rows in batches_of(model, windows):
            x = windows.batch(rows).to(device, dtype)
            output = model(x.clone())  # a model may change its input
            check_output(output, len(x), windows)
            found = parts_of(model, x)
            if wanted.part not in found:
                raise lacks(wanted, model)
            yield rows, {key: part.cpu() for key, part in found.items()}, output.cpu()
            done += len(rows)
            watch.report(done, len(windows))


def collected(question: Question, wanted: Wanted, pick: Pick) -> Parts:
    """Return what `pick` takes of every pass, and the `outputs`, by window."""
    rows: list[Tensor] = []
    kept: dict[str, list[Tensor]] = {}
    for some, parts, output in inner_passes(question, wanted):
        rows.append(some)
        for key, value in {**pick(parts, output), "outputs": output}.items():
            kept.setdefault(key, []).append(value)
    order = torch.cat(rows).argsort()
    return {key: torch.cat(values)[order] for key, values in kept.items()}


def shares(values: Tensor, what: str) -> Float[np.ndarray, "window ..."]:
    """Return float32 scores, those of each window divided by their sum; zeros where all are zero."""
    check_scores(values, what)
    total = values.flatten(1).sum(1).view(-1, *[1] * (values.ndim - 1))
    return torch.where(total > 0, values / total.clamp_min(torch.finfo(values.dtype).tiny), 0).float().numpy()


def check_scores(values: Tensor, what: str) -> None:
    """Raise ValueError unless all that a model says of itself are finite numbers."""
    if not bool(values.isfinite().all()):
        raise ValueError(f"{what} are not finite: look for NaN or infinity in the model's weights")


def refuse_options(question: Question, name: str) -> None:
    """Raise BadOption if a method without options was given any."""
    if question.options:
        raise BadOption(f"{name} has no options; got {', '.join(sorted(question.options))}")


def inside_method(
    wanted: "Wanted", told: tuple[str, str], run: Callable[[Question], Scored], **traits: Unpack[Traits]
) -> Method:
    """Return a method, `told` being its label and its sentence, that some models can answer from inside."""
    usual: Traits = {"targets": False, "signed": False, "by_feature": False, "over": None}
    chosen: Traits = {**usual, **traits}
    inner: dict[str, Any] = {"needs_attention": False, "inside": wanted.part, "cross_sectional": True}
    return Method(wanted.method, *told, run, **inner, **chosen)
