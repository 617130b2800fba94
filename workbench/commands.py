"""The commands of `python3 -m workbench`.

Standard library only where it is imported: what a command needs, it imports inside the environment.
"""

import difflib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from workbench.environment import ROOT, Environment, missing_packages
from workbench.installation import prepare
from workbench.machine import usable_processors
from workbench.setup_errors import SetupError

USAGE = """\
usage: python3 -m workbench COMMAND …

  run     run the notebooks in order, on data of your choice, into one report
          python3 -m workbench run
          python3 -m workbench run -p TICKER MSFT --only 01 03
  compare train every model on the same windows, beside baselines; picks up where it was stopped
          python3 -m workbench compare --models alstm gru lightgbm --seeds 0 1 2
  study   write a saved model's final report: configuration, training, money, and what to change
          python3 -m workbench study transformer-AAPL
  test    run the tests; what follows goes to pytest
          python3 -m workbench test -k rollout
  lab     open the notebooks in JupyterLab; what follows goes to JupyterLab
  app     serve the Explorer as a web page, on this machine only
          python3 -m workbench app --port 8866 --theme dark
  doctor  say what is there and what is missing; fails if 'run' could not work

The first 'run', 'test', 'lab' or 'app' makes an environment in .venv (some minutes, about 2 GB) and later
ones use it. WORKBENCH_ENV=current uses the Python at hand with the packages that it has.
"""


def dispatch(arguments: list[str]) -> int:
    """Carry out one command; return the exit code: 0 done, 1 failed, 2 misunderstood, 130 interrupted."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        (sys.stdout if arguments else sys.stderr).write(USAGE)
        return 0 if arguments else 2
    if arguments[0] not in COMMANDS:
        sys.stderr.write(_unknown(arguments[0]))
        return 2
    try:
        return COMMANDS[arguments[0]](arguments[1:])
    except SetupError as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted.\n")
        return 130


def run(arguments: list[str]) -> int:
    """Run the notebooks."""
    from workbench.runs.job import parse, run_job

    options = parse(arguments)
    again = enter([], ["run", *arguments])
    return run_job(options, ROOT) if again is None else again


def compare(arguments: list[str]) -> int:
    """Compare models and baselines on the same windows."""
    from workbench.runs.comparison.command import parse, run_compare

    options = parse(arguments)
    again = enter([], ["compare", *arguments])
    return run_compare(options, ROOT) if again is None else again


def study(arguments: list[str]) -> int:
    """Write a saved model's final report."""
    from workbench.runs.study import parse, run_study

    options = parse(arguments)
    again = enter([], ["study", *arguments])
    return run_study(options, ROOT) if again is None else again


def test(arguments: list[str]) -> int:
    """Run the tests, on every processor when the whole suite is asked for."""
    again = enter(["test"], ["test", *arguments])
    if again is not None:
        return again
    if not arguments:
        count = min(usable_processors(), 8)
        arguments = ["-n", str(count), "--dist", "loadfile"] if count > 1 else []
    return become([sys.executable, "-m", "pytest", *arguments], folder=ROOT, OMP_NUM_THREADS="1")


def lab(arguments: list[str]) -> int:
    """Open JupyterLab on the notebooks, with this environment's kernel and no other.

    It asks nobody for news or newer versions, and a notebook that is saved keeps its widgets' last picture
    (`runs/lab/overrides.json`: defaults, so what the user sets in JupyterLab stays).
    """
    again = enter([], ["lab", *arguments])
    if again is not None:
        return again
    settings = [
        f"--LabApp.app_settings_dir={ROOT / 'workbench' / 'runs' / 'lab'}",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly",  # the other one asks PyPI
        f"--ServerApp.root_dir={ROOT / 'notebooks'}",
        "--ServerApp.kernel_spec_manager_class=workbench.runs.kernels.EnvironmentKernels",
        "--KernelManager.transport_encryption=auto",
    ]
    return become([sys.executable, "-m", "jupyterlab", *settings, *arguments])


def app(arguments: list[str]) -> int:
    """Serve the Explorer as a web page."""
    from workbench.runs.app import parse, run_app

    options = parse(arguments)
    again = enter([], ["app", *arguments])
    return run_app(options, ROOT) if again is None else again


def doctor(arguments: list[str]) -> int:
    """Examine the machine: in the environment where there is one, else from the Python at hand."""
    if arguments:
        sys.stderr.write(f"doctor takes no arguments. Got {' '.join(arguments)}.\n")
        return 2
    from workbench.doctor import examine

    place = Environment()
    if not _current() and not place.in_use() and is_checkout() and place.need([]) is None:
        return become([str(place.python), "-m", "workbench", "doctor"])
    return examine(place, sys.stdout.write)


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "run": run,
    "compare": compare,
    "study": study,
    "test": test,
    "lab": lab,
    "app": app,
    "doctor": doctor,
}


def enter(extras: list[str], arguments: list[str]) -> int | None:
    """Make sure that this process runs in the environment, made ready with `extras`.

    Returns None when it does. Otherwise the environment is made and the command run again there:
    on POSIX this process turns into that one, on Windows its exit code is returned.
    """
    if not is_checkout():
        raise SetupError(
            f"'{arguments[0]}' works on the repository's notebooks and tests, and {ROOT} has none: "
            "clone the repository and run 'python3 -m workbench' there."
        )
    if _current():
        missing = missing_packages(extras)
        if missing:
            wanted = f".[{','.join(extras)}]" if extras else "."
            raise SetupError(
                f"WORKBENCH_ENV=current, but {sys.executable} lacks {', '.join(missing)}: "
                f"install them ('{Path(sys.executable).name} -m pip install -e {wanted}') or unset it."
            )
        return None
    place = Environment()
    if place.in_use():
        if place.need(extras) is None:
            return None
        return become([_base_python(), "-m", "workbench", *arguments])  # no Python can replace itself
    return become([str(prepare(extras, _say)), "-m", "workbench", *arguments])


def become(command: list[str], folder: Path | None = None, **variables: str) -> int:
    """Run `command` in the place of this process, in `folder` if given; return its exit code.

    The package of this checkout comes first in its search path. `variables` are set where the
    caller's environment doesn't set them.
    """
    search = [str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    settings = {**variables, **os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(search))}
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name == "nt":  # there exec returns to the shell at once
        return subprocess.call(command, cwd=folder, env=settings)
    os.chdir(folder or ".")
    return os.execve(command[0], command, settings)


def is_checkout() -> bool:
    """Whether the package lies in its repository rather than among installed packages."""
    return (ROOT / "pyproject.toml").is_file() and (ROOT / "notebooks").is_dir()


def _current() -> bool:
    choice = os.environ.get("WORKBENCH_ENV", "")
    if choice not in ("", "current"):
        raise SetupError(f"WORKBENCH_ENV is 'current' or not set. Got {choice!r}.")
    return choice == "current"


def _base_python() -> str:
    return getattr(sys, "_base_executable", "") or sys.executable


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _unknown(command: str) -> str:
    close = difflib.get_close_matches(command, COMMANDS, n=1, cutoff=0.4)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    return f"There is no command {command!r}.{hint}\n\n{USAGE}"
