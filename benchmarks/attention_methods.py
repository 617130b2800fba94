"""What raw attention and gradient-weighted attention cost, against predicting and against rollout.

    python benchmarks/attention_methods.py

Per window, one thread, processor time of this process, contestants interleaved; medians of the ratios of the
rounds. The windows are those of the bundled prices of AAPL; the model is the published shape, 4 layers, 128
wide, 8 heads, untrained, since weights do not change the cost.

- plain: predictions in batches of 64, every query of every layer computed, no explanation.
- rollout, attention, relevance: `workbench.explain(model, windows, method)`, predictions in it.
- loop: relevance of one window at a time, a pass that keeps its graph and products of whole matrices.
"""

from dataclasses import replace
from functools import partial

import contests
import numpy as np
import record
import torch

from workbench.explainers.capture import attention_maps
from workbench.explainers.explanation import explain
from workbench.explainers.relevances import relevance
from workbench.features.windows import Windows
from workbench.models.transformer import TradingTransformer

SIZES = {20: 512, 60: 192, 200: 48}  # windows by lookback
LOOPED = {20: 48, 60: 32, 200: 12}  # of these, how many the loop explains
METHODS = ("rollout", "attention", "relevance")


def loop(model: TradingTransformer, windows: Windows) -> np.ndarray:
    """Explain `buy` one window at a time, by whole matrices."""
    rows = []
    for i in range(len(windows)):
        x = windows.batch(slice(i, i + 1)).to(next(model.parameters()).device)
        maps = attention_maps(model, x, gradients=True)
        found = relevance(maps, maps.output[:, -1]).cpu()  # type: ignore[index]
        row = (found - torch.eye(windows.lookback))[0, -1]
        rows.append((row / row.sum()).numpy())
    return np.stack(rows)


def contest(lookback: int, rounds: int, device: str) -> dict[str, float]:
    """Ratios at one lookback."""
    model, windows = contests.published(lookback, device)
    windows = windows[-SIZES[lookback] :]
    few = windows[: LOOPED[lookback]]
    contestants: dict[str, contests.Contestant] = {
        "plain": (partial(contests.predict, model, windows), len(windows)),
        "loop": (partial(loop, model, few), len(few)),
    }
    for method in METHODS:
        contestants[method] = (partial(explain, model, windows, method), len(windows))
    times = contests.interleaved(contestants, rounds, device)
    return {
        "lookback": lookback,
        "windows": len(windows),
        **{f"{method} ÷ plain": times.ratio(method, "plain") for method in METHODS},
        "relevance ÷ rollout": times.ratio("relevance", "rollout"),
        "loop ÷ relevance": times.ratio("loop", "relevance"),
        "largest error of relevance": error(model, few),
    }


def error(model: TradingTransformer, windows: Windows) -> float:
    """Largest difference of the shares from the loop in float64."""
    scores = explain(model, windows, "relevance", target=windows.classes[-1]).scores
    exact = loop(model.double(), replace(windows, bars=windows.bars.double()))
    model.float()
    return float(np.abs(scores - exact).max())


def main() -> None:
    """Print a table and write benchmarks/results/attention_methods.json."""
    arguments = contests.asked(contests.parser(__doc__, SIZES, rounds=9))
    rows = [contest(lookback, arguments.rounds, arguments.device) for lookback in arguments.lookbacks]
    contests.table(rows)
    told = {"rounds": arguments.rounds, "rows": rows}
    record.write(contests.name_of("attention_methods", arguments.device), told)


if __name__ == "__main__":
    main()
