"""How far back an answer looks, measured: which bars of the window it changes with at all."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from workbench.models.untouched import untouched

__all__ = ["Reach", "measure_reach"]

MOST = 0.9  # of the gradient, for the bars that matter


@dataclass(frozen=True)
class Reach:
    """Where in the window the gradient of the answers lies.

    Attributes
    ----------
    shares
        Share of the gradient's size (absolute, over windows, features and outputs) on each bar (time,), the
        decision bar last. Zeros if the answer changes with no bar.
    """

    shares: Float[np.ndarray, " time"]

    @property
    def bars(self) -> int:
        """Bars from the earliest with any gradient to the last: the receptive field inside the window."""
        touched = np.flatnonzero(self.shares)
        return len(self.shares) - int(touched[0]) if len(touched) else 0

    @property
    def most(self) -> int:
        """Bars, counted back from the last, that hold nine tenths of the gradient."""
        if not self.bars:
            return 0
        backwards = self.shares[::-1].cumsum()
        return int(np.searchsorted(backwards, MOST * backwards[-1] * (1 - 1e-12))) + 1


def measure_reach(model: nn.Module, x: Float[Tensor, "batch time feature"], seed: int = 0) -> Reach:
    """Probe a model in eval mode: which bars have any gradient of a random mixture of its outputs?

    A bar outside the receptive field has a gradient of exactly zero. Inside, a single window may have one
    as well (a unit that is off), so give several; in a long window the gradient of a recurrent network can
    sink below the smallest float32.

    Parameters
    ----------
    model
        Any module from (batch, time, feature) to (batch, output). Left as it was.
    x
        Windows, on the model's device and of its kind of number.
    seed
        Of the mixture.

    Raises
    ------
    ValueError
        The gradient of some window is not finite.
    """
    probed = x.detach().clone().requires_grad_()
    generator = torch.Generator().manual_seed(seed)
    cudnn = torch.backends.cudnn.flags(enabled=False)  # its recurrent kernels have no gradient in eval mode
    with untouched(model), torch.inference_mode(False), torch.enable_grad(), cudnn:
        model.eval()
        outputs = model(probed)
        weights = torch.randn(outputs.shape, generator=generator, dtype=torch.float64)
        mixture = (outputs * weights.to(outputs)).sum()
        (found,) = (
            torch.autograd.grad(mixture, [probed], allow_unused=True) if mixture.requires_grad else (None,)
        )
    if found is None:
        return Reach(np.zeros(x.size(1)))
    size = found.detach().abs().double().sum(dim=(0, 2)).cpu().numpy()
    if not np.isfinite(size).all():
        raise ValueError(
            "The gradient of the answers with respect to the windows is not finite. Check the windows for "
            "values that are not, and a model of your own for operations such as a square root at zero."
        )
    return Reach(size / size.sum() if size.any() else size)
