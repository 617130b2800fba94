"""Positions become money: one ledger, a named fill convention, costs on every side, no look-ahead."""

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from functools import partial
from typing import Any, cast

import numpy as np
import pandas as pd
from jaxtyping import Float

from workbench.trading.annualisation import bars_per_year
from workbench.trading.engine import Book, keep_book
from workbench.trading.metrics import account_stats, bar_hit_rate, measured, trade_win_rate
from workbench.trading.report import date_text
from workbench.trading.result import BacktestResult, Conventions
from workbench.trading.tape import Tape, tape_of
from workbench.trading.trades import decision_outcomes, round_trips


@dataclass(frozen=True)
class BacktestOptions:
    """What else a backtest can be told.

    Attributes
    ----------
    periods_per_year
        Bars in a year, for annual figures; None takes the convention of the prices' market and says so.
    initial_capital
        Money at the start.
    liquidate
        Close every position at the last bar's fill, instead of leaving it open and flagged.
    exposure
        Capital put to work when every position is ±1. Above 1 is leverage, whose financing is not charged.
    risk_free
        Annual rate a return must beat in Sharpe and Sortino; each bar's share is risk_free /
        periods_per_year. A book that finances itself (long against short) has none to subtract.
    """

    periods_per_year: float | int | None = None
    initial_capital: float | int = 100_000
    liquidate: bool = False
    exposure: float | int = 1.0
    risk_free: float | int = 0.0

    def __post_init__(self) -> None:
        for name in ("periods_per_year", "initial_capital", "exposure"):
            value = getattr(self, name)
            if value is not None and not 0 < value < np.inf:
                raise ValueError(f"{name} must be a positive number. Got {value}.")
        if not -1 < self.risk_free < np.inf:
            raise ValueError(f"risk_free must be an annual rate: 0.02 means 2 %. Got {self.risk_free}.")


def backtest(
    positions: pd.Series | pd.DataFrame,
    prices: pd.DataFrame,
    fill: str = "next_open",
    ledger: str = "on_change",
    cost_bps: float | int = 0.0,
    **options: Any,
) -> BacktestResult:
    """What trading on `positions` would have earned.

    A position is decided at the close of its date and filled when `fill` says. Each asset's weight is
    position × exposure / number of assets, sized on the equity before the fee. The run goes from the first
    decision's bar to the last one's, and on to the bar that fills it if prices reach so far. An account
    whose equity falls to zero is closed there: the run stops, warns, and says so in its report.

    Parameters
    ----------
    positions
        In [−1, 1]: −1 sold short, 0 flat, 1 bought. A Series over dates for one asset, a DataFrame
        (date × ticker) for several. Every date is a bar of `prices`; bars between keep the position.
    prices
        As `load_prices` or `load_panel` returns them. A bar an asset lacks neither fills nor re-marks it: its
        units and last close stand until it trades again, and its order waits.
    fill
        "next_open", "next_close": the bar after the decision. "close": the close that was decided on, which
        nobody can trade at and know.
    ledger
        "on_change": units are held until any position changes, when all are sized anew. "every_bar": brought
        back to the target weights at every bar, and that trading charged. "formula": position × return, the
        textbook's, whose trading against drift is free.
    cost_bps
        Fee per side in basis points (1/10,000) of the notional traded. A flip pays two sides.
    **options
        Fields of `BacktestOptions`: periods_per_year, initial_capital, liquidate, exposure, risk_free.

    Returns
    -------
    BacktestResult

    Raises
    ------
    ValueError
        If positions, prices and conventions don't fit together; the message says how to repair it.
    """
    chosen = _options(options)
    if not 0 <= cost_bps < 10_000:
        raise ValueError(f"cost_bps must be in [0, 10,000): 10 means 0.1 % a side. Got {cost_bps}.")
    tape = tape_of(positions, prices, fill)
    provenance = prices.attrs.get("provenance", {})
    year, why = chosen.periods_per_year, "as given"
    if year is None:
        year, why = bars_per_year(provenance, tape.dates)
    rest = {key: value for key, value in asdict(chosen).items() if key != "periods_per_year"}
    told = Conventions(fill, ledger, cost_bps, year, why, **rest)
    share = chosen.exposure / len(tape.tickers)
    held = np.full_like(tape.decisions, share)
    held[: tape.lag] = 0.0
    benchmark = keep_book(tape, _ended(held, told), cost_bps / 10_000, "on_change")
    benchmark = replace(benchmark, units=None, owned=None)  # as large as the prices, and not asked for
    book = keep_book(tape, _ended(tape.wanted() * share, told), cost_bps / 10_000, ledger)
    result = _result(tape, book, benchmark, told, provenance)
    if result.ruined is not None:
        warnings.warn(
            f"The account was ruined on {date_text(result.ruined)}: the run stops there.", stacklevel=2
        )
    return result


