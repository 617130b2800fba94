"""How many processor threads PyTorch uses, for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def using_threads(count: int | None) -> Iterator[None]:
    """Let PyTorch use `count` threads inside the block, as many as before after it. None changes nothing.

    Raises ValueError unless `count` is None or a whole number of at least one.
    """
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
        raise ValueError(
            "threads is the number of processor threads, a whole number of at least 1, or None for as many "
            f"as PyTorch is set to; got {count!r}"
        )
    before = torch.get_num_threads()
    if count is None or count == before:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
