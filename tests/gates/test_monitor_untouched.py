import signal
import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import pytest
import torch
from skorch.callbacks import Callback
from trainings import OPTIONS, At, digest, model_of, parts_of, plain, windows_of

from workbench.environment import ROOT
from workbench.features.concepts import with_concepts
from workbench.features.windows import Windows
from workbench.gates.log import GateLog
from workbench.gates.monitor import GateMonitor
from workbench.training.fitting import fit

TIMED = ("seconds",)  # figures that no two runs share


def compare(a, b):
    """Assert that two logs hold the same, but for clocks and what only two looks in a row can tell."""
    assert a.epochs == b.epochs
    for epoch in a.epochs:
        one, other = a.snapshot(epoch), b.snapshot(epoch)
        assert (one.step, one.progress) == (other.step, other.progress)
        for table in ("units", "weights", "inputs", "lags"):
            frames = [getattr(each, table).drop(columns="frozen", errors="ignore") for each in (one, other)]
            pd.testing.assert_frame_equal(*frames, check_exact=True)
        figures = [{k: v for k, v in each.figures.items() if k not in TIMED} for each in (one, other)]
        assert figures[0] == figures[1]


@pytest.mark.parametrize("every", [1, None])
@pytest.mark.parametrize(
    ("name", "task", "options"),
    [
        ("lstm", "classification", {"n_layers": 2, "dropout": 0.3}),
        ("gru", "regression", {"n_layers": 2, "dropout": 0.3}),
        ("alstm", "classification", {"dropout": 0.3}),
        ("alstm", "regression", {"rnn": "gru", "dropout": 0.3}),
    ],
)
def test_the_weights_are_those_of_a_training_that_nobody_watched(name, task, options, every):
    parts = parts_of(task=task)
    alone = plain(parts, model_of(parts, name, **options))
    torch.manual_seed(17)
    before = torch.get_rng_state()
    monitor = GateMonitor(parts[1], every=every)
    model = model_of(parts, name, **options)
    assert plain(parts, model, callbacks=[monitor]) == alone
    assert torch.equal(torch.get_rng_state(), before)
    assert len(monitor.snapshots) >= 1
    assert monitor.errors == []
    assert not model._forward_hooks
    assert all(not p._post_accumulate_grad_hooks for p in model.parameters())


def test_a_cancelled_training_is_left_as_it_was_too():
    parts, digests = parts_of(), []
    for watch in (False, True):
        stop, model = threading.Event(), model_of(parts, "alstm")
        monitors = [GateMonitor(parts[1], every=1)] if watch else []
        history = fit(
            model, *parts, stop=stop, callbacks=[At(2, stop.set), *monitors], **OPTIONS | {"epochs": 9}
        )
        assert history.stopped == "cancelled"
        digests.append(digest(model))
    assert digests[0] == digests[1]
    assert [s.epoch for s in monitors[0].snapshots] == [1]
    assert monitors[0].log.over
    assert not monitors[0].watching


def test_a_resumed_training_is_left_as_it_was_and_its_log_goes_on(tmp_path):
    parts = parts_of()
    alone = plain(parts, model_of(parts, dropout=0.3), epochs=5)
    whole = GateMonitor(parts[1], tmp_path / "whole", every=2)
    assert plain(parts, model_of(parts, dropout=0.3), epochs=5, callbacks=[whole]) == alone

    class Cut(Exception):
        pass

    def cut():
        raise Cut

    first, again = (GateMonitor(parts[1], tmp_path / "log", every=2) for _ in range(2))
    kept = {"epochs": 5, "checkpoint": tmp_path / "run"}
    with pytest.raises(Cut):
        plain(parts, model_of(parts, dropout=0.3), callbacks=[first, At(4, cut)], **kept)
    assert GateLog.open(tmp_path / "log").epochs == [1, 2, 3]
    assert plain(parts, model_of(parts, dropout=0.3), callbacks=[again], **kept) == alone
    compare(again.log, whole.log)
    assert [s.epoch for s in again.snapshots] == [1, 2, 3, 4, 5]
    assert list(again.record.index) == [1, 2, 3, 4, 5]


KILLED = """
import os, signal, sys
sys.path.insert(0, "tests/gates")
from skorch.callbacks import Callback
from trainings import model_of, parts_of
from workbench.gates.monitor import GateMonitor
from workbench.training.fitting import fit

class Kill(Callback):
    def on_batch_end(self, net, training=False, **kwargs):
        if training and len(net.history) == 4 and len(net.history[-1]["batches"]) == 2:
            os.kill(os.getpid(), signal.SIGKILL)

parts = parts_of()
monitor = GateMonitor(parts[1], sys.argv[1] + "/log", every=2)
fit(model_of(parts, dropout=0.3), *parts, checkpoint=sys.argv[1] + "/run", callbacks=[monitor, Kill()],
    epochs=5, batch_size=16, lr=0.01, progress=False)
"""


