"""TabNet: steps that each choose, window by window, which values to look at."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from workbench.models.scaling import ForecastScaling, InputScaling
from workbench.models.spec import ModelSpec, n_outputs

TINY = 1e-15  # keeps the logarithm of a share of nothing finite
HALF = 0.5**0.5  # a sum of two like it would grow without


def sparsemax(z: Float[Tensor, "batch value"]) -> Float[Tensor, "batch value"]:
    """Return the shares nearest to z: max(0, z − τ), τ such that they sum to one (Martins & Astudillo 2016).

    Unlike softmax it gives many values nothing at all. τ is found by leaving out what gets nothing until no
    more falls out (Michelot 1986), which takes a few rounds and no sorting.
    """
    z = z - z.detach().max(dim=1, keepdim=True).values  # changes no share, and large values lose no digits
    with torch.no_grad():
        chosen = (z > -1).to(z.dtype)  # τ is at least 1 below the largest
        size = chosen.sum(dim=1, keepdim=True)
        while True:
            threshold = ((z * chosen).sum(dim=1, keepdim=True) - 1) / size
            chosen = chosen * (z > threshold)
            left = chosen.sum(dim=1, keepdim=True)
            if torch.equal(left, size):
                break
            size = left
    return (z - ((z * chosen).sum(dim=1, keepdim=True) - 1) / size).relu()


class GhostBatchNorm(nn.BatchNorm1d):
    """Batch norm of virtual batches, each by its own mean and spread (Hoffer et al. 2017).

    A batch is cut into equal parts of at least `virtual_batch_size` rows; None, or fewer rows, makes it one
    part. One row alone has no spread: it is normed by the running statistics, as in eval mode, and leaves
    them as they are.
    """

    def __init__(self, width: int, virtual_batch_size: int | None, momentum: float):
        super().__init__(width, momentum=momentum)
        self.virtual_batch_size = virtual_batch_size

    def forward(self, input: Float[Tensor, "batch width"]) -> Float[Tensor, "batch width"]:
        """Return each column at mean 0 and variance 1, scaled and shifted by what was learned."""
        if len(input) == 1:
            known = self.running_mean, self.running_var, self.weight, self.bias
            return F.batch_norm(input, *known, training=False, eps=self.eps)
        if not self.training or self.virtual_batch_size is None:
            return super().forward(input)
        parts = input.tensor_split(max(1, len(input) // self.virtual_batch_size))
        return torch.cat([super(GhostBatchNorm, self).forward(part) for part in parts])


class FeatureTransformer(nn.Module):
    """Gated linear units GLU(norm(W x)), one after the other: h ← (h + GLU(h)) √½ from the second on.

    The first linear layers belong to all steps and are given to `forward`. The last unit makes only the
    columns `kept` of its input's, those that anything reads.
    """

    def __init__(self, n_inputs: int, width: int, n_shared: int, n_own: int, kept: slice, **norm: Any):
        super().__init__()
        self.kept = kept
        ends = [width] * (n_shared + n_own - 1) + [len(range(width)[kept])]
        starts = [n_inputs] + [width] * (n_shared + n_own - 1)
        self.own = nn.ModuleList(
            nn.Linear(start, 2 * end, bias=False)
            for start, end in zip(starts[n_shared:], ends[n_shared:], strict=True)
        )
        self.norms = nn.ModuleList(GhostBatchNorm(2 * end, **norm) for end in ends)

    def forward(self, x: Float[Tensor, "batch input"], shared: nn.ModuleList) -> Float[Tensor, "batch kept"]:
        """Return the columns kept of what the units make of x."""
        h = x
        for i, (linear, norm) in enumerate(zip([*shared, *self.own], self.norms, strict=True)):
            unit = F.glu(norm(linear(h)), dim=1)
            last = i == len(self.norms) - 1
            h = unit if i == 0 else ((h[:, self.kept] if last else h) + unit) * HALF
        return h


class TabNet(nn.Module):
    """Sequential attention over the values of a window (Arik & Pfister 2021, arXiv 1908.07442).

    The window's bars side by side are f, after batch norm. Step i chooses by M_i = sparsemax(P_i ∘
    norm(W a_(i−1))), makes [d_i, a_i] of M_i ∘ f by a feature transformer, and P_(i+1) = P_i ∘ (γ − M_i) says
    what may still be chosen. The answer is linear in Σ relu(d_i). In training, λ times the entropy of the
    masks, −Σ M log M averaged over windows and steps, is added to the loss.

    Parameters
    ----------
    input_dim
        Number of features a bar.
    lookback
        Bars a window; others are refused.
    n_d, n_a
        Width of what a step decides, and of what it hands to the next step's choice.
    n_steps
        Steps, each with a mask.
    n_shared, n_independent
        Units of a feature transformer whose linear layers all steps share, and own ones, at least 1.
    relax
        γ, at least 1, where a value may be chosen by one step alone.
    sparsity
        λ.
    virtual_batch_size
        Rows normed together while training; None is the whole batch. A batch of one is normed by the running
        statistics.
    momentum
        Share of a batch in the running statistics, which norm in eval mode.
    n_classes
        Number of classes; with task="regression" the output is one forecast instead.
    task
        "classification" or "regression".

    Notes
    -----
    A linear layer before a norm has no bias, which the norm would take away, and the last units make no
    columns that nothing reads.

    Weights of qlib's `TabNet` go in by these names, biases b being taken off the running mean of the norm
    after them: bn → norm, shared.i → shared.i, first_step → first, steps.i.fea_tran → steps.i, and in both
    shared.i.bn.bn → norms.i, independ.i.bn.bn → norms.(n_shared + i), independ.i.fc → own.i;
    steps.i.atten_tran.fc → choices.i, its bn.bn → choice_norms.i. Of the last unit of `first` take the rows
    of a (from n_d on, in each half), of the last step's those of d; fc and the layer after it, multiplied,
    → head. qlib's columns are a feature's bars side by side, here a bar's features are; its n_steps is one
    more than here, and its prior stays at 1.
    """

    def __init__(
        self,
        input_dim: int,
        *,
        lookback: int,
        n_d: int = 64,
        n_a: int = 64,
        n_steps: int = 5,
        n_shared: int = 2,
        n_independent: int = 2,
        relax: float | int = 1.3,
        sparsity: float | int = 1e-3,
        virtual_batch_size: int | None = None,
        momentum: float = 0.01,
        n_classes: int = 3,
        task: str = "classification",
    ):
        super().__init__()
        outputs = n_outputs(task, n_classes)
        sizes = {
            "lookback": lookback,
            "n_d": n_d,
            "n_a": n_a,
            "n_steps": n_steps,
            "n_independent": n_independent,
        }
        _check(sizes, n_shared, relax, virtual_batch_size)
        self.spec: ModelSpec | None = None
        self.lookback, self.n_d, self.relax, self.sparsity = lookback, n_d, relax, sparsity
        values, width = lookback * input_dim, n_d + n_a
        norm = {"virtual_batch_size": virtual_batch_size, "momentum": momentum}
        self.scaling = InputScaling(input_dim)
        self.norm = GhostBatchNorm(values, None, momentum)
        self.shared = nn.ModuleList(
            nn.Linear(width if i else values, 2 * width, bias=False) for i in range(n_shared)
        )
        kept = [slice(n_d, None)] + [slice(None)] * (n_steps - 1) + [slice(n_d)]
        self.first, *steps = (
            FeatureTransformer(values, width, n_shared, n_independent, k, **norm) for k in kept
        )
        self.steps = nn.ModuleList(steps)
        self.choices = nn.ModuleList(nn.Linear(n_a, values, bias=False) for _ in steps)
        self.choice_norms = nn.ModuleList(GhostBatchNorm(values, **norm) for _ in steps)
        self.head = nn.Linear(n_d, outputs)
        self.forecast_scaling = ForecastScaling() if task == "regression" else nn.Identity()
        self._entropy: Tensor | None = None

    def forward(self, x: Float[Tensor, "batch time feature"]) -> Float[Tensor, "batch output"]:
        """Return logits (batch, n_classes), or the forecast (batch, 1)."""
        decisions, masks = zip(*self._decide(x), strict=True)
        if self.training:
            shares = torch.stack(masks)  # (step, batch, value)
            self._entropy = -(shares * (shares + TINY).log()).sum(dim=2).mean()
        return self.forecast_scaling(self.head(torch.stack(decisions).sum(dim=0)))

    def training_loss(self, loss: Float[Tensor, ""], y: Tensor) -> Float[Tensor, ""]:
        """Return `loss` plus λ times the entropy of the masks of the training pass just made.

        It takes no labels: masks of windows whose label is not known should be sparse too.
        """
        if self._entropy is None:
            raise RuntimeError("training_loss follows a forward pass in training mode: call the model first.")
        entropy, self._entropy = self._entropy, None
        return loss + self.sparsity * entropy

    def parts(self, x: Float[Tensor, "batch time feature"]) -> dict[str, Tensor]:
        """Return what the steps chose to look at.

        Returns
        -------
        dict
            steps (step, batch, time, feature): M_i, shares of a window that sum to one. masks
            (batch, time, feature): their mean weighed by how much each step decided, Σ relu(d_i); zeros for a
            window about which no step decided anything.
        """
        decisions, masks = (torch.stack(all_) for all_ in zip(*self._decide(x), strict=True))
        decided = decisions.sum(dim=2, keepdim=True)  # (step, batch, 1)
        total = (decided * masks).sum(dim=0)
        shares = total / decided.sum(dim=0).clamp_min(torch.finfo(total.dtype).tiny)
        bars = self.lookback, -1
        return {"masks": shares.unflatten(1, bars), "steps": masks.unflatten(2, bars)}

    def _decide(
        self, x: Float[Tensor, "batch time feature"]
    ) -> Iterator[tuple[Float[Tensor, "batch decision"], Float[Tensor, "batch value"]]]:
        """Yield relu(d_i) and M_i of each step."""
        if x.size(1) != self.lookback:
            raise ValueError(
                f"The model was built for windows of {self.lookback} bars and got {x.size(1)}. "
                "Make the windows with that lookback, or build a model for these."
            )
        f = self.norm(self.scaling(x).flatten(1))  # (batch, time · feature)
        a, prior = self.first(f, self.shared), torch.ones_like(f)
        for choice, norm, step in zip(self.choices, self.choice_norms, self.steps, strict=True):
            mask = sparsemax(prior * norm(choice(a)))
            made = step(mask * f, self.shared)  # (batch, n_d + n_a), of the last step (batch, n_d)
            a, prior = made[:, self.n_d :], prior * (self.relax - mask)
            yield made[:, : self.n_d].relu(), mask

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what a pass in training mode left, which can be neither copied nor saved."""
        return self.__dict__ | {"_entropy": None}


def _check(sizes: dict[str, int], n_shared: int, relax: float | int, virtual_batch_size: int | None) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}.")
    if n_shared < 0:
        raise ValueError(f"n_shared must be at least 0, got {n_shared}.")
    if relax < 1:
        raise ValueError(f"relax must be at least 1, where a value may be chosen once, got {relax}.")
    if virtual_batch_size is not None and virtual_batch_size < 2:
        raise ValueError(f"virtual_batch_size must be at least 2, or None, got {virtual_batch_size}.")
