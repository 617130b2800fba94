"""Attention of one window, query by key, with layer and head chosen in the browser."""

import base64
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import anywidget
import numpy as np
import pandas as pd
import traitlets
from jaxtyping import Float
from matplotlib.figure import Figure

from workbench.widgets.assets import script, style
from workbench.widgets.mapdata import (
    MapLayer,
    colour_top,
    fused,
    intraday,
    layers_of,
    milliseconds,
    shrunk,
)

FUSIONS = ("mean", "max", "min")
DPI = 110


class AttentionHeatmap(anywidget.AnyWidget):
    """Who looked at whom: the attention of one window, with selectors for layer and head.

    All layers and heads are sent once; switching, hovering and selecting a row then need no kernel. Maps of
    more than 512 bars a side, or of more than 24 MB together, are sent as means over blocks of bars, as the
    title then says.

    Parameters
    ----------
    maps
        As `attention_maps` returns them, of one window; or a list of arrays (head, query, key), one a layer.
    dates
        Dates of the window's bars, such as `windows.at(day).bar_dates`. None counts bars back from the
        decision, t.
    layer
        Which layer to begin with; −1 is the last.
    head
        "mean", "max" or "min" over heads, or a head's number.
    provenance
        Of the prices; made-up prices are named in the title.
    height
        Of the picture [px].

    Attributes
    ----------
    layer, head
        What is shown; `head` is text: "mean", "max", "min", "0", "1" …
    row, key
        The selected query and the key under the cursor, in cells counted from 0; −1 for none.
    row_weights
        float32 shares of the selected row, one for each bar looked at; empty without a row. Written by the
        browser, to be linked to `PriceChart.lit`.

    Raises
    ------
    ValueError
        The maps are of several windows or have other axes, dates match no layer, or there is no such layer
        or head.

    Examples
    --------
    >>> heatmap = AttentionHeatmap([np.full((2, 4, 4), 0.25)], head="max")
    >>> heatmap.layer, heatmap.head, heatmap.weights.shape
    (0, 'max', (4, 4))
    """

    _esm = script("attention_heatmap.js")
    _css = style()

    layer = traitlets.Int(0).tag(sync=True)
    head = traitlets.Unicode("mean").tag(sync=True)
    row = traitlets.Int(-1).tag(sync=True)
    key = traitlets.Int(-1).tag(sync=True)
    row_weights = traitlets.CBytes(b"").tag(sync=True)  # the browser's come as a memoryview

    data = traitlets.Bytes(b"").tag(sync=True)
    layers = traitlets.List(traitlets.Dict()).tag(sync=True)
    dates = traitlets.Bytes(b"").tag(sync=True)
    intraday = traitlets.Bool(False).tag(sync=True)
    top = traitlets.Float(1.0).tag(sync=True)
    title = traitlets.Unicode("").tag(sync=True)
    height = traitlets.Int(420, min=160, max=2000).tag(sync=True)

    def __init__(
        self,
        maps: Any,
        dates: pd.DatetimeIndex | None = None,
        layer: int = -1,
        head: str | int = "mean",
        *,
        provenance: Mapping[str, Any] | None = None,
        height: int = 420,
    ) -> None:
        self._layers: list[MapLayer] = []
        self._dates: pd.DatetimeIndex | None = None
        super().__init__(height=height, title=_named(provenance))
        self.show(maps, dates)
        self.layer = layer
        self.head = str(head)

    def show(self, maps: Any, dates: pd.DatetimeIndex | None = None) -> None:
        """Show the maps of another window in place; layer and head stay chosen if the new maps have them.

        Raises
        ------
        ValueError
            As when the widget was made.
        """
        whole = layers_of(maps)
        sides = sorted({side for layer in whole for side in layer.bars})
        if dates is not None and len(dates) not in sides:
            raise ValueError(
                f"dates must name each bar of the window: {' or '.join(map(str, sides))} of them. "
                f"Got {len(dates)}. windows.at(day).bar_dates has them."
            )
        layers = shrunk(whole)
        with self.hold_sync():
            self._layers, self._dates = layers, dates
            self.layers = [layer.facts() for layer in layers]
            self.data = b"".join(layer.weights.tobytes() for layer in layers)
            self.dates = b"" if dates is None else milliseconds(dates).tobytes()
            self.intraday = dates is not None and intraday(dates)
            self.top = colour_top(layers)
            self.layer = min(self.layer, len(layers) - 1)
            if self.head not in FUSIONS and int(self.head) >= self._most_heads():
                self.head = "mean"
            self.row = self.key = -1

    @property
    def weights(self) -> Float[np.ndarray, "query key"]:
        """The shares that are shown: of the chosen layer, by the chosen head or over all heads."""
        layer = self._layers[self.layer]
        if not self._drawable():
            raise ValueError(
                f"{layer.name} has {len(layer.weights)} heads, counted from 0; it has no head {self.head}. "
                "Choose another head, or another layer."
            )
        return fused(layer.weights, self.head)

    def snapshot(self) -> Figure:
        """Draw what is chosen as a static picture."""
        from workbench.widgets.mappicture import draw_map

        return draw_map(self.weights, self._layers[self.layer], self.heading(), self._dates, self.top)

    def heading(self) -> list[str]:
        """Return the title of what is chosen: what it is, then facts about it."""
        layer, over = self._layers[self.layer], self.head in FUSIONS
        facts = [f"{self.head} over {len(layer.weights)} heads" if over else f"head {self.head}"]
        if layer.block > 1:
            facts.append(f"means over blocks of {layer.block} × {layer.block} bars")
        what = f"Attention, layer {self.layer} ({layer.name})"
        return [f"{self.title} · {what}" if self.title else what, *facts]

    def _drawable(self) -> bool:
        return self.head in FUSIONS or int(self.head) < len(self._layers[self.layer].weights)

    def _most_heads(self) -> int:
        return max(len(layer.weights) for layer in self._layers)

    @traitlets.validate("layer")
    def _checked_layer(self, proposal: Any) -> int:
        layer, count = proposal["value"], len(self._layers)
        if count and not -count <= layer < count:
            raise traitlets.TraitError(
                f"layer must be one of the {count} layers, counted from 0 (−1 is the last). Got {layer}."
            )
        return layer % count if count else layer

    @traitlets.validate("head")
    def _checked_head(self, proposal: Any) -> str:
        head = proposal["value"]
        if head in FUSIONS or not self._layers or (head.isdecimal() and int(head) < self._most_heads()):
            return head
        raise traitlets.TraitError(
            f'head must be "mean", "max", "min" or the number of one of {self._most_heads()} heads, '
            f'counted from "0". Got {head!r}.'
        )

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict, dict] | None:
        """Return the widget and, for where none runs, its picture as it is now."""
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is None or not self._drawable():
            return bundle
        file = BytesIO()
        self.snapshot().savefig(file, format="png", dpi=DPI)
        picture = base64.b64encode(file.getvalue()).decode("ascii")
        return {**bundle[0], "image/png": picture}, bundle[1]


def _named(provenance: Mapping[str, Any] | None) -> str:
    if not provenance:
        return ""
    from workbench.plots.style import named

    ticker = provenance.get("ticker", "")
    made_up = "SYNTHETIC" if provenance.get("synthetic") else ""
    return " · ".join(filter(None, [made_up, named(ticker)]))
