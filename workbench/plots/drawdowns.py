"""Signals around the worst drawdowns: the money above, the signals under it, and chance beside them."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from workbench.plots.barticks import label_bars
from workbench.plots.style import DISTINCT, amounts, palette, provenance_of, titled

_MOST = 3  # signals drawn over time: more are a tangle
_USUAL = 2
_EDGE = 0.015  # of the dates, that near to an end of the axis
_PHASES = {
    "before": ("o", "before the peak", 0.14),
    "fall": ("s", "in the fall", -0.14),
}  # marker, label, aside


@runtime_checkable
class Contrast(Protocol):
    """What is read of signals compared with the rest."""

    @property
    def table(self) -> pd.DataFrame:
        """By (phase, signal): difference, chance, p_value, family_p_value, detectable."""
        ...

    @property
    def drawdowns(self) -> pd.DataFrame:
        """Columns peak, trough, recovery (NaT: not yet), depth (a negative fraction)."""
        ...

    @property
    def decisions(self) -> int:
        """Dates a signal has, and shifts of the null."""
        ...

    @property
    def bars(self) -> int:
        """Decisions up to a peak that count as before it."""
        ...


def signals_before_drawdowns(
    contrast: Contrast,
    daily: pd.DataFrame,
    equity: pd.Series,
    signals: Sequence[str] = (),
    provenance: Mapping[str, Any] | None = None,
) -> dict[str, Axes]:
    """Draw the equity with its worst falls, signals beneath, and beside them what chance can do.

    Falls are shaded from peak to trough, and in grey the decisions before each peak; what was not compared,
    for want of decisions, is not. Numbers count from the deepest. Signals are drawn in standard deviations
    from their mean. To the right stands the difference of every signal, in units of `chance`: the band from
    −1 to 1 holds 95 of 100 circular shifts of that signal. Of many signals some leave their band by chance;
    those that stand out from the whole table are filled.

    Parameters
    ----------
    contrast
        As `before_drawdowns` of the gates returns it.
    daily
        Its signals, a row a date.
    equity
        Money at each close.
    signals
        Columns of `daily` to draw over time, up to three; by default the two with the smallest family-wise
        p, and of those alike the smallest p.
    provenance
        Of the prices, by default what the signals carry; made-up prices are named in the title.

    Returns
    -------
    dict of Axes
        "equity", "signals" and "null".

    Raises
    ------
    ValueError
        If there is no such signal, or more than three are asked for.
    """
    chosen = list(signals) or _standing_out(contrast.table)
    lacking = [name for name in chosen if name not in daily]
    if lacking or len(chosen) > _MOST:
        raise ValueError(
            f"signals must be up to {_MOST} of the columns of daily. Got {chosen}, of which {lacking} are "
            "none."
        )
    panels = _panels(contrast.table.index.get_level_values("signal").nunique())
    dates = pd.DatetimeIndex(equity.index)
    told = provenance or provenance_of(daily)
    _draw_equity(panels["equity"], equity, contrast)
    panels["equity"].set_ylabel(f"Equity [{told.get('currency', 'money')}]")
    _draw_signals(panels["signals"], daily.reindex(index=dates, columns=chosen))
    for name in ("equity", "signals"):
        _shade(panels[name], dates, pd.DatetimeIndex(daily.index), contrast)
    label_bars(panels["signals"].xaxis, dates, len(dates))
    panels["equity"].set_xlim(-0.5, len(dates) - 0.5)
    _draw_null(panels["null"], contrast.table)
    titled(panels["equity"], *_words(contrast), provenance=told)
    return panels


def _panels(signals: int) -> dict[str, Axes]:
    """Return the money above the signals, and the null of so many of them to the right."""
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(11.0, max(4.8, 1.6 + 0.24 * signals)), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(1.7, 1))
    money = figure.add_subplot(grid[0, 0])
    below = figure.add_subplot(grid[1, 0], sharex=money)
    money.tick_params(labelbottom=False)
    figure.align_ylabels([money, below])
    return {"equity": money, "signals": below, "null": figure.add_subplot(grid[:, 1])}


def _standing_out(table: pd.DataFrame) -> list[str]:
    """Signals with the smallest family-wise p, of those alike the smallest p, whatever the phase."""
    order = table.sort_values(["family_p_value", "p_value"], kind="stable").index
    names = [str(signal) for _, signal in order.to_list()]
    return list(dict.fromkeys(names))[:_USUAL]


def _draw_equity(ax: Axes, equity: pd.Series, contrast: Contrast) -> None:
    values, dates = equity.to_numpy(dtype=float), pd.DatetimeIndex(equity.index)
    ax.plot(np.arange(len(values)), values, color=palette().up, linewidth=1.3)
    ax.yaxis.set_major_formatter(FuncFormatter(amounts))
    low, high = float(values.min()), float(values.max())
    ax.set_ylim(low - 0.05 * (high - low or high), high + 0.22 * (high - low or high))
    places = dates.searchsorted(contrast.drawdowns["peak"].to_numpy())
    for number, at in zip(contrast.drawdowns.index, places, strict=True):
        if at < len(dates):
            side = -1 if at < _EDGE * len(dates) else 1 if len(dates) - 1 - at < _EDGE * len(dates) else 0
            ha = ("left", "center", "right")[side + 1]  # a number does not lie on the axis
            said = {"xytext": (-3 * side, 4), "textcoords": "offset points", "ha": ha, "va": "bottom"}
            ax.annotate(str(number), (at, values[at]), **said)


def _draw_signals(ax: Axes, chosen: pd.DataFrame) -> None:
    spread = chosen.std(ddof=0)
    scaled = (chosen - chosen.mean()) / spread.where(spread > 0, 1.0)
    for (name, values), colour in zip(scaled.items(), DISTINCT, strict=False):
        ax.plot(np.arange(len(values)), values.to_numpy(), color=colour, linewidth=0.9, label=str(name))
    ax.axhline(0, color=palette().ink, linewidth=0.6)
    ax.set_ylabel("Signal\n[standard deviations]")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.25 * (high - low))
    ax.legend(loc="upper left", ncols=len(scaled.columns), frameon=False, fontsize="small")


def _shade(ax: Axes, dates: pd.DatetimeIndex, decisions: pd.DatetimeIndex, contrast: Contrast) -> None:
    told, colours = contrast.drawdowns, palette()
    peaks, troughs = (dates.searchsorted(told[name].to_numpy()) for name in ("peak", "trough"))
    known, until = (  # decisions up to each
        decisions.searchsorted(told[name].to_numpy(), side="right") for name in ("peak", "trough")
    )
    asked = (known >= contrast.bars) & (told["peak"] <= decisions[-1]).to_numpy()
    for at, end, count, last, before in zip(peaks, troughs, known, until, asked, strict=True):
        if last > count:
            ax.axvspan(at + 0.5, end + 0.5, color=colours.down, alpha=0.22, linewidth=0, zorder=0)
        if before:
            first = int(dates.searchsorted(decisions[count - contrast.bars]))
            ax.axvspan(first - 0.5, at + 0.5, color=colours.ink, alpha=0.12, linewidth=0, zorder=0)


def _draw_null(ax: Axes, table: pd.DataFrame) -> None:
    names = [str(name) for name in table.index.get_level_values("signal").unique()]
    ratio = (table["difference"] / table["chance"]).to_numpy(dtype=float)
    found = table["family_p_value"].to_numpy(dtype=float) <= 0.05
    phases = table.index.get_level_values("phase").to_numpy()
    rows = len(names) - 1.0 - table.index.get_level_values("signal").map(names.index).to_numpy()
    ink, colours = palette().ink, {"before": palette().ink, "fall": palette().down}
    ax.axvspan(-1, 1, color=ink, alpha=0.12, linewidth=0, zorder=0)
    ax.axvline(0, color=ink, linewidth=0.8)
    for phase, (marker, label, aside) in _PHASES.items():
        own = phases == phase
        faces = [colours[phase] if one else ax.get_facecolor() for one in found[own]]
        if faces:
            drawn = {"marker": marker, "s": 26, "edgecolors": colours[phase], "label": label, "zorder": 3}
            ax.scatter(ratio[own], rows[own] + aside, c=faces, **drawn)
    widest = max(1.3, 1.1 * float(np.nanmax(np.abs(ratio), initial=0.0)))
    ax.set_xlim(-widest, widest)
    ax.set_ylim(-0.7, len(names) - 0.3)
    ax.set_yticks(range(len(names)), names[::-1], fontsize="small")
    ax.set_xlabel("Difference from the rest\n[what 5 % of shifts reach = 1]")
    place = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2}
    ax.legend(ncols=2, frameon=False, fontsize="small", **place)


def _words(contrast: Contrast) -> tuple[str, ...]:
    """Title and facts: how deep, what is shaded, how many stand out."""
    table, depth = contrast.table, 100 * contrast.drawdowns["depth"]
    least, found = (
        table["family_p_value"].min(),
        int((table["family_p_value"].to_numpy(dtype=float) <= 0.05).sum()),
    )
    deep = f"{depth.min():.1f} to {depth.max():.1f} %" if len(depth) > 1 else f"{depth.min():.1f} %"
    stand = "stand" if found > 1 else "stands"
    told = f"{found or 'none'} of {len(table)} differences {stand} out among {contrast.decisions} shifts"
    phases = set(table.index.get_level_values("phase"))
    before = f"grey: {contrast.bars} decisions before a peak"
    fall = "coloured: the fall"
    return (
        f"Worst drawdowns ({len(depth)}): {deep}".replace("-", "−"),
        before if "before" in phases else f"no drawdown has {contrast.bars:,} decisions before its peak",
        fall if "fall" in phases else "no drawdown has a decision in its fall",
        *([told, f"least family-wise p = {least:.2g}"] if np.isfinite(least) else ["no signal varies"]),
    )
