"""What trading on the answers would have earned over the test windows, beside buy and hold and cash."""

from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pandas as pd

from workbench.runs.comparison.scores import Resampling
from workbench.runs.finalreport.judging import FEW, judge, span_of
from workbench.runs.finalreport.numbers import figure, figures
from workbench.runs.finalreport.opened import Opened, Parts
from workbench.runs.finalreport.strategy import Strategy, choose_strategy, traded
from workbench.trading.ledger import backtest
from workbench.trading.metrics import account_stats
from workbench.trading.result import BacktestResult
from workbench.training.prediction import predict

__all__ = ["Measured", "Wishes", "measure", "performance_section"]

COMPARED = (
    "Total return [%]",
    "CAGR [%]",
    "Volatility (ann.) [%]",
    "Sharpe",
    "Sortino",
    "Calmar",
    "Max drawdown [%]",
    "VaR 95 [% a bar]",
    "CVaR 95 [% a bar]",
)


@dataclass(frozen=True)
class Wishes:
    """What the user of the report may decide: costs, a threshold (None: chosen), the bootstrap."""

    cost_bps: float | int = 5.0
    threshold: float | int | None = None
    draws: int = 1000
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Measured:
    """A book over the test windows, and those it is compared with.

    Attributes
    ----------
    strategy
        The rule and how its threshold came about.
    answers
        What the model says of the test windows.
    book, free
        Traded with costs, and without. The benchmark of `book` is `hold`.
    hold
        The same assets bought in equal parts at the first fill and held, at the same costs, not levered.
    """

    strategy: Strategy
    answers: pd.DataFrame
    book: BacktestResult
    free: BacktestResult
    hold: BacktestResult


def measure(opened: Opened, parts: Parts, wishes: Wishes) -> Measured:
    """Choose the threshold on the validation windows, and trade the test windows by it.

    Raises
    ------
    ValueError
        Prices and answers cannot be traded on; the message says why.
    """
    prices = cast(pd.DataFrame, opened.prices)
    trial = predict(opened.model, parts.valid)
    strategy = choose_strategy(trial, parts.valid, prices, wishes.cost_bps, wishes.threshold)
    answers = predict(opened.model, parts.test)
    book = traded(answers, prices, strategy)
    free = traded(answers, prices, Strategy(strategy.rule, strategy.threshold, "", strategy.fill, 0.0))
    always = pd.DataFrame(1.0, book.positions.index, book.positions.columns)
    hold = backtest(always, prices, strategy.fill, "on_change", strategy.cost_bps)
    book = replace(book, benchmark=hold.equity.rename("buy and hold"), benchmark_stats=hold.stats)
    return Measured(strategy, answers, book, free, hold)


def performance_section(found: Measured, parts: Parts, wishes: Wishes) -> dict[str, Any]:
    """Return the report's section: figures of the answers, of the books, by year and by month."""
    book, hold = found.book, found.hold
    year, moments = book.periods_per_year, pd.DatetimeIndex(book.equity.index)
    first, last = (moment.isoformat() for moment in moments[[0, -1]])
    how = Resampling(parts.test.horizon, wishes.draws, wishes.seed)
    excess = book.returns - hold.returns.reindex(book.returns.index).fillna(0.0)
    low, high = span_of(excess, year, how)["mean return [% a year]"]
    return {
        "status": "computed",
        "span": {
            "first": first,
            "last": last,
            "bars": len(book.equity),
            "years": len(book.returns) / year,
        },
        "answers": judge(found.answers, parts.test, wishes.draws, wishes.seed),
        "strategy": _stats(book),
        "strategy_before_costs": _compared(found.free),
        "buy_and_hold": _compared(hold),
        "cash": _cash(book),
        "intervals": {**span_of(book.returns, year, how), "draws": wishes.draws, "seed": wishes.seed},
        "excess_over_buy_and_hold": {
            "mean [% a year]": figure(100 * float(excess.mean()) * year, FEW),
            "interval": [low, high],
        },
        "years": _years(book, hold),
        "months": _months(book, hold),
        "ruined": None if book.ruined is None else book.ruined.isoformat(),
    }


def _stats(book: BacktestResult) -> dict[str, Any]:
    return figures(cast(dict[str, float], book.stats.to_dict()), book.reasons)


def _compared(book: BacktestResult) -> dict[str, Any]:
    stats: dict[str, Any] = book.stats.to_dict()
    return figures({name: stats[name] for name in COMPARED}, book.reasons)


def _cash(book: BacktestResult) -> dict[str, Any]:
    """Money that lies still at no interest, by the same formulas."""
    count = len(book.equity)
    values, reasons = account_stats(np.ones(count), np.zeros(count - 1), book.periods_per_year)
    return figures({name: values[name] for name in COMPARED}, reasons)


def _years(book: BacktestResult, hold: BacktestResult) -> list[dict[str, Any]]:
    by_year = {name: _compounded(b.returns, "Y") for name, b in (("strategy", book), ("buy_and_hold", hold))}
    bars = _periods(book.returns, "Y")
    return [
        {"year": int(str(period)), "bars": int((bars == period).sum()), **_row(by_year, period)}
        for period in by_year["strategy"]
    ]


def _months(book: BacktestResult, hold: BacktestResult) -> list[dict[str, Any]]:
    by_month = {name: _compounded(b.returns, "M") for name, b in (("strategy", book), ("buy_and_hold", hold))}
    return [{"month": str(period), **_row(by_month, period)} for period in by_month["strategy"]]


def _row(tables: dict[str, dict[Any, float]], period: Any) -> dict[str, Any]:
    return {
        f"{name} [%]": figure(table.get(period), "no bar in this period") for name, table in tables.items()
    }


def _compounded(returns: pd.Series, period: str) -> dict[Any, float]:
    """Return of each calendar year ("Y") or month ("M") in percent: ∏(1 + r) − 1."""
    grown = (1 + returns).groupby(_periods(returns, period)).prod()
    return (100 * (grown - 1)).to_dict()


def _periods(returns: pd.Series, period: str) -> pd.PeriodIndex:
    return pd.DatetimeIndex(returns.index).tz_localize(None).to_period(period)
