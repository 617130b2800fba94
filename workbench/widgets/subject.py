"""What is being explored: a model, one ticker's windows and prices, and all that follows from them."""

import copy
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from workbench.explainers.inside import held_by
from workbench.features.windows import Windows
from workbench.models.spec import ModelSpec
from workbench.training.days import is_cross_sectional
from workbench.training.history import History
from workbench.training.prediction import predict
from workbench.training.turns import turn
from workbench.widgets.accounts import Account, Conventions, account_of, splits_of
from workbench.widgets.answers import Answers, answers_of, rows_of
from workbench.widgets.lenses import Lens, lens_of, top_of
from workbench.widgets.mapdata import intraday
from workbench.widgets.views import View

BARS_A_PASS = 16_384  # of all windows of one forward pass: what long windows may take of memory
GIVEN = "given"
TOGETHER = "{} reads the stocks of a day together, so the answer for one hangs on all of them"


@dataclass(frozen=True, eq=False)
class Bench:
    """A model to run in one thread at a time: its own copy, or the user's own where it can't be copied."""

    model: nn.Module

    @property
    def lock(self) -> AbstractContextManager[None]:
        """To be held while the model runs, once."""
        return turn(self.model)

    @classmethod
    def of(cls, model: nn.Module) -> "Bench":
        """Copy a model, since watching it switches it about for a moment, which another pass would notice."""
        try:
            with turn(model):
                return cls(copy.deepcopy(model))
        except (
            RuntimeError,
            TypeError,
        ):  # it holds what Python can't copy, such as a derived tensor or a lock
            return cls(model)


