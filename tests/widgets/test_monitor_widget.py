"""The monitor's widget: what reaches the page while a training goes on, and when."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import traitlets
from made_gates import Loop, Scripted, finding_of

import workbench.widgets.monitor as module
from workbench.gates.course import Course
from workbench.gates.log import GateLog
from workbench.gates.monitor import GateMonitor
from workbench.models.registry import build_model
from workbench.training.fitting import fit
from workbench.widgets.monitor import MonitorWidget
from workbench.widgets.monitordata import SLOTS

PANELS = {f"panel_{i}" for i in range(SLOTS)}


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    """Half a second is over when the clock says so; no timer comes by meanwhile."""
    clock = Clock()
    made = module.Pacer
    monkeypatch.setattr(module, "Pacer", lambda act: made(act, 0.5, clock))
    monkeypatch.setattr(threading.Timer, "start", lambda timer: None)
    return clock


@pytest.fixture(autouse=True)
def closed():
    yield
    MonitorWidget.close_all()


def listening(widget):
    """The states that are sent from now on."""
    sent = []
    widget._send = lambda message, buffers=None: (
        sent.append((message["state"], buffers)) if message["method"] == "update" else None
    )
    return sent


def shown(widget):
    """The epochs whose panels the page has."""
    slots = [getattr(widget, name) for name in PANELS]
    return sorted(int(np.frombuffer(slot[:4], "<i4")[0]) for slot in slots if slot)


def curves(widget):
    """The table as the page reads it."""
    return np.frombuffer(widget.settled + widget.recent).reshape(-1, len(widget.columns))


def until(check):
    """Wait for what another thread does."""
    end = time.monotonic() + 20
    while not check() and time.monotonic() < end:
        time.sleep(0.02)


@pytest.fixture
def monitor(windows, tmp_path):
    return GateMonitor(windows, tmp_path / "log", every=1)


def test_every_epoch_of_a_training_is_shown_with_its_numbers(monitor, windows):
    widget = MonitorWidget(monitor)
    assert (widget.phase, widget.status) == ("waiting", "No epoch is over yet.")
    Loop(monitor, windows).run(5)
    assert shown(widget) == [1, 2, 3, 4, 5]
    table = dict(zip(widget.columns, curves(widget).T, strict=True))
    np.testing.assert_array_equal(table["epoch"], [1, 2, 3, 4, 5])
    wanted = [snapshot.figures["train_loss"] for snapshot in monitor.snapshots]
    np.testing.assert_array_equal(table["train_loss"], wanted)
    blocks = monitor.snapshots[2].weights["gradient_norm"].xs("forget", level="gate")
    assert table["norm|lstm.l0|forget"][2] == pytest.approx(np.sqrt((blocks**2).sum()), rel=1e-12)
    gates = monitor.states["lstm.l0"].gates["forget"].mean(dim=0).T
    np.testing.assert_allclose(widget._story.panels[5][0].values("forget"), gates, atol=1 / 500)
    assert widget.phase == "finished"
    assert widget.status.startswith("Epoch 5 · training loss")
    assert widget.findings_told == "Nothing was found wrong."


def test_refreshes_are_half_a_second_apart_and_the_last_state_arrives(monitor, windows, clock):
    widget, loop = MonitorWidget(monitor), Loop(monitor, windows)
    loop.begin()
    clock.now += 1
    loop.epoch()
    sent = listening(widget)
    for _ in range(4):
        clock.now += 0.1
        loop.epoch()
    assert sum("status" in state for state, _ in sent) == 0
    clock.now += 0.2
    loop.epoch()
    assert sum("status" in state for state, _ in sent) == 1
    clock.now += 0.1
    loop.epoch()
    monitor.end()
    assert sum("status" in state for state, _ in sent) == 2
    assert shown(widget) == [1, 2, 3, 4, 5, 6, 7]
    assert len(curves(widget)) == 7


def test_only_the_bytes_of_new_epochs_are_sent(monitor, windows, clock):
    widget, loop = MonitorWidget(monitor), Loop(monitor, windows)
    loop.begin()
    for _ in range(3):
        clock.now += 1
        loop.epoch()
    sent = listening(widget)
    clock.now += 1
    loop.epoch()
    ((state, buffers),) = sent
    assert PANELS & set(state) == set()  # bytes go beside the state
    assert not {"layers", "columns", "settled"} & set(state)
    panel = [buffer for buffer in buffers if len(buffer) == len(widget.panel_3)]
    assert panel == [widget.panel_3]


def test_an_epoch_that_waits_is_shown_by_a_timer(monitor, windows, monkeypatch):
    made = module.Pacer
    monkeypatch.setattr(module, "Pacer", lambda act: made(act, 0.1))
    widget, loop = MonitorWidget(monitor), Loop(monitor, windows)
    loop.begin()
    for _ in range(3):
        loop.epoch()
    until(lambda: shown(widget) == [1, 2, 3])
    assert shown(widget) == [1, 2, 3]
    assert widget.phase == "running"


def test_epochs_that_were_not_looked_at_are_told_with_their_losses(windows, tmp_path, clock):
    monitor = GateMonitor(windows, tmp_path / "log", budget=1e-9)
    widget = MonitorWidget(monitor)
    Loop(monitor, windows).run(4)
    table = dict(zip(widget.columns, curves(widget).T, strict=True))
    np.testing.assert_array_equal(table["taken"], [1, 0, 0, 0])
    assert np.isfinite(table["train_loss"]).all()
    assert np.isnan(table["norm|lstm.l0|input"][1:]).all()
    assert shown(widget) == [1]
    assert "the gates were not looked at in 3 of 4 epochs" in widget.thinned
    assert widget.findings_told == "Nothing was found wrong in the 1 of 4 epochs looked at."
    assert "of at most 1e-07 %" in widget.status


def test_findings_are_told_with_their_layer(windows, tmp_path):
    found = [finding_of(1, "norm"), finding_of(2, "spread", 3.0, units=(4, 5)), finding_of(2, "norm", 7.0)]
    monitor = GateMonitor(windows, tmp_path / "log", every=1, detector=Scripted(*found))
    widget = MonitorWidget(monitor)
    Loop(monitor, windows).run(2)
    assert [told["text"] for told in widget.findings] == [str(found[2]), str(found[1])]
    assert [(told["layer"], told["unit"], told["since"]) for told in widget.findings] == [
        ("lstm.l0", None, 1),
        ("lstm.l0", 4, 2),
    ]
    assert widget.findings_told == "2 found wrong in epoch 2."


def test_two_widgets_follow_one_monitor_and_one_that_is_closed_hears_no_more(monitor, windows, clock):
    first, second, loop = MonitorWidget(monitor), MonitorWidget(monitor), Loop(monitor, windows)
    loop.begin()
    clock.now += 1
    loop.epoch()
    first.close()
    assert monitor.listeners == [second]
    loop.epoch()
    monitor.end()
    assert (shown(first), shown(second)) == ([1], [1, 2])
    assert monitor.errors == []
    first.close()  # a second time does no harm


def test_a_widget_made_late_shows_what_was(monitor, windows):
    loop = Loop(monitor, windows)
    loop.begin()
    for _ in range(3):
        loop.epoch()
    widget = MonitorWidget(monitor)
    assert shown(widget) == [1, 2, 3]
    assert widget.phase == "running"
    loop.epoch()
    monitor.end()
    assert shown(widget) == [1, 2, 3, 4]


def test_another_training_begins_the_story_anew(monitor, windows, tmp_path):
    widget = MonitorWidget(monitor)
    Loop(monitor, windows).run(4)
    monitor.folder = tmp_path / "other"
    Loop(monitor, windows, units=9).run(2)
    assert shown(widget) == [1, 2]
    assert widget.layers[0]["units"] == 9
    assert len(curves(widget)) == 2


class StopAfter:
    """A listener that ends training after an epoch."""

    def __init__(self, epoch: int, stop: threading.Event) -> None:
        self.epoch, self.stop = epoch, stop

    def on_snapshot(self, monitor, snapshot, states):
        if snapshot.epoch == self.epoch:
            self.stop.set()

    def on_batch(self, monitor):
        pass

    def on_end(self, monitor):
        pass


def test_a_training_that_is_resumed_is_shown_with_what_was_before(windows, tmp_path):
    train, valid = windows[:60], windows[80:120]
    folders = {"checkpoint": tmp_path / "state", "progress": False, "patience": None}
    for epochs in (2, 4):
        stop = threading.Event()
        monitor = GateMonitor(valid, tmp_path / "log", every=1)
        widget = MonitorWidget(monitor)
        model = build_model("gru", windows, hidden_size=5, n_layers=1, seed=0)
        monitor.listeners.append(StopAfter(2 if epochs == 2 else 9, stop))
        fit(model, train, valid, epochs=4, stop=stop, callbacks=[monitor], **folders)
        assert shown(widget) == list(range(1, epochs + 1))
        assert monitor.errors == []


def test_fit_is_followed_and_comes_to_the_same_weights(windows, tmp_path):
    train, valid = windows[:60], windows[80:120]
    weights = []
    for watched in (True, False):
        model = build_model("gru", windows, hidden_size=5, n_layers=2, seed=0)
        monitor = GateMonitor(valid, tmp_path / "log", every=1)
        widget = MonitorWidget(monitor)
        fit(model, train, valid, epochs=2, progress=False, callbacks=[monitor] if watched else [])
        weights.append(model.state_dict())
        if watched:
            assert shown(widget) == [1, 2]
            assert [layer["name"] for layer in widget.layers] == ["gru.l0", "gru.l1"]
            assert widget.status.startswith("Epoch 2 of at most 2 · ")
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


# How a cell ends ------------------------------------------------------------------------------------


@pytest.fixture
def cells(monkeypatch):
    """A notebook whose cells end as told."""
    heard = []
    events = SimpleNamespace(
        register=lambda event, act: heard.append(act) if event == "post_run_cell" else None,
        unregister=lambda event, act: heard.remove(act),
    )
    monkeypatch.setattr(
        "IPython.core.getipython.get_ipython", lambda: SimpleNamespace(events=events, kernel=None)
    )
    heard_of = SimpleNamespace(heard=heard)
    heard_of.end = lambda error=None: [act(SimpleNamespace(error_in_exec=error)) for act in list(heard)]
    return heard_of


@pytest.mark.parametrize(
    ("error", "phase", "words"),
    [
        (FloatingPointError("The loss became nan in epoch 3."), "failed", "The loss became nan in epoch 3."),
        (KeyboardInterrupt(), "interrupted", ""),
        (None, "running", ""),
    ],
)
def test_a_cell_that_ends_in_an_error_says_so_in_place(cells, monitor, windows, clock, error, phase, words):
    widget, loop = MonitorWidget(monitor), Loop(monitor, windows)
    loop.begin()
    clock.now += 1
    loop.epoch()
    loop.epoch()
    assert shown(widget) == [1]
    cells.end(error)
    assert (widget.phase, widget.error) == (phase, words)
    assert shown(widget) == ([1] if error is None else [1, 2])
    clock.now += 1
    loop.epoch()
    assert (widget.phase, widget.error) == ("running", "")
    monitor.end()
    assert shown(widget) == [1, 2, 3]


def test_a_later_cell_that_fails_says_nothing_of_the_training(cells, monitor, windows):
    widget, loop = MonitorWidget(monitor), Loop(monitor, windows)
    loop.begin()
    loop.epoch()
    cells.end()
    cells.end(ValueError("of another cell"))
    assert (widget.phase, widget.error) == ("running", "")


def test_a_cell_that_did_not_train_says_nothing_of_the_training(cells, monitor, windows):
    widget, loop = MonitorWidget(monitor), Loop(monitor, windows)
    training = threading.Thread(target=lambda: (loop.begin(), loop.epoch()))
    training.start()
    training.join()
    cells.end(ValueError("of another cell"))
    assert (widget.phase, widget.error) == ("running", "")
    monitor.end()
    cells.end(ValueError("of another cell"))
    assert (widget.phase, widget.error) == ("finished", "")
    widget.close()
    assert cells.heard == []


def test_an_error_of_the_display_is_told_and_training_goes_on(monitor, windows, monkeypatch):
    widget, loop = MonitorWidget(monitor), Loop(monitor, windows)
    monkeypatch.setattr(widget._story, "add", lambda *_: 1 / 0)
    loop.begin()
    with pytest.warns(RuntimeWarning, match="MonitorWidget"):
        loop.epoch()
    assert widget.error == "This display failed: division by zero"
    assert loop.monitor.epoch == 1


def test_an_error_in_watching_is_told(windows, tmp_path):
    class Broken:
        def check(self, snapshot):
            raise ValueError("no such signal")

    monitor = GateMonitor(windows, tmp_path / "log", every=1, detector=Broken())
    widget, loop = MonitorWidget(monitor), Loop(monitor, windows)
    loop.begin()
    with pytest.warns(RuntimeWarning, match="no such signal"):
        loop.epoch()
    monitor.end()
    assert "no such signal" in widget.error


# Logs -----------------------------------------------------------------------------------------------


def test_the_log_of_a_finished_training_is_shown(monitor, windows, tmp_path):
    live = MonitorWidget(monitor)
    Loop(monitor, windows).run(3)
    widget = MonitorWidget(GateLog.open(tmp_path / "log"))
    assert shown(widget) == [1, 2, 3]
    assert widget.phase == "finished"
    np.testing.assert_array_equal(curves(widget), curves(live))
    for mine, theirs in zip(widget._story.panels[3], live._story.panels[3], strict=True):
        assert (np.abs(mine.means.astype(int) - theirs.means.astype(int)) <= 1).all()


def test_a_log_says_how_long_its_training_may_be(monitor, windows, tmp_path):
    loop = Loop(monitor, windows)
    monitor.begin(loop.model, loop.optimizer, Course(epochs=7))
    for _ in range(3):
        loop.epoch()
    assert MonitorWidget(GateLog.open(tmp_path / "log")).status.startswith("Epoch 3 of at most 7 ·")
    monitor.end()


def test_the_log_of_a_training_that_goes_on_is_followed(monitor, windows, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LOOK", 0.02)
    loop = Loop(monitor, windows)
    loop.begin()
    loop.epoch()
    widget = MonitorWidget(GateLog.open(tmp_path / "log"))
    assert (shown(widget), widget.phase) == ([1], "open")
    loop.epoch()
    monitor.end()
    until(lambda: widget.phase == "finished")
    assert (shown(widget), widget.phase) == ([1, 2], "finished")


def test_following_ends_with_the_widget(monitor, windows, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LOOK", 0.02)
    loop = Loop(monitor, windows)
    loop.begin()
    loop.epoch()
    widget = MonitorWidget(GateLog.open(tmp_path / "log"))
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "workbench gate log"]
    widget.close()
    thread.join(5)
    assert not thread.is_alive()


def test_a_log_that_cannot_be_read_is_told_until_it_can(monitor, windows, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LOOK", 0.02)
    loop = Loop(monitor, windows)
    loop.begin()
    loop.epoch()
    widget = MonitorWidget(GateLog.open(tmp_path / "log"))
    (tmp_path / "log" / "0002.parquet").write_bytes(b"no parquet")
    until(lambda: widget.error)
    assert widget.error.startswith("The log can't be read: ")
    loop.epoch()
    until(lambda: not widget.error)
    assert (shown(widget), widget.error) == ([1, 2], "")


# The rest -------------------------------------------------------------------------------------------


def test_stop_is_set_from_the_page(monitor):
    stop = threading.Event()
    widget = MonitorWidget(monitor, stop)
    assert widget.stoppable
    widget._handle_custom_msg({"ask": "something else"}, [])
    assert not stop.is_set()
    widget._handle_custom_msg({"ask": "stop"}, [])
    assert stop.is_set()
    assert not MonitorWidget(monitor).stoppable


def test_the_picture_goes_with_the_widget(monitor, windows):
    widget = MonitorWidget(monitor)
    data, _ = widget._repr_mimebundle_()
    assert data["image/png"]
    Loop(monitor, windows).run(2)
    widget.epoch = 1
    figure = widget.snapshot()
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert [title for title in titles if title] == [
        f"{gate} of lstm.l0, epoch 1, mean of 16 windows"
        for gate in ("input", "forget", "candidate", "output")
    ]
    units = {ax.get_xlabel() for ax in figure.axes} | {ax.get_ylabel() for ax in figure.axes}
    assert {"Epoch", "Loss", "Gradient norm before clipping", "Unit"} <= units
    assert widget._repr_mimebundle_()[0]["image/png"] != data["image/png"]


def test_other_sources_layers_and_gates_are_refused_in_words(monitor, windows):
    with pytest.raises(TypeError, match="a GateMonitor or a GateLog, got str"):
        MonitorWidget("runs/gates")
    widget = MonitorWidget(monitor)
    Loop(monitor, windows).run(1)
    widget.layer, widget.gate = "lstm.l0", "forget"
    with pytest.raises(traitlets.TraitError, match=r"There are lstm\.l0\."):
        widget.layer = "lstm.l1"
    with pytest.raises(traitlets.TraitError, match="one of candidate, forget, input"):
        widget.gate = "cell"
    with pytest.raises(traitlets.TraitError):
        widget.epoch = -1
