"""The thread that takes alerts from the spool and sends them."""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from workbench.gates.channels import Channel, NotSent, Postponed, Refused, Unreachable
from workbench.gates.messages import Message
from workbench.gates.outbox import Outbox
from workbench.gates.spool import Spool
from workbench.gates.turns import Turn
from workbench.gates.waits import Waits

LOG = logging.getLogger(__name__)
HOUR = 3600.0  # seconds


@dataclass(frozen=True)
class Pace:
    """How fast messages go out.

    Attributes
    ----------
    per_hour
        Most messages to an address in any hour. What comes on top waits, and travels together in the next
        one.
    first_wait
        Seconds before the second attempt; doubled after each further failure, and shortened by chance.
    longest_wait
        Most seconds between two attempts.
    look_every
        Seconds between two looks at the spool, for what other processes have put there and for what is due
        again.
    """

    per_hour: int = 12
    first_wait: float | int = 2.0
    longest_wait: float | int = 900.0
    look_every: float | int = 1.0

    def __post_init__(self) -> None:
        if self.per_hour < 1 or not 0 < self.first_wait <= self.longest_wait or not self.look_every > 0:
            raise ValueError(
                "A pace needs at least one message an hour, and waits above 0 seconds of which the first "
                f"is not the longest; got {self}."
            )


class Line:
    """The way of a channel to one of its addresses."""

    def __init__(self, spool: Spool, channel: Channel, address: str, pace: Pace):
        self.channel = channel
        self.address = address
        self.pace = pace
        self.outbox = Outbox(spool, address)
        self.turn = Turn(spool.path, address)
        self.waits = Waits(pace.first_wait, pace.longest_wait)

    def work(self, ended: Callable[[], bool], last: bool = False) -> None:
        """Send what is due until there is no more, or it fails, or `ended` says so.

        Parameters
        ----------
        ended
            Whether to stop before the next message.
        last
            Try each message once, also those that rest.
        """
        if not self.outbox.waiting() or (not last and self.address in self.waits.resting()):
            return
        if not self.turn.acquire():
            return  # another process sends to this address
        try:
            self._send_all(ended, last)
        finally:
            self.turn.release()

    def _send_all(self, ended: Callable[[], bool], last: bool) -> None:
        tried: set[str] = set()
        while not ended():
            now = time.time()
            if self.outbox.sent_between(now - HOUR, now) >= self.pace.per_hour:
                self.outbox.hold_back()
                return
            message = self.outbox.next(tried if last else self.waits.resting())
            if message is None or not self._sent_or_left(message):
                return
            tried.add(message.identifier)

    def _sent_or_left(self, message: Message) -> bool:
        """Try a message once, and say whether to go on with others."""
        try:
            self.channel.send(message, self.address)
        except NotSent as error:
            return self._left(message, error)
        except Exception as error:  # noqa: BLE001  (a channel may be anybody's; its error may hold a secret)
            return self._left(message, Unreachable(f"The channel failed with {type(error).__name__}."))
        if self.waits.failures(self.address):
            LOG.warning("Alerts reach %s again.", self.address)
        self.waits.worked(self.address)
        self.waits.worked(message.identifier)
        self.outbox.sent(message, time.time())
        return True

    def _left(self, message: Message, error: NotSent) -> bool:
        """Note why a message did not arrive, say so the first time, and say whether to go on with others."""
        known = self.waits.failures(self.address) or self.waits.failures(message.identifier)
        self.outbox.failed(message, str(error), final=isinstance(error, Refused))
        if isinstance(error, Refused):
            LOG.warning("An alert to %s was refused for good: %s", self.address, error)
            self.waits.worked(message.identifier)
            return True
        if not known:
            LOG.warning("An alert to %s waits for another attempt: %s", self.address, error)
        if isinstance(error, Postponed):
            self.waits.failed(message.identifier)
            return True
        self.waits.failed(self.address, settings=isinstance(error, Unreachable) and error.settings)
        return False


class Sender:
    """A thread that sends what waits for the addresses of one channel. It is started once; then make another.

    Parameters
    ----------
    spool
        Path of the spool.
    channel
        What sends.
    pace
        How fast.
    """

    def __init__(self, spool: Path, channel: Channel, pace: Pace):
        self.spool = spool
        self.channel = channel
        self.pace = pace
        self._troubled = False  # whether the spool failed last time
        self._look = threading.Event()
        self._stopping = threading.Event()
        self._leaving = threading.Event()
        self._afresh = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"alerts by {channel.name}", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def look(self, afresh: bool = False) -> None:
        """Look at the spool now; `afresh` also tries what rests after a failure."""
        if afresh:
            self._afresh.set()
        self._look.set()

    def stop(self) -> None:
        """Ask it to try each waiting message once more, and to end."""
        self._stopping.set()
        self._look.set()

    def join(self, timeout: float) -> bool:
        """Wait until it has ended, and say whether it has. If not, it ends after the attempt under way."""
        self._thread.join(max(0.0, timeout))
        if self._thread.is_alive():
            self._leaving.set()
        return not self._thread.is_alive()

    def _run(self) -> None:
        with closing(Spool(self.spool)) as spool:
            lines = [Line(spool, self.channel, address, self.pace) for address in self.channel.addresses]
            while not self._stopping.is_set():
                self._look.clear()
                if self._afresh.is_set():
                    self._afresh.clear()
                    for line in lines:
                        line.waits.forget()
                self._round(lines, self._stopping.is_set)
                self._look.wait(self.pace.look_every)
            self._round(lines, self._leaving.is_set, last=True)

    def _round(self, lines: list[Line], ended: Callable[[], bool], last: bool = False) -> None:
        for line in lines:
            try:
                line.work(ended, last)
                self._troubled = False
            except sqlite3.Error as error:  # such as a full disk: nothing is lost, and the thread must go on
                if not self._troubled:
                    LOG.warning("The spool of alerts %s can't be used now: %s", self.spool, error)
                self._troubled = True
