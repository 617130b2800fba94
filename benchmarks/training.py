"""What does `fit` cost over a loop written by hand, and what do pruning and the cheap dropout save?

    python benchmarks/training.py

One epoch (training and validation) of the transformer on random windows of 60 bars, five ways: by `fit`; by a
plain loop over the same network; by that loop with the last layer computed whole; with PyTorch's dropout too;
and over `torch.nn.TransformerEncoder`. Rounds are interleaved, seconds are one thread's CPU time, ratios are
medians of the rounds' ratios. Prints a table and writes results/training.json.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import record
import torch
from torch import Tensor, nn

from workbench.features.windows import Windows
from workbench.models.attention import SinusoidalPositions
from workbench.models.dropout import Dropout
from workbench.models.registry import build_model
from workbench.training.fitting import fit
from workbench.training.losses import loss_for
from workbench.training.states import weights_of

LOOKBACK, FEATURES, BATCH, EPOCHS = 60, 13, 64, 2
SIZES = {  # name → network, training windows
    "laptop": ({"d_model": 32, "n_heads": 4, "n_layers": 2, "d_ff": 128}, 1024),
    "full": ({"d_model": 128, "n_heads": 8, "n_layers": 4, "d_ff": 512}, 256),
}


@dataclass(frozen=True)
class Row:
    """One network: seconds an epoch each way, and the ratios that matter."""

    network: str
    windows: int
    fit_seconds: float
    loop_seconds: float
    whole_seconds: float
    standard_seconds: float
    torch_seconds: float
    fit_to_loop: float
    pruned_to_whole: float
    ours_to_standard: float
    ours_to_torch: float


def random_windows(count: int) -> tuple[Windows, Windows]:
    """Noise with classes; a fifth as many windows to validate on."""
    bars = count + count // 5 + LOOKBACK + 2
    rng = np.random.default_rng(0)
    dates = pd.bdate_range("1990-01-01", periods=bars, name="date")
    names = [f"f{i}" for i in range(FEATURES)]
    labels = pd.Series(rng.integers(0, 3, bars).astype(float), index=dates)
    labels.attrs = {"task": "classification", "horizon": 1, "classes": ["sell", "hold", "buy"]}
    windows = Windows.of(pd.DataFrame(rng.normal(size=(bars, FEATURES)), dates, names), labels, LOOKBACK)
    return windows[:count], windows[count + 1 : count + 1 + count // 5]


class TorchTransformer(nn.Module):
    """The same network of PyTorch's own parts."""

    def __init__(self, d_model: int, n_heads: int, n_layers: int, d_ff: int):
        super().__init__()
        self.embedding = nn.Linear(FEATURES, d_model)
        self.positions = SinusoidalPositions(d_model, LOOKBACK)
        self.dropout = nn.Dropout(0.1)
        layer = nn.TransformerEncoderLayer(d_model, n_heads, d_ff, 0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, n_layers, enable_nested_tensor=False)
        self.head = nn.Linear(d_model, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits at the last bar."""
        return self.head(self.encoder(self.dropout(self.positions(self.embedding(x))))[:, -1])


def standard_dropout(module: nn.Module) -> nn.Module:
    """Put PyTorch's dropout in place of ours."""
    for name, child in module.named_children():
        setattr(module, name, nn.Dropout(child.p) if isinstance(child, Dropout) else standard_dropout(child))
    return module


def plain_loop(model: nn.Module, train: Windows, valid: Windows) -> None:
    """Train as one would by hand, doing all that `fit` does but measuring."""
    x, y, criterion = train.x.contiguous(), train.y, loss_for(train, "balanced", torch.float32)
    optimizer, best = torch.optim.AdamW(model.parameters(), lr=1e-3), float("inf")
    for epoch in range(EPOCHS):
        model.train()
        order = torch.from_numpy(np.random.default_rng([0, epoch]).permutation(len(train)))
        for rows in order.split(BATCH):
            optimizer.zero_grad()
            criterion(model(x[rows]), y[rows]).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        model.eval()
        with torch.no_grad():
            output = torch.cat([model(valid.batch(slice(i, i + BATCH))) for i in range(0, len(valid), BATCH)])
        loss = criterion(output, valid.y).item()
        if loss < best:
            best, _ = loss, weights_of(model)


def ways_of(options: dict[str, int], train: Windows, valid: Windows) -> dict[str, Callable[[], object]]:
    """Name the five ways, each training a fresh network."""

    def ours(prune: bool = True) -> nn.Module:
        model = build_model("transformer", train, **options)
        model.prune = prune  # pyright: ignore[reportArgumentType]
        return model

    return {
        "fit": lambda: fit(ours(), train, valid, epochs=EPOCHS, batch_size=BATCH, progress=False),
        "loop": lambda: plain_loop(ours(), train, valid),
        "whole": lambda: plain_loop(ours(prune=False), train, valid),
        "standard": lambda: plain_loop(standard_dropout(ours(prune=False)), train, valid),
        "torch": lambda: plain_loop(TorchTransformer(**options), train, valid),
    }


def measured(name: str, rounds: int) -> Row:
    """Measure one network."""
    options, count = SIZES[name]
    ways = ways_of(options, *random_windows(count))
    ways["fit"]()  # imports skorch
    spent: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, run in ways.items():
            start = time.process_time()
            run()
            spent[way].append((time.process_time() - start) / EPOCHS)

    def ratio(way: str, to: str) -> float:
        return statistics.median(a / b for a, b in zip(spent[way], spent[to], strict=True))

    return Row(
        name,
        count,
        **{f"{way}_seconds": statistics.median(seconds) for way, seconds in spent.items()},
        fit_to_loop=ratio("fit", "loop"),
        pruned_to_whole=ratio("loop", "whole"),
        ours_to_standard=ratio("loop", "standard"),
        ours_to_torch=ratio("loop", "torch"),
    )


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    rows = [asdict(measured(name, rounds)) for name in SIZES]
    print(pd.DataFrame(rows).set_index("network").T.to_string(float_format="{:.3f}".format))
    told = {
        "question": "an epoch of fit against a plain loop; pruning and cheap dropout against the usual",
        "rounds": rounds,
        "seconds": "CPU time of one thread an epoch, median; ratios are medians of the rounds' ratios",
        "rows": rows,
    }
    record.write("training", told)


if __name__ == "__main__":
    main()
