"""Work in the background: one job after the other in a thread, with progress, remaining time and Cancel."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

EVERY = 0.2  # seconds between two reports of progress
PATIENCE = 0.4  # seconds a job may take before its progress is worth a line
MOST_WAITING = 4  # jobs of one kind in a lane: a page waits for one at a time, and few pages show a widget
LOG = logging.getLogger(__name__)

Report = Callable[[dict[str, Any]], None]


@dataclass(eq=False)
class Job:
    """Something to do in the background, and what follows from each way it can end.

    Attributes
    ----------
    what
        What is done, in words for the user: "training transformer on AAPL".
    work
        The work itself. It is handed the job, whose `step` tells progress and whose `stop` asks it to end.
    then
        Called with the result.
    failed
        Called with the error of the work, or of what followed from its result.
    cancelled
        Called when the job was stopped by `Worker.cancel` before its work was done; one that a later wish
        replaced ends in silence.
    kind
        Of the jobs of one kind that wait, a lane keeps the newest few; "" for those that are all done.
    long
        Whether to show progress from the start, not only once it has taken a while.
    """

    what: str
    work: Callable[["Job"], Any]
    then: Callable[[Any], None]
    failed: Callable[[Exception], None]
    cancelled: Callable[[], None] = lambda: None
    long: bool = False
    kind: str = ""
    stop: threading.Event = field(default_factory=threading.Event)
    superseded: bool = False
    report: Report | None = None
    began: float = 0.0
    reported: float = 0.0

    def begin(self, report: Report) -> None:
        """Start the clock."""
        self.report, self.began = report, time.monotonic()
        if self.long:
            self._tell(0, 0)

    def step(self, done: int, total: int) -> None:
        """Say how far the work is; shown at most five times a second."""
        now = time.monotonic()
        due = now - self.reported >= EVERY and (self.long or now - self.began >= PATIENCE)
        if due:
            self._tell(done, total)

    def _tell(self, done: int, total: int) -> None:
        self.reported = time.monotonic()
        spent = self.reported - self.began
        left = round(spent / done * (total - done), 1) if 0 < done <= total else None
        told = {"what": self.what, "done": done, "total": total, "seconds_left": left, "cancellable": True}
        if self.report is not None and not self.stop.is_set():
            self.report(told)


class Worker:
    """A thread that does one job after the other and ends when there is none left.

    Parameters
    ----------
    report
        Called with the progress of the job at hand, and with {} when it is over.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._lock = threading.Condition()
        self._waiting: list[Job] = []
        self._running: Job | None = None
        self._thread: threading.Thread | None = None

    def submit(self, job: Job) -> None:
        """Do this job after those that wait already; of too many of its kind, the oldest is dropped."""
        with self._lock:
            alike = [other for other in self._waiting if job.kind and other.kind == job.kind]
            for other in alike[: max(0, len(alike) - MOST_WAITING + 1)]:
                other.superseded = True
                other.stop.set()
                self._waiting.remove(other)
            self._waiting.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="workbench explorer", daemon=True)
                self._thread.start()

    def supersede(self, job: Job) -> None:
        """Do this job next: those that wait are dropped, and the one at hand is asked to stop."""
        with self._lock:
            self._drop(superseded=True)
            self.submit(job)

    def drop(self) -> None:
        """Stop the job at hand and drop those that wait, without a word about it."""
        with self._lock:
            self._drop(superseded=True)

    def cancel(self) -> bool:
        """Stop the job at hand and drop those that wait; tell whether there was any."""
        with self._lock:
            busy = self._running is not None or bool(self._waiting)
            self._drop(superseded=False)
            if self._running is not None:  # which may go on until the end of a batch
                told = {
                    "what": f"{self._running.what}: stopping",
                    "done": 0,
                    "total": 0,
                    "seconds_left": None,
                }
                self._report({**told, "cancellable": False})
        return busy

    @property
    def busy(self) -> bool:
        """Whether a job is at hand or waits."""
        with self._lock:
            return self._thread is not None

    def wait(self, seconds: float | int) -> bool:
        """Wait until nothing is left to do; tell whether that came about in time."""
        with self._lock:
            return self._lock.wait_for(lambda: self._thread is None, timeout=float(seconds))

    def _drop(self, superseded: bool) -> None:
        for job in [*self._waiting, *([] if self._running is None else [self._running])]:
            job.superseded |= superseded
            job.stop.set()
        if superseded:
            self._waiting.clear()  # those that were cancelled still say so, in their turn

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = self._running = None
                    self._lock.notify_all()
                    return
                job = self._running = self._waiting.pop(0)
            _safely(partial(self._do, job), job)
            with self._lock:
                self._running = None
                _safely(partial(self._report, {}), job)

    def _do(self, job: Job) -> None:
        """Do a job, and what follows from how it ended: one thing alone, whatever is asked meanwhile."""
        result, worked = None, False
        try:
            if not job.stop.is_set():
                job.begin(self._report)
                result = job.work(job)
            worked = not job.stop.is_set()
            if worked:
                job.then(result)
        except Exception as error:  # noqa: BLE001  (a thread has no caller: whatever fails is told to the user)
            if not job.superseded and (worked or not job.stop.is_set()):
                job.failed(error)
                return
        if not worked and not job.superseded:
            job.cancelled()


