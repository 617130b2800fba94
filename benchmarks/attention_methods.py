"""What raw attention and gradient-weighted attention cost, against predicting and against rollout.

    python benchmarks/attention_methods.py

Per window, one thread, processor time of this process, contestants interleaved; medians of the ratios of the
rounds. The windows are those of the bundled prices of AAPL; the model is the published shape, 4 layers, 128
wide, 8 heads, untrained, since weights do not change the cost.

- plain: predictions in batches of 64, every query of every layer computed, no explanation.
- rollout, attention, relevance: `workbench.explain(model, windows, method)`, predictions in it.
- loop: relevance of one window at a time, a pass that keeps its graph and products of whole matrices.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import record
import torch

from workbench.explainers.capture import attention_maps
from workbench.explainers.explanation import explain
from workbench.explainers.relevances import relevance
from workbench.features.indicators import make_features
from workbench.features.labels import label_moves
from workbench.features.windows import Windows
from workbench.market.loading import load_prices
from workbench.models.transformer import TradingTransformer

SIZES = {20: 512, 60: 192, 200: 48}  # windows by lookback
LOOPED = {20: 48, 60: 32, 200: 12}  # of these, how many the loop explains
METHODS = ("rollout", "attention", "relevance")


def predict(model: TradingTransformer, windows: Windows) -> None:
    """Predict in batches of 64, every query computed."""
    model.prune = False
    with torch.no_grad():
        for start in range(0, len(windows), 64):
            model(windows.batch(slice(start, start + 64)))
    model.prune = True


def loop(model: TradingTransformer, windows: Windows) -> np.ndarray:
    """Explain `buy` one window at a time, by whole matrices."""
    rows = []
    for i in range(len(windows)):
        maps = attention_maps(model, windows.batch(slice(i, i + 1)), gradients=True)
        row = (relevance(maps, maps.output[:, -1]) - torch.eye(windows.lookback))[0, -1]  # type: ignore[index]
        rows.append((row / row.sum()).numpy())
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
    contestants: dict[str, tuple[Callable[[], object], int]] = {
        "plain": (lambda: predict(model, windows), len(windows)),
        "loop": (lambda: loop(model, few), len(few)),
    }
    for method in METHODS:
        contestants[method] = (lambda method=method: explain(model, windows, method), len(windows))
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
        **{f"{method} ÷ plain": ratio(method, "plain") for method in METHODS},
        "relevance ÷ rollout": ratio("relevance", "rollout"),
        "loop ÷ relevance": ratio("loop", "relevance"),
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
    record.write("attention_methods", {"rounds": arguments.rounds, "rows": rows})


if __name__ == "__main__":
    main()
