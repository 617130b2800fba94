"""Randomness from a seed, without touching the caller's."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Draw PyTorch's random numbers from `seed` inside the block; put the caller's state back after it.

    Covers the CPU and, if `device` is a GPU, that one. The state is the process's own, so another thread
    that draws at the same time draws from the block's.
    """
    gpus = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed every GPU too
        if gpus:
            with torch.cuda.device(gpus[0]):
                torch.cuda.manual_seed(seed)
        yield
