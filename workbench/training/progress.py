"""One line of progress, rewritten in place, in a notebook or a terminal."""

import sys
import time
from collections.abc import Callable

BAR = 20  # characters
INTERVAL = 0.2  # seconds between two looks


class ProgressLine:
    """A line that is rewritten at most five times a second.

    In a notebook it is a plain-text output updated in place, which a saved notebook keeps as text; in a
    terminal it is a line of stderr; elsewhere (a log file, a test) nothing is shown.
    """

    def __init__(self):
        self._show = _notebook() or _terminal()
        self._next = 0.0

    def due(self) -> bool:
        """Tell whether a line would be shown now, so that none need be made in vain."""
        return self._show is not None and time.monotonic() >= self._next

    def write(self, line: str, last: bool = False) -> None:
        """Show the line in place of the one before; after the `last` no other follows."""
        if self._show is not None:
            self._show(line, last)
            self._next = time.monotonic() + INTERVAL


def bar(done: float | int) -> str:
    """Draw a share of 0 … 1."""
    full = round(BAR * min(max(done, 0.0), 1.0))
    return "█" * full + "░" * (BAR - full)


def _notebook() -> Callable[[str, bool], None] | None:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if getattr(shell, "kernel", None) is None:
        return None
    from IPython.display import display

    handle = display({"text/plain": ""}, raw=True, display_id=True)

    def show(line: str, last: bool) -> None:
        if handle is not None:
            handle.update({"text/plain": line}, raw=True)

    return show


def _terminal() -> Callable[[str, bool], None] | None:
    if not sys.stderr.isatty():
        return None

    def show(line: str, last: bool) -> None:
        sys.stderr.write(f"\r{line}\x1b[K" + ("\n" if last else ""))
        sys.stderr.flush()

    return show
