"""What training makes small."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from workbench.features.windows import Windows


class VarianceShare(nn.Module):
    """Mean squared error over the variance of the training labels: 1 is as good as their mean."""

    def __init__(self, variance: float | int):
        super().__init__()
        self.variance = variance

    def forward(self, forecast: Float[Tensor, "batch 1"], y: Float[Tensor, " batch"]) -> Float[Tensor, ""]:
        """Return the loss of a batch."""
        return (forecast.squeeze(1) - y).square().mean() / self.variance


class CorrelationLoss(nn.Module):
    """1 − information coefficient: the Pearson correlation of a day's forecasts and outcomes, over its days.

    Days with fewer than two outcomes, or the same one everywhere, are left out. Where forecasts are all the
    same the correlation counts as 0.
    """

    def forward(
        self, forecast: Float[Tensor, "batch 1"], y: Float[Tensor, " batch"], days: Int[Tensor, " batch"]
    ) -> Float[Tensor, ""]:
        """Return the loss of a batch, `days` telling which windows are of the same day; 1 if none is left."""
        names, codes = days.unique(return_inverse=True)
        a, b = (_centred(values, codes, len(names)) for values in (forecast.squeeze(1), y))
        covariance, va, vb = (_sums(product, codes, len(names)) for product in (a * b, a * a, b * b))
        varied = vb > 0
        defined = varied & (va > 0)
        # √ has no slope at 0, and 0 · ∞ is NaN: what isn't defined must not enter it.
        spread = va[defined].sqrt() * vb[defined].sqrt()
        return 1 - (covariance[defined] / spread).sum() / varied.sum().clamp(min=1)


def loss_for(
    train: Windows,
    class_weights: str | Sequence[float | int] | None,
    dtype: torch.dtype,
    loss: str | None = None,
) -> nn.Module:
    """Return weighted cross-entropy for classes; for forecasts the share of variance, or 1 − IC if "ic".

    Raises
    ------
    ValueError
        There isn't one non-negative weight a class, or the training labels never differ.
    """
    train = train.labelled()
    if train.task == "regression":
        variance = float(train.y.double().var(unbiased=False))
        if not variance > 0:
            raise ValueError(
                f"All {len(train)} training labels are {train.y[0].item()}: there is nothing to learn. "
                "Check the prices and the horizon of the labels."
            )
        return CorrelationLoss() if loss == "ic" else VarianceShare(variance)
    if class_weights is None:
        return nn.CrossEntropyLoss()
    if isinstance(class_weights, str):
        weights = balanced_weights(train)
    else:
        weights = np.asarray(class_weights, dtype=float)
        if weights.shape != (len(train.classes),) or not (weights >= 0).all() or not weights.any():
            raise ValueError(
                f"class_weights must be one non-negative number for each of {train.classes}, "
                f"got {class_weights}."
            )
    return nn.CrossEntropyLoss(torch.as_tensor(weights, dtype=dtype))


def balanced_weights(train: Windows) -> Float[np.ndarray, " class"]:
    """Return windows / (classes that occur · windows of the class); 1 for a class that never occurs."""
    counts = np.bincount(train.y.numpy(), minlength=len(train.classes))
    occurs = counts > 0
    return np.where(occurs, len(train) / (occurs.sum() * np.maximum(counts, 1)), 1.0)


def _sums(values: Float[Tensor, " batch"], codes: Int[Tensor, " batch"], days: int) -> Float[Tensor, " day"]:
    return values.new_zeros(days).index_add(0, codes, values)


def _centred(
    values: Float[Tensor, " batch"], codes: Int[Tensor, " batch"], days: int
) -> Float[Tensor, " batch"]:
    """Subtract each day's mean; what is left of a constant is rounding and becomes zero."""
    mean = (_sums(values, codes, days) / _sums(torch.ones_like(values), codes, days))[codes]
    centred = values - mean
    rounding = 4 * torch.finfo(values.dtype).eps * mean.abs()
    return torch.where(centred.abs() <= rounding, torch.zeros_like(centred), centred)
