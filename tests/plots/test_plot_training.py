"""A training's history as drawn, against its epochs."""

from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from workbench import plots


def history_of(count=8, best=3, monitor="valid_balanced_accuracy", **more):
    epoch = np.arange(1, count + 1)
    epochs = pd.DataFrame(
        {
            "train_loss": 1.1 - 0.05 * epoch,
            "valid_loss": 1.0 + 0.01 * (epoch - best) ** 2,
            "valid_balanced_accuracy": 0.33 + 0.01 * epoch,
        },
        index=pd.RangeIndex(1, count + 1, name="epoch"),
    )
    told = {"best_epoch": best, "seconds": 12.34, "monitor": monitor, "seed": 7, "stopped": "early"}
    return SimpleNamespace(epochs=epochs, **{**told, "task": "classification", **more})


def test_losses_and_the_monitored_figure_are_drawn_by_epoch():
    history = history_of()
    panels = plots.history(history)
    train, _, valid, _ = panels["loss"].lines[:4]
    np.testing.assert_array_equal(train.get_xdata(), history.epochs.index)
    np.testing.assert_array_equal(train.get_ydata(), history.epochs["train_loss"])
    np.testing.assert_array_equal(valid.get_ydata(), history.epochs["valid_loss"])
    np.testing.assert_array_equal(
        panels["metric"].lines[0].get_ydata(), history.epochs["valid_balanced_accuracy"]
    )


def test_the_best_epoch_is_marked_on_every_curve():
    panels = plots.history(history_of(best=3))
    for ax in panels.values():
        dots = [line for line in ax.lines if line.get_marker() == "o"]
        assert dots
        assert all(list(line.get_xdata()) == [3] for line in dots)
        assert list(ax.lines[-1].get_xdata()) == [3, 3]  # the dotted line


def test_the_title_has_best_epoch_seconds_ending_and_seed():
    title = plots.history(history_of())["loss"].get_title(loc="left")
    assert "best epoch 3 of 8 by validation balanced accuracy" in title
    assert "12.3 seconds · stopped early · seed 7" in title


def test_a_monitored_loss_needs_no_second_panel():
    assert list(plots.history(history_of(monitor="valid_loss"))) == ["loss"]


@pytest.mark.parametrize(
    ("task", "said"),
    [("classification", "Loss [nat]"), ("regression", "Loss [label variances]"), ("", "Loss")],
)
def test_the_loss_has_the_unit_of_its_task(task, said):
    panels = plots.history(history_of(task=task))
    assert panels["loss"].get_ylabel() == said
    assert panels["metric"].get_ylabel() == "Balanced\naccuracy [share]"


def test_epochs_are_whole_numbers_even_if_there_is_one():
    ax = plots.history(history_of(count=1, best=1))["metric"]
    low, high = ax.get_xlim()
    ticks = [tick for tick in ax.get_xticks() if low <= tick <= high]
    assert ticks == [1]


def test_a_history_without_epochs_is_refused():
    history = history_of()
    history.epochs = history.epochs.iloc[:0]
    with pytest.raises(ValueError, match="at least one epoch"):
        plots.history(history)
    with pytest.raises(ValueError, match="monitored column 'valid_ic'"):
        plots.history(history_of(monitor="valid_ic"))


def test_given_axes_are_used_and_made_up_prices_named():
    _, ax = plt.subplots()
    panels = plots.history(history_of(provenance={"synthetic": True}), ax=ax)
    assert panels["loss"] is ax
    assert ax.get_title(loc="left").startswith("SYNTHETIC")


@pytest.mark.parametrize(("count", "background"), [(1, "light"), (5, "dark"), (200, "light")])
def test_texts_can_be_read(readable, count, background):
    with plots.theme(background):
        readable(plots.history(history_of(count, best=1))["loss"].figure)


def forecasts(**more):
    history = history_of(task="regression", **more)
    epoch = history.epochs.index.to_numpy()
    history.epochs = history.epochs.drop(columns="valid_balanced_accuracy").assign(
        valid_ic=0.01 * epoch, valid_rank_ic=0.02 * epoch
    )
    return history


@pytest.mark.parametrize("monitor", ["valid_loss", "valid_ic", "valid_rank_ic"])
def test_forecasts_show_both_coefficients_whichever_was_monitored(monitor):
    history = forecasts(monitor=monitor)
    panels = plots.history(history)
    assert list(panels) == ["loss", "metric"]
    drawn = {line.get_label(): line.get_ydata() for line in panels["metric"].lines}
    np.testing.assert_array_equal(drawn["IC"], history.epochs["valid_ic"])
    np.testing.assert_array_equal(drawn["rank IC"], history.epochs["valid_rank_ic"])


def test_a_panel_shows_its_icir_and_the_loss_says_what_it_is():
    history = forecasts(monitor="valid_icir", options={"loss": "ic"})
    history.epochs["valid_icir"] = 0.3
    panels = plots.history(history)
    assert list(panels) == ["loss", "metric", "spread"]
    assert panels["loss"].get_ylabel() == "Loss [1 − IC]"
    assert panels["spread"].get_ylabel() == "ICIR\n[by day]"
    np.testing.assert_array_equal(panels["spread"].lines[0].get_ydata(), history.epochs["valid_icir"])
