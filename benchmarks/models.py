"""What does an epoch cost, ours against qlib's own networks?

    python -m venv /tmp/qlib && /tmp/qlib/bin/python -m pip install -e . pyqlib
    PYTHONPATH=. /tmp/qlib/bin/python benchmarks/models.py

An epoch is 8,000 windows of 60 bars × 6 features, 800 a batch: forward, loss, backward, gradients clipped at
±3, a step of Adam. Each round takes one batch of each contestant in turn and counts ten times its seconds.
Both have the widths of qlib's published settings. pyqlib is wanted by this benchmark alone; where it is
missing nothing is measured. Prints a table and writes results/models.json.
"""

import argparse
import importlib
import importlib.util
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import record
import torch
import torch.nn.functional as F
from contests import interleaved, table
from torch import Tensor, nn

from workbench.models.registry import entry

BATCH, BATCHES, BARS, FEATURES, CONCEPTS, HIDDEN = 800, 10, 60, 6, 30, 64
COLUMNS = ("CLOSE", "OPEN", "HIGH", "LOW", "VWAP", "VOLUME")
RNN = {"hidden_size": HIDDEN, "n_layers": 2, "dropout": 0.0}
WIDE = {"d_model": 64, "n_heads": 2, "n_layers": 2, "d_ff": 2048, "dropout": 0.0}
Step = Callable[[], Tensor]


@dataclass(frozen=True)
class Batch:
    """One batch as both sides take it."""

    x: Tensor  # (batch, time, feature)
    flat: Tensor  # (batch, feature · time)
    y: Tensor  # (batch,)
    concepts: Tensor  # (batch, concept)
    errors: Tensor  # (batch, time, predictor): TRA's memory of past losses

    def with_columns(self, more: Tensor) -> Tensor:
        """Return the windows with columns that stay the same over the bars."""
        return torch.cat([self.x, more[:, None].expand(-1, BARS, -1)], dim=2)


def random_batch() -> Batch:
    """Noise: values change no cost."""
    torch.manual_seed(0)
    x = torch.randn(BATCH, BARS, FEATURES)
    concepts = F.one_hot(torch.arange(BATCH) % CONCEPTS, CONCEPTS).float()
    flat = x.transpose(1, 2).reshape(BATCH, -1).contiguous()
    return Batch(x, flat, torch.randn(BATCH), concepts, torch.rand(BATCH, BARS, 3))


OURS: dict[str, dict[str, Any]] = {
    "lstm": RNN,
    "gru": RNN,
    "alstm": {**RNN, "rnn": "gru"},
    "transformer": WIDE,
    "localformer": WIDE,
    "tcn": {"channels": 128, "n_layers": 5, "kernel_size": 3, "dropout": 0.5},
    "sfm": {"hidden_size": HIDDEN, "n_frequencies": 25, "output_width": 32},
    "tabnet": {"lookback": BARS, "n_steps": 4},  # qlib's 5 count the first, which has no mask
    "gats": {**RNN, "base": "lstm", "dropout": 0.7},
    "hist": {**RNN, "base": "lstm", "style": "qlib"},
    "tra": {**RNN, "base": "lstm"},
}


def our_step(name: str, batch: Batch) -> tuple[nn.Module, Step]:
    """Return our network and what computes its loss."""
    x, columns = batch.x, COLUMNS
    options = dict(OURS[name])
    if name == "hist":
        x, columns = (
            batch.with_columns(batch.concepts),
            (*COLUMNS, *(f"concept:{i}" for i in range(CONCEPTS))),
        )
    if name == "tra":
        x, columns = batch.with_columns(batch.y[:, None]), (*COLUMNS, "past_label")
        options["horizon"] = 2
    if name in ("hist", "tra"):
        options["feature_names"] = columns
    model = entry(name).network(len(columns), task="regression", **options).train()
    own = getattr(model, "training_loss", None)

    def loss() -> Tensor:
        found = (model(x).squeeze(1) - batch.y).square().mean()
        return found if own is None else own(found, batch.y)

    return model, loss


def module_of(name: str) -> Any:
    """Return qlib's module of a model."""
    return importlib.import_module(f"qlib.contrib.model.pytorch_{name}")


