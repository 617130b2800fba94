"""Did the model look elsewhere when it was right? Attribution on decision bars that won and that lost."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from workbench.trading.contrast import LEAST, Contrast, contrast
from workbench.trading.outcomes import DROPPED, Explained, matched, shares_of
from workbench.trading.report import Report
from workbench.trading.resampling import false_discovery_rates
from workbench.trading.result import BacktestResult

_FEW_BLOCKS = 10  # below, resampled blocks vary less than the truth: the interval covers it too seldom


@dataclass(frozen=True, repr=False)
class OutcomeAttention:
    """Average attribution of decision bars that won and of those that lost. Prints as a report.

    Attributes
    ----------
    by_lag
        Index `lag`, from the oldest bar of the window to 0, the decision bar. Columns `won`, `lost`: mean
        share of a window's attribution; `difference` = won − lost with its 95 % interval `low`, `high`;
        `p_value` from shuffled outcomes; `q_value` and `significant` after control of the false discovery
        rate over lags.
    recent
        Rows `won`, `lost`, `difference`; columns `share` of the attribution on the most recent bars, and its
        95 % interval `low`, `high`.
    p_value
        Of the difference in that share: how often shuffled outcomes differ at least as much, either way.
    counts
        `windows`, and how many of them `won` and `lost`; those dropped: `flat`, of `unknown` outcome,
        `outside` the backtest, `blank` (no attribution at all).
    recent_bars, block, draws, seed, fdr
        How it was measured: bars called recent, mean block in dates, draws of bootstrap and null.
    indifferent
        Share on the recent bars of the explanation's own null, or of uniform attention if it has none.
    reason
        Why there are no intervals, or None.
    blocks
        How many blocks the dates hold: below 10 the intervals are too narrow, and the report says so.
    provenance
        Of the backtest's prices.
    """

    by_lag: pd.DataFrame
    recent: pd.DataFrame
    p_value: float
    counts: pd.Series
    recent_bars: int
    block: int
    draws: int
    seed: int
    fdr: float
    indifferent: float
    reason: str | None
    blocks: int
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self._report().text()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self._report().html()

    def _report(self) -> Report:
        counts = self.counts.to_dict()
        dropped = ", ".join(f"{counts[name]} {name}" for name in DROPPED if counts[name])
        facts = (
            f"{counts['won']} won and {counts['lost']} lost of {counts['windows']} windows"
            + (f"; dropped: {dropped}" if dropped else ""),
            f"Recent: the last {self.recent_bars} of {len(self.by_lag)} bars, which hold "
            f"{self.indifferent:.1%} of an indifferent model's attribution",
            f"Intervals: 95 %, stationary bootstrap, mean block {self.block} dates; p: outcomes shuffled in "
            f"blocks twice as long; {self.draws} draws, seed {self.seed}",
        )
        figures = (100 * self.recent).map("{:.2f}".format).replace("nan", "–")
        figures.columns = [f"{name} [%]" for name in figures.columns]
        title = "Attribution on the recent bars, by outcome of the decision"
        if self.provenance.get("synthetic"):
            title = f"SYNTHETIC · {title}"
        return Report(title, facts, figures, self._notes())

    def _notes(self) -> tuple[str, ...]:
        if self.reason is not None:
            return (self.reason,)
        lags, differs = self.by_lag.index.to_numpy(), self.by_lag["significant"].to_numpy()
        sides = np.where(differs, np.sign(self.by_lag["difference"].to_numpy()), 0)
        more, less = (
            ", ".join(f"t−{lag}" if lag else "t" for lag in lags[sides == side]) or "none" for side in (1, -1)
        )
        few = (
            f"Only {self.blocks} independent blocks: the interval is too narrow. "
            "Explain and backtest a longer period.",
        )
        return (
            *(few if self.blocks < _FEW_BLOCKS else ()),
            f"The difference in recent share has p = {self.p_value:.3g}.",
            f"At a false discovery rate of {self.fdr:g} over lags, won bars looked more at: {more}; "
            f"less at: {less}.",
        )


def attention_by_outcome(
    explanation: Explained,
    result: BacktestResult,
    bars: int | None = None,
    seed: int = 0,
    draws: int = 2000,
    fdr: float = 0.05,
) -> OutcomeAttention:
    """Compare where the model looked on decision bars that won with where it looked on those that lost.

    A decision bar wins when its position earned a positive net return from its own fill to the next bar's
    (`result.outcomes`), and loses otherwise; flat bars are dropped. It pays for getting into its position,
    and, where the next bar's decision goes flat or flips, for getting out: see `decision_outcomes`.
    Each window's attribution, absolute and summed over features, is turned into shares that sum to one. This
    conditions on the outcome: a
    difference says where the model looked when it turned out right, not that looking there makes it so.

    Parameters
    ----------
    explanation
        Attributions of windows, matched to the decisions by date and ticker.
    result
        Of the backtest of the same model's positions.
    bars
        Most recent bars whose share is compared; by default a quarter of the window.
    seed, draws
        Of the stationary bootstrap over dates (mean block at least the mean trade) and of the null, in which
        the order of outcomes is shuffled in blocks of dates.
    fdr
        False discovery rate allowed over the lags (Benjamini & Hochberg 1995).

    Returns
    -------
    OutcomeAttention
        With NaN intervals and a `reason` if fewer than 10 bars won or lost.

    Raises
    ------
    ValueError
        If no window is a decision of the backtest, scores are not finite, not by bar or less their null, or
        `bars` exceeds the window.
    """
    if draws < 1:
        raise ValueError(f"draws must be at least 1; 2000 resolve p to 0.0005. Got {draws}.")
    if getattr(explanation, "against_null", False):
        raise ValueError(
            "these scores are less their null, which is no share of an answer, and the null is compared with "
            "here anyway: explain without against_null"
        )
    axes = getattr(explanation, "axes", ("time",))
    if axes[0] != "time":
        raise ValueError(
            f"attention by outcome is about bars, and these scores are by {' and '.join(axes)}: explain by a "
            "method that scores bars, such as 'rollout' or 'gradient_x_input'"
        )
    shares = shares_of(explanation.scores)
    n_bars = shares.shape[1]
    bars = math.ceil(n_bars / 4) if bars is None else bars
    if not 1 <= bars <= n_bars:
        raise ValueError(f"bars must be between 1 and the window's {n_bars}. Got {bars}.")
    values = np.column_stack([shares, shares[:, n_bars - bars :].sum(axis=1)])
    groups, counts = matched(explanation, result, values)
    found = contrast(groups, _holding_period(result), draws, seed)
    return OutcomeAttention(
        by_lag=_by_lag(found, fdr),
        recent=_recent(found),
        p_value=float(found.p_value[-1]),
        counts=counts,
        recent_bars=bars,
        block=found.block,
        draws=draws,
        seed=seed,
        fdr=fdr,
        indifferent=_indifferent(explanation, n_bars, bars),
        reason=_reason(counts),
        blocks=found.blocks,
        provenance=result.provenance,
    )


def _holding_period(result: BacktestResult) -> int:
    """Mean bars of a trade, at least one."""
    bars = result.trades["bars"].to_numpy()
    return max(1, round(float(bars.mean()))) if len(bars) else 1


def _by_lag(found: Contrast, fdr: float) -> pd.DataFrame:
    lags = pd.Index(np.arange(len(found.won) - 1)[::-1], name="lag")
    p_values = found.p_value[:-1]
    q_values = np.full(len(p_values), np.nan)
    if not np.isnan(p_values).any():
        q_values = false_discovery_rates(p_values)
    return pd.DataFrame(
        {
            "won": found.won[:-1],
            "lost": found.lost[:-1],
            "difference": (found.won - found.lost)[:-1],
            "low": found.intervals[2, 0, :-1],
            "high": found.intervals[2, 1, :-1],
            "p_value": p_values,
            "q_value": q_values,
            "significant": q_values <= fdr,
        },
        index=lags,
    )


def _recent(found: Contrast) -> pd.DataFrame:
    shares = [found.won[-1], found.lost[-1], found.won[-1] - found.lost[-1]]
    low, high = found.intervals[:, 0, -1], found.intervals[:, 1, -1]
    return pd.DataFrame({"share": shares, "low": low, "high": high}, index=["won", "lost", "difference"])


def _indifferent(explanation: Explained, n_bars: int, bars: int) -> float:
    null = getattr(explanation, "null", None)
    if null is None:
        return bars / n_bars
    null = np.asarray(null)
    return float(shares_of(null if null.ndim > 1 else null[None])[:, n_bars - bars :].sum(axis=1).mean())


def _reason(counts: pd.Series) -> str | None:
    won, lost = counts[["won", "lost"]].tolist()
    if min(won, lost) >= LEAST:
        return None
    return (
        f"No intervals: {won} decision bars won and {lost} lost, and each needs at least "
        f"{LEAST}. Explain and backtest a longer period."
    )
