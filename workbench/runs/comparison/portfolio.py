"""Forecasts of a panel become a book: the best bought, the worst sold, a part of it renewed each day."""

import math
from typing import Any

import numpy as np
import pandas as pd

from workbench.trading.ledger import backtest
from workbench.trading.result import BacktestResult

COST_BPS = 5.0
FILL = "next_close"  # nobody knows a close before it, and of some panels closes are all there is


def long_short(forecast: pd.Series, horizon: int, share: float = 0.25) -> pd.DataFrame:
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
        Positions in [−1, 1], date × ticker. A day whose forecasts are all alike chooses nothing; of equal
        forecasts the first ticker by name counts as lower.
    """
    wide = forecast.astype("float64").unstack("ticker").sort_index()  # noqa: PD010 (each pair comes once)
    values = wide.to_numpy()
    known = np.isfinite(values)
    count = known.sum(axis=1)
    take = np.maximum(1, np.floor(share * count)).astype(int)
    order = np.argsort(np.where(known, values, np.inf), axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.broadcast_to(np.arange(values.shape[1]), order.shape), axis=1)
    bought = known & (rank >= (count - take)[:, None])
    sold = known & (rank < take[:, None])
    lowest = np.where(known, values, np.inf).min(axis=1)
    highest = np.where(known, values, -np.inf).max(axis=1)
    undecided = (lowest >= highest) | (count < 2 * take)
    chosen = np.where(undecided[:, None], 0.0, bought.astype(float) - sold)
    summed = np.cumsum(chosen, axis=0)
    summed[horizon:] -= summed[:-horizon].copy()
    return pd.DataFrame(np.round(summed) / horizon, wide.index, wide.columns)


def trade(positions: pd.DataFrame, prices: pd.DataFrame, cost_bps: float = COST_BPS) -> BacktestResult:
    """Run the positions through the ledger, put up so that a full book is half bought and half sold.

    Parameters
    ----------
    positions
        From `long_short`.
    prices
        The panel the forecasts are of.
    cost_bps
        Fee per side.
    """
    gross = float(np.abs(positions.to_numpy()).sum(axis=1).max())
    exposure = len(positions.columns) / gross if gross else 1.0
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
