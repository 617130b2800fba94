"""Raw attention: the weights of one layer as the model computed them, for one position, of every window.

What a layer weighed is not what the answer draws on: its values are mixtures of all bars already, and the
residual path goes around it. Rollout follows the layers; this shows one of them.
"""

from dataclasses import dataclass
from fnmatch import fnmatch

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.explainers.batches import _batches, _check_scores, _shortened, check_bars, unwatched
from workbench.explainers.capture import check_any, checked_module, watching
from workbench.explainers.options import check_position, chosen, is_whole
from workbench.explainers.questions import Method, Question, Scored
from workbench.explainers.recorder import Recorder
from workbench.explainers.relevance_pass import RELEVANCE
from workbench.explainers.softmax import AttentionLayer
from workbench.features.windows import Windows
from workbench.models.spec import check_windows
from workbench.training.coverage import check_finite
from workbench.training.prediction import check_output

_FUSED = ("mean", "max", "min")


@dataclass(frozen=True)
class AttentionOptions:
    """What `explain` takes for the method attention.

    Attributes
    ----------
    layer
        By number, negative from the last, or by name: a pattern such as "encoder*1*" or "cross" that one
        layer alone matches.
    head
        `mean`, `max` or `min` over heads, or a head's number. Rows of `max` and `min` are as they are: they
        don't sum to one.
    position
        The bar that looks, negative from the end; for cross-attention the query.
    """

    layer: int | str = -1
    head: int | str = "mean"
    position: int = -1

    def __post_init__(self) -> None:
        if not (isinstance(self.layer, str) or is_whole(self.layer)):
            raise ValueError(
                f"layer is a whole number, negative from the last, or a layer's name; got {self.layer!r}"
            )
        check_position(self.position)
        if not (self.head in _FUSED if isinstance(self.head, str) else is_whole(self.head)):
            raise ValueError(f"head is 'mean', 'max', 'min' or a head's number from 0; got {self.head!r}")


def attention(question: Question) -> Scored:
    """Answer with one row of one layer's weights, and the even row under the same mask.

    Queries and keys are kept of every layer, weights computed of the one row alone: the model attends by its
    own fused kernel, and no (query, key) matrix is held.
    """
    options = chosen("attention", AttentionOptions, question.options)
    model, windows = question.model, question.windows
    check_windows(model, windows)
    check_finite(windows)
    module = checked_module(model, windows.batch(slice(0, 1)))
    full = options.position not in (-1, windows.lookback - 1)
    rows, nulls, outputs, told, done = [], [], [], "", 0
    with torch.no_grad(), watching(module, full=full) as recorder:
        for x in _batches(module, windows, recorder):
            recorder.clear()
            outputs.append(module(x))
            check_output(outputs[-1], len(x), windows)
            check_any(module, recorder)
            layer = _layer(recorder, options)
            check_bars(layer, windows, len(x))
            row = _row(layer, options.position)
            with unwatched(recorder):
                rows.append(_joined(layer.rows(row, row + 1)[:, :, 0], options.head).float())
            nulls.append(_joined(_even(layer, row), options.head).float().expand(len(x), -1))
            told = _told(layer, options.position, windows)
            done += len(x)
            question.watch.report(done, len(windows))
    scores = torch.cat(rows).cpu()
    _check_scores(scores, windows)
    return Scored(
        scores.numpy(),
        torch.cat(outputs).cpu(),
        told,
        _shortened(torch.cat(nulls).cpu()).numpy(),
        {"layer": options.layer, "head": options.head, "position": options.position},
    )


def _layer(recorder: Recorder, options: AttentionOptions) -> AttentionLayer:
    """Return the layer asked for, once it is known to have the head."""
    names, kinds = recorder.names, [layer.kind for layer in recorder.layers]
    if not isinstance(options.layer, str):
        if not -len(names) <= options.layer < len(names):
            raise ValueError(f"there is no layer {options.layer}: {len(names)} attend, numbered from 0")
        layer = recorder.layers[options.layer]
    else:
        found = [
            i for i, name in enumerate(names) if fnmatch(name, options.layer) or kinds[i] == options.layer
        ]
        if len(found) != 1:
            matched = "no layer matches" if not found else f"{len(found)} layers match"
            raise ValueError(
                f"{matched} {options.layer!r}, and one is shown: choose one of {', '.join(names)}, "
                "or a number"
            )
        layer = recorder.layers[found[0]]
    heads = layer.weight_shape[1]
    if not isinstance(options.head, str) and not -heads <= options.head < heads:
        raise ValueError(f"there is no head {options.head}: this layer has {heads}, numbered from 0")
    return layer


def _row(layer: AttentionLayer, position: int) -> int:
    """Return the row of the position asked for among those that the layer computed."""
    count, what = (layer.queries, "queries") if layer.kind == "cross" else (layer.keys, "bars")
    if not -count <= position < count:
        raise ValueError(
            f"position {position} is outside the {count} {what} that look in this layer: "
            f"choose one from {-count} to {count - 1}"
        )
    return 0 if layer.kind == "last" else position % count


def _told(layer: AttentionLayer, position: int, windows: Windows) -> str:
    """Return who looks: a bar, one of the queries of cross-attention, or the answer's one query."""
    if layer.kind != "cross":
        return "last bar" if position in (-1, windows.lookback - 1) else f"bar {position}"
    if layer.queries == 1:
        return "answer"
    return "last query" if position in (-1, layer.queries - 1) else f"query {position}"


def _even(layer: AttentionLayer, row: int) -> Float[Tensor, "_ _ key"]:
    """Return even weights over the keys that the row may look at; zeros where it may look at none."""
    allowed = layer.allowed_rows(row, row + 1)
    if allowed is None:
        return torch.full((1, 1, layer.keys), 1 / layer.keys)
    even = allowed[:, :, 0].float().cpu()
    return even / even.sum(-1, keepdim=True).clamp_min(1)


def _joined(rows: Float[Tensor, "batch head key"], head: int | str) -> Float[Tensor, "batch key"]:
    if not isinstance(head, str):
        return rows[:, head if rows.shape[1] > 1 else 0]  # one null may stand for every head
    return rows.mean(1) if head == "mean" else rows.amax(1) if head == "max" else rows.amin(1)


ATTENTION: tuple[Method, ...] = (
    Method(
        "attention",
        "Raw attention",
        "which bars one layer weighs, the last by default, as the model computed it",
        attention,
        needs_attention=True,
        targets=False,
        by_feature=False,
        signed=False,
    ),
    RELEVANCE,
)