def _options(given: Mapping[str, Any]) -> BacktestOptions:
    known = [field.name for field in fields(BacktestOptions)]
    for name in given:
        if name not in known:
            near = get_close_matches(name, [*known, "fill", "ledger", "cost_bps"], n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"backtest has no option {name!r}.{hint} Its options are {', '.join(known)}.")
    return BacktestOptions(**given)


def _ended(wanted: Float[np.ndarray, "bar asset"], told: Conventions) -> Float[np.ndarray, "bar asset"]:
    if told.liquidate:
        wanted[-1] = 0.0
    return wanted


def _result(
    tape: Tape, book: Book, benchmark: Book, told: Conventions, provenance: Mapping[str, Any]
) -> BacktestResult:
    dates, capital, cost = tape.dates, told.initial_capital, told.cost_bps / 10_000
    names = pd.Index(tape.tickers, name="ticker")
    trades = round_trips(tape, book, cost, capital)
    stats, reasons = _stats(book, trades, told)
    against, _ = _account(benchmark, told)
    wide = partial(pd.DataFrame, index=dates, columns=names, copy=False)
    return BacktestResult(
        equity=pd.Series(book.equity * capital, dates, name="equity"),
        returns=pd.Series(_returns(book), dates[1:], name="return"),
        trades=trades,
        positions=wide(tape.decisions),
        weights=wide(book.weights),
        units=None if book.units is None else wide(book.units * capital),
        costs=pd.Series(book.fees * capital, dates, name="cost"),
        turnover=pd.Series(book.turnover, dates, name="turnover"),
        outcomes=wide(decision_outcomes(tape, book, cost)),
        benchmark=pd.Series(benchmark.equity * capital, dates, name="buy and hold"),
        stats=pd.Series(stats, name="strategy"),
        benchmark_stats=pd.Series(against, name="buy and hold"),
        reasons=reasons,
        conventions=told,
        ruined=None if book.ruin is None else cast(pd.Timestamp, dates[book.ruin]),
        unfilled=_unfilled(tape, book, told),
        provenance=provenance,
    )


def _returns(book: Book) -> Float[np.ndarray, " bar"]:
    """Return of each bar after the first, the first of them from the initial capital; 0 after ruin."""
    before = np.append(1.0, book.equity[1:-1])[: len(book.equity) - 1]
    return np.divide(book.equity[1:], before, out=np.ones_like(before), where=before > 0) - 1


def _account(book: Book, told: Conventions) -> tuple[dict[str, float], dict[str, str]]:
    """Figures of the equity curve alone, over the bars the account lived."""
    end = len(book.equity) if book.ruin is None else book.ruin + 1
    path = np.append(1.0, book.equity[:end])
    values, reasons = account_stats(path, _returns(book)[: end - 1], told.periods_per_year, told.risk_free)
    return {"Final equity": float(path[-1] * told.initial_capital), **values}, reasons


def _stats(book: Book, trades: pd.DataFrame, told: Conventions) -> tuple[dict[str, float], dict[str, str]]:
    values, reasons = _account(book, told)
    held = (book.weights != 0).any(axis=1)
    # A bar counts for the hit rate if anything was held at its start or its end, the bars of a fill included.
    in_market = held | np.append(False, held[:-1])
    path = np.append(1.0, book.equity)
    rates, why = measured(
        {
            "Trade win rate [%]": lambda: 100 * trade_win_rate(trades),
            "Bar hit rate [%]": lambda: 100 * bar_hit_rate(path, in_market),
        }
    )
    still_open = int(trades["open"].to_numpy().sum())
    counts = {
        "Trades": float(len(trades) - still_open),
        "Open trades": float(still_open),
        "Exposure [%]": 100 * float(held.mean()),  # of the bars, those that end with a position held
        "Turnover": float(book.turnover.sum()),
        "Costs paid": float(book.fees.sum() * told.initial_capital),
    }
    return {**values, **rates, **counts}, {**reasons, **why}


def _unfilled(tape: Tape, book: Book, told: Conventions) -> tuple[str, ...]:
    """Assets whose weight at the end is not the one last decided."""
    if told.liquidate or book.ruin is not None:
        return ()
    wanted = tape.decisions[-1] * told.exposure / len(tape.tickers)
    return tuple(np.array(tape.tickers)[~np.isclose(book.weights[-1], wanted)])
