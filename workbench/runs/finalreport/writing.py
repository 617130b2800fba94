"""A report's folder, written whole or not at all."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from workbench.files import replacing
from workbench.models.summary import Block, summarize
from workbench.runs.finalreport.building import FORMAT, build_report, check_report
from workbench.runs.finalreport.drawing import draw_figures
from workbench.runs.finalreport.opened import Opened
from workbench.runs.finalreport.page import write_page
from workbench.runs.finalreport.performance import Wishes
from workbench.training.prediction import placement

__all__ = ["REPORT", "Occupied", "replacing_folder", "write_study"]

REPORT = "report.json"


class Occupied(ValueError):
    """The folder to write holds something else than an earlier report."""


def write_study(opened: Opened, folder: Path, wishes: Wishes, steps: int = 7) -> Path:
    """Write report.json, figures and report.html of a saved model.

    Parameters
    ----------
    opened
        The saved model.
    folder
        Where to. An earlier report there is replaced, when the new one is complete.
    wishes
        Costs, threshold, bootstrap.
    steps
        Steps of training to time.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    Occupied
        The folder holds anything but an earlier report.
    """
    check_free(folder)
    built = build_report(opened, wishes, steps)
    block = _block(opened) if built.study is None else built.study.architecture
    with replacing_folder(folder) as unfinished:
        built.report["figures"] = draw_figures(opened, built, block, unfinished / "figures")
        check_report(built.report)
        text = json.dumps(built.report, indent=1, allow_nan=False, ensure_ascii=False)
        with replacing(unfinished / REPORT) as path:
            path.write_text(text + "\n", encoding="utf-8")
        write_page(built.report, unfinished)
    return folder


def check_free(folder: Path) -> None:
    """Raise Occupied unless the folder is absent, empty or an earlier report."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise Occupied(f"{folder} is a file. Choose a folder with --out.")
    if not any(folder.iterdir()):
        return
    try:
        earlier = json.loads((folder / REPORT).read_text(encoding="utf-8")).get("format")
    except (OSError, ValueError, AttributeError):
        earlier = None
    if earlier != FORMAT:
        raise Occupied(f"{folder} holds something else than an earlier report. Choose another with --out.")


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield a new folder beside `folder` that takes its place when the block ends well."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        yield unfinished
        unfinished.chmod(0o755)
        if folder.exists():  # two moves: no system puts a folder in the place of a full one
            old = unfinished.with_name(f"{unfinished.name}-old")
            folder.rename(old)
            unfinished.rename(folder)
            shutil.rmtree(old)
        else:
            unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _block(opened: Opened) -> Block | str:
    """The network as it runs on windows of zeros, where there are no others: shapes need no more."""
    device, dtype = placement(opened.model)
    x = torch.zeros(8, opened.spec.lookback, len(opened.spec.feature_names), device=device, dtype=dtype)
    try:
        return summarize(opened.model, x).root
    except (RuntimeError, ValueError, IndexError) as error:
        return f"the network does not run on windows of zeros: {error}"
