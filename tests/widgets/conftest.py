"""Small models, windows and prices for the widgets' tests, and a page that listens to an Explorer."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from module_page import chromium, module_page  # noqa: F401

import workbench.widgets.explorer as widget
from workbench.features.indicators import make_features
from workbench.features.labels import forward_return, label_moves
from workbench.features.windows import Windows
from workbench.market.loading import load_panel, load_prices
from workbench.models.registry import build_model
from workbench.training.checkpoints import ensure_model
from workbench.widgets.explorer import Explorer

LOOKBACK = 12
MARKET = "LAG5-SNR2-BARS260"
OTHER = "NOISE-BARS260"
TINY = {"d_model": 8, "n_heads": 2, "n_layers": 2, "d_ff": 16}
QUICK = {"epochs": 1, "progress": False}


class Page:
    """What a browser holds of an Explorer: every message and state that was sent, and a way to speak."""

    def __init__(self, explorer: Explorer) -> None:
        self.explorer = explorer
        self.messages: list[tuple[dict, list[bytes]]] = []
        self.states: list[dict] = []
        explorer.send = self._message  # type: ignore[method-assign]
        explorer._send = self._state  # type: ignore[method-assign]

    def _message(self, content, buffers=None):
        self.messages.append((content, buffers or []))

    def _state(self, message, buffers=None):
        if message["method"] == "update":
            self.states.append(message["state"])

    def ask(self, **content):
        """Ask, and return what was answered once everything is quiet."""
        before = len(self.messages)
        self.explorer._handle_custom_msg(content, [])
        self.explorer.wait(30)
        return self.messages[before:]

    def choose(self, **state):
        """Choose as the browser does, and wait until that is shown."""
        self.explorer.set_state(state)
        self.explorer.wait(30)


def cut_windows(prices: pd.DataFrame, task: str = "classification", lookback: int = LOOKBACK) -> Windows:
    labels = label_moves(prices, scale="volatility") if task == "classification" else forward_return(prices)
    return Windows.of(make_features(prices), labels, lookback)


def read(buffer: bytes, kind: str, *shape: int) -> np.ndarray:
    values = np.frombuffer(buffer, kind)
    return values.reshape(shape) if shape else values


@pytest.fixture(autouse=True)
def unpainted(monkeypatch):
    """Let no view be drawn in the background of another test."""
    monkeypatch.setattr(widget, "SETTLED", 3600.0)
    yield
    Explorer.close_all()


@pytest.fixture(scope="session")
def numbers():
    """Read a buffer as the browser does."""
    return read


@pytest.fixture(scope="session")
def windows_of():
    """Cut prices into windows with labels."""
    return cut_windows


@pytest.fixture
def listen():
    """Open a page on an Explorer."""
    return Page


@pytest.fixture(scope="session")
def prices() -> pd.DataFrame:
    return load_prices(MARKET, source="synthetic")


@pytest.fixture(scope="session")
def windows(prices) -> Windows:
    return cut_windows(prices)


@pytest.fixture(scope="session")
def model(windows) -> torch.nn.Module:
    return build_model("transformer", windows, **TINY).eval()


@pytest.fixture(scope="session")
def trained(windows, tmp_path_factory) -> Path:
    """A folder with a transformer trained on each of two made-up markets, and an LSTM on the first."""
    folder = tmp_path_factory.mktemp("models")
    for ticker in (MARKET, OTHER):
        mine = cut_windows(load_prices(ticker, source="synthetic"))
        train, valid, _ = mine.split(0.6, 0.8)
        ensure_model("transformer", train, valid, folder=folder, **TINY, **QUICK)
        if ticker == MARKET:
            ensure_model("lstm", train, valid, folder=folder, **QUICK)
    return folder


@pytest.fixture
def explorer(model, windows, prices, tmp_path) -> Explorer:
    return Explorer(model, windows, prices, folder=str(tmp_path))


@pytest.fixture
def page(explorer) -> Page:
    return Page(explorer)


@pytest.fixture(scope="session")
def panel() -> pd.DataFrame:
    return load_panel(["LAG2-BARS240", "NOISE-BARS240"], source="synthetic")
