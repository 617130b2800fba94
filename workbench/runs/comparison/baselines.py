"""What a network must beat: forecasts that know nothing, little, or only what a table of numbers tells."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from workbench.features.windows import Windows
from workbench.runs.comparison.datasets import Dataset, excess_return
from workbench.training.metrics import information_coefficient

Forecast = Callable[[Windows], Float[np.ndarray, " window"]]
ALPHAS = (1.0, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7)  # of ridge, one of them chosen by the validation IC
TREES: dict[str, Any] = {
    "most": 400,
    "patience": 40,
    "options": {
        "objective": "regression",
        "learning_rate": 0.03,
        "num_leaves": 31,
        "min_data_in_leaf": 100,
        "feature_fraction": 0.3,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    },
}
_ROWS = 4096  # windows written out as a table at once


class NotRun(Exception):
    """A contestant cannot run here; the message says why and what would help."""


@dataclass(frozen=True)
class Trained:
    """What came of a training.

    Attributes
    ----------
    forecast
        From windows to one number each.
    parameters
        Numbers learnt from the training windows.
    told
        What else is worth keeping, as JSON can hold it.
    epochs
        The logged epochs; empty where there are none.
    """

    forecast: Forecast
    parameters: int
    told: dict[str, Any]
    epochs: list[dict[str, Any]]


def zero(data: Dataset, seed: int) -> Trained:
    """Forecast nothing: an excess return of 0."""
    return Trained(lambda windows: np.zeros(len(windows)), 0, {}, [])


def last_return(data: Dataset, seed: int) -> Trained:
    """Forecast that the last `horizon` bars come again: their return less the mean of the day's stocks."""
    past = excess_return(data.prices, data.horizon)
    past = past.groupby(level="ticker").shift(data.horizon)  # the label known at the bar

    def forecast(windows: Windows) -> Float[np.ndarray, " window"]:
        index = pd.MultiIndex.from_arrays([windows.dates, windows.tickers])
        return past.reindex(index).fillna(0.0).to_numpy(dtype=np.float64)

    return Trained(forecast, 0, {}, [])


def ridge(data: Dataset, seed: int) -> Trained:
    """Fit scikit-learn's ridge on every number of the window, standardised on the training windows.

    Its penalty is chosen as a network's epoch is, by the mean daily IC of the validation windows.
    """
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = table(data.train).astype(np.float64), data.train.y.double().numpy()
    scores, fitted = {}, {}
    for alpha in ALPHAS:
        fitted[alpha] = make_pipeline(StandardScaler(), Ridge(alpha)).fit(x, y)
        scores[alpha] = daily_ic(in_parts(fitted[alpha].predict, data.valid), data.valid)
    best = max(scores, key=lambda alpha: -np.inf if np.isnan(scores[alpha]) else scores[alpha])
    return Trained(lambda w: in_parts(fitted[best].predict, w), x.shape[1] + 1, {"alpha": best}, [])


def lightgbm(data: Dataset, seed: int) -> Trained:
    """Grow LightGBM's trees on every number of the window, until the validation IC no longer rises."""
    if importlib.util.find_spec("lightgbm") is None:
        raise NotRun(
            "lightgbm is not installed: python -m pip install 'lightgbm>=4.5', or the extra 'compare'"
        )
    import lightgbm as trees

    x, y = table(data.train), data.train.y.double().numpy()
    spread = float(y.std())  # a split must gain something, and squares of daily returns are next to nothing
    learnt = trees.Dataset(x, y / spread)
    checked = trees.Dataset(table(data.valid), data.valid.y.double().numpy() / spread, reference=learnt)
    stop = trees.early_stopping(TREES["patience"], verbose=False)

    def ic(forecast: np.ndarray, _: Any) -> tuple[str, float, bool]:
        found = daily_ic(np.asarray(forecast, np.float64), data.valid)
        return "ic", -1.0 if np.isnan(found) else found, True  # the more the better

    booster = trees.train(
        {**TREES["options"], "metric": "None", "seed": seed},
        learnt, TREES["most"], valid_sets=[checked], feval=ic, callbacks=[stop],
    )  # fmt: skip
    leaves = sum(tree["num_leaves"] for tree in booster.dump_model()["tree_info"])

    def forecast(windows: Windows) -> Float[np.ndarray, " window"]:
        return spread * in_parts(lambda x: booster.predict(x, num_threads=1), windows)

    return Trained(forecast, int(leaves), {"trees": int(booster.best_iteration)}, [])


BASELINES: dict[str, Callable[[Dataset, int], Trained]] = {
    "zero": zero,
    "last_return": last_return,
    "ridge": ridge,
    "lightgbm": lightgbm,
}
SEEDED = ("lightgbm",)  # the others have no chance in them, and one seed says all


def daily_ic(forecast: Float[np.ndarray, " window"], windows: Windows) -> float:
    """Return the mean daily IC, as `fit` counts it for networks; NaN where none is defined."""
    return information_coefficient(forecast, windows.y.double().numpy(), windows.dates.to_numpy())


def table(windows: Windows) -> Float[np.ndarray, "window number"]:
    """Write windows out as rows, a column for each feature of each bar, oldest bar first."""
    return windows.batch(slice(None)).reshape(len(windows), -1).numpy()


def in_parts(predict: Callable[[np.ndarray], Any], windows: Windows) -> Float[np.ndarray, " window"]:
    """Predict some windows at a time: a table is as many times larger than the bars as a window has bars."""
    starts = range(0, len(windows), _ROWS)
    parts = [np.asarray(predict(table(windows[start : start + _ROWS])), np.float64) for start in starts]
    return np.concatenate(parts) if parts else np.empty(0)
