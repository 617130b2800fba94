"""What was decided and at which prices it can be filled: positions laid over the bars of their prices."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

FILLS = {"next_open": ("open", 1), "next_close": ("close", 1), "close": ("close", 0)}  # price, bars waited


@dataclass(frozen=True)
class Tape:
    """The bars of one run, one column an asset.

    Attributes
    ----------
    dates, tickers
        The bars, from the first decision to the fill of the last one if prices reach it; the assets.
    decided
        Bars at which a decision was taken.
    decisions
        Position wanted at each close, in [−1, 1]; the one before it where none was taken.
    fills
        Price of an order filled at this bar; NaN where the asset did not trade.
    marks
        Close, or the last one before it; 1 before an asset's first.
    lag
        Bars from decision to fill.
    """

    dates: pd.DatetimeIndex
    tickers: tuple[str, ...]
    decided: Bool[np.ndarray, " bar"]
    decisions: Float[np.ndarray, "bar asset"]
    fills: Float[np.ndarray, "bar asset"]
    marks: Float[np.ndarray, "bar asset"]
    lag: int

    def wanted(self) -> Float[np.ndarray, "bar asset"]:
        """Position each bar's orders aim at: what was decided `lag` bars ago, flat before the first."""
        aims = np.zeros_like(self.decisions)
        aims[self.lag :] = self.decisions[: len(aims) - self.lag]
        return aims


def tape_of(positions: pd.Series | pd.DataFrame, prices: pd.DataFrame, fill: str) -> Tape:
    """Lay positions over prices. Whatever doesn't fit is a ValueError that says how to repair it."""
    if fill not in FILLS:
        raise ValueError(f"fill must be one of {', '.join(FILLS)}. Got {fill!r}.")
    wide = _wide(positions, prices)
    _check_positions(wide)
    field, lag = FILLS[fill]
    _check_field(prices, field, fill)
    bars = _dates_of(prices)
    rows = _rows_of(wide.index, bars)
    last = min(int(rows[-1]) + lag, len(bars) - 1)
    dates = bars[rows[0] : last + 1]
    tickers = tuple(str(name) for name in wide.columns)
    cells = _cells(prices, dates, tickers)
    closes = _field(prices, "close", dates, tickers, cells)
    fills = closes if field == "close" else _field(prices, field, dates, tickers, cells)
    decided, decisions = _laid(wide.to_numpy(dtype=np.float64), rows - rows[0], len(dates))
    return Tape(dates, tickers, decided, decisions, fills, _carried(closes), lag)


def _wide(positions: pd.Series | pd.DataFrame, prices: pd.DataFrame) -> pd.DataFrame:
    """Positions as a frame (date × ticker) whose tickers the prices have."""
    panel = isinstance(prices.index, pd.MultiIndex)
    known = list(prices.index.unique("ticker")) if isinstance(prices.index, pd.MultiIndex) else []
    if isinstance(positions.index, pd.MultiIndex):
        raise ValueError(
            "positions of several assets must be a frame (date × ticker). Got an index "
            f"{list(positions.index.names)}: use positions.unstack('ticker')."
        )
    if isinstance(positions, pd.Series):
        if len(known) > 1:
            raise ValueError(
                f"positions is one Series, but prices hold {len(known)} assets. "
                "Pass a DataFrame (date × ticker), or the prices of one asset."
            )
        ticker = known[0] if panel else _ticker_of(prices)
        _check_same_asset(positions, ticker)
        return positions.to_frame(ticker)
    strangers = positions.columns.difference(known).tolist()
    if panel and strangers:
        raise ValueError(f"prices have no {strangers}. Load them, or drop these columns of positions.")
    if not panel and positions.shape[1] != 1:
        raise ValueError(
            f"prices hold one asset, but positions have {positions.shape[1]} columns. "
            "Load the prices of all of them with load_panel."
        )
    return positions


def _check_same_asset(positions: pd.Series, ticker: str) -> None:
    """Refuse positions that say they were decided on another asset: their dates would fit all the same."""
    decided_on = positions.attrs.get("provenance", {}).get("ticker")
    if isinstance(decided_on, str) and ticker != "asset" and decided_on != ticker:
        raise ValueError(
            f"positions were decided on {decided_on}, and the prices are those of {ticker}. Load the prices "
            f"of {decided_on}, or clear positions.attrs to trade one asset on another's signals."
        )


def _ticker_of(prices: pd.DataFrame) -> str:
    ticker = prices.attrs.get("provenance", {}).get("ticker", "asset")
    return ticker if isinstance(ticker, str) else "asset"


def _check_positions(wide: pd.DataFrame) -> None:
    if wide.empty:
        raise ValueError("positions are empty: there is nothing to trade.")
    if not (wide.index.is_unique and wide.index.is_monotonic_increasing):
        raise ValueError(
            "positions must have unique, increasing dates: sort them and drop the repeated ones."
        )
    if not wide.columns.is_unique:
        raise ValueError(f"positions have a ticker twice: {list(wide.columns[wide.columns.duplicated()])}.")
    values = wide.to_numpy(dtype=np.float64)
    wrong = ~(np.abs(values) <= 1)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise ValueError(
            f"positions must lie in [−1, 1] and not be NaN. {wrong.sum()} are not, first "
            f"{wide.columns[column]} on {wide.index[row]}: {values[row, column]}. Use 0 for flat; "
            "use `exposure` for more than the whole capital."
        )


