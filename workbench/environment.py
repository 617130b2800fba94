"""The environment that `python3 -m workbench` keeps for itself, in `.venv` beside the package.

Standard library only: it is read before anything is installed.
"""

import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
INPUTS = ("pyproject.toml", "constraints.txt")


@dataclass(frozen=True)
class Need:
    """What an environment lacks: `anew` where only making it again helps, and why, for the reader."""

    anew: bool
    reason: str


@dataclass(frozen=True)
class Environment:
    """The virtual environment of the checkout at `root`."""

    root: Path = ROOT

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self.root / ".venv"

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    @property
    def packages(self) -> Path:
        """Its site-packages."""
        inside = "Lib" if os.name == "nt" else f"lib/python{_version()}"
        return self.folder / inside / "site-packages"

    @property
    def log(self) -> Path:
        """What pip said while installing."""
        return self.folder / "install.log"

    @property
    def stamp(self) -> Path:
        """The record of what it was made from."""
        return self.folder / "workbench.json"

    def in_use(self) -> bool:
        """Whether this very process runs in it."""
        return Path(sys.prefix).resolve() == self.folder.resolve()

    def fingerprint(self) -> dict[str, str]:
        """What it depends on: a hash of pyproject and constraints, the Python, and where it lies."""
        content = hashlib.sha256()
        for name in INPUTS:
            content.update((self.root / name).read_bytes() + b"\0")
        return {"inputs": content.hexdigest(), "python": _version(), "root": str(self.root)}

    def record(self) -> dict:
        """The stamp's content; empty where there is none that can be read."""
        try:
            record = json.loads(self.stamp.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}

    def write(self, record: dict) -> None:
        """Replace the stamp in one step."""
        unfinished = self.stamp.with_suffix(".part")
        unfinished.write_text(json.dumps(record, indent=1), encoding="utf-8")
        unfinished.replace(self.stamp)

    def entries(self) -> list[str]:
        """What site-packages holds, by name."""
        try:
            return sorted({path.name for path in self.packages.iterdir()} - {"__pycache__"})
        except FileNotFoundError:
            return []

    def need(self, extras: Iterable[str]) -> Need | None:
        """Compare what there is with what is wanted; None when it is ready to use."""
        if not self.folder.is_dir() or {path.name for path in self.folder.iterdir()} <= {"lock"}:
            return Need(True, "there is none yet")
        version = _answer(self.python)
        if version != _version():
            fault = f"is {version}, this is {_version()}" if version else "does not start"
            return Need(True, f"its Python {fault}")
        record, wanted = self.record(), self.fingerprint()
        if record.get("state") == "making":
            return Need(True, "an earlier installation was not finished")
        if not record:
            return Need(False, "it was not made by this command")
        if record.get("root") != wanted["root"]:
            return Need(True, f"it was made in {record.get('root')}")
        lost = sorted(set(record.get("entries", [])) - set(self.entries()))
        if lost:
            return Need(True, f"it has lost {lost[0]}" + (f" and {len(lost) - 1} more" if lost[1:] else ""))
        if record.get("inputs") != wanted["inputs"]:
            return Need(False, f"{' or '.join(INPUTS)} changed")
        missing = sorted(set(extras) - set(record.get("extras", [])))
        return Need(False, f"{', '.join(missing)} packages are wanted too") if missing else None


def missing_packages(extras: Iterable[str], root: Path = ROOT) -> list[str]:
    """Return which of the project's requirements this interpreter lacks, by name."""
    import tomllib
    from importlib import metadata

    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"]]
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    names = [re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0] for requirement in wanted]
    have = {_plain(found.name) for found in metadata.distributions() if found.name}
    return sorted({name for name in names if _plain(name) not in have | {_plain(project["name"])}})


def importable(module: str) -> bool:
    """Whether this interpreter has a module, without importing it."""
    return importlib.util.find_spec(module) is not None


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _version() -> str:
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def _answer(python: Path) -> str | None:
    """The version that an interpreter says it is; None where it doesn't start."""
    question = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        answer = subprocess.run([python, "-I", "-S", "-c", question], capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.decode().strip() if answer.returncode == 0 else None
