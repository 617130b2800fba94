import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.training.options import TrainingOptions


def factors(options: TrainingOptions, losses=()) -> list[float]:
    return [options.lr_factor(epoch, losses[:epoch]) for epoch in range(options.epochs)]


def test_cosine_worked_by_hand():
    expected = [1, 0.01 + 0.99 * 0.75, 0.01 + 0.99 * 0.25]  # (1 + cos(0°, 60°, 120°)) / 2
    assert factors(TrainingOptions(epochs=3)) == pytest.approx(expected)


def test_warm_up_rises_in_equal_steps_and_then_the_cosine_begins():
    options = TrainingOptions(epochs=6, warmup=3)
    expected = [0.25, 0.5, 0.75, 1, 0.01 + 0.99 * 0.75, 0.01 + 0.99 * 0.25]
    assert factors(options) == pytest.approx(expected)


def test_plateau_halves_after_epochs_without_a_better_loss():
    options = TrainingOptions(epochs=7, schedule="plateau", patience=6)  # a third: 2 epochs
    losses = [1.0, 0.9, 0.95, 0.9, 0.8, 0.85, 0.81]
    assert factors(options, losses) == [1, 1, 1, 1, 0.5, 0.5, 0.5]
    assert options.lr_factor(7, losses) == 0.25


def test_none_keeps_the_rate():
    assert factors(TrainingOptions(epochs=4, schedule="none")) == [1, 1, 1, 1]


@given(st.integers(1, 60), st.integers(0, 10), st.sampled_from(["cosine", "plateau", "none"]))
def test_the_rate_never_leaves_its_bounds(epochs, warmup, schedule):
    options = TrainingOptions(epochs=epochs, warmup=warmup, schedule=schedule)
    assert all(0 < f <= 1 for f in factors(options, [1.0] * epochs))


@given(st.integers(2, 60))
def test_the_cosine_only_sinks(epochs):
    sinking = factors(TrainingOptions(epochs=epochs))
    assert all(a > b for a, b in pairwise(sinking))
    assert sinking[-1] == pytest.approx(0.01 + 0.99 * (1 - math.cos(math.pi / epochs)) / 2)


def test_an_unknown_option_is_refused_with_the_list_and_a_guess():
    with pytest.raises(TypeError, match=r"no option 'learning_rat'.*There are: epochs, batch_size, lr"):
        TrainingOptions.of({"learning_rat": 1})
    with pytest.raises(TypeError, match="Did you mean 'patience'"):
        TrainingOptions.of({"patiense": 1})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be positive, got 0"),
        ({"batch_size": 0}, "batch_size must be positive"),
        ({"lr": -1.0}, "lr must be positive"),
        ({"patience": 0}, "patience must be positive"),
        ({"clip_norm": 0}, "clip_norm must be positive"),
        ({"threads": 0}, "threads must be positive"),
        ({"weight_decay": -0.1}, "weight_decay must not be negative"),
        ({"warmup": -1}, "warmup must not be negative"),
        ({"schedule": "linear"}, "cosine, plateau, none, got 'linear'"),
        ({"class_weights": "even"}, "'balanced', None or numbers, got 'even'"),
        ({"loss": "mae"}, "loss must be None or one of mse, ic, got 'mae'"),
        ({"batch_by": "week"}, "batch_by must be None or one of window, day, got 'week'"),
    ],
)
def test_values_that_cannot_work_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TrainingOptions.of(options)


@pytest.mark.parametrize(("task", "monitor"), [("classification", "valid_ic"), ("regression", "valid_mcc")])
def test_a_monitor_that_the_task_lacks_is_refused(task, monitor):
    with pytest.raises(ValueError, match=f"monitor must be one of valid_loss.* for {task}, got '{monitor}'"):
        TrainingOptions(monitor=monitor).lower_is_better(task)


def test_only_a_loss_is_better_when_lower():
    assert TrainingOptions(monitor="valid_loss").lower_is_better("classification")
    assert not TrainingOptions(monitor="valid_mcc").lower_is_better("classification")
    assert not TrainingOptions(monitor="valid_ic").lower_is_better("regression")


def test_the_recipe_leaves_out_what_does_not_change_the_outcome():
    recipe = TrainingOptions(progress=False, checkpoint="x", class_weights=(1, 2, 3)).recipe()
    assert recipe["class_weights"] == [1.0, 2.0, 3.0]
    assert not {"progress", "checkpoint", "callbacks"} & recipe.keys()


@pytest.mark.parametrize(
    ("given", "together", "panel", "batch_by", "batch_size"),
    [
        ({}, False, True, "window", 64),
        ({}, True, True, "day", 1),
        ({}, True, False, "day", 64),
        ({"loss": "ic"}, False, True, "day", 1),
        ({"loss": "ic"}, False, False, "window", 64),
        ({"batch_by": "day", "batch_size": 8}, False, True, "day", 8),
        ({"batch_size": 8}, True, True, "day", 8),
    ],
)
def test_batches_are_of_what_is_needed(given, together, panel, batch_by, batch_size):
    settled = TrainingOptions(**given).settled("regression", together, panel)
    assert (settled.batch_by, settled.batch_size) == (batch_by, batch_size)


def test_what_is_usual_is_not_in_the_recipe():
    usual = TrainingOptions().recipe()
    assert usual["batch_size"] == 64
    assert not {"loss", "batch_by"} & usual.keys()
    assert TrainingOptions(loss="mse").settled("regression", False, True).recipe() == usual
    by_day = TrainingOptions(loss="ic").settled("regression", False, True).recipe()
    assert by_day == usual | {"loss": "ic", "batch_by": "day", "batch_size": 1}
