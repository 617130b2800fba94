"""What every method of `explain` costs, as a multiple of predicting the same windows.

    python benchmarks/all_methods.py

Per window, one thread, processor time of this process, contestants interleaved; medians of the ratios of the
rounds. The windows are those of the bundled prices of AAPL; the model is the published shape, 4 layers, 128
wide, 8 heads, untrained, since weights do not change the cost (but for flow, whose solver stops earlier on
some graphs). Each method runs with its defaults, and its predictions are in its time.

- forward: predictions in batches of 64, every query of every layer computed.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import record
import torch

from workbench.explainers.explanation import explain
from workbench.explainers.methods import METHODS
from workbench.features.indicators import make_features
from workbench.features.labels import label_moves
from workbench.features.windows import Windows
from workbench.market.loading import load_prices
from workbench.models.transformer import TradingTransformer

QUICK, SOLVED, SLOW, SLOWEST = 192, 48, 8, 2  # windows a round
ASKED = {"flow": SOLVED, "occlusion": SLOW, "integrated_gradients": SLOW, "gradient_shap": SLOW}
ASKED |= {"kernel_shap": SLOWEST, "lime": SLOWEST}


def forward(model: TradingTransformer, windows: Windows) -> None:
    """Predict in batches of 64, every query computed."""
    model.prune = False
    with torch.no_grad():
        for start in range(0, len(windows), 64):
            model(windows.batch(slice(start, start + 64)))
    model.prune = True


def seconds_each(work: Callable[[], object], windows: int) -> float:
    """Processor seconds of `work`, by window."""
    start = time.process_time()
    work()
    return (time.process_time() - start) / windows


def contest(lookback: int, rounds: int) -> list[dict[str, float | int | str]]:
    """Ratios at one lookback, a row a method."""
    prices = load_prices("AAPL")
    windows = Windows.of(make_features(prices), label_moves(prices), lookback)
    torch.manual_seed(0)
    model = TradingTransformer(windows.n_features, max_seq_len=lookback, dropout=0.0).eval()
    contestants: dict[str, tuple[Callable[[], object], int]] = {
        "forward": (partial(forward, model, windows[-QUICK:]), QUICK)
    }
    for name in METHODS:
        count = ASKED.get(name, QUICK)
        contestants[name] = partial(explain, model, windows[-count:], name), count
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for round_ in range(rounds + 1):
        for name, (work, count) in contestants.items():
            spent = seconds_each(work, count)
            if round_:  # the first warms up
                times[name].append(spent)
    return [
        {
            "lookback": lookback,
            "method": name,
            "windows": contestants[name][1],
            "ms a window": 1e3 * statistics.median(times[name]),
            "÷ forward": statistics.median(a / b for a, b in zip(times[name], times["forward"], strict=True)),
        }
        for name in METHODS
    ]


def main() -> None:
    """Print a table and write benchmarks/results/all_methods.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--lookbacks", type=int, nargs="+", default=[20, 60])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for lookback in arguments.lookbacks for row in contest(lookback, arguments.rounds)]
    for row in rows:
        print(f"{row['lookback']:>3} bars  {row['method']:22} {row['ms a window']:8.2f} ms  "
              f"{row['÷ forward']:7.2f} × a forward pass")  # fmt: skip
    packages = ("numpy", "torch", "numba")
    record.write("all_methods", {"rounds": arguments.rounds, "rows": rows}, packages)


if __name__ == "__main__":
    main()
