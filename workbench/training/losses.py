"""What training makes small."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
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


def loss_for(
    train: Windows, class_weights: str | Sequence[float | int] | None, dtype: torch.dtype
) -> nn.Module:
    """Return weighted cross-entropy for classes, or the share of variance for forecasts.

    Raises
    ------
    ValueError
        There isn't one non-negative weight a class, or the training labels never differ.
    """
    if train.task == "regression":
        variance = float(train.y.double().var(unbiased=False))
        if not variance > 0:
            raise ValueError(
                f"All {len(train)} training labels are {train.y[0].item()}: there is nothing to learn. "
                "Check the prices and the horizon of the labels."
            )
        return VarianceShare(variance)
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
