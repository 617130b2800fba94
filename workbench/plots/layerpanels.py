"""The values that pictures of a recurrent layer are made of, each with its name, its range and its unit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from workbench.plots.style import array

ORDER = {  # PyTorch's, of a weight's row blocks
    "lstm": ("input", "forget", "candidate", "output"),
    "gru": ("reset", "update", "candidate"),
}
_SHOWN = {"lstm": ("input", "forget", "cell", "output"), "gru": ("reset", "update", "candidate", "hidden")}
_HEADS = {
    "input": "Input gate",
    "forget": "Forget gate",
    "candidate": "Candidate",
    "output": "Output gate",
    "reset": "Reset gate",
    "update": "Update gate",
    "cell": "Cell state",
    "hidden": "Hidden state",
}
STATES = ("candidate", "cell", "hidden")  # of both signs; gates go from 0, shut, to 1, open


@runtime_checkable
class Gates(Protocol):
    """What is read of one recurrent layer's run over a batch of sequences."""

    @property
    def name(self) -> str:
        """Of the layer."""
        ...

    @property
    def kind(self) -> str:
        """`lstm` or `gru`."""
        ...

    @property
    def gates(self) -> Mapping[str, Any]:
        """(batch, time, unit) each, by name."""
        ...

    @property
    def cell(self) -> Any:
        """(batch, time, unit), or None where the layer keeps none."""
        ...

    @property
    def hidden(self) -> Any:
        """(batch, time, state)."""
        ...

    @property
    def mask(self) -> Any:
        """(batch, time): where a sequence has a step."""
        ...


@dataclass(frozen=True, eq=False)
class Panel:
    """What is drawn of one gate or state.

    Attributes
    ----------
    name
        "input", "forget", "cell" …
    drawn
        (unit, time); NaN where there is no step, or no finite value.
    """

    name: str
    drawn: np.ndarray

    @property
    def head(self) -> str:
        """Its name as a title."""
        return heading(self.name)


def heading(name: str) -> str:
    """Return what a title calls a gate or state.

    >>> heading("forget"), heading("cell")
    ('Forget gate', 'Cell state')
    """
    return _HEADS.get(name, name.capitalize())


def unit_of(name: str) -> str:
    """Return what the values of a gate or state are, for the label of a colour bar."""
    return f"{heading(name).lower()} [signed, no unit]" if name in STATES else "opening [0 shut, 1 open]"


def bounds(name: str, values: np.ndarray) -> tuple[float, float]:
    """Return the range that a gate or state is drawn on.

    Gates go from 0 to 1, candidate and hidden state from −1 to 1. The cell, and a hidden state that a
    projection lets go beyond, are symmetrical about 0 to their largest value.
    """
    if name not in STATES:
        return 0.0, 1.0
    finite = values[np.isfinite(values)]
    most = float(np.abs(finite).max()) if finite.size else 1.0
    if name != "cell" and most <= 1:
        return -1.0, 1.0
    return -(most or 1.0), most or 1.0


def check_one_layer(layer: object) -> None:
    """Refuse what is no single layer, and say where one is."""
    if isinstance(layer, Gates):
        return
    inside = [str(each.name) for each in getattr(layer, "layers", ()) if isinstance(each, Gates)]
    hint = f"states.layers[-1] or states[{inside[0]!r}]" if inside else "gate_states(model, x).layers[-1]"
    raise TypeError(f"layer must be one recurrent layer. Got {type(layer).__name__}: give {hint}.")


def counted(count: int, name: str = "unit") -> str:
    """Return so many of something.

    >>> counted(1), counted(16)
    ('1 unit', '16 units')
    """
    return f"{count} {name}{'' if count == 1 else 's'}"


def panels_of(layer: Gates, names: Sequence[str] | None = None, window: int | None = None) -> list[Panel]:
    """Return what is drawn of a layer: the values of one window, or their mean over all.

    Parameters
    ----------
    layer
        One layer's values, (batch, time, unit) each.
    names
        Of gates, "cell" and "hidden". None is input, forget, cell and output of an LSTM, and reset, update,
        candidate and hidden of a GRU.
    window
        Counted from 0. None is the mean over the windows that have the step.

    Raises
    ------
    TypeError
        If it is no single layer.
    ValueError
        If there is no such panel or window, or arrays don't match the mask.
    """
    check_one_layer(layer)
    mask = np.asarray(array(layer.mask), bool)
    if mask.ndim != 2 or mask.size == 0:
        raise ValueError(f"mask must be (batch, time), each at least 1. Got {mask.shape} of {layer.name!r}.")
    if window is not None and not -len(mask) <= window < len(mask):
        raise ValueError(
            f"window must be one of the {len(mask)} of {layer.name!r}, counted from 0, or None for their "
            f"mean. Got {window}."
        )
    there = _values(layer)
    if names is None:
        names = [name if name in there else "candidate" for name in _SHOWN.get(layer.kind, tuple(there))]
    unknown = [name for name in names if name not in there]
    if unknown or not names:
        raise ValueError(
            f"panels must be some of {', '.join(there)}, those of {layer.name!r}. "
            f"Got {', '.join(map(repr, unknown)) or 'none'}."
        )
    return [Panel(name, _drawn(there[name], mask, window, f"{name} of {layer.name!r}")) for name in names]


def _values(layer: Gates) -> dict[str, Any]:
    cell = {} if layer.cell is None else {"cell": layer.cell}
    return {**layer.gates, **cell, "hidden": layer.hidden}


def _drawn(values: Any, mask: np.ndarray, window: int | None, what: str) -> np.ndarray:
    """Return (unit, time) of one window or of the mean, NaN where there's nothing finite."""
    batch = array(values)  # (B, T, U)
    if batch.ndim != 3 or batch.shape[:2] != mask.shape or batch.shape[2] == 0:
        raise ValueError(
            f"{what} must have shape (batch, time, unit), batch and time those of the mask, {mask.shape}. "
            f"Got {batch.shape}."
        )
    chosen = slice(None) if window is None else [window]
    batch, steps = batch[chosen], mask[chosen, :, None]
    with np.errstate(invalid="ignore", over="ignore"):  # what a diverged model holds is drawn as blank
        sums = np.where(steps, batch, 0).sum(0)
        means = sums / np.where(steps.any(0), steps.sum(0), np.nan)
    return np.where(np.isfinite(means), means, np.nan).T


def told(layer: Gates, window: int | None) -> tuple[str, str]:
    """Return the layer's name with its kind, and which windows are shown, as words for a title."""
    count = len(layer.mask)
    which = (
        f"window {window}"
        if window is not None
        else f"mean of {count} windows"
        if count > 1
        else "one window"
    )
    return f"{layer.name} ({layer.kind.upper()})", which
