"""Colours and titles that every plot shares, on light backgrounds and on dark ones."""

import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize, to_hex, to_rgb

MAGNITUDE = "cividis"
SHARE = "share of attention"
# Okabe & Ito 2008, told apart under every common kind of colour blindness, less black, which is the text's,
# and yellow, which white swallows.
DISTINCT = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
_FACES = {"light": "#ffffff", "dark": "#14171a"}
_INKS = {"light": "#1f2328", "dark": "#dde3ea"}
_ADJUSTED = {
    "splits and dividends": "adjusted for splits and dividends",
    "splits": "adjusted for splits",
    "raw": "not adjusted",
    "none (spot prices)": "spot prices",
}


@dataclass(frozen=True)
class Palette:
    """Colours that suit the current background.

    `up` and `down` stand for rising and falling, for positive and negative; `ink` is the colour of text.
    """

    up: str
    down: str
    ink: str
    dark: bool

    @property
    def signed(self) -> Colormap:
        """Negative to positive, through a grey that both backgrounds set off."""
        middle = "#3b4046" if self.dark else "#ececec"
        return LinearSegmentedColormap.from_list("signed", [self.down, middle, self.up])


def palette() -> Palette:
    """Return blue and vermilion as the current rcParams' text colour calls for: light text, lighter blue."""
    ink = mpl.rcParams["text.color"]
    dark = float(rgb(ink) @ [0.2126, 0.7152, 0.0722]) > 0.5  # what the eye makes of red, green and blue
    return Palette(up="#56B4E9" if dark else "#0072B2", down="#D55E00", ink=ink, dark=dark)


def rgb(colour: Any) -> np.ndarray:
    """Red, green and blue of a colour (3,), each from 0 to 1."""
    return np.array(to_rgb(colour))


def mixed(colour: Any, other: Any) -> str:
    """Return the colour half way between two.

    >>> mixed("white", "black")
    '#808080'
    """
    red, green, blue = (rgb(colour) + rgb(other)) / 2
    return to_hex((red, green, blue))


@contextmanager
def theme(name: str) -> Iterator[None]:
    """Draw on a light or a dark background within a `with` block.

    Outside of it plots follow the current rcParams, so `plt.style.use("dark_background")` works as well.

    Examples
    --------
    >>> with theme("dark"):
    ...     dark = palette().dark
    >>> dark
    True
    """
    if name not in _FACES:
        raise ValueError(f"theme is 'light' or 'dark'. Got {name!r}.")
    face, ink = _FACES[name], _INKS[name]
    backgrounds = ("figure.facecolor", "axes.facecolor", "savefig.facecolor", "legend.facecolor")
    inks = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    with mpl.rc_context(dict.fromkeys(backgrounds, face) | dict.fromkeys(inks, ink)):
        yield


def magnitudes(values: np.ndarray) -> tuple[Normalize, str]:
    """Return a colour scale for values of zero and more, and at which ends its colour bar has arrows.

    It starts from 0, but from the 2nd percentile where that is over half of the top. It stops at the 98th
    percentile where the largest value is more than twice that: a rollout's diagonal would leave everything
    else in the dark.
    """
    low, high, most = (float(np.percentile(values, q)) for q in (2, 98, 100))
    top = high if 0 < 2 * high < most else most
    start = low if top / 2 < low < top else 0.0
    ends = {(False, False): "neither", (False, True): "max", (True, False): "min", (True, True): "both"}
    return Normalize(start, top), ends[start > 0, top < most]


def titled(
    ax: Axes, head: str, *facts: str, provenance: Mapping[str, Any] | None = None, share: float | int = 1.0
) -> None:
    """Write a left-aligned title: `head` on the first line, then the facts, wrapped to the axes' width.

    Made-up prices are called SYNTHETIC, first thing. `share` is the part of the width that the title may
    take, where a legend stands beside it.
    """
    figure = ax.get_figure(root=True)
    assert figure is not None
    inches = ax.get_window_extent().width / figure.dpi
    if (
        figure.get_layout_engine() is not None
    ):  # axes will grow from matplotlib's wide margins to their labels
        inches = max(inches, inches / 0.775 - 0.9)
    ax.set_title(worded(share * inches, head, *facts, provenance=provenance), loc="left", fontsize="medium")


