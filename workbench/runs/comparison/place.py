"""Where a figure was computed: the processor, and the versions of what computed it."""

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LIBRARIES = ("torch", "numpy", "pandas", "scikit-learn", "lightgbm", "arch")


@cache
def place() -> dict[str, str]:
    """Return the names of the processor and of Python's and the libraries' versions."""
    return {"processor": processor(), "python": platform.python_version(), **_libraries()}


def processor() -> str:
    """The processor's name, as Linux knows it, else as Python does."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text(encoding="utf-8").splitlines() if told.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _libraries() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
