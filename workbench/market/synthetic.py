"""Markets made up with a seed, whose one true driver is known: what an explanation should find."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
import pandas as pd
from jaxtyping import Bool

from workbench.market.frame import COLUMNS, PriceError, Request, clip, conform
from workbench.market.names import suggestion
from workbench.market.planting import DRAWS, DRIVERS, MANNERS, Cell, grow
from workbench.market.truth import mask, truth_of

BARS = 3000
_SUFFIXES = {"VOLUME": "log_volume", "RANGE": "range"}
_NAME = re.compile(
    r"(?:LAG(?P<lag>\d{1,4})(?:-(?P<driver>VOLUME|RANGE))?(?:-SNR(?P<snr>\d+(?:\.\d+)?))?|NOISE)"
    r"(?:-SEED(?P<seed>\d{1,9}))?(?:-BARS(?P<bars>\d{1,7}))?",
    re.IGNORECASE,
)
_CALENDARS = {"1d": "weekdays", "1h": "24/7"}
_EXAMPLES = ("LAG5", "LAG5-SNR2-SEED3", "LAG3-VOLUME", "LAG2-RANGE", "NOISE")


@dataclass(frozen=True, eq=False)
class PlantedMarket:
    """One synthetic asset and what drives it; `driver` and `lag` are None when nothing does."""

    prices: pd.DataFrame
    driver: str | None
    lag: int | None
    snr: float | int
    seed: int

    def truth(self, lookback: int, feature_names: Sequence[str]) -> Bool[np.ndarray, "time feature"]:
        """Return (time, feature), True at the driving cell of a window; see `workbench.market.truth.mask`."""
        return truth_of(self.prices, lookback, feature_names)


@dataclass(frozen=True, eq=False)
class PlantedPanel:
    """Several synthetic assets, each driven by a cell of its own past or of another's."""

    prices: pd.DataFrame
    cells: Mapping[str, Cell]
    seed: int

    @property
    def tickers(self) -> tuple[str, ...]:
        """Assets in the order of the panel and of every array here."""
        return tuple(self.cells)

    def truth(
        self, ticker: str, lookback: int, feature_names: Sequence[str]
    ) -> Bool[np.ndarray, "asset time feature"]:
        """Return (asset, time, feature), True at the cell that drives `ticker`, in its asset's window."""
        found = np.zeros((len(self.cells), lookback, len(feature_names)), dtype=bool)
        truth = _truth(self.cells[ticker], self.seed)
        holder = self.tickers.index(self.cells[ticker].asset or ticker)
        found[holder] = mask(truth, lookback, feature_names)
        return found

    def influence(self) -> pd.DataFrame:
        """Return asset × asset, True where the row's next move is driven by the column's past."""
        found = pd.DataFrame(False, index=list(self.cells), columns=list(self.cells))
        for ticker, cell in self.cells.items():
            found.loc[ticker, cell.asset or ticker] = cell.snr > 0
        return found


def plant(
    driver: str = "log_return",
    lag: int = 5,
    snr: float | int = 1.0,
    bars: int = BARS,
    interval: str = "1d",
    seed: int = 0,
) -> PlantedMarket:
    """Make an asset whose move after bar t is driven by `driver` at bar t − lag.

    The move is scale · (√(snr/(1+snr)) · z(driver) + √(1/(1+snr)) · noise), see `workbench.market.planting`;
    its correlation with the cell is √(snr/(1+snr)). Volume and range are i.i.d. relative to their recent
    level, so of these drivers no other cell tells anything. A log return drives later ones in turn: it
    echoes at lags k·(lag+1) − 1, k = 2, 3, …, with the correlation's k-th power; given the cell itself the
    echoes add nothing.

    Parameters
    ----------
    driver
        "log_return", "log_volume" or "range", as in `make_features`.
    lag
        Bars before the decision bar; 0 is the decision bar.
    snr
        Variance of the signal over variance of the noise; 0 plants nothing.
    bars
        How many. Fewer bars with the same seed are a prefix of more.
    interval
        "1d": weekdays from 2000-01-03, 1.5 % a day, with gaps at the open. "1h": every hour from 2020-01-01
        UTC, 0.6 % an hour, as crypto trades.
    seed
        0 or more. The same seed makes the same bits; on another kind of processor the last may differ.

    Returns
    -------
    PlantedMarket
        Its prices say in their provenance that they are synthetic, and the truth.
    """
    cell = Cell(driver, lag, snr)
    kind = [DRIVERS.index(driver), lag] if snr > 0 else [len(DRIVERS), 0]
    grown = grow({"own": cell}, _draws([seed, *kind], bars)[:, None], MANNERS[_known(interval)])
    frame = pd.DataFrame({name: grown[name][:, 0] for name in COLUMNS}, index=_dates(bars, interval))
    truth = _truth(cell, seed)
    prices = conform(frame, _described(_name(cell, seed, bars), interval, truth))
    return PlantedMarket(prices, truth["driver"], truth["lag"], snr, seed)


