"""Attention weighed by what it carries, rolled through the layers: value-weighted rollout and ALTI.

A weight says how much a position is looked at; a position whose values are short adds little, however much it
is looked at. Both methods measure what each position adds to a block's output, see `contributions`, and
multiply the layers' maps as rollout does. The feed-forward networks between them mix no positions and are
left out.

Every pass checks its own parts: with the model's weights they must add up to what each block answered. The
null is the same measure of the same values under even attention, so that what is beyond it is due to where
the model looks, and not to the mask, the depth, or values that are long wherever it looks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

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
from workbench.explainers.blocks import blocks_of
from workbench.explainers.capture import check_seen, checked_module, watching
from workbench.explainers.contributions import Closeness, Measure, PartNorms, Parts, ValueNorms, shares
from workbench.explainers.null import _even
from workbench.explainers.options import check_count, check_position, chosen, is_number
from workbench.explainers.products import Shelf
from workbench.explainers.questions import Method, Question, Scored
from workbench.explainers.rollouts import BLOCK_BYTES, RolloutOptions
from workbench.explainers.softmax import AttentionLayer
from workbench.explainers.value_maps import parts_of
from workbench.models.spec import check_windows
from workbench.training.coverage import check_finite
from workbench.training.prediction import check_output

INSIDE = "inside"  # the residual is a part of the vectors that are measured, not a share added afterwards


@dataclass(frozen=True)
class ValueOptions:
    """What `explain` takes for the method value_rollout; see `value_weighted_maps`."""

    residual: float | int | str = 0.5
    start_layer: int = 0
    position: int = -1

    def __post_init__(self) -> None:
        share = self.residual
        known = share == INSIDE if isinstance(share, str) else is_number(share) and 0 <= share <= 1
        if not known:
            raise ValueError(
                f"residual is a share between 0 and 1 (0.5 as in rollout), or {INSIDE!r} to measure it with "
                f"the values; got {self.residual!r}"
            )
        check_count("start_layer", self.start_layer, 0, "the first layer counted")
        check_position(self.position)


@dataclass(frozen=True)
class AltiOptions:
    """What `explain` takes for the method alti."""

    start_layer: int = 0
    position: int = -1

    def __post_init__(self) -> None:
        check_count("start_layer", self.start_layer, 0, "the first layer counted")
        check_position(self.position)


@dataclass(frozen=True)
class _Chain:
    """Two rows of one output position, the model's and the null's, carried down through a pass's layers."""

    measure: type[Measure]
    residual: float | int
    index: int

    def rolled(
        self, layers: Sequence[AttentionLayer], parts: Sequence[Parts]
    ) -> tuple[Float[Tensor, "batch key"], Float[Tensor, "batch key"]]:
        """Return both rows over the inputs, layers given first layer first."""
        stream = parts[-1].block.residual
        row = stream.new_zeros(stream.shape[:2])
        row[:, self.index] = 1
        rows = row, row
        for layer, known in reversed(list(zip(layers, parts, strict=True))):
            rows = self._step(rows, layer, known, self._spans(layer, top=layer is layers[-1]))
        return rows

    def _spans(self, layer: AttentionLayer, top: bool) -> Iterator[tuple[int, int]]:
        """Yield the positions whose rows are needed, some at a time."""
        if top:
            yield self.index, self.index + 1
            return
        block = layer.block(BLOCK_BYTES)
        for start in range(0, layer.keys, block):
            yield start, min(start + block, layer.keys)

    def _step(
        self,
        rows: tuple[Tensor, Tensor],
        layer: AttentionLayer,
        parts: Parts,
        spans: Iterator[tuple[int, int]],
    ) -> tuple[Tensor, Tensor]:
        """Return both rows · C of one layer, the parts checked."""
        outs, measure = (torch.zeros_like(rows[0]), torch.zeros_like(rows[1])), self.measure(parts)
        skipped = layer.keys - layer.queries  # a layer of the last query alone has that row only
        for start, stop in spans:
            weights = layer.rows(start - skipped, stop - skipped)
            summed = parts.summed(weights, start)
            parts.check(summed, start)
            even = even_rows(layer, start - skipped, stop - skipped)
            found = measure.rows(weights, summed, start), measure.rows(even, None, start)
            for row, out, part in zip(rows, outs, found, strict=True):
                self._hand_down(row[:, start:stop], shares(part.to(row.dtype)), out, start)
        return outs

    def _hand_down(self, row: Tensor, found: Tensor, out: Tensor, start: int) -> None:
        """Add row · C of some positions to `out`; a position that nothing adds to draws on itself."""
        empty = found.amax(-1) == 0
        out += ((1 - self.residual) * row[:, None] @ found)[:, 0]
        out[:, start : start + row.shape[1]] += torch.where(empty, row, self.residual * row)


