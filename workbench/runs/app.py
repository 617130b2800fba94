"""The command `python3 -m workbench app`: the Explorer as a web page, for this machine alone.

Standard library only where it is imported, so that a misspelt option is told before anything is installed.
"""

import argparse
import os
import socket
import sys
import tempfile
from pathlib import Path

PORT = 8866
PAGES = 4  # each is a process with torch in it: about 0.5 GB


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the options of `app`; argparse itself answers --help and mistakes, and exits."""
    parser = argparse.ArgumentParser(
        prog="python3 -m workbench app",
        description="Serve the Explorer as a web page on 127.0.0.1, for whoever has the printed address.",
        epilog="A visitor looks at models and prices; they run no code and read no other file.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "-p", "--port", type=_port, default=PORT, metavar="N", help=f"the port ({PORT}); 0 takes any free one"
    )
    parser.add_argument(
        "--run", type=Path, metavar="RUNS_FOLDER", help="the folder of trained models to show (runs/models)"
    )
    parser.add_argument("--theme", choices=["light", "dark"], default="light", help="the colours to open in")
    parser.add_argument(
        "--pages", type=_pages, default=PAGES, metavar="N", help=f"the most pages open at once ({PAGES})"
    )
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    return parser.parse_args(arguments)


def run_app(options: argparse.Namespace, root: Path) -> int:
    """Serve until Ctrl-C; return 0, 1 (the port cannot be had) or 2 (misunderstood)."""
    folder = (options.run or root / "runs" / "models").resolve()
    if options.run is not None and not folder.is_dir():
        sys.stderr.write(f"--run expects a folder of trained models. {folder} is not a folder.\n")
        return 2
    try:
        line = socket.create_server(("127.0.0.1", options.port), backlog=128)
    except OSError as error:
        sys.stderr.write(refusal(options.port, error))
        return 1
    from workbench.runs.server import Show, serve

    with tempfile.TemporaryDirectory(prefix="workbench-app-") as place:
        show = Show(folder, options.theme, options.pages, browser=not options.no_browser)
        serve(line, show, Path(place), _say)
    return 0


def refusal(port: int, error: OSError) -> str:
    """Say why a port of this machine cannot be had, and what to do."""
    why = os.strerror(error.errno or 0)
    return (
        f"Port {port} of 127.0.0.1 cannot be had ({why}). If another 'app' has it, its address "
        "still works; else take another port: python3 -m workbench app --port 0 takes any free one.\n"
    )


def _port(text: str) -> int:
    if text.isdecimal() and int(text) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError(f"a port is a whole number from 0 to 65535. Got {text!r}.")


def _pages(text: str) -> int:
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a whole number above 0. Got {text!r}.")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
