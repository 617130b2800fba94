"""Channels that need no network, and what the tests of alerts share."""

import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from workbench.gates.findings import Finding
from workbench.gates.messages import Message
from workbench.gates.sender import Pace

QUICK = Pace(per_hour=1000, first_wait=0.02, longest_wait=0.1, look_every=0.02)
TAG = re.compile(r"^\[(firing|still firing|resolved)\] (.*)\n(.*)\n", re.MULTILINE)


@dataclass
class Pigeons:
    """Keeps what it is given; before that, raises what it is told to raise, each once."""

    addresses: tuple[str, ...] = ("loft",)
    name: str = "pigeons"
    errors: list[Exception] = field(default_factory=list)
    came: list[tuple[str, Message]] = field(default_factory=list)
    open: threading.Event = field(default_factory=threading.Event)  # `send` waits until it is

    def __post_init__(self) -> None:
        self.open.set()

    def send(self, message: Message, address: str) -> None:
        self.open.wait(30)
        if self.errors:
            raise self.errors.pop(0)
        self.came.append((address, message))

    @property
    def told(self) -> list[tuple[str, str]]:
        """Event and title of each alert that came."""
        return [(alert.event, alert.title) for _, message in self.came for alert in message.alerts]


def finding(
    where: str = "rnn.l0",
    value: float = 0.98,
    deviation: float = 9.0,
    epoch: int = 1,
    unit: int | None = None,
) -> Finding:
    return Finding("robust", "saturation_right", where, "forget", unit, value, 0.1, deviation, epoch)


def said(texts: Sequence[str]) -> list[tuple[str, str, str]]:
    """Event, title and sentence of each alert in the texts of messages."""
    return [
        (event, title.strip(), text.strip())
        for each in texts
        for event, title, text in TAG.findall(each.replace("\r\n", "\n"))
    ]


def until(happened: Callable[[], object], seconds: float = 20) -> None:
    """Wait until something has happened, at most so long."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