def test_a_training_killed_in_the_middle_of_an_epoch_loses_and_repeats_none(tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    log = GateLog.open(tmp_path / "log")
    assert log.epochs == [1, 2, 3]
    assert not log.over
    parts = parts_of()
    again, whole = GateMonitor(parts[1], tmp_path / "log", every=2), GateMonitor(parts[1], every=2)
    kept = {"epochs": 5, "checkpoint": tmp_path / "run"}
    resumed = plain(parts, model_of(parts, dropout=0.3), callbacks=[again], **kept)
    assert plain(parts, model_of(parts, dropout=0.3), epochs=5, callbacks=[whole]) == resumed
    compare(again.log, whole.log)
    assert list(log.record["taken"]) == [True] * 5
    assert log.over


def test_an_epoch_written_before_the_checkpoint_of_it_is_not_kept_twice(tmp_path):
    parts = parts_of()

    class Cut(Exception):
        pass

    class AfterLook(Callback):  # runs between the monitor and what saves the state
        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == 3:
                raise Cut

    kept = {"epochs": 4, "checkpoint": tmp_path / "run"}
    first, again = (GateMonitor(parts[1], tmp_path / "log", every=1) for _ in range(2))
    with pytest.raises(Cut):
        plain(parts, model_of(parts), callbacks=[first, AfterLook()], **kept)
    assert first.log.epochs == [1, 2, 3]
    plain(parts, model_of(parts), callbacks=[again], **kept)
    assert [s.epoch for s in again.snapshots] == again.log.epochs == list(again.record.index) == [1, 2, 3, 4]
    assert again.log.units.index.is_unique


def test_epochs_whose_record_was_lost_are_told_from_the_checkpoint(tmp_path):
    parts = parts_of()
    kept = {"checkpoint": tmp_path / "run"}
    stop = threading.Event()
    fit(model_of(parts), *parts, stop=stop, callbacks=[At(3, stop.set)], **OPTIONS | kept)
    monitor = GateMonitor(parts[1], tmp_path / "late", every=1)
    history = fit(model_of(parts), *parts, callbacks=[monitor], **OPTIONS | kept)
    assert list(monitor.record["taken"]) == [False, False, True]
    assert monitor.record.loc[2, "why"] == "not written before the process ended"
    assert list(monitor.record["train_loss"]) == list(history.epochs["train_loss"])
    pd.testing.assert_frame_equal(monitor.log.record, monitor.record)
    assert monitor.snapshots[0].step == 3 * -(-len(parts[0]) // 16)


@pytest.mark.parametrize("name", ["gats", "tra", "hist"])
def test_models_that_read_days_are_watched_by_whole_days(name):
    windows = windows_of(bars=60, task="regression", tickers=("A", "B", "C", "D", "E"))
    if name == "hist":
        windows = concept_windows()
    parts, options = windows.split(0.7, 0.85)[:2], {"router": "latent"} if name == "tra" else {}
    alone, model = model_of(parts, name, **options), model_of(parts, name, **options)
    fit(alone, *parts, epochs=2, progress=False)
    monitor = GateMonitor(parts[1], every=1)
    fit(model, *parts, epochs=2, progress=False, callbacks=[monitor])
    assert digest(model) == digest(alone)
    assert [s.epoch for s in monitor.snapshots] == [1, 2]
    assert monitor.errors == []
    assert not monitor.snapshots[-1].units["hidden_mean"].isna().any()


def concept_windows():
    rng = np.random.default_rng(0)
    dates, tickers = pd.bdate_range("2010-01-04", periods=40, name="date"), ["A", "B", "C", "D"]
    index = pd.MultiIndex.from_product([dates, tickers], names=["date", "ticker"])
    features = pd.DataFrame(rng.normal(size=(len(index), 2)), index, ["a", "b"])
    features.attrs["provenance"] = {"source": "sample", "ticker": tickers, "sha256": "0", "interval": "1d"}
    labels = pd.Series(0.01 * rng.normal(size=len(index)), index)
    labels.attrs = {"task": "regression", "horizon": 1, "classes": []}
    membership = pd.DataFrame(
        {"ticker": tickers, "concept": ["x", "x", "y", "y"], "since": pd.Timestamp("2009-01-01")}
    )
    return Windows.of(with_concepts(features, membership), labels, 5)