def worded(inches: float | int, head: str, *facts: str, provenance: Mapping[str, Any] | None = None) -> str:
    """Return a title as lines that fit into `inches` at 10 points; lines break between facts if they can.

    >>> print(worded(2, "AAPL", "1d bars", "adjusted for splits", "5 bars"))
    AAPL
    1d bars
    adjusted for splits
    5 bars
    """
    synthetic = "SYNTHETIC · " if (provenance or {}).get("synthetic") else ""
    width = max(20, int(13 * inches))
    lines = textwrap.wrap(synthetic + head, width)
    filling = ""
    for fact in filter(None, facts):
        joined = f"{filling} · {fact}" if filling else fact
        if len(joined) > width and filling:
            lines += textwrap.wrap(filling, width)
            joined = fact
        filling = joined
    return "\n".join(lines + textwrap.wrap(filling, width))


def amounts(value: float | int, _: float | int = 0) -> str:
    """Return a tick label in thousands, millions and billions.

    >>> [amounts(0), amounts(1500), amounts(2e6), amounts(-3.5e9)]
    ['0', '1.5 k', '2 M', '−3.5 B']
    """
    for size, unit in ((1e9, " B"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:g}{unit}".replace("-", "−")
    return f"{value:g}".replace("-", "−")


def bars_facts(provenance: Mapping[str, Any]) -> tuple[str, str, str]:
    """Ticker, interval and adjustment of prices, as words for a title.

    >>> bars_facts({"ticker": "AAPL", "interval": "1d", "adjusted": "splits"})
    ('AAPL', '1d bars', 'adjusted for splits')
    """
    if not provenance:
        return "Prices", "of unknown origin", ""
    adjusted = str(provenance.get("adjusted", "adjustment unknown"))
    return (
        named(provenance.get("ticker", "unnamed")),
        f"{provenance.get('interval', '?')} bars",
        "" if provenance.get("synthetic") else _ADJUSTED.get(adjusted, adjusted),
    )


def named(ticker: str | list[str], most: int = 32) -> str:
    """Return a ticker in at most so many characters, cut in the middle; four tickers and more are counted.

    >>> named("1000PEPEUSDT-PERPETUAL", most=12), named(["A", "B"]), named(["A", "B", "C", "D"])
    ('1000…RPETUAL', 'A, B', '4 assets')
    """
    if not isinstance(ticker, str):
        return (
            ", ".join(named(name, most) for name in ticker) if len(ticker) <= 3 else f"{len(ticker)} assets"
        )
    tail = (most - 1) * 2 // 3
    return ticker if len(ticker) <= most else f"{ticker[: most - 1 - tail]}…{ticker[-tail:]}"


def provenance_of(*things: Any) -> dict[str, Any]:
    """Provenance of the first of `things` that carries or is one: as attribute, or in `attrs`. {} if none."""
    for thing in things:
        found = thing if isinstance(thing, Mapping) else getattr(thing, "provenance", None)
        if not isinstance(found, Mapping):
            found = getattr(thing, "attrs", {}).get("provenance")
        if found:
            return dict(found)
    return {}


def holds(frame: pd.DataFrame, column: str) -> bool:
    """Whether a frame has a column with at least one number in it."""
    return column in frame and bool(np.isfinite(frame[column].to_numpy(dtype=float)).any())


def check_by_bar(explanation: Any, what: str) -> None:
    """Raise ValueError, in words that begin with what is drawn, if an explanation is of something else."""
    axes = getattr(explanation, "axes", ("time",))
    if axes[0] != "time":
        raise ValueError(
            f"{what} is by bar. Got scores by {' and '.join(axes)}: draw them with plots.shares_over_time."
        )


def array(values: Any) -> np.ndarray:
    """Return `values` (array, frame, series, or tensor on any device) as a NumPy array of float64."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().double().numpy()
    return np.asarray(values, dtype=np.float64)
