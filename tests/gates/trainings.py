"""Small trainings that a monitor watches."""

import numpy as np
import pandas as pd
from skorch.callbacks import Callback

from workbench.features.windows import Windows
from workbench.gates.monitor import GateMonitor
from workbench.models.registry import build_model
from workbench.training.fitting import fit
from workbench.training.states import weights_of, weights_sha256

QUICK = {"epochs": 3, "batch_size": 32, "lr": 0.01, "progress": False}
OPTIONS = {"epochs": 3, "batch_size": 16, "lr": 0.01, "progress": False}


def windows_of(bars=110, lookback=6, task="classification", tickers=(), seed=0):
    """Return windows whose labels follow from the first feature, one bar back."""
    rng = np.random.default_rng(seed)
    dates = pd.bdate_range("2010-01-04", periods=bars, name="date")
    frames, labels = [], []
    for _ in tickers or ("AAPL",):
        x = pd.DataFrame(rng.normal(size=(bars, 3)) * [1, 5, 0.1] + [0, 10, 0], dates, ["a", "b", "c"])
        signal = x["a"].shift(1) + 0.2 * rng.normal(size=bars)
        classes = pd.Series(np.digitize(signal, [-0.5, 0.5]).astype(float), dates).where(signal.notna())
        frames.append(x)
        labels.append(classes if task == "classification" else 0.01 * signal)
        labels[-1].iloc[-1] = np.nan
    x, y = frames[0], labels[0]
    if tickers:
        x, y = (
            pd.concat(p, keys=tickers, names=["ticker"]).swaplevel().sort_index() for p in (frames, labels)
        )
    names = ["sell", "hold", "buy"] if task == "classification" else []
    y.attrs = {"task": task, "horizon": 1, "classes": names}
    x.attrs["provenance"] = {
        "source": "sample",
        "ticker": list(tickers) or "AAPL",
        "sha256": "0",
        "interval": "1d",
    }
    return Windows.of(x, y, lookback)


def parts_of(**options):
    """Return train and valid."""
    return windows_of(**options).split(0.7, 0.85)[:2]


def model_of(parts, name="lstm", **options):
    return build_model(name, parts[0], seed=3, **{"hidden_size": 6} | options)


def watched(parts, model=None, folder=None, every=1, **options):
    """Train a model under a monitor and return both."""
    model = model_of(parts) if model is None else model
    monitor = GateMonitor(parts[1], folder, every=every)
    fit(model, *parts, callbacks=[monitor], **QUICK | options)
    return model, monitor


def digest(model):
    return weights_sha256(weights_of(model))


def plain(parts, model, **options):
    fit(model, *parts, **OPTIONS | options)
    return digest(model)


class At(Callback):
    """Do something in the second batch of an epoch."""

    def __init__(self, epoch, action):
        self.epoch, self.action = epoch, action

    def on_batch_end(self, net, training=False, **kwargs):
        if training and len(net.history) == self.epoch and len(net.history[-1]["batches"]) == 2:
            self.action()
