"""`python3 -m workbench doctor`: what is there, what is missing, and whether `run` could work.

Standard library where it is imported: it also examines a machine on which nothing is installed yet.
"""

import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from workbench.environment import Environment, missing_packages
from workbench.installation import pip_command
from workbench.machine import memory_gb, processor_name, usable_processors
from workbench.setup_errors import ROOM, SetupError

SOURCES = {
    "Yahoo": "https://query1.finance.yahoo.com/v8/finance/chart/AAPL",
    "Bybit": "https://api.bybit.com/v5/market/time",
}
PATIENCE = 4.0  # seconds for a data source to answer
SHOWN = ("torch", "numpy", "pandas", "scikit-learn", "skorch", "TA-Lib", "papermill", "jupyterlab")


@dataclass(frozen=True)
class Finding:
    """One line of the examination. `bad` means that the main job cannot run."""

    subject: str
    state: Literal["ok", "note", "bad"]
    text: str

    def __str__(self) -> str:
        return f"  {self.state:<5} {self.subject:<13} {self.text}"


def examine(place: Environment, write: Callable[[str], object]) -> int:
    """Examine the machine and the environment at `place`; return 0 if the main job could run, else 1."""
    write(f"Attention Workbench {_version(place.root)}\n\n")
    bad = []
    for finding in findings(place):
        write(f"{finding}\n")
        bad += [finding.subject] if finding.state == "bad" else []
    if bad:
        write(f"\nThe main job, 'python3 -m workbench run', cannot run: see {', '.join(bad)}.\n")
        return 1
    write("\nThe main job, 'python3 -m workbench run', can run.\n")
    return 0


def findings(place: Environment) -> Iterator[Finding]:
    """Look at one thing after another."""
    inside = place.in_use() or os.environ.get("WORKBENCH_ENV") == "current"
    yield Finding("Python", "ok", f"{sys.version.split()[0]}, {sys.executable}")
    yield environment(place, inside)
    lacking = inside and missing_packages([], place.root)
    if inside:
        yield packages(place.root)
    memory = memory_gb()
    amount = f", {memory:.0f} GB memory" if memory else ""
    yield Finding(
        "Processor", "ok", f"{processor_name()}, {usable_processors()} of {os.cpu_count()} usable{amount}"
    )
    yield accelerator()
    yield disk(place.root, 1.0 if inside else ROOM)
    yield writing(place.root)
    yield notebooks(place.root)
    yield sample(place.root)
    if lacking:
        yield Finding("Kernel", "bad", "cannot start without the packages above")
    else:
        yield kernel() if inside else package_index(place)
    yield from sources()


def environment(place: Environment, inside: bool) -> Finding:
    """Which environment the commands use."""
    if place.in_use():
        return Finding("Environment", "ok", str(place.folder))
    if inside:
        return Finding("Environment", "ok", "the Python at hand (WORKBENCH_ENV=current)")
    need = place.need([])
    reason = need.reason if need else "it is ready"
    return Finding("Environment", "note", f"'run', 'test' or 'lab' make {place.folder}, since {reason}")


def packages(root: Path) -> Finding:
    """The versions of the main packages, and what is lacking."""
    missing = missing_packages([], root)
    if missing:
        return Finding(
            "Packages", "bad", f"missing: {', '.join(missing)}; install them with 'pip install -e .'"
        )
    return Finding(
        "Packages", "ok", ", ".join(f"{name} {importlib.metadata.version(name)}" for name in SHOWN)
    )


def accelerator() -> Finding:
    """What PyTorch could compute on beside the processor."""
    try:
        import torch
    except ModuleNotFoundError:
        seen = "an NVIDIA driver is installed" if shutil.which("nvidia-smi") else "none seen"
        return Finding("Accelerator", "ok", seen)
    if torch.cuda.is_available():
        cards = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
        return Finding(
            "Accelerator", "ok", ", ".join(f"{card.name}, {card.total_memory / 1e9:.0f} GB" for card in cards)
        )
    if torch.backends.mps.is_available():
        return Finding("Accelerator", "ok", "Apple GPU (mps)")
    return Finding("Accelerator", "ok", "none; the processor does")


def disk(root: Path, wanted: float) -> Finding:
    """Whether `wanted` GB are free where the checkout lies."""
    free = shutil.disk_usage(root).free / 1e9
    enough = free >= wanted
    need = "" if enough else f"; {wanted:.0f} GB are needed: free some"
    return Finding("Disk", "ok" if enough else "bad", f"{free:.1f} GB free at {root}{need}")


