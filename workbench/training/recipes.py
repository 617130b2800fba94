"""What a training run and a trained model are recognised by."""

import hashlib
import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from workbench.features.windows import Windows
from workbench.models.spec import ModelSpec
from workbench.training.coverage import fingerprint
from workbench.training.history import span
from workbench.training.job import Job
from workbench.training.states import TrainingState, state_file, weights_of, weights_sha256


def run_recipe(model: nn.Module, job: Job) -> dict[str, Any]:
    """Return all that decides the outcome of a run, as JSON can hold it."""
    spec = getattr(model, "spec", None)
    recipe = {
        "model": type(model).__name__,
        "spec": asdict(spec) if isinstance(spec, ModelSpec) else None,
        "first weights": weights_sha256(weights_of(model)),
        "train": _content(job.train),
        "valid": _content(job.valid),
        "seed": job.seed,
        "options": job.options.recipe(),
    }
    return json.loads(json.dumps(recipe))


def earlier_state(model: nn.Module, recipe: dict[str, Any], folder: Path) -> TrainingState | None:
    """Return the state to resume from, None if there is none yet, and refuse one of another run."""
    if not state_file(folder).exists():
        return None
    state = TrainingState.load(folder)
    different = [name for name in recipe if recipe[name] != state.recipe.get(name)]
    # The model may also be the one that this very run has trained so far, in this session.
    if different == ["first weights"] and recipe["first weights"] == weights_sha256(state.best):
        return state
    if different:
        raise ValueError(
            f"{state_file(folder)} is of another training run: {', '.join(different)} differ. "
            "Choose another checkpoint folder, or delete this one to start anew."
        )
    return state


def folder_name(recipe: dict[str, Any], windows: Windows) -> str:
    """Return a name that people can read and that differs when the recipe does."""
    tickers = sorted(set(windows.tickers.tolist()))
    who = tickers[0] if len(tickers) == 1 else f"{len(tickers)}-tickers"
    digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()
    return re.sub(r"[^\w.-]+", "-", f"{recipe['spec']['name']}-{who}-{windows.lookback}-{digest[:10]}")


def _content(windows: Windows) -> dict[str, Any]:
    return {**span(windows), "prices": windows.provenance.get("sha256"), "sha256": fingerprint(windows)}
