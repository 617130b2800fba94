"""How good forecasts of a panel are, day by day, and how far chance could have moved the mean."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from workbench.trading.resampling import block_length, bootstrap_counts

FEWEST = 3  # stocks a day, below which a correlation over them says nothing
Daily = Float[np.ndarray, " day"]


def daily_correlations(forecast: pd.Series, outcome: pd.Series) -> pd.DataFrame:
    """Correlate forecast and outcome over the stocks of each day.

    Parameters
    ----------
    forecast, outcome
        By (date, ticker), the same index. Rows whose outcome is NaN are left out.

    Returns
    -------
    DataFrame
        By date: `ic` (Pearson) and `rank_ic` (Spearman, ties sharing their mean rank); NaN on days with fewer
        than three stocks, or on which forecasts or outcomes are all alike.
    """
    pairs = _pairs(forecast, outcome)
    ranks = pairs.groupby(level="date").rank()
    return pd.DataFrame({"ic": _pearson(pairs, "date"), "rank_ic": _pearson(ranks, "date")})


def correlations_over_time(forecast: pd.Series, outcome: pd.Series) -> pd.Series:
    """Correlate forecast and outcome of each stock over its days (Pearson); NaN where either never varies."""
    return _pearson(_pairs(forecast, outcome), "ticker").rename("ic")


def daily_hits(forecast: pd.Series, outcome: pd.Series) -> pd.DataFrame:
    """Count by date the stocks whose outcome had the forecast's sign (`hits`), of all with one (`signs`)."""
    signs = np.sign(forecast.to_numpy(dtype=np.float64)) * np.sign(outcome.to_numpy(dtype=np.float64))
    codes, dates = _codes(forecast, "date")
    counted = {"hits": np.bincount(codes, signs > 0), "signs": np.bincount(codes, np.abs(signs) > 0)}
    return pd.DataFrame(counted, index=dates)


@dataclass(frozen=True)
class Resampling:
    """How a figure's interval is drawn.

    Attributes
    ----------
    least
        Shortest mean block [days]: the labels' horizon, as neighbours share so much.
    draws
        Samples drawn.
    seed
        Of the draws; the same seed draws the same days, so that two models are compared on the same ones.
    """

    least: int
    draws: int = 1000
    seed: int = 0

    def samples(self, series: Daily) -> Float[np.ndarray, "draw day"]:
        """How often each draw holds each day: a stationary bootstrap in blocks that suit `series`."""
        block = block_length(series, self.least)
        return np.concatenate(list(bootstrap_counts(len(series), block, self.draws, self.seed)))


def interval(
    sums: Float[np.ndarray, "day value"],
    figure: Callable[[Float[np.ndarray, "draw value"]], Float[np.ndarray, " draw"]],
    how: Resampling,
) -> tuple[float, float]:
    """Return the 95 % interval of a figure that hangs on sums over days.

    Parameters
    ----------
    sums
        What each day adds; its first column decides the length of the blocks.
    figure
        From sums over resampled days to the figure.
    how
        The blocks and draws.

    Returns
    -------
    tuple
        (low, high); both NaN with fewer than 20 days.
    """
    if len(sums) < 20:
        return math.nan, math.nan
    drawn = figure(how.samples(sums[:, 0]) @ sums)
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        return math.nan, math.nan
    low, high = np.quantile(drawn, (0.025, 0.975)).tolist()
    return low, high


def ratio(sums: Float[np.ndarray, "draw 2"]) -> Float[np.ndarray, " draw"]:
    """Return the first sum over the second: a mean, or a share. NaN over 0."""
    over = sums[:, 1]
    return np.divide(sums[:, 0], over, out=np.full(len(sums), np.nan), where=over > 0)


def mean_over_spread(sums: Float[np.ndarray, "draw 3"]) -> Float[np.ndarray, " draw"]:
    """Return mean over standard deviation (ddof 1) from sums of values, squares and ones."""
    total, squares, count = sums.T
    variance = (squares - total**2 / count) / (count - 1)
    spread = np.sqrt(np.maximum(variance, 0.0))
    return np.divide(total / count, spread, out=np.full(len(sums), np.nan), where=spread > 0)


def _pairs(forecast: pd.Series, outcome: pd.Series) -> pd.DataFrame:
    """Both as columns, where the outcome is known."""
    return pd.DataFrame({"forecast": forecast, "outcome": outcome}, dtype=np.float64).dropna(
        subset=["outcome"]
    )


def _codes(data: pd.Series | pd.DataFrame, level: str) -> tuple[Int[np.ndarray, " row"], pd.Index]:
    """Number of each row's date or ticker, and what the numbers stand for, in order."""
    codes, names = pd.factorize(data.index.get_level_values(level), sort=True)
    return codes, pd.Index(names, name=level)


def _pearson(pairs: pd.DataFrame, level: str) -> pd.Series:
    """Correlate the two columns within each date or ticker; NaN for fewer than `FEWEST` rows."""
    codes, names = _codes(pairs, level)
    count = np.bincount(codes)

    def centred(values: Float[np.ndarray, " row"]) -> Float[np.ndarray, " row"]:
        rest = values - (np.bincount(codes, values) / count)[codes]
        return np.where(np.abs(rest) > 1e-12 * np.abs(values), rest, 0.0)  # a constant leaves rounding

    a, b = (centred(pairs[name].to_numpy(dtype=np.float64)) for name in ("forecast", "outcome"))
    both, of_a, of_b = (np.bincount(codes, product) for product in (a * b, a * a, b * b))
    defined = (of_a > 0) & (of_b > 0) & (count >= FEWEST)
    spread = np.sqrt(of_a) * np.sqrt(of_b)
    values = np.divide(both, spread, out=np.full(len(count), np.nan), where=defined)
    return pd.Series(values, index=names)
