"""The model, windows, answer and baseline of one explanation, and batches of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from workbench.explainers.baselines import Baseline, baseline_of
from workbench.explainers.questions import Question
from workbench.explainers.targets import Target
from workbench.explainers.watching import Watch
from workbench.features.windows import Windows
from workbench.models.spec import check_windows
from workbench.training.coverage import check_finite
from workbench.training.prediction import check_output, placement


@dataclass(frozen=True, eq=False)
class Subject:
    """What an attribution is about."""

    module: nn.Module
    windows: Windows
    target: Target
    baseline: Baseline
    watch: Watch

    @classmethod
    def of(cls, question: Question, baseline: Any) -> "Subject":
        """Return the subject of a question, its model, windows and values checked."""
        model, windows = question.model, question.windows
        check_windows(model, windows)
        check_finite(windows)
        module = getattr(model, "_orig_mod", model)  # torch.compile wraps the module that was written
        target = Target.of(windows, question.target)
        return cls(module, windows, target, baseline_of(baseline, module, windows), question.watch)

    def batches(self, size: int) -> Iterator[tuple[int, Float[Tensor, "window time feature"]]]:
        """Yield copies of `size` windows at a time, with how many went before, and report them when done."""
        device, dtype = placement(self.module)
        for start in range(0, len(self.windows), size):
            x = self.windows.batch(slice(start, start + size)).to(device, dtype).clone()
            yield start, x
            self.watch.report(start + len(x), len(self.windows))

    def outputs(self, x: Float[Tensor, "row time feature"]) -> Float[Tensor, "row output"]:
        """Return the model's outputs of these inputs, which it may change."""
        output = self.module(x)
        check_output(output, len(x), self.windows)
        return output

    def check(self, scores: Tensor) -> None:
        """Raise ValueError naming the first window whose scores are not finite."""
        broken = (~torch.isfinite(scores)).flatten(1).any(1).nonzero().flatten()
        if len(broken):
            date = self.windows.dates[int(broken[0])]
            raise ValueError(
                f"{len(broken)} of {len(self.windows)} windows have scores that are not finite, the first "
                f"decided on {date:%Y-%m-%d}: look for NaN or infinity in the model's weights or the baseline"
            )
