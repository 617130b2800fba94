import numpy as np
import pandas as pd
import pytest
import torch

from workbench.features.windows import Windows


def make_windows(bars=40, lookback=6, features=3, tickers=("AAA",), seed=0):
    """Windows of random features; two tickers make a panel."""
    random = np.random.default_rng(seed)
    dates = pd.bdate_range("2010-01-04", periods=bars, name="date")
    frames, labels = {}, {}
    for ticker in tickers:
        frames[ticker] = pd.DataFrame(
            random.normal(size=(bars, features)), dates, [f"f{i}" for i in range(features)]
        )
        labels[ticker] = pd.Series(random.integers(0, 3, bars).astype(float), dates)
    if len(tickers) == 1:
        frame, label = frames[tickers[0]], labels[tickers[0]]
    else:
        frame = pd.concat(frames, names=["ticker"]).swaplevel().sort_index()
        label = pd.concat(labels, names=["ticker"]).swaplevel().sort_index()
    frame.attrs["provenance"] = {"ticker": tickers[0] if len(tickers) == 1 else list(tickers)}
    label.attrs = {"task": "classification", "horizon": 1, "classes": ["sell", "hold", "buy"]}
    return Windows.of(frame, label, lookback)


@pytest.fixture
def windows_of():
    """Return what makes windows of other lengths."""
    return make_windows


@pytest.fixture
def windows():
    return make_windows()


@pytest.fixture
def panel():
    return make_windows(tickers=("AAA", "BBB"))


@pytest.fixture
def small_batches(monkeypatch):
    """Batches of about three windows, so that batching is at work."""
    monkeypatch.setattr("workbench.explainers.batches.BARS", 3 * 6)
    monkeypatch.setattr("workbench.explainers.batches.KEPT_BYTES", 3 * 3 * 6 * 6 * 4)
    monkeypatch.setattr("workbench.explainers.gradients.BARS", 3 * 6)
    monkeypatch.setattr("workbench.explainers.attributions.BARS", 3 * 50 * 6)
    monkeypatch.setattr("workbench.explainers.perturbations.BARS", 3 * 7 * 6)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
