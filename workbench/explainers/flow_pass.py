"""Attention flow of many windows, as a method of `explain`."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.explainers.batches import (
    LONG,
    _batches,
    _check,
    _check_scores,
    _index,
    _shortened,
    unwatched,
)
from workbench.explainers.capture import checked_module, watching
from workbench.explainers.flow_solvers import Solver, solver_of
from workbench.explainers.flows import capacities_of, row_flow
from workbench.explainers.null import uniform_layer
from workbench.explainers.options import check_position, chosen
from workbench.explainers.products import Shelf
from workbench.explainers.questions import Method, Question, Scored
from workbench.explainers.rollouts import RolloutOptions
from workbench.explainers.softmax import AttentionLayer
from workbench.features.windows import Windows
from workbench.models.spec import check_windows
from workbench.training.coverage import check_finite
from workbench.training.prediction import check_output


@dataclass(frozen=True)
class FlowOptions(RolloutOptions):
    """What `explain` takes for the method flow; see `attention_flow`."""

    position: int = -1
    solver: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_position(self.position)


class _Rows:
    """The flows of the windows so far, one row a window."""

    def __init__(self, question: Question, options: FlowOptions, row: int) -> None:
        self.watch, self.windows = question.watch, len(question.windows)
        self.options, self.row = options, row
        self.solver: Solver = solver_of(options.solver)
        self.flows: list[np.ndarray] = []
        self.saturated: list[float] = []
        self.nulls: list[np.ndarray] = []
        self.even: list[np.ndarray] = []  # the uniform layers of the last null, which the next may share

    def add(self, layers: Sequence[AttentionLayer]) -> None:
        """Follow a batch of windows down through its layers."""
        passed = capacities_of(layers, self.options)
        options = RolloutOptions("mean", self.options.residual)
        even = (
            [] if self.options.discard else capacities_of([uniform_layer(layer) for layer in layers], options)
        )
        for i in range(len(passed[0])):
            found, share = self._row([layer[i] for layer in passed])
            self.flows.append(found)
            self.saturated.append(share)
            if even:
                self._add_null([layer[i % len(layer)] for layer in even])
            self.watch.report(len(self.flows), self.windows)

    def _add_null(self, even: list[np.ndarray]) -> None:
        alike = self.even and all(np.array_equal(a, b) for a, b in zip(even, self.even, strict=True))
        self.nulls.append(self.nulls[-1] if alike else self._row(even)[0])
        self.even = even

    def _row(self, passed: list[np.ndarray]) -> tuple[Float[np.ndarray, " key"], float]:
        if not all(np.isfinite(layer).all() for layer in passed):
            return np.full(passed[0].shape[-1], np.nan), np.nan  # refused by date, all windows at once
        row = self.row if len(passed[-1]) > 1 else 0
        found, share = row_flow(
            passed, row, self.solver, lambda: self.watch.check(len(self.flows), self.windows)
        )
        return found / found.sum(), share


def flow(question: Question) -> Scored:
    """Answer with the attention flow from one output position to every bar, and its null."""
    options = chosen("flow", FlowOptions, question.options)
    model, windows = question.model, question.windows
    check_windows(model, windows)
    check_finite(windows)
    module = checked_module(model, windows.batch(slice(0, 1)))
    index = _index(options.position, windows.lookback)
    rows, outputs = _Rows(question, options, index), []
    full = index != windows.lookback - 1 or options.ranks_maps
    keep = Shelf(reuse=True) if windows.lookback < LONG else None
    with torch.no_grad(), watching(module, full=full, keep=keep, named=False) as recorder:
        for x in _batches(module, windows, recorder):
            recorder.clear()
            outputs.append(module(x))
            check_output(outputs[-1], len(x), windows)
            _check(module, recorder, windows, options, len(x))
            with unwatched(recorder):
                rows.add(recorder.layers[options.start_layer :])
    return _told(rows, torch.cat(outputs).cpu(), windows, index)


def _told(rows: _Rows, outputs: Tensor, windows: Windows, index: int) -> Scored:
    scores = torch.from_numpy(np.stack(rows.flows)).float()
    _check_scores(scores, windows)
    null = _shortened(torch.from_numpy(np.stack(rows.nulls)).float()) if rows.nulls else None
    return Scored(
        scores.numpy(),
        outputs,
        "last bar" if index == windows.lookback - 1 else f"bar {rows.options.position}",
        None if null is None else null.numpy(),
        {
            **asdict(rows.options),
            "solver": rows.solver.name,
            "saturated": pd.Series(rows.saturated, name="saturated"),
        },
    )


FLOW: tuple[Method, ...] = (
    Method(
        "flow",
        "Attention flow",
        "how much of the answer could come from each bar, through all attention layers at their widest",
        flow,
        needs_attention=True,
        targets=False,
        by_feature=False,
        signed=False,
        slow=True,
    ),
)
