"""What a strategy earned beside what it is compared with: figures, years and months."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec

from workbench.plots.style import DISTINCT, mixed, palette, provenance_of, titled

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MARKS = ("o", "D", "s", "^", "v")
_WHOLE = 0.9  # of a year, below which it is called partial


def performance(
    figures: pd.DataFrame,
    years: pd.DataFrame,
    months: pd.Series,
    provenance: Mapping[str, Any] | None = None,
) -> dict[str, Axes]:
    """Draw figures of risk and return, the return of each year, and that of each month.

    Parameters
    ----------
    figures
        A row a figure, with its unit in its name; a column an account, the strategy first. Each row has a
        scale of its own, from its lowest to its highest value and zero; NaN, undefined, is a dash.
    years
        A row a calendar year (int); a column an account: returns in percent. A column "share", if there is
        one, says how much of a year it is: one of less than nine tenths is marked.
    months
        Returns of the strategy in percent, by month: a PeriodIndex, or text such as "2011-03".
    provenance
        Of the prices; made-up prices are named in the title.

    Returns
    -------
    dict of Axes
        "figures", "years" and "months".

    Raises
    ------
    ValueError
        There is no figure, no year or no month.
    """
    for name, table in (("figures", figures), ("years", years), ("months", months)):
        if len(table) == 0:
            raise ValueError(f"{name} must hold at least one row. Got none: backtest over more dates.")
    import matplotlib.pyplot as plt

    grid_rows = months.index.astype(str).str[:4].nunique()
    heights = (0.34 * len(figures) + 0.5, 2.2, 0.3 * grid_rows + 0.5)
    figure = plt.figure(figsize=(9.0, sum(heights) + 1.4), layout="constrained")
    grid = GridSpec(3, 1, figure=figure, height_ratios=heights)
    axes = {name: figure.add_subplot(grid[i]) for i, name in enumerate(("figures", "years", "months"))}
    accounts = _colours([str(name) for name in figures.columns])
    _draw_figures(axes["figures"], figures, accounts)
    _draw_years(axes["years"], years, accounts)
    _draw_months(axes["months"], months, figure)
    told = provenance or provenance_of(figures)
    titled(
        axes["figures"],
        "Performance",
        "each row has its own scale; the upright line is zero",
        provenance=told,
    )
    partial = "share" in years and bool((years["share"] < _WHOLE).any())
    named = "Return by year (beneath: how much of the year, where not all)" if partial else "Return by year"
    axes["years"].set_title(named, loc="left", fontsize="medium")
    first = str(figures.columns[0])
    axes["months"].set_title(f"Return by month of the {first} [%]", loc="left", fontsize="medium")
    return axes


def _colours(accounts: list[str]) -> dict[str, tuple[str, str]]:
    """Return colour and mark of each account: the strategy's own, then orange, grey and the rest."""
    known = [palette().up, DISTINCT[1], "#8c8c8c", *DISTINCT[2:4]]
    return {name: (known[i % 5], _MARKS[i % 5]) for i, name in enumerate(accounts)}


