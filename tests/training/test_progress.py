import io
import sys
import threading
import types

import pytest

from workbench.training import progress
from workbench.training.checkpoints import ensure_model
from workbench.training.fitting import fit
from workbench.training.progress import ProgressLine, bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def impatient(monkeypatch):
    """Show every line, however soon it comes."""
    monkeypatch.setattr(progress, "INTERVAL", 0.0)


@pytest.fixture
def notebook(monkeypatch):
    """Return the lines that a notebook shows, each in the place of the one before."""
    shown = []
    handle = types.SimpleNamespace(update=lambda data, raw: shown.append(data))
    display = types.ModuleType("IPython.display")
    display.display = lambda data, raw, display_id: handle
    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return shown


@pytest.mark.parametrize(("done", "full"), [(0, 0), (0.5, 10), (1, 20), (1.7, 20), (-1, 0)])
def test_a_bar_shows_the_share_done(done, full):
    assert bar(done) == "█" * full + "░" * (20 - full)


def test_a_terminal_line_is_rewritten_and_ends_once(monkeypatch, impatient, parts, linear):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    fit(linear(), *parts[:2], epochs=2, batch_size=40)
    lines = terminal.getvalue().split("\r")[1:]
    assert len(lines) > 4
    assert [line.endswith("\n") for line in lines] == [False] * (len(lines) - 1) + [True]
    assert lines[0].startswith("███░")  # one of three batches of the first of two epochs
    assert "epoch 1 of 2 · first epoch" in lines[0]
    assert "epoch 2 of 2 · valid_loss" in lines[-1]
    assert lines[-1].startswith("█" * 20)


def test_a_notebook_line_is_updated_as_plain_text(impatient, notebook, parts, linear):
    fit(linear(), *parts[:2], epochs=2, batch_size=40)
    assert {tuple(data) for data in notebook} == {("text/plain",)}
    assert "epoch 2 of 2 · valid_loss" in notebook[-1]["text/plain"]


def test_lines_come_at_most_five_times_a_second(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(sys, "stderr", Terminal())
    line = ProgressLine()
    assert line.due()
    line.write("one")
    now[0] += 0.19
    assert not line.due()
    now[0] += 0.02
    assert line.due()


def test_a_log_file_gets_nothing(monkeypatch, parts, linear):
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    fit(linear(), *parts[:2], epochs=1)
    assert log.getvalue() == ""


def test_progress_can_be_turned_off(monkeypatch, impatient, parts, linear):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    fit(linear(), *parts[:2], epochs=1, progress=False)
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_function_is_told_of_every_epoch(make_windows, linear, task):
    train, valid, _ = make_windows(task=task).split(0.7, 0.85)
    told = []
    model = linear(3 if task == "classification" else 1)
    history = fit(model, train, valid, epochs=3, progress=lambda *epoch: told.append(epoch))
    assert [(epoch, epochs) for epoch, epochs, _ in told] == [(1, 3), (2, 3), (3, 3)]
    for epoch, _, row in told:
        assert row == history.epochs.loc[epoch].to_dict()


def test_a_function_shows_no_line(monkeypatch, impatient, parts, linear):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    fit(linear(), *parts[:2], epochs=1, progress=lambda epoch, epochs, row: None)
    assert terminal.getvalue() == ""


def test_the_last_epoch_before_an_early_stop_is_told_too(parts, linear):
    told = []
    history = fit(
        linear(), *parts[:2], epochs=60, lr=1.0, patience=2, progress=lambda *epoch: told.append(epoch)
    )
    assert history.stopped == "early"
    assert len(told) == len(history.epochs)


def test_a_function_may_stop_the_training(parts, linear):
    stop = threading.Event()
    history = fit(linear(), *parts[:2], stop=stop, epochs=9, progress=lambda epoch, epochs, row: stop.set())
    assert history.stopped == "cancelled"
    assert len(history.epochs) == 1


def test_who_is_told_does_not_change_what_a_model_is_recognised_by(parts, tmp_path):
    told = []
    options = {"folder": tmp_path, "epochs": 2, "hidden_size": 4}
    ensure_model("lstm", *parts[:2], progress=False, **options)
    ensure_model("lstm", *parts[:2], progress=lambda *epoch: told.append(epoch), **options)
    assert told == []
    assert len(list(tmp_path.iterdir())) == 1
