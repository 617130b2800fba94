import math
import threading

import pytest

from workbench.training.job import Job
from workbench.training.options import TrainingOptions


def job(windows, monitor="valid_loss", batch_size=64):
    options = TrainingOptions(monitor=monitor, batch_size=batch_size)
    return Job(windows, windows, 0, options, threading.Event())


@pytest.mark.parametrize(
    ("scores", "lowest", "highest"),
    [
        ([0.5, 0.2, 0.9, 0.2, 0.9], 2, 3),  # the first of equals
        ([math.nan, 0.5, 0.2, math.nan, 0.9], 3, 5),  # undefined is never better
        ([math.nan, math.nan], 1, 1),
        ([], 0, 0),
    ],
)
def test_the_best_epoch_follows_the_monitors_direction(make_windows, scores, lowest, highest):
    assert job(make_windows()).best_epoch(scores) == lowest
    assert job(make_windows(), "valid_mcc").best_epoch(scores) == highest


@pytest.mark.parametrize(("batch_size", "batches"), [(1, 81), (27, 3), (40, 3), (81, 1), (200, 1)])
def test_a_smaller_last_batch_counts(parts, batch_size, batches):
    assert job(parts[0], batch_size=batch_size).batches == batches


def test_an_epoch_has_the_figures_of_its_task(make_windows):
    assert job(make_windows(task="regression")).figures == (
        "train_loss",
        "valid_loss",
        "valid_ic",
        "valid_rank_ic",
        "lr",
        "seconds",
    )
    assert "valid_balanced_accuracy" in job(make_windows()).figures
