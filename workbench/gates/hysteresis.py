"""When something bad is told: not at the first bad reading, and not over again."""

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from workbench.gates.messages import Event, Severity

Level = Literal["broken", "above", "between", "below"]


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How many readings it takes.

    Attributes
    ----------
    fire_after
        Bad readings in a row until it fires.
    clear_after
        Good readings in a row until it is resolved.
    not_finite_after
        Bad readings in a row until it fires, where the last is no finite number; None: `fire_after`.
    repeat
        While it fires, it is told again when so much time has passed; None: never.
    severity
        "info", "warning" or "critical"; it is told, and changes nothing else.
    """

    fire_after: int = 3
    clear_after: int = 3
    not_finite_after: int | None = None
    repeat: timedelta | None = timedelta(days=1)
    severity: Severity = "warning"

    def __post_init__(self) -> None:
        counts = {
            "fire_after": self.fire_after,
            "clear_after": self.clear_after,
            "not_finite_after": self.fire_after if self.not_finite_after is None else self.not_finite_after,
        }
        for name, count in counts.items():
            if count < 1:
                raise ValueError(f"{name} counts readings, so it must be at least 1; got {count}.")
        if self.repeat is not None and self.repeat <= timedelta(0):
            raise ValueError(f"repeat must be longer than no time, or None for never; got {self.repeat}.")


@dataclass(frozen=True)
class Rule(Patience):
    """A reading that must not be too high. NaN and the infinities are bad.

    For one that must not be too low, give the negated reading.

    Attributes
    ----------
    name
        Of the reading.
    above
        A higher reading is bad.
    clear
        A lower reading is good; what lies between is neither, and ends every row of readings.
        None: all that isn't bad is good.

    Examples
    --------
    >>> Rule("valid_loss", above=0.7, clear=0.6, fire_after=2).level(0.65)
    'between'
    """

    name: str
    above: float | int
    clear: float | int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if math.isnan(self.above) or (self.clear is not None and not self.clear <= self.above):
            raise ValueError(
                f"Rule {self.name!r} needs a number for above, and clear no higher; got above={self.above}, "
                f"clear={self.clear}."
            )

    def level(self, reading: float | int) -> Level:
        """Say where a reading stands."""
        if not math.isfinite(reading):
            return "broken"
        if reading > self.above:
            return "above"
        return "below" if self.clear is None or reading < self.clear else "between"


@dataclass(frozen=True)
class Condition:
    """What is remembered of a key between two readings.

    Attributes
    ----------
    firing
        Whether it has fired and isn't resolved.
    streak
        Readings in a row that speak for the other.
    told_at
        When it was last told; None unless it fires.
    """

    firing: bool = False
    streak: int = 0
    told_at: datetime | None = None


QUIET = Condition()


def advanced(
    condition: Condition, level: Level, patience: Patience, at: datetime
) -> tuple[Condition, Event | None]:
    """Return the condition after one more reading, and what is to be told now.

    Parameters
    ----------
    condition
        Before the reading.
    level
        Where the reading stands.
    patience
        How many readings it takes.
    at
        When it was taken, with its time zone.

    Returns
    -------
    condition
        After the reading.
    event
        "firing", "still firing", "resolved" or None.
    """
    bad = level in ("above", "broken")
    if not condition.firing:
        streak = condition.streak + 1 if bad else 0
        needed = patience.fire_after
        if level == "broken" and patience.not_finite_after is not None:
            needed = patience.not_finite_after
        if streak == 0 or streak < needed:
            return Condition(streak=streak), None
        return Condition(firing=True, told_at=at), "firing"
    streak = condition.streak + 1 if level == "below" else 0
    if streak >= patience.clear_after:
        return QUIET, "resolved"
    told = condition.told_at
    due = bad and patience.repeat is not None and told is not None and at - told >= patience.repeat
    return replace(condition, streak=streak, told_at=at if due else told), "still firing" if due else None
