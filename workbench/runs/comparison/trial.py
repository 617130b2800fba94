"""One cell, run: trained, asked about every test day, scored, traded, and timed."""

import time
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from workbench.features.windows import Windows
from workbench.models.registry import build_model
from workbench.runs.comparison.baselines import BASELINES, NotRun, Trained
from workbench.runs.comparison.cells import Cell, Settings
from workbench.runs.comparison.datasets import Dataset
from workbench.runs.comparison.memory import peak_memory
from workbench.runs.comparison.place import place
from workbench.runs.comparison.portfolio import long_short, money, trade
from workbench.runs.comparison.scores import (
    Resampling,
    correlations_over_time,
    daily_correlations,
    daily_hits,
    interval,
    mean_over_spread,
    ratio,
)
from workbench.training.fitting import fit
from workbench.training.prediction import predict

DIGITS = 6  # of what is kept by day


def run_cell(cell: Cell, data: Dataset, settings: Settings) -> dict[str, Any]:
    """Train one model with one seed and return its record, as JSON can hold it.

    Raises
    ------
    NotRun
        The model cannot run here.
    """
    with peak_memory() as peak:
        began = time.process_time()
        trained = train(cell.model, data, cell.seed, settings)
        learnt = time.process_time()
        values = trained.forecast(data.test)
        asked = time.process_time()
        megabytes = peak()
    scored = score(values, data, settings)
    return {
        "dataset": cell.dataset,
        "model": cell.model,
        "seed": cell.seed,
        "key": cell.key,
        "data": cell.data,
        "code": cell.code,
        "configuration": cell.configuration,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "place": place(),
        "windows": {name: len(getattr(data, name)) for name in ("train", "valid", "test")},
        "cost": {
            "train_cpu_s": learnt - began,
            "epoch_cpu_s": (learnt - began) / len(trained.epochs) if trained.epochs else None,
            "predict_cpu_ms_a_window": 1e3 * (asked - learnt) / len(data.test),
            "peak_mb": megabytes,
            "parameters": trained.parameters,
        },
        "told": trained.told,
        "epochs": trained.epochs,
        **scored,
    }


def train(name: str, data: Dataset, seed: int, settings: Settings) -> Trained:
    """Train a baseline or a network of the registry; one that these windows cannot be read by is not run."""
    if name in BASELINES:
        return BASELINES[name](data, seed)
    try:
        model = build_model(name, data.train, seed)
    except ValueError as refusal:  # such as a model of concepts, where none are known
        raise NotRun(str(refusal).partition(". ")[0]) from refusal
    by_day = getattr(model, "cross_sectional", False)
    a_day = len(data.train) / len(data.train.dates.unique())
    alone = hasattr(model, "training_loss")  # a loss of a model's own is that of one day
    days = 1 if alone else max(1, round(settings.batch / a_day))
    size = days if by_day else settings.batch
    options: dict[str, Any] = {"epochs": settings.epochs, "batch_size": size, "lr": settings.lr}
    history = fit(
        model, data.train, data.valid, seed, monitor="valid_ic", patience=None, progress=False, **options
    )

    def forecast(windows: Windows) -> np.ndarray:
        return predict(model, windows)["forecast"].to_numpy()

    count = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    rows = history.to_dict()["epochs"]
    return Trained(forecast, count, {"best_epoch": history.best_epoch}, rows)


def score(values: np.ndarray, data: Dataset, settings: Settings) -> dict[str, Any]:
    """Score forecasts of the test windows: figures, their intervals, why any is undefined, and days."""
    forecast = _series(values, data.test)
    outcome = _series(data.test.y.double().numpy(), data.test)
    daily = daily_correlations(forecast, outcome)
    hits = daily_hits(forecast, outcome)
    positions = long_short(forecast, data.horizon)
    book = trade(positions, data.prices, settings.cost_bps)
    earned, reasons = money(book, trade(positions, data.prices, 0.0))
    known = outcome.notna()
    figures = {
        **_means(daily),
        "ic_over_time": float(correlations_over_time(forecast, outcome).mean()),
        "hit_rate": _over(*hits[["hits", "signs"]].to_numpy().sum(axis=0).tolist()),
        "r2_against_zero": 1 - float(((forecast - outcome)[known] ** 2).sum() / (outcome[known] ** 2).sum()),
        **earned,
    }
    kept = {"ic": daily["ic"], "rank_ic": daily["rank_ic"], **hits, "return": book.returns}
    return {
        "figures": figures,
        "intervals": intervals(kept, Resampling(data.horizon, settings.draws), _year(book)),
        "undefined": {**_undefined(figures), **reasons},
        "days": {
            name: {"first": f"{each.index[0]:%Y-%m-%d}", "values": [round(float(v), DIGITS) for v in each]}
            for name, each in kept.items()
        },
        "bars_a_year": _year(book),
    }


def intervals(days: dict[str, pd.Series], how: Resampling, bars_a_year: float) -> dict[str, list[float]]:
    """Return the 95 % intervals over days of IC, rank IC, hit rate and Sharpe ratio."""
    drawn = {}
    for name in ("ic", "rank_ic"):
        defined = days[name].dropna().to_numpy()
        drawn[name] = interval(np.column_stack([defined, np.ones(len(defined))]), ratio, how)
    drawn["hit_rate"] = interval(np.column_stack([days["hits"], days["signs"]]), ratio, how)
    r = days["return"].to_numpy()
    low, high = interval(np.column_stack([r, r**2, np.ones(len(r))]), mean_over_spread, how)
    drawn["sharpe"] = (low * bars_a_year**0.5, high * bars_a_year**0.5)
    return {name: list(pair) for name, pair in drawn.items()}


def _series(values: np.ndarray, windows: Windows) -> pd.Series:
    index = pd.MultiIndex.from_arrays([windows.dates, windows.tickers], names=["date", "ticker"])
    return pd.Series(np.asarray(values, dtype=np.float64), index=index)


def _means(daily: pd.DataFrame) -> dict[str, float]:
    """Mean of the daily correlations and their mean over their spread, the information ratio of the IC."""
    figures = {}
    for name in daily.columns:
        values = daily[name].dropna().to_numpy()
        mean = float(values.mean()) if len(values) else float("nan")
        spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
        figures[str(name)] = mean
        figures[f"{name}_ir"] = mean / spread if spread > 0 else float("nan")
    return figures


def _undefined(figures: dict[str, float]) -> dict[str, str]:
    alike = "the forecasts of every day are all alike, so there is nothing to correlate"
    told: dict[str, str] = dict.fromkeys(("ic", "ic_ir", "rank_ic", "rank_ic_ir", "ic_over_time"), alike)
    told["hit_rate"] = "no forecast has a sign"
    return {name: why for name, why in told.items() if figures[name] != figures[name]}


def _over(one: float, other: float) -> float:
    return float(one / other) if other else float("nan")


def _year(book: Any) -> float:
    return float(book.conventions.periods_per_year)
