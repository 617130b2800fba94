"""What each unit of a recurrent layer tells each other one from bar to bar: exact terms of a gate's sum."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench.plots.layerpanels import ORDER, Gates, check_one_layer
from workbench.plots.style import array


@dataclass(frozen=True, eq=False, repr=False)
class Edges:
    """The strongest recurrent terms of one gate, bar by bar of one window.

    Attributes
    ----------
    layer, kind, gate
        Names: "rnn.l0", "lstm", "forget".
    bars
        (step,) which bars of the window the steps are, in the order of time.
    source, target
        (step, edge) unit j of h_{t−1} and unit i of the gate, strongest first.
    size
        (step, edge) the term of the pre-activation of i that comes from j.
    covered
        (step,) their share of the summed sizes of all terms.
    states
        (step, state) what the layer had said before the step, h_{t−1}.
    openings
        (step, unit) the gate's values.
    reverse
        Whether "before" is the bar to the right.
    """

    layer: str
    kind: str
    gate: str
    bars: np.ndarray
    source: np.ndarray
    target: np.ndarray
    size: np.ndarray
    covered: np.ndarray
    states: np.ndarray
    openings: np.ndarray
    reverse: bool

    @property
    def head(self) -> str:
        """How many edges there are of a bar."""
        kept = self.size.shape[1]
        return "the strongest edge a bar" if kept == 1 else f"the {kept} strongest edges a bar"

    def __repr__(self) -> str:
        bars = f"{len(self.bars)} bar{'s' * (len(self.bars) != 1)}"
        share = f"{100 * self.covered.mean():.0f} % of all terms' size"
        return f"Edges(layer={self.layer!r}, gate={self.gate!r}: {bars}, {self.head}, {share})"


def recurrent_edges(
    layer: Gates, weight: Any, gate: str, window: int = 0, top: int = 30, initial: Any = None
) -> Edges:
    """Return the strongest edges j → i of a gate at each bar: W_hh[i, j]·h_{t−1, j}.

    The terms of i, its input's W_ih[i]·x_t and its biases add up to its pre-activation. A GRU's candidate,
    n_t = tanh(W_in x_t + b_in + r_t ⊙ (W_hn h_{t−1} + b_hn)), scales what comes from h_{t−1} by the reset
    gate, so its edges are r_{t, i}·W_hn[i, j]·h_{t−1, j}.

    Parameters
    ----------
    layer
        One of `gate_states(…).layers`.
    weight
        (gates × unit, state) the layer's `weight_hh_l0`, `weight_hh_l0_reverse` …
    gate
        "input", "forget", "candidate" or "output" of an LSTM; "reset", "update" or "candidate" of a GRU.
    window
        Which of the batch, counted from 0.
    top
        How many edges to keep a step; at most as many as there are.
    initial
        (state,) the state before the first step; None is 0.

    Raises
    ------
    TypeError
        If it is no single layer.
    ValueError
        If gate, window or shapes don't match the layer, or a term is not finite.
    """
    check_one_layer(layer)
    rows, at = _rows(layer, weight, gate), _steps(layer, window)
    states = _before(layer, array(layer.hidden)[window][at], initial)  # (S, H)
    openings = array(layer.gates[gate])[window][at]  # (S, U)
    scale = array(layer.gates["reset"])[window][at] if _scaled(layer, gate) else np.ones_like(openings)
    if top < 1:
        raise ValueError(f"top must be at least 1. Got {top}.")
    found = [_strongest(r[:, None] * rows * h, top) for r, h in zip(scale, states, strict=True)]
    target, source, size, covered = (np.array(each) for each in zip(*found, strict=True))
    if not np.isfinite(size).all():
        raise ValueError(f"weights and states of {layer.name!r} must be finite to be compared. Some are not.")
    reverse = bool(getattr(layer, "reverse", False))
    return Edges(layer.name, layer.kind, gate, at, source, target, size, covered, states, openings, reverse)


def _scaled(layer: Gates, gate: str) -> bool:
    return layer.kind == "gru" and gate == "candidate"


def _rows(layer: Gates, weight: Any, gate: str) -> np.ndarray:
    """Return the row block (unit, state) of a gate."""
    order = ORDER.get(layer.kind, ())
    if gate not in order:
        raise ValueError(f"gate must be one of {', '.join(order)}, those of {layer.name!r}. Got {gate!r}.")
    units, states = array(layer.gates[gate]).shape[2], array(layer.hidden).shape[2]
    values = array(weight)
    if values.shape != (len(order) * units, states):
        raise ValueError(
            f"weight must be the layer's weight_hh, of shape ({len(order)} × {units}, {states}). "
            f"Got {values.shape}."
        )
    block = order.index(gate)
    return values[block * units : (block + 1) * units]


def _steps(layer: Gates, window: int) -> np.ndarray:
    mask = np.asarray(array(layer.mask), bool)
    if not -len(mask) <= window < len(mask):
        raise ValueError(f"window must be one of the {len(mask)} of {layer.name!r}. Got {window}.")
    steps = np.flatnonzero(mask[window])
    if len(steps) == 0:
        raise ValueError(f"window {window} of {layer.name!r} has no step.")
    return steps


def _before(layer: Gates, hidden: np.ndarray, initial: Any) -> np.ndarray:
    """Return the states (step, state) that the steps start from, of those that they end in."""
    first = np.zeros((1, hidden.shape[1])) if initial is None else array(initial).reshape(1, -1)
    if first.shape != (1, hidden.shape[1]):
        raise ValueError(
            f"initial must have {hidden.shape[1]} states, those of one window. Got {first.size}."
        )
    if getattr(layer, "reverse", False):
        return np.concatenate([hidden[1:], first])
    return np.concatenate([first, hidden[:-1]])


def _strongest(terms: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Return targets, sources and sizes of the `top` largest terms (unit, state), and their share of all."""
    sizes = np.abs(terms).ravel()
    kept = min(top, sizes.size)
    strongest = np.argpartition(-sizes, kept - 1)[:kept]
    strongest = strongest[np.argsort(-sizes[strongest], kind="stable")]
    target, source = np.unravel_index(strongest, terms.shape)
    whole = float(sizes.sum())
    return target, source, terms[target, source], float(sizes[strongest].sum()) / whole if whole else 1.0
