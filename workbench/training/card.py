"""model.json, the card beside a saved model's weights: what they are and where they come from."""

import hashlib
import json
import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from torch import nn

from workbench.features.windows import Windows
from workbench.models.scaling import InputScaling
from workbench.models.spec import ModelSpec
from workbench.training.coverage import fingerprint, labels_fingerprint
from workbench.training.history import span

FORMAT = "attention-workbench model 1"
CARD, WEIGHTS = "model.json", "model.safetensors"
LIBRARIES = ("torch", "numpy", "pandas", "safetensors", "skorch", "attention-workbench")
SEAL = "card_sha256"
REPAIR = "Train and save the model again, or restore the folder from a copy."


class ModelFileError(ValueError):
    """A saved model cannot be used: incomplete, altered, or of something else."""


def read_card(folder: Path) -> dict[str, Any]:
    """Read model.json and check that it is one.

    Raises
    ------
    FileNotFoundError
        There is none, so no model is complete here.
    ModelFileError
        It is damaged, was altered, or is something else.
    """
    path = folder / CARD
    if not path.exists():
        raise FileNotFoundError(
            f"There is no complete model in {folder}: {CARD} is missing. "
            "Train one and save_model(model, folder)."
        )
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ModelFileError(f"{path} is not JSON: {error}. {REPAIR}") from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise ModelFileError(f"{path} is not a model of this workbench (no format {FORMAT!r}). {REPAIR}")
    missing = {"model", "weights_sha256", "history", "recipe", SEAL} - card.keys()
    if missing:
        raise ModelFileError(f"{path} lacks {', '.join(sorted(missing))}. {REPAIR}")
    if card != sealed(card):
        raise ModelFileError(f"{path} was altered: it no longer has the {SEAL} that it names. {REPAIR}")
    return card


def sealed(card: dict[str, Any]) -> dict[str, Any]:
    """Return the card as JSON reads it back, with the sha256 of everything else in it."""
    rest = json.loads(json.dumps({name: value for name, value in card.items() if name != SEAL}))
    canonical = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return {**rest, SEAL: hashlib.sha256(canonical.encode()).hexdigest()}


def spec_of(card: dict[str, Any]) -> ModelSpec:
    """Return how the model was built; KeyError or TypeError if the card doesn't say."""
    plain = card["model"]
    names = {"feature_names": tuple(plain["feature_names"]), "classes": tuple(plain["classes"])}
    return ModelSpec(**{**plain, **names})


def scaling_table(model: nn.Module, spec: ModelSpec) -> dict[str, Any] | None:
    """Return mean and standard deviation by feature, to be read by people; the weights hold them too."""
    scaling = getattr(model, "scaling", None)
    if not isinstance(scaling, InputScaling):
        return None
    columns = zip(spec.feature_names, scaling.mean.tolist(), scaling.std.tolist(), strict=True)
    return {name: {"mean": mean, "std": std} for name, mean, std in columns}


def windows_table(windows: Windows) -> dict[str, Any]:
    """Return first and last decision date, the number of windows, and what they are recognised by."""
    marks = {"sha256": fingerprint(windows), "labels_sha256": labels_fingerprint(windows)}
    return {**span(windows), **marks}


def library_versions() -> dict[str, str]:
    """Return the versions that made the model; what runs uninstalled, from a checkout, has none."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
