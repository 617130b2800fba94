"""Acting often enough to look alive, and seldom enough to cost nothing."""

import threading
import time
from collections.abc import Callable

EVERY = 0.5  # seconds from one act to the next


class Pacer:
    """Calls `act` at most once in `every` seconds, and once more after the last wish.

    Parameters
    ----------
    act
        What to do. It runs in the thread that wishes or ticks where it is due, and in one of its own where
        nobody has come by since: one act at a time.
    every
        Seconds from one act to the next.
    clock
        Tells the time in seconds.
    """

    def __init__(
        self, act: Callable[[], None], every: float = EVERY, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._act, self._every, self._clock = act, every, clock
        self._lock = threading.RLock()
        self._last = float("-inf")
        self._wished = False
        self._timer: threading.Timer | None = None

    def wish(self) -> None:
        """Act now, or as soon as it is due."""
        with self._lock:
            self._wished = True
            self.tick()
            if self._wished and self._timer is None:
                self._timer = threading.Timer(self._last + self._every - self._clock(), self._late)
                self._timer.daemon = True
                self._timer.start()

    def tick(self) -> None:
        """Act if that was wished for and is due."""
        if self._wished and self._clock() - self._last >= self._every:
            self.now()

    def now(self) -> None:
        """Act at once, due or not."""
        with self._lock:
            self.drop()
            self._last = self._clock()
            self._act()

    def drop(self) -> None:
        """Forget what was wished for."""
        with self._lock:
            self._wished = False
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _late(self) -> None:
        with self._lock:
            self._timer = None
            if self._wished:
                self.now()
