"""One notebook through papermill, in a kernel of this environment, watched cell by cell."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class Limits:
    """How long things may take, in seconds: a kernel's start, one cell, the whole notebook.

    A cell is checked about every five seconds, so shorter limits act late.
    """

    start: float | int = 120
    cell: float | int = 3600
    notebook: float | int = 4 * 3600


@dataclass(frozen=True)
class Progress:
    """Where a run is: notebook `number` of `of`, code cell `cell` of `cells`, and its seconds so far."""

    notebook: str
    number: int
    of: int
    cell: int
    cells: int
    seconds: float


Listener = Callable[[Progress], None]


class Watch:
    """Follows the cells of one run: which one is on, how long it may take, who wants to know."""

    def __init__(self, start: Progress, limits: Limits, listener: Listener | None):
        self.began = time.monotonic()
        self.position = start
        self.limits = limits
        self.listener = listener
        self.source: str | None = None

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.began

    def cell_starts(self, cell: Mapping, cell_index: int) -> None:
        """Take in that a cell is on; called by nbclient, for text cells too."""
        if has_code(cell):
            self.source = _first_line(cell["source"])
            self.position = replace(self.position, cell=self.position.cell + 1)
            self.tell()

    def time_left(self, cell: Mapping) -> int:
        """Seconds that the cell about to run may take; called by nbclient."""
        return max(1, round(min(self.limits.cell, self.limits.notebook - self.seconds)))

    def tell(self, finished: bool = False) -> None:
        """Report the position to whoever listens."""
        self.position = replace(self.position, seconds=self.seconds)
        if finished:
            self.position = replace(self.position, cell=self.position.cells)
        if self.listener is not None:
            self.listener(self.position)


def execute(source: Path, output: Path, parameters: dict[str, object], watch: Watch) -> dict:
    """Run through papermill; return the status, and what went wrong and where."""
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    from workbench.runs.kernels import KERNEL, EnvironmentKernel

    try:
        with _hushed("papermill"):
            papermill.execute_notebook(
                source,
                output,
                parameters=parameters,
                kernel_name=KERNEL,
                language="python",
                progress_bar=False,
                start_timeout=round(watch.limits.start),
                execution_timeout=watch.limits.cell,
                timeout_func=watch.time_left,
                kernel_manager_class=EnvironmentKernel,
                on_cell_start=watch.cell_starts,
                resources={"metadata": {"path": str(source.parent)}},
                store_widget_state=False,
            )
    except PapermillExecutionError as error:
        message = f"{error.ename}: {error.evalue}".strip().rstrip(":")
        return _blame(watch, "failed", message, error.exec_count)
    except CellTimeoutError:
        limits = f"{watch.limits.cell:g} s a cell, {watch.limits.notebook:g} s a notebook"
        return _blame(watch, "failed", f"it ran into its time limit ({limits})")
    except DeadKernelError:
        return _blame(watch, "failed", "the kernel died; a likely cause is that memory ran out")
    except KeyboardInterrupt:
        return _blame(watch, "interrupted", "stopped from the keyboard")
    except RuntimeError as error:  # jupyter_client's only word for a kernel that doesn't answer
        if watch.position.cell:
            raise
        return {"status": "failed", "error": f"the kernel did not start: {error}"}
    return {"status": "finished"}


def _blame(watch: Watch, status: str, error: str, cell: int | None = None) -> dict:
    number = cell if cell is not None else watch.position.cell or None
    return {"status": status, "error": error, "cell": number, "source": watch.source}


@contextmanager
def _hushed(name: str) -> Iterator[None]:
    """Keep a logger from the screen: what it would say is in the NotebookRun, or was checked before."""
    logger, nobody = logging.getLogger(name), logging.NullHandler()
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(nobody)
    try:
        yield
    finally:
        logger.removeHandler(nobody)
        logger.propagate = propagate


def has_code(cell: Mapping) -> bool:
    """Whether a cell is one that a kernel runs."""
    return cell["cell_type"] == "code" and bool(cell["source"].strip())


def _first_line(source: str) -> str:
    lines = [line.strip() for line in source.splitlines()]
    return next((line for line in lines if line and not line.startswith("#")), lines[0])[:80]
