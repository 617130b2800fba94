"""Forecasts of a panel become a book: the best bought, the worst sold, a part of it renewed each day."""

import math
from typing import Any

import numpy as np
import pandas as pd

from workbench.trading.ledger import backtest
from workbench.trading.result import BacktestResult

COST_BPS = 5.0
QUARTER = 0.25  # of the day's stocks are bought, and as many sold
FILL = "next_close"  # nobody knows a close before it, and of some panels closes are all there is


def long_short(forecast: pd.Series, horizon: int, share: float = QUARTER) -> pd.DataFrame:
    """Buy the stocks with the highest forecasts and sell as many with the lowest.

    Each day chooses its own; the position is the mean of the last `horizon` days' choices, so each choice is
    held as long as it was forecast for, and a part of the book is renewed each day (Jegadeesh & Titman 1993).

    Parameters
    ----------
    forecast
        By (date, ticker).
    horizon
        Bars that a forecast is for.
    share
        Part of the day's stocks bought, and part sold; at least one each.

    Returns
    -------
    DataFrame
        Positions in [−1, 1], date × ticker. Stocks with equal forecasts share the places that they take, so a
        day whose forecasts are all alike chooses nothing.
    """
    wide = forecast.astype("float64").unstack("ticker").sort_index()  # noqa: PD010 (each pair comes once)
    count = wide.notna().sum(axis=1).to_numpy()[:, None]
    take = np.maximum(1, np.floor(share * count))
    # Equal forecasts stand at places below + 1 … upto from the lowest, and share what those are worth.
    below = wide.rank(axis=1, method="min").to_numpy() - 1
    upto = wide.rank(axis=1, method="max").to_numpy()
    bought = np.clip(upto - np.maximum(below, count - take), 0, None) / (upto - below)
    sold = np.clip(np.minimum(upto, take) - below, 0, None) / (upto - below)
    chosen = np.where((count < 2 * take) | wide.isna(), 0.0, bought - sold)
    held = np.zeros_like(chosen)
    for age in range(min(horizon, len(chosen))):
        held[age:] += chosen[: len(chosen) - age]
    return pd.DataFrame(held / horizon, wide.index, wide.columns)


def trade(
    positions: pd.DataFrame, prices: pd.DataFrame, cost_bps: float = COST_BPS, share: float = QUARTER
) -> BacktestResult:
    """Run the positions through the ledger, put up so that a full book is half bought and half sold.

    Parameters
    ----------
    positions
        From `long_short`.
    prices
        The panel the forecasts are of.
    cost_bps
        Fee per side.
    share
        As for `long_short`.
    """
    stocks = len(positions.columns)
    # By what a book may hold, not by what it came to hold: that nobody knew before the last day.
    exposure = stocks / (2 * max(1, math.floor(share * stocks)))
    return backtest(positions, prices, FILL, "on_change", cost_bps, exposure=exposure)


def money(result: BacktestResult, free: BacktestResult) -> tuple[dict[str, float], dict[str, str]]:
    """Return the figures of a book, and of the same without costs, with the reasons of those undefined."""
    stats: dict[str, Any] = result.stats.to_dict()
    unpaid: dict[str, Any] = free.stats.to_dict()
    figures = {
        "sharpe": float(stats["Sharpe"]),
        "sharpe_before_costs": float(unpaid["Sharpe"]),
        "cagr": float(stats["CAGR [%]"]) / 100,
        "max_drawdown": float(stats["Max drawdown [%]"]) / 100,
        "turnover_a_day": float(stats["Turnover"]) / len(result.equity),
    }
    named = {"sharpe": "Sharpe", "cagr": "CAGR [%]", "max_drawdown": "Max drawdown [%]"}
    reasons = {name: result.reasons[told] for name, told in named.items() if told in result.reasons}
    if math.isnan(figures["sharpe_before_costs"]):
        reasons["sharpe_before_costs"] = free.reasons["Sharpe"]
    return figures, reasons
