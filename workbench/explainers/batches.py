"""Rollout of many windows in the passes that predict them.

The weights of a few windows at a time are kept, or, where windows are long, computed again from queries and
keys in blocks; one row goes down the layers. So an explained pass costs about what an unexplained one does.

With the extra `flow` (numba) and one thread, attention over `COMPILED` bars or more whose heads are joined by
their mean is compiled: unmasked or causal, in float32, on the processor. Anything else, and everything where
numba is not, is computed by torch; the two differ by rounding. The first use on a machine compiles for two to
five seconds and keeps that on disk; a process loads it in 0.4 s.
"""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from workbench.explainers.capture import check_seen, checked_module, watching
from workbench.explainers.null import null_row
from workbench.explainers.products import Attend, Shelf
from workbench.explainers.recorder import Recorder
from workbench.explainers.rollouts import RolloutOptions, chain
from workbench.explainers.softmax import AttentionLayer
from workbench.explainers.stacks import check_stack
from workbench.explainers.watching import Watch
from workbench.features.windows import Windows
from workbench.models.spec import check_windows
from workbench.training.coverage import check_finite
from workbench.training.prediction import check_output, placement

KEPT_BYTES = 4 * 2**20  # attention weights of one batch and layer: what stays in a core's caches
BARS = 1280  # bars of all windows of one batch: what the other layers' activations leave there
# Bars from which weights are computed again rather than kept. From 200 to 800 bars either takes as long, to a
# twentieth; kept, the weights of a window of 1,024 bars take 32 MB a layer.
LONG = 1024
# Bars of all windows from which attention is computed by code that numba compiles. A process loads it once,
# in 0.4 s, which is what it saves on about ten times as many bars.
COMPILED = 8192


def rollout_pass(
    model: nn.Module, windows: Windows, options: RolloutOptions, position: int, watch: Watch
) -> tuple[Float[Tensor, "window time"], Float[Tensor, "..."] | None, Float[Tensor, "window output"]]:
    """Return the rollout of one output position, its null, and the model's outputs, for every window.

    The null is (time,) where the mask is the same for every window, else (window, time). Discarding has none:
    it ranks the entries of a map, and even attention ranks nothing.
    """
    check_windows(model, windows)
    check_finite(windows)
    module = checked_module(model, windows.batch(slice(0, 1)))
    index = _index(position, windows.lookback)
    # What is weakest over a whole map is known only when all its queries are computed.
    full = index != windows.lookback - 1 or options.ranks_maps
    rows, nulls, outputs = [], [], []
    null: Tensor | None = None
    done = 0
    keep = Shelf(reuse=True, attend=_compiled(windows, options)) if windows.lookback < LONG else None
    with torch.no_grad(), watching(module, full=full, keep=keep, named=False) as recorder:
        for x in _batches(module, windows, recorder):
            recorder.clear()
            output = module(x)
            check_output(output, len(x), windows)
            outputs.append(output)
            _check(module, recorder, windows, options, len(x))
            layers = recorder.layers[options.start_layer :]
            top = torch.zeros(x.shape[:2], dtype=layers[0].dtype, device=x.device)
            top[:, index] = 1
            with unwatched(recorder):
                rows.append(chain(layers, top, options))
                if options.discard == 0:
                    if null is None or not all(layer.same_mask for layer in layers):
                        null = null_row(layers, top, options.residual)
                    nulls.append(null if len(null) == len(x) else null[:1].expand(len(x), -1))
            done += len(x)
            watch.report(done, len(windows))
    scores = torch.cat(rows).cpu()
    _check_scores(scores, windows)
    return scores, _shortened(torch.cat(nulls).cpu()) if nulls else None, torch.cat(outputs).cpu()


def _compiled(windows: Windows, options: RolloutOptions) -> Attend | None:
    """Return attention that keeps the mean over heads alone, where that is asked for and pays."""
    pays = len(windows) * windows.lookback >= COMPILED and torch.get_num_threads() == 1
    if options.fusion != "mean" or not pays or importlib.util.find_spec("numba") is None:
        return None
    from workbench.explainers.compiled_attention import attend

    return attend


def _batches(module: nn.Module, windows: Windows, recorder: Recorder) -> Iterator[Tensor]:
    """Yield copies of windows, as many as fit the caches; the first, of one, says what its weights take.

    A model may write over its input, and what `windows.batch` gives is a view of the bars.
    """
    device, dtype = placement(module)
    start, size = 0, 1
    while start < len(windows):
        yield windows.batch(slice(start, start + size)).to(device, dtype, copy=True)
        start += size
        size = max(1, BARS // windows.lookback)
        if recorder.keep is not None:
            size = max(1, min(size, KEPT_BYTES // max(_weight_bytes(layer) for layer in recorder.layers)))


@contextmanager
def unwatched(recorder: Recorder) -> Iterator[None]:
    """Let what is computed of the weights not be taken for attention of the model."""
    recorder.__exit__(None, None, None)
    try:
        yield
    finally:
        recorder.__enter__()


def _weight_bytes(layer: AttentionLayer) -> int:
    """The size of a window's weights."""
    return layer.query_bytes * layer.queries


def _check(
    module: nn.Module, recorder: Recorder, windows: Windows, options: RolloutOptions, windows_now: int
) -> None:
    check_seen(module, recorder)
    check_stack(recorder.layers, recorder.names, options.start_layer)
    check_bars(recorder.layers[0], windows, windows_now)


def check_bars(layer: AttentionLayer, windows: Windows, windows_now: int) -> None:
    """Refuse a layer whose rows are not the windows now computed, or whose keys are not their bars."""
    batch = layer.weight_shape[0]
    if batch != windows_now:
        raise ValueError(
            f"the model attends in {batch} rows for {windows_now} windows: heads or channels were joined "
            "with the batch, and rows are not windows. Use attention_maps(model, x) and tell them apart there"
        )
    if layer.keys != windows.lookback:
        raise ValueError(
            f"the model attends over {layer.keys} positions and the windows have {windows.lookback} bars, so "
            "its attention does not say which bar it looked at. Use attention_maps(model, x) to see its own "
            "positions"
        )


def _index(position: int, length: int) -> int:
    if not -length <= position < length:
        raise ValueError(f"position {position} is outside the {length} bars of the windows")
    return position % length


def _shortened(null: Float[Tensor, "window time"]) -> Float[Tensor, "..."]:
    """Return (time,) where all windows share a null."""
    return null[0] if bool((null == null[0]).all()) else null


def _check_scores(scores: Tensor, windows: Windows) -> None:
    broken = (~torch.isfinite(scores)).any(-1).nonzero().flatten()
    if len(broken):
        date = windows.dates[int(broken[0])]
        raise ValueError(
            f"{len(broken)} of {len(windows)} windows have attention that is not finite, the first decided "
            f"on {date:%Y-%m-%d}: look for NaN or infinity in the model's weights"
        )
