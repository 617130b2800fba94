"""One training under a monitor's eyes, from its first step to its last."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.optim import Optimizer

from workbench.gates.course import Course
from workbench.gates.detect import FiniteCheck
from workbench.gates.findings import Finding
from workbench.gates.given import ENOUGH_LOOKS, check_optimizer, warn_of_few_looks, warn_of_no_step
from workbench.gates.log import GateLog
from workbench.gates.packing import first_rows
from workbench.gates.probes import COUNT, Probe
from workbench.gates.snapshots import Moment, Snapshot, looked_at
from workbench.gates.states import GateStates
from workbench.gates.weights import Blocks, StepWatch
from workbench.training.coverage import check_finite
from workbench.training.states import weights_of, weights_sha256

if TYPE_CHECKING:
    from workbench.gates.monitor import GateMonitor

PAUSE = 0.25  # seconds between two words to a listener that training goes on
LOOK = ("capture", "detector", "log", "alerts", "listeners")  # what a look costs is spent on
LEFT_OUT, FAILED = "over budget", "failed: see the monitor's errors"
LOST = "not written before the process ended"


class Watch:
    """What belongs to one training: see `GateMonitor`.

    Parameters
    ----------
    monitor
        Whose settings hold, and who is shown to listeners.
    model
        What is trained.
    probe
        What it is asked about.
    log, course
        Where to write, and how far training goes.
    """

    def __init__(self, monitor: "GateMonitor", model: nn.Module, probe: Probe, log: GateLog, course: Course):
        self.monitor = monitor
        self.model, self.probe, self.log, self.course = model, probe, log, course
        self.epoch, self.step = course.done, course.steps
        self.snapshots: list[Snapshot] = []
        self.findings: list[Finding] = []
        self.rows: list[dict[str, Any]] = []
        self.states: GateStates | None = None
        self.over = False
        self.broken = ""
        self._steps = StepWatch(Blocks.of(model), monitor.budget.now)
        self._unwritten = 0  # first row that no file has yet
        self._counts = [0, 0]  # steps of this epoch, and how many of them were measured
        self._stepless = False  # whether an epoch without steps was told of
        self._told = 0.0
        self._next = 0.0  # seconds of training after which a step may be measured again
        self._handles: list[Any] = []

    @classmethod
    def begun(
        cls, monitor: "GateMonitor", model: nn.Module, optimizer: Optimizer, log: GateLog, course: Course
    ) -> "Watch":
        """Check that the model can be watched, make the log ready, and put the hooks on."""
        check_optimizer(model, optimizer)
        probe = Probe.of(model, monitor.probe)
        check_finite(probe.windows)
        probe.check_suits(model)
        watch = cls(monitor, model, probe, log, course)
        watch._remember(log.begin(watch._key(), probe.about(), course.done))
        watch._handles = [
            optimizer.register_step_pre_hook(watch._before_step),
            optimizer.register_step_post_hook(watch._after_step),
        ]
        watch._arm()
        return watch

    def end_epoch(self, figures: Mapping[str, float]) -> Snapshot | None:
        """Look, if the budget allows, and note whether it did."""
        self.epoch += 1
        budget = self.monitor.budget
        due = self.monitor.every is not None or not self.snapshots or budget.allows(*LOOK)
        self.rows.append(self._row(self.epoch, figures, LEFT_OUT))
        if not self._counts[0] and not self._stepless:
            self._stepless = True
            warn_of_no_step()
        self._counts = [0, 0]
        seen = self._look(self.epoch, figures) if due else None
        self._next = budget.enough_for_step("steps")
        return seen

    def end(self) -> None:
        """Take the hooks off, write the rest of the record, and tell the listeners."""
        self.stop()
        monitor = self.monitor
        with self._spending("log"):
            self.log.end(self.rows[self._unwritten :], monitor.costs)
        self._tell("on_end")
        monitor.budget.stop()
        if self._saw_little():
            warn_of_few_looks(len(self.snapshots), self.epoch)

    def _saw_little(self) -> bool:
        """Tell whether the budget kept a detector, or alerts, from looking often enough to say anything."""
        asked = self.monitor.alerts is not None or not isinstance(self.monitor.detector, FiniteCheck)
        left_out = any(row["why"] == LEFT_OUT for row in self.rows)
        return asked and left_out and len(self.snapshots) < ENOUGH_LOOKS

    def break_off(self, error: BaseException) -> None:
        """Stop where an error ended the training; look at what a loss that is no number came from."""
        self.broken = f"{type(error).__name__}: {error}"
        if isinstance(error, FloatingPointError):
            self._look(self.epoch + 1, {})
        self.stop()
        self.monitor.budget.stop()

    def stop(self) -> None:
        """Take the hooks off."""
        self.over = True
        self._steps.disarm()
        while self._handles:
            self._handles.pop().remove()

    def _look(self, epoch: int, figures: Mapping[str, float]) -> Snapshot | None:
        monitor, seen = self.monitor, None
        with self._spending("capture"):
            moment = Moment(epoch, self.step, self.course.progress(epoch), figures)
            seen = looked_at(self.model, self.probe, moment, self._steps.taken(), self.states)
        self._note(epoch, seen is not None)
        if seen is None:
            return None
        snapshot, self.states = seen
        self.snapshots.append(snapshot)
        found: list[Finding] = []
        with self._spending("detector"):
            found += monitor.detector.check(snapshot)
        self.findings += found
        with self._spending("log"):
            self.log.write(snapshot, first_rows(self.states, COUNT), found, self.rows[self._unwritten :])
            self._unwritten = len(self.rows)
        if monitor.alerts is not None:
            with self._spending("alerts"):
                monitor.alerts.observe(found, epoch)
        self._tell("on_snapshot", snapshot, self.states)
        return snapshot

    def _row(self, epoch: int, figures: Mapping[str, float], why: str) -> dict[str, Any]:
        steps, measured = self._counts
        overhead = self.monitor.budget.overhead
        told = {"epoch": epoch, "taken": False, "why": why, "steps": steps, "sampled": measured}
        return told | {"overhead": overhead, "figures": dict(figures)}

    def _note(self, epoch: int, taken: bool) -> None:
        """Say in the record what came of a look."""
        if self.rows and self.rows[-1]["epoch"] == epoch:
            self.rows[-1] |= {"taken": taken, "why": "" if taken else FAILED}

    def _before_step(self, *_: Any) -> None:
        if self._steps.armed:
            with self._spending("steps"):
                self._steps.begin_step()

    def _after_step(self, *_: Any) -> None:
        budget = self.monitor.budget
        began, before = budget.now(), budget.spent
        self.step += 1
        self._counts[0] += 1
        if self._steps.armed:
            with self._spending("steps"):
                self._steps.end_step()
                self._counts[1] += 1
            budget.add("steps", self._steps.within)
            self._next = budget.enough_for_step("steps")
        self._arm()
        if self.monitor.listeners:
            self._say_that_it_goes_on()
        budget.add("hooks", budget.now() - began - (budget.spent - before))  # what is not counted within

    def _arm(self) -> None:
        """Have the next step measured if its turn has come; within a budget the first comes at once."""
        every, budget = self.monitor.every, self.monitor.budget
        if self.step % every == 0 if every else budget.own >= self._next:
            with self._spending("steps"):
                self._steps.arm()

    def _say_that_it_goes_on(self) -> None:
        monitor, now = self.monitor, time.monotonic()
        if now - self._told > PAUSE:
            self._told = now
            if monitor.every is not None or monitor.budget.allows("batches"):
                self._tell("on_batch")

    def _tell(self, event: str, *what: Any) -> None:
        monitor = self.monitor
        kind = "batches" if event == "on_batch" else "listeners"
        with monitor.budget.spending(kind):
            for listener in list(monitor.listeners):
                with monitor.errors.kept(type(listener).__name__, self.epoch):
                    getattr(listener, event)(monitor, *what)

    @contextmanager
    def _spending(self, part: str) -> Iterator[None]:
        """Count the block's time, and keep what goes wrong in it."""
        with self.monitor.budget.spending(part), self.monitor.errors.kept(part, self.epoch):
            yield

    def _key(self) -> dict[str, Any]:
        """Return what this training is recognised by when it is resumed."""
        return {
            "model": type(self.model).__name__,
            "parameters": {name: list(p.shape) for name, p in self.model.named_parameters()},
            "probe": self.probe.about()["sha256"],
            "first_weights": weights_sha256(weights_of(self.model)),
            **self.course.marks,
        }

    def _remember(self, rows: list[dict[str, Any]]) -> None:
        """Take up what the log has of the epochs that are over, and the figures of those that it lost."""
        if not self.course.done:
            return
        self.snapshots, self.findings = self.log.snapshots, self.log.findings
        self._unwritten = len(self.log.rows)
        told = {row["epoch"]: row for row in rows}
        self.rows = [
            told.get(epoch) or self._row(epoch, figures, LOST)
            for epoch, figures in enumerate(self.course.past, start=1)
        ]
