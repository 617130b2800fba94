import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from workbench.models.registry import build_model
from workbench.training.fitting import fit
from workbench.training.losses import loss_for
from workbench.training.options import TrainingOptions
from workbench.training.prediction import outputs_of
from workbench.training.states import weights_of, weights_sha256

TINY = {"d_model": 8, "n_heads": 2, "n_layers": 1, "d_ff": 16, "dropout": 0.2}
QUICK = {"epochs": 3, "batch_size": 32, "progress": False}


def digest(model: nn.Module) -> str:
    return weights_sha256(weights_of(model))


def plain_loop(model, train, valid, seed, options):
    """The training that `fit` promises, written out: no skorch, no windows of ours but for the data."""
    x, y, xv, yv = train.x.contiguous(), train.y, valid.x.contiguous(), valid.y
    criterion = loss_for(train, options.class_weights, torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.lr, weight_decay=options.weight_decay)
    best, losses = (math.inf, None), []
    for epoch in range(options.epochs):
        for group in optimizer.param_groups:
            group["lr"] = options.lr * (0.01 + 0.99 * (1 + math.cos(math.pi * epoch / options.epochs)) / 2)
        order = np.random.default_rng([seed, epoch]).permutation(len(train))
        model.train()
        for start in range(0, len(order), options.batch_size):
            rows = torch.from_numpy(order[start : start + options.batch_size])
            optimizer.zero_grad()
            criterion(model(x[rows]), y[rows]).backward()
            nn.utils.clip_grad_norm_(model.parameters(), options.clip_norm)
            optimizer.step()
        model.eval()
        with torch.no_grad():
            losses.append(criterion(model(xv), yv).item())
        if losses[-1] < best[0]:
            best = losses[-1], weights_of(model)
    model.load_state_dict(best[1])
    return losses


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_training_is_the_loop_one_would_write(make_windows, linear, task):
    train, valid, _ = make_windows(task=task).split(0.7, 0.85)
    options = {"epochs": 6, "batch_size": 20, "lr": 0.02, "clip_norm": 0.5, "progress": False}
    ours, theirs = linear(train.n_outputs), linear(train.n_outputs)
    history = fit(ours, train, valid, seed=5, **options)
    losses = plain_loop(theirs, train, valid, 5, TrainingOptions(**options))
    np.testing.assert_allclose(history.epochs["valid_loss"], losses, rtol=1e-6)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-7)


def test_a_model_learns_what_there_is_to_learn(make_windows, linear):
    train, valid, test = make_windows(bars=600, noise=0.05).split(0.7, 0.85)
    model = linear()
    history = fit(model, train, valid, epochs=15, lr=0.02, progress=False)
    known = test.labelled()
    right = outputs_of(model, known).argmax(1) == known.y
    assert history.best["valid_balanced_accuracy"] > 0.75
    assert right.double().mean() > 0.75


@pytest.mark.parametrize("name", ["transformer", "lstm"])
def test_the_same_call_gives_the_same_weights_to_the_last_bit(parts, name):
    options = TINY if name == "transformer" else {"hidden_size": 8, "dropout": 0.2}

    def run(seed):
        model = build_model(name, parts[0], **options)
        history = fit(model, *parts[:2], seed=seed, **QUICK)
        return digest(model), history.epochs.drop(columns="seconds")

    first, again, other = run(0), run(0), run(1)
    assert first[0] == again[0] != other[0]
    assert first[1].equals(again[1])


def test_the_outcome_does_not_hang_on_the_callers_threads(parts):
    from skorch.callbacks import Callback

    class Count(Callback):
        def on_batch_end(self, net, **kwargs):
            counts.append(torch.get_num_threads())

    def run(outside, **options):
        torch.set_num_threads(outside)
        model = build_model("transformer", parts[0], **TINY)
        fit(model, *parts[:2], callbacks=[Count()], **QUICK, **options)
        assert torch.get_num_threads() == outside
        return digest(model)

    counts: list[int] = []
    try:
        assert run(1) == run(2)
        assert set(counts) == {1}
        counts.clear()
        run(1, threads=2)
        run(2, threads=None)
        assert set(counts) == {2}
    finally:
        torch.set_num_threads(1)


