"""Padded positions of `nn.TransformerEncoder`, watched as in use."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor, nn

_DEVICES = frozenset({"cpu", "cuda", "xpu"})


@contextmanager
def padding_as_in_use(module: nn.Module) -> Iterator[None]:
    """Let every encoder answer with zeros at padded positions where, unwatched, it would.

    In evaluation, without gradients, `nn.TransformerEncoder` leaves padded positions out and fills them with
    zeros, unless its settings rule that short cut out. Watched, it never takes it, and answers there with
    numbers that mean nothing; but a model that averages over positions reads them.
    """
    with ExitStack() as stack:
        for encoder in module.modules():
            if type(encoder) is nn.TransformerEncoder and len(encoder.layers):
                for handle in _zeroing(encoder):
                    stack.callback(handle.remove)
        yield


def _zeroing(encoder: nn.TransformerEncoder) -> list[Any]:
    kept: list[Tensor | None] = [None]

    def enter(part: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        names = ("src", "mask", "src_key_padding_mask")
        kept[0] = _kept(encoder, *(args[i] if i < len(args) else kwargs.get(n) for i, n in enumerate(names)))

    def leave(part: nn.Module, args: Any, output: Tensor) -> Tensor:
        return output if kept[0] is None else output.masked_fill(~kept[0][..., None], 0.0)

    return [
        encoder.register_forward_pre_hook(enter, with_kwargs=True),
        encoder.layers[-1].register_forward_hook(leave),
    ]


def _kept(
    encoder: nn.TransformerEncoder, src: Any, mask: Any, padding: Any
) -> Bool[Tensor, "batch time"] | None:
    """Return where `src` is not padded if torch would take its short cut without gradients, else None."""
    if not isinstance(src, Tensor) or padding is None or mask is not None or src.ndim != 3 or src.is_nested:
        return None
    first: Any = encoder.layers[0]
    taken = (
        torch.backends.mha.get_fastpath_enabled()
        and getattr(encoder, "use_nested_tensor", False)
        and not first.training
        and not torch.is_autocast_enabled()
        and src.device.type in _DEVICES
    )
    if not taken:
        return None
    kept = padding.logical_not()
    if getattr(encoder, "mask_check", True) and not bool((kept.int().diff(dim=1) <= 0).all()):
        return None  # padded elsewhere than at the end
    return kept
