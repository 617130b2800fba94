"""One decision: the candles it saw, and what was drawn from each bar beneath them."""

import math
from collections.abc import Mapping
from datetime import date as Date
from numbers import Real

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import CenteredNorm, Normalize
from numpy.typing import ArrayLike

from workbench.plots.barticks import label_bars
from workbench.plots.candles import check_one_asset, dates_of, draw_prices
from workbench.plots.panels import null_of, signed_bars, stack
from workbench.plots.style import MAGNITUDE, array, bars_facts, palette, provenance_of, titled

MOST_FEATURES = 20


def attribution(
    prices: pd.DataFrame,
    scores: ArrayLike | pd.DataFrame,
    date: str | Date,
    null: ArrayLike | None = None,
    trust: object | None = None,
    ax: Axes | None = None,
) -> dict[str, Axes]:
    """Draw the window that a decision saw, with its attribution beneath, bar under bar.

    The most recent quarter of the window is shaded, and the share of the (absolute) attribution that it holds
    is written above the attribution, beside the trust.

    Parameters
    ----------
    prices
        One asset's prices, up to the decision bar at least.
    scores
        (time,) attribution of each bar, oldest first: bars, in two colours if signed. (time, feature): a
        heatmap, the rows named by the columns of a DataFrame; beyond 20 features the strongest are drawn.
    date
        The decision bar, the window's last.
    null
        (time,) what an indifferent model would show: a stepped line. Only for scores by bar.
    trust
        The measured faithfulness: a number, a mapping of numbers, or anything that prints on a line. None is
        written as "not measured".
    ax
        Becomes the price panel. None makes a figure.

    Returns
    -------
    dict of Axes
        "price" and "attribution".

    Raises
    ------
    ValueError
        If prices are of several assets or too short, `date` isn't one of their bars, or shapes don't match.
    """
    check_one_asset(prices)
    values = array(scores)
    values = values[0] if values.ndim > 1 and len(values) == 1 else values  # one window, as explained
    baseline = _checked_null(values, null)
    seen = window_of(prices, date, len(values))
    by_feature = values.ndim == 2
    depth = 0.14 * min(values.shape[1], MOST_FEATURES) if by_feature else 1.3
    upper, lower = panels = stack(ax, (2.6, max(1.3, depth)), size=(9.0, 3.4 + max(1.3, 1.3 * depth)))
    draw_prices(upper, seen)
    note = _draw_features(panels, values, scores) if by_feature else _draw_bars(lower, values, baseline)
    _shade_recent(panels, len(values))
    label_bars(lower.xaxis, dates_of(seen), len(seen))
    lower.set_title(" · ".join([*note, trust_line(trust)]), loc="left", fontsize="small")
    provenance = provenance_of(prices)
    ticker, *facts = bars_facts(provenance)
    when = f"{seen.index[-1]:%d %b %Y %H:%M}".removesuffix(" 00:00")
    titled(upper, f"{ticker}: what the decision of {when} drew on", *facts, provenance=provenance)
    return {"price": upper, "attribution": lower}


def trust_line(trust: object | None) -> str:
    """Return what is known of an explanation's faithfulness, on one line.

    >>> trust_line(None), trust_line(0.314), trust_line({"comprehensiveness": 0.2})
    ('trust: not measured', 'trust: 0.31', 'trust: comprehensiveness 0.20')
    """
    if trust is None:
        return "trust: not measured"
    if isinstance(trust, Real):
        return f"trust: {float(trust):.2f}"
    if isinstance(trust, Mapping | pd.Series):
        return "trust: " + ", ".join(f"{name} {value:.2f}" for name, value in dict(trust).items())
    return f"trust: {str(trust).splitlines()[0]}"


def _checked_null(values: np.ndarray, null: ArrayLike | None) -> np.ndarray | None:
    if values.ndim not in (1, 2) or 0 in values.shape:
        raise ValueError(
            f"scores must be of one window: (time,) or (time, feature). Got {values.shape}. "
            "Take one of several first, e.g. explanation.scores[0]."
        )
    if values.ndim == 2 and null is not None:
        raise ValueError(
            "null is drawn for scores by bar, and these are (time, feature). "
            "Add features up first, e.g. abs(scores).sum(1), or leave the null out."
        )
    return null_of(null, len(values))


def window_of(prices: pd.DataFrame, date: str | Date, count: int) -> pd.DataFrame:
    """Return the `count` bars up to the decision of `date`, or raise ValueError if there are fewer."""
    dates = dates_of(prices)
    stamp = pd.Timestamp(date)
    if dates.tz is not None:
        stamp = stamp.tz_localize(dates.tz) if stamp.tzinfo is None else stamp.tz_convert(dates.tz)
    if stamp not in dates:
        nearest = dates[int(np.abs(dates - stamp).argmin())]
        raise ValueError(f"date must be a bar of prices. Got {stamp}; the nearest is {nearest}.")
    end = int(np.flatnonzero(dates == stamp)[-1]) + 1
    if end < count:
        raise ValueError(
            f"prices must reach {count} bars back from {stamp}, one per score. They hold {end}. "
            "Load them from an earlier start."
        )
    return prices.iloc[end - count : end]


def _draw_bars(ax: Axes, values: np.ndarray, null: np.ndarray | None) -> list[str]:
    signed_bars(ax, values, null)
    ax.set_ylabel("Attribution\n[signed]" if (values < 0).any() else "Attribution\n[share]")
    if null is None:
        return [f"recent quarter (shaded): {_recent_percent(values)}"]
    shares = f"{_recent_percent(values)}, indifferent model {_recent_percent(null)}"
    return [f"recent quarter (shaded): {shares}", "line: indifferent model, pale: less"]


def _draw_features(panels: list[Axes], values: np.ndarray, scores: object) -> list[str]:
    names = list(scores.columns) if isinstance(scores, pd.DataFrame) else range(values.shape[1])
    strongest = np.sort(np.argsort(-np.abs(values).sum(0), kind="stable")[:MOST_FEATURES])
    shown = values[:, strongest].T
    signed = bool((values < 0).any())
    image = panels[1].imshow(
        shown,
        cmap=palette().signed if signed else MAGNITUDE,
        norm=CenteredNorm(0) if signed else Normalize(0),
        aspect="auto",
        interpolation="nearest",
    )
    panels[1].set_yticks(range(len(shown)), [str(names[i]) for i in strongest], fontsize="small")
    panels[1].set_ylabel("Feature")
    unit = "attribution [signed]" if signed else "attribution [share]"
    panels[0].figure.colorbar(image, ax=panels, label=unit, aspect=30)
    omitted = f"{len(shown)} of {values.shape[1]} features, the strongest"
    note = [f"recent quarter (shaded above): {_recent_percent(values)}"]
    return [*note, omitted] if len(shown) < values.shape[1] else note


def _recent(count: int) -> int:
    return math.ceil(count / 4)


def _recent_percent(values: np.ndarray) -> str:
    weight = np.abs(values)
    total = weight.sum()
    return f"{100 * weight[-_recent(len(values)) :].sum() / total:.0f} %" if total > 0 else "undefined"


def _shade_recent(panels: list[Axes], count: int) -> None:
    heatmap = bool(panels[1].images)
    for panel in panels[:1] if heatmap else panels:
        panel.axvspan(
            count - _recent(count) - 0.5, count - 0.5, color=palette().ink, alpha=0.09, linewidth=0, zorder=0
        )
    panels[0].set_xlim(-0.5, count - 0.5)