def test_the_callers_randomness_is_left_alone(parts):
    torch.manual_seed(7), np.random.seed(7)  # noqa: NPY002  (the caller's, which fit must not touch)
    expected = torch.rand(3), np.random.rand(3)  # noqa: NPY002
    torch.manual_seed(7), np.random.seed(7)  # noqa: NPY002
    model = build_model("transformer", parts[0], **TINY)
    fit(model, *parts[:2], **QUICK)
    assert torch.equal(torch.rand(3), expected[0])
    assert np.array_equal(np.random.rand(3), expected[1])  # noqa: NPY002


def test_the_first_import_of_skorch_leaves_pythons_random_numbers_alone():
    code = (
        "import random, sys, torch, pandas as pd\n"
        "from tests.training.conftest import _windows, Linear\n"
        "from workbench.training.fitting import fit\n"
        "train, valid, _ = _windows().split(0.7, 0.85)\n"
        "before = random.getstate()\n"
        "assert 'skorch' not in sys.modules\n"
        "fit(Linear(), train, valid, epochs=1, progress=False)\n"
        "assert 'skorch' in sys.modules\n"
        "assert random.getstate() == before\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_best_epochs_weights_are_in_the_model(parts):
    model = build_model("transformer", parts[0], **TINY)
    history = fit(model, *parts[:2], epochs=11, lr=0.05, patience=None, schedule="none", progress=False)
    _, valid, _ = parts
    loss = loss_for(parts[0], "balanced", torch.float32)(outputs_of(model, valid), valid.y).item()
    assert history.best_epoch == history.epochs["valid_loss"].idxmin() < 11
    assert loss == pytest.approx(history.best["valid_loss"], rel=1e-5)
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("monitor", ["valid_loss", "valid_balanced_accuracy", "valid_accuracy", "valid_mcc"])
def test_the_named_monitor_chooses_the_best_epoch_and_when_to_stop(parts, linear, monitor):
    history = fit(linear(), *parts[:2], epochs=40, lr=0.3, monitor=monitor, patience=3, progress=False)
    column = history.epochs[monitor]
    assert history.best_epoch == (column.idxmin() if monitor == "valid_loss" else column.idxmax())
    assert history.stopped == "early"
    assert len(column) == history.best_epoch + 3
    assert history.monitor == monitor
    assert f"chosen by {monitor}" in str(history)


def test_forecasts_may_be_judged_by_their_information_coefficient(make_windows, linear):
    train, valid, _ = make_windows(task="regression").split(0.7, 0.85)
    model = linear(1)
    history = fit(model, train, valid, epochs=10, lr=0.02, monitor="valid_ic", progress=False)
    forecast = outputs_of(model, valid).squeeze(1).double().numpy()
    expected = np.corrcoef(forecast, valid.y.double().numpy())[0, 1]
    assert history.best["valid_ic"] == pytest.approx(expected, abs=1e-6)
    assert history.best_epoch == history.epochs["valid_ic"].idxmax()


def test_the_coefficient_of_a_panel_is_the_mean_of_its_days(make_windows, linear):
    train, valid, _ = make_windows(task="regression", tickers=("A", "B", "C")).split(0.7, 0.85)
    model = linear(1)
    history = fit(model, train, valid, epochs=1, progress=False)
    forecast, y = outputs_of(model, valid).squeeze(1).double().numpy(), valid.y.double().numpy()
    days = [np.corrcoef(forecast[valid.dates == d], y[valid.dates == d])[0, 1] for d in valid.dates.unique()]
    assert history.best["valid_ic"] == pytest.approx(np.mean(days), abs=1e-6)


class Listener(nn.Module):
    """Notes every window it is shown while training, by the first number of its last bar."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(12, 3)
        self.heard: list[list[float]] = []

    def forward(self, x):
        if self.training:
            self.heard.append(x[:, -1, 0].tolist())
        return self.layer(x.flatten(1))


@pytest.mark.parametrize("batch_size", [1, 10, 16, 80, 500])  # 81 windows: 10, 16 and 80 leave one over
def test_every_window_is_seen_once_an_epoch_in_a_new_order(parts, batch_size):
    train, valid, _ = parts
    model = Listener()
    assert len(train) == 81
    fit(model, train, valid[:1], epochs=2, batch_size=batch_size, progress=False)
    shown = [value for batch in model.heard for value in batch]
    first, second = shown[:81], shown[81:]
    assert sorted(first) == sorted(second) == sorted(train.x[:, -1, 0].tolist())
    assert first != second
    assert first != train.x[:, -1, 0].tolist()
    assert max(len(batch) for batch in model.heard) == min(batch_size, 81)


@pytest.mark.parametrize(("n", "batch_size"), [(1, 81), (5, 4), (16, 5), (16, 200)])
def test_the_validation_loss_is_over_all_windows_not_a_mean_of_batches(parts, linear, n, batch_size):
    train, valid, _ = parts
    model, some = linear(), valid[:n]
    history = fit(model, train, some, epochs=1, batch_size=batch_size, progress=False)
    expected = loss_for(train, "balanced", torch.float32)(outputs_of(model, some), some.y).item()
    assert history.best["valid_loss"] == pytest.approx(expected, rel=1e-6)


def test_windows_without_a_label_are_left_out(make_windows, linear):
    train, _, test = make_windows().split(0.7, 0.85)
    assert len(test.labelled()) < len(test)
    history = fit(linear(), train, test, epochs=1, progress=False)
    assert history.splits["valid"]["windows"] == len(test.labelled())
    assert np.isfinite(history.best["valid_loss"])
    unknown = test[(test.y < 0).numpy()]
    with pytest.raises(ValueError, match="valid has no window whose label is known"):
        fit(linear(), train, unknown)


def test_the_scaling_comes_from_the_training_bars_alone(make_windows):
    train, valid, _ = make_windows(task="regression").split(0.7, 0.85)
    bars = train.bars[: int(train.ends[-1]) + 1].double()
    model = build_model("transformer", train, **TINY)
    fit(model, train, valid, **QUICK)
    first = int(train.ends[0]) - train.lookback + 1
    torch.testing.assert_close(model.scaling.mean, bars[first:].mean(0).float())
    torch.testing.assert_close(model.scaling.std, bars[first:].std(0, unbiased=False).float())
    torch.testing.assert_close(model.forecast_scaling.mean, train.y.mean())
    torch.testing.assert_close(model.forecast_scaling.std, train.y.std(unbiased=False))


def test_the_learning_rate_of_every_epoch_is_written_down(parts, linear):
    history = fit(linear(), *parts[:2], epochs=3, lr=0.1, warmup=1, progress=False)
    factors = [TrainingOptions(epochs=3, warmup=1).lr_factor(epoch, []) for epoch in range(3)]
    assert history.epochs["lr"].tolist() == pytest.approx([0.1 * factor for factor in factors])


def test_gradients_are_clipped_to_the_norm_asked_for(parts, linear):
    from skorch.callbacks import Callback

    norms = []

    class Watch(Callback):
        def on_grad_computed(self, net, named_parameters, **kwargs):
            norms.append(math.sqrt(sum(p.grad.square().sum().item() for _, p in named_parameters)))

    for clip_norm in (None, 0.01):
        fit(linear(), *parts[:2], epochs=1, clip_norm=clip_norm, callbacks=[Watch()], progress=False)
    free, clipped = norms[: len(norms) // 2], norms[len(norms) // 2 :]
    assert min(free) > 0.01
    assert max(clipped) == pytest.approx(0.01, rel=1e-3)


def test_a_model_in_double_precision_trains(parts, linear):
    model = linear().double()
    fit(model, *parts[:2], **QUICK)
    assert outputs_of(model, parts[2]).dtype == torch.float64


class Shaped(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.layer, self.shape = nn.Linear(12, 1), shape

    def forward(self, x):
        return self.layer(x.flatten(1)).expand(len(x), *self.shape[1:]).reshape(-1, *self.shape[1:])


@pytest.mark.parametrize("columns", [1, 2])
def test_an_output_of_the_wrong_shape_is_refused(parts, columns):
    with pytest.raises(ValueError, match=rf"= \(64, 3\), one column for each of.*Got \(64, {columns}\)"):
        fit(Shaped((64, columns)), *parts[:2], progress=False)


def test_sets_of_windows_that_do_not_go_together_are_refused(parts, linear):
    train, valid, _ = parts
    with pytest.raises(ValueError, match="differ in feature_names"):
        fit(linear(), train, replace(valid, feature_names=("a", "b", "d")))
    with pytest.raises(ValueError, match="differ in horizon"):
        fit(linear(), train, replace(valid, horizon=2))


def test_a_model_for_other_windows_is_refused(parts):
    model = build_model("lstm", replace(parts[0], feature_names=("a", "d", "c")))
    with pytest.raises(ValueError, match=r"The windows lack d\. The model doesn't know b\."):
        fit(model, *parts[:2])


def test_a_nan_among_the_features_is_refused_with_its_date(parts, linear):
    train, valid, _ = parts
    bars = valid.bars.clone()
    bars[int(valid.ends[3])] = math.nan
    with pytest.raises(ValueError, match="window decided on"):
        fit(linear(), train, replace(valid, bars=bars))


def test_a_model_with_nothing_to_train_is_refused(parts, linear):
    with pytest.raises(ValueError, match="no weight that can be trained"):
        fit(linear().requires_grad_(False), *parts[:2])


def test_validating_on_training_windows_is_warned_of(parts, linear):
    with pytest.warns(UserWarning, match="14 of 14 validation windows are training windows too"):
        fit(linear(), parts[0], parts[0][10:24], **QUICK)


def test_training_labels_that_reach_into_valid_are_warned_of(make_windows, linear):
    windows = make_windows()
    with pytest.warns(UserWarning, match=r"labels of 1 training windows reach into valid.*windows\.split"):
        fit(linear(), windows[:80], windows[80:100], **QUICK)
    fit(linear(), windows[:79], windows[80:100], **QUICK)  # a warning is an error here


def test_a_class_that_training_never_shows_is_warned_of(parts, linear):
    train, valid, _ = parts
    with pytest.warns(UserWarning, match="No training window is labelled sell"):
        fit(linear(), train[(train.y != 0).numpy()], valid, **QUICK)


class Breaking(nn.Module):
    """Returns NaN at its n-th training batch."""

    def __init__(self, at):
        super().__init__()
        self.layer, self.at, self.seen, self.dates = nn.Linear(12, 3), at, 0, None

    def forward(self, x):
        self.seen += self.training
        return self.layer(x.flatten(1)) * (math.nan if self.seen == self.at else 1)


def test_a_loss_that_is_no_number_stops_with_the_batch_named(parts):
    train, valid, _ = parts
    model = Breaking(at=5)  # 81 windows by 32: three batches an epoch, so the second of epoch 2
    with pytest.raises(FloatingPointError, match="became nan in epoch 2, training batch 2 ") as caught:
        fit(model, train, valid, seed=3, **QUICK)
    rows = np.random.default_rng([3, 1]).permutation(81)[32:35]
    assert ", ".join(str(train.dates[row]) for row in rows) in str(caught.value)


def test_after_a_broken_loss_the_model_has_the_best_weights_so_far(parts):
    torch.manual_seed(0)
    model, calm = Breaking(at=5), Breaking(at=-1)
    calm.load_state_dict(model.state_dict())
    with pytest.raises(FloatingPointError):
        fit(model, *parts[:2], **QUICK | {"schedule": "none"})
    fit(calm, *parts[:2], **QUICK | {"epochs": 1, "schedule": "none"})
    assert digest(model) == digest(calm)


def test_skorch_is_imported_by_training_alone():
    code = "import workbench.training.checkpoints, sys; print('skorch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
