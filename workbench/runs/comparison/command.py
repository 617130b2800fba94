"""The command `python3 -m workbench compare`: models × seeds on the same windows, against baselines.

Standard library only where it is imported, so that a misspelt option is told before anything is installed.
"""

import argparse
import sys
from pathlib import Path

DATASETS = ("closes20", "ohlcv5")


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the options of `compare`; argparse itself answers --help and mistakes, and exits."""
    parser = argparse.ArgumentParser(
        prog="python3 -m workbench compare",
        description="Train every model on the same windows and score it on the same days, beside baselines.",
        epilog="What is there already, of the same data, configuration and code, is not computed again.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--models", nargs="+", default=[], metavar="NAME", help="models and baselines (all there are)")
    add("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="SEED", help="seeds (0 1 2)")
    add(
        "--datasets", nargs="+", default=list(DATASETS), choices=DATASETS, metavar="NAME",
        help="closes20, twenty stocks' closes; ohlcv5, five stocks with open to volume (both)",
    )  # fmt: skip
    add("--epochs", type=_count, default=None, help="passes over the training windows (6)")
    add("--out", type=Path, default=None, metavar="FOLDER", help="where results go (runs/comparison)")
    add("--gather", action="store_true", help="run nothing: put together what is there")
    add("--smallest", action="store_true", help="a few months, one epoch: to see that it works")
    return parser.parse_args(arguments)


def run_compare(options: argparse.Namespace, root: Path) -> int:
    """Run what is missing and write results.json; return 0, 1 (a cell failed) or 2 (misunderstood)."""
    from workbench.runs.comparison.cells import Settings
    from workbench.runs.comparison.contest import Asked, contest
    from workbench.runs.comparison.tables import report

    small = {"epochs": 1, "draws": 200} if options.smallest else {}
    settings = Settings(**({**small, "epochs": options.epochs} if options.epochs else small))
    try:
        which = (options.models, options.seeds, options.datasets)
        asked = Asked(*which, options.smallest, settings, options.gather)
    except ValueError as problem:
        sys.stderr.write(f"{problem}\n")
        return 2
    folder = options.out or root / "runs" / "comparison"
    results = contest(asked, folder, _say, " ".join(["python3 -m workbench", *sys.argv[1:]]))
    sys.stdout.write(f"\n{report(results)}\nResults  {folder / 'results.json'}\n")
    return 1 if any(each["failed"] for each in results["not_run"]) else 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number from 1 on was expected, got {text!r}")
    return int(text)
