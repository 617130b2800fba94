"""Training a model on windows."""

import random
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from workbench.features.windows import Windows
from workbench.models.scaling import ForecastScaling, InputScaling
from workbench.models.seeds import seeded
from workbench.models.spec import check_windows
from workbench.training.coverage import check_finite, statistics
from workbench.training.history import History, epochs_frame, span
from workbench.training.job import Job
from workbench.training.losses import loss_for
from workbench.training.options import TrainingOptions
from workbench.training.prediction import placement
from workbench.training.recipes import earlier_state, run_recipe
from workbench.training.states import TrainingState
from workbench.training.threads import using_threads
from workbench.training.turns import turn

if TYPE_CHECKING:
    from workbench.training.callbacks import BestKeeper
    from workbench.training.loop import WindowsNet

UNCHANGING = ("task", "classes", "feature_names", "lookback", "horizon")  # from train to valid


def fit(
    model: nn.Module,
    train: Windows,
    valid: Windows,
    seed: int = 0,
    stop: threading.Event | None = None,
    **options: Any,
) -> History:
    """Train a model in place and leave it with the weights of its best epoch, in eval mode.

    On the CPU the same call gives the same weights to the last bit. The caller's own random state is left
    as it was. Windows without a label are left out; a last, smaller batch is not. A model whose
    `cross_sectional` is true reads the windows of one decision date at a time, also those without a label:
    they are seen, and not learnt from.

    Threads that predict or explain with the model meanwhile take turns with the batches: they see it as
    trained so far, and training waits for them.

    Parameters
    ----------
    model
        Any module from (batch, time, feature) to (batch, output). Its `scaling` and `forecast_scaling`, if
        it has them, take the statistics of the training windows. A method `training_loss(loss, y)`, if it has
        one, returns what a training batch's loss becomes, for penalties of the model's own.
    train, valid
        What to learn from, and what decides the best epoch.
    seed
        Seed of batches and dropout.
    stop
        Set it from another thread to end training after the batch at hand.
    **options
        Fields of `TrainingOptions`: epochs, batch_size, batch_by, loss, lr, weight_decay, patience, monitor,
        clip_norm, schedule, warmup, class_weights, threads, progress, checkpoint, callbacks.

    Returns
    -------
    History
        Epochs, the best of them, and how training ended.

    Raises
    ------
    ValueError, TypeError
        An option or the windows cannot work; the message tells the repair.
    FloatingPointError
        The loss was no longer finite; the batch is named.
    """
    chosen = TrainingOptions.of(options)
    job = Job.of(model, (train, valid), seed, chosen, stop)
    _check(model, job)
    device, dtype = placement(model)
    criterion = loss_for(job.train, chosen.class_weights, dtype, chosen.loss)
    recipe: dict[str, Any] = {}
    state: TrainingState | None = None
    if chosen.checkpoint is not None:
        recipe = run_recipe(model, job)
        state = earlier_state(model, recipe, Path(chosen.checkpoint))
    take_statistics(model, job.train)
    net, keeper = training_net(model, criterion, job, recipe if state is None else state.recipe)
    with seeded(seed, device), using_threads(chosen.threads):
        return _history(job, _run(net, keeper, state), keeper.rows(net))


def training_net(
    model: nn.Module, criterion: nn.Module, job: Job, recipe: dict[str, Any]
) -> tuple["WindowsNet", "BestKeeper"]:
    """Return skorch's loop over the job, and what keeps its best epoch."""
    before = random.getstate()  # the first import of skorch draws from Python's random numbers
    from workbench.training.callbacks import BestKeeper, EpochReport, Progress
    from workbench.training.loop import WindowsNet

    random.setstate(before)
    options, keeper = job.options, BestKeeper(job, recipe)
    told = EpochReport(job, options.progress) if callable(options.progress) else Progress(job)
    shown = [("progress", told)] if options.progress else []
    net = WindowsNet(
        model,
        criterion,
        job,
        callbacks=[*options.callbacks, *shown, ("keeper", keeper)],
        optimizer=torch.optim.AdamW,
        optimizer__weight_decay=options.weight_decay,
        lr=options.lr,
        max_epochs=options.epochs,
        batch_size=job.batch_size,
        device=str(placement(model)[0]),
        verbose=0,
    )
    return net, keeper


