"""Explaining a whole test set against only predicting it, and against explaining one window at a time.

    python benchmarks/explained_pass.py

Per window, one thread, processor time of this process, contestants interleaved; medians of the ratios of the
rounds. The windows are those of the bundled prices of AAPL; the model is the published shape, 4 layers, 128
wide, 8 heads, untrained, since weights do not change the cost.

- plain: predictions in batches of 64, every query of every layer computed, no explanation.
- pruned: predictions as the workbench makes them, the last layer for the last bar alone; batches as `explain`
  makes them.
- explained: `workbench.explain(model, windows)`: predictions, rollout of the last bar, and the null.
- loop: one window at a time, a pass that predicts and one whose hooks give the weights, rollout by products
  of whole matrices.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import record
import torch

from workbench.explainers import batches
from workbench.explainers.explanation import explain
from workbench.explainers.rollouts import rollout
from workbench.features.indicators import make_features
from workbench.features.labels import label_moves
from workbench.features.windows import Windows
from workbench.market.loading import load_prices
from workbench.models.transformer import TradingTransformer

SIZES = {20: 1024, 60: 384, 200: 96, 800: 12}  # windows by lookback
LOOPED = {20: 64, 60: 48, 200: 16, 800: 4}  # of these, how many the loop explains


def predict(model: TradingTransformer, windows: Windows, size: int) -> None:
    """Predict in batches of `size`."""
    with torch.no_grad():
        for start in range(0, len(windows), size):
            model(windows.batch(slice(start, start + size)))


def loop(model: TradingTransformer, windows: Windows) -> np.ndarray:
    """Explain one window at a time, as hooks and whole matrices do."""
    maps: list[torch.Tensor] = []
    hooks = [
        layer.attention.register_forward_hook(
            lambda module, inputs, _: maps.append(module.attention_weights(inputs[0]))
        )
        for layer in model.layers
    ]
    rows = []
    with torch.no_grad():
        for i in range(len(windows)):
            model(windows.batch(slice(i, i + 1)))
            maps.clear()
            model(windows.batch(slice(i, i + 1)))
            rows.append(rollout(maps)[0, -1].numpy())
    for hook in hooks:
        hook.remove()
    return np.stack(rows)


def seconds_each(work: Callable[[], object], windows: int) -> float:
    """Processor seconds of `work`, by window."""
    start = time.process_time()
    work()
    return (time.process_time() - start) / windows


def contest(lookback: int, rounds: int) -> dict[str, float]:
    """Ratios at one lookback."""
    prices = load_prices("AAPL")
    windows = Windows.of(make_features(prices), label_moves(prices), lookback)[-SIZES[lookback] :]
    few = windows[: LOOPED[lookback]]
    torch.manual_seed(0)
    model = TradingTransformer(windows.n_features, max_seq_len=lookback, dropout=0.0).eval()
    size = batches.BARS // lookback  # as `explain` chooses it: where it keeps weights, 8 heads of float32
    if lookback < batches.LONG:
        size = min(size, batches.KEPT_BYTES // (8 * 4 * lookback**2))

    def unpruned(work: Callable[[], object]) -> None:
        model.prune = False
        work()
        model.prune = True

    contestants: dict[str, tuple[Callable[[], object], int]] = {
        "plain": (lambda: unpruned(lambda: predict(model, windows, 64)), len(windows)),
        "pruned": (lambda: predict(model, windows, size), len(windows)),
        "explained": (lambda: explain(model, windows), len(windows)),
        "loop": (lambda: unpruned(lambda: loop(model, few)), len(few)),
    }
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for round_ in range(rounds + 1):
        for name, (work, count) in contestants.items():
            spent = seconds_each(work, count)
            if round_:  # the first warms up
                times[name].append(spent)

    def ratio(one: str, other: str) -> float:
        return statistics.median(a / b for a, b in zip(times[one], times[other], strict=True))

    return {
        "lookback": lookback,
        "windows": len(windows),
        "ms a window, explained": 1e3 * statistics.median(times["explained"]),
        "explained ÷ plain": ratio("explained", "plain"),
        "explained ÷ pruned": ratio("explained", "pruned"),
        "pruned ÷ plain": ratio("pruned", "plain"),
        "loop ÷ explained": ratio("loop", "explained"),
        "largest error": error(model, few),
    }


def error(model: TradingTransformer, windows: Windows) -> float:
    """Largest difference from the loop in float64."""
    scores = explain(model, windows).scores
    exact = loop(model.double(), replace(windows, bars=windows.bars.double()))
    model.float()
    return float(np.abs(scores - exact).max())


def main() -> None:
    """Print a table and write benchmarks/results/explained_pass.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--lookbacks", type=int, nargs="+", default=list(SIZES))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [contest(lookback, arguments.rounds) for lookback in arguments.lookbacks]
    names = list(rows[0])
    print(" | ".join(names))
    for row in rows:
        print(" | ".join(f"{row[name]:.3g}" for name in names))
    record.write("explained_pass", {"rounds": arguments.rounds, "rows": rows})


if __name__ == "__main__":
    main()
