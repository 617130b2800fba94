"""One question, one answer: what did the model look at in each of these windows?"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import nn

from workbench.explainers.batches import rollout_pass
from workbench.explainers.rollouts import RolloutOptions
from workbench.features.windows import Windows
from workbench.training.prediction import frame_of
from workbench.training.threads import using_threads


@dataclass(frozen=True)
class Explanation:
    """What a model looked at, window by window.

    Attributes
    ----------
    scores
        Share of the answer drawn from each bar, (window, time), oldest bar first; or (window, time, feature).
    method
        The method's name.
    target
        What was explained: the output position of rollout, a class or a forecast for other methods.
    dates
        Decision bar of each window.
    tickers
        Ticker of each window, (window,).
    feature_names
        The features of a bar.
    null
        What a model that attends evenly would show, (time,) or like `scores`; None where there is no such
        thing, as with `discard`. Scores mean something only beside it: in a causal model early bars pile up
        whatever it learned.
    predictions
        The model's answers of the same pass, as `predict` gives them.
    trust
        The measured faithfulness, or None when it was not measured.
    options
        How the method was called.
    provenance
        Of the prices: made-up ones are named wherever this is shown.
    """

    scores: Float[np.ndarray, "window time"] | Float[np.ndarray, "window time feature"]
    method: str
    target: str
    dates: pd.DatetimeIndex
    tickers: np.ndarray
    feature_names: tuple[str, ...]
    predictions: pd.DataFrame
    null: Float[np.ndarray, " time"] | Float[np.ndarray, "window time"] | None = None
    trust: object | None = None
    options: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.scores)

    def at(self, date: object, ticker: str | None = None) -> "Explanation":
        """Return the explanation of the one window decided on `date`."""
        stamp = pd.Timestamp(date)  # type: ignore[arg-type]
        stamp = stamp if stamp.tzinfo or self.dates.tz is None else stamp.tz_localize(self.dates.tz)
        found = self.dates == stamp
        if ticker is not None:
            found &= self.tickers == ticker
        rows = np.flatnonzero(found)
        if len(rows) != 1:
            nearest = self.dates[np.abs(self.dates - stamp).argmin()]
            raise KeyError(
                f"expected one window decided on {stamp:%Y-%m-%d %H:%M}, found {len(rows)}: "
                + ("give the ticker too" if len(rows) else f"the nearest is {nearest:%Y-%m-%d %H:%M}")
            )
        return self[rows]

    def __getitem__(self, rows: Any) -> "Explanation":
        null = self.null if self.null is None or self.null.shape != self.scores.shape else self.null[rows]
        return replace(
            self,
            scores=self.scores[rows],
            dates=self.dates[rows],
            tickers=self.tickers[rows],
            predictions=self.predictions.iloc[rows],
            null=null,
        )

    def __repr__(self) -> str:
        shape = " × ".join(map(str, self.scores.shape))
        made_up = "SYNTHETIC · " if self.provenance.get("synthetic") else ""
        span = f"{self.dates[0]:%Y-%m-%d} → {self.dates[-1]:%Y-%m-%d}" if len(self) else "no windows"
        trust = "not measured" if self.trust is None else self.trust
        return f"Explanation({made_up}{self.method} of {self.target}: {shape}, {span}, trust {trust})"


def explain(
    model: nn.Module, windows: Windows, method: str = "rollout", threads: int | None = 1, **options: Any
) -> Explanation:
    """Say what `model` looked at in every window, in one batched pass that also predicts.

    Parameters
    ----------
    model
        A model of this package, or any module whose attention can be watched.
    windows
        The windows to explain.
    method
        `rollout`: attention rollout from the last bar (options: `fusion`, `residual`, `discard`,
        `start_layer`, as `rollout` has them, and `position`).
    threads
        Processor threads, as for `predict`: one gives the same figures on every machine; None keeps PyTorch's
        setting.
    **options
        The method's own.

    Returns
    -------
    Explanation
        Scores, null and predictions of every window. Trust is not measured here.

    Raises
    ------
    ValueError
        If the method or an option is unknown, the windows are empty or hold NaN, the model has no attention,
        or attends over something other than the bars.

    Notes
    -----
    Rollout follows the output position asked for, the last bar by default. It describes a model whose answer
    is read there, not one that pools over bars or mixes them before attending (recurrence, convolution).

    Examples
    --------
    >>> why = explain(model, test)  # doctest: +SKIP
    >>> why.scores.sum(axis=1)  # doctest: +SKIP
    array([1., 1., 1., …])
    """
    if method not in _METHODS:
        raise ValueError(f"unknown method {method!r}; there are {', '.join(sorted(_METHODS))}")
    if len(windows) == 0:
        raise ValueError("there are no windows to explain; choose dates that the windows cover")
    with using_threads(threads):
        return _METHODS[method](model, windows, options)


def _rollout(model: nn.Module, windows: Windows, options: dict[str, Any]) -> Explanation:
    position = options.pop("position", -1)
    known = RolloutOptions.__dataclass_fields__
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f"rollout has no option {unknown[0]!r}; it has {', '.join([*known, 'position'])}")
    scores, null, outputs = rollout_pass(model, windows, RolloutOptions(**options), position)
    return Explanation(
        scores=scores.numpy(),
        method="rollout",
        target="last bar" if position in (-1, windows.lookback - 1) else f"bar {position}",
        dates=windows.dates,
        tickers=windows.tickers,
        feature_names=windows.feature_names,
        predictions=frame_of(outputs, windows),
        null=None if null is None else null.numpy(),
        options={**options, "position": position},
        provenance=dict(windows.provenance),
    )


_METHODS: dict[str, Callable[[nn.Module, Windows, dict[str, Any]], Explanation]] = {"rollout": _rollout}
