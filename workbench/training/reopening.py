"""A saved model, and all it was trained on, made again from what its card says."""

import warnings
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from workbench.features.fitted import OtherColumns
from workbench.features.making import LABELS, MAKERS, remake, remake_labels
from workbench.features.windows import Windows
from workbench.market.bundled import folder as bundled_folder
from workbench.market.loading import load_panel, load_prices
from workbench.market.sources import source_of
from workbench.models.columns import anchors_of
from workbench.models.spec import ModelSpec, check_windows
from workbench.training.card import read_card, spec_of
from workbench.training.checkpoints import load_history, load_model
from workbench.training.coverage import fingerprint, labels_fingerprint, statistics
from workbench.training.history import History

__all__ = ["Reopened", "UnreadablePrices", "bundled_models", "reopen"]

CLOSE = 1e-3  # of a feature's spread: more than another machine's rounding, less than another column
AT_HAND = ("sample", "sample20", "synthetic")  # sources that need no network and no file of the user's
BY_HAND = "Pass model, windows and prices, made as they were for training, instead of the folder."


class UnreadablePrices(ValueError):
    """A model reads columns that its recipe of features doesn't make of these prices.

    Attributes
    ----------
    columns
        Those columns.
    prices
        The prices, which another model may be able to read.
    """

    def __init__(self, words: str, columns: list[str], prices: pd.DataFrame) -> None:
        super().__init__(words)
        self.columns, self.prices = columns, prices


@dataclass(frozen=True, eq=False)
class Reopened:
    """A saved model and what it reads.

    Attributes
    ----------
    model
        In eval mode.
    history
        Of its training; None if it was saved without.
    prices, windows
        Made as for training, of the ticker asked for: all windows, not yet split.
    card
        What model.json says.
    note
        What differs from training, as a sentence; empty where nothing does.
    """

    model: nn.Module
    history: History | None
    prices: pd.DataFrame
    windows: Windows
    card: dict[str, Any]
    note: str = ""

    @property
    def trained_on(self) -> str | list[str]:
        """The ticker, or tickers, that the model was trained on."""
        return self.card["data"]["ticker"]

    @property
    def split(self) -> tuple[str, str] | None:
        """First decision dates of valid and test in ISO format, as `windows.split` takes them, if known."""
        told = self.card["data"].get("split")
        return None if told is None else (told["valid"], told["test"])

    def __repr__(self) -> str:
        note = f" · {self.note}" if self.note else ""
        return f"Reopened({self.card['model']['name']} trained on {self.trained_on}: {self.windows!r}{note})"


def bundled_models() -> Path:
    """Return the folder of the trained models that come with the package, each in a folder of its own."""
    return bundled_folder() / "models"


def reopen(
    folder: str | PathLike[str],
    ticker: str | None = None,
    source: str | None = None,
    prices: pd.DataFrame | None = None,
) -> Reopened:
    """Load a saved model, and make its prices and windows again as they were for training.

    Parameters
    ----------
    folder
        Where `save_model` or `ensure_model` wrote it.
    ticker
        Of which prices to make windows; None is what the model was trained on.
    source
        Of those prices; None is the source of the training prices. From that source the training prices'
        dates are loaded, from another all it has.
    prices
        Those prices, where they are loaded already.

    Returns
    -------
    Reopened
        Its note, and a warning, tell if the prices are no longer those of the training.

    Raises
    ------
    ValueError
        The card doesn't say how windows are made, or the training windows held columns or labels of the
        user's own.
    UnreadablePrices
        A ValueError: the prices lack what the features need.
    FileNotFoundError, ModelFileError
        As `load_model`.
    PriceError, SourceError
        As `load_prices`.
    """
    folder = Path(folder)
    card = read_card(folder)
    model, history = load_model(folder), load_history(folder)
    data = _recipe(folder, card)
    spec, own = spec_of(card), (data["ticker"], data["source"])
    asked = (own[0] if ticker is None else ticker, source or own[1])
    prices = _prices(data, *asked) if prices is None else prices
    windows = _windows(prices, data, spec)
    check_windows(model, windows)
    note = ""
    if _alike(windows.provenance, data):
        note = _compared(folder, card, windows)
    elif own[1] in AT_HAND:  # does the recipe give the training windows, of which it is told?
        note = _compared(folder, card, _windows(_prices(data, *own), data, spec))
    if note:
        warnings.warn(note, stacklevel=2)
    return Reopened(model, history, prices, windows, card, note)


