"""What the selectors of an Explorer set going: another ticker or model to load, a network to train."""

from collections.abc import Callable
from typing import Any

import traitlets

from workbench.widgets.choices import TRAIN, sources, tickers
from workbench.widgets.stage import Stage
from workbench.widgets.subject import Subject
from workbench.widgets.suiting import Wish
from workbench.widgets.training import trained
from workbench.widgets.worker import Job, abandonable


class Selectors(Stage):
    """A stage whose selectors work: what they ask for is made in the background, and then shown."""

    @traitlets.observe("source", "ticker", "run")
    def _wished(self, change: Any) -> None:
        with self._guard:
            if self._owned or (self.source, self.ticker, self.run) == self._last:
                return
            try:
                self._wish()
            except ValueError as error:
                self._refused(error)

    def _wish(self) -> None:
        """Set about loading what the selectors say, or training it."""
        chosen = str(self.run)
        if chosen.startswith(TRAIN):
            with self._own():
                self.run = self._last[2]
            self._train(chosen.removeprefix(TRAIN))
            return
        source, ticker, run = self._last
        if self.source != source and self.ticker == ticker and not self._ticker_of_new_source():
            return
        wish = Wish(self.source, self.ticker, chosen if chosen != run else None)
        self._library.check(wish)
        self._last = (self.source, self.ticker, self.run)
        if self._last == (self._subject.source, self._subject.ticker, self._subject.run):
            self._lanes["load"].drop()  # back to what is shown: no longer wanted
        else:
            self._load(wish)

    def _ticker_of_new_source(self) -> bool:
        """Offer the tickers of another source and choose one; tell whether there was any to choose."""
        if self.source not in [known["name"] for known in sources(self._view, self._library.first)]:
            return True  # which is then refused
        listed = tickers(self.source, self._view, self._library.first)
        with self._own():
            self.choices = self.choices | {"tickers": listed}
            if self.ticker not in listed:
                shown = self._subject.ticker
                self.ticker = shown if shown in listed else listed[0] if listed else ""
        if self.ticker:
            return True
        self._last = (self.source, "", self.run)
        self._lanes["load"].drop()
        self.status = f"Type a ticker of {self.source}."
        return False

    def _load(self, wish: Wish) -> None:
        now, far = self._subject, self._library.slow_to_come(wish)
        ended = "The download of {} was abandoned." if far else "Loading {} was cancelled."

        def found(job: Job) -> Any:
            def get() -> Subject:
                return self._library.subject(wish, now)

            return abandonable(get, job.stop) if far else get()

        job = Job(
            what=f"{'downloading' if far else 'loading'} {wish.ticker} from {wish.source}",
            work=found,
            then=lambda subject: self._unless_stopped(job, lambda: self._adopt(subject)),
            failed=lambda error: self._unless_stopped(job, lambda: self._refused(error)),
            cancelled=lambda: self._refused(None, ended.format(wish.ticker)),
            long=True,
        )
        self._lanes["load"].supersede(job)

    def _unless_stopped(self, job: Job, act: Callable[[], None]) -> None:
        with self._guard:  # under which later wishes stop a job
            if not job.stop.is_set():
                act()

    def _train(self, name: Any) -> None:
        """Set about training a network on what is shown."""
        if self._view.read_only:
            raise ValueError("This page is for looking only: models are trained in a notebook.")
        if self._lanes["train"].busy:
            raise ValueError("A model is being trained already: cancel it, or wait for it.")
        subject, self.error = self._subject, ""
        job = Job(
            what=f"training {name} on {subject.ticker}",
            work=trained(str(name), subject, self._library),
            then=lambda found: self._show_trained(found, subject),
            failed=self._say,
            cancelled=lambda: self._say(None, f"Training {name} was cancelled."),
            long=True,
        )
        self._lanes["train"].submit(job)

    def _show_trained(self, found: Subject, asked: Subject) -> None:
        with self._own():
            if self._subject is asked:
                self._adopt(found)
            else:  # the user went on to something else, and shall not be torn from it
                self.choices = self._offered()
                self.status = f"{found.kind} trained on {asked.ticker} is ready: choose it among the models."
