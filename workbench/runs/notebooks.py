"""Notebooks run as jobs: parameters in, an executed notebook and a status out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Literal

from workbench.files import replacing
from workbench.runs.execution import Limits, Listener, Progress, Watch, execute, has_code
from workbench.runs.parameters import NotebookError, check_known, declared_parameters, read_notebook
from workbench.runs.stills import keep_stills

__all__ = ["Limits", "NotebookError", "NotebookRun", "Progress", "run_notebook", "run_notebooks"]


@dataclass(frozen=True)
class NotebookRun:
    """What became of one notebook.

    `status` is "finished", "failed" or "interrupted". `cell` is the number that the failing cell
    bears in the executed notebook (`In [cell]`) and `source` its first line of code; both are None
    where no cell was to blame, as when the kernel did not start.
    """

    notebook: Path
    output: Path
    status: Literal["finished", "failed", "interrupted"]
    seconds: float
    cells: int
    parameters: dict[str, object] = field(default_factory=dict)
    cell: int | None = None
    source: str | None = None
    error: str | None = None

    @property
    def name(self) -> str:
        """The notebook's file name without `.ipynb`."""
        return self.notebook.stem

    def __str__(self) -> str:
        if self.status == "finished":
            return f"{self.name}: {self.cells} cells in {self.seconds:.1f} s"
        where = f" in cell [{self.cell}] ({self.source})" if self.cell is not None else ""
        return f"{self.name} {self.status}{where} after {self.seconds:.1f} s: {self.error}"


def run_notebook(
    path: str | PathLike[str],
    output: str | PathLike[str],
    parameters: Mapping[str, object] | None = None,
    limits: Limits | None = None,
    progress: Listener | None = None,
) -> NotebookRun:
    """Run one notebook in a new kernel of this very environment and write it, executed, to `output`.

    The kernel works in the notebook's folder. An error in a cell is no exception here but a status;
    the notebook is written as far as it came.

    Parameters
    ----------
    path, output
        The notebook to run, and where the executed one goes. The two must differ.
    parameters
        Values for names that the notebook declares in its cell tagged `parameters`.
    limits
        How long the start, a cell and the notebook may take.
    progress
        Called when a code cell starts, and once at the end.

    Raises
    ------
    NotebookError
        If `path` is no notebook, or doesn't declare one of `parameters`.
    """
    source, target = Path(path).resolve(), Path(output).resolve()
    if source == target:
        raise NotebookError(f"{source} would overwrite itself: write the executed notebook elsewhere.")
    parameters = dict(parameters or {})
    check_known(parameters, declared_parameters(source))
    injected = bool(parameters)
    cells = sum(map(has_code, read_notebook(source).cells)) + injected
    watch = Watch(Progress(source.stem, 1, 1, 0, cells, 0.0), limits or Limits(), progress)
    with replacing(target) as unfinished:
        failure = execute(source, unfinished, parameters, watch)
        _tidy(unfinished, source, target)
    watch.tell(finished=failure["status"] == "finished")
    return NotebookRun(source, target, seconds=watch.seconds, cells=cells, parameters=parameters, **failure)


def run_notebooks(
    paths: Iterable[str | PathLike[str]],
    folder: str | PathLike[str],
    parameters: Mapping[str, object] | None = None,
    limits: Limits | None = None,
    progress: Listener | None = None,
) -> list[NotebookRun]:
    """Run notebooks one after another, each in a new kernel, until one does not finish.

    Parameters
    ----------
    paths
        The notebooks, in order.
    folder
        Where the executed ones go, under their own names.
    parameters
        Each notebook gets those that it declares; one that none declares is an error.
    limits, progress
        As for `run_notebook`.

    Returns
    -------
    list of NotebookRun
        One for each notebook that was started; only the last may have failed.
    """
    notebooks = [Path(path) for path in paths]
    declared = {path: declared_parameters(path) for path in notebooks}
    given = dict(parameters or {})
    check_known(given, {name for names in declared.values() for name in names})
    runs: list[NotebookRun] = []
    for number, path in enumerate(notebooks, start=1):
        own = {name: value for name, value in given.items() if name in declared[path]}
        listener = _placed(progress, number, len(notebooks))
        runs.append(run_notebook(path, Path(folder) / path.name, own, limits, listener))
        if runs[-1].status != "finished":
            break
    return runs


def _tidy(unfinished: Path, source: Path, target: Path) -> None:
    """Leave names where papermill wrote this machine's paths, and pictures where widgets were."""
    import nbformat

    notebook = read_notebook(unfinished)
    keep_stills(notebook)
    if "papermill" in notebook.metadata:
        notebook.metadata.papermill.update(input_path=source.name, output_path=target.name)
    nbformat.write(notebook, unfinished)


def _placed(progress: Listener | None, number: int, of: int) -> Listener | None:
    if progress is None:
        return None
    return lambda position: progress(replace(position, number=number, of=of))
