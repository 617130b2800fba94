"""Explaining by taking parts of a window away and asking the model again: KernelSHAP, LIME, occlusion.

Answers are asked in batches over perturbations and windows. captum's methods of these names ask window by
window; the figures are theirs, on the same coalitions.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.explainers.coalitions import (
    LinearFit,
    ShapleyFit,
    even_coalitions,
    shapley_coalitions,
)
from workbench.explainers.options import check_count, check_whole, chosen, is_number
from workbench.explainers.parts import parts_of, spread
from workbench.explainers.questions import Method, Question, Scored
from workbench.explainers.subjects import Subject
from workbench.training.prediction import evaluating

BARS = 2560  # bars of all perturbed windows of one pass: their activations stay in a core's caches

Fit = Callable[[Tensor], Tensor]  # answers (window, coalition) to values (window, part)


@dataclass(frozen=True)
class ShapleyOptions:
    """Options of KernelSHAP: coalitions asked, parts (see `parts_of`), baseline (see `baseline_of`), seed."""

    samples: int = 512
    parts: Any = "bars"
    baseline: Any = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_count("samples", self.samples, 3, "the number of coalitions asked")
        check_whole("seed", self.seed, "what is drawn by")


@dataclass(frozen=True)
class LimeOptions:
    """Options of LIME: those of KernelSHAP, how far coalitions count, and a penalty on the slopes."""

    samples: int = 512
    parts: Any = "bars"
    baseline: Any = None
    width: float | int = 0.25
    ridge: float | int = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_count("samples", self.samples, 3, "the number of coalitions asked")
        check_whole("seed", self.seed, "what is drawn by")
        if not (is_number(self.width) and self.width > 0):
            raise ValueError(f"width says how far coalitions count, a number above 0; got {self.width!r}")
        if not (is_number(self.ridge) and self.ridge >= 0):
            raise ValueError(f"ridge is a penalty of 0 or more; got {self.ridge!r}")


@dataclass(frozen=True)
class OcclusionOptions:
    """Options of occlusion: parts (see `parts_of`) and baseline (see `baseline_of`)."""

    parts: Any = "bars"
    baseline: Any = None


def kernel_shap(question: Question) -> Scored:
    """Answer with the Shapley value of each part, estimated from coalitions of parts."""
    options = chosen("kernel_shap", ShapleyOptions, question.options)
    subject, parts = _asked(question, options)
    coalitions = shapley_coalitions(_count(parts), options.samples, options.seed)
    found = _explained(subject, parts, coalitions.kept, ShapleyFit.of(coalitions), additive=True)
    return _told(found, options, subject)


def lime(question: Question) -> Scored:
    """Answer with the slopes of a linear model fitted to the answers near the window."""
    options = chosen("lime", LimeOptions, question.options)
    subject, parts = _asked(question, options)
    coalitions = even_coalitions(_count(parts), options.samples, options.width, options.seed)
    fit = LinearFit.of(coalitions, options.ridge)
    return _told(_explained(subject, parts, coalitions.kept, fit), options, subject)


def occlusion(question: Question) -> Scored:
    """Answer with what is lost when one part at a time is taken away."""
    options = chosen("occlusion", OcclusionOptions, question.options)
    subject, parts = _asked(question, options)
    count = _count(parts)
    kept = torch.cat([torch.ones(1, count), 1 - torch.eye(count)]).bool()
    found = _explained(subject, parts, kept, lambda answers: answers[:, :1] - answers[:, 1:])
    return _told(found, options, subject)


def _asked(question: Question, options: Any) -> tuple[Subject, Int[Tensor, "time feature"]]:
    windows = question.windows
    parts = parts_of(options.parts, windows.lookback, windows.n_features)
    return Subject.of(question, options.baseline), parts


def _count(parts: Int[Tensor, "time feature"]) -> int:
    return int(parts.max()) + 1


def _told(found: Scored, options: Any, subject: Subject) -> Scored:
    told = {**asdict(options), "baseline": subject.baseline.told}
    return Scored(found.scores, found.outputs, found.target, options=told, change=found.change)


def _explained(
    subject: Subject,
    parts: Int[Tensor, "time feature"],
    kept: Bool[Tensor, "coalition part"],
    fit: Fit,
    additive: bool = False,
) -> Scored:
    """Ask the model of every coalition in every window, and fit each window's answers."""
    scores, outputs, changes = [], [], []
    with torch.no_grad(), evaluating(subject.module):
        for done, x in subject.batches(max(1, BARS // (len(parts) * len(kept)))):
            found = _answers(subject, x, parts, kept, done).cpu()
            weights = subject.target.weigh(found[:, 0])
            answers = torch.einsum("wco,wo->wc", found.double(), weights.double())
            scores.append(spread(fit(answers), parts))
            outputs.append(found[:, 0])
            changes.append(answers[:, 0] - answers[:, 1])
    values = torch.cat(scores).float()
    subject.check(values)
    return Scored(
        values.numpy(),
        torch.cat(outputs),
        subject.target.told,
        change=torch.cat(changes).numpy() if additive else None,
    )


def _answers(
    subject: Subject,
    x: Float[Tensor, "window time feature"],
    parts: Int[Tensor, "time feature"],
    kept: Bool[Tensor, "coalition part"],
    done: int,
) -> Float[Tensor, "window coalition output"]:
    """Return the outputs for each window with some parts kept and the others replaced by the baseline."""
    base = subject.baseline.of(x)[:, None]  # (window, 1, time, feature)
    found, size = [], max(1, BARS // (len(parts) * len(x)))
    for start in range(0, len(kept), size):
        subject.watch.check(done, len(subject.windows))
        mask = kept[start : start + size, parts].to(x.device)  # (coalition, time, feature)
        perturbed = torch.where(mask, x[:, None], base)
        output = subject.outputs(perturbed.flatten(0, 1))
        found.append(output.unflatten(0, perturbed.shape[:2]))
    return torch.cat(found, 1)


PERTURBATIONS: tuple[Method, ...] = (
    Method(
        "kernel_shap",
        "KernelSHAP",
        "what each bar adds to the answer, averaged over the bars that may be there before it",
        kernel_shap,
        needs_attention=False,
        targets=True,
        by_feature=False,
        signed=True,
        slow=True,
    ),
    Method(
        "lime",
        "LIME",
        "how the answer changes with each bar kept or replaced, by a linear model fitted nearby",
        lime,
        needs_attention=False,
        targets=True,
        by_feature=False,
        signed=True,
        slow=True,
    ),
    Method(
        "occlusion",
        "Occlusion",
        "what the answer loses when one bar is replaced by the baseline",
        occlusion,
        needs_attention=False,
        targets=True,
        by_feature=False,
        signed=True,
        slow=True,
    ),
)