def plant_panel(
    cells: Mapping[str, Cell], bars: int = BARS, interval: str = "1d", seed: int = 0
) -> PlantedPanel:
    """Make several assets, each driven by its cell; a cell's `asset` may name another of them.

    Parameters
    ----------
    cells
        Ticker → what drives it. `Cell(snr=0)` is an asset without a driver.
    bars, interval, seed
        As for `plant`. An asset's own noise depends on the seed and its ticker alone.

    Returns
    -------
    PlantedPanel
        Its prices have a MultiIndex (date, ticker), tickers sorted.
    """
    assets = {ticker: cells[ticker] for ticker in sorted(cells)}
    for ticker, cell in assets.items():
        if cell.asset is not None and cell.asset not in assets:
            raise ValueError(
                f"the cell of {ticker} must lie in one of {', '.join(assets)}. Got asset={cell.asset!r}."
                f"{suggestion(cell.asset, list(assets))}"
            )
    draws = np.stack([_draws([seed, crc32(ticker.encode())], bars) for ticker in assets], axis=1)
    grown = grow(assets, draws, MANNERS[_known(interval)])
    index = pd.MultiIndex.from_product([_dates(bars, interval), assets], names=["date", "ticker"])
    frame = pd.DataFrame({name: grown[name].reshape(-1) for name in COLUMNS}, index=index)
    truth = {ticker: _truth(cell, seed) | {"asset": cell.asset or ticker} for ticker, cell in assets.items()}
    prices = conform(frame, _described(list(assets), interval, truth))
    return PlantedPanel(prices, assets, seed)


def tickers() -> list[str]:
    """Return examples of names; there are many more, see `fetch`."""
    return list(_EXAMPLES)


def fetch(request: Request) -> pd.DataFrame:
    """Prices of the synthetic asset that a ticker describes, such as "LAG3-VOLUME-SNR2-SEED7".

    LAG3: the move after bar t is driven by bar t − 3; by its log return, or with -VOLUME or -RANGE by these.
    -SNR2: signal-to-noise ratio, 1 if not said. -SEED7: 0 if not said. -BARS500: 3000 if not said. NOISE:
    nothing drives it. A name that is none of these, or an empty range, is a PriceError.
    """
    found = _NAME.fullmatch(request.ticker.strip())
    if found is None:
        raise PriceError(
            f"a synthetic ticker must read LAG<n>[-VOLUME|-RANGE][-SNR<x>][-SEED<n>][-BARS<n>] or "
            f"NOISE[-SEED<n>][-BARS<n>], such as {', '.join(_EXAMPLES)}. Got {request.ticker!r}."
        )
    said = {key: value for key, value in found.groupdict().items() if value is not None}
    planted = plant(
        driver=_SUFFIXES[said["driver"].upper()] if "driver" in said else "log_return",
        lag=int(said.get("lag", 0)),
        snr=float(said.get("snr", 1.0)) if "lag" in said else 0.0,
        bars=int(said.get("bars", BARS)),
        interval=request.interval,
        seed=int(said.get("seed", 0)),
    )
    return clip(planted.prices, request)


def _known(interval: str) -> str:
    if interval not in MANNERS:
        raise PriceError(f"synthetic markets have intervals {', '.join(MANNERS)}. Got {interval!r}.")
    return interval


def _dates(bars: int, interval: str) -> pd.DatetimeIndex:
    if bars < 1:
        raise ValueError(f"bars must be at least 1. Got {bars}.")
    if _known(interval) == "1d":
        return pd.bdate_range("2000-01-03", periods=bars, unit="us")
    return pd.date_range("2020-01-01", periods=bars, freq="h", tz="UTC", unit="us")


def _draws(entropy: list[int], bars: int) -> np.ndarray:
    return np.random.default_rng(entropy).standard_normal((bars, DRAWS))


def _truth(cell: Cell, seed: int) -> dict[str, Any]:
    planted = cell.snr > 0
    return {
        "driver": cell.driver if planted else None,
        "lag": cell.lag if planted else None,
        "snr": float(cell.snr),
        "seed": seed,
    }


def _name(cell: Cell, seed: int, bars: int) -> str:
    suffix = {driver: f"-{word}" for word, driver in _SUFFIXES.items()}.get(cell.driver, "")
    snr = "" if cell.snr == 1 else f"-SNR{np.format_float_positional(float(cell.snr), trim='-')}"
    name = f"LAG{cell.lag}{suffix}{snr}" if cell.snr > 0 else "NOISE"
    return name + (f"-SEED{seed}" if seed else "") + (f"-BARS{bars}" if bars != BARS else "")


def _described(ticker: str | list[str], interval: str, truth: dict[str, Any]) -> dict[str, Any]:
    return {
        "source": "synthetic",
        "ticker": ticker,
        "interval": interval,
        "adjusted": "synthetic",
        "fetched_at": None,
        "synthetic": True,
        "calendar": _CALENDARS[interval],
        "truth": truth,
        "note": "made up with a seed; no market ever traded at these prices",
    }
