"""Gradient × input: which values of a window push the answer up, and which down.

Simonyan et al. (2014) differentiate a class's score, before the softmax, by the input; Shrikumar et al.
(2016) multiply that by the input. With the training mean as zero, as the models of this package scale their
input, the products of a linear model are exactly what each value adds to its score.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from workbench.explainers.targets import Target
from workbench.explainers.watching import Watch
from workbench.features.windows import Windows
from workbench.models.scaling import InputScaling
from workbench.models.spec import check_windows
from workbench.training.coverage import check_finite
from workbench.training.prediction import check_output, evaluating, placement

BARS = 7680  # bars of all windows of one batch: 128 windows of 60 bars


def gradient_pass(
    model: nn.Module, windows: Windows, target: str | None, watch: Watch
) -> tuple[Float[Tensor, "window time feature"], Float[Tensor, "window output"], str]:
    """Return gradient × scaled input, the model's outputs of the same pass, and what was explained."""
    check_windows(model, windows)
    check_finite(windows)
    wanted = Target.of(windows, target)
    module = getattr(model, "_orig_mod", model)  # torch.compile wraps the module that was written
    device, dtype = placement(module)
    size = max(1, BARS // windows.lookback)
    scores, outputs = [], []
    with evaluating(module), differentiating(device):
        for start in range(0, len(windows), size):
            x = windows.batch(slice(start, start + size)).to(device, dtype).clone().requires_grad_()
            output = module(x.clone())  # a copy, so that a model may change its input in place
            check_output(output, len(x), windows)
            answers = (output * wanted.weigh(output.detach())).sum(1)
            scores.append(_scaled(module, x, gradient_of(module, x, answers)).float().cpu())
            outputs.append(output.detach().cpu())
            watch.report(start + len(x), len(windows))
    found = torch.cat(scores)
    _check_scores(found, windows)
    return found, torch.cat(outputs), wanted.told


@contextmanager
def differentiating(device: torch.device) -> Iterator[None]:
    """Let gradients be taken, whatever the caller turned off."""
    # cuDNN differentiates recurrent networks in training mode only; PyTorch's own kernels do so in any.
    cudnn = torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled and device.type != "cuda")
    with torch.inference_mode(False), torch.enable_grad(), cudnn:
        yield


def gradient_of(
    module: nn.Module, x: Float[Tensor, "row time feature"], answers: Float[Tensor, " row"]
) -> Float[Tensor, "row time feature"]:
    """Return the gradient of each answer by its own row of `x`, or raise ValueError if there is none."""
    # The sum's gradient is each row's own: a window's answer draws on no other window of its batch.
    gradient = torch.autograd.grad(answers.sum(), x, allow_unused=True)[0] if answers.requires_grad else None
    if gradient is None:
        raise ValueError(
            f"the answer of {type(module).__name__} cannot be differentiated by its input: no gradient "
            "reaches it. Look for torch.no_grad, detach, argmax or NumPy in its forward, or use a method "
            "without gradients"
        )
    return gradient


def _scaled(module: nn.Module, x: Tensor, gradient: Tensor) -> Float[Tensor, "window time feature"]:
    scaling = getattr(module, "scaling", None)
    with torch.no_grad():
        if isinstance(scaling, InputScaling):
            # By the chain rule, of the scaled input; a window's own unit counts as given.
            return gradient * scaling.units(x) * scaling.divisor * scaling(x)
        return gradient * x


def _check_scores(scores: Tensor, windows: Windows) -> None:
    broken = (~torch.isfinite(scores)).flatten(1).any(1).nonzero().flatten()
    if len(broken):
        date = windows.dates[int(broken[0])]
        raise ValueError(
            f"{len(broken)} of {len(windows)} windows have a gradient that is not finite, the first decided "
            f"on {date:%Y-%m-%d}: look for NaN or infinity in the model's weights"
        )
