"""Rollout of one row of long sequences, streamed, against the forward pass and against whole matrices.

    python benchmarks/explain_streaming.py
    python benchmarks/explain_streaming.py --device cuda

Processor time of one thread of this process (on a graphics card, wall time between its events), contestants
interleaved; medians of the ratios of the rounds, of which long sequences have few. It takes ten minutes. The
model is the published shape, 4 layers, 128 wide, 8 heads, untrained, and one random sequence; weights do not
change the cost.

- forward: every query of every layer computed, by PyTorch's fused attention, no explanation.
- explained: `stream_rollout(model, x, …)`, its own forward in it, which leaves out the last layer's other
  queries where they are not needed. *beyond* is what is left when a forward as it needs it is taken off.
- full: `rollout(attention_maps(model, x))`, all rows by whole matrices, where they fit into memory.

Memory is the highest resident size of a fresh process over the one it had when model and input lay ready;
medians of three processes.
Growth is the slope of log seconds of `explain` by log windows, bars or layers, by least squares.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import record
import torch
from torch import Tensor

from workbench.explainers.capture import attention_maps
from workbench.explainers.explanation import explain
from workbench.explainers.rollouts import rollout
from workbench.explainers.streams import stream_rollout
from workbench.features.windows import Windows
from workbench.models.transformer import TradingTransformer

ROUNDS = {2048: 7, 8192: 3, 16384: 1}  # by positions
FULL_ROUNDS = {2048: 3, 8192: 1}
JOINED = {
    "mean": {},
    "head weights": {"fusion": [1, 2, 3, 4, 5, 6, 7, 8]},
    "max": {"fusion": "max"},
    "discard by row": {"discard": 0.9, "discard_by": "row"},
    "discard by map": {"discard": 0.9},
}
FEATURES, LAYERS = 11, 4
GROWN = {
    "windows": [64, 128, 256, 512, 1024],
    "bars": [512, 1024, 2048, 4096],
    "layers": [2, 4, 8, 16],
}
STATUS = Path("/proc/self/status")


def transformer(length: int, layers: int = LAYERS, causal: bool = False) -> TradingTransformer:
    """The published shape."""
    torch.manual_seed(0)
    model = TradingTransformer(FEATURES, max_seq_len=length, n_layers=layers, dropout=0.0, causal=causal)
    return model.eval()


@torch.no_grad()
def forward(model: TradingTransformer, x: Tensor, prune: bool = False) -> None:
    """Answer, with every query of the last layer or its last alone."""
    model.prune = prune
    model(x)
    model.prune = True


def whole(model: TradingTransformer, x: Tensor) -> None:
    """Every row, by whole matrices."""
    with torch.no_grad():
        rollout(attention_maps(model, x))


def seconds(work: Callable[[], object], device: str) -> float:
    """Processor seconds of `work`, or seconds of the graphics card."""
    if device == "cpu":
        start = time.process_time()
        work()
        return time.process_time() - start
    begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begun.record()
    work()
    ended.record()
    torch.cuda.synchronize()
    return begun.elapsed_time(ended) / 1e3


def full_bytes(length: int) -> int:
    """What whole matrices take: weights of all layers, and about three maps at a time for their product."""
    return 4 * length**2 * (LAYERS * 8 + 3)


def contest(length: int, device: str, causal: bool) -> dict[str, float | int | bool | str]:
    """Ratios at one length."""
    model, x = transformer(length, causal=causal).to(device), torch.randn(1, length, FEATURES).to(device)
    contestants = {"forward": partial(forward, model, x), "pruned": partial(forward, model, x, True)}
    contestants |= {
        name: partial(stream_rollout, model, x, **options)  # type: ignore[arg-type]
        for name, options in JOINED.items()
    }
    free = psutil.virtual_memory().available if device == "cpu" else torch.cuda.mem_get_info()[0]
    fits = full_bytes(length) < 0.8 * free and not causal
    rounds = ROUNDS[length] if device == "cpu" else 7
    full_rounds = (FULL_ROUNDS.get(length, 1) if device == "cpu" else 3) if fits else 0
    times: dict[str, list[float]] = {name: [] for name in [*contestants, "full"]}
    forward(model, x)
    for number in range(rounds):
        for name, work in contestants.items():
            times[name].append(seconds(work, device))
        if number < full_rounds:
            times["full"].append(seconds(partial(whole, model, x), device))
    row = told(times, length, causal)
    if not causal:
        row["full"] = "measured" if full_rounds else f"left out: {full_bytes(length) / 1e9:.0f} GB"
    return row


def told(times: dict[str, list[float]], length: int, causal: bool) -> dict[str, float | int | bool | str]:
    """The medians of the ratios."""

    def beyond(name: str) -> float:
        own = times["forward" if name == "discard by map" else "pruned"]
        rounds = zip(times[name], own, times["forward"], strict=True)
        return statistics.median((spent - passed) / plain for spent, passed, plain in rounds)

    def ratio(one: str, other: str) -> float:
        return statistics.median(a / b for a, b in zip(times[one], times[other], strict=False))

    row: dict[str, float | int | bool | str] = {
        "positions": length,
        "causal": causal,
        "rounds": len(times["forward"]),
        "s, forward": statistics.median(times["forward"]),
        "pruned ÷ forward": ratio("pruned", "forward"),
    }
    row |= {f"explained ÷ forward, {name}": ratio(name, "forward") for name in JOINED}
    row |= {f"beyond ÷ forward, {name}": beyond(name) for name in JOINED}
    if times["full"]:
        row["full ÷ explained, mean"] = ratio("full", "mean")
    return row


def resident(which: str) -> float:
    """Megabytes of this process: VmRSS now, or VmHWM at most."""
    lines = STATUS.read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(which)).split()[1]) / 1024


def peak(length: int, name: str) -> float:
    """Megabytes that `name` takes over the model and its input, in this process."""
    model, x = transformer(length), torch.randn(1, length, FEATURES)
    forward(model, x[:, :64])
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak so far was of the imports
    before = resident("VmRSS")
    if name == "forward":
        forward(model, x)
    elif name == "full":
        whole(model, x)
    else:
        stream_rollout(model, x, **JOINED[name])  # type: ignore[arg-type]
    return resident("VmHWM") - before


def peaks(length: int) -> dict[str, float | int]:
    """Megabytes of each contestant, each in a fresh process."""
    row: dict[str, float | int] = {"positions": length}
    for name in ("forward", "mean", "discard by map", *(("full",) if length <= 2048 else ())):
        if name == "discard by map" and length > 8192:
            continue  # as much as the mean, for several times the time
        command = [sys.executable, __file__, "--peak", name, "--positions", str(length)]
        tries = 1 if name == "full" else 3  # what the allocator keeps differs from process to process
        answers = [subprocess.run(command, check=True, capture_output=True, text=True) for _ in range(tries)]
        row[f"MB, {name}"] = statistics.median(float(answer.stdout) for answer in answers)
    return row | {"mean ÷ forward": row["MB, mean"] / row["MB, forward"]}


def gpu_peaks(length: int) -> dict[str, float | int]:
    """The same on a graphics card, as PyTorch counts it."""
    model, x = transformer(length).cuda(), torch.randn(1, length, FEATURES).cuda()
    row: dict[str, float | int] = {"positions": length}
    works = {"forward": partial(forward, model, x), "mean": partial(stream_rollout, model, x)}
    for name, work in works.items():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        row[f"MB, {name}"] = (torch.cuda.max_memory_allocated() - before) / 2**20
    return row | {"mean ÷ forward": row["MB, mean"] / row["MB, forward"]}


def windows_of(count: int, lookback: int) -> Windows:
    """Windows of random features."""
    dates = pd.bdate_range("1900-01-01", periods=count + lookback - 1, name="date")
    random = np.random.default_rng(0)
    names = [f"f{i}" for i in range(FEATURES)]
    features = pd.DataFrame(random.normal(size=(len(dates), FEATURES)), dates, names)
    labels = pd.Series(random.integers(0, 3, len(dates)).astype(float), dates)
    labels.attrs = {"task": "classification", "horizon": 1, "classes": ["sell", "hold", "buy"]}
    return Windows.of(features, labels, lookback)[:count]


def growth(device: str, rounds: int = 3) -> dict[str, dict[str, float | list[float]]]:
    """Seconds of `explain` and the slope of their logarithm, by windows, bars and layers."""
    found: dict[str, dict[str, float | list[float]]] = {}
    for what, sizes in GROWN.items():
        spent = []
        for size in sizes:
            count = size if what == "windows" else 1 if what == "bars" else 64
            length = size if what == "bars" else 60
            model = transformer(length, size if what == "layers" else LAYERS).to(device)
            work = partial(explain, model, windows_of(count, length))
            work()
            spent.append(statistics.median(seconds(work, device) for _ in range(rounds)))
        slope = float(np.polyfit(np.log(sizes), np.log(spent), 1)[0])
        found[what] = {"sizes": [float(size) for size in sizes], "seconds": spent, "slope": slope}
        last = float(np.log(spent[-1] / spent[-2]) / np.log(sizes[-1] / sizes[-2]))
        found[what]["slope of the last two"] = last
    return found


def main() -> None:
    """Print what was measured and write benchmarks/results/explain_streaming.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--positions", type=int, nargs="+", default=list(ROUNDS))
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.peak:
        print(peak(arguments.positions[0], arguments.peak))
        return
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error(
            "PyTorch sees no graphics card: leave out --device, or install PyTorch for CUDA on a machine "
            "that has one"
        )
    measured: dict[str, list[dict[str, float | int | bool | str]]] = {"rows": [], "memory": []}
    for length in arguments.positions:
        measured["memory"].append((peaks if arguments.device == "cpu" else gpu_peaks)(length))  # type: ignore[arg-type]
        print(measured["memory"][-1], flush=True)
        for causal in (False, True) if length <= 8192 else (False,):
            measured["rows"].append(contest(length, arguments.device, causal))
            print(measured["rows"][-1], flush=True)
    grown = growth(arguments.device)
    print({what: round(float(of["slope"]), 2) for what, of in grown.items()})  # type: ignore[arg-type]
    name = "explain_streaming" if arguments.device == "cpu" else "explain_streaming_cuda"
    command = f"python benchmarks/explain_streaming.py --device {arguments.device}"
    record.write(name, {"command": command, "device": arguments.device, **measured, "growth": grown})


if __name__ == "__main__":
    main()
