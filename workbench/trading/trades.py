"""What the orders amount to: the list of trades, and what each decision earned."""

import numpy as np
import pandas as pd
from jaxtyping import Float

from workbench.trading.engine import Book
from workbench.trading.tape import Tape, latest


def round_trips(tape: Tape, book: Book, cost: float | int = 0.0, capital: float | int = 1.0) -> pd.DataFrame:
    """Trades: each runs from the fill that gives an asset's position its sign to the fill that takes it away.

    Returns are those of one unit held from entry to exit; changes of size in between do not touch them.

    Returns
    -------
    DataFrame
        One row a trade, by asset, then entry: `ticker`, `side` (1 long, −1 short), `entry_date`, `exit_date`,
        `entry_price`, `exit_price`, `gross_return` = side · (exit/entry − 1), `net_return` = gross_return −
        cost · (1 + exit/entry), `pnl` the money it made: units × price changes (formula: weight ×
        equity × return) less its fees, those of changes of size too, `bars` held, `open`. An open trade has
        no exit: NaT and NaN. A trade the account's ruin closed exits at that bar.
    """
    side = np.sign(book.weights).astype(np.int8)
    asset, bar = np.nonzero(np.diff(side, axis=0, prepend=np.int8(0)).T)
    last = np.diff(asset, append=-1) != 0  # the asset's last change: nothing takes it away
    entered = side[bar, asset] != 0
    entry, exit_ = bar[entered], np.append(bar[1:], 0)[entered]
    asset, unclosed = asset[entered], last[entered]
    entry_price = tape.fills[entry, asset]
    exit_price = tape.fills[exit_, asset]
    by_ruin = np.zeros(len(entry), dtype=bool)
    if book.ruin is not None and book.closing is not None:
        ruined = unclosed | (exit_ > book.ruin)
        exit_ = np.where(ruined, book.ruin, exit_)
        exit_price = np.where(ruined, book.closing[asset], exit_price)
        by_ruin, unclosed = ruined, np.zeros_like(unclosed)
    held_until = np.where(unclosed, len(tape.dates) - 1, exit_)
    exit_price = np.where(unclosed, np.nan, exit_price)
    direction = side[entry, asset].astype(np.int64)
    ratio = exit_price / entry_price
    pnl = np.where(unclosed, np.nan, capital * _money(tape, book, cost, (asset, entry, held_until, by_ruin)))
    return pd.DataFrame(
        {
            "ticker": pd.Index(tape.tickers, dtype="str").take(asset),
            "side": direction,
            "entry_date": tape.dates[entry],
            "exit_date": tape.dates[held_until].where(~unclosed),
            "entry_price": entry_price,
            "exit_price": exit_price,
            "gross_return": direction * (ratio - 1),
            "net_return": direction * (ratio - 1) - cost * (1 + ratio),
            "pnl": pnl,
            "bars": held_until - entry,
            "open": unclosed,
        }
    )


def _money(
    tape: Tape, book: Book, cost: float | int, trades: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
) -> Float[np.ndarray, " trade"]:
    """Gain of each trade (asset, entry bar, exit bar, closed by ruin) net of the fees paid for it."""
    if book.owned is None:
        return np.full(len(trades[0]), np.nan)
    asset, entry, exit_, by_ruin = trades
    before = np.concatenate([tape.marks[:1], tape.marks[:-1]])
    value = np.vstack([np.where(np.isnan(tape.fills), before, tape.fills), tape.marks[-1:]])
    if book.ruin is not None and book.closing is not None:
        value[book.ruin + 1] = book.closing
    traded = (book.turnover > 0)[:, None]
    amount, rate = book.owned, np.where(traded, cost * value[:-1], 0.0)
    if book.units is None:  # the formula's trades are changes of weight, each of the equity before it
        per = np.divide(book.fees, book.turnover, out=np.zeros_like(book.fees), where=book.turnover > 0)
        amount, rate = book.weights, np.broadcast_to(per[:, None], value[:-1].shape)
    earlier = np.concatenate([np.zeros_like(amount[:1]), amount[:-1]])
    entered = np.sign(amount) != np.sign(earlier)  # what closed the trade before is that one's fee
    net = book.owned * np.diff(value, axis=0) - rate * np.abs(np.where(entered, amount, amount - earlier))
    start, end = asset * len(net) + entry, asset * len(net) + exit_ + by_ruin
    bounds = np.column_stack([start, end]).ravel().astype(np.intp)
    gains = np.add.reduceat(np.append(net.T.ravel(), 0.0), bounds)[::2]
    return gains - np.where(by_ruin, 0.0, rate[exit_, asset] * np.abs(earlier[exit_, asset]))


def decision_outcomes(tape: Tape, book: Book, cost: float | int = 0.0) -> Float[np.ndarray, "bar asset"]:
    """Net return of each decision over its own bar: from its fill to the fill of the next bar's decision.

    position · (next fill / fill − 1) − cost · (opened + closed), per unit of the asset's share of the
    capital. `opened` is the change from the position before, less what closed that one, for which its own
    decision pays. `closed` is |position| · next fill / fill where the next bar goes flat or flips, else 0.
    NaN where the decision is flat, was not taken, could not be filled at both ends, fills after the last bar
    of the run, or comes after ruin.
    """
    outcomes = np.full(tape.decisions.shape, np.nan)
    known = len(tape.dates) - tape.lag - 1
    if book.ruin is not None:
        known = min(known, book.ruin - tape.lag)
    if known <= 0:
        return outcomes
    position = tape.decisions[:known]
    moves = tape.fills[tape.lag + 1 : tape.lag + 1 + known] / tape.fills[tape.lag : tape.lag + known] - 1
    held = latest(tape.wanted(), ~np.isnan(tape.fills), before=0.0)
    before = np.concatenate([np.zeros_like(held[:1]), held])[tape.lag : tape.lag + known]
    opened = np.where(before * position < 0, np.abs(position), np.abs(position - before))
    left = np.sign(book.weights[tape.lag + 1 : tape.lag + 1 + known]) != np.sign(position)
    closed = np.where(left, np.abs(position) * (1 + moves), 0.0)
    live = tape.decided[:known, None] & (position != 0)
    outcomes[:known] = np.where(live, position * moves - cost * (opened + closed), np.nan)
    return outcomes
