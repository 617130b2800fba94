"""Where bars of a market without closing hours begin, and how a range of them splits into pages."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from workbench.market.frame import bar_seconds

_MONDAY = 4 * 86_400_000  # the first Monday of the Unix epoch: 1970-01-05


@dataclass(frozen=True)
class Page:
    """Bars that start in [start, end], both in milliseconds since 1970-01-01 UTC and both included."""

    start: int
    end: int


def bar_number(moment: int, interval: str) -> int:
    """Number of the bar that holds `moment` (milliseconds since 1970 UTC); consecutive bars count up by one.

    Weeks begin on Monday, months on their first day, other bars at multiples of their length since 1970.
    """
    if interval == "1mo":
        return _month_of(moment)
    return (moment - _anchor(interval)) // (bar_seconds(interval) * 1000)


def bar_start(number: int, interval: str) -> int:
    """First millisecond (since 1970 UTC) of the bar with this number."""
    if interval == "1mo":
        return _month_start(number)
    return number * bar_seconds(interval) * 1000 + _anchor(interval)


def pages(first: int, last: int, interval: str, limit: int) -> Iterator[Page]:
    """Split the bars numbered `first` to `last`, both included, into pages of at most `limit` bars.

    Pages follow one another without gap or overlap: each ends a millisecond before the next begins.
    """
    for number in range(first, last + 1, limit):
        following = min(number + limit, last + 1)
        yield Page(bar_start(number, interval), bar_start(following, interval) - 1)


def _anchor(interval: str) -> int:
    return _MONDAY if interval == "1wk" else 0


def _month_of(moment: int) -> int:
    return int(np.datetime64(moment, "ms").astype("datetime64[M]").astype(int))


def _month_start(number: int) -> int:
    return int(np.datetime64(number, "M").astype("datetime64[ms]").astype(int))