def _run(net: "WindowsNet", keeper: "BestKeeper", state: TrainingState | None) -> str:
    """Train, or go on training, and leave the best weights in the model however it ends."""
    net.initialize()
    try:
        if state is not None:
            keeper.resume(net, state)
            if state.stopped is not None:
                return state.stopped
        return net.run()
    finally:
        with turn(net.module_):
            if keeper.best is not None:
                net.module_.load_state_dict(keeper.best)
            net.module_.eval()


def _history(job: Job, how: str, rows: list[dict[str, Any]]) -> History:
    return History(
        epochs=epochs_frame(rows, job.figures),
        best_epoch=job.best_epoch([row[job.options.monitor] for row in rows]),
        seconds=float(sum(row["seconds"] for row in rows)),
        monitor=job.options.monitor,
        seed=job.seed,
        stopped=how,
        splits={"train": span(job.train), "valid": span(job.valid)},
        task=job.train.task,
        classes=job.train.classes,
        options=job.options.recipe(),
        provenance=dict(job.train.provenance),
    )


def _check(model: nn.Module, job: Job) -> None:
    train, valid = job.train, job.valid
    for name, windows in {"train": train, "valid": valid}.items():
        if len(windows) == 0:
            raise ValueError(f"{name} has no window whose label is known. Choose other dates to split at.")
        check_windows(model, windows)
        check_finite(windows)
    unlike = [n for n in UNCHANGING if getattr(train, n) != getattr(valid, n)]
    if unlike:
        raise ValueError(
            f"train and valid differ in {', '.join(unlike)}. Take both from one Windows.split(…)."
        )
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError(
            "The model has no weight that can be trained: every parameter has requires_grad=False."
        )
    if job.cross_sectional and hasattr(model, "training_loss") and train.is_panel and job.batch_size > 1:
        raise ValueError(
            f"This {type(model).__name__} reads one day at a time and adds a loss of its own to it, so a "
            f"batch is one day: batch_size must be 1, got {job.batch_size}."
        )
    _warn_of_odd_sets(train, valid)


def _warn_of_odd_sets(train: Windows, valid: Windows) -> None:
    seen = set(zip(train.dates, train.tickers, strict=True))
    shared = sum(key in seen for key in zip(valid.dates, valid.tickers, strict=True))
    if shared:
        warnings.warn(
            f"{shared} of {len(valid)} validation windows are training windows too: the validation figures "
            "flatter, and the best epoch is chosen by what was learnt by heart. Use Windows.split(…).",
            stacklevel=4,
        )
    begins = valid.dates.sort_values()[0]
    late = int(np.asarray(train.label_dates >= begins).sum())
    if late and np.asarray(train.dates < begins).all():
        warnings.warn(
            f"The labels of {late} training windows reach into valid, which begins on {begins}. "
            "Use windows.split(…), which leaves out windows whose label ends too late.",
            stacklevel=4,
        )
    absent = [name for i, name in enumerate(train.classes) if not bool((train.y == i).any())]
    if absent:
        warnings.warn(
            f"No training window is labelled {' or '.join(absent)}, so the model cannot learn it. "
            "Lower the labels' threshold or train on more bars.",
            stacklevel=4,
        )


def take_statistics(model: nn.Module, train: Windows) -> None:
    """Give the model's scalings, where it has them, the statistics of the training windows and labels."""
    scaling, forecast_scaling = getattr(model, "scaling", None), getattr(model, "forecast_scaling", None)
    if isinstance(scaling, InputScaling):
        scaling.fit_(*statistics(train, scaling.anchors))
    if isinstance(forecast_scaling, ForecastScaling):
        y = train.labelled().y.double()
        forecast_scaling.fit_(y.mean(), y.std(unbiased=False))
