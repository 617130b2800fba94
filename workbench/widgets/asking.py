"""The desk of an Explorer: what the browser asks, and where each answer is made."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from workbench.explainers.methods import METHODS
from workbench.explainers.watching import Watch
from workbench.models.registry import one_of
from workbench.widgets.gate import checked
from workbench.widgets.lenses import maps_of
from workbench.widgets.packing import (
    Message,
    answers_message,
    bars_message,
    failed_message,
    maps_message,
    scores_message,
)
from workbench.widgets.scoring import Archive
from workbench.widgets.worker import Job, Lanes

MOST_WINDOWS = 512  # of one ask
MOST_BYTES = 2**25  # of the maps that answer one ask; what does not fit is to be asked for again
PORTION_BYTES = 2**22  # of the maps computed at once, so that other work need not wait for all of them


@dataclass(frozen=True, eq=False)
class Shown:
    """What is shown while an ask is answered: the explanations of a subject, and its version."""

    archive: Archive
    version: int


class Desk:
    """Answers asks for numbers. What takes time is done in a lane, so that the kernel stays free.

    Parameters
    ----------
    lanes
        With the lanes "quick" and "slow".
    shown
        Returns what is shown now.
    post
        Sends a message to the browser, from any thread.
    words
        Puts an error into words.
    """

    def __init__(
        self,
        lanes: Lanes,
        shown: Callable[[], Shown],
        post: Callable[[Message], None],
        words: Callable[[Exception], str],
    ) -> None:
        self._lanes, self._shown, self._post, self._words = lanes, shown, post, words

    def data(self) -> None:
        """Send bars and answers."""
        now = self._shown()
        subject = now.archive.subject
        self._post(bars_message(now.version, subject.prices))
        self._post(answers_message(now.version, subject.answers))

    def maps(self, ask: dict[str, Any]) -> None:
        """Send the attention of some windows, a message each: of too many, the first."""
        now = self._current(ask)
        if now is None:
            return
        subject = now.archive.subject
        try:
            windows = _windows(ask, len(subject.windows))
            if not subject.lens.layers:
                raise ValueError(f"There are no maps: {subject.lens.why_none}")
        except ValueError as error:
            self._fail(ask, error)
            return

        each = sum(layer.bytes for layer in subject.lens.layers)
        fitting = windows[: max(1, MOST_BYTES // each)]
        step = max(1, PORTION_BYTES // each)
        portions = [fitting[start : start + step] for start in range(0, len(fitting), step)]

        def work(job: Job) -> None:
            for portion in portions:
                if job.stop.is_set():
                    return
                with subject.quick.lock:
                    found = maps_of(subject.quick.model, subject.windows, subject.lens, portion)
                for window, layers in zip(portion, found, strict=True):
                    self._post(maps_message(now.version, window, layers))

        self._lanes["quick"].submit(self._job("reading attention", ask, work, lambda done: None))

    def scores(self, ask: dict[str, Any]) -> None:
        """Send the scores of some windows: at once if they are known, else when they are computed."""
        now = self._current(ask)
        if now is None:
            return
        archive = now.archive
        try:
            method, target = _question(ask, archive)
            windows = archive.portion(method, _windows(ask, len(archive.subject.windows)))
        except ValueError as error:
            self._fail(ask, error)
            return

        def work(job: Job) -> Message:
            found = archive.scores(method, target, windows, Watch(job.step, job.stop))
            return scores_message(now.version, {"method": method, "target": ask["target"]}, found)

        known = METHODS[method]
        job = self._job(f"{known.label} of {len(windows)} days", ask, work, self._post)
        if archive.known(method, target, windows):
            self._post(work(job))
        else:
            job.long = known.slow
            self._lanes["slow" if known.slow else "quick"].submit(job)

    def _job(
        self, what: str, ask: dict[str, Any], work: Callable[[Job], Any], then: Callable[[Any], None]
    ) -> Job:
        return Job(
            what=what,
            work=work,
            then=then,
            failed=lambda error: self._fail(ask, error),
            cancelled=lambda: self._fail(ask, ValueError(f"{what[0].upper()}{what[1:]}: cancelled.")),
            kind=ask["ask"],
        )

    def _current(self, ask: dict[str, Any]) -> Shown | None:
        """Return what is shown; an ask about what no longer is has been dropped by the page that made it."""
        now, version = self._shown(), ask.get("version")
        if isinstance(version, bool) or not isinstance(version, int):
            self._fail(ask, ValueError(f"version must be a whole number. Got {version!r:.20}."))
            return None
        return now if version == now.version else None

    def _fail(self, ask: dict[str, Any], error: Exception) -> None:
        self._post(failed_message(ask, self._words(error)))


def _question(ask: dict[str, Any], archive: Archive) -> tuple[str, str]:
    """Return method and target as they are kept: a method without targets has none."""
    method = checked("method", ask.get("method"), archive.subject)
    target = checked("target", ask.get("target"), archive.subject)
    return method, target if METHODS[method].targets else ""


def _windows(ask: dict[str, Any], count: int) -> list[int]:
    windows = ask.get("windows")
    if not isinstance(windows, list) or not 0 < len(windows) <= MOST_WINDOWS:
        raise ValueError(f"windows must be a list of 1 to {MOST_WINDOWS} numbers. Got {windows!r:.60}.")
    for window in windows:
        if isinstance(window, bool) or not isinstance(window, int) or not 0 <= window < count:
            raise ValueError(f"There are {count} windows, numbered from 0. Got {window!r:.60}.")
    return windows


def name_of(content: object, known: list[str]) -> str:
    """Return which ask a message is, or raise ValueError."""
    asked = content.get("ask") if isinstance(content, dict) else None
    if not isinstance(asked, str) or asked not in known:
        raise ValueError(f"There is no ask {asked!r:.60}. {one_of(str(asked)[:60], known)}")
    return asked
