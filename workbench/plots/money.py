"""Money: equity against its benchmark, drawdown, positions, and where attention lay meanwhile."""

import math
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from workbench.plots.barticks import label_bars
from workbench.plots.panels import stack
from workbench.plots.style import amounts, array, check_by_bar, named, palette, provenance_of, titled

_FILLS = {
    "next_open": "filled at the next open",
    "next_close": "filled at the next close",
    "close": "filled at the very close it was decided on, which nobody can trade",
}
_LEDGERS = {
    "on_change": "units held until the position changes",
    "every_bar": "rebalanced every bar",
    "formula": "position × return",
}
_FIGURES = (
    ("Total return [%]", "return", " %"),
    ("Sharpe", "Sharpe", ""),
    ("Max drawdown [%]", "drawdown", " %"),
)


@runtime_checkable
class Result(Protocol):
    """What is read of a backtest's result."""

    @property
    def equity(self) -> pd.Series:
        """Money at each close."""
        ...

    @property
    def benchmark(self) -> pd.Series:
        """Money at each close of buying and holding."""
        ...

    @property
    def positions(self) -> pd.Series | pd.DataFrame:
        """Position decided by each close."""
        ...

    @property
    def stats(self) -> pd.Series:
        """Figures with units in their names."""
        ...

    @property
    def fill(self) -> str:
        """When orders fill."""
        ...

    @property
    def ledger(self) -> str:
        """How positions are held."""
        ...

    @property
    def cost_bps(self) -> float | int:
        """Fee a side in basis points."""
        ...


@runtime_checkable
class Explained(Protocol):
    """What is read of an explanation."""

    @property
    def scores(self) -> np.ndarray:
        """(window, time) or (window, time, feature)."""
        ...

    @property
    def dates(self) -> pd.DatetimeIndex:
        """Decision bar of each window."""
        ...

    @property
    def null(self) -> np.ndarray | None:
        """What an indifferent model would show, or None."""
        ...


def backtest(result: Result, explanation: Explained | None = None, ax: Axes | None = None) -> dict[str, Axes]:
    """Draw what trading earned beside buy and hold, its drawdown, and the positions behind it.

    Equity is on a logarithmic scale when it spans more than a factor of three. The title states fill, ledger
    and costs.

    Parameters
    ----------
    result
        As `backtest` returns it.
    explanation
        Adds a strip: the share of (absolute) attribution that fell on the most recent quarter of each
        decision's window, and an indifferent model's as a dashed line. Several assets are averaged by date.
    ax
        Becomes the equity panel. None makes a figure.

    Returns
    -------
    dict of Axes
        "equity", "drawdown", "positions", and "attention" with an explanation.

    Raises
    ------
    ValueError
        If the result holds no bar, or none of the explanation's dates.
    """
    if len(result.equity) == 0:
        raise ValueError("result.equity must hold at least one bar. Got none: backtest over more dates.")
    heights = (3, 1.1, 0.8) if explanation is None else (3, 1.1, 0.8, 1.2)
    panels = stack(ax, heights, size=(9.0, 4.8 + 1.4 * (len(heights) - 3)))
    dates = pd.DatetimeIndex(result.equity.index)
    _draw_equity(panels[0], result)
    _draw_drawdown(panels[1], result)
    _draw_positions(panels[2], result.positions, dates)
    if explanation is not None:
        _draw_attention(panels[3], explanation, dates)
    label_bars(panels[-1].xaxis, dates, len(dates))
    panels[0].set_xlim(-0.5, len(dates) - 0.5)
    _title(panels[0], result)
    return dict(zip(("equity", "drawdown", "positions", "attention"), panels, strict=False))


def _draw_equity(ax: Axes, result: Result) -> None:
    colours, few = palette(), len(result.equity) <= 30
    curves = (
        ("strategy", result.equity, colours.up, 1.0),
        ("buy and hold", result.benchmark, colours.ink, 0.55),
    )
    for label, curve, colour, alpha in curves:
        values = curve.reindex(result.equity.index).to_numpy(dtype=float)
        ax.plot(values, color=colour, alpha=alpha, linewidth=1.3, label=label, marker="." if few else None)
    both = pd.concat([result.equity, result.benchmark])
    low, high = float(both.min()), float(both.max())
    currency = provenance_of(result).get("currency", "money")
    ax.yaxis.set_major_formatter(FuncFormatter(amounts))
    ax.set_ylabel(f"Equity [{currency}]")
    if low > 0 and high / low > 3:
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter(FuncFormatter(amounts))
        ax.yaxis.set_minor_formatter(NullFormatter())
        ax.set_ylabel(f"Equity [{currency}, log]")
    ax.legend(
        loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, fontsize="small", borderaxespad=0.2
    )


