"""The classical indicators, and the columns made of them that a model reads; row t knows bars ≤ t."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from jaxtyping import Float64

from workbench.features.panels import apply_by_ticker, check_prices, known_fields
from workbench.features.scaling import trailing_zscore

__all__ = ["indicators", "make_features", "volatility"]

Column = Float64[np.ndarray, " bar"]
FLAT_BAND = 1e-7  # a Bollinger half-width below this part of the price is rounding, not movement
VOLUME_BARS = 20


def make_features(prices: pd.DataFrame, zscore: int | None = None) -> pd.DataFrame:
    """Make the columns a model reads: free of price level and unit, about O(1) or small.

    c, o, h, l, v are close, open, high, low and volume; ln the natural logarithm.

    ================  =====================================================  ======================
    column            formula                                                range
    ================  =====================================================  ======================
    log_return        ln(c_t / c_{t−1})                                      about ±0.05 a day
    range             ln(h / l)                                              ≥ 0
    log_volume        ln(v_t) − mean of ln(v) over the 20 bars up to t       about ±1
    close_position    2 (c − l) / (h − l) − 1; 0 where h = l                 −1 (low) … 1 (high)
    gap               ln(o_t / c_{t−1})                                      about ±0.03 a day
    sma_10, sma_20    ln(c / mean of the last 10, 20 closes)                 about ±0.2
    rsi_14            RSI / 100 − 0.5                                        −0.5 … 0.5
    macd              (EMA 12 − EMA 26) / c                                  about ±0.05
    macd_signal       EMA 9 of the MACD, / c                                 about ±0.05
    macd_hist         (MACD − its signal) / c                                about ±0.02
    bollinger         (c − middle) / (upper − middle); 0 in a flat band      ±1 at the bands, ≤ 2.18
    volatility_20     population sd of the last 20 log returns, per bar      ≥ 0
    ================  =====================================================  ======================

    A bar without trades has no ln(v); it counts as the smallest volume traded in the 20 bars up to
    it, so that one quiet bar does not cost every window that holds it. Where none of the 20 traded,
    log_volume is NaN.

    Parameters
    ----------
    prices
        One ticker, or a panel whose tickers are then computed each from its own bars.
    zscore
        Standardise every column over this many trailing bars (`trailing_zscore`). The columns then bear
        it in their names, `log_return_z60`, so that a model trained on the one kind refuses the other.

    Returns
    -------
    pd.DataFrame
        Float64, index and attrs of `prices`; NaN while an indicator warms up (33 bars for all).
        Columns that need a field which the prices lack (`provenance["fields"]`) are left out.
        `attrs["features"]` tells how they were made.

    Raises
    ------
    PriceError
        Prices are not finite, positive, unique in date and sorted.
    """
    fields = known_fields(prices)
    check_prices(prices, fields)

    def columns(bars: pd.DataFrame) -> pd.DataFrame:
        values = {name: bars[name].to_numpy(dtype="float64") for name in fields}
        return pd.DataFrame(_model_columns(values), index=bars.index)

    features = apply_by_ticker(prices, columns)
    if zscore is not None:
        features = trailing_zscore(features, zscore).add_suffix(f"_z{zscore}")
    features.attrs["features"] = {"kind": "make_features", "zscore": zscore}
    return features


def indicators(prices: pd.DataFrame) -> pd.DataFrame:
    """Compute the classics in their own units, for charts: SMA, RSI, MACD, Bollinger, volatility.

    By TA-Lib, of closes: `sma_10 sma_20`; `rsi_14` (Wilder, 0 … 100, 50 while the price has never
    moved); `macd macd_signal macd_hist` (12/26/9); `bollinger_upper bollinger_middle
    bollinger_lower` (20 bars, 2 population sd); `volatility_20` (population sd of log returns, per bar).

    Parameters
    ----------
    prices
        One ticker, or a panel whose tickers are then computed each from its own bars.

    Returns
    -------
    pd.DataFrame
        Float64, index and attrs of `prices`; NaN while an indicator warms up.

    Raises
    ------
    PriceError
        Closes are not finite, positive, unique in date and sorted.
    """
    check_prices(prices, ("close",))

    def columns(bars: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame(_classics(bars["close"].to_numpy(dtype="float64")), index=bars.index)

    return apply_by_ticker(prices, columns)


def volatility(close: Column, bars: int) -> Column:
    """Population standard deviation of the last `bars` log returns, per bar."""
    import talib

    return talib.STDDEV(_log_return(close), timeperiod=bars, nbdev=1)


def _classics(close: Column) -> dict[str, Column]:
    import talib

    macd, signal, hist = talib.MACD(close, fastperiod=12, slowperiod=26, signalperiod=9)
    upper, middle, lower = talib.BBANDS(close, timeperiod=20, nbdevup=2, nbdevdn=2)
    return {
        "sma_10": talib.SMA(close, timeperiod=10),
        "sma_20": talib.SMA(close, timeperiod=20),
        # RSI = 50 + CMO / 2; TA-Lib's own RSI calls a price that never moved 0, the deepest oversold
        "rsi_14": 50 + talib.CMO(close, timeperiod=14) / 2,
        "macd": macd,
        "macd_signal": signal,
        "macd_hist": hist,
        "bollinger_upper": upper,
        "bollinger_middle": middle,
        "bollinger_lower": lower,
        "volatility_20": volatility(close, 20),
    }


def _model_columns(values: dict[str, Column]) -> dict[str, Column]:
    close = values["close"]
    raw = _classics(close)
    made: dict[str, Callable[[], Column]] = {
        "log_return": lambda: _log_return(close),
        "range": lambda: np.log(values["high"] / values["low"]),
        "log_volume": lambda: _log_volume(values["volume"]),
        "close_position": lambda: _close_position(close, values["high"], values["low"]),
        "gap": lambda: _gap(values["open"], close),
        "sma_10": lambda: np.log(close / raw["sma_10"]),
        "sma_20": lambda: np.log(close / raw["sma_20"]),
        "rsi_14": lambda: raw["rsi_14"] / 100 - 0.5,
        "macd": lambda: raw["macd"] / close,
        "macd_signal": lambda: raw["macd_signal"] / close,
        "macd_hist": lambda: raw["macd_hist"] / close,
        "bollinger": lambda: _band_position(close, raw["bollinger_middle"], raw["bollinger_upper"]),
        "volatility_20": lambda: raw["volatility_20"],
    }
    needs = {
        "range": {"high", "low"},
        "log_volume": {"volume"},
        "close_position": {"high", "low"},
        "gap": {"open"},
    }
    return {name: make() for name, make in made.items() if needs.get(name, set()) <= values.keys()}


def _log_return(close: Column) -> Column:
    return np.log(close / _before(close))


def _gap(opening: Column, close: Column) -> Column:
    return np.log(opening / _before(close))


def _before(values: Column) -> Column:
    return np.concatenate([[np.nan], values[:-1]])


def _log_volume(volume: Column) -> Column:
    traded = np.where(volume > 0, volume, np.nan)
    smallest = np.asarray(pd.Series(traded).rolling(VOLUME_BARS, min_periods=1).min())
    logs = np.log(np.where(volume > 0, volume, smallest))
    return logs - np.asarray(pd.Series(logs).rolling(VOLUME_BARS).mean())


def _close_position(close: Column, high: Column, low: Column) -> Column:
    span = high - low
    moved = span > 0
    return np.where(moved, 2 * (close - low) / np.where(moved, span, 1.0) - 1, 0.0)


def _band_position(close: Column, middle: Column, upper: Column) -> Column:
    half = upper - middle
    wide = half > FLAT_BAND * middle
    position = np.where(wide, (close - middle) / np.where(wide, half, 1.0), 0.0)
    return np.where(np.isnan(middle), np.nan, position)
