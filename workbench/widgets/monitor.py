"""The gates of a model while it is trained: curves, findings and panels that follow the epochs."""

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pandas as pd

from workbench.gates.log import GateLog
from workbench.gates.monitor import GateMonitor
from workbench.gates.snapshots import Snapshot
from workbench.gates.states import GateStates
from workbench.widgets.assets import script, style
from workbench.widgets.cellends import CellEnds
from workbench.widgets.monitordata import Story
from workbench.widgets.monitorstate import MonitorState
from workbench.widgets.monitorwords import (
    MOST_FINDINGS,
    cost_line,
    findings_line,
    findings_told,
    most_epochs,
    progress_line,
    thinned_line,
)
from workbench.widgets.pacing import Pacer
from workbench.widgets.worker import in_words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 110
LOOK = 1.0  # seconds between two looks at a log that another process writes


class MonitorWidget(MonitorState):
    """A training from inside, as it goes on: losses, gradient norms by gate, findings, and the gates.

    It follows a `GateMonitor` also while the cell that trains blocks the kernel, at most twice a second; the
    last state always arrives. Layers, gates, epochs and units are chosen in the browser, which needs no
    kernel for it. Panels show gates averaged over the probe's windows, unit by bar, a byte a cell. A page
    holds at most 1 MB of them: beyond that every second epoch's are dropped, as it then says.

    Parameters
    ----------
    source
        A `GateMonitor`, before, while or after it watches a training; or a `GateLog`, whose training another
        process may still be going through.
    stop
        What `fit(stop=…)` was given: a button then sets it. It works where training runs in a thread; a cell
        that blocks is interrupted from the notebook's menu.

    Attributes
    ----------
    layer, gate
        Which are shown: the layer's name, the first for ""; a gate's, or "" for all.
    epoch
        Whose panels are shown: the nearest that is kept, and the newest for 0.
    unit
        The unit that is marked; −1 for none.
    phase
        "waiting", "running", "finished", "interrupted" or "failed"; "open" of a log whose training goes on or
        was cut off.
    error
        What went wrong, in words.

    Raises
    ------
    TypeError
        The source is neither of the two.

    Notes
    -----
    The picture beside the widget, for where none runs, is of the moment of display. After
    `shown = display(widget, display_id=True)`, training and `shown.update(widget)`, a saved notebook has that
    of the end.

    Examples
    --------
    >>> monitor = wb.GateMonitor(valid)
    >>> wb.MonitorWidget(monitor)  # doctest: +SKIP
    >>> wb.fit(model, train, valid, callbacks=[monitor])  # doctest: +SKIP
    """

    _esm = script("monitor.js")
    _css = style()

    def __init__(self, source: object, stop: threading.Event | None = None) -> None:
        self._left = threading.Event()  # set once the widget is closed
        if not isinstance(source, GateMonitor | GateLog):
            raise TypeError(
                f"source must be a GateMonitor or a GateLog, got {type(source).__name__}. "
                "GateLog.open(folder) reads what a monitor with a folder writes."
            )
        super().__init__(stoppable=stop is not None)
        self.source: GateMonitor | GateLog = source
        self._stop, self._story, self._lock = stop, Story(), threading.RLock()
        self._trainer: int | None = None  # the thread that trains
        self._pacer = Pacer(self._flush)
        self._cells = CellEnds(self._cell_ended)
        self.on_msg(self._asked)
        if isinstance(source, GateMonitor):
            source.listeners.append(self)
            self._cells.begin()
            self.phase = "running" if source.watching else "finished" if source.snapshots else "waiting"
        self.refresh()
        if isinstance(source, GateLog) and not source.over:
            threading.Thread(target=self._follow, name="workbench gate log", daemon=True).start()

    # What the monitor tells, in the thread that trains --------------------------------------------

    def on_snapshot(self, monitor: GateMonitor, snapshot: Snapshot, states: GateStates) -> None:
        """Take in an epoch, and show it as soon as the last refresh is half a second ago."""
        with self._told():
            self._going_on(snapshot.epoch)
            with self._lock:
                if not self._story.looked and len(monitor.snapshots) > 1:  # resumed: earlier epochs are known
                    self._catch_up(monitor.log)
                self._story.add(snapshot, states)
            self._pacer.wish()

    def on_batch(self, monitor: GateMonitor) -> None:
        """Show what has waited, and epochs whose gates were not looked at."""
        with self._told():
            self._going_on(monitor.epoch + 1)
            if monitor.epoch > max(self._story.rows, default=0):
                self._pacer.wish()
            self._pacer.tick()

    def on_end(self, monitor: GateMonitor) -> None:
        """Show the last state."""
        with self._told():
            self._turn("finished")
            self._pacer.now()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Show an error in place; the monitor, which keeps it too, lets training go on."""
        try:
            yield
        except Exception as error:
            self.error = f"This display failed: {in_words(error)}"
            raise

    def _going_on(self, epoch: int) -> None:
        """Notice that training goes on, or that another one began."""
        self._trainer = threading.get_ident()
        with self._lock:
            if epoch < max(self._story.rows, default=0):
                self._story.forget()
                self.epoch, self.unit = 0, -1
            if self.phase != "running":
                self.error, self.phase = "", "running"

    def _cell_ended(self, error: BaseException | None) -> None:
        """Say how a cell ended that trained and did not come to its end."""
        if self._trainer != threading.get_ident():
            return
        self._trainer = None  # what fails in later cells is none of this training's
        if self.phase != "running" or error is None:
            return
        if isinstance(error, KeyboardInterrupt):
            self._turn("interrupted")
        else:
            self._turn("failed", in_words(error))
        self._pacer.now()

    def _turn(self, phase: str, error: str | None = None) -> None:
        with self._lock:
            self.phase = phase
            if error is not None:
                self.error = error

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take over what was chosen in the page, which may come in another thread than training."""
        with self._lock:
            super().set_state(sync_data)

    # What is shown --------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Read what the log has by now that is not shown yet, and show it."""
        log = self._log()
        if log is not None:
            with self._lock:
                self._catch_up(log)
        self._pacer.now()

    def _catch_up(self, log: GateLog) -> None:
        epochs = log.epochs
        if self._story.looked and self._story.looked != epochs[: len(self._story.looked)]:
            self._story.forget()  # another training, or one that went on from an earlier checkpoint
        for number in range(len(self._story.looked), len(epochs)):
            wanted = number == 0 or self._story.places.wants(number, len(epochs))
            states = log.states(epochs[number]) if wanted else None
            self._story.add(log.snapshot(epochs[number]), states)

    def _flush(self) -> None:
        """Hand everything that changed to the page, in one message."""
        if self._left.is_set():
            return
        with self._told(), self._lock, self.hold_sync():
            record = self.source.record
            self._story.add_passed(record)
            for slot, panel in self._story.taken_slots().items():
                setattr(self, f"panel_{slot}", panel)
            self.layers, self.columns = self._story.layers, list(self._story.columns)
            self.settled, self.recent = self._story.curves()
            self._say(record)

    def _say(self, record: pd.DataFrame) -> None:
        source, story = self.source, self._story
        if isinstance(source, GateLog):
            overhead, share = _last(record, "overhead"), None
            epochs = most_epochs(record, source.snapshot(story.looked[-1]) if story.looked else None)
            self.phase = "finished" if source.over else "open" if story.rows else "waiting"
        else:
            overhead, epochs = source.overhead, source.epochs
            share = source.budget.share if source.every is None else None  # else nothing is left out for it
            if source.errors and not self.error:
                self.error = f"Watching went wrong in {source.errors[-1]}"
        self.status = " · ".join(filter(None, [progress_line(story, epochs), cost_line(overhead, share)]))
        self.thinned = thinned_line(record, story)
        told = findings_told(source.findings, story.looked, [layer["name"] for layer in story.layers])
        self.findings, self.findings_told = (
            told[:MOST_FINDINGS],
            findings_line(told, story.looked, len(record)),
        )

    def _log(self) -> GateLog | None:
        if isinstance(self.source, GateLog):
            return self.source
        return self.source.log if self.source.snapshots else None

    def _follow(self) -> None:
        """Look once a second whether another process has written an epoch."""
        source = self.source
        assert isinstance(source, GateLog)
        seen: list[int] | None = None
        while not self._left.wait(LOOK):
            try:
                over, epochs = source.over, source.epochs
                if epochs != seen or over:
                    self.refresh()
                    seen, self.error = epochs, ""
                if over:
                    return
            except Exception as error:  # noqa: BLE001  (a thread has no caller: whatever fails is told to the user)
                self.error = f"The log can't be read: {in_words(error)}"

    def snapshot(self) -> "Figure":
        """Draw what is chosen as a static picture."""
        from workbench.widgets.monitorpicture import draw_monitor

        with self._lock:
            wrong = [found["text"] for found in self.findings if found["current"]]
            return draw_monitor(self._story, self.layer, self.epoch, self.status, wrong)

    def _asked(self, widget: Any, content: Any, buffers: Any) -> None:
        if self._stop is not None and content == {"ask": "stop"}:
            self._stop.set()

    def close(self) -> None:
        """Leave the page, and hear no more of the training."""
        if not self._left.is_set() and self.comm is not None:  # else it never came to be one
            self._left.set()
            self._pacer.drop()
            self._cells.end()
            if isinstance(self.source, GateMonitor) and self in self.source.listeners:
                self.source.listeners.remove(self)
        super().close()

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict, dict] | None:
        """Return the widget and, for where none runs, its picture as it is now."""
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is None:
            return None
        file = BytesIO()
        self.snapshot().savefig(file, format="png", dpi=DPI)
        picture = base64.b64encode(file.getvalue()).decode("ascii")
        return {**bundle[0], "image/png": picture}, bundle[1]


def _last(record: pd.DataFrame, column: str) -> float:
    return float(record[column].iloc[-1]) if len(record) else float("nan")
