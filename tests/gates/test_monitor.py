import copy

import numpy as np
import pandas as pd
import pytest
import torch
from skorch import NeuralNetClassifier
from torch import nn
from trainings import OPTIONS, At, model_of, parts_of, plain, watched, windows_of

from workbench.gates import log as log_module
from workbench.gates.detect import RobustRules
from workbench.gates.findings import Finding
from workbench.gates.given import check_alerts, check_detector, check_windows_given, checked_every
from workbench.gates.log import GateLog
from workbench.gates.monitor import GateMonitor
from workbench.gates.states import GATES
from workbench.models.registry import build_model
from workbench.training.fitting import fit
from workbench.training.losses import loss_for


class Heard:
    def __init__(self):
        self.told = []

    def on_snapshot(self, monitor, snapshot, states):
        self.told.append((snapshot.epoch, len(states.layers[0].mask), monitor.snapshots[-1] is snapshot))

    def on_batch(self, monitor):
        self.told.append("batch")

    def on_end(self, monitor):
        self.told.append("end")


def by_hand(parts, model, clip_norm, steps):
    """Return gradient norms before clipping and update ratios of the first steps of `fit`, in plain loops."""
    train = parts[0]
    criterion = loss_for(train, "balanced", torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.01)
    order = np.random.default_rng([0, 0]).permutation(len(train))
    rows = []
    model.train()
    for start in range(0, 16 * steps, 16):
        chosen = torch.from_numpy(order[start : start + 16])
        optimizer.zero_grad()
        criterion(model(train.batch(chosen)), train.y[chosen]).backward()
        old = {n: p.detach().clone() for n, p in model.named_parameters()}
        slopes = {n: p.grad.clone() for n, p in model.named_parameters()}
        nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
        optimizer.step()
        row = {}
        for name, parameter in model.named_parameters():
            gates = GATES["gru"] if name.startswith("gru.") else ("",)
            parts_ = (slopes[name], parameter.detach() - old[name], old[name])
            for gate, g, d, o in zip(
                gates, *(each.double().chunk(len(gates)) for each in parts_), strict=True
            ):
                row[name, gate] = {
                    "gradient_norm": float(g.norm()),
                    "update_ratio": float(d.norm() / o.norm()),
                }
        rows.append(pd.DataFrame(row).T)
    return rows


def test_gradients_are_those_before_clipping_at_three_steps_of_fit():
    parts = parts_of(bars=70)
    parts = (parts[0][:48], parts[1])
    model, options = model_of(parts, "gru", dropout=0.0), {"clip_norm": 1e-3, "epochs": 1, "schedule": "none"}
    copied = copy.deepcopy(model)
    _, monitor = watched(parts, model, every=1, batch_size=16, **options)
    copied.scaling.load_state_dict(model.scaling.state_dict())
    rows = by_hand(parts, copied, 1e-3, 3)
    expected = sum(rows) / 3
    got = monitor.snapshots[0].weights
    assert got.index.tolist() == expected.index.tolist()
    np.testing.assert_allclose(got["gradient_norm"], expected["gradient_norm"], rtol=1e-5)
    np.testing.assert_allclose(got["update_ratio"], expected["update_ratio"], rtol=1e-4)
    assert float(np.sqrt((got["gradient_norm"] ** 2).sum())) > 0.01  # ten times what clipping leaves
    assert monitor.record.loc[1, "sampled"] == monitor.record.loc[1, "steps"] == monitor.step == 3


