"""Value-weighted rollout and ALTI against only predicting, and against vectors of every pair of bars.

    python benchmarks/explain_values.py

Per window, one thread, processor time of this process, contestants interleaved; medians of the ratios of the
rounds. The windows are those of the bundled prices of AAPL; the model is the published shape, 4 layers, 128
wide, 8 heads, untrained, since weights do not change the cost.

- plain: predictions in batches of 64, every query of every layer computed, no explanation.
- rollout, value_rollout, inside (the same, the residual measured too), alti: `workbench.explain`, with
  predictions and null.
- pairs: ALTI as its authors' code has it, one window at a time: a pass that predicts and one that is hooked,
  a vector for every pair of bars, products of whole matrices; no null.

Then how far the parts of each layer miss its output, as `explain` checks them, of the bundled models and of
`nn.TransformerEncoder`.
"""

from dataclasses import replace
from functools import partial

import contests
import numpy as np
import record
import torch
from torch import Tensor, nn

from workbench.explainers.blocks import blocks_of
from workbench.explainers.capture import watching
from workbench.explainers.explanation import explain
from workbench.explainers.products import Shelf
from workbench.explainers.value_maps import parts_of
from workbench.features.windows import Windows
from workbench.models.attention import MultiHeadAttention
from workbench.models.transformer import TradingTransformer
from workbench.training.reopening import bundled_models, reopen

SIZES = {20: 512, 60: 192, 200: 48}  # windows by lookback
PAIRED = {20: 32, 60: 12, 200: 3}  # of these, how many the pairs explain
METHODS = {
    "rollout": ("rollout", {}),
    "value_rollout": ("value_rollout", {}),
    "inside": ("value_rollout", {"residual": "inside"}),
    "alti": ("alti", {}),
}


def pairs(model: TradingTransformer, windows: Windows) -> np.ndarray:
    """ALTI of one window at a time, by a vector for every pair of bars."""
    layers: list[Tensor] = []
    hooks = [
        layer.attention.register_forward_hook(
            lambda module, inputs, output: layers.append(contributions(module, inputs[0], output))
        )
        for layer in model.layers
    ]
    rows = []
    model.prune = False
    with torch.no_grad():
        for i in range(len(windows)):
            layers.clear()
            model(windows.batch(slice(i, i + 1)).to(next(model.parameters()).device))
            rolled = layers[0]
            for layer in layers[1:]:
                rolled = layer @ rolled
            rows.append(rolled[0, -1].cpu().numpy())
    model.prune = True
    for hook in hooks:
        hook.remove()
    return np.stack(rows)


def contributions(module: MultiHeadAttention, x: Tensor, output: Tensor) -> Tensor:
    """max(0, ‖y‖₁ − ‖y − T‖₁) of a post-norm block, rows summing to one."""
    weights = module.attention_weights(x)  # (batch, head, query, key)
    values = module.w_v(x).unflatten(-1, (module.n_heads, -1))
    handed = torch.einsum("bkhe,dhe->bhkd", values, module.w_o.weight.unflatten(1, (module.n_heads, -1)))
    vectors = torch.einsum("bhqk,bhkd->bqkd", weights, handed)
    vectors += torch.eye(x.shape[1], dtype=x.dtype, device=x.device)[:, :, None] * x[:, :, None]
    whole = vectors.sum(2) + module.w_o.bias
    sigma = (whole.var(-1, correction=0) + module.norm.eps).sqrt()[:, :, None, None]
    parts = (vectors - vectors.mean(-1, keepdim=True)) * module.norm.weight / sigma
    closer = output.abs().sum(-1, keepdim=True) - (output[:, :, None] - parts).abs().sum(-1)
    closer = closer.clamp_min(0)
    return closer / closer.sum(-1, keepdim=True)


def contest(lookback: int, rounds: int, device: str) -> dict[str, float]:
    """Ratios at one lookback."""
    model, windows = contests.published(lookback, device)
    windows = windows[-SIZES[lookback] :]
    few = windows[: PAIRED[lookback]]

    def in_two_passes() -> None:
        contests.predict(model, few)
        pairs(model, few)

    contestants: dict[str, contests.Contestant] = {
        "plain": (partial(contests.predict, model, windows), len(windows)),
        "pairs": (in_two_passes, len(few)),
    }
    for name, (method, options) in METHODS.items():
        contestants[name] = (partial(explain, model, windows, method, **options), len(windows))
    times = contests.interleaved(contestants, rounds, device)
    return {
        "lookback": lookback,
        "windows": len(windows),
        "ms a window, plain": times.ms("plain"),
        **{f"{name} ÷ plain": times.ratio(name, "plain") for name in METHODS},
        "pairs ÷ alti": times.ratio("pairs", "alti"),
        "largest error of alti": error(model, few),
    }


def error(model: TradingTransformer, windows: Windows) -> float:
    """Largest difference of `explain`'s ALTI from the pairs in float64."""
    scores = explain(model, windows, "alti").scores
    exact = pairs(model.double(), replace(windows, bars=windows.bars.double()))
    model.float()
    return float(np.abs(scores - exact).max())


def gaps() -> dict[str, float]:
    """How far the parts of the worst layer miss its output, as a share of its size."""
    found = {}
    for folder in sorted(bundled_models().glob("transformer-*")):
        opened = reopen(folder)
        found[folder.name] = gap(opened.model, opened.windows.x)
    for norm_first in (False, True):
        for dtype in (torch.float32, torch.float64):
            torch.manual_seed(0)
            layer = nn.TransformerEncoderLayer(
                128, 8, 512, batch_first=True, norm_first=norm_first, dtype=dtype
            )
            model = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
            name = f"nn.TransformerEncoder, {'pre' if norm_first else 'post'}-norm, {dtype}"
            found[name] = gap(model, torch.randn(32, 60, 128, dtype=dtype))
    return found


def gap(model: nn.Module, x: Tensor) -> float:
    """The same of one model."""
    with torch.no_grad(), blocks_of(model) as blocks, watching(model, keep=Shelf(reuse=False)) as recorder:
        model(x)
        parts = parts_of("benchmark", model, recorder, blocks)
    with torch.no_grad():
        return max(
            part.gap(part.summed(layer.weights(), 0), 0)
            for layer, part in zip(recorder.layers, parts, strict=True)
        )


def main() -> None:
    """Print tables and write benchmarks/results/explain_values.json."""
    arguments = contests.asked(contests.parser(__doc__, SIZES, rounds=9))
    missed = gaps()
    for name, share in missed.items():
        print(f"{name}: {share:.1e}")
    rows = [contest(lookback, arguments.rounds, arguments.device) for lookback in arguments.lookbacks]
    contests.table(rows)
    told = {"rounds": arguments.rounds, "rows": rows, "parts miss outputs by": missed}
    record.write(contests.name_of("explain_values", arguments.device), told)


if __name__ == "__main__":
    main()
