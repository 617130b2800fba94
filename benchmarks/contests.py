"""What the benchmarks of explanations share: the model and windows they are about, and how they are timed."""

import argparse
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from workbench.features.indicators import make_features
from workbench.features.labels import label_moves
from workbench.features.windows import Windows
from workbench.market.loading import load_prices
from workbench.models.transformer import TradingTransformer

Contestant = tuple[Callable[[], object], int]  # the work, and how many windows it does


@dataclass(frozen=True)
class Times:
    """Seconds a window of every contestant, a number a round."""

    by: Mapping[str, list[float]]

    def ratio(self, one: str, other: str) -> float:
        """Median of the rounds' ratios."""
        return statistics.median(a / b for a, b in zip(self.by[one], self.by[other], strict=True))

    def ms(self, name: str) -> float:
        """Median of the rounds, in milliseconds a window."""
        return 1e3 * statistics.median(self.by[name])


def interleaved(contestants: Mapping[str, Contestant], rounds: int, device: str = "cpu") -> Times:
    """Time the contestants in turn, after a round that warms up.

    On the processor this is the time of this process; on a graphics card, which works beside it, the time on
    the wall until the card is done.
    """
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for round_ in range(rounds + 1):
        for name, (work, count) in contestants.items():
            spent = seconds(work, device)
            if round_:
                times[name].append(spent / count)
    return Times(times)


def seconds(work: Callable[[], object], device: str = "cpu") -> float:
    """Seconds of `work`, as `interleaved` counts them."""
    if device == "cpu":
        start = time.process_time()
        work()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def published(lookback: int, device: str = "cpu") -> tuple[TradingTransformer, Windows]:
    """Return the published shape, 4 layers, 128 wide, 8 heads, and the windows of Apple's bundled prices.

    It is untrained: weights do not change the cost.
    """
    prices = load_prices("AAPL")
    windows = Windows.of(make_features(prices), label_moves(prices), lookback)
    torch.manual_seed(0)
    model = TradingTransformer(windows.n_features, max_seq_len=lookback, dropout=0.0).eval()
    return model.to(device), windows


def predict(model: TradingTransformer, windows: Windows, size: int = 64, prune: bool = False) -> None:
    """Predict in batches: the plain pass computes every query of every layer."""
    device, before = next(model.parameters()).device, model.prune
    model.prune = prune
    with torch.no_grad():
        for start in range(0, len(windows), size):
            model(windows.batch(slice(start, start + size)).to(device))
    model.prune = before


def parser(told: str | None, lookbacks: Iterable[int], rounds: int) -> argparse.ArgumentParser:
    """Return what such a benchmark is asked: rounds, lookbacks, device."""
    made = argparse.ArgumentParser(description=(told or "").partition("\n")[0])
    made.add_argument("--rounds", type=int, default=rounds)
    made.add_argument("--lookbacks", type=int, nargs="+", default=list(lookbacks))
    made.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    return made


def asked(made: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the command line, use one thread, and refuse a graphics card that is not there."""
    arguments = made.parse_args()
    torch.set_num_threads(1)
    if arguments.device == "cuda" and not torch.cuda.is_available():
        made.error(
            "--device cuda needs an NVIDIA card and a PyTorch made for it; here is neither. Leave it out"
        )
    return arguments


def name_of(benchmark: str, device: str) -> str:
    """Return the name of a benchmark's results: those of a graphics card are kept apart."""
    return benchmark if device == "cpu" else f"{benchmark}_{device}"


def table(rows: list[dict[str, Any]]) -> None:
    """Print rows under their names."""
    print(" | ".join(rows[0]))
    for row in rows:
        print(
            " | ".join(f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values())
        )
