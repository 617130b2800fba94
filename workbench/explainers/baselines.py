"""What a value is replaced by where an explanation takes it away.

Every attribution answers "compared with what?", and another baseline gives another answer, so each is named.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from workbench.features.windows import Windows
from workbench.models.registry import one_of
from workbench.models.scaling import InputScaling, window_units
from workbench.training.coverage import statistics

TRAINING_MEAN, MEAN, OWN_MEAN, PREVIOUS_BAR = "training mean", "mean", "own mean", "previous bar"
BASELINES = (TRAINING_MEAN, MEAN, OWN_MEAN, PREVIOUS_BAR)


@dataclass(frozen=True)
class Baseline:
    """A named baseline; `of` gives that of each window, (window, time, feature)."""

    told: str
    of: Callable[[Tensor], Tensor]


def baseline_of(wanted: Any, module: nn.Module, windows: Windows) -> Baseline:
    """Return the baseline of a name, or of values.

    Parameters
    ----------
    wanted
        `training mean`: of each feature over the training bars, which the models of this package scale to
        zero. `mean`: over the windows explained. `own mean`: of each feature over the window itself.
        `previous bar`: each bar gives way to the one before it; the first, with none before it, stays. Or
        values in the features' own units: one number, (feature,) or (time, feature). None is the training
        mean where the model knows it, else the window's own mean.
    module
        The model, which may hold its training mean.
    windows
        The windows explained.
    """
    scaling = getattr(module, "scaling", None)
    knows = isinstance(scaling, InputScaling)
    if wanted is None:
        wanted = TRAINING_MEAN if knows else OWN_MEAN
    if not isinstance(wanted, str):
        return Baseline("as given", _constant(_values(wanted, windows)))
    if wanted == TRAINING_MEAN:
        if not knows:
            raise ValueError(
                f"{type(module).__name__} has no InputScaling as its `scaling`, so its training mean is not "
                f"known. Give the means themselves as baseline, or name {MEAN!r}, {OWN_MEAN!r} or "
                f"{PREVIOUS_BAR!r}"
            )
        return Baseline(wanted, _in_units(scaling.mean, scaling.anchors))
    if wanted == MEAN:
        anchors = scaling.anchors if knows else {}
        return Baseline(wanted, _in_units(statistics(windows, anchors)[0], anchors))
    if wanted == OWN_MEAN:
        return Baseline(wanted, lambda x: x.mean(1, keepdim=True).expand_as(x))
    if wanted == PREVIOUS_BAR:
        return Baseline(wanted, lambda x: torch.cat([x[:, :1], x[:, :-1]], 1))
    raise ValueError(f"There is no baseline {wanted!r}. {one_of(wanted, BASELINES)}")


def _constant(values: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: values.to(x.device, x.dtype).expand_as(x)


def _in_units(values: Tensor, anchors: Mapping[int, int]) -> Callable[[Tensor], Tensor]:
    """Return the values in the units of each window, which columns with an anchor take from its last bar."""
    if not anchors:
        return _constant(values)
    return lambda x: values.to(x.device, x.dtype) * window_units(x, anchors).expand_as(x)


def _values(wanted: Any, windows: Windows) -> Float[Tensor, "..."]:
    values = torch.as_tensor(np.asarray(wanted, dtype=np.float64))
    length, width = windows.lookback, windows.n_features
    if tuple(values.shape) not in ((), (width,), (length, width)):
        raise ValueError(
            f"baseline values are one number, (feature,) = ({width},) or (time, feature) = "
            f"({length}, {width}); got shape {tuple(values.shape)}. Or name one: {', '.join(BASELINES)}"
        )
    if not bool(torch.isfinite(values).all()):
        raise ValueError("baseline values must be finite numbers; replace NaN by a mean")
    return values
