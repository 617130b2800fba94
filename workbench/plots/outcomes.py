"""Attention by outcome: where the model looked when its decisions won, and when they lost."""

import math
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from workbench.plots.barticks import label_bars
from workbench.plots.panels import cut_tallest, stack
from workbench.plots.style import palette, provenance_of, titled


@runtime_checkable
class Outcome(Protocol):
    """What is read of attention by outcome."""

    @property
    def by_lag(self) -> pd.DataFrame:
        """Index lag, n − 1 … 0; columns won, lost, difference, low, high, significant."""
        ...

    @property
    def recent(self) -> pd.DataFrame:
        """Rows won, lost, difference; columns share, low, high."""
        ...

    @property
    def p_value(self) -> float:
        """Of the difference in recent share, among shuffled outcomes."""
        ...

    @property
    def counts(self) -> pd.Series:
        """How many windows won and lost."""
        ...

    @property
    def recent_bars(self) -> int:
        """How many bars are recent."""
        ...

    @property
    def fdr(self) -> float:
        """False discovery rate allowed over lags."""
        ...

    @property
    def indifferent(self) -> float:
        """Recent share of an indifferent model."""
        ...

    @property
    def reason(self) -> str | None:
        """Why there are no intervals, or None."""
        ...


def attention_by_outcome(
    outcome: Outcome, ax: Axes | None = None, provenance: Mapping[str, Any] | None = None
) -> dict[str, Axes]:
    """Draw the mean attribution of each lag for decisions that won and that lost, and their difference.

    The difference has its 95 % interval as a band, and dots where a lag differs after control of the false
    discovery rate. The recent bars are shaded; the title compares the share they hold, with the interval of
    the difference and its p-value among shuffled outcomes.

    Parameters
    ----------
    outcome
        As `attention_by_outcome` of the trading layer returns it.
    ax
        Becomes the upper panel. None makes a figure.
    provenance
        Of the prices, by default the outcome's own; made-up prices are named in the title.

    Returns
    -------
    dict of Axes
        "attribution" and "difference".
    """
    count = len(outcome.by_lag)
    upper, lower = stack(ax, (1.3, 1), size=(9.0, 5.0))
    _draw_groups(upper, outcome)
    _draw_difference(lower, outcome)
    for panel in (upper, lower):
        start = count - outcome.recent_bars - 0.5
        panel.axvspan(start, count - 0.5, color=palette().ink, alpha=0.09, linewidth=0, zorder=0)
    label_bars(lower.xaxis, None, count)
    upper.set_xlim(-0.5, count - 0.5)
    titled(upper, *_words(outcome), provenance=provenance or provenance_of(outcome), share=0.8)
    return {"attribution": upper, "difference": lower}


def _draw_groups(ax: Axes, outcome: Outcome) -> None:
    colours, edges = palette(), np.arange(len(outcome.by_lag) + 1) - 0.5
    for group, colour in (("won", colours.up), ("lost", colours.down)):
        values = 100 * outcome.by_lag[group].to_numpy(dtype=float)
        label = f"{group} ({outcome.counts[group]:,})"
        ax.stairs(values, edges, baseline=None, color=colour, linewidth=1.5, label=label)
    ax.set_ylim(bottom=0)
    tops = 100 * outcome.by_lag[["won", "lost"]].to_numpy(dtype=float).max(axis=1)
    cut_tallest(ax, tops, tops)
    ax.set_ylabel("Mean\nattribution [%]")
    ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, fontsize="small")


def _draw_difference(ax: Axes, outcome: Outcome) -> None:
    table, colours = outcome.by_lag, palette()
    low, difference, high = (100 * table[name].to_numpy(float) for name in ("low", "difference", "high"))
    at = np.arange(len(table))
    ax.axhline(0, color=colours.ink, linewidth=0.8)
    ax.fill_between(at, low, high, step="mid", color=colours.ink, alpha=0.2, linewidth=0)
    ax.plot(at, difference, color=colours.ink, linewidth=1.1, drawstyle="steps-mid")
    found = table["significant"].to_numpy(dtype=bool)
    ax.plot(at[found], difference[found], "o", color=colours.down, markersize=5)
    ax.set_ylabel("Won − lost\n[points]")
    told = "no lag differs" if not found.any() else f"dots: {found.sum()} lags differ"
    note = f"band: 95 % interval · {told} at a false discovery rate of {100 * outcome.fdr:g} %"
    ax.set_title(
        note if outcome.reason is None else "no intervals: too few decisions", loc="left", fontsize="small"
    )


def _words(outcome: Outcome) -> tuple[str, str, str]:
    """Title and facts: recent shares, their difference with interval and p-value."""
    won, lost, difference = (100 * outcome.recent.loc[row, "share"] for row in ("won", "lost", "difference"))
    low, high = 100 * outcome.recent.loc["difference", ["low", "high"]].to_numpy(dtype=float)
    head = (
        f"Attribution on the recent {outcome.recent_bars} bars: won {won:.1f} %, lost {lost:.1f} %, "
        f"indifferent model {100 * outcome.indifferent:.1f} %"
    )
    if outcome.reason is not None:
        return head, "", ""
    interval = f"difference {difference:+.2f} points, 95 % interval {low:+.2f} to {high:+.2f}".replace(
        "-", "−"
    )
    return head, interval, f"{_p_text(outcome.p_value)} among shuffled outcomes"


def _p_text(p_value: float) -> str:
    """Three decimals; a smaller p is bounded, as the draws can't tell it from 0: 1/2001 is p ≤ 0.0005."""
    return f"p = {p_value:.3f}" if p_value >= 0.001 else f"p ≤ {math.ceil(1e4 * p_value) / 1e4:.4f}"
