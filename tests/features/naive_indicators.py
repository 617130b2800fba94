"""The classical indicators by their textbook formulas, one bar at a time."""

import math
from itertools import pairwise

import numpy as np


def naive_sma(close, n):
    return [math.nan if t < n - 1 else math.fsum(close[t - n + 1 : t + 1]) / n for t in range(len(close))]


def naive_ema(values, n, first):
    """Exponential mean whose first value, at bar `first`, is the plain mean of the n values up to it."""
    out = [math.nan] * len(values)
    out[first] = sum(values[first - n + 1 : first + 1]) / n
    for t in range(first + 1, len(values)):
        out[t] = out[t - 1] + 2 / (n + 1) * (values[t] - out[t - 1])
    return out


def naive_macd(close):
    fast, slow = naive_ema(close, 12, 25), naive_ema(close, 26, 25)
    line = [f - s for f, s in zip(fast, slow, strict=True)]
    signal = naive_ema(line, 9, 33)
    line[:33] = [math.nan] * 33
    return line, signal, [a - b for a, b in zip(line, signal, strict=True)]


def naive_rsi(close, n=14):
    """Wilder (1978): average gain over average gain plus average loss."""
    moves = [b - a for a, b in pairwise(close)]
    gain = sum(max(m, 0) for m in moves[:n]) / n
    loss = sum(max(-m, 0) for m in moves[:n]) / n
    out = [math.nan] * n + [100 * gain / (gain + loss)]
    for move in moves[n:]:
        gain, loss = (gain * (n - 1) + max(move, 0)) / n, (loss * (n - 1) + max(-move, 0)) / n
        out.append(100 * gain / (gain + loss))
    return out


def naive_sd(values, n):
    return [math.nan if t < n - 1 else float(np.std(values[t - n + 1 : t + 1])) for t in range(len(values))]


def naive_classics(close):
    close = [float(c) for c in close]
    middle, sd = naive_sma(close, 20), naive_sd(close, 20)
    returns = [math.nan] + [math.log(b / a) for a, b in pairwise(close)]
    line, signal, hist = naive_macd(close)
    return {
        "sma_10": naive_sma(close, 10),
        "sma_20": middle,
        "rsi_14": naive_rsi(close),
        "macd": line,
        "macd_signal": signal,
        "macd_hist": hist,
        "bollinger_upper": [m + 2 * s for m, s in zip(middle, sd, strict=True)],
        "bollinger_middle": middle,
        "bollinger_lower": [m - 2 * s for m, s in zip(middle, sd, strict=True)],
        "volatility_20": naive_sd(returns, 20),
    }