@dataclass(frozen=True, eq=False)
class Subject:
    """A model, the windows it reads and the prices they were made from, of one ticker.

    Attributes
    ----------
    model
        The model as it was given or loaded.
    windows
        Of one ticker, by date.
    prices
        Of the same ticker.
    source, ticker
        What the selectors say of it: what was asked for, such as the path of a file.
    run
        Key of the model in the list of runs; "given" for one handed over.
    told
        How answers become money.
    history
        Of the model's training, None where it isn't known.
    folder
        Where the model lies, None if it was handed over.
    note
        What differs from the data of its training, if anything does.
    held
        The tickers that were handed over with it.
    peers
        The windows of all those tickers, for a model that reads the stocks of a day together.
    """

    model: nn.Module
    windows: Windows
    prices: pd.DataFrame
    source: str
    ticker: str
    run: str
    told: Conventions
    history: History | None = None
    folder: Path | None = None
    note: str = ""
    held: tuple[str, ...] = ()
    peers: Windows | None = None

    def prepared(self) -> "Subject":
        """Compute what every view needs now, rather than when it is first looked at."""
        rows_of(self.windows, self.prices)  # refuses prices of something else before the model runs for long
        for name in ("predictions", "answers", "lens", "top"):
            getattr(self, name)
        return self

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """What the model says of every window."""
        batch = max(1, min(256, BARS_A_PASS // self.windows.lookback))
        with turn(self.model):
            if self.peers is None or not is_cross_sectional(self.model):
                return predict(self.model, self.windows, batch_size=batch)
            mine = np.flatnonzero(self.peers.tickers == self.windows.tickers[0])
            seen = predict(self.model, self.peers).iloc[mine]
            return seen.droplevel("ticker") if self.peers.is_panel else seen

    @cached_property
    def account(self) -> Account:
        """The positions taken, and the backtest of those that may be judged."""
        return account_of(self.windows, self.prices, self.predictions, self.told, self.history)

    @cached_property
    def answers(self) -> Answers:
        """All arrays of the answers."""
        split = splits_of(self.windows, self.history)
        return answers_of(self.windows, self.prices, self.predictions, self.account, split)

    @cached_property
    def quick(self) -> Bench:
        """Where maps and quick explanations are computed."""
        return Bench.of(self.model)

    @cached_property
    def slow(self) -> Bench:
        """Where explanations that take long are computed, so that maps need not wait for them."""
        bench = Bench.of(self.model)
        return self.quick if bench.model is self.model else bench

    @cached_property
    def lens(self) -> Lens:
        """How the model's attention is looked at."""
        if is_cross_sectional(self.model):
            return Lens(why_none=f"{TOGETHER.format(self.kind)}, and no map is of one window alone")
        with turn(self.model):
            return lens_of(self.model, self.windows)

    @cached_property
    def held_inside(self) -> frozenset[str]:
        """What the model says of itself, for the methods that show it."""
        with turn(self.model):
            return held_by(self.model, self.windows)

    @cached_property
    def top(self) -> float:
        """The end of the colour scale of all maps."""
        lens = self.lens
        with turn(self.model):
            return top_of(self.model, self.windows, lens)

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the prices come from."""
        return self.prices.attrs.get("provenance", {})

    @cached_property
    def intraday(self) -> bool:
        """Whether dates have a time of day."""
        return intraday(self.windows.dates)

    @cached_property
    def date_texts(self) -> list[str]:
        """The decision dates as the selectors say them."""
        return self.windows.dates.strftime("%Y-%m-%d %H:%M" if self.intraday else "%Y-%m-%d").tolist()

    @property
    def last_known(self) -> str:
        """The last decision whose outcome is known; the last of all if there is none."""
        known = np.flatnonzero(np.isfinite(self.answers.happened))
        return self.date_texts[int(known[-1]) if len(known) else -1]

    def row_of(self, date: str) -> int:
        """Return the number of the window decided on `date`; KeyError names the nearest."""
        if date in self._numbers:
            return self._numbers[date]
        found = self.windows.at(date)
        return int(self.windows.dates.get_indexer(found.dates)[0])

    def nearest(self, date: str) -> str:
        """Return the decision date next to `date`."""
        moment = pd.Timestamp(date)
        zone = self.windows.dates.tz
        moment = moment.tz_localize(None) if zone is None else moment.tz_localize(zone)
        return self.date_texts[int(self.windows.dates.get_indexer([moment], method="nearest")[0])]

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {text: i for i, text in enumerate(self.date_texts)}

    @property
    def kind(self) -> str:
        """Name of the model in the registry, or of its class."""
        spec = getattr(self.model, "spec", None)
        return spec.name if isinstance(spec, ModelSpec) else type(self.model).__name__

    @property
    def trained_on(self) -> tuple[str, ...]:
        """The tickers that the model was trained on, as far as its history says."""
        ticker = self.history.provenance.get("ticker", ()) if self.history else ()
        return (ticker,) if isinstance(ticker, str) else tuple(ticker)

    @property
    def trained(self) -> str:
        """When and on what the model was trained, in words."""
        if self.history is None or "train" not in self.history.splits:
            return "training dates unknown"
        span = self.history.splits["train"]
        who = ", ".join(self.trained_on) if len(self.trained_on) < 4 else f"{len(self.trained_on)} tickers"
        epoch = f", best epoch {self.history.best_epoch}" if self.history.best_epoch else ""
        return f"trained on {who or 'unnamed prices'}, {span['first'][:4]} → {span['last'][:4]}{epoch}"

    @property
    def foreign(self) -> str:
        """Say so where the model was trained on another ticker than the one shown."""
        name = self.provenance.get("ticker", self.ticker)
        if not self.trained_on or name in self.trained_on:
            return ""
        return f"{self.kind} was trained on {', '.join(self.trained_on[:3])}, not on {name}"

    @property
    def alone(self) -> str:
        """Say so where a model that reads the stocks of a day together was given one alone."""
        seen = self.windows if self.peers is None else self.peers
        if not is_cross_sectional(self.model) or len(tickers_of(seen)) > 1:
            return ""
        return f"{TOGETHER.format(self.kind)}, and here it sees {self.ticker} alone"


def conventions(view: View, prices: pd.DataFrame) -> Conventions:
    """Return how to trade: by the next open, or the next close where prices have no opens."""
    fields = prices.attrs.get("provenance", {}).get("fields", list(prices.columns))
    fill = view.fill or ("next_open" if "open" in fields else "next_close")
    return Conventions(view.confidence, view.cost_bps, fill)


def one_ticker(windows: Windows, prices: pd.DataFrame, ticker: str) -> tuple[Windows, pd.DataFrame]:
    """Take one ticker's windows and prices out of several; of one alone, return them as they are."""
    if isinstance(prices.index, pd.MultiIndex):
        known = [str(name) for name in prices.index.unique("ticker")]
        if ticker not in known:
            raise ValueError(f"The prices hold no {ticker!r}: there are {', '.join(known)}.")
        bars = prices.xs(ticker, level="ticker")
        bars.attrs = {"provenance": _of_one(prices.attrs.get("provenance", {}), ticker)}
        prices = bars
    if not windows.is_panel:
        return windows, prices
    mine = windows[np.asarray(windows.tickers == ticker)]
    if len(mine) == 0:
        raise ValueError(
            f"There are no windows of {ticker!r}: choose one of {', '.join(tickers_of(windows))}."
        )
    told = _of_one(mine.provenance, ticker)
    return replace(mine, is_panel=False, provenance=told), prices


def tickers_of(windows: Windows) -> list[str]:
    """Return the tickers of windows, sorted."""
    return sorted({str(name) for name in windows.tickers.tolist()})


def _of_one(provenance: dict[str, Any], ticker: str) -> dict[str, Any]:
    """Return what a panel's provenance says of one ticker."""
    if not provenance:
        return {}
    told = {key: value for key, value in provenance.items() if not key.endswith("_by_ticker")}
    for key, values in provenance.items():
        if key.endswith("_by_ticker") and ticker in values:
            told[key.removesuffix("_by_ticker")] = values[ticker]
    if isinstance(told.get("truth"), dict):
        told["truth"] = told["truth"].get(ticker, told["truth"])
    return {**told, "ticker": ticker}
