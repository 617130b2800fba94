"""Looking at a model without a trace: modes, random numbers, gradients and weights are put back."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["untouched"]


@contextmanager
def untouched(model: nn.Module, weights: bool = False) -> Iterator[None]:
    """Put back, when the block ends, each part's mode, every gradient, and the state of random numbers.

    Inside the block no weight has a gradient. With `weights` the values of weights and buffers are put back
    as well, which takes a copy of them.
    """
    training = {module: module.training for module in model.modules()}
    gradients = {weight: weight.grad for weight in model.parameters()}
    tensors = [*model.parameters(), *model.buffers()] if weights else []
    copies = [tensor.detach().clone() for tensor in tensors]
    gpus = sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=gpus):
        for weight in gradients:
            weight.grad = None
        try:
            yield
        finally:
            with torch.no_grad():
                for tensor, copy in zip(tensors, copies, strict=True):
                    tensor.copy_(copy)
            for weight, gradient in gradients.items():
                weight.grad = gradient
            for module, mode in training.items():
                module.training = mode
