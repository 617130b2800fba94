"""Which saved model is meant by a name or a path."""

import difflib
from collections.abc import Sequence
from pathlib import Path

from workbench.market.bundled import folder as bundled_folder
from workbench.training.card import CARD
from workbench.widgets.catalogue import SavedModel, saved_models

__all__ = ["UnknownRun", "find_run", "homes"]


class UnknownRun(ValueError):
    """No saved model is meant; the message lists those there are."""


def homes(root: Path) -> tuple[Path, Path]:
    """Return the folders whose models go by name: the checkout's own, and the package's."""
    return root / "runs" / "models", bundled_folder() / "models"


def find_run(text: str, folders: Sequence[Path]) -> Path:
    """Return the folder of the model that `text` names.

    Parameters
    ----------
    text
        The path of a folder that `save_model` wrote, or the name of one in `folders`.
    folders
        Where to look for names, in this order.

    Raises
    ------
    UnknownRun
        There is no such model, or the path is no model's folder.
    """
    if not text.strip():
        raise UnknownRun(f"An empty name is no model. {_listing(folders)}")
    path = Path(text).expanduser()
    if (path / CARD).is_file():
        return path.resolve()
    for folder in folders:
        if Path(text).name == text and (folder / text / CARD).is_file():
            return (folder / text).resolve()
    if path.is_dir():
        raise UnknownRun(f"{path} is no saved model: it has no {CARD}. {_listing(folders)}")
    raise UnknownRun(f"There is no saved model {text!r}. {_guess(text, folders)}{_listing(folders)}")


def _guess(text: str, folders: Sequence[Path]) -> str:
    names = [model.key for model in saved_models(*folders)]
    near = difflib.get_close_matches(text, names, n=1, cutoff=0.5)
    return f"Did you mean {near[0]!r}? " if near else ""


def _listing(folders: Sequence[Path]) -> str:
    models = saved_models(*folders)
    if not models:
        return "There are none yet: train one with ensure_model, or save one with save_model."
    width = max(len(model.key) for model in models)
    return "There are:\n" + "\n".join(f"  {model.key:<{width}}  {_told(model)}" for model in models)


def _told(model: SavedModel) -> str:
    return "cannot be used" if model.fault else f"{model.label}, {model.trained}"
