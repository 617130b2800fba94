"""Pictures are drawn without a screen, closed after each test, and checked for text that cannot be read."""

import itertools
from types import SimpleNamespace

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axis import Axis
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    plt.close("all")


@pytest.fixture
def walk():
    """Prices of one asset over business days: a seeded random walk."""

    def made(count=60, **provenance):
        rng = np.random.default_rng(7)
        close = 50 * np.exp(np.cumsum(0.02 * rng.normal(size=count)))
        opened = close * np.exp(0.01 * rng.normal(size=count))
        body = np.stack([opened, close])
        frame = pd.DataFrame(
            {
                "open": opened,
                "high": body.max(0) * 1.01,
                "low": body.min(0) * 0.99,
                "close": close,
                "volume": rng.integers(1_000_000, 9_000_000, size=count).astype(float),
            },
            index=pd.bdate_range("2011-03-01", periods=count, name="date"),
        )
        told = {"ticker": "AAPL", "interval": "1d", "adjusted": "splits and dividends", "currency": "USD"}
        frame.attrs["provenance"] = told | provenance
        return frame

    return made


@pytest.fixture
def layer_of():
    """One recurrent layer's values, as `gate_states` gives them: made up, but gates within their ranges."""

    def made(kind="lstm", batch=3, time=5, unit=4, seed=0, **more):
        rng = np.random.default_rng(seed)
        names = {"lstm": ("input", "forget", "candidate", "output"), "gru": ("reset", "update", "candidate")}
        shape = (batch, time, unit)
        gates = {name: rng.random(shape) for name in names[kind]}
        gates["candidate"] = rng.uniform(-1, 1, shape)
        usual = {
            "name": "rnn.l0",
            "kind": kind,
            "reverse": False,
            "gates": gates,
            "cell": rng.normal(size=shape) if kind == "lstm" else None,
            "hidden": rng.uniform(-1, 1, shape),
            "mask": np.ones((batch, time), bool),
        }
        return SimpleNamespace(**usual | more)

    return made


@pytest.fixture
def readable():
    """Assert that no text of a figure is faint, cut off, or lies on another."""

    def check(figure: Figure) -> None:
        figure.canvas.draw()
        texts = _texts(figure)
        face = np.array(to_rgb(figure.get_facecolor()))
        for text in texts:
            assert abs(np.array(to_rgb(text.get_color())) - face).min() > 0.5, f"{text.get_text()!r} is faint"
        boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
        assert boxes
        for said, box in boxes:
            inside = (
                box.x0 >= -1
                and box.y0 >= -1
                and box.x1 <= figure.bbox.x1 + 1
                and box.y1 <= figure.bbox.y1 + 1
            )
            assert inside, f"{said!r} is cut off at {box}"
        for (said, box), (other, second) in itertools.combinations(boxes, 2):
            across = min(box.x1, second.x1) - max(box.x0, second.x0)
            up = min(box.y1, second.y1) - max(box.y0, second.y0)
            assert min(across, up) < 1, f"{said!r} lies on {other!r}"

    return check


def _texts(figure: Figure) -> list[Text]:
    """What is written: tick labels within the view, and every other text."""
    ticks = set()
    written = []
    for axis in figure.findobj(Axis):
        low, high = sorted(axis.get_view_interval())
        ticks |= {
            label for tick in (*axis.majorTicks, *axis.minorTicks) for label in (tick.label1, tick.label2)
        }
        if not axis.get_visible():
            continue
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):  # the lists hold stale ones too
            if low <= tick.get_loc() <= high:
                written += [tick.label1, tick.label2]
    written += [text for text in figure.findobj(Text) if text not in ticks]
    return [text for text in written if text.get_visible() and text.get_text().strip()]