def drawdown_of(equity: pd.Series, initial: float | int) -> np.ndarray:
    """Fall from the highest equity so far, the initial capital included, in percent (bar,)."""
    values = equity.to_numpy(dtype=float)
    return 100 * (values / np.maximum(np.maximum.accumulate(values), initial) - 1)


def _draw_drawdown(ax: Axes, result: Result) -> None:
    told = getattr(result, "conventions", None)
    fall = drawdown_of(result.equity, getattr(told, "initial_capital", float(result.equity.iloc[0])))
    ax.fill_between(np.arange(len(fall)), fall, 0, color=palette().down, alpha=0.75, linewidth=0)
    ax.set_ylim(min(1.08 * float(np.nanmin(fall)), -1.0), 0)
    ax.set_ylabel("Drawdown\n[%]")


def _draw_positions(ax: Axes, positions: pd.Series | pd.DataFrame, dates: pd.DatetimeIndex) -> None:
    table = positions.to_frame() if isinstance(positions, pd.Series) else positions
    held = table.reindex(dates, method="ffill")
    colours, edges = palette(), np.arange(len(dates) + 1) - 0.5
    for side, colour in ((held.clip(lower=0), colours.up), (held.clip(upper=0), colours.down)):
        ax.stairs(side.mean(axis=1).to_numpy(), edges, fill=True, color=colour, alpha=0.85, linewidth=0)
    ax.axhline(0, color=colours.ink, linewidth=0.8)
    ax.set_ylim(-1.15, 1.15)
    ax.set_yticks([-1, 0, 1], ["short", "flat", "long"])
    ax.set_ylabel("Position" if table.shape[1] == 1 else "Share of\nassets")
    if not table.fillna(0).to_numpy().any():
        ax.text(
            0.5, 0.75, "flat throughout", transform=ax.transAxes, ha="center", va="center", fontsize="small"
        )


def _draw_attention(ax: Axes, explanation: Explained, dates: pd.DatetimeIndex) -> None:
    if getattr(explanation, "against_null", False):
        raise ValueError(
            "explanation must be of shares, which are drawn beside their null here. Got scores less their "
            "null: explain without against_null."
        )
    check_by_bar(explanation, "attention beneath a backtest")
    share = _recent_by_date(explanation.scores, explanation.dates)
    at = np.flatnonzero(dates.isin(share.index))
    if len(at) == 0:
        raise ValueError(
            f"explanation must cover decisions of the backtest, {dates[0]} to {dates[-1]}. "
            f"It covers {explanation.dates[0]} to {explanation.dates[-1]}."
        )
    colours = palette()
    ax.plot(
        at,
        share.reindex(dates[at]).to_numpy(),
        color=colours.up,
        linewidth=0.9,
        marker="." if len(at) <= 30 else None,
    )
    if explanation.null is not None:
        every = np.broadcast_to(explanation.null, explanation.scores.shape)
        null = _recent_by_date(every, explanation.dates)
        ax.plot(at, null.reindex(dates[at]).to_numpy(), color=colours.ink, linewidth=1.0, linestyle="--")
    note = "attention on the most recent quarter of each window"
    ax.set_title(
        note if explanation.null is None else f"{note} · dashed: an indifferent model",
        loc="left",
        fontsize="small",
    )
    ax.set_ylabel("Recent\nshare [%]")


def _recent_by_date(scores: np.ndarray, dates: pd.DatetimeIndex) -> pd.Series:
    """Percent of a window's absolute attribution on its most recent quarter, averaged by date."""
    weight = np.abs(array(scores))
    weight = weight.sum(2) if weight.ndim == 3 else weight
    recent = weight[:, -math.ceil(weight.shape[1] / 4) :].sum(1)
    known = weight.sum(1) > 0
    share = 100 * recent[known] / weight[known].sum(1)
    at, days = dates[known].factorize(sort=True)
    return pd.Series(np.bincount(at, share) / np.bincount(at), index=days)


def _title(ax: Axes, result: Result) -> None:
    provenance: Mapping[str, Any] = provenance_of(result)
    ticker = named(provenance["ticker"]) if "ticker" in provenance else "Strategy"
    stats = result.stats
    figures = [f"{word} {_figure(stats, name, unit)}" for name, word, unit in _FIGURES if name in stats]
    titled(
        ax,
        f"{ticker}: {', '.join(figures)}" if figures else ticker,
        f"decided at the close, {_FILLS.get(result.fill, result.fill)}",
        _LEDGERS.get(result.ledger, result.ledger),
        f"costs {result.cost_bps:g} bp a side",
        provenance=provenance,
        share=0.75,
    )


def _figure(stats: pd.Series, name: str, unit: str) -> str:
    value = float(stats.to_dict()[name])
    return "undefined" if math.isnan(value) else f"{value:,.2f}{unit}".replace("-", "−")
