"""What was found wrong, where, and by how much."""

import math
from dataclasses import asdict, dataclass
from typing import Any

NAMED = 3  # units that a sentence names before it counts them


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
        What was measured; where `units` are named, the mean over the layer's units.
    expected
        Median while all was well; NaN where none is known.
    deviation
        Distance from it in robust standard deviations; infinite where the value is not finite.
    epoch
        Of the snapshot.
    units
        All units that stand out, where it is of some of a layer; empty where it is of all alike.
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
    units: tuple[int, ...] = ()

    @property
    def key(self) -> str:
        """What stays the same as long as the same thing is wrong, in whichever units."""
        return "/".join(part for part in (self.rule, self.where, self.gate, self.signal) if part)

    @property
    def condition(self) -> str:
        """What stays the same as long as something is wrong there: which signal is worst may change."""
        return f"{self.rule}/{self.where or 'model'}"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return asdict(self)

    def __str__(self) -> str:
        gate = f" {self.gate} gate" if self.gate else ""
        place = f"{self.where}{gate}{self._units()}" or "the model"
        if not math.isfinite(self.value):
            return f"{place}: {self.signal} is {self.value}, which is no finite number"
        usual = "" if math.isnan(self.expected) else f", {self.expected:.4g} while all was well"
        far = f" ({self.deviation:+.1f} robust standard deviations)" if math.isfinite(self.deviation) else ""
        return f"{place}: {self.signal} is {self.value:.4g}{usual}{far}"

    def _units(self) -> str:
        if self.unit is not None:
            return f" unit {self.unit}"
        if not self.units:
            return ""
        first = ", ".join(str(unit) for unit in self.units[:NAMED])
        if len(self.units) <= NAMED:
            return f" units {first}"
        return f", {len(self.units)} units ({first} …)"