def their_network(name: str) -> nn.Module:
    """Return qlib's network, in the widths of its published settings."""
    module = module_of(name)
    if name in ("transformer", "localformer"):
        return module.Transformer(FEATURES, 64, 2, 2, 0.0)
    if name == "tcn":
        return module.TCNModel(FEATURES, 1, [128] * 5, 3, 0.5)
    if name == "sfm":
        return module.SFM_Model(FEATURES, 32, 25, HIDDEN)
    if name == "tabnet":
        return module.FinetuneModel(64, 1, module.TabNet(BARS * FEATURES, 64, relax=1.3, vbs=2048))
    if name in ("gats", "hist"):
        kind = module.GATModel if name == "gats" else module.HISTModel
        return kind(FEATURES, HIDDEN, 2, 0.7 if name == "gats" else 0.0, "LSTM")
    if name == "alstm":
        return module.ALSTMModel(FEATURES, HIDDEN, 2, 0.0, "GRU")
    return getattr(module, f"{name.upper()}Model")(FEATURES, HIDDEN, 2, 0.0)


def their_step(name: str, batch: Batch) -> tuple[nn.Module, Step]:
    """Return qlib's network and what computes its loss as qlib's trainer does."""
    if name == "tra":
        return their_tra(batch)
    model = their_network(name).train()
    priors = torch.ones(BATCH, BARS * FEATURES)

    def answer() -> Tensor:
        if name == "hist":
            with on_the_processor():
                return model(batch.flat, batch.concepts)
        return model(batch.flat, priors) if name == "tabnet" else model(batch.flat)

    return model, lambda: (answer() - batch.y).square().mean()


def their_tra(batch: Batch) -> tuple[nn.Module, Step]:
    """TRA on an LSTM without attention, as ours, routed and transported by sample."""
    module = module_of("tra")
    base = module.RNN(FEATURES, HIDDEN, 2, "LSTM", use_attn=False)
    router = module.TRA(base.output_size, 3, 32, "LSTM", tau=1.0, src_info="LR_TPE")
    both = nn.ModuleList([base, router]).train()

    def loss() -> Tensor:
        answers, choice, shares = router(base(batch.x), batch.errors)
        told = (answers, batch.y, choice, shares, batch.errors.mean(dim=1), [], "router", 1.0)
        found, _, _, transport = module.transport_sample(*told, training=True)
        return found - (shares.log() * transport).sum(dim=1).mean()

    return both, loss


@contextmanager
def on_the_processor() -> Iterator[None]:
    """Let qlib's HIST run without a graphics card: it takes the −1 of `get_device` for a card's number."""
    with patch("torch.get_device", lambda tensor: "cpu"):
        yield


def trained(model: nn.Module, loss: Step) -> Callable[[], None]:
    """Return what takes one step of training."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        nn.utils.clip_grad_value_([w for w in model.parameters() if w.grad is not None], 3.0)
        optimizer.step()

    return step


def measured(name: str, batch: Batch, rounds: int) -> dict[str, Any]:
    """Measure one model, ours and theirs in turn."""
    sides = {"ours": our_step(name, batch), "qlib": their_step(name, batch)}
    contestants = {side: (trained(*each), 1) for side, each in sides.items()}
    times = interleaved(contestants, rounds)
    seconds = {f"{side}_s": BATCHES * statistics.median(times.by[side]) for side in sides}
    counts = {
        f"{side}_parameters": sum(w.numel() for w in each[0].parameters()) for side, each in sides.items()
    }
    ratios = [a / b for a, b in zip(times.by["ours"], times.by["qlib"], strict=True)]
    spread = {"least": min(ratios), "most": max(ratios)}
    return {"model": name, **seconds, "ours_to_qlib": statistics.median(ratios), **spread, **counts}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--models", nargs="+", default=list(OURS), choices=list(OURS))
    parser.add_argument("--dry", action="store_true", help="write nothing")
    arguments = parser.parse_args()
    if importlib.util.find_spec("qlib") is None:
        parser.error("pyqlib is not installed here, and nothing stands in for it: see the top of this file")
    torch.set_num_threads(1)
    batch = random_batch()
    rows = [measured(name, batch, arguments.rounds) for name in arguments.models]
    table(rows)
    told = {
        "question": "an epoch of 8,000 × 360, batch 800, ours against qlib's own modules",
        "rounds": arguments.rounds,
        "seconds": "CPU time of one thread, ten times one batch; medians of the rounds, and of their ratios",
        "rows": rows,
    }
    if not arguments.dry:
        record.write("models", told, ("numpy", "torch", "pyqlib"))


if __name__ == "__main__":
    main()
