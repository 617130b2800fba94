"""Raw prices made comparable over time by what splits and dividends did to them."""

from fractions import Fraction

import numpy as np
import pandas as pd
from jaxtyping import Float64

from workbench.market.frame import PRICE_COLUMNS

Price = Float64[np.ndarray, " bar"]
_FORWARD = [Fraction(n) for n in (*range(2, 11), 12, 15, 20, 25, 28, 30, 40, 50, 100)]
_FORWARD += [Fraction(3, 2), Fraction(4, 3), Fraction(5, 4), Fraction(5, 2), Fraction(5, 3)]
SPLITS = tuple(sorted({*_FORWARD, *(1 / split for split in _FORWARD)}))  # new shares for an old one
_NEAR = 0.01  # relative; adjusted closes of a few cents are written with so few digits


def adjusted(raw: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, str]]:
    """Adjust prices for splits and dividends, volume for splits alone.

    Open, high, low and close are multiplied by adj_close / close of their bar. Volume is multiplied by the
    shares that one share of its bar had become by the last bar, so the last bar's volume stays as traded.
    Only splits inside the range are seen.

    Parameters
    ----------
    raw
        Columns open, high, low, close, volume as traded and adj_close; sorted by date. Prices must be
        positive; an all-NaN column stays so.

    Returns
    -------
    DataFrame, dict
        The frame without adj_close, and the splits found: date → "2:1" (two new shares for an old one).
    """
    close, adj_close = (raw[name].to_numpy(dtype="float64") for name in ("close", "adj_close"))
    prices = raw.drop(columns="adj_close").astype("float64")
    factor = adj_close / close
    for column in PRICE_COLUMNS:
        prices[column] = prices[column].to_numpy() * factor
    prices["close"] = adj_close  # not close · (adj_close / close), which may differ in the last digit
    shares = split_shares(close, adj_close)
    later = np.cumprod(shares[::-1])[::-1] / shares  # product over the bars after this one
    prices["volume"] = prices["volume"].to_numpy() * later
    found = {
        str(date)[:10]: _written(ratio) for date, ratio in zip(raw.index, shares, strict=True) if ratio != 1
    }
    return prices, found


def split_shares(close: Price, adj_close: Price) -> Price:
    """Shares that one share became on each bar, (bar,): 1 where there was no split.

    q = (close_t / close_{t−1}) / (adj_close_t / adj_close_{t−1}) is what happened to the close and not to the
    adjusted close: 1/2 for a two-for-one split, a little below 1 for a dividend. A bar is a split when q
    lies within 1 % of the inverse of a usual split. The size of a move says nothing: q of a crash is 1.
    """
    q = (close[1:] / close[:-1]) / (adj_close[1:] / adj_close[:-1])
    usual = np.array([float(split) for split in SPLITS])
    distance = np.abs(q[:, None] * usual - 1)
    nearest = usual[distance.argmin(axis=1)]
    return np.concatenate([[1.0], np.where(distance.min(axis=1) < _NEAR, nearest, 1.0)])


def _written(shares: float) -> str:
    split = Fraction(shares).limit_denominator(100)
    return f"{split.numerator}:{split.denominator}"
