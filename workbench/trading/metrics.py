"""Figures of an account, each a few lines. Where one is undefined it raises `Undefined` with the reason.

Returns are simple, one a bar, fractions. `periods_per_year` is the number of bars in a year; an annual
risk-free rate becomes risk_free / periods_per_year a bar.
"""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

_FLAT = 1e-10  # a spread this small relative to the returns is rounding, not variation
_STILL = 1e-12  # a relative move this small is rounding, not a gain
_TAIL = 0.05

Returns = Float[np.ndarray, " bar"]
Curve = Float[np.ndarray, " point"]  # of equity, from the initial capital on


class Undefined(ValueError):
    """A figure has no value for these returns; the message says why."""


def total_return(equity: Curve) -> float:
    """Last over first value of an equity curve that starts from the initial capital, less one."""
    return float(equity[-1] / equity[0] - 1)


def cagr(returns: Returns, periods_per_year: float | int) -> float:
    """Compound annual growth rate: Π(1 + r)^(periods_per_year / bars) − 1."""
    _need(returns, 1)
    growth = float(np.prod(1 + returns))
    if growth <= 0:
        return -1.0
    power = math.log(growth) * periods_per_year / len(returns)
    if power > math.log(np.finfo(float).max):
        raise Undefined(f"{len(returns)} bars are too few to annualise their growth")
    return math.expm1(power)


def volatility(returns: Returns, periods_per_year: float | int) -> float:
    """Annualised standard deviation (ddof 1) of returns."""
    _need(returns, 2)
    return float(returns.std(ddof=1) * math.sqrt(periods_per_year))


def sharpe_ratio(returns: Returns, periods_per_year: float | int, risk_free: float | int = 0.0) -> float:
    """Annualised Sharpe ratio: mean over standard deviation (ddof 1) of excess returns (Sharpe 1994)."""
    _need(returns, 2)
    excess = returns - risk_free / periods_per_year
    spread = excess.std(ddof=1)
    if spread <= _FLAT * np.abs(returns).max():
        raise Undefined("the returns do not vary")
    return float(excess.mean() / spread * math.sqrt(periods_per_year))


def sortino_ratio(returns: Returns, periods_per_year: float | int, risk_free: float | int = 0.0) -> float:
    """Annualised Sortino ratio: mean excess return over sqrt(mean(min(excess, 0)²)), over all bars."""
    _need(returns, 1)
    if not returns.any():  # an account that never traded has no ratio, whatever rate it missed
        raise Undefined("the returns do not vary")
    excess = returns - risk_free / periods_per_year
    downside = math.sqrt(np.mean(np.minimum(excess, 0) ** 2))
    if downside <= _FLAT * np.abs(returns).max():
        raise Undefined("no bar returned less than the risk-free rate")
    return float(excess.mean() / downside * math.sqrt(periods_per_year))


def max_drawdown(equity: Curve) -> float:
    """Largest fall from a peak, as a negative fraction; the curve starts from the initial capital."""
    return float((equity / np.maximum.accumulate(equity) - 1).min())


def calmar_ratio(returns: Returns, periods_per_year: float | int) -> float:
    """CAGR over the size of the largest drawdown."""
    growth = cagr(returns, periods_per_year)
    fall = max_drawdown(np.cumprod(np.append(1.0, 1 + returns)))
    if fall == 0:
        raise Undefined("there was no drawdown")
    return growth / -fall


def value_at_risk(returns: Returns) -> float:
    """Historical VaR 95: the 5 % quantile of the returns (linear between order statistics)."""
    _need(returns, 20)
    return float(np.quantile(returns, _TAIL))


def expected_shortfall(returns: Returns) -> float:
    """Historical CVaR 95: mean of the worst returns, the 1 + ⌊0.05 · (bars − 1)⌋ of them."""
    _need(returns, 20)
    worst = int((len(returns) - 1) * _TAIL) + 1
    return float(np.partition(returns, worst - 1)[:worst].mean())


def bar_hit_rate(equity: Curve, in_market: Bool[np.ndarray, " bar"]) -> float:
    """Bars that raised the equity over the bars in the market; `equity` starts from the initial capital."""
    if not in_market.any():
        raise Undefined("never in the market")
    return float((np.diff(equity) > _STILL * equity[:-1])[in_market].mean())


def trade_win_rate(trades: pd.DataFrame) -> float:
    """Closed trades that made money (`pnl`; without it, a positive `net_return`) over closed trades."""
    closed = trades.loc[~trades["open"], "pnl" if "pnl" in trades else "net_return"]
    if closed.empty:
        raise Undefined("no trade was closed")
    return float((closed > 0).mean())


def account_stats(
    equity: Curve, returns: Returns, periods_per_year: float | int, risk_free: float | int = 0.0
) -> tuple[dict[str, float], dict[str, str]]:
    """Figures that need an equity curve alone, named with their units, and why any is NaN.

    Parameters
    ----------
    equity
        From the initial capital (first) to the last close.
    returns
        Of the bars over which rates are annualised.
    """
    year = periods_per_year
    return measured(
        {
            "Total return [%]": lambda: 100 * total_return(equity),
            "CAGR [%]": lambda: 100 * cagr(returns, year),
            "Volatility (ann.) [%]": lambda: 100 * volatility(returns, year),
            "Sharpe": lambda: sharpe_ratio(returns, year, risk_free),
            "Sortino": lambda: sortino_ratio(returns, year, risk_free),
            "Calmar": lambda: calmar_ratio(returns, year),
            "Max drawdown [%]": lambda: 100 * max_drawdown(equity),
            "VaR 95 [% a bar]": lambda: 100 * value_at_risk(returns),
            "CVaR 95 [% a bar]": lambda: 100 * expected_shortfall(returns),
        }
    )


def measured(figures: dict[str, Callable[[], float]]) -> tuple[dict[str, float], dict[str, str]]:
    """The value of each figure, NaN where it is undefined, and the reasons of those."""
    values, reasons = {}, {}
    for name, figure in figures.items():
        try:
            values[name] = figure()
        except Undefined as reason:
            values[name], reasons[name] = math.nan, str(reason)
    return values, reasons


def _need(returns: Returns, least: int) -> None:
    if len(returns) < least:
        raise Undefined(f"needs at least {least} bars of returns, has {len(returns)}")