def _check_field(prices: pd.DataFrame, field: str, fill: str) -> None:
    fields = prices.attrs.get("provenance", {}).get("fields", list(prices.columns))
    if "close" not in prices.columns or np.isnan(prices["close"].to_numpy(dtype=np.float64)).all():
        raise ValueError(f"prices must have closes. Got columns {list(prices.columns)}, or closes all NaN.")
    if (
        field not in fields
        or field not in prices.columns
        or np.isnan(prices[field].to_numpy(dtype=np.float64)).all()
    ):
        raise ValueError(
            f"fill={fill!r} needs the {field} prices, and these have {list(fields)} only. "
            "Use fill='next_close', which fills one bar after the decision too."
        )


def _dates_of(prices: pd.DataFrame) -> pd.DatetimeIndex:
    index = prices.index
    if isinstance(index, pd.MultiIndex):
        index = index.levels[0][np.unique(index.codes[0])]
    if not isinstance(index, pd.DatetimeIndex):
        raise ValueError(f"prices must be indexed by date. Got an index of {index.dtype}.")
    if not (index.is_unique and index.is_monotonic_increasing):
        raise ValueError("prices must have unique, increasing dates: see check_prices.")
    return index.rename("date")


def _rows_of(decisions: pd.Index, bars: pd.DatetimeIndex) -> Int[np.ndarray, " decision"]:
    rows = bars.get_indexer(decisions)
    missing = decisions[rows < 0]
    if len(missing):
        shown = ", ".join(str(date) for date in missing[:3])
        raise ValueError(
            f"positions must be decided on bars of prices ({bars[0]} to {bars[-1]}). {len(missing)} of "
            f"{len(decisions)} dates are not: {shown}{', …' if len(missing) > 3 else ''}. Load prices that "
            "cover them (same interval and timezone), or drop those dates."
        )
    return rows


def _cells(
    prices: pd.DataFrame, dates: pd.DatetimeIndex, tickers: tuple[str, ...]
) -> tuple[Bool[np.ndarray, " row"] | slice, Int[np.ndarray, " cell"] | slice]:
    """Which rows of prices the run reads, and the cell of (bar × asset), row by row, that each is."""
    index = prices.index
    if not isinstance(index, pd.MultiIndex):
        start = int(index.get_indexer(dates[:1])[0])
        return slice(start, start + len(dates)), slice(None)
    bar = dates.get_indexer(index.levels[0])[index.codes[0]]
    asset = pd.Index(tickers).get_indexer(index.levels[1])[index.codes[1]]
    inside = (bar >= 0) & (asset >= 0)
    cells = bar[inside] * len(tickers) + asset[inside]
    if len(cells) and np.bincount(cells).max() > 1:
        raise ValueError("prices have a (date, ticker) twice: see check_prices.")
    return inside, cells


def _field(
    prices: pd.DataFrame,
    field: str,
    dates: pd.DatetimeIndex,
    tickers: tuple[str, ...],
    cells: tuple[np.ndarray | slice, np.ndarray | slice],
) -> Float[np.ndarray, "bar asset"]:
    """One column of prices as (bar × asset), NaN where an asset has no bar."""
    values = np.full(len(dates) * len(tickers), np.nan)
    values[cells[1]] = prices[field].to_numpy(dtype=np.float64)[cells[0]]
    values = values.reshape(len(dates), len(tickers))
    _check_values(values, field, dates, tickers)
    return values


def _check_values(
    values: Float[np.ndarray, "bar asset"], field: str, dates: pd.DatetimeIndex, tickers: tuple[str, ...]
) -> None:
    wrong = (values <= 0) | np.isinf(values)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise ValueError(
            f"prices must be positive and finite. {tickers[column]} has {field} {values[row, column]} on "
            f"{dates[row]}: repair or drop that row."
        )
    empty = np.array(tickers)[np.isnan(values).all(axis=0)].tolist()
    if empty:
        raise ValueError(
            f"{empty} have no {field} between {dates[0]} and {dates[-1]}: drop them from positions."
        )


def _laid(
    values: Float[np.ndarray, "decision asset"], rows: Int[np.ndarray, " decision"], n_bars: int
) -> tuple[Bool[np.ndarray, " bar"], Float[np.ndarray, "bar asset"]]:
    """Whether each bar decided, and the latest decision at it. The first decision is at bar 0."""
    decided = np.zeros(n_bars, dtype=bool)
    decided[rows] = True
    return decided, values[np.cumsum(decided) - 1]


def _carried(closes: Float[np.ndarray, "bar asset"]) -> Float[np.ndarray, "bar asset"]:
    """Closes with holes filled by the last one before; 1, a mark for nothing held, before the first."""
    return latest(closes, ~np.isnan(closes), before=1.0)


def latest(
    values: Float[np.ndarray, "bar asset"], known: Bool[np.ndarray, "bar asset"], before: float
) -> Float[np.ndarray, "bar asset"]:
    """Each column's value at the most recent bar that is `known`; `before` ahead of the first such bar."""
    if known.all():
        return values
    row = np.where(known, np.arange(len(values))[:, None], -1)
    row = np.maximum.accumulate(row, axis=0)
    return np.where(row < 0, before, np.take_along_axis(values, np.maximum(row, 0), axis=0))
