"""The signals by which recurrent layers are watched: names, formulas and ranges."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf, log

import pandas as pd

from workbench.gates.measures import BINS, DEAD, FROZEN, LEFT, LONGEST, RIGHT, TANH


@dataclass(frozen=True)
class Signal:
    """What a column of a `Snapshot` means.

    Attributes
    ----------
    name
        Of the column.
    formula
        In terms of what `of` names; means are over all steps of all sequences looked at, without padding.
    low, high
        The range.
    unit
        "share", "bars", "yes or no" (1 or 0), or "" for numbers without one.
    of
        What it is measured on.
    """

    name: str
    formula: str
    low: float
    high: float
    unit: str
    of: str


def _gate(gate: str) -> list[Signal]:
    return [
        Signal(f"{gate}_saturation_left", f"mean(g < {LEFT})", 0.0, 1.0, "share", f"{gate} gate"),
        Signal(f"{gate}_saturation_right", f"mean(g > {RIGHT})", 0.0, 1.0, "share", f"{gate} gate"),
        *_course(gate, f"{gate} gate", (0.0, 1.0), "g − 0.5", "0 … 1"),
    ]


def _signed(name: str, of: str, size: float, squashed: str) -> list[Signal]:
    saturated = Signal(f"{name}_saturation", f"mean(|{squashed}| > {TANH})", 0.0, 1.0, "share", of)
    return [saturated, *_course(name, of, (-size, size), "v", f"−1 … 1 of {squashed}")]


def _course(name: str, of: str, bounds: tuple[float, float], sign: str, bins: str) -> list[Signal]:
    v, (low, high) = sign[0], bounds
    return [
        Signal(f"{name}_mean", f"mean({v})", low, high, "", of),
        Signal(f"{name}_spread", f"standard deviation of {v}", 0.0, (high - low) / 2, "", of),
        Signal(
            f"{name}_crossings", f"mean(sign({sign}) is not that of the step before)", 0.0, 1.0, "share", of
        ),
        Signal(
            f"{name}_entropy", f"−Σ p ln p / ln {BINS}, p of {BINS} bins on {bins}", 0.0, 1.0, "share", of
        ),
    ]


def _named(signals: Iterable[Signal]) -> dict[str, Signal]:
    return {signal.name: signal for signal in signals}


_KEPT = "f the forget gate; of a GRU the update gate"
UNIT_SIGNALS = _named(
    [
        *(signal for gate in ("input", "forget", "output", "reset", "update") for signal in _gate(gate)),
        *_signed("candidate", "candidate v, after its tanh", 1.0, "v"),
        *_signed("cell", "cell v = c", inf, "tanh v"),
        *_signed("hidden", "hidden state v = h", 1.0, "v"),
        Signal("memory_length", "−1 / mean(ln f)", 0.0, LONGEST, "bars", _KEPT),
        Signal("half_life", "−ln 2 / mean(ln f)", 0.0, LONGEST * log(2), "bars", _KEPT),
        Signal(
            "dead", f"standard deviation of s < {DEAD:g}", 0.0, 1.0, "yes or no", "s = o tanh c; of a GRU h"
        ),
        Signal(
            "frozen",
            f"max |s − s of the snapshot before| ≤ {FROZEN:g}",
            0.0,
            1.0,
            "yes or no",
            "s as of dead",
        ),
    ]
)
WEIGHT_SIGNALS = _named(
    [
        Signal("gradient_norm", "‖∂L/∂θ‖₂ before clipping", 0.0, inf, "", "row block θ of a parameter"),
        Signal("weight_norm", "‖θ‖₂", 0.0, inf, "", "row block θ of a parameter"),
        Signal("update_ratio", "‖θ′ − θ‖₂ / ‖θ‖₂", 0.0, inf, "", "row block θ before, θ′ after a step"),
        Signal(
            "update_frequency",
            "mean(|θ′ − θ| > 0.001 |θ|)",
            0.0,
            1.0,
            "share",
            "entries θ before, θ′ after a step",
        ),
        Signal(
            "not_finite", "entries that are NaN or infinite", 0.0, inf, "", "a row block and its gradient"
        ),
    ]
)
_Z = "z, the feature as the model's own scaling brings it"
INPUT_SIGNALS = _named(
    [
        Signal("mean", "mean(z)", -inf, inf, "", _Z),
        Signal("spread", "standard deviation of z", 0.0, inf, "", _Z),
        Signal("largest", "max |z|", 0.0, inf, "", _Z),
        Signal(
            "unchanged", "mean(x is that of the step before)", 0.0, 1.0, "share", "x, the feature as given"
        ),
        Signal("missing", "mean(x is NaN)", 0.0, 1.0, "share", "x, the feature as given"),
    ]
)
LAG_SIGNALS = _named(
    [
        Signal(
            "input_gradient",
            "Σ over sequences of ‖∂L/∂z_{T−k}‖₂",
            0.0,
            inf,
            "",
            "mean loss L of the sequences, inputs z as the model's own scaling brings them, lag k",
        )
    ]
)


def signal_table() -> pd.DataFrame:
    """Return all signals by (table of a `Snapshot`, name): formula, of what, range, unit."""
    tables = {
        "units": UNIT_SIGNALS,
        "weights": WEIGHT_SIGNALS,
        "inputs": INPUT_SIGNALS,
        "lags": LAG_SIGNALS,
    }
    rows = [(table, signal) for table, signals in tables.items() for signal in signals.values()]
    index = pd.MultiIndex.from_tuples([(table, s.name) for table, s in rows], names=["table", "signal"])
    columns = ("formula", "of", "low", "high", "unit")
    return pd.DataFrame({name: [getattr(s, name) for _, s in rows] for name in columns}, index=index)
