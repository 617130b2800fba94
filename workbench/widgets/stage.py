"""What an Explorer shows now: its synced traits, the subject behind them, and how both change together."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anywidget
import traitlets

from workbench.explainers.methods import METHODS
from workbench.models.registry import one_of
from workbench.widgets.asking import Shown
from workbench.widgets.assets import script, style
from workbench.widgets.choices import models_of, offered, usable
from workbench.widgets.discretion import discreet, discreet_runs
from workbench.widgets.gate import WISHES, checked, fitted
from workbench.widgets.opening import Library
from workbench.widgets.packing import Message
from workbench.widgets.scoring import Archive
from workbench.widgets.subject import Subject
from workbench.widgets.told import facts
from workbench.widgets.views import View
from workbench.widgets.worker import Lanes, in_words

LANES = ("train", "load", "slow", "quick", "picture")
MOST_WRONG = 10  # values whose fault is told, of those that the browser sets at once


class Stage(anywidget.AnyWidget):
    """The traits of an Explorer and the subject they describe. Nothing large is ever a trait.

    Attributes
    ----------
    source, ticker, run, method, target, date, layer, head, row, span
        What is chosen, by the browser or in Python.
    version
        Counts subjects, so that the browser knows when to forget what it holds.
    choices, facts
        What can be chosen, and what the subject is.
    status, progress, error, picture, read_only
        Words, work at hand, what went wrong, the last static picture, and whether only to look.
    """

    _esm = script("explorer.js")
    _css = style()

    source = traitlets.Unicode("").tag(sync=True)
    ticker = traitlets.Unicode("").tag(sync=True)
    run = traitlets.Unicode("").tag(sync=True)
    method = traitlets.Unicode("").tag(sync=True)
    target = traitlets.Unicode("").tag(sync=True)
    date = traitlets.Unicode("").tag(sync=True)
    layer = traitlets.Int(0).tag(sync=True)
    head = traitlets.Unicode("mean").tag(sync=True)
    row = traitlets.Int(-1).tag(sync=True)
    span = traitlets.List(traitlets.Unicode()).tag(sync=True)

    version = traitlets.Int(0).tag(sync=True)
    choices = traitlets.Dict().tag(sync=True)
    facts = traitlets.Dict().tag(sync=True)
    status = traitlets.Unicode("").tag(sync=True)
    progress = traitlets.Dict().tag(sync=True)
    error = traitlets.Unicode("").tag(sync=True)
    picture = traitlets.Unicode("").tag(sync=True)
    read_only = traitlets.Bool(False).tag(sync=True)

    def __init__(self, library: Library, subject: Subject, view: View) -> None:
        self._view, self._library, self._subject = view, library, subject
        self._archive = Archive(subject)
        self._last = (subject.source, subject.ticker, subject.run)
        self._guard = threading.RLock()  # held while traits and subject change together, in whichever thread
        self._owner = threading.get_ident()  # the thread whose changes are the Explorer's own, not a user's
        self._post_lock = threading.Lock()
        first, instead = self._first_choices()
        super().__init__(**first, **self._told(instead), version=1, read_only=view.read_only)
        self._lanes = Lanes(LANES, self._show_progress)
        self._owner = 0

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take over what the browser chose; what can't be chosen is refused in words and put back there."""
        with self._guard:
            taken, put_back, wrong = {}, [], []
            for name, value in sync_data.items():
                try:
                    if name not in WISHES:
                        raise ValueError(f"{name!s:.60} is not for the browser to set.")
                    taken[name] = checked(name, value, self._subject)
                    if taken[name] != value:
                        put_back.append(name)
                except (ValueError, KeyError) as error:
                    wrong.append(in_words(error))
                    put_back += [name] if name in self.keys else []
            more = len(wrong) - MOST_WRONG
            self.error = " ".join(wrong[:MOST_WRONG]) + (f" So it is with {more} more." if more > 0 else "")
            super().set_state(taken)
            if put_back:
                self.send_state(put_back)

    @traitlets.validate(*WISHES)
    def _checked(self, proposal: Any) -> Any:
        if self._owned:
            return proposal["value"]
        try:
            return checked(proposal["trait"].name, proposal["value"], self._subject)
        except (ValueError, KeyError) as error:
            raise traitlets.TraitError(in_words(error)) from error

    @traitlets.validate("status", "error")
    def _worded(self, proposal: Any) -> str:
        return discreet(proposal["value"], self._view)

    @property
    def _owned(self) -> bool:
        return self._owner == threading.get_ident()

    @contextmanager
    def _own(self) -> Iterator[None]:
        """Change traits without taking that for a wish of the user."""
        with self._guard:
            before, self._owner = self._owner, threading.get_ident()
            try:
                yield
            finally:
                self._owner = before

    def _adopt(self, subject: Subject) -> None:
        """Show another subject; what was chosen stays as far as the new one has it."""
        with self._own(), self.hold_sync():
            self._subject, self._archive = subject, Archive(subject)
            for lane in ("quick", "slow"):
                self._lanes[lane].drop()
            method, instead = usable(self.method, subject)
            kept = {name: fitted(name, getattr(self, name), subject) for name in WISHES[4:]}
            new = {"method": method, **kept, **self._told(instead), "error": "", "version": self.version + 1}
            self._last = (subject.source, subject.ticker, subject.run)
            for name, value in new.items():
                setattr(self, name, value)

    def _refused(self, error: Exception | None, status: str = "") -> None:
        """Keep what is shown, put the selectors back to it, and say why."""
        subject = self._subject
        with self._own():
            self._last = (subject.source, subject.ticker, subject.run)
            self.source, self.ticker, self.run = self._last
            self.choices = self._offered()
        self._say(error, status)

    def _say(self, error: Exception | None, status: str = "") -> None:
        self.error = "" if error is None else in_words(error)
        if status:
            self.status = status

    def _first_choices(self) -> tuple[dict[str, Any], str]:
        view, subject = self._view, self._subject
        if view.method not in METHODS:
            raise ValueError(f"There is no method {view.method!r}. {one_of(view.method, METHODS)}")
        method, instead = usable(view.method, subject)
        asked = {name: getattr(view, name) for name in ("target", "layer", "head", "row")}
        asked["date"] = subject.last_known if view.date is None else view.date
        return {"method": method, **{n: checked(n, v, subject) for n, v in asked.items()}}, instead

    def _told(self, instead: str = "") -> dict[str, Any]:
        """Return the traits that describe the subject; `instead` says why another method is shown."""
        subject = self._subject
        no_money = subject.account.why_none
        words = [subject.foreign, subject.alone, subject.note, instead, no_money and f"No money: {no_money}"]
        return {
            "source": subject.source,
            "ticker": subject.ticker,
            "run": subject.run,
            "choices": self._offered(),
            "facts": facts(subject, self._view),
            "status": " · ".join(filter(None, words)),
        }

    def _offered(self) -> dict[str, Any]:
        choices = offered(self._subject, self._library.first, self._view, models_of(self._view))
        return choices | {"runs": discreet_runs(choices["runs"], self._view)}

    def _shown(self) -> Shown:
        return Shown(self._archive, self.version)

    def _show_progress(self, told: dict[str, Any]) -> None:
        self.progress = told

    def _words(self, error: Exception) -> str:
        return discreet(in_words(error), self._view)

    def _post(self, message: Message) -> None:
        with self._post_lock:  # of several threads, one at a time
            self.send(message.content, buffers=message.buffers)
