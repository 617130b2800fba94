import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from trainings import model_of, parts_of, watched, windows_of

from workbench.environment import ROOT
from workbench.gates import log as log_module
from workbench.gates.findings import Finding
from workbench.gates.log import GateLog
from workbench.gates.monitor import GateMonitor
from workbench.gates.packing import low_of
from workbench.gates.recover import gate_states
from workbench.gates.snapshots import Moment, snapshot_of
from workbench.training.fitting import fit

TABLES = ("units", "weights", "inputs", "lags")
KEY = {"model": "LSTM", "seed": 0, "first_weights": "abc"}
FOUND = Finding(
    "nan", "hidden_mean", "lstm.l0", "", None, float("nan"), float("nan"), float("inf"), 2, (1, 4)
)


@pytest.fixture(scope="module")
def seen():
    """Return a snapshot, and the states that it is of."""
    windows = windows_of(bars=40)
    model = model_of([windows], "lstm", n_layers=2)
    snapshot = snapshot_of(
        model, windows, moment=Moment(2, 5, 0.5, {"train_loss": 1.25, "valid_icir": float("nan")})
    )
    return snapshot, gate_states(model, windows.labelled().x[:5])


def row(epoch, **figures):
    return {
        "epoch": epoch,
        "taken": True,
        "why": "",
        "steps": 3,
        "sampled": 1,
        "overhead": 0.01,
        "figures": figures,
    }


def filled(folder, seen, epochs=(1, 2, 3)):
    log = GateLog(folder)
    log.begin(KEY, {"dates": []}, 0)
    for epoch in epochs:
        log.write(
            _at(seen[0], epoch), seen[1], [FOUND] if epoch == 2 else [], [row(epoch, train_loss=1 / epoch)]
        )
    return log


def _at(snapshot, epoch):
    return type(snapshot)(**{**vars(snapshot), "epoch": epoch})


def same(a, b):
    assert (a.epoch, a.step, a.figures.keys()) == (b.epoch, b.step, b.figures.keys())
    np.testing.assert_array_equal([a.progress, *a.figures.values()], [b.progress, *b.figures.values()])
    for table in TABLES:
        old, new = getattr(a, table), getattr(b, table)
        pd.testing.assert_frame_equal(new, old, check_exact=True, check_names=False, check_column_type=False)
        assert list(new.index.names) == list(old.index.names)


def test_a_snapshot_comes_back_to_the_last_bit(seen, tmp_path):
    log = filled(tmp_path / "log", seen)
    same(GateLog.open(tmp_path / "log").snapshot(2), _at(seen[0], 2))
    assert log.epochs == [1, 2, 3]
    (found,) = log.findings
    assert str(found) == str(FOUND)
    assert (found.key, found.units) == (FOUND.key, (1, 4))


def test_states_come_back_in_eight_bits(seen, tmp_path):
    states = filled(tmp_path, seen).states(3)
    for old, new in zip(seen[1].layers, states.layers, strict=True):
        assert old.name == new.name
        for gate, values in old.gates.items():
            assert (new.gates[gate] - values).abs().max() <= (1 - low_of(gate)) / 508 + 1e-6


def test_frames_over_all_epochs_have_the_epoch_first(seen, tmp_path):
    log = filled(tmp_path, seen, epochs=(1, 4))
    for table in TABLES:
        frame, one = getattr(log, table), getattr(seen[0], table)
        assert list(frame.index.names) == ["epoch", *one.index.names]
        assert frame.index.get_level_values("epoch").unique().tolist() == [1, 4]
        pd.testing.assert_frame_equal(frame.loc[4], one, check_names=False, check_column_type=False)


def test_the_files_are_plain_and_say_what_they_hold(seen, tmp_path):
    filled(tmp_path, seen, epochs=(7,))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0007.npz", "0007.parquet", "log.json"]
    long = pd.read_parquet(tmp_path / "0007.parquet")
    chosen = long[(long["table"] == "units") & (long["name"] == "lstm.l1") & (long["number"] == 2)]
    value = chosen.set_index("signal")["value"]["forget_mean"]
    assert value == seen[0].units.loc[("lstm.l1", 2), "forget_mean"]
    with np.load(tmp_path / "0007.npz", allow_pickle=False) as arrays:
        assert arrays["0/gates"].dtype == np.uint8
        assert arrays["0/cell"].dtype == np.float16


def test_an_epoch_that_was_not_looked_at_is_named(seen, tmp_path):
    log = filled(tmp_path, seen, epochs=(1, 4))
    for read in (log.snapshot, log.states):
        with pytest.raises(KeyError, match=r"epoch 2 was not looked at.*there are: 1, 4"):
            read(2)