def _draw_figures(ax: Axes, figures: pd.DataFrame, accounts: dict[str, tuple[str, str]]) -> None:
    ink, rows = palette().ink, list(range(len(figures)))
    values = figures.to_numpy(dtype=float)
    known = np.nan_to_num(np.column_stack([values, np.zeros(len(values))]))
    low, high = known.min(axis=1), known.max(axis=1)
    spread = np.where(high > low, high - low, 1.0)
    for row in rows:
        ax.hlines(row, 0, 1, color=mixed(ink, ax.get_facecolor()), linewidth=0.6, zorder=1)
        zero = -low[row] / spread[row]
        ax.vlines(zero, row - 0.3, row + 0.3, color=ink, linewidth=1.0, zorder=2)
    for i, (name, (colour, mark)) in enumerate(accounts.items()):
        place = (values[:, i] - low) / spread
        ax.scatter(place, rows, s=46, color=colour, marker=mark, label=name, zorder=4 + len(accounts) - i)
        for row in rows:
            text = "–" if np.isnan(values[row, i]) else _number(values[row, i])
            ax.text(1.15 + 0.21 * i, row, text, ha="right", va="center", fontsize="small")
        ax.text(1.15 + 0.21 * i, -0.9, name, ha="right", va="center", fontsize="small", style="italic")
    ax.set_yticks(rows, [str(name) for name in figures.index])
    ax.set_xticks([])
    ax.set_xlim(-0.03, 1.16 + 0.21 * (len(accounts) - 1))
    ax.set_ylim(len(rows) - 0.4, -1.4)
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.tick_params(left=False)
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(
        handles, labels, loc="lower right", bbox_to_anchor=(1, 1), ncols=len(labels), frameon=False,
        fontsize="small", borderaxespad=0.2,
    )  # fmt: skip


def _draw_years(ax: Axes, years: pd.DataFrame, accounts: dict[str, tuple[str, str]]) -> None:
    shown = [name for name in years.columns if name in accounts]
    places, width = np.arange(len(years)), 0.8 / max(1, len(shown))
    for i, name in enumerate(shown):
        heights = years[name].to_numpy(dtype=float)
        at = places + (i - (len(shown) - 1) / 2) * width
        drawn = ax.bar(at, heights, 0.94 * width, color=accounts[str(name)][0])
        if len(years) * len(shown) <= 16:
            texts = ["" if np.isnan(h) else _number(h) for h in heights.tolist()]
            ax.bar_label(drawn, texts, padding=2, fontsize="x-small")
    ax.axhline(0, color=palette().ink, linewidth=0.8)
    shares = years["share"].to_list() if "share" in years else [1.0] * len(years)
    labels = [
        f"{year}" if share >= _WHOLE else f"{year}\n{100 * share:.0f} %"
        for year, share in zip(years.index, shares, strict=True)
    ]
    ax.set_xticks(places, labels)
    ax.set_ylabel("Return [%]")
    ax.margins(y=0.18)
    ax.set_xlim(-0.6, len(years) - 0.4)


def _draw_months(ax: Axes, months: pd.Series, figure: Figure) -> None:
    table = _grid(months)
    values = table.to_numpy(dtype=float)
    most = float(np.nanmax(np.abs(values))) or 1.0
    shades, face = palette(), ax.get_facecolor()
    pale = LinearSegmentedColormap.from_list(  # pale, so that the text's colour can be read on all of it
        "months", [mixed(shades.down, face), face, mixed(shades.up, face)]
    )
    norm = TwoSlopeNorm(0.0, -most, most)
    edge = mixed(shades.ink, face)
    ax.pcolormesh(np.ma.masked_invalid(values), cmap=pale, norm=norm, edgecolors=edge, linewidth=0.4)
    for row, line in enumerate(values.tolist()):
        for column, value in enumerate(line):
            text = "" if math.isnan(value) else _number(value)
            ax.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize="x-small")
    ax.set_xticks(np.arange(12) + 0.5, _MONTHS)
    ax.set_yticks(np.arange(len(table)) + 0.5, [str(year) for year in table.index])
    ax.invert_yaxis()
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)


def _grid(months: pd.Series) -> pd.DataFrame:
    """Return months as years × 12."""
    text = months.index.astype(str)
    table = pd.DataFrame(
        {"year": text.str[:4].astype(int), "month": text.str[5:7].astype(int), "value": months.to_numpy()}
    )
    wide = table.pivot_table(index="year", columns="month", values="value", dropna=False)
    return wide.reindex(columns=range(1, 13))


def _number(value: float | int) -> str:
    """Return a number with as many digits as a cell has room for.

    >>> _number(-3.14159), _number(0.049), _number(123.4)
    ('−3.1', '0.05', '123')
    """
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 1 else 2
    return f"{value:.{digits}f}".replace("-", "−")
