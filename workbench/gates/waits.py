"""How long to wait before the next attempt."""

import random
import time
from collections.abc import Callable

SETTINGS = 3600.0  # seconds; a wrong password tried often locks an account


class Waits:
    """Backoff: each failure in a row doubles the wait, and chance shortens it by up to a half.

    The chance keeps several senders from knocking all at once. It has a generator of its own.

    Parameters
    ----------
    first
        Seconds after the first failure, before chance.
    longest
        Most seconds.
    clock
        Seconds that only go forward.
    """

    def __init__(self, first: float | int, longest: float | int, clock: Callable[[], float] = time.monotonic):
        self.first = first
        self.longest = longest
        self.clock = clock
        self._random = random.Random()
        self._failures: dict[str, int] = {}
        self._until: dict[str, float] = {}

    def failed(self, what: str, settings: bool = False) -> float:
        """Let it rest, and return for how many seconds; `settings` says that somebody must mend one first."""
        count = self._failures[what] = self._failures.get(what, 0) + 1
        most = min(self.longest, self.first * 2.0 ** min(count - 1, 60))
        pause = SETTINGS if settings else most * self._random.uniform(0.5, 1.0)
        self._until[what] = self.clock() + pause
        return pause

    def failures(self, what: str) -> int:
        """Return how often it failed in a row."""
        return self._failures.get(what, 0)

    def worked(self, what: str) -> None:
        """Forget its failures."""
        self._failures.pop(what, None)
        self._until.pop(what, None)

    def resting(self) -> set[str]:
        """Return what must not be tried yet."""
        now = self.clock()
        return {what for what, until in self._until.items() if until > now}

    def forget(self) -> None:
        """Let everything be tried at once."""
        self._failures.clear()
        self._until.clear()
