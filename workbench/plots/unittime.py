"""What units of a recurrent layer hold in the course of time, with the market above."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from workbench.plots.barticks import label_bars
from workbench.plots.candles import check_one_asset, dates_of, draw_prices, span
from workbench.plots.gatepanels import draw_units
from workbench.plots.layerpanels import counted, heading
from workbench.plots.panels import stack
from workbench.plots.style import array, named, provenance_of, titled


def units_over_time(
    values: ArrayLike | None,
    dates: pd.DatetimeIndex,
    prices: pd.DataFrame,
    name: str = "cell",
    ax: Axes | None = None,
) -> dict[str, Axes]:
    """Draw prices, and beneath on the same dates the units of a gate or state as a heatmap.

    Parameters
    ----------
    values
        (time, unit): over the bars of one window, `layer.cell[0]`, or at the end of one window after another,
        `layer.cell[:, -1]`. None, the cell of a GRU, is refused.
    dates
        Of the values: the window's bars, or the windows' decisions.
    prices
        One asset's, with every one of those dates. Of more than 150 bars closes are drawn as a line.
    name
        What the values are: "input", "forget", "cell", "hidden" … It chooses the range of the colours.
    ax
        Becomes the price panel. None makes a figure.

    Returns
    -------
    dict of Axes
        "price" and "units". Where dates are several bars apart, each one's values are drawn until the next,
        though no longer than dates usually are apart; the rest is blank.

    Raises
    ------
    ValueError
        If values and dates don't match, or prices lack a date.
    """
    check_one_asset(prices)
    if values is None:
        raise ValueError(
            "values must be (time, unit). Got None: a GRU has no cell. Draw layer.hidden[0], name='hidden'."
        )
    units = array(values)
    if units.ndim != 2 or 0 in units.shape or len(units) != len(dates):
        raise ValueError(
            f"values must be (time, unit), one row for each of the {len(dates)} dates. Got {units.shape}. "
            "Take one window's, layer.cell[0], or each window's last bar, layer.cell[:, -1]."
        )
    shown, drawn, apart = _placed(units, dates, prices)
    count = len(shown)
    price, panel = stack(ax, (1, 1.4), size=(9.0, 5.6))
    draw_prices(price, shown)
    draw_units(panel, name, drawn)
    panel.set_ylabel("Unit")
    middle, half = (count - 1) / 2, max(count, 8) / 2  # a few bars keep a bar's shape
    price.set_xlim(middle - half, middle + half)
    label_bars(panel.xaxis, dates_of(shown), count)
    provenance = provenance_of(prices)
    ticker = named(provenance.get("ticker", "prices"))
    head = f"{heading(name)} of {counted(units.shape[1])}, with {ticker}"
    held = f"every {apart} bars, drawn until the next" if apart > 1 else ""
    titled(price, head, span(shown), held, provenance=provenance)
    return {"price": price, "units": panel}


def _placed(
    units: np.ndarray, dates: pd.DatetimeIndex, prices: pd.DataFrame
) -> tuple[pd.DataFrame, np.ndarray, int]:
    """Return prices from the first date on, values (unit, bar) on their bars, and the bars between dates."""
    known = dates_of(prices)
    at = known.get_indexer(dates) if known.tz == dates.tz else np.full(len(dates), -1)
    if (at < 0).any():
        absent = dates[at < 0]
        raise ValueError(
            f"prices must have a bar on each of the {len(dates)} dates. {len(absent)} are not there, the "
            f"first is {absent[0]}; prices go from {known[0]} to {known[-1]}. Give those that the windows "
            "were made of."
        )
    if len(np.unique(at)) < len(at):
        raise ValueError(f"dates must each occur once. {dates[dates.duplicated()][0]} occurs several times.")
    apart = int(np.median(np.diff(np.sort(at)))) if len(at) > 1 else 1
    last = min(at.max() + apart, len(prices))
    drawn = pd.DataFrame(units, index=at).reindex(range(at.min(), last))
    drawn = drawn.ffill(limit=apart - 1) if apart > 1 else drawn
    return prices.iloc[at.min() : last], drawn.to_numpy().T, apart