def test_a_folder_without_a_log_is_told_so(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no log of gates: log\.json is missing"):
        GateLog.open(tmp_path)
    (tmp_path / "log.json").write_text("{}")
    with pytest.raises(ValueError, match="not of a gate log of this version"):
        GateLog.open(tmp_path)
    log = GateLog(tmp_path / "new")
    assert (log.epochs, log.rows, log.over) == ([], [], False)
    with pytest.raises(ValueError, match="no epoch is written yet"):
        _ = log.units


def test_an_epoch_is_there_whole_or_not_at_all(seen, tmp_path, monkeypatch):
    log = filled(tmp_path, seen)

    def full_disk(*args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr(log_module, "write_tables", full_disk)
    with pytest.raises(OSError, match="No space"):
        log.write(_at(seen[0], 4), seen[1], [], [])
    assert GateLog.open(tmp_path).epochs == [1, 2, 3]


def test_what_is_written_anew_is_read_anew(seen, tmp_path):
    log = filled(tmp_path, seen)
    assert log.snapshot(2).step == 5
    other = type(seen[0])(**{**vars(seen[0]), "epoch": 2, "step": 99})
    GateLog(tmp_path).write(other, seen[1], [], [row(2)])
    assert log.snapshot(2).step == 99
    assert log.findings == []


def test_going_on_drops_what_comes_again(seen, tmp_path):
    log = filled(tmp_path, seen)
    log.end([row(4)], {})
    (tmp_path / "0005.npz").write_bytes(b"of a process that was killed")
    (tmp_path / ".0006-abc.npz").write_bytes(b"of another")
    rows = log.begin(KEY | {"first_weights": "another by now"}, {}, 2)
    assert [each["epoch"] for each in rows] == [1, 2]
    assert sorted(path.name for path in tmp_path.glob("*.npz")) == ["0001.npz", "0002.npz"]
    assert list(tmp_path.glob(".*")) == []
    assert GateLog.open(tmp_path).epochs == [1, 2]
    assert not log.over
    assert log.card()["key"] == KEY  # still known by the weights it began with
    log.begin(KEY, {}, 0)
    assert log.epochs == []


@pytest.mark.parametrize(
    ("done", "change"), [(0, {"first_weights": "b"}), (0, {"seed": 1}), (2, {"seed": 1})]
)
def test_the_log_of_another_training_is_not_touched(seen, tmp_path, done, change):
    log = filled(tmp_path, seen)
    with pytest.raises(ValueError, match=rf"log of another training: {next(iter(change))} differ"):
        log.begin(KEY | change, {}, done)
    assert log.epochs == [1, 2, 3]


def test_another_process_reads_while_training_goes_on(tmp_path):
    code = (
        "import sys, json\n"
        "from workbench.gates.log import GateLog\n"
        "log = GateLog.open(sys.argv[1])\n"
        "told = [log.over, log.epochs, log.units.index.nlevels, len(log.states(log.epochs[-1]).layers),\n"
        "        log.snapshot(log.epochs[-1]).figures['train_loss'], len(log.record)]\n"
        "print(json.dumps(told))"
    )
    told = []

    class Reader:
        def on_snapshot(self, monitor, snapshot, states):
            if snapshot.epoch == 2:
                done = subprocess.run(
                    [sys.executable, "-c", code, str(tmp_path)],
                    cwd=ROOT,
                    capture_output=True,
                    text=True,
                    check=True,
                )
                told.extend([json.loads(done.stdout), snapshot.figures["train_loss"]])

        def on_batch(self, monitor):
            pass

        def on_end(self, monitor):
            pass

    parts = parts_of()
    monitor = GateMonitor(parts[1], tmp_path, every=1)
    monitor.listeners.append(Reader())
    fit(model_of(parts), *parts, epochs=3, progress=False, callbacks=[monitor])
    assert monitor.errors == []
    assert told[0] == [False, [1, 2], 3, 1, told[1], 2]
    assert GateLog.open(tmp_path).over


def test_the_log_of_a_training_holds_what_the_monitor_saw(tmp_path):
    _, monitor = watched(parts_of(task="regression"), model_of(parts_of(task="regression"), "gru"), tmp_path)
    log = GateLog.open(tmp_path)
    assert log.epochs == [1, 2, 3]
    for old, new in zip(monitor.snapshots, log.snapshots, strict=True):
        same(new, old)
    pd.testing.assert_frame_equal(log.record, monitor.record)
    assert {"train_loss", "valid_ic", "lr"} <= set(log.record)
    assert log.card()["probe"]["features"] == ["a", "b", "c"]
    assert "its training over" in repr(log)
    kept, exact = log.states(3), monitor.states
    torch.testing.assert_close(kept.layers[0].hidden, exact.layers[0].hidden, rtol=2**-10, atol=1e-6)
