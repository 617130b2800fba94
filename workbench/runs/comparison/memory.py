"""How much memory a piece of work took, as Linux counts it."""

import ctypes
import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@contextmanager
def peak_memory() -> Iterator[Callable[[], float | None]]:
    """Yield a function that tells the largest resident memory since the start over that at the start [MB].

    It tells None where the system keeps no such account: only Linux lets a process begin its peak anew.
    """
    gc.collect()
    _give_back()
    try:
        _RESET.write_text("5", encoding="ascii")
        start = _resident("VmRSS")
    except OSError:
        yield lambda: None
        return
    yield lambda: max(0.0, (_resident("VmHWM") - start) / 1024)


def _give_back() -> None:
    """Hand memory that was freed before back to the system: taken again, it would not count."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc alone
        if trim is not None:
            trim(0)


def _resident(field: str) -> int:
    lines = _STATUS.read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))
