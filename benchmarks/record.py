"""What every benchmark writes beside its numbers: where and with what they were measured."""

import json
import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from workbench.files import replacing

RESULTS = Path(__file__).parent / "results"


def write(name: str, measured: Mapping[str, Any], packages: tuple[str, ...] = ("numpy", "torch")) -> None:
    """Write results/`name`.json: the machine, the versions of `packages`, and what was measured."""
    told = {
        "command": f"python benchmarks/{name}.py",
        "machine": processor(),
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
        **measured,
    }
    with replacing(RESULTS / f"{name}.json") as path:
        path.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def processor() -> str:
    """The processor's name, as Linux knows it, else as Python does."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:  # not Linux
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
