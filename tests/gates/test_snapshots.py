from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from trainings import OPTIONS, model_of, parts_of, windows_of

from workbench.gates.monitor import GateMonitor
from workbench.gates.recover import gate_states
from workbench.gates.signals import INPUT_SIGNALS, LAG_SIGNALS, UNIT_SIGNALS, WEIGHT_SIGNALS
from workbench.gates.snapshots import Moment, snapshot_of
from workbench.training.fitting import fit

TABLES = ("units", "inputs", "lags")


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_snapshot_is_the_same_in_training_and_out_of_it(task):
    parts = parts_of(task=task)
    model, pairs = model_of(parts, "alstm", dropout=0.4), []

    class Listener:
        def on_snapshot(self, monitor, snapshot, states):
            pairs.append((snapshot, snapshot_of(model, parts[1])))

        def on_batch(self, monitor):
            pass

        on_end = on_batch

    monitor = GateMonitor(parts[1], every=1)
    monitor.listeners.append(Listener())
    fit(model, *parts, callbacks=[monitor], **OPTIONS)
    assert len(pairs) == 3
    assert monitor.errors == []
    for inside, outside in pairs:
        for table in TABLES:
            frames = (
                getattr(each, table).drop(columns="frozen", errors="ignore") for each in (inside, outside)
            )
            pd.testing.assert_frame_equal(*frames, check_exact=True)
        pd.testing.assert_series_equal(inside.weights["weight_norm"], outside.weights["weight_norm"])


def test_every_table_has_the_signals_that_are_named():
    windows = windows_of(bars=40)
    snapshot = snapshot_of(model_of([windows], "lstm", n_layers=2), windows)
    for frame, signals in zip(
        (snapshot.units, snapshot.weights, snapshot.inputs, snapshot.lags),
        (UNIT_SIGNALS, WEIGHT_SIGNALS, INPUT_SIGNALS, LAG_SIGNALS),
        strict=True,
    ):
        assert list(frame.columns) == list(signals)
    assert snapshot.units.index.tolist() == [
        (f"lstm.l{layer}", unit) for layer in (0, 1) for unit in range(6)
    ]
    assert snapshot.inputs.index.tolist() == ["a", "b", "c"]
    assert snapshot.lags.index.tolist() == list(range(6))
    assert (snapshot.epoch, snapshot.step) == (0, 0)
    assert np.isnan(snapshot.progress)


def test_a_model_is_left_as_it_was():
    windows = windows_of(bars=40)
    model = model_of([windows], "gru", dropout=0.3).train()
    model.head.eval()
    model(windows.x[:4]).sum().backward()
    grads = {n: p.grad.clone() for n, p in model.named_parameters()}
    weights = {n: v.clone() for n, v in model.state_dict().items()}
    modes, state = [m.training for m in model.modules()], torch.get_rng_state()
    snapshot_of(model, windows)
    assert [m.training for m in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(p.grad, grads[n]) for n, p in model.named_parameters())
    assert all(torch.equal(v, weights[n]) for n, v in model.state_dict().items())
    assert not any(m._forward_hooks for m in model.modules())


def test_later_bars_are_never_seen():
    windows = windows_of(bars=80).labelled()
    model, past = model_of([windows]), windows[:40]
    bars = windows.bars.clone()
    bars[int(past.ends[-1]) + 1 :] = float("nan")
    known, altered = snapshot_of(model, past), snapshot_of(model, replace(windows, bars=bars)[:40])
    for table in TABLES:
        pd.testing.assert_frame_equal(getattr(known, table), getattr(altered, table), check_exact=True)


def test_units_are_dead_or_frozen_by_what_they_say_on_three_windows():
    windows = windows_of(bars=40)
    model = model_of([windows])
    with torch.no_grad():
        for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
            getattr(model.lstm, name)[[2, 8, 14, 20]] = 0.0  # unit 2: candidate tanh 0 = 0, so c = h = 0
    before = gate_states(model, windows.labelled()[[0, 16, 33]].x)
    three = windows.labelled()[[0, 16, 33]]
    snapshot = snapshot_of(model, three, None, before)
    assert snapshot.units["dead"].tolist() == [0, 0, 1, 0, 0, 0]
    assert (snapshot.units["frozen"] == 1).all()  # nothing changed since
    with torch.no_grad():
        model.lstm.weight_hh_l0[0] += 0.5  # the input gate of unit 0
    again = snapshot_of(model, three, None, before)
    assert again.units["frozen"].iloc[0] == 0


def test_what_is_known_of_the_training_is_kept():
    windows = windows_of(bars=40)
    moment = Moment(3, 70, 0.3, {"train_loss": 1.0})
    snapshot = snapshot_of(model_of([windows]), windows, moment=moment)
    assert (snapshot.epoch, snapshot.step, snapshot.progress, snapshot.figures) == (
        3,
        70,
        0.3,
        {"train_loss": 1.0},
    )


def test_features_that_are_missing_are_told_and_not_refused():
    windows = windows_of(bars=40)
    bars = windows.bars.clone()
    bars[10:, 1] = float("nan")
    snapshot = snapshot_of(model_of([windows]), replace(windows, bars=bars))
    assert snapshot.inputs.loc["b", "missing"] > 0.5
    assert snapshot.inputs["missing"].drop("b").eq(0).all()
    assert snapshot.units["hidden_mean"].isna().any()


def test_any_module_with_recurrent_layers_will_do():
    windows = windows_of(bars=40)

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.read = nn.GRU(3, 2, batch_first=True, bidirectional=True)
            self.say = nn.Linear(4, 3)

        def forward(self, x):
            return self.say(self.read(x)[0].mean(1))

    snapshot = snapshot_of(Own().double(), windows)
    assert set(snapshot.units.index.get_level_values("layer")) == {"read.l0", "read.l0.reverse"}
    assert ("read.weight_hh_l0_reverse", "update") in snapshot.weights.index
    assert snapshot.inputs.loc["b", "mean"] == pytest.approx(10, abs=2)  # no scaling of its own: as given
    with pytest.raises(ValueError, match=r"no nn\.LSTM or nn\.GRU"):
        snapshot_of(nn.Linear(3, 3), windows)
