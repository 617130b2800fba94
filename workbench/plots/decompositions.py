"""What an ALSTM attends to over time, beside what its two parts add to the answer."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from workbench.plots.barticks import label_bars
from workbench.plots.overtime import Explained
from workbench.plots.panels import bars, stack
from workbench.plots.periods import averaged, label_periods
from workbench.plots.style import DISTINCT, MAGNITUDE, array, magnitudes, palette, provenance_of, titled


@runtime_checkable
class Decomposed(Explained, Protocol):
    """What is read of a decomposition."""

    @property
    def options(self) -> Mapping[str, Any]:
        """`weights` (window, time) and `state` (window,)."""
        ...


def decomposition_over_time(
    explained: Decomposed, every: str | None = None, ax: Axes | None = None
) -> dict[str, Axes]:
    """Draw the attention weights by lag, and below what the last state and the context add to the answer.

    The weights say what the context is made of; the parts, how much the context matters beside the last
    state, which goes past the attention. A dot is the answer less its bias, the sum of the two.

    Parameters
    ----------
    explained
        By the method `decomposition`.
    every
        "D" draws each date; "M", "Q" and "Y" means of months, quarters and years; None is what fits.
    ax
        Becomes the panel of the weights. None makes a figure.

    Returns
    -------
    dict of Axes
        "weights" and "parts". The title has the share of the parts' absolute size that is the context's.

    Raises
    ------
    ValueError
        If the explanation is none by `decomposition`, or `every` is unknown.
    """
    options = getattr(explained, "options", {})
    if not {"weights", "state"} <= set(options):
        raise ValueError(
            "explained must be by the method 'decomposition', which has weights and state in its options. "
            f"Got {getattr(explained, 'method', type(explained).__name__)}."
        )
    state = array(options["state"])
    parts = np.stack([state, array(explained.scores).sum(1) - state], axis=1)  # (window, part)
    means, dates, told = averaged(parts, explained.dates, every)
    alpha = averaged(array(options["weights"]), explained.dates, every)[0]
    upper, lower = stack(ax, (1.2, 1), size=(9.0, 5.0))
    _draw_weights(upper, lower, alpha)
    _draw_parts(lower, means)
    label_periods(lower, dates)
    lower.set_xlim(-0.5, len(dates) - 0.5)
    size = np.abs(parts).sum(0)
    of_context = f"context: {100 * size[1] / size.sum():.0f} % of the parts' size" if size.sum() else ""
    titled(upper, "Attention of an ALSTM, and what comes of it", told, of_context,
           provenance=provenance_of(explained))  # fmt: skip
    return {"weights": upper, "parts": lower}


def _draw_weights(upper: Axes, lower: Axes, alpha: np.ndarray) -> None:
    scale, extend = magnitudes(alpha)
    image = upper.imshow(alpha.T, cmap=MAGNITUDE, norm=scale, aspect="auto", interpolation="nearest")
    upper.figure.colorbar(image, ax=[upper, lower], label="attention weight", extend=extend, aspect=30)
    label_bars(upper.yaxis, None, alpha.shape[1], "Bar")


def _draw_parts(ax: Axes, means: np.ndarray) -> None:
    names = ("last state", "context")
    up, down = np.zeros(len(means)), np.zeros(len(means))
    for column, colour in zip(means.T, DISTINCT, strict=False):
        for part, ends in ((column.clip(min=0), up), (column.clip(max=0), down)):
            bars(ax, np.where(part == 0, np.nan, part), colour, bases=ends.copy(), width=0.9)
            ends += part
    ink = palette().ink
    ax.axhline(0, color=ink, linewidth=0.8)
    (dots,) = ax.plot(means.sum(1), ".", color=ink, label="answer − bias")
    span = max(float(up.max() - down.min()), 1e-12)
    ax.set_ylim(down.min() - 0.06 * span, up.max() + 0.3 * span)  # room for the legend
    keys = [Patch(facecolor=colour, label=name) for name, colour in zip(names, DISTINCT, strict=False)]
    ax.legend(handles=[*keys, dots], loc="upper left", ncols=3, frameon=False, fontsize="small")
    ax.set_ylabel("Part of the\nanswer [signed]")
