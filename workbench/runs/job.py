"""The command `python3 -m workbench run`: the notebooks in order, then one report.

Standard library only where it is imported, so that a misspelt option is told before anything is installed.
"""

import argparse
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbench.runs.notebooks import NotebookRun, Progress


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the options of `run`; argparse itself answers --help and mistakes, and exits."""
    parser = argparse.ArgumentParser(
        prog="python3 -m workbench run",
        description="Run the notebooks in order, each in a fresh kernel, into runs/<time> and a report.html.",
        epilog="Each notebook gets those parameters that its first code cell declares.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"),
        help="set a parameter; VALUE is read as the kind of thing that the default is, "
        "and the path of a file may be relative to where you are",
    )  # fmt: skip
    parser.add_argument(
        "-r", "--raw", nargs=2, action="append", default=[], metavar=("NAME", "TEXT"),
        help="set a parameter to TEXT as it is",
    )  # fmt: skip
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NUMBER", help="run only these notebooks: 03, or 03_rollout"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=3600,
        metavar="SECONDS",
        help="the longest that a cell may take (3600)",
    )
    return parser.parse_args(arguments)


def run_job(options: argparse.Namespace, root: Path) -> int:
    """Run the notebooks of the checkout at `root`; return 0, 1 (one failed), 2 (misunderstood) or 130."""
    from workbench.runs.notebooks import Limits, NotebookError, run_notebooks
    from workbench.runs.parameters import parse_parameters
    from workbench.runs.report import write_report

    try:
        paths = chosen(root / "notebooks", options.only)
        parameters = parse_parameters(_absolute(dict(options.parameter)), paths, dict(options.raw))
    except NotebookError as problem:
        sys.stderr.write(f"{problem}\n")
        return 2
    folder = new_folder(root / "runs")
    with Line(sys.stdout) as line:
        runs = run_notebooks(paths, folder, parameters, Limits(cell=options.timeout), line.show)
    report = write_report(runs, folder / "report.html", _heading(parameters))
    return _conclude(runs, len(paths), report)


def chosen(folder: Path, only: list[str]) -> list[Path]:
    """Return the numbered notebooks of `folder` in order, or those that `only` names.

    Raises
    ------
    NotebookError
        If there is none, or `only` names one that isn't there.
    """
    from workbench.runs.parameters import NotebookError

    paths = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not paths:
        raise NotebookError(f"{folder} holds no numbered notebook (01_name.ipynb): is the clone complete?")
    names = {path.stem for path in paths} | {path.stem[:2] for path in paths}
    wanted = [name.removesuffix(".ipynb") for name in only]
    for name in wanted:
        if name not in names:
            listing = ", ".join(path.stem for path in paths)
            raise NotebookError(f"There is no notebook {name!r}. Notebooks: {listing}.")
    return [path for path in paths if not wanted or {path.stem, path.stem[:2]} & set(wanted)]


def new_folder(parent: Path) -> Path:
    """Make and return a folder named by this second in UTC, never one that exists."""
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    for number in range(1, 1000):
        folder = parent / (stamp if number == 1 else f"{stamp}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise FileExistsError(f"{parent} holds a thousand runs of {stamp}.")


class Line:
    """Shows where a run is: one line a notebook, rewritten as it goes where a terminal shows it."""

    def __init__(self, stream):
        self.stream = stream
        self.live = stream.isatty()
        self.latest: tuple[Progress, float] | None = None
        self.stopped = Event()
        self.ticker = Thread(target=self._tick, daemon=True)

    def __enter__(self) -> "Line":
        if self.live:
            self.ticker.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stopped.set()
        if self.live:
            self.ticker.join()
        self._end()

    def show(self, position: "Progress") -> None:
        """Take in where the run is now."""
        if self.latest is not None and self.latest[0].notebook != position.notebook:
            self._end()
        self.latest = (position, time.monotonic() - position.seconds)
        if self.live:
            self._draw(position.seconds)

    def _tick(self) -> None:
        while not self.stopped.wait(1.0):
            if self.latest is not None:
                self._draw(time.monotonic() - self.latest[1])

    def _draw(self, seconds: float) -> None:
        if self.latest is not None:
            self.stream.write(f"\r\x1b[2K{_line(self.latest[0], seconds)}")
            self.stream.flush()

    def _end(self) -> None:
        if self.latest is not None:
            before = "\r\x1b[2K" if self.live else ""
            self.stream.write(f"{before}{_line(self.latest[0], self.latest[0].seconds)}\n")
            self.stream.flush()
            self.latest = None


def _line(position: "Progress", seconds: float) -> str:
    place = f"{position.number}/{position.of}"
    return f"{place}  {position.notebook:<24} cell {position.cell:>3} of {position.cells:<3} {seconds:7.1f} s"


def _conclude(runs: "list[NotebookRun]", wanted: int, report: Path) -> int:
    last = runs[-1]
    total = sum(run.seconds for run in runs)
    if last.status == "finished":
        sys.stdout.write(f"\n{len(runs)} of {wanted} notebooks finished in {total:.0f} s.\n")
    else:
        left = f"Not started: {wanted - len(runs)} of {wanted} notebooks.\n" if wanted > len(runs) else ""
        sys.stderr.write(f"\n{last}\n{left}")
    sys.stdout.write(f"Executed notebooks  {report.parent}\nReport              {report}\n")
    return {"finished": 0, "failed": 1, "interrupted": 130}[last.status]


def _absolute(texts: dict[str, str]) -> dict[str, str]:
    """Make relative paths of files absolute: a notebook runs in its own folder."""
    return {
        name: str(Path(text).resolve()) if Path(text).suffix and Path(text).is_file() else text
        for name, text in texts.items()
    }


def _heading(parameters: dict[str, object]) -> str:
    given = ", ".join(f"{name} {value}" for name, value in parameters.items())
    return f"Attention Workbench · {given}" if given else "Attention Workbench"
