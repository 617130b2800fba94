"""Alpha158 by pandas' rolling windows, written as one would: for the tests, and to be timed against."""

import numpy as np
import pandas as pd

LENGTHS = (5, 10, 20, 30, 60)
EPS = 1e-12


def plain_alpha158(prices: pd.DataFrame) -> pd.DataFrame:
    """One ticker's 158 columns, or a panel's by groupby."""
    if isinstance(prices.index, pd.MultiIndex):
        parts = {
            ticker: plain_alpha158(bars.droplevel("ticker"))
            for ticker, bars in prices.groupby(level="ticker")
        }
        return pd.concat(parts, names=["ticker", "date"]).swaplevel().sort_index()
    columns = one_bar(prices)
    by_length = {d: window(prices, d) for d in LENGTHS}
    columns |= {f"{name}{d}": by_length[d][name] for name in by_length[5] for d in LENGTHS}
    return pd.DataFrame(columns).astype("float32")


def one_bar(prices: pd.DataFrame) -> dict[str, pd.Series]:
    o, h, low, c = (prices[name] for name in ("open", "high", "low", "close"))
    body_top, body_bottom, span = np.maximum(o, c), np.minimum(o, c), h - low + EPS
    return {
        "KMID": (c - o) / o,
        "KLEN": (h - low) / o,
        "KMID2": (c - o) / span,
        "KUP": (h - body_top) / o,
        "KUP2": (h - body_top) / span,
        "KLOW": (body_bottom - low) / o,
        "KLOW2": (body_bottom - low) / span,
        "KSFT": (2 * c - h - low) / o,
        "KSFT2": (2 * c - h - low) / span,
        "OPEN0": o / c,
        "HIGH0": h / c,
        "LOW0": low / c,
        "VWAP0_hlc3": (h + low + c) / 3 / c,
    }


def slope(values: np.ndarray) -> float:
    n = len(values)
    if n < 2:
        return np.nan
    x = np.arange(n) - (n - 1) / 2
    return float((x * (values - values.mean())).sum() / (x * x).sum())


def window(prices: pd.DataFrame, d: int) -> dict[str, pd.Series]:
    h, low, c, v = (prices[name] for name in ("high", "low", "close", "volume"))
    closes, volumes = c.rolling(d, min_periods=1), v.rolling(d, min_periods=1)
    bars = pd.Series(1.0, c.index).rolling(d, min_periods=1).sum()
    still = closes.std() <= 2e-5
    slopes = closes.apply(slope, raw=True)
    r_squared = slopes**2 * bars * (bars**2 - 1) / 12 / (closes.var() * (bars - 1))
    top, bottom = h.rolling(d, min_periods=1).max(), low.rolling(d, min_periods=1).min()
    place_top = h.rolling(d, min_periods=1).apply(np.argmax, raw=True) + 1
    place_bottom = low.rolling(d, min_periods=1).apply(np.argmin, raw=True) + 1
    up = (c > c.shift(1)).rolling(d, min_periods=1).mean()
    down = (c < c.shift(1)).rolling(d, min_periods=1).mean()
    moves = ((c / c.shift(1) - 1).abs() * v).rolling(d, min_periods=1)
    gains, volume_gains = signed_sums(c, d), signed_sums(v, d)
    return {
        "ROC": c.shift(d) / c,
        "MA": closes.mean() / c,
        "STD": closes.std() / c,
        "BETA": slopes / c,
        "RSQR": r_squared.mask(still),
        "RESI": (c - closes.mean() - slopes * (bars - 1) / 2) / c,
        "MAX": top / c,
        "MIN": bottom / c,
        "QTLU": closes.quantile(0.8) / c,
        "QTLD": closes.quantile(0.2) / c,
        "RANK": closes.rank(pct=True),
        "RSV": (c - bottom) / (top - bottom + EPS),
        "IMAX": place_top / d,
        "IMIN": place_bottom / d,
        "IMXD": (place_top - place_bottom) / d,
        "CORR": correlation(c, np.log(v + 1), d),
        "CORD": correlation(c / c.shift(1), np.log(v / v.shift(1) + 1), d),
        "CNTP": up,
        "CNTN": down,
        "CNTD": up - down,
        **dict(zip(("SUMP", "SUMN", "SUMD"), gains, strict=True)),
        "VMA": volumes.mean() / (v + EPS),
        "VSTD": volumes.std() / (v + EPS),
        "WVMA": moves.std() / (moves.mean() + EPS),
        **dict(zip(("VSUMP", "VSUMN", "VSUMD"), volume_gains, strict=True)),
    }


def correlation(x: pd.Series, y: pd.Series, d: int) -> pd.Series:
    found = x.rolling(d, min_periods=1).corr(y)
    return found.mask(
        (x.rolling(d, min_periods=1).std() <= 2e-5) | (y.rolling(d, min_periods=1).std() <= 2e-5)
    )


def signed_sums(values: pd.Series, d: int) -> tuple[pd.Series, pd.Series, pd.Series]:
    step = values.diff()
    total = step.abs().rolling(d, min_periods=1).sum() + EPS
    up = step.clip(lower=0).rolling(d, min_periods=1).sum() / total
    down = (-step).clip(lower=0).rolling(d, min_periods=1).sum() / total
    return up, down, up - down
