"""What one forward computes: floating-point operations by module, and the attention weights among them."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

__all__ = ["Tally", "WeightMap", "recurrent_flops"]

ATTENTION = "aten._scaled_dot_product_"  # how the names of PyTorch's fused kernels of attention begin
SOFTMAX = ("aten._softmax", "aten._safe_softmax")  # attention that is written out ends in one of these
COPIES = ("aten.clone", "aten.copy_", "aten._to_copy")  # pointwise by PyTorch's tags, but nothing is computed
# What a call is asked for its shape alone, which is no computation and must not be taken apart.
QUESTIONS = ("is_contiguous", "size", "stride", "storage_offset", "numel", "dim", "layout", "device")


@dataclass(frozen=True)
class WeightMap:
    """The weights of one attention, or of another softmax: of which module, their shape, and their bytes.

    A fused kernel never holds them whole; `fused` says so, and `bytes` is then what holding them would take.
    """

    module: str
    shape: tuple[int, ...]
    bytes: int
    fused: bool


class Tally(TorchDispatchMode):
    """Counts while it is the current mode, and `enter` and `leave` say which module runs.

    A multiplication and an addition are two operations. Counted are matrix products, convolutions and
    attention, by PyTorch's own formulas, with every query against every key even where a mask leaves some
    out. Recurrent layers are counted by `recurrent_flops`, since a fused kernel hides its matrix products.

    Attributes
    ----------
    flops
        By path of the innermost module that was running.
    elementwise
        Numbers that elementwise operations outside recurrent layers wrote. No part of `flops`.
    maps
        Weights of attention and of other softmaxes, in the order in which they were computed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops: Counter[str] = Counter()
        self.elementwise = 0
        self.maps: list[WeightMap] = []
        self._running: list[tuple[str, nn.Module]] = []

    def enter(self, path: str, module: nn.Module) -> None:
        """Count for `module` from here on."""
        self._running.append((path, module))

    def leave(self, inputs: tuple[Any, ...]) -> None:
        """Count for the module around it again; `inputs` are what the one that ends was called with."""
        path, module = self._running.pop()
        if isinstance(module, nn.RNNBase):
            self.flops[path] += recurrent_flops(module, _steps(module, inputs[0]))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        formula = _formula(func)
        if formula is None and func.__name__.partition(".")[0].removeprefix("sym_") not in QUESTIONS:
            with self:  # one operation made of others, such as a matrix product of many axes
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        out = func(*args, **kwargs)
        path, module = self._running[-1] if self._running else ("", None)
        if isinstance(module, nn.RNNBase):
            return out
        if formula is not None:
            self.flops[path] += int(formula(*args, **kwargs, out_val=out))
        self._look(str(func.overloadpacket), torch.Tag.pointwise in func.tags, args, out)
        return out

    def _look(self, name: str, pointwise: bool, args: tuple[Any, ...], out: Any) -> None:
        path = self._running[-1][0] if self._running else ""
        if name.startswith(ATTENTION) and not name.endswith("backward"):
            query, key = args[0], args[1]
            shape = (*query.shape[:-1], key.shape[-2])
            self.maps.append(WeightMap(path, shape, query.element_size() * _product(shape), fused=True))
        elif name in SOFTMAX:
            self.maps.append(WeightMap(path, tuple(out.shape), out.element_size() * out.numel(), fused=False))
        elif pointwise and isinstance(out, Tensor) and name not in COPIES:
            self.elementwise += out.numel()


def recurrent_flops(layer: nn.RNNBase, steps: int) -> int:
    """Operations of an LSTM, a GRU or a plain RNN over `steps` steps in all, windows times bars.

    At every step each matrix of weights is multiplied with one vector, so it is twice the entries of the
    matrices: for one LSTM layer of width H reading I features 2·4H·(I + H) a step, for a GRU 2·3H·(I + H).
    The gates' elementwise operations are left out.
    """
    entries = sum(weight.numel() for name, weight in layer.named_parameters() if name.startswith("weight"))
    return 2 * entries * steps


def _steps(layer: nn.RNNBase, x: Tensor | nn.utils.rnn.PackedSequence) -> int:
    if isinstance(x, nn.utils.rnn.PackedSequence):
        return len(x.data)
    return _product(tuple(x.shape[:-1]))


def _formula(func: Any) -> Callable[..., int] | None:
    packet = getattr(func, "overloadpacket", None)
    if str(packet) == "aten._scaled_dot_product_flash_attention_for_cpu":  # PyTorch's table lacks it
        return lambda q, k, v, *_, out_val=None, **__: sdpa_flop_count(q.shape, k.shape, v.shape)
    return flop_registry.get(packet)


def _product(shape: tuple[int, ...]) -> int:
    return torch.Size(shape).numel()
