"""The command `python3 -m workbench study RUN`: a saved model's final report.

Standard library only where it is imported, so that a misspelt option is told before anything is installed.
"""

import argparse
import sys
from pathlib import Path

DESCRIPTION = "Open a saved model again, study its configuration, trade its test windows, and write a report."
EPILOG = (
    "RUN is the path of a saved model's folder, or the name of one in runs/models or data/models. The report "
    "goes to runs/studies/RUN: report.json (its schema is workbench/runs/finalreport/report.schema.json), "
    "figures, and report.html. Every number in it was computed; what could not be says why."
)


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the options of `study`; argparse itself answers --help and mistakes, and exits."""
    parser = argparse.ArgumentParser(
        prog="python3 -m workbench study", description=DESCRIPTION, epilog=EPILOG, allow_abbrev=False
    )
    add = parser.add_argument
    add("run", metavar="RUN", help="which model: a name, or a folder")
    add("--out", type=Path, metavar="FOLDER", help="where to write (runs/studies/RUN)")
    add(
        "--cost-bps", type=_cost, default=5.0, metavar="X",
        help="fee a side in basis points of what is traded (5)",
    )  # fmt: skip
    add(
        "--threshold", type=_threshold, metavar="X",
        help="least probability, or size of forecast, to act on (chosen on the validation windows)",
    )  # fmt: skip
    add("--steps", type=_steps, default=7, metavar="N", help="steps of training to time (7); 0 times none")
    return parser.parse_args(arguments)


def run_study(options: argparse.Namespace, root: Path) -> int:
    """Write the report; return 0, 1 (it cannot be written) or 2 (misunderstood)."""
    import matplotlib as mpl

    mpl.use("Agg")
    from workbench.runs.finalreport.finding import UnknownRun, find_run, homes
    from workbench.runs.finalreport.opened import open_run
    from workbench.runs.finalreport.performance import Wishes
    from workbench.runs.finalreport.writing import Occupied, check_free, write_study
    from workbench.training.card import ModelFileError

    try:
        folder = find_run(options.run, homes(root))
    except UnknownRun as problem:
        sys.stderr.write(f"{problem}\n")
        return 2
    target = (options.out or root / "runs" / "studies" / folder.name).resolve()
    try:
        check_free(target)
        opened = open_run(folder)
        write_study(opened, target, Wishes(options.cost_bps, options.threshold), options.steps)
    except (Occupied, ModelFileError, FileNotFoundError) as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    _conclude(target, opened.why)
    return 0


def _conclude(target: Path, why: str) -> None:
    import json

    report = json.loads((target / "report.json").read_text(encoding="utf-8"))
    for advice in report["recommendations"]:
        sys.stdout.write(f"- {advice['text']}\n")
    if why:
        sys.stdout.write(f"Not run: what needs the windows. {why}\n")
    sys.stdout.write(f"\nReport   {target / 'report.json'}\nPage     {target / 'report.html'}\n")


def _cost(text: str) -> float:
    return _number(text, "a fee from 0 to below 10000 basis points", 0, 10_000)


def _threshold(text: str) -> float:
    return _number(text, "a threshold from 0 on", 0, float("inf"))


def _number(text: str, wanted: str, least: float | int, below: float | int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if least <= value < below:
        return value
    raise argparse.ArgumentTypeError(f"expected {wanted}. Got {text!r}.")


def _steps(text: str) -> int:
    if text.isdecimal():
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a whole number from 0 on. Got {text!r}.")
