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

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import record
import torch
from torch import Tensor, nn

from workbench.explainers.blocks import blocks_of
from workbench.explainers.capture import watching
from workbench.explainers.explanation import explain
from workbench.explainers.products import Shelf
from workbench.explainers.value_maps import parts_of
from workbench.features.indicators import make_features
from workbench.features.labels import label_moves
from workbench.features.windows import Windows
from workbench.market.loading import load_prices
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


def predict(model: TradingTransformer, windows: Windows) -> None:
    """Predict in batches of 64, nothing pruned."""
    model.prune = False
    with torch.no_grad():
        for start in range(0, len(windows), 64):
            model(windows.batch(slice(start, start + 64)))
    model.prune = True


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
            model(windows.batch(slice(i, i + 1)))
            rolled = layers[0]
            for layer in layers[1:]:
                rolled = layer @ rolled
            rows.append(rolled[0, -1].numpy())
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
    vectors += torch.eye(x.shape[1], dtype=x.dtype)[:, :, None] * x[:, :, None]
    whole = vectors.sum(2) + module.w_o.bias
    sigma = (whole.var(-1, correction=0) + module.norm.eps).sqrt()[:, :, None, None]
    parts = (vectors - vectors.mean(-1, keepdim=True)) * module.norm.weight / sigma
    closer = output.abs().sum(-1, keepdim=True) - (output[:, :, None] - parts).abs().sum(-1)
    closer = closer.clamp_min(0)
    return closer / closer.sum(-1, keepdim=True)


def contest(lookback: int, rounds: int) -> dict[str, float]:
    """Ratios at one lookback."""
    prices = load_prices("AAPL")
    windows = Windows.of(make_features(prices), label_moves(prices), lookback)[-SIZES[lookback] :]
    few = windows[: PAIRED[lookback]]
    torch.manual_seed(0)
    model = TradingTransformer(windows.n_features, max_seq_len=lookback, dropout=0.0).eval()
    contestants: dict[str, tuple[Callable[[], object], int]] = {
        "plain": (lambda: predict(model, windows), len(windows)),
        "pairs": (lambda: (predict(model, few), pairs(model, few)), len(few)),
    }
    for name, (method, options) in METHODS.items():
        contestants[name] = (
            lambda method=method, options=options: explain(model, windows, method, **options),
            len(windows),
        )
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for round_ in range(rounds + 1):
        for name, (work, count) in contestants.items():
            start = time.process_time()
            work()
            if round_:  # the first warms up
                times[name].append((time.process_time() - start) / count)

    def ratio(one: str, other: str) -> float:
        return statistics.median(a / b for a, b in zip(times[one], times[other], strict=True))

    return {
        "lookback": lookback,
        "windows": len(windows),
        "ms a window, plain": 1e3 * statistics.median(times["plain"]),
        **{f"{name} ÷ plain": ratio(name, "plain") for name in METHODS},
        "pairs ÷ alti": ratio("pairs", "alti"),
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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--lookbacks", type=int, nargs="+", default=list(SIZES))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    missed = gaps()
    for name, share in missed.items():
        print(f"{name}: {share:.1e}")
    rows = [contest(lookback, arguments.rounds) for lookback in arguments.lookbacks]
    names = list(rows[0])
    print(" | ".join(names))
    for row in rows:
        print(" | ".join(f"{row[name]:.3g}" for name in names))
    told = {"rounds": arguments.rounds, "rows": rows, "parts miss outputs by": missed}
    record.write("explain_values", told)


if __name__ == "__main__":
    main()