def _safely(act: Callable[[], None], job: Job) -> None:
    """Act; an error is logged, since the thread must go on to the jobs that wait."""
    try:
        act()
    except Exception:  # the last resort, where telling the user was what failed
        LOG.exception("What follows from %r failed", job.what)


def abandonable(work: Callable[[], Any], stop: threading.Event) -> Any:
    """Return what `work` returns, or None as soon as `stop` is set, leaving the work to itself.

    For what cannot be asked to stop, such as a download: it goes on in a thread of its own, and nobody
    looks at what it brings.
    """
    brought: list[Any] = []
    failed: list[BaseException] = []

    def attempt() -> None:
        try:
            brought.append(work())
        except BaseException as error:  # noqa: BLE001  (raised again below, in the thread that waits)
            failed.append(error)

    thread = threading.Thread(target=attempt, name="workbench download", daemon=True)
    thread.start()
    while thread.is_alive() and not stop.is_set():
        thread.join(0.02)
    if failed and not stop.is_set():
        raise failed[0]
    return brought[0] if brought and not stop.is_set() else None


def in_words(error: BaseException) -> str:
    """Return the message of an error as a user reads it; KeyError quotes its own."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return text or type(error).__name__


class Lanes:
    """Several workers side by side, each for a kind of work, with one line of progress for all.

    Parameters
    ----------
    names
        The lanes, the one whose progress is shown first among several in front.
    report
        Called with the progress to be shown, {} for none.
    """

    def __init__(self, names: tuple[str, ...], report: Report) -> None:
        self._report = report
        self._lock = threading.Lock()
        self._told: dict[str, dict[str, Any]] = {name: {} for name in names}
        self._workers = {name: Worker(partial(self._tell, name)) for name in names}

    def __getitem__(self, name: str) -> Worker:
        return self._workers[name]

    def cancel(self) -> bool:
        """Stop the work whose progress is shown, or else whatever is at hand; tell whether there was any."""
        with self._lock:
            shown = [name for name, told in self._told.items() if told]
        return any(self._workers[name].cancel() for name in shown[:1] or self._workers)

    def wait(self, seconds: float | int) -> bool:
        """Wait until no lane has anything to do; tell whether that came about in time."""
        end = time.monotonic() + seconds
        while any(worker.busy for worker in self._workers.values()):
            for worker in self._workers.values():
                if not worker.wait(max(0.0, end - time.monotonic())):
                    return False
        return True

    def _tell(self, name: str, told: dict[str, Any]) -> None:
        with self._lock:
            before = self._shown()
            self._told[name] = told
            after = self._shown()
            if after != before:
                self._report(after)

    def _shown(self) -> dict[str, Any]:
        return next((told for told in self._told.values() if told), {})
