"""What a study of a configuration found, as it is read, printed and written down."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from html import escape
from typing import Any

import pandas as pd

from workbench.models.counting import WeightMap
from workbench.models.summary import Block
from workbench.training.remarks import Remark
from workbench.training.steps import Steps
from workbench.training.unused import Rows

__all__ = ["Field", "Maps", "Operations", "Samples", "Study", "Weights"]


@dataclass(frozen=True)
class Weights:
    """Numbers that the model holds.

    `without_gradient` counts those that training may change and no step's loss depends on, and `unreached`
    names them. `zero_gradient` and `still` are those whose gradient was exactly zero in every step. None
    where no step was taken.
    """

    total: int
    trainable: int
    without_gradient: int | None = None
    zero_gradient: int | None = None
    unreached: tuple[str, ...] = ()
    still: tuple[str, ...] = ()


@dataclass(frozen=True)
class Operations:
    """Operations of the forward of a batch of `windows`, two a multiplication, and of one window.

    `elementwise` are numbers written by elementwise operations outside recurrent layers, no part of `batch`.
    """

    batch: int
    windows: int
    window: float | int
    elementwise: int


@dataclass(frozen=True)
class Field:
    """Bars that an answer can depend on, of the bars of the `window`.

    `formula` is what the model's `receptive_field` says, None without one. `measured` are the bars from the
    earliest with any gradient; `most` the last ones that hold nine tenths of it.
    """

    window: int
    formula: int | None
    measured: int
    most: int


@dataclass(frozen=True)
class Maps:
    """Weights of attention, and of other softmaxes, for a `batch` of windows, and their `bytes` if held."""

    batch: int
    bytes: int
    maps: tuple[WeightMap, ...]


@dataclass(frozen=True)
class Samples:
    """Windows with a known label, in `train` and `valid` (None: not given), and in a `batch`, a step's.

    Where a step is made of days, `batch` is their mean. `bars` are the different bars that the training
    windows cover: neighbouring windows share all but one. `per_parameter` is train over the trainable
    parameters, None without any.
    """

    train: int
    valid: int | None
    batch: int
    bars: int
    per_parameter: float | None


@dataclass(frozen=True, repr=False)
class Study:
    """What `study` found. Prints as a page.

    Attributes
    ----------
    name
        The model's name in the registry, or its class.
    weights, operations, field, maps, samples, rows
        See their classes.
    step
        The steps that were measured, and the estimate of an epoch; None where none was taken.
    layers
        By module: its kind, output, own parameters, how many of them get no gradient, operations of the
        batch.
    architecture
        The model's modules in the order they ran: `plots.architecture` draws it.
    remarks
        What to change, each with its number.
    """

    name: str
    weights: Weights
    operations: Operations
    field: Field
    maps: Maps
    samples: Samples
    rows: Rows
    step: Steps | None
    layers: pd.DataFrame
    architecture: Block
    remarks: tuple[Remark, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, but the architecture, as JSON can hold it."""
        parts = {"parameters": self.weights, "flops": self.operations, "receptive_field": self.field}
        parts |= {"attention": self.maps, "samples": self.samples, "rows": self.rows}
        plain: dict[str, Any] = {"model": self.name, **{name: asdict(part) for name, part in parts.items()}}
        plain["step"] = None if self.step is None else self._step(self.step)
        plain["layers"] = self.layers.reset_index().to_dict("records")
        plain["remarks"] = [asdict(remark) for remark in self.remarks]
        return _plain(plain)

    @staticmethod
    def _step(step: Steps) -> dict[str, Any]:
        low, middle, high = step.quartiles
        return {
            "seconds": step.seconds,
            "median": middle,
            "quartiles": [low, high],
            "batches": step.batches,
            "epochs": step.epochs,
            "epoch_seconds": step.epoch[1],
            "epoch_quartiles": [step.epoch[0], step.epoch[2]],
            "estimate": True,
        }

    def __repr__(self) -> str:
        lines = [f"Study of {self.name}", *(f"  {name:17} {text}" for name, text in _lines(self))]
        return "\n".join([*lines, *(f"! {remark.text}" for remark in self.remarks)])

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><th>{escape(a)}</th><td>{escape(b)}</td></tr>" for a, b in _lines(self))
        notes = "".join(f"<li>{escape(remark.text)}</li>" for remark in self.remarks)
        advice = f"<ul>{notes}</ul>" if notes else ""
        table = self.layers.to_html(border=0)
        return f"<div><b>Study of {escape(self.name)}</b><table>{rows}</table>{advice}{table}</div>"


def _lines(study: Study) -> Iterator[tuple[str, str]]:
    weights, samples, rows = study.weights, study.samples, study.rows
    known = weights.without_gradient is not None
    dead = f", {weights.without_gradient:,} without gradient" if known else ", gradients not looked at"
    yield "Parameters", f"{weights.total:,}, {weights.trainable:,} trainable{dead}"
    operations = study.operations
    plain = f", and {operations.elementwise:,} numbers written elementwise" if operations.elementwise else ""
    yield "Operations", f"{_big(operations.window)} a window forward; a batch {_big(operations.batch)}{plain}"
    yield "Receptive field", _field(study.field)
    yield "Attention weights", _maps(study.maps)
    valid = "" if samples.valid is None else f", {samples.valid:,} for validation"
    each = "" if samples.per_parameter is None else f", {samples.per_parameter:.3g} a trainable parameter"
    yield "Windows", f"{samples.train:,} to learn from{each}{valid}; they cover {samples.bars:,} bars"
    parts = {
        "decide a window": rows.train + rows.valid,
        "label not known": rows.unlabelled,
        "too early": rows.early,
        "missing values": rows.missing,
        "later": rows.later,
        "purged or left out": rows.apart,
    }
    yield "Bars", f"{rows.bars:,}: " + ", ".join(f"{n:,} {what}" for what, n in parts.items() if n)
    yield "Time", "no step taken" if study.step is None else _time(study.step)


def _field(field: Field) -> str:
    formula = "" if field.formula is None else f"{field.formula} bars by formula, "
    return (
        f"{formula}{field.measured} of the window's {field.window} bars by gradient, nine tenths of it on "
        f"the last {field.most}"
    )


def _maps(maps: Maps) -> str:
    if not maps.maps:
        return "none"
    shapes = {" × ".join(map(str, found.shape)): None for found in maps.maps}
    return f"{_bytes(maps.bytes)} for a batch of {maps.batch}: {', '.join(shapes)}"


def _time(step: Steps) -> str:
    low, middle, high = (1000 * seconds for seconds in step.quartiles)
    return (
        f"{middle:.1f} ms a step ({low:.1f} to {high:.1f}, the middle half of {len(step.seconds)}); "
        f"estimated {step.epoch[1]:.2g} s an epoch of {step.batches:,} steps"
    )


def _big(value: float | int) -> str:
    for size, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{unit}FLOP"
    return f"{value:.3g} FLOP"


def _bytes(value: int) -> str:
    for size, unit in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value} bytes"


def _plain(value: Any) -> Any:
    """Return nested values as JSON has them: tuples as lists, NumPy's numbers as Python's, NaN as None."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
