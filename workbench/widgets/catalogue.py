"""The saved models of one or more folders, read from the cards beside their weights."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import Any

from workbench.models.spec import ModelSpec
from workbench.training.card import CARD, WEIGHTS, ModelFileError, read_card, spec_of

UNKNOWN = datetime.fromtimestamp(0, UTC)
MANY = 3  # tickers beyond this are counted, not named


@dataclass(frozen=True)
class SavedModel:
    """A model on disk, as its card describes it.

    Attributes
    ----------
    key
        The folder's name; where it is in two of the listed folders, the later one's parent is added.
    folder
        Where it lies, links resolved.
    kind
        Name in the registry, such as "transformer"; empty if the card cannot be read.
    tickers, source, interval
        What it was trained on; empty if the card doesn't say.
    lookback, horizon
        Bars it sees, and bars ahead that it answers for; 0 if unknown.
    task
        "classification", "regression" or, if unknown, empty.
    trained
        "2000-07-12 → 2009-05-15", the decision dates of its training, or "training dates unknown".
    best_epoch, epochs
        Which of how many epochs its weights are of; 0 if unknown.
    created
        When it was saved; 1970 if unknown.
    fault
        Why it cannot be used, in words; empty if nothing is known against it. The sha256 of the card is
        checked here, that of the weights when they are loaded.
    """

    key: str
    folder: Path
    kind: str = ""
    tickers: tuple[str, ...] = ()
    source: str = ""
    interval: str = ""
    lookback: int = 0
    horizon: int = 0
    task: str = ""
    trained: str = ""
    best_epoch: int = 0
    epochs: int = 0
    created: datetime = UNKNOWN
    fault: str = ""

    @property
    def ticker(self) -> str:
        """The tickers in one word or two: "AAPL", "AAPL, GE", "12 tickers"."""
        return ", ".join(self.tickers) if len(self.tickers) <= MANY else f"{len(self.tickers)} tickers"

    @property
    def label(self) -> str:
        """What to call it in a list: "transformer · AAPL · 60 bars", or the folder's name if damaged."""
        if self.fault:
            return f"{self.key} (cannot be used)"
        return " · ".join(filter(None, [self.kind, self.ticker, f"{self.lookback} bars"]))

    @property
    def note(self) -> str:
        """What sets it apart from its like: when it was trained and its best epoch, or the fault."""
        if self.fault:
            return self.fault
        return f"{self.trained}, best epoch {self.best_epoch}" if self.best_epoch else self.trained


def saved_models(*folders: str | PathLike[str]) -> list[SavedModel]:
    """List the saved models that lie directly in the given folders.

    Parameters
    ----------
    *folders
        Such as "runs/models". One that does not exist holds no models.

    Returns
    -------
    list of SavedModel
        Newest first. Damaged ones are there, with a `fault`. A link that leads out of its folder is listed as
        a fault too, and not followed.
    """
    found: list[SavedModel] = []
    seen: set[Path] = set()
    taken: set[str] = set()
    for folder in folders:
        home = Path(folder).resolve()
        for place in _places(home):
            if place.resolve() in seen:
                continue
            key = _free_key(place, taken)
            taken.add(key)
            seen.add(place.resolve())
            found.append(_read(key, place, home))
    return sorted(found, key=lambda model: (-model.created.timestamp(), model.key))


def _places(home: Path) -> Iterator[Path]:
    """Folders in `home` with a card or weights; what links away is yielded unseen."""
    if not home.is_dir():
        return
    for place in sorted(home.iterdir()):
        if place.name.startswith("."):
            continue
        if _leads_away(place, home) or (place / CARD).exists() or (place / WEIGHTS).exists():
            yield place


def _leads_away(path: Path, home: Path) -> bool:
    return not path.resolve().is_relative_to(home)


def _free_key(place: Path, taken: set[str]) -> str:
    if place.name not in taken:
        return place.name
    key, count = f"{place.name} ({place.parent.name})", 2
    while key in taken:
        key, count = f"{place.name} ({place.parent.name} {count})", count + 1
    return key


def _read(key: str, place: Path, home: Path) -> SavedModel:
    away = [path for path in (place, place / CARD, place / WEIGHTS) if _leads_away(path, home)]
    if away:
        fault = f"{away[0].name} is a link that leads out of the models' folder, so it is not followed."
        return SavedModel(key, place, fault=fault)
    folder = place.resolve()
    try:
        card = read_card(folder)
        if not (folder / WEIGHTS).exists():
            raise ModelFileError(
                f"{folder} has a {CARD} but no {WEIGHTS}. Copy both, or train and save again."
            )
        return _described(key, folder, card)
    except (ModelFileError, OSError) as error:
        fault = str(error)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        fault = f"{folder / CARD} describes no model that this version knows: {error!r}."
    return SavedModel(key, folder, created=_changed(folder), fault=fault)


def _described(key: str, folder: Path, card: dict[str, Any]) -> SavedModel:
    spec: ModelSpec = spec_of(card)
    data, history = card.get("data") or {}, card["history"] or {}
    ticker = data.get("ticker", ())
    return SavedModel(
        key=key,
        folder=folder,
        kind=str(spec.name),
        tickers=(ticker,) if isinstance(ticker, str) else tuple(str(name) for name in ticker),
        source=str(data.get("source", "")),
        interval=str(data.get("interval", "")),
        lookback=int(spec.lookback),
        horizon=int(spec.horizon),
        task=str(spec.task),
        trained=_trained(card, history),
        best_epoch=int(history.get("best_epoch", 0)),
        epochs=len(history.get("epochs", ())),
        created=_moment(card.get("saved_at"), folder),
    )


def _trained(card: dict[str, Any], history: dict[str, Any]) -> str:
    span = card.get("windows") or history.get("splits", {}).get("train") or {}
    if not {"first", "last"} <= span.keys():
        return "training dates unknown"
    return f"trained {str(span['first'])[:10]} → {str(span['last'])[:10]}"


def _moment(text: Any, folder: Path) -> datetime:
    if not isinstance(text, str):
        return _changed(folder)
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _changed(folder: Path) -> datetime:
    return datetime.fromtimestamp(folder.stat().st_mtime, UTC)