def test_each_third_step_is_measured_and_the_first():
    parts = parts_of()
    _, monitor = watched(parts, every=3, batch_size=8)
    steps = -(-len(parts[0]) // 8)
    numbers = np.arange(3 * steps)
    expected = [int((numbers[e * steps : (e + 1) * steps] % 3 == 0).sum()) for e in range(3)]
    assert list(monitor.record["sampled"]) == expected
    assert list(monitor.record["steps"]) == [steps] * 3


def test_a_snapshot_tells_of_its_epoch():
    parts = parts_of()
    _, monitor = watched(parts, epochs=4)
    assert [s.epoch for s in monitor.snapshots] == [1, 2, 3, 4]
    assert [s.progress for s in monitor.snapshots] == [0.25, 0.5, 0.75, 1.0]
    assert {"train_loss", "valid_loss", "lr", "seconds"} <= set(monitor.snapshots[0].figures)
    assert monitor.snapshots[0].units["frozen"].isna().all()
    assert (monitor.snapshots[1].units["frozen"] == 0).all()
    assert (monitor.epoch, monitor.epochs, monitor.watching) == (4, 4, False)


def test_listeners_hear_of_every_look_and_of_the_end():
    parts, heard = parts_of(), Heard()
    monitor = GateMonitor(parts[1], every=1)
    monitor.listeners.append(heard)
    fit(model_of(parts), *parts, callbacks=[monitor], **OPTIONS)
    looks = [told for told in heard.told if told != "batch"]
    assert looks == [(1, 14, True), (2, 14, True), (3, 14, True), "end"]
    assert "batch" in heard.told
    assert {"listeners", "batches"} <= set(monitor.costs)


class Finds:
    """A detector to which every snapshot of an even epoch is wrong."""

    def check(self, snapshot):
        if snapshot.epoch % 2:
            return []
        return [Finding("odd", "hidden_mean", "lstm.l0", "", 2, 1.0, 0.0, 9.0, snapshot.epoch)]


class Told:
    def __init__(self):
        self.rounds = []

    def observe(self, readings, epoch=None):
        self.rounds.append((epoch, [f.key for f in readings]))


def test_findings_are_kept_and_handed_on_also_when_there_are_none():
    parts, told = parts_of(), Told()
    monitor = GateMonitor(parts[1], every=1, detector=Finds(), alerts=told)
    fit(model_of(parts), *parts, callbacks=[monitor], **OPTIONS)
    assert told.rounds == [(1, []), (2, ["odd/lstm.l0/hidden_mean"]), (3, [])]
    assert [f.epoch for f in monitor.findings] == [2]
    assert monitor.log.findings == monitor.findings


class Broken:
    """Fails at whatever it is asked."""

    def check(self, snapshot):
        raise ValueError("not calibrated")

    observe = on_snapshot = on_batch = on_end = lambda self, *args, **kwargs: 1 / 0


def test_what_fails_is_told_once_of_each_kind_and_training_goes_on():
    parts = parts_of()
    alone = plain(parts, model_of(parts))
    monitor = GateMonitor(parts[1], every=1, detector=Broken(), alerts=Broken())
    monitor.listeners.append(Broken())
    with pytest.warns(RuntimeWarning, match="Watching the gates went wrong") as warned:
        assert plain(parts, model_of(parts), callbacks=[monitor]) == alone
    ours = [str(w.message) for w in warned if "Watching the gates" in str(w.message)]
    assert len(ours) == 3
    assert any("epoch 1, detector: ValueError: not calibrated" in each for each in ours)
    assert {error.part for error in monitor.errors} == {"detector", "alerts", "Broken"}
    assert sum(error.part == "detector" for error in monitor.errors) == 3
    first = next(error for error in monitor.errors if error.part == "detector")
    assert "not calibrated" in first.trace
    assert str(first) == "epoch 1, detector: ValueError: not calibrated"
    assert f"{len(monitor.errors)} errors: see monitor.errors" in repr(monitor)
    assert [s.epoch for s in monitor.snapshots] == [1, 2, 3]


def test_a_full_disk_stops_the_log_and_nothing_else(tmp_path, monkeypatch):
    parts, write = parts_of(), log_module.write_tables

    def full_in_epoch_2(path, snapshot, more):
        if snapshot.epoch == 2:
            raise OSError("No space left on device")
        write(path, snapshot, more)

    monkeypatch.setattr(log_module, "write_tables", full_in_epoch_2)
    monitor = GateMonitor(parts[1], tmp_path, every=1)
    with pytest.warns(RuntimeWarning, match="epoch 2, log: OSError: No space"):
        fit(model_of(parts), *parts, callbacks=[monitor], **OPTIONS)
    assert [s.epoch for s in monitor.snapshots] == [1, 2, 3]
    assert monitor.log.epochs == [1, 3]
    assert list(monitor.log.record.index) == [1, 2, 3]  # what could not be written is written with the next


def test_a_loss_that_is_no_number_is_looked_into(tmp_path):
    parts, told = parts_of(), Told()
    model = model_of(parts)
    monitor = GateMonitor(parts[1], tmp_path, every=1, alerts=told)

    def broken():
        with torch.no_grad():
            model.lstm.weight_hh_l0[7, 1] = float("nan")

    with pytest.raises(FloatingPointError, match="loss became nan in epoch 2"):
        fit(model, *parts, callbacks=[At(2, broken), monitor], **OPTIONS)
    assert [s.epoch for s in monitor.snapshots] == [1, 2]
    assert monitor.snapshots[1].weights["not_finite"].sum() == 1
    assert monitor.snapshots[1].weights.loc[("lstm.weight_hh_l0", "forget"), "not_finite"] == 1
    assert told.rounds[0] == (1, [])
    assert told.rounds[1][0] == 2
    assert any("not_finite" in key for key in told.rounds[1][1])
    assert monitor.errors == []
    assert "ended by FloatingPointError: The loss became nan" in repr(monitor)
    assert ".," not in repr(monitor)
    assert not monitor.watching
    assert not monitor.log.over
    states = GateLog.open(tmp_path).states(2)
    assert any(gate.isnan().any() for gate in states.layers[0].gates.values())


@pytest.mark.parametrize(("name", "found"), [("transformer", "has no nn.LSTM or nn.GRU"), ("sfm", "SFM")])
def test_a_model_without_recurrent_layers_says_so_before_training(name, found):
    parts = parts_of()
    model = model_of(parts, name) if name == "sfm" else transformer(parts)
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(ValueError, match=found):
        fit(model, *parts, callbacks=[GateMonitor(parts[1])], **OPTIONS)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def transformer(parts):
    return build_model("transformer", parts[0], d_model=8, n_heads=2, n_layers=1, d_ff=8)


def test_a_probe_that_does_not_suit_the_model_is_refused_before_training():
    parts = parts_of()
    with pytest.raises(ValueError, match="lookback"):
        fit(model_of(parts), *parts, callbacks=[GateMonitor(windows_of(lookback=4))], **OPTIONS)
    with pytest.raises(ValueError, match="every is a number of steps"):
        GateMonitor(parts[1], every=0)
    with pytest.raises(ValueError, match="budget is the share"):
        GateMonitor(parts[1], budget=0.0)


class Foreign(nn.Module):
    """A model that does not say what it was built for."""

    def __init__(self, features, outputs=3):
        super().__init__()
        self.rnn, self.head = nn.GRU(features, 4, batch_first=True), nn.Linear(4, outputs)

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])


