"""A configuration before any training: what it is made of, what it costs, and what to change."""

from dataclasses import replace
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor, nn

from workbench.features.windows import Windows
from workbench.models.reach import Reach, measure_reach
from workbench.models.scaling import InputScaling
from workbench.models.spec import check_windows
from workbench.models.summary import Summary, summarize
from workbench.models.untouched import untouched
from workbench.training.coverage import check_finite, covered
from workbench.training.findings import Field, Maps, Operations, Samples, Study, Weights
from workbench.training.fitting import take_statistics
from workbench.training.job import Job
from workbench.training.options import TrainingOptions
from workbench.training.prediction import check_output, placement
from workbench.training.remarks import remarks_on
from workbench.training.steps import Steps, take_steps
from workbench.training.turns import turn
from workbench.training.unused import account_rows

__all__ = ["study"]

PROBED = 32  # windows whose gradient is looked at


def study(
    model: nn.Module,
    train: Windows,
    valid: Windows | None = None,
    seed: int = 0,
    steps: int = 7,
    **options: Any,
) -> Study:
    """Measure what a model and its training would be, without training it.

    Everything is counted or measured: parameters and, by real steps, those that get no gradient;
    operations; how far back the answer looks; attention weights; windows, and bars without one; seconds.
    The model's weights, statistics, gradients, modes and the state of random numbers are left as they were.

    Parameters
    ----------
    model
        Any module from (batch, time, feature) to (batch, output). One whose statistics are not fitted yet
        reads the windows by those of `train`, as `fit` would have it.
    train, valid
        As for `fit`. Without `valid` nothing is said of validation.
    seed
        Of the order of the batches, dropout, and the probe of the receptive field.
    steps
        How many steps of training to time, after one untimed; 0 leaves gradients and seconds unknown.
    **options
        As for `fit`: batch_size, epochs, threads, ….

    Returns
    -------
    Study

    Raises
    ------
    ValueError, TypeError
        As `fit`; or no window is labelled.

    Notes
    -----
    An epoch's seconds are an estimate: median step times steps, quartiles its spread, without validation.
    """
    if isinstance(steps, bool) or steps < 0:
        raise ValueError(f"steps is how many to time, 0 or more. Got {steps!r}.")
    chosen = TrainingOptions.of({**options, "progress": False, "checkpoint": None, "callbacks": ()})
    job = _job(model, train, valid, seed, chosen)
    with turn(model), untouched(model, weights=True):
        summary, reach, taken = _look(model, job, steps)
    found = Study(
        name=getattr(getattr(model, "spec", None), "name", "") or type(model).__name__,
        weights=_weights(model, summary, taken),
        operations=_operations(summary),
        field=_field(train, summary, reach),
        maps=Maps(summary.batch, summary.map_bytes, summary.maps),
        samples=_samples(job, valid is not None, summary),
        rows=account_rows(train, valid),
        step=taken,
        layers=_layers(model, summary, taken),
        architecture=summary.root,
    )
    return replace(found, remarks=remarks_on(found))


def _look(model: nn.Module, job: Job, steps: int) -> tuple[Summary, Reach, Steps | None]:
    """Run the model forward, backward, and through steps of training, which change it."""
    if _unfitted(model):
        take_statistics(model, job.train)
    x = _batch(model, job)
    summary = summarize(model, x)
    reach = measure_reach(model, x[:: _stride(x, job)], job.seed)
    with torch.no_grad():
        check_output(model.eval()(x), len(x), job.train)
    return summary, reach, take_steps(model, job, steps) if steps and summary.trainable else None


def _job(model: nn.Module, train: Windows, valid: Windows | None, seed: int, chosen: TrainingOptions) -> Job:
    job = Job.of(model, (train, train if valid is None else valid), seed, chosen, None)
    for name, windows in (("train", job.train), ("valid", job.valid)):
        if len(windows) == 0:
            raise ValueError(f"{name} has no window whose label is known. Choose other dates to split at.")
        check_windows(model, windows)
        check_finite(windows)
    return job


def _unfitted(model: nn.Module) -> bool:
    scaling = getattr(model, "scaling", None)
    fresh = isinstance(scaling, InputScaling) and not scaling.mean.any() and (scaling.std == 1).all()
    return bool(fresh)


def _batch(model: nn.Module, job: Job) -> Float[Tensor, "batch time feature"]:
    """Return windows as one forward of training reads them: a batch, or the stocks of a day of usual size."""
    device, dtype = placement(model)
    rows: slice | Tensor = slice(0, job.batch_size)
    if job.days is not None:
        days = sorted(job.days[0], key=len)
        rows = days[len(days) // 2]
    return job.train.batch(rows).to(device, dtype, copy=True)


def _stride(x: Float[Tensor, "batch time feature"], job: Job) -> int:
    """Leave most windows out of the probe, but none of a day that is read together."""
    return 1 if job.cross_sectional else max(1, len(x) // PROBED)


def _weights(model: nn.Module, summary: Summary, steps: Steps | None) -> Weights:
    if steps is None:
        return Weights(summary.parameters, summary.trainable)
    sizes = {name: weight.numel() for name, weight in model.named_parameters()}
    return Weights(
        summary.parameters,
        summary.trainable,
        without_gradient=sum(sizes[name] for name in steps.without_gradient),
        zero_gradient=sum(sizes[name] for name in steps.zero_gradient),
        unreached=steps.without_gradient,
        still=steps.zero_gradient,
    )


def _operations(summary: Summary) -> Operations:
    return Operations(summary.flops, summary.batch, summary.flops / summary.batch, summary.elementwise)


def _field(train: Windows, summary: Summary, reach: Reach) -> Field:
    return Field(train.lookback, summary.receptive_field, reach.bars, reach.most)


def _samples(job: Job, validated: bool, summary: Summary) -> Samples:
    train = job.train.labelled()
    batch = job.batch_size
    if job.days is not None:
        batch = round(batch * len(job.train) / len(job.days[0]))
    return Samples(
        train=len(train),
        valid=len(job.valid.labelled()) if validated else None,
        batch=batch,
        bars=int(covered(train).sum()),
        per_parameter=len(train) / summary.trainable if summary.trainable else None,
    )


def _layers(model: nn.Module, summary: Summary, steps: Steps | None) -> pd.DataFrame:
    """Return the summary's table with a column of parameters that get no gradient."""
    table = summary.layers
    if steps is None:
        return table
    sizes = {name: weight.numel() for name, weight in model.named_parameters()}
    counts = dict.fromkeys(table.index, 0)
    for name in steps.without_gradient:
        counts[name.rpartition(".")[0] or "(the model itself)"] += sizes[name]
    table.insert(3, "without gradient", list(counts.values()))
    return table
