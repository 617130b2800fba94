"""Tell somebody when a model goes wrong, and when it is well again.

>>> from workbench.gates.alerts import Alerts, Rule
>>> from workbench.gates.smtp import Smtp

`Alerts` takes what a `Detector` finds at each epoch, or readings of your own with a `Rule` each, and sends
messages:

    mail = Smtp("mail.example.org", sender="workbench@example.org", to="me@example.org")
    with Alerts([mail], "runs/alerts.db", name="aapl alstm") as alerts:
        print(alerts.test())                         # one message now, and in words what failed
        detector = RobustRules().calibrate(healthy)  # snapshots of trainings that went well
        monitor = wb.GateMonitor(valid, detector=detector, alerts=alerts)
        wb.fit(model, train, valid, callbacks=[monitor])

or, without a monitor:

    alerts = Alerts([mail], "runs/alerts.db", rules=[Rule("drawdown", above=0.2, clear=0.15, fire_after=2)])
    alerts.observe({"drawdown": 0.23})

**When it tells.** A condition fires after `fire_after` bad readings in a row, is told again every `repeat`
while it lasts, and is resolved after `clear_after` good ones. NaN is bad; a finding whose value is no finite
number is told at once. What is remembered is on disk, so a restarted run neither forgets what fires nor tells
it twice. An epoch that a monitor's budget leaves out is no reading: where only one or two are looked at, give
the monitor `every`, or `Alerts(findings=Patience(fire_after=1))`.

**What it promises.** Each alert arrives at least once at each address. It is kept on disk before `observe`
returns, and sent by a thread, so training waits for the disk and never for the network. A server that is
down, slow or busy is tried again, at growing intervals; a killed process's alerts are sent by the next
`Alerts` on the same spool. A message that was taken while the process died, or whose confirmation came too
late, is sent twice, with the same Message-ID. Of one condition, alerts arrive in order: "resolved" never
before "firing". No more than `Pace.per_hour` messages an hour go to an address; what waits meanwhile travels
together in the next, which says how many were held back. A message that the server refuses for good (an
answer of 5xx) is put aside: see `Alerts.undelivered` and `Alerts.retry`.

**Secrets** come from environment variables, are read when needed, and are never written or shown:
WORKBENCH_SMTP_USER and WORKBENCH_SMTP_PASSWORD for `Smtp`, WORKBENCH_CHAT_URLS for `Chat`. The server's
certificate is always checked.

**Channels.** `Smtp`; `Chat` (Slack, Telegram, Matrix … with attention-workbench[chat]); or your own, see
`Channel`.
"""

import atexit
import os
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, SupportsFloat
from uuid import uuid4

import pandas as pd

from workbench.gates.channels import Channel, NotSent
from workbench.gates.findings import Finding
from workbench.gates.hysteresis import Patience, Rule
from workbench.gates.messages import Alert, Message, one_line
from workbench.gates.outbox import Outbox
from workbench.gates.rounds import Round, judged, of_findings, of_numbers
from workbench.gates.sender import Pace, Sender
from workbench.gates.spool import Spool

__all__ = ["Alerts", "Pace", "Patience", "Rule"]

FINDINGS = Patience(not_finite_after=1)  # a training that meets NaN rarely lives to see it three times
AT_EXIT = 5.0  # seconds that an interpreter waits for alerts when it ends


