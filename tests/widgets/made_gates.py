"""Gates and snapshots made by hand, and a small training to watch."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch

from workbench.features.windows import Windows
from workbench.gates.findings import Finding
from workbench.gates.monitor import GateMonitor
from workbench.gates.snapshots import Snapshot
from workbench.gates.states import GATES, GateStates, LayerGates


def layer_of(
    name: str = "lstm.l0", shape: tuple[int, int, int] = (3, 5, 4), kind: str = "lstm", seed: int = 0
) -> LayerGates:
    """Random gates (batch, time, unit) of a layer, all steps there."""
    random = torch.Generator().manual_seed(seed)
    gates = {gate: torch.rand(shape, generator=random) for gate in GATES[kind]}
    gates["candidate"] = 2 * gates["candidate"] - 1
    cell = torch.randn(shape, generator=random) if kind == "lstm" else None
    hidden = torch.rand(shape, generator=random)
    mask = torch.ones(shape[:2], dtype=torch.bool)
    return LayerGates(name, name.split(".")[0], kind, 0, False, gates, cell, hidden, mask)


def states_of(*layers: LayerGates) -> GateStates:
    return GateStates(layers or (layer_of(),), 0.0)


def snapshot_of(
    epoch: int,
    units: pd.DataFrame | None = None,
    norms: Mapping[tuple[str, str], float] | None = None,
    **figures: float,
) -> Snapshot:
    """A snapshot of an epoch of at most 40."""
    index = pd.MultiIndex.from_tuples([("lstm.l0", unit) for unit in range(4)], names=["layer", "unit"])
    norms = norms or {("lstm.weight_hh_l0", gate): 0.1 * epoch for gate in GATES["lstm"]}
    weights = pd.DataFrame(
        {"gradient_norm": list(norms.values())},
        index=pd.MultiIndex.from_tuples(list(norms), names=["parameter", "gate"]),
    )
    told = {"train_loss": 1 / epoch, "valid_loss": 1 / epoch + 0.1, "lr": 0.001, **figures}
    return Snapshot(
        epoch, 10 * epoch, epoch / 40, pd.DataFrame(index=index) if units is None else units, weights,
        pd.DataFrame(), pd.DataFrame(), told,
    )  # fmt: skip


def finding_of(epoch: int, signal: str = "saturation_right", deviation: float = 9.0, **more) -> Finding:
    told = {"rule": "robust", "where": "lstm.l0", "gate": "forget", "unit": None, "value": 0.6} | more
    return Finding(signal=signal, expected=0.1, deviation=deviation, epoch=epoch, **told)


class Scripted:
    """A detector that finds what it was told to."""

    def __init__(self, *findings: Finding) -> None:
        self.findings = findings

    def check(self, snapshot: Snapshot) -> Sequence[Finding]:
        return [finding for finding in self.findings if finding.epoch == snapshot.epoch]


class Loop:
    """A training loop written by hand, of an LSTM on made-up windows, under a monitor's eyes."""

    def __init__(self, monitor: GateMonitor, windows: Windows, units: int = 6) -> None:
        self.monitor, self.windows = monitor, windows
        torch.manual_seed(0)
        self.model = _Small(windows.x.shape[-1], units)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01)

    def begin(self) -> None:
        self.monitor.begin(self.model, self.optimizer)

    def epoch(self, steps: int = 1) -> None:
        self.model.train()
        for _ in range(steps):
            self.optimizer.zero_grad()
            rows = np.arange(8)
            loss = torch.nn.functional.cross_entropy(self.model(self.windows.x[rows]), self.windows.y[rows])
            loss.backward()
            self.optimizer.step()
        self.monitor.end_epoch({"train_loss": float(loss.detach()), "valid_loss": float(loss.detach()) + 0.5})

    def run(self, epochs: int) -> None:
        self.begin()
        for _ in range(epochs):
            self.epoch()
        self.monitor.end()


class _Small(torch.nn.Module):
    def __init__(self, features: int, units: int) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(features, units, batch_first=True)
        self.head = torch.nn.Linear(units, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(x)[0][:, -1])
