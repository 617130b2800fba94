"""Hearing how a notebook's cells end."""

from collections.abc import Callable
from typing import Any


class CellEnds:
    """Calls `ended` with the error of each cell that ends, None for one that ended well.

    Without IPython there are no cells, and nothing is heard.
    """

    def __init__(self, ended: Callable[[BaseException | None], None]) -> None:
        self._ended = ended
        self._shell: Any = None

    def begin(self) -> None:
        """Begin to listen."""
        from IPython.core.getipython import get_ipython

        self._shell = get_ipython()
        if self._shell is not None:
            self._shell.events.register("post_run_cell", self._heard)

    def end(self) -> None:
        """Listen no more."""
        if self._shell is not None:
            self._shell.events.unregister("post_run_cell", self._heard)
            self._shell = None

    def _heard(self, result: Any) -> None:
        self._ended(result.error_in_exec)
