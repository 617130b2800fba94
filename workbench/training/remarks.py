"""What a study advises: each remark hangs on one number of it, and says what to change."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbench.training.findings import Study

__all__ = ["Remark", "remarks_on"]

LOST = 0.05  # of the bars
BEYOND = 0.1  # of the window
LARGE = 1 << 30  # bytes of attention weights
LONG = 3600.0  # seconds of training


@dataclass(frozen=True)
class Remark:
    """One piece of advice.

    Attributes
    ----------
    about
        Where `Study.to_dict()` has the number: "samples/per_parameter".
    value
        The number.
    text
        What it means, and what to change.
    """

    about: str
    value: float | int
    text: str

    def __str__(self) -> str:
        return self.text


def remarks_on(study: "Study") -> tuple[Remark, ...]:
    """Return what a study's numbers call for, in the order in which they hinder."""
    rules = (_unreached, _field, _samples, _validation, _rows, _memory, _time)
    return tuple(remark for rule in rules for remark in rule(study))


def _unreached(study: "Study") -> Iterator[Remark]:
    weights = study.weights
    if weights.without_gradient:
        yield Remark(
            "parameters/without_gradient",
            weights.without_gradient,
            f"{weights.without_gradient:,} of {weights.trainable:,} trainable parameters get no gradient, "
            f"because the loss does not depend on them: {_named(weights.unreached)}. Use them in forward, "
            "or remove them.",
        )
    if weights.zero_gradient:
        yield Remark(
            "parameters/zero_gradient",
            weights.zero_gradient,
            f"{weights.zero_gradient:,} parameters had a gradient of exactly zero in every step taken: "
            f"{_named(weights.still)}. Look for a gate or ReLU that is always shut, or a feature that "
            "never moves.",
        )


def _field(study: "Study") -> Iterator[Remark]:
    field = study.field
    if field.formula is not None and field.formula > (1 + BEYOND) * field.window:
        yield Remark(
            "receptive_field/formula",
            field.formula,
            f"The receptive field is {field.formula} bars and the window {field.window}: what lies beyond "
            f"is padding. Take fewer levels or a smaller kernel, or lookback={field.formula}.",
        )
    if field.measured == 0:
        yield Remark(
            "receptive_field/measured",
            0,
            "The answer changes with no bar of the window. Check that forward uses its input, and that no "
            "unit in its way is always off.",
        )
    elif field.measured < field.window:
        yield Remark(
            "receptive_field/measured",
            field.measured,
            f"The answer changes with the last {field.measured} of the {field.window} bars only. Take "
            f"lookback={field.measured}, or a network that reaches further back.",
        )


def _samples(study: "Study") -> Iterator[Remark]:
    samples = study.samples
    if samples.per_parameter is not None and samples.per_parameter < 1:
        yield Remark(
            "samples/per_parameter",
            samples.per_parameter,
            f"{samples.train:,} training windows for {study.weights.trainable:,} trainable parameters, "
            f"{samples.per_parameter:.2g} each: they can be learnt by heart. Take a narrower or shallower "
            "network, more bars or more tickers, and watch the validation loss.",
        )
    if samples.train < samples.batch:
        yield Remark(
            "samples/train",
            samples.train,
            f"{samples.train:,} training windows do not fill one batch of {samples.batch:,}, so an epoch is "
            "one step. Lower batch_size.",
        )


def _validation(study: "Study") -> Iterator[Remark]:
    samples = study.samples
    if samples.valid is not None and samples.valid < samples.batch:
        yield Remark(
            "samples/valid",
            samples.valid,
            f"{samples.valid:,} validation windows are fewer than a batch of {samples.batch:,}: the best "
            "epoch would be chosen by chance. Split earlier, so that validation is longer.",
        )


def _rows(study: "Study") -> Iterator[Remark]:
    rows = study.rows
    if rows.worst is not None and rows.missing > LOST * rows.bars:
        column, count = rows.worst
        yield Remark(
            "rows/missing",
            rows.missing,
            f"{rows.missing:,} of {rows.bars:,} bars have no window because a value in it is missing, most "
            f"often {column!r} ({count:,} missing). Fill or drop that column, or shorten the lookback.",
        )


def _memory(study: "Study") -> Iterator[Remark]:
    maps = study.maps
    if maps.bytes > LARGE:
        fitting = max(1, maps.batch * LARGE // maps.bytes)
        yield Remark(
            "attention/bytes",
            maps.bytes,
            f"The attention weights of one batch of {maps.batch} windows take {maps.bytes / 2**30:.1f} GiB "
            f"where they are held, as for an explanation. Take batches of {fitting}, fewer heads, or a "
            "shorter lookback.",
        )


def _time(study: "Study") -> Iterator[Remark]:
    step = study.step
    if step is None:
        return
    whole = step.epoch[1] * step.epochs
    if whole > LONG:
        yield Remark(
            "step/epoch_seconds",
            step.epoch[1],
            f"{step.epochs} epochs of about {step.epoch[1]:.0f} s would take {whole / 3600:.1f} hours, "
            "validation left out. Take a smaller network, fewer epochs, larger batches, or a graphics card.",
        )


def _named(names: tuple[str, ...], most: int = 4) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
