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

from dataclasses import replace
from functools import partial

import contests
import numpy as np
import record
import torch

from workbench.explainers import batches
from workbench.explainers.explanation import explain
from workbench.explainers.rollouts import rollout
from workbench.features.windows import Windows
from workbench.models.transformer import TradingTransformer

SIZES = {20: 1024, 60: 384, 200: 96, 800: 12}  # windows by lookback
LOOPED = {20: 64, 60: 48, 200: 16, 800: 4}  # of these, how many the loop explains


def loop(model: TradingTransformer, windows: Windows) -> np.ndarray:
    """Explain one window at a time, as hooks and whole matrices do."""
    maps: list[torch.Tensor] = []
    hooks = [
        layer.attention.register_forward_hook(
            lambda module, inputs, _: maps.append(module.attention_weights(inputs[0]))
        )
        for layer in model.layers
    ]
    rows, device = [], next(model.parameters()).device
    model.prune = False
    with torch.no_grad():
        for i in range(len(windows)):
            x = windows.batch(slice(i, i + 1)).to(device)
            model(x)
            maps.clear()
            model(x)
            rows.append(rollout(maps)[0, -1].cpu().numpy())
    model.prune = True
    for hook in hooks:
        hook.remove()
    return np.stack(rows)


def contest(lookback: int, rounds: int, device: str) -> dict[str, float]:
    """Ratios at one lookback."""
    model, windows = contests.published(lookback, device)
    windows = windows[-SIZES[lookback] :]
    few = windows[: LOOPED[lookback]]
    size = batches.BARS // lookback  # as `explain` chooses it: where it keeps weights, their mean in float32
    if lookback < batches.LONG:
        size = max(1, min(size, batches.KEPT_BYTES // (4 * lookback**2)))
    contestants: dict[str, contests.Contestant] = {
        "plain": (partial(contests.predict, model, windows), len(windows)),
        "pruned": (partial(contests.predict, model, windows, size, prune=True), len(windows)),
        "explained": (partial(explain, model, windows), len(windows)),
        "loop": (partial(loop, model, few), len(few)),
    }
    times = contests.interleaved(contestants, rounds, device)
    return {
        "lookback": lookback,
        "windows": len(windows),
        "ms a window, explained": times.ms("explained"),
        "explained ÷ plain": times.ratio("explained", "plain"),
        "explained ÷ pruned": times.ratio("explained", "pruned"),
        "pruned ÷ plain": times.ratio("pruned", "plain"),
        "loop ÷ explained": times.ratio("loop", "explained"),
        "largest error": error(model, windows, LOOPED[lookback]),
    }


def error(model: TradingTransformer, windows: Windows, count: int) -> float:
    """Largest difference of the first windows from the loop in float64."""
    scores = explain(model, windows).scores[:count]
    few = windows[:count]
    exact = loop(model.double(), replace(few, bars=few.bars.double()))
    model.float()
    return float(np.abs(scores - exact).max())


def main() -> None:
    """Print a table and write benchmarks/results/explained_pass.json."""
    arguments = contests.asked(contests.parser(__doc__, SIZES, rounds=9))
    rows = [contest(lookback, arguments.rounds, arguments.device) for lookback in arguments.lookbacks]
    contests.table(rows)
    told = {"rounds": arguments.rounds, "rows": rows}
    record.write(contests.name_of("explained_pass", arguments.device), told)


if __name__ == "__main__":
    main()
