"""What is told: single alerts, and the messages in which they travel."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Event = Literal["firing", "still firing", "resolved", "test"]
Severity = Literal["info", "warning", "critical"]

SUBJECT = 120  # characters: mail programs and telephones show no more
EVENTS: tuple[Event, ...] = ("firing", "still firing", "resolved", "test")


@dataclass(frozen=True)
class Alert:
    """One thing that began, goes on or ended.

    Attributes
    ----------
    source
        Name of the run it is of.
    key
        What it is about. Alerts of one source and key arrive in the order in which they were made.
    event
        "firing", "still firing" or "resolved".
    severity
        "info", "warning" or "critical".
    title
        What it is about, in a few words.
    text
        What was measured.
    at
        When.
    """

    source: str
    key: str
    event: Event
    severity: Severity
    title: str
    text: str
    at: datetime

    @property
    def subject(self) -> str:
        """The alert in one short line."""
        source = f"{self.source} · " if self.source else ""
        return clipped(one_line(f"[{self.event}] {source}{self.title}"))


@dataclass(frozen=True)
class Message:
    """Alerts on their way to one address. The same identifier always says the same words.

    Attributes
    ----------
    identifier
        Of this message and no other, however often it is tried.
    alerts
        At least one, in the order in which they were made.
    held
        How many of them the limit on messages held back.
    """

    identifier: str
    alerts: tuple[Alert, ...]
    held: int = 0

    @property
    def at(self) -> datetime:
        """Time of the last alert."""
        return self.alerts[-1].at

    @property
    def subject(self) -> str:
        """The message in one short line: its alert, or the gravest of several and how many more there are."""
        if len(self.alerts) == 1:
            return self.alerts[0].subject
        ranks: tuple[Severity, ...] = ("info", "warning", "critical")
        lead = max(self.alerts, key=lambda alert: (ranks.index(alert.severity), alert.event == "firing"))
        more = f" (and {len(self.alerts) - 1} more)"
        return clipped(lead.subject, SUBJECT - len(more)) + more

    @property
    def text(self) -> str:
        """What each alert says, and what was held back."""
        count = len(self.alerts)
        lines = []
        if count > 1:
            counts = [(sum(alert.event == event for alert in self.alerts), event) for event in EVENTS]
            lines += [f"{count} alerts: {', '.join(f'{n} {event}' for n, event in counts if n)}.", ""]
        for alert in self.alerts:
            lines += [alert.subject, one_line(alert.text)]
            lines += [f"{alert.severity}, {alert.at:%Y-%m-%d %H:%M:%S} UTC, {one_line(alert.key)}", ""]
        if self.held:
            lines += [f"{self.held} of these were held back by the limit on messages an hour.", ""]
        return "\n".join(lines)


def one_line(text: str) -> str:
    """Return text without line breaks and control characters, fit for a header."""
    printable = "".join(
        " " if ord(character) < 32 or ord(character) == 127 else character for character in text
    )
    return " ".join(printable.encode("utf-8", "replace").decode("utf-8").split())


def clipped(text: str, length: int = SUBJECT) -> str:
    """Return text of at most `length` characters, its end shown by … where it was longer."""
    return text if len(text) <= length else text[: length - 1] + "…"
