"""Faults put into real small trainings are found, and said in words."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from trainings import At, parts_of

from workbench.features.windows import Windows
from workbench.gates.course import Course
from workbench.gates.detect import RobustRules
from workbench.gates.features import snapshot_features
from workbench.gates.findings import Finding
from workbench.gates.monitor import GateMonitor
from workbench.gates.snapshots import Snapshot
from workbench.models.registry import build_model
from workbench.training.fitting import fit

EPOCHS, STRUCK = 5, 3
OPTIONS = {"epochs": EPOCHS, "batch_size": 16, "lr": 0.01, "progress": False, "patience": None}
UNITS = 6

Strike = Callable[[nn.LSTM], None]


@pytest.fixture(scope="module")
def parts() -> tuple[Windows, Windows]:
    return parts_of()


def seen_of(
    parts: tuple[Windows, Windows], seed: int, strike: Strike | None = None, rules: RobustRules | None = None
) -> tuple[list[Snapshot], list[Finding]]:
    model = build_model("lstm", parts[0], seed=seed, hidden_size=UNITS, n_layers=1)
    monitor = GateMonitor(parts[1], every=1, detector=rules)
    before = [] if strike is None else [At(STRUCK, lambda: strike(model.get_submodule("lstm")))]
    fit(model, *parts, seed=seed, callbacks=[*before, monitor], **OPTIONS)
    return monitor.snapshots, monitor.findings


@pytest.fixture(scope="module")
def rules(parts: tuple[Windows, Windows]) -> RobustRules:
    healthy = [snapshot for seed in range(8) for snapshot in seen_of(parts, seed)[0]]
    detector = RobustRules(most=200).calibrate(healthy)
    assert isinstance(detector, RobustRules)
    return detector


def forget_gate_driven_open(layer: nn.LSTM) -> None:
    layer.bias_ih_l0.data[UNITS : 2 * UNITS] += 8.0


def output_gate_of_unit_4_shut(layer: nn.LSTM) -> None:
    layer.bias_ih_l0.data[3 * UNITS + 4] -= 40.0


def frozen(layer: nn.LSTM) -> None:
    layer.requires_grad_(False)


def blown_up(layer: nn.LSTM) -> None:
    layer.weight_hh_l0.data *= 8.0


@pytest.mark.parametrize(
    ("strike", "said"),
    [
        (forget_gate_driven_open, ("lstm.l0", "forget", "saturation_right", None)),
        (output_gate_of_unit_4_shut, ("lstm.l0", "", "dead", 4)),
        (frozen, ("lstm.weight_hh_l0", "", "update_ratio", None)),
        (blown_up, ("lstm.weight_hh_l0", "", "weight_norm", None)),
    ],
)
def test_a_fault_is_found_from_its_epoch_on_and_named(
    parts: tuple[Windows, Windows], rules: RobustRules, strike: Strike, said: tuple[str, str, str, int | None]
):
    _, findings = seen_of(parts, 50, strike, rules)
    assert {finding.epoch for finding in findings} >= {STRUCK + 1, EPOCHS}
    named = {(f.where, f.gate, f.signal, f.unit) for f in findings if f.epoch == EPOCHS}
    assert said in named


def test_a_healthy_training_passes(parts: tuple[Windows, Windows], rules: RobustRules):
    assert seen_of(parts, 60, None, rules)[1] == []


@pytest.mark.parametrize("course", [Course(epochs=EPOCHS), Course()])
def test_a_weight_that_is_nan_is_found_before_a_loss_is_and_before_anything_is_refused(
    parts: tuple[Windows, Windows], rules: RobustRules, course: Course
):
    model = build_model("lstm", parts[0], seed=50, hidden_size=UNITS, n_layers=1)
    monitor = GateMonitor(parts[1], every=1, detector=rules)
    optimizer = torch.optim.SGD(model.parameters())
    monitor.begin(model, optimizer, course)
    optimizer.step()
    with torch.no_grad():
        model.get_submodule("lstm").get_parameter("weight_hh_l0")[0, 0] = torch.nan
    snapshot = monitor.end_epoch()
    assert snapshot is not None
    assert ("finite", "lstm.weight_hh_l0", "input") in [(f.rule, f.where, f.gate) for f in monitor.findings]
    blank = RobustRules(most=200)  # knows no healthy snapshot
    assert [f.key for f in blank.check(snapshot)] == [f.key for f in monitor.findings]


def test_an_lstm_of_one_layer_has_about_seventy_features_and_five_for_each_input(
    parts: tuple[Windows, Windows],
):
    found = snapshot_features(seen_of(parts, 0)[0][-1])
    counts = found.groupby("part").size()
    assert counts["inputs"] == 5 * parts[0].n_features
    applies = found.drop("inputs", level="part").notna()
    assert 45 <= applies.sum() <= 80