def test_a_probe_that_a_model_without_a_spec_cannot_read_is_refused_before_training():
    parts, model = parts_of(), Foreign(5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor = GateMonitor(parts[1], every=1)
    with pytest.raises(ValueError, match=r"probe does not suit this Foreign: .* 3 features .*RuntimeError"):
        monitor.begin(model, optimizer)
    with pytest.raises(ValueError, match="probe does not suit"):
        fit(model, *parts, callbacks=[monitor], **OPTIONS)
    assert not monitor.watching
    assert not optimizer._optimizer_step_pre_hooks


def test_an_optimizer_of_another_model_is_refused():
    parts = parts_of()
    other = torch.optim.SGD(model_of(parts).parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r"None of this SGD's parameters is one of this Foreign's"):
        GateMonitor(parts[1]).begin(Foreign(3), other)


def test_epochs_without_a_step_are_warned_of_once():
    parts, model = parts_of(), Foreign(3)
    monitor = GateMonitor(parts[1], every=1)
    monitor.begin(model, torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.warns(UserWarning, match="No step of the optimiser was seen") as warned:
        monitor.end_epoch()
    monitor.end_epoch()
    assert len(warned) == 1
    monitor.end()


@pytest.mark.parametrize(
    ("check", "given", "error", "said"),
    [
        (check_windows_given, torch.zeros(2, 6, 3), TypeError, r"must be Windows, .* got Tensor"),
        (check_detector, object(), TypeError, r"must have check\(snapshot\).* got object"),
        (check_detector, RobustRules, TypeError, "got the class RobustRules itself"),
        (check_detector, RobustRules(), ValueError, r"knows no healthy snapshot yet: call calibrate"),
        (check_alerts, print, TypeError, r"must have observe\(findings, epoch\)"),
        (checked_every, 2.0, TypeError, "whole number of steps"),
        (checked_every, True, TypeError, "whole number of steps"),
        (checked_every, "2", TypeError, "whole number of steps"),
    ],
)
def test_what_a_monitor_cannot_work_with_is_refused(check, given, error, said):
    with pytest.raises(error, match=said):
        check(given)


def test_a_monitor_refuses_before_training_what_it_cannot_work_with():
    valid = parts_of()[1]
    with pytest.raises(ValueError, match="knows no healthy snapshot yet"):
        GateMonitor(valid, detector=RobustRules())
    for wrong in ({"detector": RobustRules}, {"every": True}):
        with pytest.raises(TypeError, match=r"must have check|whole number"):
            GateMonitor(valid, **wrong)
    assert checked_every(np.int64(3)) == 3


def test_the_folder_of_another_training_is_refused_and_the_same_one_is_begun_anew(tmp_path):
    parts = parts_of()
    watched(parts, folder=tmp_path)
    _, again = watched(parts, folder=tmp_path)
    assert again.log.epochs == [1, 2, 3]
    with pytest.raises(ValueError, match=r"log of another training: options differ"):
        watched(parts, folder=tmp_path, lr=0.02)
    with pytest.raises(ValueError, match=r"log of another training: .*parameters"):
        watched(parts, model_of(parts, hidden_size=7), tmp_path)


def test_a_monitor_that_saw_nothing_says_so(tmp_path):
    parts = parts_of()
    monitor = GateMonitor(parts[1])
    assert "nothing was watched: no training began with this monitor" in repr(monitor)
    assert "loaded, is not trained again" in repr(monitor)
    assert monitor.snapshots == monitor.findings == []
    assert len(monitor.record) == 0
    assert np.isnan(monitor.overhead)
    for ask in (lambda: monitor.log, lambda: monitor.states):
        with pytest.raises(RuntimeError, match="no training began with this monitor"):
            ask()
    with pytest.raises(RuntimeError, match="no training is being watched"):
        monitor.end_epoch()
    monitor.end()


def test_a_training_that_its_checkpoint_ended_is_not_watched_again(tmp_path):
    parts = parts_of()
    options = OPTIONS | {"checkpoint": tmp_path / "run"}
    first, again = (GateMonitor(parts[1], tmp_path / "log", every=1) for _ in range(2))
    fit(model_of(parts), *parts, callbacks=[first], **options)
    fit(model_of(parts), *parts, callbacks=[again], **options)
    assert "nothing was watched" in repr(again)
    assert "has the log of an earlier training" in repr(again)
    assert again.log.epochs == [1, 2, 3]


def test_a_loop_of_ones_own_is_watched():
    torch.manual_seed(0)
    parts = parts_of()
    net = nn.Sequential(nn.LSTM(3, 4, batch_first=True))
    head = nn.Linear(4, 3)

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = net, head

        def forward(self, x):
            return self.head(self.body[0](x)[0][:, -1])

    model = Own()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor = GateMonitor(parts[1], every=1)
    monitor.begin(model, optimizer)
    for epoch in (1, 2):
        for rows in torch.arange(len(parts[0])).split(32):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(parts[0].batch(rows)), parts[0].y[rows]).backward()
            optimizer.step()
        snapshot = monitor.end_epoch({"train_loss": 1.0 / epoch})
        assert snapshot is not None
        assert (snapshot.epoch, snapshot.figures["train_loss"]) == (epoch, 1.0 / epoch)
        assert np.isnan(snapshot.progress)
    monitor.end()
    assert (monitor.snapshots[-1].weights.loc["body.0.weight_hh_l0", "gradient_norm"] > 0).all()
    assert monitor.step == 2 * -(-len(parts[0]) // 32)
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks


def test_figures_may_be_numbers_of_any_kind():
    parts = parts_of()
    model = model_of(parts)
    monitor = GateMonitor(parts[1], every=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor.begin(model, optimizer)
    optimizer.step()
    monitor.end_epoch({"train_loss": torch.tensor(0.5), "valid_loss": np.float32(0.25), "steps": 3})
    monitor.end()
    assert monitor.errors == []
    assert monitor.log.over
    assert monitor.log.snapshot(1).figures == {"train_loss": 0.5, "valid_loss": 0.25, "steps": 3.0}
    assert "no budget kept" in repr(monitor)


def test_a_net_of_skorch_itself_is_watched_too():
    train, valid = parts_of()
    net = NeuralNetClassifier(
        model_of((train, valid)), criterion=nn.CrossEntropyLoss, max_epochs=2, batch_size=32, verbose=0
    )
    monitor = GateMonitor(valid, every=1)
    net.set_params(callbacks=[monitor])
    net.fit(train.x.contiguous(), train.y)
    assert [s.epoch for s in monitor.snapshots] == [1, 2]
    figures = monitor.snapshots[1].figures
    assert {"train_loss", "valid_loss", "valid_acc"} <= set(figures)
    assert figures["train_loss"] == net.history[-1, "train_loss"]
    assert not any(name.endswith("_best") or name == "epoch" for name in figures)
    assert monitor.errors == []
    assert not monitor.watching


def test_the_probe_is_not_looked_at_beyond_its_windows():
    parts = parts_of()
    _, monitor = watched(parts, epochs=1)
    assert monitor.log.card()["probe"]["dates"][-1] == str(parts[1].labelled().dates[-1])
    assert len(monitor.states.layers[0].mask) == 14


def test_whatever_ends_a_training_takes_the_hooks_off():
    parts = parts_of()
    model, monitor = model_of(parts), GateMonitor(parts[1], every=1)

    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(model, *parts, callbacks=[At(2, interrupt), monitor], **OPTIONS)
    assert not monitor.watching
    assert [s.epoch for s in monitor.snapshots] == [1]
    assert "ended by KeyboardInterrupt" in repr(monitor)
    assert all(not p._post_accumulate_grad_hooks for p in model.parameters())
    overhead = monitor.overhead
    assert monitor.overhead == overhead  # the clock stands
    fit(model, *parts, callbacks=[monitor], **OPTIONS)  # and it may be used anew
    assert [s.epoch for s in monitor.snapshots] == [1, 2, 3]
