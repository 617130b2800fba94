"""Explaining by gradients along a path from a baseline to the window.

Integrated gradients (Sundararajan et al. 2017) runs through captum. GradientSHAP (Lundberg & Lee 2017;
Erion et al. 2021) is its average over points and baselines drawn at random; it is computed here, since
captum draws from the process's own generators, which a training in another thread uses too, and anew for
every batch. Both are additive: a window's scores add up to f(x) − f(baseline), but for the error of the sum
that stands for the integral.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.explainers.gradients import differentiating, gradient_of
from workbench.explainers.options import check_count, check_whole, chosen
from workbench.explainers.questions import Method, Question, Scored
from workbench.explainers.subjects import Subject
from workbench.features.windows import Windows
from workbench.models.spec import check_windows
from workbench.training.coverage import check_finite
from workbench.training.prediction import evaluating, placement

BARS = 2560  # bars of all points of one pass: their activations stay in a core's caches


@dataclass(frozen=True)
class PathOptions:
    """Options of integrated gradients: points on the path, and the baseline (see `baseline_of`)."""

    n_steps: int = 50
    baseline: Any = None

    def __post_init__(self) -> None:
        check_count("n_steps", self.n_steps, 1, "the number of points on the path")


@dataclass(frozen=True)
class DrawnOptions:
    """Options of GradientSHAP: points drawn, the baseline or windows to draw it from, and the seed."""

    samples: int = 50
    baseline: Any = None
    background: Any = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_count("samples", self.samples, 1, "the number of points drawn")
        check_whole("seed", self.seed, "what is drawn by")
        if self.background is not None and not isinstance(self.background, Windows):
            raise ValueError(
                "background is the Windows that baselines are drawn from, such as those of training; "
                f"got {type(self.background).__name__}"
            )
        if self.background is not None and self.baseline is not None:
            raise ValueError("give a baseline, or a background to draw baselines from, not both")


@dataclass(frozen=True, eq=False)
class Draws:
    """What GradientSHAP draws, once for all windows.

    Attributes
    ----------
    shares
        Where on its path each point lies: 0 at the baseline, 1 at the window.
    baselines
        One a point, drawn from the background; None without one.
    """

    shares: Float[Tensor, " sample"]
    baselines: Float[Tensor, "sample time feature"] | None

    @classmethod
    def of(cls, options: DrawnOptions) -> "Draws":
        """Draw one share from each of as many equal pieces of the path, and baselines if there are any."""
        random = torch.Generator().manual_seed(options.seed)
        count = options.samples
        pieces = torch.randperm(count, generator=random)
        shares = (pieces + torch.rand(count, generator=random)) / count
        if options.background is None:
            return cls(shares, None)
        rows = torch.randint(len(options.background), (count,), generator=random)
        return cls(shares, options.background.batch(rows))

    def to(self, device: torch.device, dtype: torch.dtype) -> "Draws":
        """Return the same where the model is."""
        moved = None if self.baselines is None else self.baselines.to(device, dtype)
        return Draws(self.shares.to(device, dtype), moved)

    def some(self, rows: slice) -> "Draws":
        """Return some of the points."""
        return Draws(self.shares[rows], None if self.baselines is None else self.baselines[rows])


def integrated_gradients(question: Question) -> Scored:
    """Answer with the gradients' integral along the straight path from the baseline, by Gauss–Legendre."""
    from captum.attr import IntegratedGradients

    options = chosen("integrated_gradients", PathOptions, question.options)
    subject = Subject.of(question, options.baseline)
    rows = _rows(subject)

    def scores(done: int, x: Tensor, weights: Tensor) -> Tensor:
        def answer(points: Tensor, weights: Tensor) -> Tensor:
            subject.watch.check(done, len(subject.windows))
            return (subject.outputs(points.clone()) * weights).sum(1)  # a model may change its input

        if done == 0:  # captum's own message speaks of its insides
            first = x[:1].detach().requires_grad_()
            gradient_of(subject.module, first, answer(first, weights[:1]))
        return IntegratedGradients(answer).attribute(
            x.requires_grad_(),
            subject.baseline.of(x).detach(),
            additional_forward_args=(weights,),
            n_steps=options.n_steps,
            internal_batch_size=4 * rows if options.n_steps > 4 * rows else None,
        )

    def reference(x: Tensor) -> Tensor:
        return subject.outputs(subject.baseline.of(x).clone())

    told = {"n_steps": options.n_steps, "baseline": subject.baseline.told}
    return _integrated(subject, rows // options.n_steps, scores, reference, told)


def gradient_shap(question: Question) -> Scored:
    """Answer with the average of gradient × way from the baseline, at points drawn on the way."""
    options = chosen("gradient_shap", DrawnOptions, question.options)
    subject = Subject.of(question, options.baseline)
    draws = Draws.of(options).to(*placement(subject.module))
    rows, average, baseline = _rows(subject), None, subject.baseline.told
    if draws.baselines is not None:
        check_windows(subject.module, options.background)
        check_finite(options.background)
        average = _average(subject, draws.baselines, rows)
        baseline = f"drawn from {len(options.background)} windows"

    def scores(done: int, x: Tensor, weights: Tensor) -> Tensor:
        total, size = torch.zeros_like(x), max(1, rows // len(x))
        for start in range(0, options.samples, size):
            subject.watch.check(done, len(subject.windows))
            total += _path_sum(subject, x, weights, draws.some(slice(start, start + size)))
        return total / options.samples

    def reference(x: Tensor) -> Tensor:
        if average is None:
            return subject.outputs(subject.baseline.of(x).clone())
        return average.expand(len(x), -1)

    told = {"samples": options.samples, "seed": options.seed, "baseline": baseline}
    return _integrated(subject, rows // options.samples, scores, reference, told)


def _rows(subject: Subject) -> int:
    return max(1, BARS // subject.windows.lookback)


def _path_sum(
    subject: Subject,
    x: Float[Tensor, "window time feature"],
    weights: Float[Tensor, "window output"],
    draws: Draws,
) -> Float[Tensor, "window time feature"]:
    """Return the sum over points of gradient × way."""
    base = subject.baseline.of(x)[:, None] if draws.baselines is None else draws.baselines
    way = x[:, None] - base  # (window, 1 or sample, time, feature)
    points = (base + draws.shares[:, None, None] * way).flatten(0, 1).requires_grad_()
    outputs = subject.outputs(points.clone()).unflatten(0, (len(x), -1))
    answers = (outputs * weights[:, None]).sum(2).flatten()
    gradient = gradient_of(subject.module, points, answers).unflatten(0, (len(x), -1))
    return (gradient * way).sum(1)


def _average(
    subject: Subject, baselines: Float[Tensor, "sample time feature"], rows: int
) -> Float[Tensor, "1 output"]:
    with torch.no_grad(), evaluating(subject.module):
        outputs = [subject.outputs(some.clone()) for some in baselines.split(rows)]
    return torch.cat(outputs).mean(0, keepdim=True)


def _integrated(
    subject: Subject,
    size: int,
    scores: Callable[[int, Tensor, Tensor], Tensor],
    reference: Callable[[Tensor], Tensor],
    options: dict[str, Any],
) -> Scored:
    """Score every window in batches of `size`, and compare its answer with that of the reference."""
    found, outputs, changes = [], [], []
    with evaluating(subject.module), differentiating(placement(subject.module)[0]):
        for done, x in subject.batches(max(1, size)):
            with torch.no_grad():
                output = subject.outputs(x.clone())
                weights = subject.target.weigh(output)
                way = output.cpu().double() - reference(x).cpu().double()
            found.append(scores(done, x, weights).detach().float().cpu())
            outputs.append(output.cpu())
            changes.append((way * weights.cpu()).sum(1))
    values = torch.cat(found)
    subject.check(values)
    return Scored(
        values.numpy(),
        torch.cat(outputs),
        subject.target.told,
        options=options,
        change=torch.cat(changes).numpy(),
    )


ATTRIBUTIONS: tuple[Method, ...] = (
    Method(
        "integrated_gradients",
        "Integrated gradients",
        "which values push the answer up or down on the way from a baseline; they add up to the change",
        integrated_gradients,
        needs_attention=False,
        targets=True,
        by_feature=True,
        signed=True,
        slow=True,
    ),
    Method(
        "gradient_shap",
        "GradientSHAP",
        "the same at points drawn on the way, from one baseline or from windows of a background",
        gradient_shap,
        needs_attention=False,
        targets=True,
        by_feature=True,
        signed=True,
        slow=True,
    ),
)
