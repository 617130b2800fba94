"""The ledger's arithmetic: from target weights and prices to equity, turnover, fees and units.

All sums of money are multiples of the initial capital. With A the equity just before the fills of a bar,
X their prices, M the closes, w the weights held after the fills and c the cost per side,

    equity at the close   E = A · (1 + Σ w·(M/X − 1) − c·turnover)
    turnover              Σ |w − w'|, w' the weights just before the fills

so orders are sized on the equity before the fee. Between two rebalances units are fixed, and E follows from
the last of them. The rebalances are a recursion: each is sized on what the fees before it have left.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from workbench.trading.tape import Tape, latest

LEDGERS = {
    "on_change": "units held until a position changes",
    "every_bar": "brought back to the target weights at every bar, the drift's trades charged",
    "formula": "position × return: brought back to the target weights at every bar, the drift's trades free",
}
_CELLS = 1 << 18  # bars × assets marked at once: bounds the memory of the temporaries
_FEW, _ROUNDS = 8, 40  # assets up to which repeated substitution beats the loop; substitutions tried


@dataclass(frozen=True)
class Book:
    """What a run leaves, by bar; money in multiples of the initial capital.

    Attributes
    ----------
    equity
        At the close; 0 from the bar of ruin on.
    turnover, fees
        Notional traded at the bar's fills over the equity just before them; its cost.
    weights
        Target weights in force after the bar's fills.
    units
        Units held at the close; None for the formula ledger, which holds none.
    ruin
        Bar at which the equity reached zero or less and the account was closed, or None.
    closing
        The price each asset was closed at when ruined.
    owned
        Units at the close before any ruin there; of the formula ledger, those its weights amount to.
    """

    equity: Float[np.ndarray, " bar"]
    turnover: Float[np.ndarray, " bar"]
    fees: Float[np.ndarray, " bar"]
    weights: Float[np.ndarray, "bar asset"]
    units: Float[np.ndarray, "bar asset"] | None
    ruin: int | None = None
    closing: Float[np.ndarray, " asset"] | None = None
    owned: Float[np.ndarray, "bar asset"] | None = None


@dataclass(frozen=True)
class _Steps:
    """The rebalances in order: their bars, and equity, weights, prices and turnover at each."""

    bars: Int[np.ndarray, " step"]
    equity: Float[np.ndarray, " step"]
    held: Float[np.ndarray, "step asset"]
    prices: Float[np.ndarray, "step asset"]
    turnover: Float[np.ndarray, " step"]


def keep_book(
    tape: Tape, wanted: Float[np.ndarray, "bar asset"], cost: float | int = 0.0, ledger: str = "on_change"
) -> Book:
    """Run a ledger over a tape.

    Parameters
    ----------
    tape
        Bars and prices. An asset without a fill price at a bar cannot be traded there: its units stay, and
        its order waits for the next bar at which it trades.
    wanted
        Target weight of each asset at each bar's fills, as a fraction of equity.
    cost
        Fee per side, as a fraction of the notional traded.
    ledger
        One of `LEDGERS`.
    """
    if ledger not in LEDGERS:
        raise ValueError(f"ledger must be one of {', '.join(LEDGERS)}. Got {ledger!r}.")
    tradable = ~np.isnan(tape.fills)
    weights = latest(wanted, tradable, before=0.0)
    steps = _steps(tape, weights, tradable, float(cost), ledger)
    equity = _marked(steps, tape.marks, float(cost))
    turnover, fees = np.zeros(len(equity)), np.zeros(len(equity))
    turnover[steps.bars] = steps.turnover
    fees[steps.bars] = float(cost) * steps.turnover * steps.equity
    owned = _units(steps, len(equity))
    units = None if ledger == "formula" else owned
    book = Book(equity, turnover, fees, weights, units, owned=owned)
    return _closed_at_ruin(book, steps, tape)


def _steps(
    tape: Tape,
    weights: Float[np.ndarray, "bar asset"],
    tradable: Bool[np.ndarray, "bar asset"],
    cost: float,
    ledger: str,
) -> _Steps:
    changed = np.ones(weights.shape, dtype=bool)
    changed[0] = weights[0] != 0
    np.not_equal(weights[1:], weights[:-1], out=changed[1:])
    due = changed.any(axis=1)
    if ledger != "on_change":
        due = np.maximum.accumulate(due) & tradable.any(axis=1)
    bars = np.flatnonzero(due)
    prices, targets = tape.fills[bars], weights[bars]
    if not tradable.all():
        prices = np.where(tradable[bars], prices, tape.marks[np.maximum(bars - 1, 0)])
    if ledger == "formula":
        growth, turnover, held = _walk_free(targets, prices, cost)
    else:
        few = targets.shape[1] <= _FEW and tradable.all()
        walked = _walk_few(targets, prices, cost) if few else None
        growth, turnover, held = walked or _walk(targets, prices, tradable[bars], cost)
    return _Steps(bars, np.cumprod(growth), held, prices, turnover)


def _walk_free(
    targets: Float[np.ndarray, "step asset"], prices: Float[np.ndarray, "step asset"], cost: float
) -> tuple[Float[np.ndarray, " step"], Float[np.ndarray, " step"], Float[np.ndarray, "step asset"]]:
    """The formula ledger: only changes of the target weight are trades."""
    turnover = np.abs(np.diff(targets, axis=0, prepend=0.0)).sum(axis=1)
    growth = np.ones(len(targets))
    moves = prices[1:] / prices[:-1] - 1
    growth[1:] += np.einsum("ta,ta->t", targets[:-1], moves) - cost * turnover[:-1]
    return growth, turnover, targets


def _walk(
    targets: Float[np.ndarray, "step asset"],
    prices: Float[np.ndarray, "step asset"],
    tradable: Bool[np.ndarray, "step asset"],
    cost: float,
) -> tuple[Float[np.ndarray, " step"], Float[np.ndarray, " step"], Float[np.ndarray, "step asset"]]:
    """Growth of equity since the rebalance before, turnover and weights held after each rebalance."""
    growth, turnover, held = np.ones(len(targets)), np.zeros(len(targets)), targets.copy()
    all_tradable = np.asarray(tradable.all(axis=1))
    ratios = prices[1:] / prices[:-1]
    drifted = np.zeros(targets.shape[1])
    for step in range(len(targets)):
        if step:
            worth = np.multiply(held[step - 1], ratios[step - 1])
            growth[step] = 1 + (worth.sum() - held[step - 1].sum()) - cost * turnover[step - 1]
            if growth[step] <= 0:
                break
            drifted = worth / growth[step]
        if not all_tradable[step]:
            held[step] = np.where(tradable[step], targets[step], drifted)
        turnover[step] = np.abs(held[step] - drifted).sum()
    return growth, turnover, held


def _walk_few(
    targets: Float[np.ndarray, "step asset"], prices: Float[np.ndarray, "step asset"], cost: float
) -> tuple[Float[np.ndarray, " step"], Float[np.ndarray, " step"], Float[np.ndarray, "step asset"]] | None:
    """`_walk` of few assets, all tradable, without a loop over steps: growth as a fixed point.

    Each growth depends on the one before through its fee alone, so repeated substitution converges in a few
    rounds. A round that changes no bit has solved the recursion, in which each value follows from the one
    before: no later bar can have touched an earlier one. It takes the loop's operations in the loop's
    order, so that a later hole, which calls for the loop, changes no earlier bit. None if
    `_ROUNDS` were not enough.
    """
    targets = np.ascontiguousarray(targets)  # a row's sum must add in the loop's order
    worth = np.zeros(targets.shape)
    worth[1:] = targets[:-1] * (prices[1:] / prices[:-1])
    before_fee = np.ones(len(targets))
    before_fee[1:] += worth[1:].sum(axis=1) - targets[:-1].sum(axis=1)
    growth = before_fee
    for _ in range(_ROUNDS):
        with np.errstate(divide="ignore", invalid="ignore"):  # past a ruin, where nothing counts any more
            turnover = np.abs(targets - worth / growth[:, None]).sum(axis=1)
            again = before_fee.copy()
            again[1:] -= cost * turnover[:-1]
        if np.array_equal(again, growth, equal_nan=True):
            return _until_ruin(growth, turnover, targets)
        growth = again
    return None


def _until_ruin(
    growth: Float[np.ndarray, " step"],
    turnover: Float[np.ndarray, " step"],
    held: Float[np.ndarray, "step asset"],
) -> tuple[Float[np.ndarray, " step"], Float[np.ndarray, " step"], Float[np.ndarray, "step asset"]]:
    """Nothing grows or trades after the first step at which the equity is gone, nor trades at it."""
    sunk = np.flatnonzero(growth <= 0)
    if len(sunk):
        growth[sunk[0] + 1 :] = 1.0
        turnover[sunk[0] :] = 0.0
    return growth, turnover, held


def _marked(steps: _Steps, marks: Float[np.ndarray, "bar asset"], cost: float) -> Float[np.ndarray, " bar"]:
    """Equity at every close: that of the last rebalance, moved by what has been held since."""
    equity = np.ones(len(marks))
    if not len(steps.bars):
        return equity
    first, size = int(steps.bars[0]), max(1, _CELLS // marks.shape[1])
    started = np.zeros(len(marks), dtype=np.intp)
    started[steps.bars] = 1
    latest_step = np.cumsum(started) - 1
    for start in range(first, len(marks), size):
        rows = slice(start, min(start + size, len(marks)))
        step = latest_step[rows]
        moves = marks[rows] / steps.prices[step] - 1
        gain = np.einsum("ta,ta->t", steps.held[step], moves)
        equity[rows] = steps.equity[step] * (1 + gain - cost * steps.turnover[step])
    return equity


def _units(steps: _Steps, n_bars: int) -> Float[np.ndarray, "bar asset"]:
    units = np.zeros((n_bars, steps.held.shape[1]))
    if len(steps.bars):
        first = int(steps.bars[0])
        owned = steps.held * steps.equity[:, None] / steps.prices
        units[first:] = np.repeat(owned, np.diff(steps.bars, append=n_bars), axis=0)
    return units


def _closed_at_ruin(book: Book, steps: _Steps, tape: Tape) -> Book:
    """Close the account at the first fill or close at which its equity is not positive."""
    n_bars = len(book.equity)
    sunk_fill = steps.bars[~(steps.equity > 0)]
    sunk_mark = np.flatnonzero(~(book.equity > 0))
    at_fill = int(sunk_fill[0]) if len(sunk_fill) else n_bars
    at_mark = int(sunk_mark[0]) if len(sunk_mark) else n_bars
    ruin = min(at_fill, at_mark)
    if ruin == n_bars:
        return book
    unfilled = at_fill == ruin  # ruined before this bar's orders: they are never filled
    lived = np.arange(n_bars) < ruin + (not unfilled)
    weights = np.where(lived[:, None], book.weights, 0.0)
    closing = tape.marks[ruin]
    if unfilled:
        weights[ruin] = book.weights[ruin - 1]
        closing = steps.prices[np.searchsorted(steps.bars, ruin)]
    return replace(
        book,
        equity=np.where(np.arange(n_bars) < ruin, book.equity, 0.0),
        turnover=np.where(lived, book.turnover, 0.0),
        fees=np.where(lived, book.fees, 0.0),
        weights=weights,
        units=None if book.units is None else np.where(np.arange(n_bars)[:, None] < ruin, book.units, 0.0),
        ruin=ruin,
        closing=closing,
        owned=None if book.owned is None else np.where(lived[:, None], book.owned, 0.0),
    )
