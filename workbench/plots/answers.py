"""What a model answered, what came of it, and what trading on it earned: panels of one decision's picture."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from workbench.plots.momentpanels import Moment, say
from workbench.plots.panels import bars
from workbench.plots.style import palette


def draw_answer(ax: Axes, shown: Moment) -> None:
    """Draw the probability of each class, and write what happened next."""
    ax.set_title(_happened(shown), loc="left", fontsize="small", pad=4, parse_math=False)
    if shown.probabilities is None:
        say(ax, "No answer of a model was given.")
        ax.set_axis_off()
        return
    values, names = shown.probabilities.to_numpy(dtype=float), [str(n) for n in shown.probabilities.index]
    if names == ["forecast"]:
        forecast = _percent(values[0]) if shown.forecast_unit == "return" else _number(values[0])
        say(ax, f"Forecast: {forecast} over {_bars(shown.horizon)}")
        ax.set_axis_off()
        return
    chosen, shades = int(values.argmax()), palette()
    lengths = ax.barh(names, 100 * values, color=shades.up, height=0.66)
    for number, length in enumerate(lengths):
        length.set(alpha=1.0 if number == chosen else 0.45)
        mark = " ← chosen" * (number == chosen)
        ax.annotate(
            f"{100 * values[number]:.1f} %{mark}", (100 * values[number], number), xytext=(4, 0),
            textcoords="offset points", va="center", fontsize="small", annotation_clip=False,
        )  # fmt: skip
    ax.set_yticks(range(len(names)), names, fontsize="small", parse_math=False)
    ax.set_xlim(0, 100)
    ax.set_xlabel("Probability [%]", fontsize="small")
    ax.tick_params(axis="x", labelsize="small")


def _happened(shown: Moment) -> str:
    if shown.happened is None or not np.isfinite(shown.happened):
        return "What came after is not known yet"
    moved = f" ({shown.moved})" if shown.moved else ""
    return f"Then: {_percent(shown.happened)} in {_bars(shown.horizon)}{moved}"


def _percent(share: float | int | np.floating) -> str:
    return f"{100 * float(share):+.2f} %".replace("-", "−")


def _number(value: float | int | np.floating) -> str:
    return f"{float(value):.4g}".replace("-", "−")


def _bars(count: int) -> str:
    return f"{count} bar{'s' * (count != 1)}"


def draw_position(ax: Axes, position: pd.Series | None, dates: pd.DatetimeIndex) -> None:
    """Draw the position at each of `dates`, blank where nothing was decided."""
    ax.set_ylabel("Position")
    ax.set_ylim(-1.15, 1.15)
    held = None if position is None else position.reindex(dates).to_numpy(dtype=float)
    if held is None or not np.isfinite(held).any():
        say(ax, "No position was decided on these bars.")
        return
    shades = palette()
    bars(ax, held, np.where(held < 0, shades.down, shades.up), width=1.0)
    ax.axhline(0, color=shades.ink, linewidth=0.8)
    ax.set_ylim(-1.15, 1.15)
    ax.set_yticks([-1, 0, 1], ["short", "flat", "long"], fontsize="small")


def draw_equity(
    ax: Axes, equity: pd.Series | None, benchmark: pd.Series | None, dates: pd.DatetimeIndex
) -> None:
    """Draw equity at each of `dates`, and the benchmark's beside it, dashed."""
    ax.set_ylabel("Equity\n[start = 100]")
    curves = {"strategy": equity, "buy and hold": benchmark}
    known = {
        name: curve.reindex(dates).to_numpy(dtype=float)
        for name, curve in curves.items()
        if curve is not None
    }
    known = {name: values for name, values in known.items() if np.isfinite(values).any()}
    if "strategy" not in known:
        say(ax, "There is no backtest of these bars.")
        return
    shades = palette()
    for name, values in known.items():
        own = name == "strategy"
        ax.plot(
            values,
            color=shades.up if own else shades.ink,
            linestyle="-" if own else "--",
            linewidth=1.2,
            label=name,
        )
    ax.margins(y=0.12)
    ax.locator_params(axis="y", nbins=4)
