"""The state of an unfinished training run on disk: safetensors with JSON inside, never a pickle."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from workbench.files import replacing

FORMAT = "attention-workbench training state 1"
Weights = dict[str, Tensor]


@dataclass(frozen=True)
class TrainingState:
    """All that the next epoch depends on.

    Attributes
    ----------
    recipe
        What decides the outcome of the run; a state of another recipe is refused.
    rows
        Figures of the epochs so far.
    stopped
        How the run ended, or None while it goes on.
    weights, best
        The model after the last epoch, and after the best one.
    optimizer
        State of each weight's optimiser, "index/name" → tensor.
    random
        State of the random numbers, device → tensor.
    """

    recipe: dict[str, Any]
    rows: list[dict[str, Any]]
    stopped: str | None
    weights: Weights
    best: Weights
    optimizer: dict[str, Tensor]
    random: dict[str, Tensor]

    def save(self, folder: Path) -> None:
        """Write the state into `folder`, whole or not at all."""
        from safetensors.torch import save_file

        parts = {
            "weights": self.weights,
            "best": self.best,
            "optimizer": self.optimizer,
            "random": self.random,
        }
        tensors = {f"{part}/{name}": copied(t) for part, named in parts.items() for name, t in named.items()}
        plain = json.dumps({"recipe": self.recipe, "rows": self.rows, "stopped": self.stopped})
        metadata = {"format": FORMAT, "state": plain, "sha256": _sha256(plain, tensors)}
        with replacing(state_file(folder)) as path:
            save_file(tensors, path, metadata=metadata)

    @classmethod
    def load(cls, folder: Path) -> "TrainingState":
        """Read the state that `save` wrote; anything else is refused."""
        from safetensors import SafetensorError, safe_open

        path = state_file(folder)
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
        except SafetensorError as error:
            raise ValueError(
                f"{path} is not a readable training state ({error}). Delete it to start anew."
            ) from error
        if metadata.get("format") != FORMAT:
            raise ValueError(f"{path} is not a training state of this version. Delete it to start anew.")
        if metadata.get("sha256") != _sha256(metadata.get("state", ""), tensors):
            raise ValueError(
                f"{path} was altered, so it is not a training state to go on from: it no longer has the "
                "sha256 that it names. Delete it to start anew."
            )
        parts: dict[str, Weights] = {"weights": {}, "best": {}, "optimizer": {}, "random": {}}
        for name, tensor in tensors.items():
            part, rest = name.split("/", 1)
            parts[part][rest] = tensor
        plain: dict[str, Any] = json.loads(metadata["state"])
        return cls(**{**plain, **parts})


def state_file(folder: Path) -> Path:
    """Return where the state of a run lies."""
    return folder / "state.safetensors"


def copied(tensor: Tensor) -> Tensor:
    """Return a copy on the CPU that shares memory with nothing."""
    return tensor.detach().to("cpu", copy=True).contiguous()


def weights_of(model: nn.Module) -> Weights:
    """Return copies of the model's weights and buffers."""
    return {name: copied(value) for name, value in model.state_dict().items()}


def weights_sha256(weights: Weights) -> str:
    """Return the sha256 of names, shapes, kinds and values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _sha256(plain: str, tensors: Weights) -> str:
    return hashlib.sha256(f"{weights_sha256(tensors)} {plain}".encode()).hexdigest()
