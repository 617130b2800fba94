"""A temporal convolutional network: dilated causal convolutions, read at the last bar."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from workbench.models.dropout import Dropout
from workbench.models.scaling import ForecastScaling, InputScaling
from workbench.models.spec import ModelSpec, n_outputs

INIT_STD = 0.01  # of the directions v, as the authors' code draws weights


class CausalConv(nn.Module):
    """A convolution of each step with those before it, zeros before the first; as many steps come out.

    Weight norm (Salimans & Kingma 2016): an output channel's weight is g · v / ‖v‖. g begins as ‖v‖, so the
    first weights are the v drawn, of standard deviation 0.01.
    """

    def __init__(self, n_inputs: int, n_outputs: int, kernel_size: int):
        super().__init__()
        self.weight_v = nn.Parameter(torch.empty(n_outputs, n_inputs, kernel_size).normal_(0, INIT_STD))
        self.weight_g = nn.Parameter(self.weight_v.detach().norm(dim=(1, 2), keepdim=True))
        self.bias = nn.Parameter(torch.zeros(n_outputs))

    @property
    def weight(self) -> Float[Tensor, "output input kernel"]:
        """The weights in use."""
        return self.weight_v * (self.weight_g / self.weight_v.norm(dim=(1, 2), keepdim=True))

    def forward(self, x: Float[Tensor, "batch input time"]) -> Float[Tensor, "batch output time"]:
        """Return each step's Σ over k of W_k x_(t − K + 1 + k), plus the bias."""
        return F.conv1d(F.pad(x, (self.weight_v.size(2) - 1, 0)), self.weight, self.bias)


class TemporalBlock(nn.Module):
    """relu(x + D(relu(conv₂(D(relu(conv₁(x))))))), D dropout, x by a 1 × 1 convolution if widths differ."""

    def __init__(self, n_inputs: int, n_outputs: int, kernel_size: int, dropout: float | int = 0.0):
        super().__init__()
        self.conv1 = CausalConv(n_inputs, n_outputs, kernel_size)
        self.conv2 = CausalConv(n_outputs, n_outputs, kernel_size)
        self.dropout = Dropout(dropout)
        self.downsample = nn.Conv1d(n_inputs, n_outputs, 1) if n_inputs != n_outputs else nn.Identity()

    def forward(self, x: Float[Tensor, "batch input time"]) -> Float[Tensor, "batch output time"]:
        """Return every step, having heard of those before it only."""
        hidden = self.dropout(self.conv1(x).relu())
        hidden = self.dropout(self.conv2(hidden).relu())
        return (hidden + self.downsample(x)).relu()


class TCN(nn.Module):
    """Causal residual blocks of dilation 1, 2, 4, …, read at the last bar (Bai, Kolter & Koltun 2018).

    The i-th block looks at every 2^i-th bar, and the answer is read at the last bar, so the blocks after it
    need no other bars than those: each reads every second step of the one before, counted from the last. That
    is the dilated network's answer to the last digit or so, for less than half of the work.

    Parameters
    ----------
    input_dim
        Number of features a bar.
    channels, n_layers, kernel_size
        Width of the blocks, how many are stacked, and steps a convolution looks at.
    dropout
        Share zeroed after each convolution, while training.
    n_classes
        Number of classes; with task="regression" the output is one forecast instead.
    task
        "classification" or "regression".

    Notes
    -----
    Weights of qlib's `TCNModel` go in by these names: tcn.network.i → blocks.i, linear → head; within a block
    conv1, conv2 (weight_g, weight_v, bias) and downsample are the same.
    """

    def __init__(
        self,
        input_dim: int,
        *,
        channels: int = 128,
        n_layers: int = 5,
        kernel_size: int = 3,
        dropout: float | int = 0.5,
        n_classes: int = 3,
        task: str = "classification",
    ):
        super().__init__()
        outputs = n_outputs(task, n_classes)
        sizes = (("channels", channels), ("n_layers", n_layers), ("kernel_size", kernel_size))
        for name, size in sizes:
            if size < 1:
                raise ValueError(f"{name} must be at least 1, got {size}.")
        self.spec: ModelSpec | None = None
        self.kernel_size = kernel_size
        self.scaling = InputScaling(input_dim)
        widths = [input_dim] + [channels] * n_layers
        self.blocks = nn.ModuleList(
            TemporalBlock(n_in, n_out, kernel_size, dropout) for n_in, n_out in pairwise(widths)
        )
        self.head = nn.Linear(channels, outputs)
        self.forecast_scaling = ForecastScaling() if task == "regression" else nn.Identity()

    @property
    def receptive_field(self) -> int:
        """Bars that the answer can draw on: 1 + 2 (kernel_size − 1) (2^n_layers − 1).

        Fewer than the window's: the earliest bars are not read. More: deep layers read zeros before it.
        """
        return 1 + 2 * (self.kernel_size - 1) * (2 ** len(self.blocks) - 1)

    def forward(self, x: Float[Tensor, "batch time feature"]) -> Float[Tensor, "batch output"]:
        """Return logits (batch, n_classes), or the forecast (batch, 1)."""
        h = self.scaling(x).transpose(1, 2)  # (batch, channel, time)
        for i, block in enumerate(self.blocks):
            h = block(h[..., (h.size(-1) - 1) % 2 :: 2] if i else h)  # every 2^i-th bar, the last among them
        return self.forecast_scaling(self.head(h[..., -1]))
