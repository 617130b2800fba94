"""Who is asked and told while a training is watched."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from workbench.gates.findings import Finding
from workbench.gates.snapshots import Snapshot
from workbench.gates.states import GateStates


@runtime_checkable
class Listener(Protocol):
    """Who wants to be told of a training by its GateMonitor, in the thread that trains."""

    def on_snapshot(self, monitor: Any, snapshot: Snapshot, states: GateStates) -> None:
        """Hear of an epoch that was looked at; the states are exact, of the probe."""
        ...

    def on_batch(self, monitor: Any) -> None:
        """Hear that training goes on: at most four times a second, and only within the budget."""
        ...

    def on_end(self, monitor: Any) -> None:
        """Hear that training is over; not where an error ended it."""
        ...


@runtime_checkable
class Checker(Protocol):
    """Who finds what is wrong: a detector."""

    def check(self, snapshot: Snapshot) -> Sequence[Finding]:
        """Return what is wrong with a snapshot."""
        ...


@runtime_checkable
class Alerter(Protocol):
    """Who tells people of it."""

    def observe(self, readings: Sequence[Finding], epoch: int | None = None) -> object:
        """Take an epoch's findings, also if there are none: that is how an alert is resolved."""
        ...
