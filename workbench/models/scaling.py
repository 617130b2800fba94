"""The training set's mean and spread, kept inside the model so that they travel with its weights."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

SMALLEST = 1e-12  # that an anchor counts as: prices and volumes are larger, what explanations try may not be


class InputScaling(nn.Module):
    """Bring each feature to mean 0 and standard deviation 1 by the statistics of the training bars.

    Does nothing until `fit_` is called. The statistics are buffers: saved with the weights, moved with
    the module, never trained.

    Parameters
    ----------
    n_features
        Width of the windows.
    unscaled
        Columns that come out as they went in, such as the marks of who belongs to a concept. Their
        statistics are kept like the others'.

    Attributes
    ----------
    anchors
        Column: the column by whose value at the window's last bar it is divided first. `anchor_` sets it.
    """

    mean: Tensor
    std: Tensor
    kept: Tensor

    def __init__(self, n_features: int, unscaled: Sequence[int] = ()):
        super().__init__()
        self.anchors: dict[int, int] = {}
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("std", torch.ones(n_features))
        self.unscaled = tuple(unscaled)
        self.register_buffer("kept", _marked(n_features, self.unscaled), persistent=False)

    @property
    def divisor(self) -> Float[Tensor, " feature"]:
        """What each column is divided by: its spread, or 1 where it stays as it is."""
        return self.std.masked_fill(self.kept, 1.0)

    def anchor_(self, anchors: Mapping[int, int]) -> "InputScaling":
        """Divide each of these columns by the last value, in its window, of the column that it is mapped to.

        It comes before mean and deviation, which are then those of the ratios over whole windows.
        """
        columns = {*anchors, *anchors.values()}
        if not columns <= set(range(self.mean.numel())):
            raise ValueError(
                f"anchors must name columns from 0 to {self.mean.numel() - 1}, got {dict(anchors)}."
            )
        self.anchors = dict(anchors)
        return self

    def units(self, x: Float[Tensor, "batch time feature"]) -> Float[Tensor, "batch 1 feature"]:
        """Return what each window's columns are divided by before mean and deviation: 1 without an anchor."""
        return window_units(x, self.anchors)

    def fit_(self, mean: Float[Tensor, " feature"], std: Float[Tensor, " feature"]) -> "InputScaling":
        """Take these statistics in place. A column that never moves (std 0) is centred only."""
        if mean.shape != self.mean.shape or std.shape != self.std.shape:
            raise ValueError(
                f"mean and std must have shape {tuple(self.mean.shape)}, one number a feature. "
                f"Got {tuple(mean.shape)} and {tuple(std.shape)}."
            )
        self.mean.copy_(mean)
        self.std.copy_(_spread(mean, std))
        return self

    def forward(self, x: Float[Tensor, "batch time feature"]) -> Float[Tensor, "batch time feature"]:
        """Return (x − mean) / std, x divided by its anchor first and unscaled columns as they are.

        A wrong number of features is refused.
        """
        if x.size(-1) != self.mean.numel():
            raise ValueError(
                f"The model was built for {self.mean.numel()} features and got windows of {x.size(-1)}. "
                "Make the windows from the same feature columns, or build a model for these."
            )
        ratio = x / self.units(x) if self.anchors else x
        if not self.unscaled:
            return (ratio - self.mean) / self.std
        return (ratio - self.mean.masked_fill(self.kept, 0.0)) / self.divisor  # of those kept: (x − 0) / 1


def window_units(
    x: Float[Tensor, "batch time feature"], anchors: Mapping[int, int]
) -> Float[Tensor, "batch 1 feature"]:
    """Return the last value of each column's anchor, kept above 0, and 1 for a column that has none."""
    units = torch.ones_like(x[:, -1:])
    for column, anchor in anchors.items():
        units[:, :, column] = x[:, -1:, anchor].clamp(min=SMALLEST)
    return units


class ForecastScaling(nn.Module):
    """Bring a forecast from the training labels' standard units back to the labels' own.

    A daily return is a hundredth: without this a network spends its first epochs learning to be small.
    Does nothing until `fit_` is called.
    """

    mean: Tensor
    std: Tensor

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("std", torch.ones(()))

    def fit_(self, mean: Float[Tensor, ""], std: Float[Tensor, ""]) -> "ForecastScaling":
        """Take these statistics of the training labels in place."""
        self.mean.copy_(mean)
        self.std.copy_(_spread(mean, std))
        return self

    def forward(self, forecast: Float[Tensor, "batch output"]) -> Float[Tensor, "batch output"]:
        """Return forecast · std + mean."""
        return forecast * self.std + self.mean


def _marked(n_features: int, columns: tuple[int, ...]) -> Bool[Tensor, " feature"]:
    """Return True at the columns."""
    if any(not 0 <= column < n_features for column in columns):
        raise ValueError(f"unscaled must name columns from 0 to {n_features - 1}, got {columns}.")
    marks = torch.zeros(n_features, dtype=torch.bool)
    marks[list(columns)] = True
    return marks


def _spread(mean: Float[Tensor, "*shape"], std: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return std, with 1 where the values never move."""
    if not (mean.isfinite().all() and std.isfinite().all() and (std >= 0).all()):
        raise ValueError(f"mean and std must be finite and std not negative, got {mean} and {std}.")
    # Below float32's resolution the spread of a constant is rounding, not movement.
    still = std <= torch.finfo(torch.float32).eps * mean.abs()
    return torch.where(still, torch.ones_like(std), std)
