"""Watching a training from inside: a probe's gates, the gradients, and who is to be told."""

import tempfile
import weakref
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from shutil import rmtree
from typing import SupportsFloat

import pandas as pd
from torch import nn
from torch.optim import Optimizer

from workbench.features.windows import Windows
from workbench.gates.budget import Budget
from workbench.gates.course import Course
from workbench.gates.detect import FiniteCheck
from workbench.gates.failures import Failures
from workbench.gates.findings import Finding
from workbench.gates.given import check_alerts, check_detector, check_windows_given, checked_every
from workbench.gates.hooks import TrainingHooks
from workbench.gates.listeners import Alerter, Checker, Listener
from workbench.gates.log import GateLog, record_frame
from workbench.gates.snapshots import Snapshot
from workbench.gates.states import GateStates
from workbench.gates.watch import Watch


class GateMonitor(TrainingHooks):
    """Watch the recurrent layers of a model while it is trained.

    Given to `fit(callbacks=[monitor])`, it looks after each epoch at the gates on a fixed probe: about 16
    labelled windows, evenly chosen; of a model that reads a day's stocks together, one day or a few. At some
    steps it measures the gradient of every gate before it is clipped, and what the optimiser changed. All
    goes into a log that other processes may read meanwhile. Training comes to the same weights as without,
    to the last bit.

    Parameters
    ----------
    probe
        Windows to choose from, as the model reads them: those of validation, say.
    folder
        Where the log is kept. With `fit(checkpoint=…)` a training that was killed goes on with it: no epoch
        is lost and none stands there twice. None keeps it in a temporary folder, as long as the monitor.
    budget
        What watching may cost, as a share of the time that training takes by itself. The costs are measured,
        and steps and epochs are left out so that they stay below it. The first step and the first epoch are
        always looked at: in a training so short that this alone is more than the budget, `overhead` stays
        above it and there is no second look. Where a detector or alerts saw fewer than three epochs for it,
        a UserWarning says so at the end. Some microseconds a step remain in any case. `record` says which
        epochs were left out, and what watching had cost by each.
    every
        Measure one step in so many and look after every epoch, whatever that costs. None keeps to the budget.
    detector
        What has `check(snapshot)`, such as a calibrated `RobustRules`. None looks for NaN and infinity.
    alerts
        What has `observe(findings, epoch)`, such as `Alerts`.

    Attributes
    ----------
    listeners
        Who is told of every look: see `Listener`. Append to it.
    errors
        What went wrong in watching, in the log, the detector, the alerts or a listener. It never ends a
        training: a RuntimeWarning names the first of a kind, and all are kept here.

    Raises
    ------
    TypeError, ValueError
        The probe is no Windows, the detector cannot check or is not calibrated, alerts cannot observe, or
        `every` or `budget` is out of range.

    Notes
    -----
    In a loop of one's own: `begin(model, optimizer)` before it, `end_epoch(figures)` after each epoch,
    `end()` after it. Steps are seen by hooks on the optimiser.

    Where `fit` gives up because the loss is no finite number, the model is looked at as it then is.

    Examples
    --------
    >>> monitor = GateMonitor(valid, "runs/gates/aapl")
    >>> history = fit(model, train, valid, callbacks=[monitor])
    >>> monitor.log.units.loc[:, "forget_mean"].groupby("epoch").mean()
    """

    def __init__(
        self,
        probe: Windows,
        folder: str | PathLike[str] | None = None,
        *,
        budget: float | int = 0.02,
        every: int | None = None,
        detector: Checker | None = None,
        alerts: Alerter | None = None,
    ):
        check_windows_given(probe)
        check_detector(detector)
        check_alerts(alerts)
        self.probe = probe
        self.folder = None if folder is None else Path(folder)
        self.budget = Budget(budget)
        self.every = checked_every(every)
        self.detector: Checker = FiniteCheck() if detector is None else detector
        self.alerts = alerts
        self.listeners: list[Listener] = []
        self.errors = Failures()
        self._watch: Watch | None = None

    @property
    def watching(self) -> bool:
        """Whether a training goes on."""
        return self._watch is not None and not self._watch.over

    @property
    def epoch(self) -> int:
        """Epochs that are over."""
        return 0 if self._watch is None else self._watch.epoch

    @property
    def epochs(self) -> int | None:
        """Most epochs of the training; None where that isn't known."""
        return None if self._watch is None else self._watch.course.epochs

    @property
    def step(self) -> int:
        """Steps of the optimiser so far."""
        return 0 if self._watch is None else self._watch.step

    @property
    def snapshots(self) -> list[Snapshot]:
        """What was seen, oldest first; also before a resumption. Empty before training begins."""
        return [] if self._watch is None else self._watch.snapshots

    @property
    def states(self) -> GateStates:
        """The probe's states at the last look, exact."""
        if self._watch is None or self._watch.states is None:
            raise RuntimeError(self._nothing("There are no states"))
        return self._watch.states

    @property
    def findings(self) -> list[Finding]:
        """What the detector found, oldest first."""
        return [] if self._watch is None else self._watch.findings

    @property
    def record(self) -> pd.DataFrame:
        """A row an epoch, looked at or not: see `GateLog.record`."""
        return record_frame([] if self._watch is None else self._watch.rows)

    @property
    def overhead(self) -> float:
        """What watching cost, as a share of the time that training itself took; NaN if there was none."""
        return float("nan") if self._watch is None else self.budget.overhead

    @property
    def costs(self) -> dict[str, float]:
        """Seconds of watching by what they were spent on."""
        return dict(self.budget.costs)

    @property
    def log(self) -> GateLog:
        """The log; of an earlier training, where the folder holds one and nothing was watched since."""
        if self._watch is not None:
            return self._watch.log
        if self.folder is not None and self.folder.exists():
            return GateLog.open(self.folder)
        raise RuntimeError(self._nothing("There is no log"))

    def __repr__(self) -> str:
        if self._watch is None:
            return f"GateMonitor: {self._nothing('nothing was watched')}"
        seen, failed = len(self.snapshots), len(self.errors)
        length = "" if self.epochs is None else f" of at most {self.epochs}"
        broken = self._watch.broken
        state = "goes on" if self.watching else f"ended by {broken.rstrip('.')}" if broken else "is over"
        wrong = f" {failed} errors: see monitor.errors." if failed else ""
        kept = "no budget kept" if self.every is not None else f"budget {self.budget.share:.1%}"
        return (
            f"GateMonitor: training {state}, {self.epoch} epochs{length}, {seen} looked at, "
            f"{len(self.findings)} findings; watching cost {self.overhead:.2%} of training's own time "
            f"({kept}).{wrong}"
        )

    def begin(self, model: nn.Module, optimizer: Optimizer, course: Course | None = None) -> None:
        """Begin to watch a training.

        Parameters
        ----------
        model, optimizer
            What is trained, and by what.
        course
            How long it may go on, and what was before; `Course(epochs=20)`.

        Raises
        ------
        ValueError
            The model has no recurrent layers, the optimiser none of its weights, the probe does not suit it,
            or the folder holds the log of another training.
        """
        if self._watch is not None:
            self._watch.stop()  # one that an error ended had nobody to say so
        self.budget.start()
        with self.budget.spending("begin"):
            log = GateLog(self._temporary() if self.folder is None else self.folder)
            self.errors.clear()
            self._watch = Watch.begun(self, model, optimizer, log, course or Course())

    def end_epoch(self, figures: Mapping[str, SupportsFloat] | None = None) -> Snapshot | None:
        """Look at the model after an epoch, if the budget allows; None if not.

        Parameters
        ----------
        figures
            The epoch's own: train_loss, valid_loss and others, numbers of any kind.

        Raises
        ------
        TypeError, ValueError
            A figure is no number.
        """
        return self._running().end_epoch({name: float(value) for name, value in (figures or {}).items()})

    def end(self) -> None:
        """Stop watching: take the hooks off, and write the end of the log."""
        if self.watching:
            self._running().end()

    def break_off(self, error: BaseException) -> None:
        """Stop watching a training that an error ended. It is looked at once more where its loss was NaN.

        The log stays open: the training may be resumed.
        """
        if self.watching:
            self._running().break_off(error)

    def _running(self) -> Watch:
        if self._watch is None or self._watch.over:
            raise RuntimeError("no training is being watched: call begin(model, optimizer) first.")
        return self._watch

    def _temporary(self) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="workbench-gates-"))
        weakref.finalize(self, rmtree, folder, ignore_errors=True)
        return folder

    def _nothing(self, what: str) -> str:
        earlier = ""
        if self.folder is not None and self.folder.exists():
            earlier = f" {self.folder} has the log of an earlier training."
        return (
            f"{what}: no training began with this monitor. Give it to fit(callbacks=[monitor]); a training "
            f"that its checkpoint says is over, or a model that was loaded, is not trained again.{earlier}"
        )