def _recipe(folder: Path, card: dict[str, Any]) -> dict[str, Any]:
    data = card["data"]
    known = {"features": tuple(MAKERS), "labels": tuple(LABELS)}
    unknown = [name for name, kinds in known.items() if data.get(name, {}).get("kind") not in kinds]
    absent = [name for name in ("source", "ticker", "interval", "bars") if name not in data]
    if unknown or absent:
        raise ValueError(
            f"{folder} doesn't say how its {' and '.join(unknown or absent)} were made, so its windows "
            "cannot be made again: they held columns or labels of your own, or an earlier version saved "
            f"them. {BY_HAND}"
        )
    return data


def _prices(data: dict[str, Any], ticker: str | list[str], source: str) -> pd.DataFrame:
    name, _ = source_of(source)
    known = name == data["source"]
    start, end = (data["bars"]["first"], data["bars"]["last"]) if known else (None, None)
    if isinstance(ticker, list):
        return load_panel(ticker, name, start, end, data["interval"])
    return load_prices(ticker, name, start, end, data["interval"])


def _windows(prices: pd.DataFrame, data: dict[str, Any], spec: ModelSpec) -> Windows:
    features = _features(prices, data, spec)
    labels = remake_labels(prices, data["labels"])
    return Windows.of(features.loc[:, list(spec.feature_names)], labels, spec.lookback)


def _features(prices: pd.DataFrame, data: dict[str, Any], spec: ModelSpec) -> pd.DataFrame:
    try:
        features = remake(prices, data["features"])
        missing = [name for name in spec.feature_names if name not in features]
    except OtherColumns as lacking:  # a processor's, of which the model's are some
        features, missing = pd.DataFrame(), lacking.columns
    if missing:
        raise UnreadablePrices(
            f"The model reads {', '.join(missing)}, which {data['features']['kind']} doesn't make of the "
            f"prices of {prices.attrs['provenance']['ticker']}. If these prices lack a field, choose others; "
            f"if the columns are your own: {BY_HAND}",
            missing,
            prices,
        )
    return features


def _alike(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    return all(ours.get(name) == theirs.get(name) for name in ("source", "ticker", "interval"))


def _compared(folder: Path, card: dict[str, Any], windows: Windows) -> str:
    """Say what differs from the windows that the model was trained on, if anything does."""
    data, told = card["data"], card["windows"]
    if any(windows.provenance.get(name) != data.get(name) for name in ("sha256", "sha256_by_ticker")):
        fetched = data.get("fetched_at", "at an unknown time")
        return (
            f"The prices of {data['ticker']} ({data['source']}) are no longer those that the model in "
            f"{folder} was trained on, fetched {fetched}: they were changed since."
        )
    if told is None:
        return f"{folder} doesn't say which windows it was trained on, so these may be others."
    dates = windows.dates
    inside = (dates >= pd.Timestamp(told["first"])) & (dates <= pd.Timestamp(told["last"]))
    train = windows[inside].labelled()
    if fingerprint(train) == told["sha256"]:
        return ""
    if labels_fingerprint(train) == told["labels_sha256"] and _near(train, card["scaling"]):
        return (
            f"The windows of {folder} were made again with the same labels; their features differ in "
            "the last digits, as another machine or version of a library rounds them."
        )
    raise ValueError(
        f"The training windows of {folder} cannot be made again: features or labels were changed after "
        f"{data['features']['kind']} and {data['labels']['kind']}, or windows were left out. {BY_HAND}"
    )


def _near(train: Windows, scaling: dict[str, Any] | None) -> bool:
    """Tell whether features have the mean and spread that the model's card names."""
    if scaling is None or len(train) == 0:
        return False
    mean, spread = statistics(train, anchors_of(train.feature_names))
    told = torch.tensor([[of["mean"], of["std"]] for of in scaling.values()], dtype=torch.float64)
    off = (torch.stack([mean, spread], 1) - told).abs()
    return bool((off <= CLOSE * told[:, 1:]).all())
