"""What a monitor is given, looked over before hours of training hang on it."""

import operator
import warnings
from typing import Any

from torch import nn
from torch.optim import Optimizer

from workbench.features.windows import Windows
from workbench.gates.calibrated import CalibratedDetector

ENOUGH_LOOKS = 3  # looks that an alert waits for by default, and that a detector says little before


def check_windows_given(probe: Any) -> None:
    """Raise TypeError unless a probe is windows."""
    if not isinstance(probe, Windows):
        raise TypeError(
            f"The probe must be Windows, such as those of validation, got {type(probe).__name__}. "
            "build_dataset(…).split(…) or Windows.of(…) makes them."
        )


def checked_every(every: Any) -> int | None:
    """Return a number of steps as an int, or None; TypeError or ValueError if it is neither."""
    if every is None:
        return None
    if isinstance(every, bool) or not hasattr(every, "__index__"):
        raise TypeError(f"every is a whole number of steps, or None; got {every!r}.")
    number = operator.index(every)
    if number < 1:
        raise ValueError(f"every is a number of steps, at least 1, or None; got {number}.")
    return number


def check_detector(detector: Any) -> None:
    """Raise in words unless a detector, if there is one, can check a snapshot."""
    if detector is None:
        return
    if isinstance(detector, type) or not callable(getattr(detector, "check", None)):
        raise TypeError(
            f"detector must have check(snapshot), as a calibrated RobustRules() has, got {_told(detector)}."
        )
    if isinstance(detector, CalibratedDetector):
        _ = detector.healthy  # which says how to calibrate, where it knows nothing yet


def check_alerts(alerts: Any) -> None:
    """Raise TypeError unless alerts, if there are any, can observe findings."""
    if alerts is not None and (isinstance(alerts, type) or not callable(getattr(alerts, "observe", None))):
        raise TypeError(
            f"alerts must have observe(findings, epoch), as Alerts([channel], spool) has, got "
            f"{_told(alerts)}."
        )


def check_optimizer(model: nn.Module, optimizer: Optimizer) -> None:
    """Raise ValueError if an optimiser moves nothing of a model."""
    mine = {id(parameter) for parameter in model.parameters()}
    if not any(id(moved) in mine for group in optimizer.param_groups for moved in group["params"]):
        raise ValueError(
            f"None of this {type(optimizer).__name__}'s parameters is one of this {type(model).__name__}'s: "
            "give begin(model, optimizer) the model that is trained and the optimiser that trains it."
        )


def warn_of_no_step() -> None:
    """Warn of an epoch in which the optimiser made no step."""
    warnings.warn(
        "No step of the optimiser was seen in this epoch: its gradients and updates are not known. Is "
        "training done by another optimiser than begin(model, optimizer) was given?",
        UserWarning,
        stacklevel=4,
    )


def warn_of_few_looks(looks: int, epochs: int) -> None:
    """Warn of a training that the budget left so few looks at that detector and alerts could say little."""
    warnings.warn(
        f"Within its budget this GateMonitor looked at {looks} of {epochs} epochs: its detector saw little, "
        f"and alerts, which need `fire_after` looks in a row ({ENOUGH_LOOKS} by default), may have told "
        "nothing. Give GateMonitor every=1, or a larger budget.",
        UserWarning,
        stacklevel=4,
    )


def _told(given: Any) -> str:
    return f"the class {given.__name__} itself" if isinstance(given, type) else type(given).__name__
