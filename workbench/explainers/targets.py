"""Which answer of a model is explained: a class, the lead of one class over another, or the forecast.

Classes are explained by their scores before the softmax, where effects add up; a forecast as it is.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.explainers.options import BadOption
from workbench.features.windows import Windows
from workbench.models.registry import one_of

LIKELIEST = "likeliest class"


@dataclass(frozen=True)
class Target:
    """A weighted sum of a model's outputs.

    Attributes
    ----------
    told
        Its name: a class, "buy-sell" for a lead, "forecast", or "likeliest class": each window's own.
    weights
        One weight an output, or None for each window's likeliest class.
    """

    told: str
    weights: tuple[float, ...] | None

    @classmethod
    def of(cls, windows: Windows, target: str | None) -> "Target":
        """Return what `target` asks of a model for these windows, or raise BadOption with the choice."""
        if windows.task == "regression":
            if target not in (None, "forecast"):
                raise BadOption(f"A regression has one answer, target='forecast'. Got {target!r}.")
            return cls("forecast", (1.0,))
        if target is None:
            return cls(LIKELIEST, None)
        if not isinstance(target, str):
            raise BadOption(
                f"target is a class ({', '.join(windows.classes)}), the lead of one over another, as in "
                f"{f'{windows.classes[-1]}-{windows.classes[0]}'!r}, or None; got {target!r}"
            )
        up, down = _lead(windows.classes, target)
        return cls(target, tuple(float(name == up) - float(name == down) for name in windows.classes))

    def weigh(self, outputs: Float[Tensor, "window output"]) -> Float[Tensor, "window output"]:
        """Return the weight of every output, given the windows' own outputs."""
        if self.weights is None:
            return torch.zeros_like(outputs).scatter_(1, outputs.argmax(1, keepdim=True), 1)
        return outputs.new_tensor(self.weights).expand_as(outputs)


def _lead(classes: tuple[str, ...], target: str) -> tuple[str, str | None]:
    """Return the class asked for, and the class it is to lead, if any."""
    if target in classes:
        return target, None
    for at in (i for i, letter in enumerate(target) if letter == "-"):
        up, down = target[:at].strip(), target[at + 1 :].strip()
        if up in classes and down in classes and up != down:
            return up, down
    raise BadOption(
        f"There is no class {target!r}. {one_of(target, classes)} "
        f"The lead of one over another is asked for as {f'{classes[-1]}-{classes[0]}'!r}."
    )
