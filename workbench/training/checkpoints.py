"""Models on disk: weights as safetensors, everything else as JSON; nothing is ever unpickled."""

import json
import threading
import warnings
from dataclasses import asdict, fields
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import Any

from torch import nn

from workbench.features.windows import Windows
from workbench.files import replacing
from workbench.models.registry import build_model, one_of, options_for, rebuild
from workbench.models.spec import ModelSpec, check_windows
from workbench.training.card import (
    CARD,
    FORMAT,
    REPAIR,
    WEIGHTS,
    ModelFileError,
    file_sha256,
    library_versions,
    read_card,
    scaling_table,
    sealed,
    spec_of,
    windows_table,
)
from workbench.training.fitting import fit
from workbench.training.history import History
from workbench.training.job import Job
from workbench.training.options import TrainingOptions
from workbench.training.recipes import folder_name, run_recipe
from workbench.training.states import weights_of


def save_model(
    model: nn.Module,
    folder: str | PathLike[str],
    history: History | None = None,
    windows: Windows | None = None,
    recipe: dict[str, Any] | None = None,
) -> Path:
    """Write a model into `folder` as model.safetensors and model.json.

    The JSON is written last and names the sha256 of the weights and of itself: a folder is complete and
    unaltered, or is no model.

    Parameters
    ----------
    model
        Built by `build_model`, so that it says how to build it again.
    folder
        Where to; a model already there is replaced.
    history
        Of its training: written along with its splits, seed and the data's provenance.
    windows
        The training windows, whose own sha256 is written along.
    recipe
        What the model is recognised by, for `ensure_model`.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ValueError
        The model has no `spec`.
    """
    from safetensors.torch import save_file

    spec = getattr(model, "spec", None)
    if not isinstance(spec, ModelSpec):
        raise ValueError(
            f"This {type(model).__name__} has no .spec, a workbench.models.spec.ModelSpec that says how to "
            "build it again, so save_model cannot save it. Build models with build_model, or keep the "
            "weights of your own module with safetensors.torch.save_model(model, path)."
        )
    folder = Path(folder)
    (folder / CARD).unlink(missing_ok=True)  # from here until the new one is written this is no model
    with replacing(folder / WEIGHTS) as path:
        save_file(weights_of(model), path)
    card = {
        "format": FORMAT,
        "saved_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": asdict(spec),
        "scaling": scaling_table(model, spec),
        "data": dict(windows.provenance) if windows else dict(history.provenance) if history else {},
        "windows": windows_table(windows) if windows else None,
        "history": history.to_dict() if history else None,
        "recipe": recipe,
        "versions": library_versions(),
        "weights_sha256": file_sha256(folder / WEIGHTS),
    }
    with replacing(folder / CARD) as path:
        path.write_text(json.dumps(sealed(card), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return folder


def load_model(folder: str | PathLike[str], windows: Windows | None = None) -> nn.Module:
    """Read the model that `save_model` wrote, in eval mode.

    Parameters
    ----------
    folder
        Where it lies.
    windows
        If given, a model with other features, lookback, task, classes or horizon is refused.

    Raises
    ------
    FileNotFoundError
        There is no complete model in the folder.
    ModelFileError
        A file is damaged, was altered, or isn't a model of the workbench.
    ValueError
        The model doesn't match the windows; the differing names are given.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    card, weights = read_card(folder), folder / WEIGHTS
    if not weights.exists():
        raise FileNotFoundError(
            f"{folder} has a {CARD} but no {WEIGHTS}. Copy both, or train and save again."
        )
    if file_sha256(weights) != card["weights_sha256"]:
        raise ModelFileError(
            f"{weights} is not the file that {CARD} describes: cut short or altered. {REPAIR}"
        )
    try:
        model = rebuild(spec_of(card))
        model.load_state_dict(load_file(weights))
    except (SafetensorError, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise ModelFileError(
            f"{folder} holds no model that this version knows: {error!r}. {REPAIR}"
        ) from error
    if windows is not None:
        check_windows(model, windows)
    return model.eval()


def load_history(folder: str | PathLike[str]) -> History | None:
    """Return the history that was saved with a model, None if none was.

    Raises FileNotFoundError and ModelFileError as `load_model` does.
    """
    plain = read_card(Path(folder))["history"]
    try:
        return None if plain is None else History.from_dict(plain)
    except (TypeError, KeyError, ValueError) as error:
        raise ModelFileError(
            f"The history in {Path(folder) / CARD} cannot be read: {error!r}. {REPAIR}"
        ) from error


def ensure_model(
    name: str,
    train: Windows,
    valid: Windows,
    seed: int = 0,
    folder: str | PathLike[str] = "runs/models",
    stop: threading.Event | None = None,
    **options: Any,
) -> tuple[nn.Module, History]:
    """Load the model that this very call trained before, or train and save it.

    Parameters
    ----------
    name
        A name from `list_models()`.
    train, valid
        As in `fit`.
    seed
        Seed of the first weights, the batches and dropout.
    folder
        Where models are kept, each in a folder of its own.
    stop
        As in `fit`. A cancelled model is returned but not kept.
    **options
        Options of `fit` and of the network together, such as epochs=20, d_model=64.

    Returns
    -------
    tuple of nn.Module and History
        The model in eval mode, and the history of its training.

    Notes
    -----
    A model is recognised by its options and first weights, the options of its training, the seed, and the
    content of both sets of windows.
    """
    training = {field.name for field in fields(TrainingOptions)}
    of_network = options_for(name, train.lookback, {})
    for option in options:
        if option not in training and option not in of_network:
            known = one_of(option, [*of_network, *sorted(training)])
            raise TypeError(f"Neither {name!r} nor fit has an option {option!r}. {known}")
    of_fit = {option: value for option, value in options.items() if option in training}
    chosen = TrainingOptions.of(of_fit)
    if chosen.callbacks:
        raise ValueError("ensure_model cannot recognise a model by its callbacks. Use fit and save_model.")
    model = build_model(name, train, seed, **{k: v for k, v in options.items() if k not in training})
    job = Job.of(model, (train, valid), seed, chosen, stop)
    recipe = run_recipe(model, job)
    place = Path(folder) / folder_name(recipe, train)
    found = _found(place, recipe, train)
    if found is not None:
        return found
    history = fit(model, train, valid, seed, stop, **of_fit)
    if history.stopped != "cancelled":
        save_model(model, place, history, job.train.labelled(), recipe)  # as `reopen` makes them again
    return model, history


def _found(place: Path, recipe: dict[str, Any], train: Windows) -> tuple[nn.Module, History] | None:
    try:
        if read_card(place)["recipe"] != recipe:
            raise ModelFileError(f"{place} was saved by another recipe than its name tells.")
        model, history = load_model(place, train), load_history(place)
        if history is None:
            raise ModelFileError(f"{place} was saved without its history.")
    except FileNotFoundError:
        return None
    except ModelFileError as error:
        warnings.warn(f"{error} Training anew.", stacklevel=3)
        return None
    return model, history
