"""How good a model's answers are on windows that it never saw, and how far chance could have moved that."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from workbench.features.windows import Windows
from workbench.runs.comparison.scores import Resampling, interval, mean_over_spread, ratio
from workbench.runs.finalreport.numbers import Figure, figure
from workbench.training.metrics import (
    balanced_accuracy,
    confusion,
    information_coefficient,
    information_coefficients,
    information_ratio,
    matthews,
    rank_information_coefficient,
)

__all__ = ["FEW", "judge", "span_of"]

FEW = "fewer than 20 days, too few to draw from"
NONE = "the label of no window is known"
CLASSES = ("balanced accuracy", "accuracy", "Matthews correlation", "log loss [nat]")
FORECASTS = ("IC", "rank IC")
Judgement = dict[str, object]


def judge(answers: pd.DataFrame, windows: Windows, draws: int = 1000, seed: int = 0) -> Judgement:
    """Return the figures of answers to windows whose outcome is known.

    Parameters
    ----------
    answers
        What `predict` says of the windows.
    windows
        Those windows; the ones without a known label are left out.
    draws, seed
        Of the stationary bootstrap of days behind the 95 % intervals.

    Returns
    -------
    dict
        "windows" judged, "figures" by name, "guessing" (what knowing nothing gets in the headline figure),
        "headline" (the name of that figure), "interval" of it (two figures), "draws", "seed".
    """
    known = np.asarray(windows.label_dates.notna())
    judged, told = windows[known], answers.loc[known]
    how = Resampling(windows.horizon, draws, seed)
    found = _classes(told, judged, how) if windows.task == "classification" else _forecasts(told, judged, how)
    return {"windows": len(judged), **found, "draws": draws, "seed": seed}


def _classes(answers: pd.DataFrame, windows: Windows, how: Resampling) -> Judgement:
    if not len(windows):
        return _unjudged("balanced accuracy", CLASSES, 1 / len(windows.classes))
    y, predicted = windows.y.numpy(), answers.to_numpy().argmax(axis=1)
    counts = confusion(y, predicted, len(windows.classes))
    likely = np.log(np.maximum(answers.to_numpy()[np.arange(len(y)), y], np.finfo(float).tiny))
    occurring = int((counts.sum(axis=1) > 0).sum())
    one = "all windows are of one class" if occurring < 2 else ""
    figures = {
        "balanced accuracy": figure(balanced_accuracy(counts)),
        "accuracy": figure(float(counts.trace() / counts.sum())),
        "Matthews correlation": figure(None if one else matthews(counts), one),
        "log loss [nat]": figure(float(-likely.mean())),
    }
    sums = _found_by_day(y, predicted, windows, len(windows.classes))
    low, high = interval(sums, lambda drawn: _balanced(drawn, len(windows.classes)), how)
    return {
        "headline": "balanced accuracy",
        "figures": figures,
        "guessing": 1 / occurring,
        "interval": [figure(low, FEW), figure(high, FEW)],
    }


def _unjudged(headline: str, names: Sequence[str], guessing: float) -> Judgement:
    none = figure(None, NONE)
    return {
        "headline": headline,
        "figures": dict.fromkeys(names, none),
        "guessing": guessing,
        "interval": [none, none],
    }


def _found_by_day(
    y: np.ndarray, predicted: np.ndarray, windows: Windows, n_classes: int
) -> Float[np.ndarray, "day value"]:
    """Return by day: hits, hits of each class, windows of each class."""
    codes, days = pd.factorize(windows.dates, sort=True)
    hits = (y == predicted).astype(float)
    columns = [np.bincount(codes, hits, len(days))]
    for weight in (hits, np.ones(len(y))):
        columns += [np.bincount(codes, weight * (y == c), len(days)) for c in range(n_classes)]
    return np.stack(columns, axis=1)


def _balanced(sums: Float[np.ndarray, "draw value"], n_classes: int) -> Float[np.ndarray, " draw"]:
    found, there = sums[:, 1 : 1 + n_classes], sums[:, 1 + n_classes :]
    shares = np.divide(found, there, out=np.full(found.shape, np.nan), where=there > 0)
    occurs = np.isfinite(shares)
    total = np.where(occurs, shares, 0.0).sum(axis=1)
    return np.divide(total, occurs.sum(axis=1), out=np.full(len(sums), np.nan), where=occurs.any(axis=1))


def _forecasts(answers: pd.DataFrame, windows: Windows, how: Resampling) -> Judgement:
    if not len(windows):
        return _unjudged("IC", (*FORECASTS, *(("ICIR",) if windows.is_panel else ())), 0.0)
    forecast, y = answers["forecast"].to_numpy(), windows.y.double().numpy()
    groups = windows.dates.to_numpy() if windows.is_panel else np.zeros(len(y))
    constant = "forecasts or outcomes never vary" + (" within a day" if windows.is_panel else "")
    figures = {
        "IC": figure(information_coefficient(forecast, y, groups), constant),
        "rank IC": figure(rank_information_coefficient(forecast, y, groups), constant),
    }
    if windows.is_panel:
        spread = "needs two days of differing IC"
        figures["ICIR"] = figure(information_ratio(forecast, y, groups), spread)
    low, high = _daily(forecast, y, groups, how) if windows.is_panel else _over_time(forecast, y, how)
    return {
        "headline": "IC",
        "figures": figures,
        "guessing": 0.0,
        "interval": [figure(low, FEW), figure(high, FEW)],
    }


def _daily(forecast: np.ndarray, y: np.ndarray, days: np.ndarray, how: Resampling) -> tuple[float, float]:
    order = np.argsort(days, kind="stable")
    found = information_coefficients(forecast[order], y[order], days[order])
    return interval(np.stack([found, np.ones(len(found))], axis=1), ratio, how)


def _over_time(forecast: np.ndarray, y: np.ndarray, how: Resampling) -> tuple[float, float]:
    a, b = ((values - values.mean()) / (values.std() or 1.0) for values in (forecast, y))
    return interval(np.stack([a * b, a, b, a * a, b * b, np.ones(len(a))], axis=1), _pearson, how)


def _pearson(sums: Float[np.ndarray, "draw 6"]) -> Float[np.ndarray, " draw"]:
    """Return the correlation from sums of ab, a, b, a², b² and 1."""
    ab, a, b, aa, bb, n = sums.T
    covariance, va, vb = ab / n - a * b / n**2, aa / n - (a / n) ** 2, bb / n - (b / n) ** 2
    spread = np.sqrt(np.maximum(va, 0)) * np.sqrt(np.maximum(vb, 0))
    return np.divide(covariance, spread, out=np.full(len(sums), np.nan), where=spread > 0)


def span_of(returns: pd.Series, year: float, how: Resampling) -> dict[str, list[Figure]]:
    """Return 95 % intervals of a book's Sharpe ratio and of its mean return [% a year]."""
    r = returns.to_numpy(dtype=np.float64)
    ones = np.ones(len(r))
    why = FEW if len(r) < 20 else "the returns do not vary"
    sharpe = interval(np.stack([r, r * r, ones], axis=1), mean_over_spread, how)
    mean = interval(np.stack([r, ones], axis=1), ratio, how)
    return {
        "Sharpe": [figure(value * np.sqrt(year), why) for value in sharpe],
        "mean return [% a year]": [figure(100 * value * year, why) for value in mean],
    }