def even_rows(layer: AttentionLayer, start: int, stop: int) -> Float[Tensor, "_ _ query key"]:
    """Return attention spread evenly over what the mask of `layer` allows the queries from `start` on."""
    like = torch.empty(1, dtype=layer.dtype, device=layer.device)
    return _even(like.expand(1, 1, stop - start, layer.keys), layer.allowed_rows(start, stop))


def _scored(
    question: Question,
    options: ValueOptions | AltiOptions,
    method: str,
    measure: type[Measure],
    residual: float | int,
) -> Scored:
    """Answer with one position's row, its null and the model's outputs, in the passes that predict."""
    model, windows = question.model, question.windows
    check_windows(model, windows)
    check_finite(windows)
    module = checked_module(model, windows.batch(slice(0, 1)))
    index = _index(options.position, windows.lookback)
    chain, start = _Chain(measure, residual, index), options.start_layer
    keep = Shelf(reuse=True) if windows.lookback < LONG else None
    rows, nulls, outputs, done = [], [], [], 0
    with (
        torch.no_grad(),
        blocks_of(module) as blocks,
        watching(module, full=index != windows.lookback - 1, keep=keep) as recorder,
    ):
        for x in _batches(module, windows, recorder):
            recorder.clear()
            blocks.clear()
            outputs.append(module(x))
            check_output(outputs[-1], len(x), windows)
            check_seen(module, recorder)
            with unwatched(recorder):
                parts = parts_of(method, module, recorder, blocks, start)
                _check(module, recorder, windows, RolloutOptions(start_layer=start), len(x))
                row, null = chain.rolled(recorder.layers[start:], parts)
            rows.append(row)
            nulls.append(null)
            done += len(x)
            question.watch.report(done, len(windows))
    scores = torch.cat(rows).float().cpu()
    _check_scores(scores, windows)
    return Scored(
        scores.numpy(),
        torch.cat(outputs).cpu(),
        "last bar" if index == windows.lookback - 1 else f"bar {options.position}",
        _shortened(torch.cat(nulls).float().cpu()).numpy(),
        asdict(options),
    )


def value_rollout(question: Question) -> Scored:
    """Answer with the value-weighted rollout of one output position, and its null."""
    options = chosen("value_rollout", ValueOptions, question.options)
    if options.residual == INSIDE:
        return _scored(question, options, "value_rollout", PartNorms, 0.0)
    assert not isinstance(options.residual, str)
    return _scored(question, options, "value_rollout", ValueNorms, options.residual)


def alti(question: Question) -> Scored:
    """Answer with ALTI of one output position, and its null."""
    return _scored(question, chosen("alti", AltiOptions, question.options), "alti", Closeness, 0.0)


VALUES: tuple[Method, ...] = (
    Method(
        "value_rollout",
        "Value-weighted rollout",
        "which bars the answer draws on, each look weighed by the length of what it carries",
        value_rollout,
        needs_attention=True,
        targets=False,
        by_feature=False,
        signed=False,
    ),
    Method(
        "alti",
        "ALTI",
        "which bars the answer draws on, each weighed by how near its part is to what a layer hands on",
        alti,
        needs_attention=True,
        targets=False,
        by_feature=False,
        signed=False,
    ),
)
