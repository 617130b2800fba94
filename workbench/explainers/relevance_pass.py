"""Gradient-weighted attention of many windows, as a method of `explain`."""

from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from workbench.explainers.batches import _batches, _index, check_bars
from workbench.explainers.capture import _grad_mode, check_seen, checked_module, watching
from workbench.explainers.gradients import _check_scores
from workbench.explainers.options import check_position, check_whole, chosen
from workbench.explainers.products import Shelf
from workbench.explainers.questions import Method, Question, Scored
from workbench.explainers.recorder import Recorder
from workbench.explainers.relevances import gathered, gradient_weighted, gradients_of
from workbench.explainers.stacks import check_stack
from workbench.explainers.targets import Target
from workbench.features.windows import Windows
from workbench.models.spec import check_windows
from workbench.training.coverage import check_finite
from workbench.training.prediction import check_output


@dataclass(frozen=True)
class RelevanceOptions:
    """What `explain` takes for the method relevance.

    Attributes
    ----------
    position
        Whose row of R is read, negative from the end. By default the position that the answer is read at:
        the last bar as a rule, or the mean over those that a model pools.
    identity
        Count the identity that relevance begins with, which gives the position read at the weight one.
    start_layer
        The first layer counted.
    """

    position: int | None = None
    identity: bool = False
    start_layer: int = 0

    def __post_init__(self) -> None:
        if self.position is not None:
            check_position(self.position)
        if not isinstance(self.identity, bool):
            raise ValueError(f"identity is True or False; got {self.identity!r}")
        check_whole("start_layer", self.start_layer, "the first layer counted")


def explain_relevance(question: Question) -> Scored:
    """Answer with the relevance of every bar for one answer, as shares.

    Notes
    -----
    The paper reads the row of the class token and leaves out the token's own entry, the only one that the
    identity is in. Here that position is a bar like others, so its entry stays and the identity is left out:
    what remains is what attention gathered.

    Where a model pools over positions there is no such token. Its answer is then read at several positions,
    which are those that the last layer's gradient tells (elsewhere it is exactly zero), and their rows are
    averaged: gradients have weighed each row by how far the answer hangs on it, so that none needs weights of
    its own.
    """
    options = chosen("relevance", RelevanceOptions, question.options)
    model, windows = question.model, question.windows
    check_windows(model, windows)
    check_finite(windows)
    wanted = Target.of(windows, question.target)
    module = checked_module(model, windows.batch(slice(0, 1)))
    index = None if options.position is None else _index(options.position, windows.lookback)
    rows, reads, outputs, done = [], [], [], 0
    with _grad_mode(True), watching(module, keep=Shelf(reuse=False), gradients=True) as recorder:
        for x in _batches(module, windows, recorder):
            recorder.clear()
            output = module(x)
            check_output(output, len(x), windows)
            _check(module, recorder, windows, options, len(x))
            answers = (output * wanted.weigh(output.detach())).sum(1)
            row, read = _gathered(recorder, answers, index, options)
            rows.append(row)
            reads.append(read)
            outputs.append(output.detach().cpu())
            done += len(x)
            question.watch.report(done, len(windows))
    return _told(torch.cat(rows), torch.cat(reads), torch.cat(outputs), wanted.told, question, options)


def _check(
    module: nn.Module, recorder: Recorder, windows: Windows, options: RelevanceOptions, windows_now: int
) -> None:
    check_seen(module, recorder)
    check_stack(recorder.layers, recorder.names, options.start_layer, "relevance")
    for layer in recorder.layers:
        check_bars(layer, windows, windows_now)


def _gathered(
    recorder: Recorder, answers: Tensor, index: int | None, options: RelevanceOptions
) -> tuple[Float[Tensor, "window time"], Bool[Tensor, "window time"]]:
    """Return what attention gathered for each answer, and the positions that it was read at."""
    layers, names = recorder.layers[options.start_layer :], recorder.names[options.start_layer :]
    weights = [layer.weights() for layer in layers]
    gradients = gradients_of(weights, names, answers)
    read = torch.zeros(len(answers), layers[0].keys, dtype=torch.bool, device=answers.device)
    if index is None:
        read = _read(gradients[-1], names[-1])
    else:
        read[:, index] = True
    row = read.to(weights[0].dtype)
    row = row / row.sum(1, keepdim=True).clamp_min(1)
    found = gathered(gradient_weighted(weights, gradients), row)
    return (found + row if options.identity else found).float().cpu(), read.cpu()


def _read(gradient: Float[Tensor, "batch head query key"], name: str) -> Bool[Tensor, "batch query"]:
    """Return the positions whose row of the last layer an answer hangs on: all others' gradient is zero."""
    read = (gradient != 0).any(3).any(1)
    lost = int((~read.any(1)).sum())
    if lost:
        raise ValueError(
            f"{name}, the last that attends, has no say in the answer of {lost} of {len(read)} windows of a "
            "batch, so where it is read cannot be told: give it, as in position=-1 for the last bar"
        )
    return read


def _told(
    rows: Tensor, read: Tensor, outputs: Tensor, target: str, question: Question, options: RelevanceOptions
) -> Scored:
    _check_scores(rows, question.windows)
    total = rows.sum(1, keepdim=True)
    shares = rows / total.masked_fill(total == 0, 1)  # nothing speaks for the answer: no shares
    told = {
        "position": options.position,
        "identity": options.identity,
        "start_layer": options.start_layer,
        "read": _read_at(read),
        "total": pd.Series(total[:, 0].numpy(), name="total"),
    }
    return Scored(shares.numpy(), outputs, target, None, told)


def _read_at(read: Bool[Tensor, "window time"]) -> str:
    """Return in words where the answer of the windows was read."""
    each = read.sum(1)
    if bool((read == read[0]).all()) and int(each[0]) == 1:
        at = int(read[0].nonzero()[0])
        return "last bar" if at == read.shape[1] - 1 else f"bar {at}"
    low, high = int(each.min()), int(each.max())
    return f"mean of {low if low == high else f'{low} to {high}'} bars"


RELEVANCE = Method(
    "relevance",
    "Gradient-weighted attention",
    "which bars' attention speaks for one class, or the forecast, followed through all layers",
    explain_relevance,
    needs_attention=True,
    targets=True,
    by_feature=False,
    signed=False,
)
