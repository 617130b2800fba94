"""One question, one answer: what did the model look at in each of these windows?"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import nn

from workbench.explainers.beyond import OPTION, beyond_null, wants_beyond
from workbench.explainers.methods import Question, check_suits, method_of
from workbench.explainers.watching import Watch
from workbench.features.windows import Windows
from workbench.training.prediction import frame_of
from workbench.training.threads import using_threads
from workbench.training.turns import turn


@dataclass(frozen=True)
class Explanation:
    """What a model looked at, window by window.

    Attributes
    ----------
    scores
        (window, time), oldest bar first, or (window, time, feature), or by what `axes` names: shares of the
        answer that sum to one, or signed pushes, as `list_methods()` says of the method. Against their null,
        differences of shares.
    method
        The method's name.
    target
        What was explained: the output position of rollout; a class or the forecast for other methods.
        "likeliest class" is each window's own, `predictions.idxmax(axis=1)`.
    dates
        Decision bar of each window.
    tickers
        Ticker of each window, (window,).
    feature_names
        The features of a bar.
    null
        What a model that attends evenly would show, (time,) or like `scores`; None where there is no such
        thing, as with `discard` or gradients. A rollout means something only beside it: in a causal model
        early bars pile up whatever it learned. None too where scores are less their null already.
    predictions
        The model's answers of the same pass, as `predict` gives them.
    change
        Of additive methods, f(x) − f(baseline) of each window in float64, which its scores should add up to;
        None for other methods. f is a class's score before the softmax, or the forecast.
    trust
        The measured faithfulness, or None when it was not measured.
    options
        How the method was called, and what it says besides: a Series has one value a window, a frame a row.
    provenance
        Of the prices: made-up ones are named wherever this is shown.
    axes
        What the scores of a window have a number for each of: ("time",), ("time", "feature"), or what else a
        model is made of, as ("module",).
    axis_labels
        Names along each axis that has any, such as the features, the tickers of "asset".
    """

    scores: Float[np.ndarray, "window ..."]
    method: str
    target: str
    dates: pd.DatetimeIndex
    tickers: np.ndarray
    feature_names: tuple[str, ...]
    predictions: pd.DataFrame
    change: Float[np.ndarray, " window"] | None = None
    null: Float[np.ndarray, "..."] | None = None
    trust: object | None = None
    options: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    axes: tuple[str, ...] = ()
    axis_labels: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.axes:
            object.__setattr__(self, "axes", ("time", "feature")[: self.scores.ndim - 1])
        if "feature" in self.axes and "feature" not in self.axis_labels:
            labels = {**self.axis_labels, "feature": tuple(self.feature_names)}
            object.__setattr__(self, "axis_labels", labels)

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
            change=None if self.change is None else self.change[rows],
            options={name: _cut(value, rows) for name, value in self.options.items()},
        )

    @property
    def gap(self) -> Float[np.ndarray, " window"] | None:
        """What each window's scores add up to beyond `change`; None for methods that don't claim to."""
        if self.change is None:
            return None
        return self.scores.sum(axis=tuple(range(1, self.scores.ndim)), dtype=np.float64) - self.change

    @property
    def completeness(self) -> float | None:
        """The largest |gap| of a window, relative to the largest |change|; None for methods without.

        Additive methods promise 0: 0.05 says that sums are off by up to 5 % of what there is to explain.
        """
        if self.gap is None or self.change is None or len(self) == 0:
            return None
        gap, change = float(np.abs(self.gap).max()), float(np.abs(self.change).max())
        return gap / change if change else np.inf * gap if gap else 0.0

    def check_by_bar(self, what: str) -> None:
        """Raise ValueError, in words that begin with what is asked for, unless scores are by bar."""
        if self.axes[0] != "time":
            raise ValueError(
                f"{what} is about bars, and the scores of {self.method} are by {' and '.join(self.axes)}: "
                "draw them with plots.shares_over_time, or explain by another method"
            )

    @property
    def against_null(self) -> bool:
        """Whether the null was taken off the scores: they are differences, which sum to zero."""
        return bool(self.options.get(OPTION))

    def __repr__(self) -> str:
        shape = " × ".join(map(str, self.scores.shape))
        made_up = "SYNTHETIC · " if self.provenance.get("synthetic") else ""
        span = f"{self.dates[0]:%Y-%m-%d} → {self.dates[-1]:%Y-%m-%d}" if len(self) else "no windows"
        trust = "not measured" if self.trust is None else self.trust
        what = f"{self.method} of {self.target}{', less its null' if self.against_null else ''}"
        off = self.completeness
        sums = "" if off is None else f", completeness within {100 * max(off, 1e-4):.2g} %"
        return f"Explanation({made_up}{what}: {shape}, {span}{sums}, trust {trust})"


def _cut(value: Any, rows: Any) -> Any:
    """Return an option of some windows, where it has a value for each."""
    return value.iloc[rows] if isinstance(value, pd.Series | pd.DataFrame) else value


def _indexed(options: dict[str, Any], index: pd.Index) -> dict[str, Any]:
    """Index what has a value a window as predictions are: by date, in a panel by date and ticker."""
    return {
        name: value.set_axis(index) if isinstance(value, pd.Series | pd.DataFrame) else value
        for name, value in options.items()
    }


def _check_asked(model: object, windows: object) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"expected a torch.nn.Module, got {type(model).__name__}: pass the model itself")
    if not isinstance(windows, Windows):
        raise TypeError(
            f"expected Windows, got {type(windows).__name__}: cut features and labels into them by "
            "Windows.of(features, labels, lookback)"
        )
    if len(windows) == 0:
        raise ValueError("there are no windows to explain; choose dates that the windows cover")


def explain(
    model: nn.Module,
    windows: Windows,
    method: str = "rollout",
    target: str | None = None,
    threads: int | None = 1,
    watch: Watch | None = None,
    **options: Any,
) -> Explanation:
    """Say what `model` looked at in every window, in batched passes that also predict.

    Parameters
    ----------
    model
        A model of this package, or any module: `rollout` needs one whose attention can be watched. Threads
        that explain, ask or train one model take turns.
    windows
        The windows to explain.
    method
        `rollout`: attention rollout from the last bar (`fusion`, `residual`, `discard`, `discard_by`,
        `start_layer`, as `rollout` has them; `position`).
        `attention`: the weights of one layer as they are, from the last bar, or from the one query of
        attention over the states of an LSTM (`layer`, a number or a name, the last by default; `head`, mean,
        max, min or a number; `position`). `relevance`: attention weighted by its gradient, followed through
        all layers for one answer (`position`, by default where the answer is read; `identity=False`;
        `start_layer`).
        `value_rollout`: rollout of attention weighed by the length of what it carries (`residual`, a share as
        in rollout, or "inside" to measure it with the values; `start_layer`, `position`). `alti`: rollout of
        how near each bar's part is to what each layer hands on (`start_layer`, `position`). Both need
        attention of this package or of `nn.TransformerEncoderLayer`.
        `gradient_x_input`: the gradient of the target's score before the softmax, or of the forecast, by the
        scaled input, times the scaled input; by bar and feature, signed.
        `integrated_gradients`: gradients summed up on the straight way from a baseline to the window, by bar
        and feature (`n_steps=50`, `baseline`). `gradient_shap`: at points drawn on that way (`samples=50`,
        `baseline` or a `background` of windows to draw baselines from, `seed`).
        `kernel_shap`: Shapley values of the bars, or of other `parts` (`samples=512`, `parts="bars"`,
        `baseline`, `seed`); exact where the samples suffice for every coalition. `lime`: slopes of a linear
        model fitted near the window (the same options, `width=0.25`, `ridge=0`). `occlusion`: what is lost
        without a part (`parts="bars"`, `baseline`).

        What one model holds, and others refuse: `decomposition` of an ALSTM's answer by bar, `modules` and
        `concepts` of HIST, `neighbours` (which stocks of the day; `fusion` and `residual` of the rollout of
        an AssetTransformer), `frequencies` of an SFM (`over_time=False`), `routing` of TRA, `masks` of TabNet
        (`step`, None for all).
    target
        What to explain, for methods that explain one answer: a class; the lead of one over another, as
        "buy-sell"; "forecast"; or None, the class each window's prediction chose.
    threads
        Processor threads, as for `predict`: one gives the same figures on every machine; None keeps PyTorch's
        setting.
    watch
        Follows the windows done and may end the explanation early, from another thread.
    **options
        The method's own; and, of every method that has a null, `against_null=True`: scores less their null,
        what the model shows beyond an indifferent one, in differences of shares.

    Returns
    -------
    Explanation
        Scores, null and predictions of every window. Trust is not measured here.

    Raises
    ------
    TypeError
        If `model` is no module, or `windows` are no Windows.
    ValueError
        If the method, target or an option is unknown, the windows are empty or hold NaN, the model has no
        attention, attends over something other than the bars, cannot be differentiated, or reads the stocks
        of a day together, which methods that take each window alone refuse.
    Cancelled
        If `watch` was told to stop.

    Notes
    -----
    Rollout follows the output position asked for, the last bar by default. It describes a model whose answer
    is read there, not one that pools over bars or mixes them before attending (recurrence, convolution).
    A model whose attribute `mixes_bars` tells of such mixing, as Localformer's does, is refused.
    Keys are taken for bars where there are as many of them: of a model that attends over as many features,
    say, scores are by feature, and nothing tells.

    Relevance is of one answer, and never against it: what would lower the answer counts as nothing. It is
    read where the answer is, at the last bar or as the mean over the bars a model pools
    (`options["read"]` says which), without the identity that it began with. `options["total"]` has what the
    shares are of.

    A model that is `cross_sectional` is explained day by day, the windows of one decision date together: hand
    over all stocks of a day. Decomposition and modules are additive with the answer's bias as baseline.
    `options["weights"]` of a decomposition are the attention weights beside it, a row a window.
    `options["warning"]` of neighbours says where all stocks rank each other alike, as in GATs of version 1.

    Gradient × input says what a small change would do, and takes a window's answer to depend on that window
    alone. Where a network is saturated it shows little, however much the answer hangs on the value.

    A `baseline` says what a value is compared with: "training mean" (the default of models that know it),
    "mean" over the windows explained, "own mean" over each window (the default of other models), "previous
    bar", or values in the features' units. `parts` are "bars", "features", "cells" (each feature of each
    bar), the size of patches (bars, features), or a part's number for every value; scores are by bar and
    feature where parts divide bars, and a part's score is shared evenly. Integrated gradients, GradientSHAP
    and KernelSHAP are additive: `gap` is what a window's scores miss `change` by, and `completeness`, which
    the repr shows, how much of it that is at worst. KernelSHAP has no gap; where it is large, integrated
    gradients need more steps, and GradientSHAP more samples. Taking values away asks the model of windows
    that no market made; what it says there is part of the explanation.

    Examples
    --------
    >>> why = explain(model, test)  # doctest: +SKIP
    >>> why.scores.sum(axis=1)  # doctest: +SKIP
    array([1., 1., 1., …])
    """
    chosen = method_of(method, target)
    beyond = wants_beyond(chosen, options)
    _check_asked(model, windows)
    check_suits(chosen, model)
    watch = Watch() if watch is None else watch
    watch.report(0, len(windows))
    with turn(model, lambda: watch.check(0, len(windows))), using_threads(threads):
        found = chosen.run(Question(model, windows, target, watch, options))
    found = beyond_null(chosen, found) if beyond else found
    predictions = frame_of(found.outputs, windows)
    return Explanation(
        scores=found.scores,
        method=method,
        target=found.target,
        dates=windows.dates,
        tickers=windows.tickers,
        feature_names=windows.feature_names,
        predictions=predictions,
        null=found.null,
        change=found.change,
        options=_indexed(found.options or {}, predictions.index),
        provenance=dict(windows.provenance),
        axes=found.axes or chosen.axes,
        axis_labels=found.axis_labels or {},
    )