def writing(root: Path) -> Finding:
    """Whether results and fetched prices could be written."""
    for folder in (root / "runs", root / "data" / "cache"):
        there = next(parent for parent in (folder, *folder.parents) if parent.exists())
        try:
            with tempfile.TemporaryFile(dir=there):
                pass
        except OSError as error:
            return Finding("Writing", "bad", f"{folder} cannot be written: {error.strerror}")
    return Finding("Writing", "ok", "runs and data/cache")


def notebooks(root: Path) -> Finding:
    """Whether the notebooks are there."""
    names = sorted(path.stem for path in (root / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    if not names:
        return Finding("Notebooks", "bad", f"none in {root / 'notebooks'}: is the clone complete?")
    return Finding("Notebooks", "ok", ", ".join(names))


def sample(root: Path) -> Finding:
    """Whether the bundled prices are there, as they were shipped."""
    folder = next(
        (path for path in (root / "data", root / "workbench" / "_data") if path.is_dir()), root / "data"
    )
    repair = "restore it: git checkout -- data"
    try:
        lines = (folder / "SHA256SUMS").read_text(encoding="ascii").splitlines()
        sums = {name.lstrip("*"): digest for digest, name in map(str.split, lines)}
        found = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in sums}
    except (OSError, ValueError) as error:
        return Finding("Sample data", "bad", f"{folder} is not whole ({error}); {repair}")
    altered = [name for name in sums if found[name] != sums[name]]
    if altered:
        return Finding("Sample data", "bad", f"{', '.join(altered)} in {folder} was altered; {repair}")
    return Finding("Sample data", "ok", f"{', '.join(sums)}: as shipped")


def kernel() -> Finding:
    """Whether a notebook's kernel starts."""
    from jupyter_client.manager import KernelManager

    from workbench.runs.kernels import EnvironmentKernels

    manager, began = KernelManager(), time.monotonic()
    manager.kernel_spec_manager = EnvironmentKernels()
    try:
        manager.start_kernel(stderr=subprocess.DEVNULL)
        client = manager.client()
        client.start_channels()
        try:
            client.wait_for_ready(timeout=60)
        finally:
            client.stop_channels()
    except (OSError, RuntimeError) as error:
        return Finding("Kernel", "bad", f"does not start: {error}")
    finally:
        manager.shutdown_kernel(now=True)
    return Finding("Kernel", "ok", f"starts in {time.monotonic() - began:.1f} s")


def package_index(place: Environment) -> Finding:
    """Whether pip, set up as it is, could fetch packages."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            pip = [sys.executable, "-m", "pip"] if not place.python.exists() else pip_command(place)
            command = [*pip, "download", "--no-deps", "--retries", "0", "--dest", folder, "lazy_loader"]
            began = time.monotonic()
            answer = subprocess.run([*command, "--quiet"], capture_output=True, timeout=60)
        except (SetupError, subprocess.TimeoutExpired) as error:
            return Finding("Package index", "bad", str(error))
    if answer.returncode:
        text = "cannot be reached, so no environment can be made: check the network, or PIP_INDEX_URL"
        return Finding("Package index", "bad", text)
    return Finding("Package index", "ok", f"answers in {time.monotonic() - began:.1f} s")


def sources() -> list[Finding]:
    """Which live data sources answer; none of them is needed for the bundled data."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(_source, SOURCES, SOURCES.values()))


def _source(name: str, address: str) -> Finding:
    began = time.monotonic()
    request = urllib.request.Request(address, headers={"User-Agent": "Mozilla/5.0"})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE):
            pass
    except urllib.error.HTTPError as error:
        refusal = ": it may not serve this country" if error.code in (403, 451) else ""
        return Finding(name, "note", f"answers, with HTTP {error.code}{refusal}")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return Finding(name, "note", f"not within reach ({reason}); the bundled data needs no network")
    return Finding(name, "ok", f"answers in {time.monotonic() - began:.1f} s")


def _version(root: Path) -> str:
    """The version in pyproject.toml, or that of the installed package."""
    import tomllib

    file = root / "pyproject.toml"
    if file.is_file():
        return tomllib.loads(file.read_text(encoding="utf-8"))["project"]["version"]
    return importlib.metadata.version("attention-workbench")
