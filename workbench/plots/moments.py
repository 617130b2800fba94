"""One decision on one picture: what was known, what was looked at, what was answered, and what came of it."""

import textwrap
from io import BytesIO

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workbench.plots.answers import draw_answer, draw_equity, draw_position
from workbench.plots.attributions import trust_line
from workbench.plots.barticks import label_bars
from workbench.plots.candles import check_one_asset, dates_of
from workbench.plots.momentpanels import (
    MOST_FEATURES,
    Moment,
    draw_candles,
    draw_features,
    draw_scores,
    draw_volume,
    draw_weights,
    say,
)
from workbench.plots.style import array, bars_facts, palette, provenance_of, worded

DPI = 110
_WIDTH = 11.5  # inches; what follows is in inches too
_LEFT, _MIDDLE, _RIGHT = (1.1, 6.45), (7.75, 10.45), (10.57, 10.69)
_GAP, _LINE, _FOOT = 0.09, 0.145, 0.62
_LETTERS = 17.5  # of the small size on an inch
_HEIGHTS = {"price": 2.3, "volume": 0.6, "scores": 1.1, "features": 0.0, "position": 0.45, "equity": 0.95}
_PARTS = {
    "": "",
    "train": ", a day that the model was trained on",
    "valid": ", a day that its weights were chosen by",
    "test": ", a test day",
    "purged": ", a day left out between two parts of the data",
}


class Picture(Figure):
    """A figure that pyplot knows nothing of: any thread may draw it, and a notebook shows it."""

    def png(self) -> bytes:
        """Return the picture in at most 256 colours, which takes a third of the space."""
        from PIL import Image

        raw, small = BytesIO(), BytesIO()
        self.savefig(raw, format="png", dpi=DPI)
        Image.open(raw).convert("RGB").quantize(
            256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
        ).save(small, "png", optimize=True)
        return small.getvalue()

    def _repr_png_(self) -> bytes:
        return self.png()


def moment(prices: pd.DataFrame, bar_dates: pd.DatetimeIndex, shown: Moment | None = None) -> Picture:
    """Draw one decision: prices and volume, explanation, attention, answer, and what it earned.

    Parameters
    ----------
    prices
        The bars to draw, of one asset: the window and some on either side. `attrs["provenance"]` gives the
        title. Up to 150 are candles; without opens, highs and lows they are a line.
    bar_dates
        The bars of the window, which is shaded; the last of them is the decision's.
    shown
        What is known of the decision.

    Returns
    -------
    Figure
        `png()` returns it as bytes. pyplot does not know it, so it needs no closing.

    Raises
    ------
    ValueError
        If prices are of several assets or do not hold the window, or shapes do not match it.

    Examples
    --------
    >>> why = explain(model, day)  # doctest: +SKIP
    >>> seen = Moment(scores=why.scores[0], null=why.null, method="rollout")  # doctest: +SKIP
    >>> moment(prices.loc["2011-05":"2011-09"], day.bar_dates, seen)  # doctest: +SKIP
    """
    check_one_asset(prices)
    shown = shown or Moment()
    window = _window(prices, bar_dates)
    values = _checked_scores(shown, len(bar_dates))
    features = 0 if values is None or values.ndim == 1 else min(values.shape[1], MOST_FEATURES)
    strip = 0.13 * features + 0.15 * (features > 0)
    titles = _titles(prices, bar_dates, shown)
    captions = _captions(shown, values is not None)
    picture, axes = _laid_out(_HEIGHTS | {"features": strip}, titles, captions)
    draw_candles(axes["price"], prices)
    draw_volume(axes["volume"], prices)
    if values is None:
        say(axes["scores"], shown.method or "No explanation was asked for.")
    else:
        draw_scores(axes["scores"], values, shown.null, window[0])
    if "features" in axes and values is not None:
        draw_features(axes["features"], values, shown.feature_names, window[0])
    draw_position(axes["position"], shown.position, dates_of(prices))
    draw_equity(axes["equity"], shown.equity, shown.benchmark, dates_of(prices))
    _mark_window(axes, window, dates_of(prices))
    draw_weights(axes["weights"], axes["bar"], shown, bar_dates)
    draw_answer(axes["answer"], shown)
    return picture


def _window(prices: pd.DataFrame, bar_dates: pd.DatetimeIndex) -> tuple[int, int]:
    """Positions of the window's first and last bar within the prices drawn."""
    dates = dates_of(prices)
    at = dates.get_indexer(bar_dates) if len(bar_dates) else np.array([-1])
    if (at < 0).any() or (np.diff(at) != 1).any():
        span = f"{bar_dates[0]} to {bar_dates[-1]}" if len(bar_dates) else "no bars"
        raise ValueError(
            f"prices must hold every bar of the window, {span}, one after another. They go from "
            f"{dates[0]} to {dates[-1]}. Pass a longer stretch, and windows.bar_dates of the same prices."
        )
    return int(at[0]), int(at[-1])


