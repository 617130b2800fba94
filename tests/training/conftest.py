"""Small windows whose labels follow from the feature two bars back."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from workbench.features.windows import Windows


def _windows(
    bars: int = 120,
    lookback: int = 4,
    task: str = "classification",
    tickers: tuple[str, ...] = (),
    noise: float = 0.2,
    seed: int = 0,
) -> Windows:
    rng = np.random.default_rng(seed)
    dates = pd.bdate_range("2010-01-04", periods=bars, name="date")
    frames, labels = [], []
    for _ in tickers or ("AAPL",):
        x = pd.DataFrame(rng.normal(size=(bars, 3)), index=dates, columns=["a", "b", "c"])
        x = x * [1, 5, 0.1] + [0, 10, 0]
        signal = x["a"].shift(2) + noise * rng.normal(size=bars)
        y = pd.Series(np.select([signal < -0.5, signal > 0.5], [0.0, 2.0], 1.0), index=dates).where(
            signal.notna()
        )
        frames.append(x)
        labels.append(y if task == "classification" else 0.01 * signal)
        labels[-1].iloc[-1] = np.nan
    features, label = frames[0], labels[0]
    if tickers:
        features = pd.concat(frames, keys=tickers, names=["ticker"]).swaplevel().sort_index()
        label = pd.concat(labels, keys=tickers, names=["ticker"]).swaplevel().sort_index()
    classes = ["sell", "hold", "buy"] if task == "classification" else []
    label.attrs = {"task": task, "horizon": 1, "classes": classes}
    ticker = list(tickers) or "AAPL"
    features.attrs["provenance"] = {"source": "sample", "ticker": ticker, "sha256": "0123", "interval": "1d"}
    return Windows.of(features, label, lookback)


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Networks this small only wait for a second thread, and wait long on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def make_windows() -> Callable[..., Windows]:
    """Return the function that makes windows: bars, lookback, task, tickers, noise, seed."""
    return _windows


@pytest.fixture
def parts(make_windows) -> tuple[Windows, Windows, Windows]:
    """Train (81 windows), valid and test of one ticker."""
    return make_windows().split(0.7, 0.85)


class Linear(nn.Module):
    """A user's own module: no spec, no scaling, nothing of the workbench."""

    def __init__(self, outputs: int = 3, lookback: int = 4, seed: int = 0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.layer = nn.Linear(lookback * 3, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x.flatten(1))


@pytest.fixture
def linear() -> Callable[..., Linear]:
    """Return the class of a user's own module."""
    return Linear
