"""Asking a server again when it is out of reach or asks for a pause."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import pandas as pd

from workbench.market.frame import SourceError

Answer = TypeVar("Answer")


def utc_now() -> pd.Timestamp:
    """Return the present moment, with its timezone."""
    return pd.Timestamp.now("UTC")


class Unreachable(SourceError):
    """The source could not be asked now: no network, too many requests, a server's fault.

    Parameters
    ----------
    message
        What happened and what to do next.
    wait
        Seconds after which the server wants to be asked again, or None when it didn't say.
    again
        Whether asking again within seconds can help.
    """

    def __init__(self, message: str, wait: float | None = None, again: bool = True) -> None:
        super().__init__(message)
        self.wait = wait
        self.again = again


class NoBars(SourceError):
    """The source answered: it has no bars in this range."""


@dataclass(frozen=True)
class Patience:
    """How often to ask again, and how long to wait in between.

    Parameters
    ----------
    attempts
        Questions in all.
    first
        Seconds before the second question; doubled from question to question.
    longest
        The longest wait in seconds. A server that asks for a longer pause is not asked again.
    sleep
        Called with the seconds to wait.
    """

    attempts: int = 4
    first: float = 0.5
    longest: float = 30.0
    sleep: Callable[[float], None] = time.sleep

    def ask(self, question: Callable[[], Answer]) -> Answer:
        """Answer of `question`, asked again while it raises `Unreachable` and there is a point in it."""
        from tenacity import Retrying, retry_if_exception, stop_after_attempt

        return Retrying(
            retry=retry_if_exception(self._worth_another),
            wait=lambda state: self._pause(state.attempt_number, state.outcome and state.outcome.exception()),
            stop=stop_after_attempt(self.attempts),
            sleep=self.sleep,
            reraise=True,
        )(question)

    def _worth_another(self, error: BaseException) -> bool:
        return isinstance(error, Unreachable) and error.again and (error.wait or 0.0) <= self.longest

    def _pause(self, asked: int, error: BaseException | None) -> float:
        if isinstance(error, Unreachable) and error.wait is not None:
            return error.wait
        return min(self.first * 2.0 ** (asked - 1), self.longest)
