"""One decision explained by several methods, each in a strip of its own under the same candles."""

from collections.abc import Mapping
from datetime import date as Date
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from workbench.plots.attributions import trust_line, window_of
from workbench.plots.barticks import label_bars
from workbench.plots.candles import check_one_asset, dates_of, draw_prices
from workbench.plots.panels import null_of, signed_bars, stack
from workbench.plots.style import array, bars_facts, check_by_bar, named, provenance_of, titled

_PRICE, _STRIP = 2.3, 0.62  # inches


@runtime_checkable
class Explained(Protocol):
    """What is read of the explanation of one window."""

    @property
    def scores(self) -> Any:
        """(time,) or (time, feature), or the same with a first axis of one window."""
        ...

    @property
    def null(self) -> Any:
        """What an indifferent model would show, (time,), or None."""
        ...

    @property
    def trust(self) -> Any:
        """The measured faithfulness, or None."""
        ...


def methods(
    prices: pd.DataFrame,
    explained: Mapping[str, ArrayLike | Explained],
    date: str | Date,
    ax: Axes | None = None,
) -> dict[str, Axes]:
    """Draw the window that a decision saw, and what each method says of its bars, one strip a method.

    Each strip has a scale of its own: shares and signed pushes have no common unit. Signed scores are in two
    colours, for and against the answer. Scores by feature are added up. Over each strip stands its trust.

    Parameters
    ----------
    prices
        One asset's prices, up to the decision bar at least.
    explained
        By method: the explanation of one window, whose scores, null and trust are drawn, or scores alone,
        (time,) or (time, feature). The null is a stepped line, and shares below it are pale.
    date
        The decision bar, the window's last.
    ax
        Becomes the price panel; the strips take a part of its place. None makes a figure.

    Returns
    -------
    dict of Axes
        "price", and one by the name of each method.

    Raises
    ------
    ValueError
        If prices are of several assets or too short, `date` isn't one of their bars, there is no method, or
        the methods' scores are not of one window, or are of another decision, by their `dates`.

    Examples
    --------
    >>> seen = compare(model, test, "all")  # doctest: +SKIP
    >>> methods(prices, seen.at("2011-08-08"), "2011-08-08")  # doctest: +SKIP
    """
    check_one_asset(prices)
    scores = _scores(explained)
    count = len(next(iter(scores.values())))
    seen = window_of(prices, date, count)
    _check_decided(explained, seen.index[-1])
    inches = _PRICE + (_STRIP + 0.22) * len(scores) + 0.95
    upper, *strips = stack(ax, (_PRICE, *[_STRIP] * len(scores)), size=(9.0, inches))
    draw_prices(upper, seen)
    nulls = {name: _null(each, count) for name, each in explained.items()}
    for (name, values), strip in zip(scores.items(), strips, strict=True):
        _draw(strip, name, values, nulls[name], getattr(explained[name], "trust", None))
    upper.set_xlim(-0.5, count - 0.5)
    label_bars(strips[-1].xaxis, dates_of(seen), count)
    provenance = provenance_of(prices, *explained.values())
    ticker, *facts = bars_facts(provenance)
    when = f"{seen.index[-1]:%d %b %Y %H:%M}".removesuffix(" 00:00")
    titled(upper, f"{ticker}: the decision of {when} in {len(scores)} view{'s' * (len(scores) != 1)}",
           *facts, *_legend(scores, nulls), provenance=provenance)  # fmt: skip
    return {"price": upper, **dict(zip(scores, strips, strict=True))}


def _scores(explained: Mapping[str, ArrayLike | Explained]) -> dict[str, np.ndarray]:
    """Return (time,) scores by method, features added up."""
    if not explained or "price" in explained:
        raise ValueError(
            f"explained must hold one method or more, none of them called 'price'. Got {list(explained)}. "
            "compare(model, windows).at(date) gives them."
        )
    found = {
        name: _by_bar(_checked(each, name) if isinstance(each, Explained) else each, name)
        for name, each in explained.items()
    }
    lengths = {name: len(values) for name, values in found.items()}
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        raise ValueError(f"all methods must explain the bars of one window. Got {lengths}, bars by method.")
    return found


