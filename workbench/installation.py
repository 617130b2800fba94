"""How the environment is made: a virtual environment, PyTorch first, then the rest.

Standard library only: it runs before anything is installed. From the shell,
`python3 -m workbench.installation dev` makes the environment with the named extras and prints its Python.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from workbench.environment import Environment, Need, importable
from workbench.setup_errors import SetupError, explained, require_room, translated

CPU_TORCH = "https://download.pytorch.org/whl/cpu"
Say = Callable[[str], object]


def prepare(extras: Iterable[str], say: Say, environment: Environment | None = None) -> Path:
    """Make the environment with `extras`, repair it, or leave it if it is ready; return its Python.

    One process at a time installs; others wait for it. An installation that is cut off is made anew
    at the next start, one that fails (no network, say) leaves a working environment as it was.

    Parameters
    ----------
    extras
        Optional dependencies of pyproject.toml to have, such as "test".
    say
        Called with one line at each step.
    environment
        The environment to prepare; that of this checkout by default.

    Raises
    ------
    SetupError
        With one line that says what went wrong and what to do.
    """
    place, extras = environment or Environment(), sorted(set(extras))
    if place.need(extras) is None:
        return place.python
    with explained(place), locked(place, say):
        need = place.need(extras)  # another process may have made it while this one waited
        if need is not None:
            install(place, need, extras, say)
            left = place.need(extras)
            if left is not None:
                raise SetupError(f"{place.folder} is still not usable: {left.reason}. See {place.log}.")
    return place.python


def install(place: Environment, need: Need, extras: list[str], say: Say) -> None:
    """Make `place` what pyproject.toml and constraints.txt say, anew or on top of what is there.

    Raises
    ------
    SetupError
        With one line that says what went wrong and what to do.
    """
    before = place.record()
    extras = sorted({*extras, *before.get("extras", [])})
    began = time.monotonic()
    if need.anew:
        _clear(place)
        require_room(place)
        say(f"Making the environment in {place.folder}, since {need.reason}. This takes some minutes.")
        place.write({"state": "making", "extras": extras})
        _create(place)
    else:
        say(f"Bringing {place.folder} up to date, since {need.reason}.")
        place.write({**before, "state": "making"})
    try:
        _fill(place, extras, say)
    except SetupError:
        if before and not need.anew:
            place.write(before)  # still usable, and still out of date
        raise
    record = {"state": "ready", **place.fingerprint(), "extras": extras, "entries": place.entries()}
    place.write(record)
    say(f"The environment is ready after {time.monotonic() - began:.0f} s.")


def _fill(place: Environment, extras: list[str], say: Say) -> None:
    """Install PyTorch alone, then the rest.

    PyPI's PyTorch for Linux carries CUDA, gigabytes of it. The CPU build has an index of its own,
    asked for this one package only: where it cannot be reached each package asked for would wait.
    """
    place.log.write_text("", encoding="utf-8")
    index = ["--extra-index-url", CPU_TORCH, "--retries", "0"] if _wants_cpu_build() else []
    wanted = f"{place.root}[{','.join(extras)}]" if extras else str(place.root)
    steps = [
        ("PyTorch", ["--no-deps", *index, _pin(place, "torch")]),
        ("the other packages", ["--constraint", str(place.root / "constraints.txt"), "--editable", wanted]),
    ]
    for number, (what, arguments) in enumerate(steps, start=1):
        began = time.monotonic()
        say(f"  {number} of {len(steps)}: {what} …")
        _pip(place, arguments)
        say(f"  {number} of {len(steps)}: {what}, {time.monotonic() - began:.0f} s")


def _pin(place: Environment, name: str) -> str:
    """The requirement of constraints.txt: asked for outright, pip says plainly that it is not to be had."""
    lines = (place.root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return next((line for line in lines if line.startswith(f"{name}==")), name)


def _wants_cpu_build() -> bool:
    """Only Linux's default build is the large one, and a machine with NVIDIA's driver wants it."""
    return sys.platform == "linux" and shutil.which("nvidia-smi") is None


def _pip(place: Environment, arguments: list[str]) -> None:
    """Run `pip install` for the environment, its words kept in the log."""
    common = ["install", "--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
    start = place.log.stat().st_size
    with place.log.open("ab") as log:
        command = [*pip_command(place), *common, *arguments]
        done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, cwd=place.root)
    if done.returncode:
        said = place.log.read_bytes()[start:].decode(errors="replace")
        raise SetupError(translated(said, place))


def pip_command(place: Environment) -> list[str]:
    """Return the pip to use: the environment's own, else this interpreter's working for it."""
    if (place.packages / "pip").is_dir():
        return [str(place.python), "-m", "pip"]
    if importable("pip"):
        return [sys.executable, "-m", "pip", "--python", str(place.python)]
    raise SetupError(
        f"{sys.executable} has neither ensurepip nor pip, so no environment can be filled. "
        "On Debian and Ubuntu: apt install python3-venv. Or install Python from python.org."
    )


def _create(place: Environment) -> None:
    if not importable("venv"):
        raise SetupError(
            f"{sys.executable} has no module venv. On Debian and Ubuntu: apt install python3-venv. "
            "Or use the packages that it has: WORKBENCH_ENV=current."
        )
    import venv  # which Debian packs apart

    builder = venv.EnvBuilder(
        with_pip=importable("ensurepip"), symlinks=os.name != "nt", prompt="attention-workbench"
    )
    try:
        builder.create(place.folder)
    except subprocess.CalledProcessError as error:
        said = (error.output or b"").decode(errors="replace")
        raise SetupError(translated(said, place)) from error


def _clear(place: Environment) -> None:
    """Empty the folder but for the lock that this process holds."""
    for path in place.folder.iterdir():
        if path.name == "lock":
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


@contextmanager
def locked(place: Environment, say: Say) -> Iterator[None]:
    """Let one process at a time work on the environment; the lock dies with its process."""
    try:
        place.folder.mkdir(exist_ok=True)
    except FileExistsError:  # as a file, or as a link to nowhere
        place.folder.unlink(missing_ok=True)
        place.folder.mkdir(exist_ok=True)
    with (place.folder / "lock").open("a+") as handle:
        waiting = False
        while not _take(handle):
            if not waiting:
                say("Another process is making the environment: waiting for it.")
            waiting = True
            time.sleep(0.3)
        yield


if sys.platform == "win32":
    import msvcrt

    def _take(handle: IO[str]) -> bool:
        try:
            handle.seek(0)
            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    def _take(handle: IO[str]) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


if __name__ == "__main__":
    try:
        python = prepare(sys.argv[1:], lambda line: sys.stderr.write(line + "\n"))
    except SetupError as problem:
        sys.exit(str(problem))
    sys.stdout.write(f"{python}\n")
