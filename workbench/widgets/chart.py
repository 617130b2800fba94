"""Candles of one asset, with what a model made of them beneath."""

import base64
from io import BytesIO
from typing import TYPE_CHECKING, Any

import anywidget
import numpy as np
import pandas as pd
import traitlets

from workbench.explainers.explanation import Explanation
from workbench.widgets.assets import script, style
from workbench.widgets.chartdata import bar_of, facts_of, of_prices, packed_bars, packed_scores
from workbench.widgets.mapdata import intraday

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 110
VISIBLE = 250  # bars shown at first
_AFTER = 20  # of them after the selected one


class PriceChart(anywidget.AnyWidget):
    """Candles, volume and, with an explanation, the scores of the window that ends at the selected bar.

    Everything is sent once; selecting, hovering, marking and zooming then need no kernel.

    Parameters
    ----------
    prices
        As `load_prices` returns them, of one asset. Bars with closes only are drawn as a line.
    explanation
        As `explain` returns it, of windows of these prices. Scores by feature are added up.
    date
        Of the bar selected at first: that bar, or the last one before it. None is the last decision that the
        explanation holds, or the last bar.
    height
        Of the picture [px].

    Attributes
    ----------
    bar, date
        The selected bar, counted from 0, and its date as ISO text; setting one sets the other. It ends the
        window that is shaded.
    first, last
        The visible bars, both included.
    span
        Dates of the first and last marked bar, or empty.
    lit
        float32 shares, one for each bar of the window, that light its candles up; empty for none. Made to be
        linked: `jslink((heatmap, "row_weights"), (chart, "lit"))`.

    Raises
    ------
    ValueError
        The prices are of several assets or have no closes, or the explanation is of other bars.
    TraitError
        There is no bar at or before `date`.

    Examples
    --------
    >>> dates = pd.date_range("2024-01-01", periods=3)
    >>> chart = PriceChart(pd.DataFrame({"close": [1.0, 2.0, 3.0]}, dates), date="2024-01-02")
    >>> chart.bar
    1
    """

    _esm = script("price_chart.js")
    _css = style()

    bar = traitlets.Int(0).tag(sync=True)
    date = traitlets.Unicode("").tag(sync=True)
    first = traitlets.Int(0).tag(sync=True)
    last = traitlets.Int(0).tag(sync=True)
    span = traitlets.List(traitlets.Unicode()).tag(sync=True)
    lit = traitlets.CBytes(b"").tag(sync=True)  # the browser's come as a memoryview

    facts = traitlets.Dict().tag(sync=True)
    bars = traitlets.Bytes(b"").tag(sync=True)
    rows = traitlets.Bytes(b"").tag(sync=True)
    scores = traitlets.Bytes(b"").tag(sync=True)
    none = traitlets.Bytes(b"").tag(sync=True)
    height = traitlets.Int(440, min=200, max=2000).tag(sync=True)

    def __init__(
        self,
        prices: pd.DataFrame,
        explanation: Explanation | None = None,
        date: object = None,
        *,
        height: int = 440,
    ) -> None:
        self._dates = pd.DatetimeIndex([])
        super().__init__(height=height)
        self.show(prices, explanation, date)

    def show(self, prices: pd.DataFrame, explanation: Explanation | None = None, date: object = None) -> None:
        """Show other prices in place; nothing stays selected, marked or lit.

        Raises
        ------
        ValueError, TraitError
            As when the widget was made.
        """
        from workbench.plots.candles import check_one_asset, dates_of

        check_one_asset(prices)
        dates = dates_of(prices)
        explained = None if explanation is None else of_prices(explanation, prices, dates)
        rows = (
            np.empty(0, np.int32) if explained is None else dates.get_indexer(explained.dates).astype("<i4")
        )
        bar = int(rows.max()) if len(rows) else len(dates) - 1
        bar = bar if date is None else bar_of(dates, date)
        last = min(len(dates) - 1, bar + _AFTER)
        self._prices, self._dates = prices, dates
        with self.hold_sync():
            self.bars = packed_bars(prices, dates)
            self.rows = rows.tobytes()
            self.scores, self.none, told = packed_scores(explained)
            self.facts = {**facts_of(prices, dates), **told}
            self.span, self.lit = [], b""
            self.first, self.last = max(0, last - VISIBLE + 1), last
            self.bar, self.date = bar, self._text(bar)

    def snapshot(self) -> "Figure":
        """Draw the visible bars as a static picture, the window shaded up to the selected bar."""
        import matplotlib.pyplot as plt

        from workbench.plots.candles import prices as draw

        first, last = sorted((self.first, self.last))
        panels = draw(self._prices.iloc[first : last + 1])
        at, bars = self.bar - first, self.facts["lookback"] or len(self.lit) // 4
        for panel in panels.values():
            limits = panel.get_xlim()
            if bars:
                panel.axvspan(at - bars + 0.5, at + 0.5, alpha=0.12, linewidth=0)
            panel.axvline(at, linestyle=":", linewidth=1)
            panel.set_xlim(limits)
        figure = panels["price"].get_figure(root=True)
        assert figure is not None
        plt.close(figure)  # the notebook's backend would show it a second time
        return figure

    def _text(self, bar: int) -> str:
        return f"{self._dates[bar]:{'%Y-%m-%d %H:%M' if intraday(self._dates) else '%Y-%m-%d'}}"

    @traitlets.validate("bar", "first", "last")
    def _checked_bar(self, proposal: Any) -> int:
        bar, count = proposal["value"], len(self._dates)
        if not -count <= bar < max(1, count):
            raise traitlets.TraitError(
                f"{proposal['trait'].name} must be one of the {count:,} bars, counted from 0 (−1 is the "
                f"last). Got {bar}."
            )
        return bar % max(1, count)

    @traitlets.validate("date")
    def _checked_date(self, proposal: Any) -> str:
        return self._text(bar_of(self._dates, proposal["value"]))

    @traitlets.validate("span")
    def _checked_span(self, proposal: Any) -> list[str]:
        span = proposal["value"]
        if len(span) not in (0, 2):
            raise traitlets.TraitError(f"span must hold two dates, or none: []. Got {span}.")
        return [self._text(bar) for bar in sorted(bar_of(self._dates, date) for date in span)]

    @traitlets.validate("lit")
    def _checked_lit(self, proposal: Any) -> bytes:
        lit = proposal["value"]
        if len(lit) % 4:
            raise traitlets.TraitError(
                f"lit must be the bytes of float32 numbers, four a bar. Got {len(lit)} bytes: "
                "set np.asarray(weights, np.float32).tobytes()."
            )
        return lit

    @traitlets.observe("bar")
    def _follow_bar(self, change: Any) -> None:
        self.date = self._text(change["new"])

    @traitlets.observe("date")
    def _follow_date(self, change: Any) -> None:
        self.bar = bar_of(self._dates, change["new"])

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict, dict] | None:
        """Return the widget and, for where none runs, its picture as it is now."""
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is None:
            return None
        file = BytesIO()
        self.snapshot().savefig(file, format="png", dpi=DPI)
        picture = base64.b64encode(file.getvalue()).decode("ascii")
        return {**bundle[0], "image/png": picture}, bundle[1]
