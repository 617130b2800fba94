"""How an Explorer comes by its subject: handed over, reopened from a folder, or taken to another ticker."""

from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

import pandas as pd
from torch import nn

from workbench.features.windows import Windows
from workbench.market.loading import load_prices
from workbench.market.sources import SOURCES, source_of
from workbench.training.checkpoints import load_history
from workbench.training.history import History
from workbench.training.reopening import Reopened, UnreadablePrices
from workbench.widgets.borrowing import prices_of, reopened, windows_like
from workbench.widgets.catalogue import SavedModel
from workbench.widgets.choices import VISITOR_SOURCES, models_of, tickers
from workbench.widgets.subject import GIVEN, Subject, conventions, one_ticker, tickers_of
from workbench.widgets.suiting import Wish, at_home, in_turn, instead, knows, unreadable
from workbench.widgets.views import View

SOURCE, TICKER = "sample", "AAPL"  # what a newcomer sees
LONGEST_NAME = 1000  # characters of a ticker, which may be a path


@dataclass(frozen=True, eq=False)
class Given:
    """What was handed over in Python."""

    model: nn.Module
    windows: Windows
    prices: pd.DataFrame
    history: History | None


class Library:
    """Where subjects come from: what was handed over, and the folders of saved models."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.given: Given | None = None
        self.first: Subject | None = None  # what was handed over, as it was first shown

    def opened(
        self, model: nn.Module | str | PathLike[str] | None, windows: Windows | None,
        prices: pd.DataFrame | None, history: History | None,
    ) -> Subject:  # fmt: skip
        """Return the first subject. What can't be shown is an error that says what to pass."""
        if isinstance(model, nn.Module):
            return self._handed(model, windows, prices, history)
        if windows is not None or prices is not None or history is not None:
            what = "no model" if model is None else "the folder of a saved model"
            raise TypeError(
                f"windows, prices and history go with a model; got them with {what}. "
                "Pass Explorer(model, windows, prices), or the folder alone."
            )
        if model is None and self.view.run is not None:
            saved = self.model_of(self.view.run)
            ticker = self.view.ticker or (saved.tickers[0] if saved.tickers else TICKER)
            return self._saved(saved, Wish(self.view.source or saved.source or SOURCE, ticker))
        if model is None:
            return self._suited(Wish(self.view.source or SOURCE, self.view.ticker or TICKER), None)
        if not isinstance(model, str | PathLike):
            raise TypeError(
                f"model must be a torch.nn.Module or the folder of a saved one. Got {type(model).__name__}."
            )
        return self._folder(Path(model))

    def subject(self, wish: Wish, now: Subject) -> Subject:
        """Return what the selectors ask for; ValueError and the like say why it can't be had."""
        self.check(wish)
        if wish.run is None:
            return self._suited(wish, now)
        if wish.run == GIVEN and self.first is not None:
            return self._applied(self.first, wish)
        return self._saved(self.model_of(wish.run), wish)

    def check(self, wish: Wish) -> None:
        """Refuse what isn't there, and what a visitor may not ask for."""
        if self.first is None or wish.source != self.first.source:
            source_of(wish.source)
        if not 0 < len(wish.ticker) <= LONGEST_NAME:
            raise ValueError(f"A ticker has 1 to {LONGEST_NAME} characters. Got {len(wish.ticker)}.")
        listed = tickers(wish.source, self.view, self.first)
        if self.view.read_only and wish.ticker not in listed:
            allowed = f"{wish.source} has {', '.join(listed)}" if listed else f"not {wish.source}"
            raise ValueError(
                f"This page shows bundled and made-up prices only ({', '.join(VISITOR_SOURCES)}); {allowed}. "
                f"Got {wish.ticker!r}."
            )

    def model_of(self, key: str) -> SavedModel:
        """Look a key up among the saved models; it is never taken for a path."""
        models = models_of(self.view)
        for model in models:
            if model.key == key:
                return model
        raise ValueError(f"There is no saved model {key!r}: choose one of the {len(models)} in the list.")

    def slow_to_come(self, wish: Wish) -> bool:
        """Tell whether prices may have to be downloaded."""
        return not self._holds(wish) and SOURCES[wish.source].network

    def key_of(self, history: History, kind: str) -> tuple[str, Path]:
        """Return key and folder of the model that was just trained, by the history saved with it."""
        for model in models_of(self.view):
            if model.kind == kind and not model.fault:
                saved = load_history(model.folder)
                if saved is not None and saved.seconds == history.seconds and saved.splits == history.splits:
                    return model.key, model.folder
        raise ValueError(f"The trained model was not found in {self.view.folder}: was the folder changed?")

    def _holds(self, wish: Wish) -> bool:
        """Tell whether windows of this ticker were handed over."""
        first = self.first
        return first is not None and wish.source == first.source and wish.ticker in first.held

    def _handed(
        self, model: nn.Module, windows: Windows | None, prices: pd.DataFrame | None, history: History | None
    ) -> Subject:
        if windows is None:
            raise TypeError("A model needs the windows it reads: pass Explorer(model, windows, prices).")
        prices = prices_of(windows) if prices is None else prices
        self.given = Given(model, windows, prices, history)
        held = [name or GIVEN for name in tickers_of(windows)]
        source = str(prices.attrs.get("provenance", {}).get("source", GIVEN))
        wish = Wish(self.view.source or source, self.view.ticker or held[0])
        mine = wish.source == source and wish.ticker in held
        self.first = self._of_given(wish.ticker if mine else held[0], source)
        return self.first if mine else self._applied(self.first, wish)

    def _of_given(self, ticker: str, source: str) -> Subject:
        assert self.given is not None
        windows, prices = one_ticker(self.given.windows, self.given.prices, "" if ticker == GIVEN else ticker)
        return Subject(
            model=self.given.model,
            windows=windows,
            prices=prices,
            source=source,
            ticker=ticker or GIVEN,
            run=GIVEN,
            told=conventions(self.view, prices),
            history=self.given.history,
            held=tuple(name or GIVEN for name in tickers_of(self.given.windows)),
            peers=self.given.windows,
        ).prepared()

    def _folder(self, folder: Path) -> Subject:
        view = self.view
        opened = reopened(folder, view.ticker, view.source)
        several = view.ticker if len(tickers_of(opened.windows)) > 1 else None
        wish = Wish(view.source or opened.card["data"]["source"], several) if several else None
        keys = [m.key for m in models_of(self.view) if m.folder == folder.resolve()]
        subject = self._of_reopened(opened, folder, keys[0] if keys else GIVEN, wish)
        if keys:
            return subject
        self.first = replace(subject, held=(subject.ticker,))
        return self.first.prepared()

    def _suited(self, wish: Wish, now: Subject | None) -> Subject:
        """Return the model handed over if it knows the ticker, else a saved one that does, else the shown."""
        if self.first is not None and self._holds(wish):
            return self._applied(self.first, wish)
        models = [model for model in models_of(self.view) if not model.fault]
        alike = at_home(models, wish, now)
        try:
            if alike:
                return self._saved(alike[0], wish)
            if now is not None:
                return self._applied(now, wish)
            if not models:
                raise FileNotFoundError(
                    f"There is no saved model, neither bundled nor in {self.view.folder}. "
                    "Train one with ensure_model, or pass Explorer(model, windows, prices)."
                )
            return self._saved((at_home(models, Wish(SOURCE, TICKER), None) or models)[0], wish)
        except UnreadablePrices as error:
            return self._readable(wish, in_turn(models, wish, now, error.prices), error)

    def _readable(self, wish: Wish, models: list[SavedModel], error: UnreadablePrices) -> Subject:
        """Return the first model that can read the prices, which are not loaded again for each."""
        last: ValueError = error
        for model in models:
            prices = None if knows(model, wish) else error.prices  # its training had dates of its own
            try:
                return self._saved(model, wish, prices, instead(model, error))
            except UnreadablePrices:
                continue
            except ValueError as other:  # damaged, or of columns of the user's own: the next may do
                last = other
        raise unreadable(wish, error, last) from error

    def _saved(
        self, model: SavedModel, wish: Wish, prices: pd.DataFrame | None = None, why: str = ""
    ) -> Subject:
        if model.fault:
            raise ValueError(f"{model.key} cannot be used: {model.fault}")
        opened = reopened(model.folder, wish.ticker, wish.source, prices)
        opened = replace(opened, note=" · ".join(filter(None, [why, opened.note])))
        return self._of_reopened(opened, model.folder, model.key, wish)

    def _of_reopened(self, opened: Reopened, folder: Path, run: str, wish: Wish | None) -> Subject:
        told = opened.prices.attrs.get("provenance", {})
        held = tickers_of(opened.windows)
        ticker = wish.ticker if wish is not None and wish.ticker in held else held[0]
        windows, prices = one_ticker(opened.windows, opened.prices, ticker)
        source = wish.source if wish is not None else str(told.get("source", SOURCE))
        name = wish.ticker if wish is not None and source == "csv" else ticker  # a file's ticker is its path
        return Subject(
            model=opened.model,
            windows=windows,
            prices=prices,
            source=source,
            ticker=name,
            run=run,
            told=conventions(self.view, prices),
            history=opened.history,
            folder=Path(folder),
            note=opened.note,
            peers=opened.windows,
        ).prepared()

    def _applied(self, now: Subject, wish: Wish) -> Subject:
        """Take a model to the ticker wished for."""
        if now.run == GIVEN and self._holds(wish) and self.given is not None:
            return self._of_given(wish.ticker, wish.source)
        if now.folder is not None:
            return self._of_reopened(
                reopened(now.folder, wish.ticker, wish.source), now.folder, now.run, wish
            )
        prices = load_prices(wish.ticker, source=wish.source, interval=_interval(now))
        return Subject(
            model=now.model,
            windows=windows_like(now.windows, prices),
            prices=prices,
            source=wish.source,
            ticker=wish.ticker if wish.source == "csv" else str(prices.attrs["provenance"]["ticker"]),
            run=now.run,
            told=conventions(self.view, prices),
            history=now.history,
        ).prepared()


def _interval(now: Subject) -> str:
    return str(now.provenance.get("interval", "1d"))