def _checked_scores(shown: Moment, count: int) -> np.ndarray | None:
    if shown.scores is None:
        return None
    values = array(shown.scores)
    if values.ndim not in (1, 2) or len(values) != count:
        raise ValueError(
            f"scores must be of one window, ({count},) or ({count}, feature). Got {values.shape}. "
            "Take one of several first, e.g. explanation.scores[0]."
        )
    if values.ndim == 2 and len(shown.feature_names) not in (0, values.shape[1]):
        raise ValueError(
            f"feature_names must be {values.shape[1]} names, one a feature. Got {len(shown.feature_names)}."
        )
    return values


def _titles(prices: pd.DataFrame, bar_dates: pd.DatetimeIndex, shown: Moment) -> list[str]:
    """Return what the picture shows, and where it comes from on one line or more."""
    provenance = provenance_of(prices)
    ticker, *facts = bars_facts(provenance)
    when = f"{bar_dates[-1]:%d %b %Y %H:%M}".removesuffix(" 00:00")
    if shown.part not in _PARTS:
        raise ValueError(f"part must be one of {', '.join(map(repr, _PARTS))}. Got {shown.part!r}.")
    head = worded(_WIDTH, f"{ticker}: the decision of {when}{_PARTS[shown.part]}", provenance=provenance)
    told = " · ".join(filter(None, [*facts, shown.model]))
    return [" ".join(head.splitlines()), *textwrap.wrap(told, int(_LETTERS * _WIDTH))]


def _captions(shown: Moment, explained: bool) -> dict[str, list[str]]:
    """Return the lines that stand over some of the panels."""
    told = [shown.method, "line: indifferent model, pale: less" * (shown.null is not None)]
    trust = " · ".join(filter(None, [*told, trust_line(shown.trust)])) if explained else "Explanation"
    return {
        "price": ["shaded: the bars that the model saw · dotted: its decision"],
        "scores": textwrap.wrap(trust, int(_LETTERS * (_LEFT[1] - _LEFT[0]))),
        "position": [
            "Trading on it" + " · line: strategy, dashed: buy and hold" * (shown.equity is not None)
        ],
    }


def _laid_out(
    heights: dict[str, float], titles: list[str], captions: dict[str, list[str]]
) -> tuple[Picture, dict[str, Axes]]:
    """Place every panel by hand: the constrained layout would take longer than all the rest."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    there = {name: height for name, height in heights.items() if height}
    above = {name: 0.13 + _LINE * len(captions[name]) if name in captions else _GAP for name in there}
    top = 0.32 + _LINE * (len(titles) - 1)
    height = top + sum(there.values()) + sum(above.values()) + _FOOT
    picture = Picture(figsize=(_WIDTH, height), dpi=DPI)
    FigureCanvasAgg(picture)
    for text, size, depth in ((titles[0], "large", 0.1), ("\n".join(titles[1:]), "small", 0.34)):
        picture.text(0.12 / _WIDTH, 1 - depth / height, text, fontsize=size, va="top", parse_math=False)

    def placed(across: tuple[float, float], upper: float, tall: float, share: Axes | None = None) -> Axes:
        left, right = across
        box = (left / _WIDTH, 1 - (upper + tall) / height, (right - left) / _WIDTH, tall / height)
        ax = picture.add_axes(box, sharex=share)
        ax.tick_params(labelsize="small")
        ax.yaxis.label.set_fontsize("small")
        return ax

    axes, upper = {}, top
    for name, tall in there.items():
        upper += above[name]
        ax = axes[name] = placed(_LEFT, upper, tall, axes.get("price"))
        ax.tick_params(labelbottom=name == "equity")
        ax.yaxis.set_label_coords(-0.62 / (_LEFT[1] - _LEFT[0]), 0.5)
        caption = "\n".join(captions.get(name, []))
        ax.set_title(caption, loc="left", fontsize="small", pad=4, parse_math=False)
        upper += tall
    side, first = _MIDDLE[1] - _MIDDLE[0], top + 0.45
    axes["weights"], axes["bar"] = placed(_MIDDLE, first, side), placed(_RIGHT, first, side)
    axes["answer"] = placed((_MIDDLE[0], _RIGHT[1]), first + side + 1.1, 1.0)
    return picture, axes


def _mark_window(axes: dict[str, Axes], window: tuple[int, int], dates: pd.DatetimeIndex) -> None:
    """Shade the window in every panel that counts bars, and mark its last bar, the decision's."""
    ink = palette().ink
    for name in _HEIGHTS:
        if name in axes:
            if name != "features":  # a strip's colours are to be read, and show where the window is
                axes[name].axvspan(
                    window[0] - 0.5, window[1] + 0.5, color=ink, alpha=0.08, linewidth=0, zorder=0
                )
            axes[name].axvline(window[1], color=ink, linewidth=0.9, linestyle=":", zorder=0.5)
    axes["price"].set_xlim(-0.5, max(len(dates), 8) - 0.5)
    label_bars(axes["equity"].xaxis, dates, len(dates))
    axes["equity"].xaxis.label.set_fontsize("small")
