"""The ledgers once more as a plain loop over bars, in cash and units: slow, obvious, exact with Fractions.

It shares nothing with the engine, which works with weights and growth. The tests take it as the truth, the
benchmark as the opponent.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Plain:
    equity: list = field(default_factory=list)
    turnover: list = field(default_factory=list)
    fees: list = field(default_factory=list)
    units: list = field(default_factory=list)
    cash: list = field(default_factory=list)
    weights: list = field(default_factory=list)
    ruin: int | None = None


def plain_ledger(
    wanted: list[list], fills: list[list], marks: list[list], cost: Any, ledger: str, one: Any = 1.0
) -> Plain:
    """wanted, fills, marks: a list a bar of a number an asset; a fill of None: the asset does not trade."""
    n_assets = len(wanted[0])
    zero = one - one
    cash, units, aims = one, [zero] * n_assets, [zero] * n_assets
    last_marks, started, book = [one] * n_assets, False, Plain()
    for bar, (targets, prices, closes) in enumerate(zip(wanted, fills, marks, strict=True)):
        trades = [price is not None for price in prices]
        values = [p if p is not None else mark for p, mark in zip(prices, last_marks, strict=True)]
        last_marks = closes
        before = cash + sum(u * v for u, v in zip(units, values, strict=True))
        new_aims = [t if traded else aim for t, traded, aim in zip(targets, trades, aims, strict=True)]
        due = new_aims != aims if ledger == "on_change" else started or new_aims != aims
        started = started or new_aims != aims
        if due and any(trades) and before <= 0:
            book.ruin = bar
            return book
        turnover, units = zero, list(units)
        if due and any(trades):
            for asset in range(n_assets):
                if ledger == "formula":
                    turnover += abs(new_aims[asset] - aims[asset])
                elif trades[asset]:
                    turnover += abs(new_aims[asset] - units[asset] * values[asset] / before)
                if trades[asset] or ledger == "formula":
                    bought = new_aims[asset] * before / values[asset] - units[asset]
                    units[asset] += bought
                    cash -= bought * values[asset]
        aims = new_aims
        fee = cost * turnover * before
        cash -= fee
        equity = cash + sum(u * mark for u, mark in zip(units, closes, strict=True))
        book.turnover.append(turnover)
        book.fees.append(fee)
        book.weights.append(aims)
        if equity <= 0:
            book.ruin = bar
            return book
        book.equity.append(equity)
        book.units.append(units)
        book.cash.append(cash)
    return book
