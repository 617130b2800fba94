"""A recurrent layer's gates that move: epoch by epoch of a training, or window by window over time."""

from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from workbench.plots.animations import Animation, differences, packed, quantised, tables
from workbench.plots.gatepanels import gates
from workbench.plots.layerpanels import STATES, Gates, Panel, bounds, panels_of, told, unit_of
from workbench.plots.panels import checked_dates
from workbench.plots.style import worded

MOST_NUMBERS = 8_000_000  # some MB of a saved notebook, 11 at worst
_STILL_DPI = 80  # its PNG stands twice in a notebook


def gate_animation(
    frames: Iterable[Gates],
    labels: Sequence[str] | None = None,
    dates: pd.DatetimeIndex | Sequence[pd.DatetimeIndex] | None = None,
    window: int | None = None,
    panels: Sequence[str] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Animation:
    """Draw a layer's gates and states as heatmaps of units and bars that move, with Play and a slider.

    It plays in a saved notebook without a kernel, and in what nbconvert makes of it. Hovering, or the arrow
    keys, read a cell's number.

    Parameters
    ----------
    frames
        The same layer, once a frame: of each epoch on the same windows, or of one date's window after
        another. They are gone through once.
    labels
        One a frame: "epoch 3", "2011-08-08". None counts epochs from 1.
    dates
        Dates of the bars: one index for all frames, or one a frame. None counts bars back from the last, t.
    window
        Which of the batch, counted from 0. None draws the mean over all.
    panels
        Names of gates, "cell" and "hidden". None is what `gates` draws.
    provenance
        Of the prices; made-up prices are named in the title.

    Returns
    -------
    Animation
        A notebook's cell that ends in it shows it; `save` writes a page. Numbers are kept in 8 bits: a gate
        to 1/508, candidate and hidden state to 1/254, the cell to 1/254 of its largest value in any frame.

    Raises
    ------
    TypeError
        If frames are no sequence, or one is no single layer.
    ValueError
        If there is no frame, frames are of different shapes or hold more than 8 million numbers, or labels or
        dates don't match them.
    """
    _check_many(frames)
    shown, last = [], None
    for last in frames:
        shown.append(panels_of(last, panels, window))
    if last is None:
        raise ValueError("frames must hold at least one layer's gates. Got none.")
    names = checked_labels(labels, len(shown))
    _check_shapes(shown, names)
    _check_size(len(shown) * sum(panel.drawn.size for panel in shown[0]), len(shown))
    bars, starts, final = _bars(dates, len(shown), shown[0][0].drawn.shape[1])
    name, which = told(last, window)
    title = worded(1000, f"Inside {name}", which, provenance=provenance).replace("\n", " · ")
    drawn = gates(last, final, window, panels, provenance)
    facts = {"kind": "cells", **_scene(shown), "bars": bars, "starts": starts}
    return Animation(title, tuple(names), facts, still_of(next(iter(drawn.values()))))


def _check_many(frames: object) -> None:
    if not isinstance(frames, Iterable):
        raise TypeError(
            f"frames must be a sequence, one layer a frame. Got one {type(frames).__name__}: give the same "
            "layer of each epoch or date, [states.layers[-1] for states in …]."
        )


def _scene(shown: Sequence[Sequence[Panel]]) -> dict[str, Any]:
    """Return what the browser draws of the frames, and in which colours."""
    panels = list(zip(*shown, strict=True))
    codes = [_codes(each) for each in panels]  # (frame, unit × bar) a panel
    return {
        "panels": [_described(each) for each in panels],
        "tables": tables(),
        "note": _note(shown[0]),
        "buffers": {"cells": packed(differences(np.concatenate(codes, axis=1)))},
    }


def still_of(ax: Axes) -> bytes:
    """Return the PNG of a figure, in 256 colours, and close it."""
    import matplotlib.pyplot as plt
    from PIL import Image

    figure = ax.get_figure(root=True)
    assert figure is not None
    drawn, small = BytesIO(), BytesIO()
    figure.savefig(drawn, format="png", dpi=_STILL_DPI)
    plt.close(figure)
    with Image.open(drawn) as image:
        # Colours that are far from all others first: the ends of a scale fill few pixels, and must be right.
        few = image.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(small, "png", optimize=True)
    return small.getvalue()


def checked_labels(labels: Sequence[str] | None, count: int, usual: str = "epoch") -> list[str]:
    """Return one label a frame; None counts from 1."""
    if labels is None:
        return [f"{usual} {i}" for i in range(1, count + 1)]
    if isinstance(labels, str) or len(labels) != count:
        raise ValueError(f"labels must be one for each of the {count} frames. Got {len(labels)}: {labels!r}.")
    return [str(label) for label in labels]


def _check_shapes(shown: Sequence[Sequence[Panel]], labels: Sequence[str]) -> None:
    wanted = [(panel.name, panel.drawn.shape) for panel in shown[0]]
    for frame, label in zip(shown, labels, strict=True):
        got = [(panel.name, panel.drawn.shape) for panel in frame]
        if got != wanted:
            raise ValueError(
                f"frames must all have the panels and (unit, time) of the first, {wanted}. {label!r} has "
                f"{got}: take one layer of one model, on windows of one length."
            )


def _check_size(numbers: int, frames: int) -> None:
    if numbers > MOST_NUMBERS:
        every = -(-numbers // MOST_NUMBERS)
        raise ValueError(
            f"frames must hold at most {MOST_NUMBERS:,} numbers, since a notebook keeps them all. {frames} "
            f"frames hold {numbers:,}: take one of {every} frames, frames[::{every}], or fewer panels."
        )


def _described(frames: Sequence[Panel]) -> dict[str, Any]:
    """Return what the browser must know of one panel; its range is that of all frames."""
    panel = frames[0]
    _, scale = quantised(panel.drawn, *_range(frames))
    rows, columns = panel.drawn.shape
    facts = {
        "name": panel.name,
        "head": panel.head,
        "unit": unit_of(panel.name),
        "signed": panel.name in STATES,
    }
    return facts | scale | {"rows": rows, "columns": columns}


def _range(frames: Sequence[Panel]) -> tuple[float, float]:
    return bounds(frames[0].name, np.array([frame.drawn for frame in frames]))


def _codes(frames: Sequence[Panel]) -> np.ndarray:
    values = np.array([frame.drawn.ravel() for frame in frames])
    return quantised(values, *_range(frames))[0]


def _bars(
    dates: pd.DatetimeIndex | Sequence[pd.DatetimeIndex] | None, frames: int, count: int
) -> tuple[list[str] | None, list[int], pd.DatetimeIndex | None]:
    """Return the bars' names, where each frame's begin among them, and the last frame's dates."""
    if dates is None:
        return None, [0] * frames, None
    if isinstance(dates, pd.DatetimeIndex):
        checked_dates(dates, count, "bars")
        return _written(dates), [0] * frames, dates
    if len(dates) != frames:
        raise ValueError(
            f"dates must be one index for all frames, or one for each of {frames}. Got {len(dates)}."
        )
    for each in dates:
        checked_dates(each, count, "bars")
    union = pd.DatetimeIndex(dates[0].append(list(dates[1:]))).unique().sort_values()
    starts = [int(union.searchsorted(each[0])) for each in dates]
    if all(union[start : start + count].equals(each) for start, each in zip(starts, dates, strict=True)):
        return _written(union), starts, dates[-1]
    every = [text for each in dates for text in _written(each)]
    return every, [count * i for i in range(frames)], dates[-1]


def _written(dates: pd.DatetimeIndex) -> list[str]:
    by_day = bool((dates == dates.normalize()).all())
    return list(dates.strftime("%Y-%m-%d" if by_day else "%Y-%m-%d %H:%M"))


def _note(panels: Sequence[Panel]) -> str:
    """Say how colours are to be read."""
    states = [panel.head.lower() for panel in panels if panel.name in STATES]
    opened = "Gates: blue 0, shut, to yellow 1, open." if len(states) < len(panels) else ""
    signed = f"{' and '.join(states).capitalize()}: vermilion negative, blue positive." if states else ""
    return " ".join(filter(None, ["Units down, bars across.", opened, signed, "Scales hold for all frames."]))
