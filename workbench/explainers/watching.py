"""Following a long explanation from outside, and ending it early."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Cancelled", "Watch"]


class Cancelled(RuntimeError):
    """The explanation was ended before it was done, because its `Watch` was told to stop."""


@dataclass(frozen=True)
class Watch:
    """What follows an explanation while it is computed.

    Attributes
    ----------
    progress
        Called after every batch with the number of windows done and of all.
    stop
        Set from any thread, ends the explanation after the batch at hand by raising `Cancelled`.
    """

    progress: Callable[[int, int], None] | None = None
    stop: threading.Event | None = None

    def report(self, done: int, total: int) -> None:
        """Tell that `done` of `total` windows are explained, or raise `Cancelled` if asked to stop."""
        self.check(done, total)
        if self.progress is not None and done:
            self.progress(done, total)

    def check(self, done: int, total: int) -> None:
        """Raise `Cancelled` if asked to stop, for methods that ask the model many times a window."""
        if self.stop is not None and self.stop.is_set():
            raise Cancelled(f"the explanation was cancelled after {done} of {total} windows")
