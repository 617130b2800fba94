"""From what the model answers to positions, by a rule whose only knob is set on the validation windows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from workbench.features.windows import Windows
from workbench.runs.comparison.portfolio import QUARTER, long_short
from workbench.trading.ledger import backtest
from workbench.trading.result import BacktestResult
from workbench.trading.signals import positions, positions_from_forecast

__all__ = ["Strategy", "choose_strategy", "fill_of", "traded"]

SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)  # of the validation answers that a threshold lets act, at the least
MOVED = 0.01  # of the answers: a threshold that rounding moves past more of them stays as it is
RULES = {
    "classes": "buy or sell short when that class is the likeliest and its probability reaches the "
    "threshold; hold keeps the position; below the threshold flat",
    "forecast": "buy when the forecast is positive, sell short when negative, if its size reaches the "
    "threshold; below it flat",
    "ranks": "each day buy the quarter of the stocks with the highest forecasts and sell short the quarter "
    "with the lowest, each held for the labels' horizon; there is no threshold",
}


@dataclass(frozen=True)
class Strategy:
    """A rule and its threshold, with the trials that chose it.

    Attributes
    ----------
    rule
        A key of `RULES`.
    threshold
        None where the rule has none.
    chosen
        How the threshold came about, in words.
    fill, cost_bps
        As `backtest` takes them.
    trials
        A row a threshold tried on the validation windows: "threshold", "Sharpe" (None: undefined), "trades".
    """

    rule: str
    threshold: float | None
    chosen: str
    fill: str
    cost_bps: float | int
    trials: Sequence[Mapping[str, Any]] = field(default=())


def fill_of(prices: pd.DataFrame) -> str:
    """Return when orders fill: at the next open where the prices have opens, else at the next close."""
    fields = prices.attrs.get("provenance", {}).get("fields", list(prices.columns))
    opens = "open" in fields and "open" in prices and bool(prices["open"].notna().any())
    return "next_open" if opens else "next_close"


def choose_strategy(
    answers: pd.DataFrame,
    valid: Windows,
    prices: pd.DataFrame,
    cost_bps: float | int = 5.0,
    threshold: float | int | None = None,
) -> Strategy:
    """Choose the threshold by the Sharpe ratio of the validation windows, unless it is given.

    Parameters
    ----------
    answers
        What `predict` says of the validation windows.
    valid
        Those windows.
    prices
        Of the same assets.
    cost_bps
        Fee a side.
    threshold
        Taken as it is.
    """
    fill, rule = fill_of(prices), _rule(valid)
    if rule == "ranks":
        if threshold is not None:
            raise ValueError(
                "The forecasts of a panel are ranked, and ranks have no threshold: leave --threshold out."
            )
        return Strategy(rule, None, "the rule has none", fill, cost_bps)
    if threshold is not None:
        return Strategy(rule, float(threshold), "given by the user", fill, cost_bps)
    trials = []
    for tried in _candidates(answers, rule):
        result = traded(answers, prices, Strategy(rule, tried, "", fill, cost_bps))
        stats: dict[str, Any] = result.stats.to_dict()
        sharpe = None if np.isnan(stats["Sharpe"]) else float(stats["Sharpe"])
        trials.append({"threshold": tried, "Sharpe": sharpe, "trades": int(stats["Trades"])})
    known = [trial for trial in trials if trial["Sharpe"] is not None]
    best = max(known, key=lambda trial: trial["Sharpe"]) if known else trials[0]
    how = (
        "the highest Sharpe ratio on the validation windows"
        if known
        else "the lowest tried, since no validation trade was made at any"
    )
    return Strategy(rule, best["threshold"], how, fill, cost_bps, tuple(trials))


def traded(answers: pd.DataFrame, prices: pd.DataFrame, strategy: Strategy) -> BacktestResult:
    """Return what trading on the answers would have earned."""
    exposure = 1.0
    if strategy.rule == "ranks":
        forecast = pd.Series(answers["forecast"].to_numpy(), answers.index)
        held: pd.Series | pd.DataFrame = long_short(forecast, int(answers.attrs["horizon"]), QUARTER)
        # Not by what was held at most, which nobody knew before the last day.
        most = int(np.unique(forecast.index.get_level_values("date"), return_counts=True)[1].max())
        exposure = len(held.columns) / (2 * max(1, int(QUARTER * most)))
    elif strategy.rule == "classes":
        held = positions(answers, strategy.threshold or 0.0)
    else:
        held = positions_from_forecast(answers, strategy.threshold or 0.0)
    return backtest(held, prices, strategy.fill, "on_change", strategy.cost_bps, exposure=exposure)


def _rule(windows: Windows) -> str:
    if windows.task == "classification":
        return "classes"
    return "ranks" if windows.is_panel else "forecast"


def _candidates(answers: pd.DataFrame, rule: str) -> list[float]:
    """Return the thresholds that let a tenth to nine tenths of the answers act, each once."""
    strength = answers.to_numpy().max(axis=1) if rule == "classes" else np.abs(answers.to_numpy()[:, 0])
    cuts = np.quantile(strength, SHARES)
    if rule == "classes":
        floor = 1 / answers.shape[1]  # at or below it nothing is left out
        cuts = np.maximum(cuts, floor + 1e-6)
        rounded = np.ceil(cuts * 1e4) / 1e4
    else:
        rounded = np.array([float(f"{cut:.4g}") for cut in cuts])
    moved = [
        abs(int((strength >= a).sum()) - int((strength >= b).sum()))
        for a, b in zip(cuts, rounded, strict=True)
    ]
    kept = np.where(np.array(moved) <= MOVED * len(strength), rounded, cuts)
    return np.unique(kept).tolist()