class Alerts:
    """Tell what goes wrong, at least once and in order, without making anybody wait.

    Parameters
    ----------
    channels
        What to send by, at least one.
    spool
        File in which alerts wait; made if missing. Runs may share it, also at the same time.
    rules
        For readings given by name.
    findings
        For findings: a condition is one `Finding.condition`, bad while anything is found there.
    name
        Of the run: it is told, and keeps runs that share a spool apart. What fires in one is not told again
        of another by the same name, or by none.
    pace
        Limit on messages, and waits.

    Raises
    ------
    ValueError
        If there is no channel, two have the same address or two rules the same name, or the file is no spool.
    """

    def __init__(
        self,
        channels: Sequence[Channel],
        spool: str | os.PathLike[str],
        *,
        rules: Sequence[Rule] = (),
        findings: Patience = FINDINGS,
        name: str = "",
        pace: Pace | None = None,
    ):
        self.channels = _checked(channels)
        self.addresses = tuple(address for channel in self.channels for address in channel.addresses)
        if not self.addresses:
            raise ValueError("Alerts need a channel to be sent by, such as Smtp('mail.example.org', …).")
        self.rules = {rule.name: rule for rule in rules}
        if len(set(self.addresses)) < len(self.addresses) or len(self.rules) < len(rules):
            raise ValueError(
                "Every address and every rule's name must be there once; got the addresses "
                f"{', '.join(self.addresses)} and the rules {', '.join(rule.name for rule in rules)}."
            )
        self.findings = findings
        self.name = one_line(name)
        self.pace = pace or Pace()
        self._spool = Spool(Path(spool).absolute())
        self._senders: list[Sender] = []
        self.start()

    def observe(
        self,
        readings: Mapping[str, SupportsFloat] | Sequence[Finding],
        epoch: int | None = None,
        *,
        at: datetime | None = None,
    ) -> list[Alert]:
        """Take a round of readings, keep what is to be told, and return it.

        Parameters
        ----------
        readings
            Numbers by the name of their rule: a rule without a reading stays as it is, and so does a reading
            without a rule. Or all findings of one check: a condition that is not among them counts as good.
        epoch
            Told along.
        at
            When they were taken, with a time zone; None: now.

        Returns
        -------
        list
            What fired, goes on or was resolved just now.

        Raises
        ------
        ValueError
            If there are numbers and not one has a rule, or `at` has no time zone.
        sqlite3.OperationalError
            If the spool can't be written, as on a full disk.
        """
        when = datetime.now(UTC) if at is None else at
        if when.tzinfo is None:
            raise ValueError(f"at must have a time zone, such as datetime.now(UTC); got {when!r}.")
        kind = "rule" if isinstance(readings, Mapping) else "finding"
        with self._spool.writing():
            before = self._spool.conditions(self.name, kind)
            if isinstance(readings, Mapping):
                taken = of_numbers(readings, self.rules)
            else:
                taken = of_findings(readings, before, self.findings)
            changed, alerts = judged(taken, before, Round(self.name, when.astimezone(UTC), epoch))
            self._spool.remember(self.name, kind, changed)
            for alert in alerts:
                self._spool.add(alert, self.addresses)
        if alerts:
            self._wake()
        return alerts

    @property
    def firing(self) -> list[str]:
        """Titles of what fires in this run."""
        kept = [*self._spool.conditions(self.name, "rule").values()]
        kept += self._spool.conditions(self.name, "finding").values()
        return [each.title for each in kept if each.condition.firing]

    @property
    def undelivered(self) -> pd.DataFrame:
        """Alerts of this spool that have not arrived, a row for each address.

        `state` is "waiting" (for a first or another attempt) or "refused" (for good: put aside until
        `retry`), `reason` why the last attempt failed.
        """
        return self._spool.undelivered()

    def retry(self) -> int:
        """Try everything again now, also what was refused for good; return how many alerts that are.

        Only what a later alert of the same condition has overtaken stays refused: "firing" would come after
        its "resolved".
        """
        for address in self.addresses:
            Outbox(self._spool, address).reopen()
        waiting = self._spool.counts(self.addresses)["waiting"]
        self._wake(afresh=True)
        return waiting

    def test(self) -> dict[str, str]:
        """Send a test message to each address now, past the spool, and return in words what became of it."""
        said = Alert(
            self.name,
            "test",
            "test",
            "info",
            "a test of alerts",
            "Alerts reach this address.",
            datetime.now(UTC),
        )
        outcome: dict[str, str] = {}

        def attempt() -> None:
            for channel in self.channels:
                for address in channel.addresses:
                    outcome[address] = _tried(channel, address, Message(str(uuid4()), (said,)))

        # In a thread, so that an interrupt's traceback goes through no frame that knows a password.
        thread = threading.Thread(target=attempt, name="test of alerts", daemon=True)
        thread.start()
        thread.join()
        return outcome

    def start(self) -> "Alerts":
        """Send what waits and what comes. It is so from the beginning, and again after `close`."""
        if not self._senders:
            self._senders = [Sender(self._spool.path, channel, self.pace) for channel in self.channels]
            for sender in self._senders:
                sender.start()
            atexit.register(self.close, AT_EXIT)
        return self

    def close(self, timeout: float | int = 10) -> int:
        """Try once more to send all that waits, end the threads, and return how many alerts still wait.

        Those are kept, and sent by the next `Alerts` on the same spool.

        Parameters
        ----------
        timeout
            Seconds this may take. An attempt under way after that goes on by itself, and nothing follows it.
        """
        atexit.unregister(self.close)
        deadline = time.monotonic() + timeout
        for sender in self._senders:
            sender.stop()
        for sender in self._senders:
            sender.join(deadline - time.monotonic())
        self._senders = []
        waiting = self._spool.counts(self.addresses)["waiting"]
        self._spool.close()
        return waiting

    def __enter__(self) -> "Alerts":
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        counts = self._spool.counts(self.addresses)
        told = ", ".join(f"{count} {state}" for state, count in counts.items())
        return f"Alerts to {', '.join(self.addresses)} by {self._spool.path.name}: {told}"

    def _wake(self, afresh: bool = False) -> None:
        for sender in self._senders:
            sender.look(afresh)


def _tried(channel: Channel, address: str, message: Message) -> str:
    try:
        channel.send(message, address)
    except NotSent as error:
        return str(error)
    except Exception as error:  # noqa: BLE001  (a channel may be anybody's; its error may hold a secret)
        return f"The channel failed with {type(error).__name__}."
    return "sent"


def _checked(channels: Sequence[Channel]) -> tuple[Channel, ...]:
    """Refuse what is no list of channels, before anything is made of it."""
    alone = isinstance(channels, str) or not isinstance(channels, Sequence)
    given: list[Any] = [channels] if alone else list(channels)
    if alone or not all(hasattr(each, "send") for each in given):
        kinds = ", ".join(type(each).__name__ for each in given)
        raise TypeError(
            "Alerts take a list of channels, such as [Smtp('mail.example.org', …)]; got "
            f"{kinds}{' alone' if alone else ''}."
        )
    return tuple(given)
