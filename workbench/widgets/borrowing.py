"""Prices and windows made by what the provenance of other windows tells."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.features.fitted import OtherColumns
from workbench.features.making import remake, remake_labels
from workbench.features.windows import Windows
from workbench.market.frame import PriceError, SourceError
from workbench.market.loading import load_panel, load_prices
from workbench.market.sources import SOURCES
from workbench.models.registry import NETWORKS
from workbench.training.card import read_card
from workbench.training.reopening import Reopened, UnreadablePrices, reopen

PLAIN = {"kind": "make_features", "zscore": None}


def prices_of(windows: Windows) -> pd.DataFrame:
    """Load the prices that windows were made from, as their provenance names them.

    Raises
    ------
    ValueError
        They can't be had, or are no longer the same: pass prices.
    """
    told, first, last = windows.provenance, windows.bar_index.min(), windows.bar_index.max()
    if not {"source", "ticker", "interval"} <= told.keys() or told["source"] not in SOURCES:
        raise ValueError(
            "The windows don't say where their prices come from, so they can't be loaded: "
            "pass them as Explorer(model, windows, prices)."
        )
    ticker: Any = told["ticker"]
    load: Any = load_prices if isinstance(ticker, str) else load_panel
    try:
        return load(ticker, told["source"], first, last, told["interval"])
    except (PriceError, SourceError, OSError) as error:
        raise ValueError(
            f"The prices of {ticker} could not be loaded from {told['source']}: {error} "
            "Pass them as Explorer(model, windows, prices)."
        ) from error


def windows_like(windows: Windows, prices: pd.DataFrame) -> Windows:
    """Cut the prices of another ticker into windows made as these were, as far as their provenance tells.

    Raises
    ------
    UnreadablePrices
        A ValueError: they hold columns that their recipe doesn't give for these prices.
    """
    names, told = list(windows.feature_names), windows.provenance
    recipe = told.get("features", PLAIN)
    try:
        made = remake(prices, recipe)
        missing = [name for name in names if name not in made.columns]
    except OtherColumns as lacking:
        made, missing = prices, lacking.columns
    if missing:
        raise UnreadablePrices(
            f"The model reads {', '.join(missing[:4])}, which {recipe['kind']} doesn't give for these "
            "prices. Open another Explorer with the windows and prices of that ticker.",
            missing,
            prices,
        )
    return Windows.of(made.loc[:, names], _labels_like(windows, prices), windows.lookback)


def _labels_like(windows: Windows, prices: pd.DataFrame) -> pd.Series:
    told = windows.provenance.get("labels")
    if told:
        return remake_labels(prices, told)
    # How the user labelled isn't known, so neither are the moves of another ticker; its returns are.
    labels = pd.Series(np.nan, index=prices.index, name="unknown")
    labels.attrs = {
        "task": windows.task,
        "horizon": windows.horizon,
        "classes": list(windows.classes),
        "provenance": prices.attrs.get("provenance", {}),
    }
    return labels


def reopened(
    folder: Path, ticker: str | None, source: str | None, prices: pd.DataFrame | None = None
) -> Reopened:
    """Reopen a saved model with one ticker's prices.

    A model that reads the stocks of a day together gets those of all its training, if the ticker is among
    them: its answer for one hangs on the others.
    """
    if prices is None and _with_others(folder, ticker, source):
        return reopen(folder)
    return reopen(folder, ticker, source, prices)


def _with_others(folder: Path, ticker: str | None, source: str | None) -> bool:
    card = read_card(folder)
    network, data = NETWORKS.get(str(card["model"].get("name"))), card.get("data") or {}
    mine = ticker is None or ticker in data.get("ticker", ())
    return network is not None and network.cross_sectional and mine and source in (None, data.get("source"))