def _checked(explained: Explained, name: str) -> Any:
    check_by_bar(explained, f"the strip of {name}")
    return explained.scores


def _check_decided(explained: Mapping[str, ArrayLike | Explained], date: pd.Timestamp) -> None:
    """Refuse explanations that say they are of another decision."""
    for name, each in explained.items():
        dates = getattr(each, "dates", None)
        if dates is not None and (len(dates) != 1 or dates[0] != date):
            told = ", ".join(str(one) for one in dates[:3])
            raise ValueError(
                f"{name} must explain the decision drawn, {date}. It is of {told}. "
                "Take compare(…).at(date) of the same date."
            )


def _by_bar(scores: Any, name: str) -> np.ndarray:
    values = array(scores)
    shape = values.shape
    values = values[0] if values.ndim > 1 and len(values) == 1 else values  # one window, as explained
    if values.ndim not in (1, 2):
        raise ValueError(
            f"scores of {name} must be of one window: (time,) or (time, feature). Got {shape}. "
            "Take one of several first, e.g. compare(…).at(date)."
        )
    return values if values.ndim == 1 else values.sum(axis=1)


def _null(explained: ArrayLike | Explained, count: int) -> np.ndarray | None:
    return null_of(explained.null, count) if isinstance(explained, Explained) else None


def _draw(strip: Axes, name: str, values: np.ndarray, null: np.ndarray | None, trust: object | None) -> None:
    signed, shares = bool((values < 0).any()), _are_shares(values)
    scale = 100.0 if shares else 1.0
    signed_bars(strip, scale * values, None if null is None else scale * null)
    if signed:
        _cut_towering(strip, values)
    strip.yaxis.set_major_locator(MaxNLocator(2))
    strip.tick_params(axis="y", labelsize="small")
    unit = "share, %" if shares else "signed" if signed else "score"
    strip.set_title(f"{named(name)} [{unit}]", loc="left", fontsize="small", pad=3, parse_math=False)
    strip.set_title(trust_line(trust), loc="right", fontsize="small", pad=3, parse_math=False)


def _are_shares(values: np.ndarray) -> bool:
    return bool((values >= 0).all() and abs(values.sum() - 1) < 1e-3)


def _cut_towering(strip: Axes, values: np.ndarray) -> None:
    """Let one signed bar that is over three times the next run off the strip, its value written beside it."""
    if len(values) < 3:
        return
    at = int(np.argmax(np.abs(values)))
    rest = np.delete(values, at)
    second = float(np.abs(rest).max())
    if not abs(values[at]) > 3 * second > 0:
        return
    up, right = values[at] > 0, at >= len(values) / 2
    end = 1.35 * second if up else -1.35 * second
    strip.set_ylim(min(1.1 * rest.min(), 0.0, end), max(1.1 * rest.max(), 0.0, end))
    told = f"{values[at]:.2g}".replace("-", "−")
    arrow = "↑" if up else "↓"
    strip.annotate(
        f"{told} {arrow}" if right else f"{arrow} {told}",
        (at + (-0.6 if right else 0.6), end),
        xytext=(0, -3 if up else 3),
        textcoords="offset points",
        ha="right" if right else "left",
        va="top" if up else "bottom",
        fontsize="small",
    )


def _legend(scores: Mapping[str, np.ndarray], nulls: Mapping[str, np.ndarray | None]) -> list[str]:
    signed = any((values < 0).any() for values in scores.values())
    told = ["each strip on a scale of its own"]
    told += ["signed: blue for the answer, vermilion against it"] * signed
    return told + ["line: indifferent model, pale: less"] * any(null is not None for null in nulls.values())
