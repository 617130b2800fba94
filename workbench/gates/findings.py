"""What was found wrong, where, and by how much."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One signal that is not as it was while all was well.

    Attributes
    ----------
    rule
        Name of the rule or detector that found it.
    signal
        Name of the signal: "saturation_right", "gradient_norm", "input_spread" …
    where
        Layer, parameter or feature: "lstm.l0", "rnn.weight_hh_l0", "return_1"; "" for the model as a whole.
    gate
        "forget", "input" …; "" where it is of none.
    unit
        Counted from 0; None where it is of no single one.
    value
        What was measured.
    expected
        Median while all was well; NaN where none is known.
    deviation
        Distance from it in robust standard deviations; infinite where the value is not finite.
    epoch
        Of the snapshot.
    """

    rule: str
    signal: str
    where: str
    gate: str
    unit: int | None
    value: float
    expected: float
    deviation: float
    epoch: int

    @property
    def key(self) -> str:
        """What stays the same as long as the same thing is wrong."""
        unit = "" if self.unit is None else str(self.unit)
        return "/".join(part for part in (self.rule, self.where, self.gate, unit, self.signal) if part)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return asdict(self)

    def __str__(self) -> str:
        gate = f" {self.gate} gate" if self.gate else ""
        unit = "" if self.unit is None else f" unit {self.unit}"
        place = f"{self.where}{gate}{unit}" or "the model"
        return (
            f"{place}: {self.signal} is {self.value:.4g}, {self.expected:.4g} while all was well "
            f"({self.deviation:+.1f} robust standard deviations)"
        )
