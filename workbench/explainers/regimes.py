"""Reading an explanation: which lags matter, and whether recent bars matter more than they would anyway."""

import math

import numpy as np
import pandas as pd

from workbench.explainers.explanation import Explanation


def temporal_importance(explanation: Explanation, dates: pd.DatetimeIndex | None = None) -> pd.Series:
    """Average what an explanation says of each bar of the window.

    Parameters
    ----------
    explanation
        Scores by bar; scores by bar and feature are summed over features in absolute value.
    dates
        The dates of the bars, (time,), to label one window by; `windows.at(day).bar_dates` gives them.
        By default bars are labelled `t−k`, k bars before the decision.

    Returns
    -------
    Series
        Mean score a bar, oldest bar first, named after the method.

    Raises
    ------
    ValueError
        If dates are given for several windows, or are not one a bar, or scores are not by bar.
    """
    explanation.check_by_bar("temporal importance")
    scores = _by_bar(explanation.scores)
    time = scores.shape[1]
    if dates is None:
        labels = pd.Index([f"t−{time - 1 - i}" for i in range(time)], name="lag")
    elif len(scores) != 1:
        raise ValueError(
            f"dates label one window, and there are {len(scores)}; choose one with explanation.at(day)"
        )
    elif len(dates) != time:
        raise ValueError(f"expected one date for each of the {time} bars, got {len(dates)}")
    else:
        labels = dates.rename("date")
    importance = pd.Series(scores.mean(axis=0), index=labels, name=explanation.method)
    importance.attrs["provenance"] = explanation.provenance  # plots name made-up prices by it
    return importance


def attention_regime(
    explanation: Explanation,
    recent: float = 0.25,
    momentum: float | int = 1.2,
    reversion: float | int = 0.8,
) -> pd.DataFrame:
    """Say of each window whether its model looked at recent bars more than an indifferent one would.

    A window's recent share is what its most recent `recent` of bars receive. It is judged against the share
    they receive under uniform attention through the same masks, layers and residual, because that alone can
    lie anywhere: causal models favour early bars, the residual favours the last one.

    Parameters
    ----------
    explanation
        With a null.
    recent
        The share of the window that counts as recent, rounded up to whole bars.
    momentum, reversion
        Recent share over the null's from which a window is called `momentum`, and up to which it is called
        `mean-reversion`; between them it is `mixed`.

    Returns
    -------
    DataFrame
        Indexed by decision date (and ticker, in a panel): `recent_share`, `null_share`, `ratio`, `regime`.

    Raises
    ------
    ValueError
        If the explanation has no null, or scores less it; or the thresholds are out of order.
    """
    if explanation.against_null:
        raise ValueError(
            f"these scores of {explanation.method} are less their null already, and the verdict is a share "
            "over the null's: explain without against_null"
        )
    explanation.check_by_bar("a regime of looking")
    if explanation.null is None:
        raise ValueError(
            f"{explanation.method} comes without a null, and recency alone says nothing of a model; "
            "use a method that has one, such as 'rollout'"
        )
    if not 0 < recent < 1:
        raise ValueError(f"recent is a share of the window between 0 and 1, got {recent}")
    if not 0 <= reversion <= 1 <= momentum:
        raise ValueError(f"expected reversion ≤ 1 ≤ momentum, got {reversion} and {momentum}")
    scores = _by_bar(explanation.scores)
    bars = math.ceil(recent * scores.shape[1])
    null = np.broadcast_to(_by_bar(np.atleast_2d(explanation.null)), scores.shape)
    share, null_share = _recent_share(scores, bars), _recent_share(null, bars)
    ratio = share / null_share
    regime = np.select([ratio >= momentum, ratio <= reversion], ["momentum", "mean-reversion"], "mixed")
    return pd.DataFrame(
        {"recent_share": share, "null_share": null_share, "ratio": ratio, "regime": regime},
        index=explanation.predictions.index,
    )


def _recent_share(scores: np.ndarray, bars: int) -> np.ndarray:
    return scores[:, -bars:].sum(axis=1, dtype=np.float64) / scores.sum(axis=1, dtype=np.float64)


def _by_bar(scores: np.ndarray) -> np.ndarray:
    return np.abs(scores).sum(axis=2) if scores.ndim == 3 else scores
