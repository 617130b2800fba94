"""Why a model cannot be watched, or its input not be read, in words."""

import torch
from torch import Tensor, nn

from workbench.explainers.recorder import Recorder
from workbench.models.transformer import TradingTransformer
from workbench.training.prediction import placement

_RECURRENT = (nn.LSTM, nn.GRU, nn.RNN)


def check_window(module: nn.Module, x: Tensor) -> None:
    """Refuse an input that this package's transformer cannot read; other models say themselves what they can.

    Raises
    ------
    ValueError
        If it is not (batch, time, feature) with at least one bar.
    TypeError
        If its numbers are not those of the model's weights.
    """
    if not isinstance(module, TradingTransformer):
        return
    if x.ndim != 3 or x.shape[1] == 0:
        raise ValueError(
            f"expected x (batch, time, feature) with at least one bar, got shape {tuple(x.shape)}: "
            "pass windows.x, or x[None] for one window"
        )
    dtype = placement(module)[1]
    if x.dtype != dtype and torch.promote_types(x.dtype, dtype) == x.dtype:
        raise TypeError(f"the model computes in {dtype} and x holds {x.dtype}: pass x.to({dtype})")


def why_nothing(module: nn.Module, recorder: Recorder) -> str:
    """Say what a model holds, and why no attention was seen in it."""
    kinds = sorted({type(part).__name__ for part in module.modules() if not list(part.children())})
    recurrent = any(isinstance(part, _RECURRENT) for part in module.modules())
    attends = any(isinstance(part, nn.MultiheadAttention) for part in module.modules())
    threads = any(isinstance(part, nn.DataParallel) for part in module.modules())
    softmaxes = recorder.written.softmaxes if recorder.written is not None else 0
    if recorder.unseen:
        reason = f"it attends by {recorder.unseen[0]}"
    elif threads:
        reason = "part of it is wrapped in nn.DataParallel, which runs in other threads: pass it unwrapped"
    elif attends:
        reason = (
            "it holds nn.MultiheadAttention, but this input never reached it in this thread; what runs in "
            "other threads cannot be watched"
        )
    elif softmaxes:
        reason = (
            f"the result of {'its softmax' if softmaxes == 1 else f'none of its {softmaxes} softmaxes'} "
            f"is {'not ' if softmaxes == 1 else ''}multiplied with values along the axis that sums to one: "
            "they give probabilities of classes, say"
        )
    elif recurrent:
        reason = "it is recurrent: use an attribution method, or watch its gates"
    else:
        reason = (
            "no softmax ran in Python in this thread. Attention by exp and sum, by kernels outside torch "
            "(flash-attn, xformers), by torch.jit, or in other threads is not seen"
        )
    return f"no attention found in {type(module).__name__} (its layers: {', '.join(kinds)}), because {reason}"
