"""The monitor with a real detector and real alerts."""

import torch
from skorch.callbacks import Callback
from trainings import OPTIONS, parts_of

from workbench.gates.alerts import Alerts
from workbench.gates.detect import RobustRules
from workbench.gates.monitor import GateMonitor
from workbench.models.registry import build_model
from workbench.training.fitting import fit

EPOCHS = {"epochs": 7, "patience": None, "schedule": "none"}


class Collected:
    """A channel that keeps what it is given."""

    name, addresses = "collected", ("me",)

    def __init__(self):
        self.alerts = []

    def send(self, message, address):
        self.alerts += message.alerts


class Saturate(Callback):
    """Hold the forget gate of two units open from some epoch on."""

    def on_batch_begin(self, net, training=False, **kwargs):
        if training and len(net.history) >= 4:
            with torch.no_grad():
                net.module_.lstm.bias_hh_l0[[6, 8]] = 40.0  # rows 6 to 11: forget


def trained(parts, seed, *callbacks, **monitoring):
    monitor = GateMonitor(parts[1], every=1, **monitoring)
    model = build_model("lstm", parts[0], seed=seed, hidden_size=6)
    fit(model, *parts, seed=seed, callbacks=[*callbacks, monitor], **OPTIONS | EPOCHS)
    assert monitor.errors == []
    return monitor


def test_a_gate_that_saturates_is_found_named_and_told(tmp_path):
    parts = parts_of()
    healthy = [snapshot for seed in range(100, 108) for snapshot in trained(parts, seed).snapshots]
    rules, channel = RobustRules().calibrate(healthy), Collected()
    with Alerts([channel], tmp_path / "alerts.db", name="ours") as alerts:
        monitor = trained(parts, 9, Saturate(), detector=rules, alerts=alerts, folder=tmp_path / "log")
        assert alerts.firing
    late = [found for found in monitor.findings if found.epoch >= 4]
    assert {found.epoch for found in late} == {4, 5, 6, 7}
    assert any("forget" in str(found) and {0, 2} <= {found.unit, *found.units} for found in late)
    assert [str(found) for found in monitor.log.findings] == [str(found) for found in monitor.findings]
    assert any("forget" in f"{alert.title} {alert.text}" for alert in channel.alerts)
