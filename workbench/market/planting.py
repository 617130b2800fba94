"""Random bars whose moves are driven by one known cell of the past, with a known signal-to-noise ratio.

In units of its scale the move of an asset after bar t is

    m_{t+1} = √(s / (1 + s)) · z_{t−lag} + √(1 / (1 + s)) · ε_{t+1},        ε ~ N(0, 1) i.i.d.

where s is the signal-to-noise ratio and z the driver, standardised by its exact mean and deviation, so that
the variances of the two terms are in the ratio s by construction and every move has variance 1. The first
lag + 1 moves have no driver bar yet; they are ε alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from workbench.market.names import suggestion

DRIVERS = ("log_return", "log_volume", "range")
DRAWS = 5  # normal numbers a bar and asset: move, volume, range, gap, wick
_RANGE_LEVEL, _RANGE_SPREAD = 0.6, 0.3  # of log(range / scale)
_VOLUME_SPREAD = 0.3
_VOLUME_BARS = 20

Bars = Float64[np.ndarray, "bar asset"]


@dataclass(frozen=True)
class Cell:
    """The cell that drives an asset's next move.

    Parameters
    ----------
    driver
        "log_return", "log_volume" or "range": the column of `make_features` that holds it.
    lag
        Bars before the decision bar; 0 is the decision bar itself.
    snr
        Variance of the signal over variance of the noise in the next move; 0 is no signal.
    asset
        Ticker whose bars hold the cell; None is the asset itself.
    """

    driver: str = "log_return"
    lag: int = 5
    snr: float | int = 1.0
    asset: str | None = None

    def __post_init__(self) -> None:
        if self.driver not in DRIVERS:
            known = ", ".join(DRIVERS)
            raise ValueError(
                f"driver must be one of {known}. Got {self.driver!r}.{suggestion(self.driver, DRIVERS)}"
            )
        if self.lag < 0:
            raise ValueError(f"lag must be 0 (the decision bar) or more bars into the past. Got {self.lag}.")
        if not 0 <= self.snr < np.inf:
            raise ValueError(f"snr must be a finite variance ratio, 0 or more. Got {self.snr}.")


@dataclass(frozen=True)
class Manner:
    """How a market moves: deviation of one bar's log return, and of the gap before it; level of volume."""

    scale: float
    gap: float
    volume: float


MANNERS = {"1d": Manner(0.015, 0.3, 1e7), "1h": Manner(0.006, 0.0, 1e3)}


def grow(
    cells: Mapping[str, Cell], draws: Float64[np.ndarray, "bar asset 5"], manner: Manner
) -> dict[str, Bars]:
    """Open, high, low, close and volume, (bar, asset) each, of assets in the order of `cells`.

    Row t depends on rows ≤ t of `draws` alone, so longer draws with the same beginning grow bars with the
    same beginning.
    """
    noise, volume, spread, gap, wick = np.ascontiguousarray(np.moveaxis(draws, 2, 0))
    ranges = np.exp(_RANGE_SPREAD * spread)
    variance = np.exp(_RANGE_SPREAD**2)
    standard_range = (ranges / np.sqrt(variance) - 1) / np.sqrt(variance - 1)
    moves = _moves(cells, noise, (volume, standard_range))
    body, spare = _body(moves - manner.gap * gap, ranges * np.exp(_RANGE_LEVEL))
    prices = _candles(moves, body, (spare, wick), manner.scale)
    return prices | {"volume": manner.volume * np.exp(_log_volume(_VOLUME_SPREAD * volume))}


def _moves(cells: Mapping[str, Cell], noise: Bars, others: Sequence[Bars]) -> Bars:
    """Standardised moves, (bar, asset); the formula is this module's."""
    assets = list(cells)
    driver = np.array([DRIVERS.index(cell.driver) for cell in cells.values()])
    source = np.array([assets.index(cell.asset or own) for own, cell in cells.items()])
    reach = np.array([cell.lag + 1 for cell in cells.values()])
    snr = np.array([float(cell.snr) for cell in cells.values()])
    signal, rest = np.sqrt(snr / (1 + snr)), np.sqrt(1 / (1 + snr))
    drivers = np.stack([noise, *others])  # row 0, the moves, is overwritten from the first driven bar on
    for bar in range(1, len(noise)):
        driven = (bar >= reach) & (snr > 0)
        planted = drivers[driver, np.maximum(bar - reach, 0), source]
        drivers[0, bar] = np.where(driven, signal * planted + rest * noise[bar], noise[bar])
    return drivers[0]


def _body(wanted: Bars, ranges: Bars) -> tuple[Bars, Bars]:
    """Open to close, at most 0.9 of the range, and what the range has left; the gap takes what is cut."""
    body = np.clip(wanted, -0.9 * ranges, 0.9 * ranges)
    return body, ranges - np.abs(body)


def _candles(moves: Bars, body: Bars, wicks: tuple[Bars, Bars], scale: float) -> dict[str, Bars]:
    """Prices of which log(close_t / close_{t−1}) is scale · move and log(high / low) is scale · range."""
    spare, draw = wicks
    above = spare / (1 + np.exp(-draw))
    log_close = np.log(100.0) + scale * np.cumsum(moves, axis=0)
    log_open = log_close - scale * body
    return {
        "open": np.exp(log_open),
        "high": np.exp(np.maximum(log_open, log_close) + scale * above),
        "low": np.exp(np.minimum(log_open, log_close) - scale * (spare - above)),
        "close": np.exp(log_close),
    }


def _log_volume(above_mean: Bars) -> Bars:
    """Log volumes v of which v_t − mean(v_{t−19} … v_t) is `above_mean`; before the first bar v is 0.

    The feature is then i.i.d. while the level of volume wanders, as it does in markets.
    """
    before = _VOLUME_BARS - 1
    level = np.zeros((before + len(above_mean), above_mean.shape[1]))
    total = np.zeros(above_mean.shape[1])  # of the 19 levels before the bar
    for bar, above in enumerate(above_mean, start=before):
        level[bar] = (_VOLUME_BARS * above + total) / before
        total = total + level[bar] - level[bar - before]
    return level[before:]
