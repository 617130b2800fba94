"""Batches of decision days, and models that read the stocks of a day together."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from skorch.callbacks import Callback
from torch import nn

from workbench.models.registry import build_model
from workbench.training.checkpoints import ensure_model
from workbench.training.days import cross_sections, days_of, is_cross_sectional, learnable
from workbench.training.fitting import fit
from workbench.training.losses import CorrelationLoss
from workbench.training.prediction import outputs_of, predict
from workbench.training.states import TrainingState, weights_of, weights_sha256

NAMES = ("A", "B", "C", "D")
QUICK = {"epochs": 4, "lr": 0.02, "progress": False, "threads": None}


class Relative(nn.Module):
    """A day's answers hang together: each is told against the mean of the day's."""

    cross_sectional = True

    def __init__(self, outputs: int = 1, seed: int = 0, noisy: float = 0.0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.layer = nn.Linear(12, outputs)
        self.dropout = nn.Dropout(noisy)
        self.days: list[list[float]] = []

    def forward(self, x):
        if self.training:
            self.days.append(x[:, -1, 0].tolist())
        own = self.layer(self.dropout(x.flatten(1)))
        return own - own.mean(0) if len(x) > 1 else own


@pytest.fixture
def panel(make_windows):
    return make_windows(task="regression", tickers=NAMES, bars=60)


@pytest.fixture
def sets(panel):
    return panel.split(0.7, 0.85)[:2]


def hide(windows, rows):
    """Forget the labels of some windows."""
    y, dates = windows.y.clone(), windows.label_dates.to_series(index=range(len(windows)))
    y[rows] = float("nan") if y.is_floating_point() else -1
    dates.iloc[list(rows)] = pd.NaT
    return replace(windows, y=y, label_dates=pd.DatetimeIndex(dates))


def test_rows_of_days_worked_by_hand(panel):
    some = panel[[8, 0, 9, 1, 4]]  # four tickers a day: days 2, 0, 2, 0, 1
    assert [day.tolist() for day in days_of(some)] == [[1, 3], [4], [0, 2]]
    assert days_of(panel[:0]) == []


def test_moments_of_one_day_are_days_of_their_own(panel):
    hours = panel.dates + pd.to_timedelta(np.arange(len(panel)) // 2 % 2, unit="h")
    assert [len(day) for day in days_of(replace(panel, dates=hours)[:8])] == [2, 2, 2, 2]


def test_a_stock_that_stands_twice_in_a_day_is_refused(panel):
    with pytest.raises(ValueError, match=r"1 windows occur more than once, the first of B on 2010-01-0\d"):
        cross_sections(panel[[0, 1, 1, 2]])
    with pytest.raises(ValueError, match="Leave the repeated windows out"):
        predict(Relative(), panel[[0, 1, 1, 2]])


def test_neighbours_without_a_label_stay_where_the_day_is_read_together(panel):
    windows = hide(panel[:12], [1, 4, 5, 6, 7])  # one of day 0, all of day 1
    assert len(learnable(windows, cross_sectional=False)) == 7
    kept = learnable(windows, cross_sectional=True)
    assert kept.tickers.tolist() == [*NAMES, *NAMES]
    assert kept.dates.unique().tolist() == panel.dates.unique()[[0, 2]].tolist()


def naive(model, windows):
    """Answers day by day, written plainly."""
    answers = torch.empty(len(windows), 1)
    for date in windows.dates.unique():
        rows = np.flatnonzero(windows.dates == date)
        with torch.no_grad():
            answers[rows] = model.eval()(windows.batch(rows))
    return answers


def test_predictions_are_made_a_day_at_a_time_and_put_back_in_their_order(panel):
    model = Relative()
    order = np.random.default_rng(0).permutation(len(panel))
    answers = outputs_of(model, panel, batch_size=3)
    torch.testing.assert_close(answers, naive(model, panel), rtol=0, atol=0)
    assert outputs_of(model, panel[order]).allclose(answers[order], atol=1e-6)
    frame = predict(model, panel[order])
    assert frame.index.tolist() == list(zip(panel.dates[order], panel.tickers[order], strict=True))
    by_day = frame["forecast"].groupby(level="date").mean()
    assert by_day.to_numpy() == pytest.approx(0, abs=1e-6)


def test_one_day_one_ticker_and_nothing_are_predicted_too(panel, make_windows):
    model = Relative()
    assert len(predict(model, panel[:4])) == 4
    assert len(predict(model, panel[:1])) == 1
    assert predict(model, panel[:0]).shape == (0, 1)
    single = make_windows(task="regression", bars=30)
    with torch.no_grad():
        alone = torch.cat([model(x[None]) for x in single.x])
    torch.testing.assert_close(outputs_of(model, single), alone)


def test_an_epoch_shows_every_day_once_whole_and_in_a_new_order(sets):
    model, (train, valid) = Relative(), sets
    days = [train.batch(rows)[:, -1, 0].tolist() for rows in days_of(train)]
    fit(model, train, valid, **QUICK | {"epochs": 2})
    first, second = model.days[: len(days)], model.days[len(days) :]
    assert sorted(first) == sorted(second) == sorted(days)
    assert first != second
    assert first != days


def test_several_days_a_step_are_several_forwards_and_one_step(sets):
    steps = []

    class Count(Callback):
        def on_grad_computed(self, net, **kwargs):
            steps.append(1)

    model, (train, valid) = Relative(), sets
    fit(model, train, valid, **QUICK | {"epochs": 1, "batch_size": 5, "callbacks": [Count()]})
    days = train.dates.nunique()
    assert len(model.days) == days
    assert len(steps) == -(-days // 5)


def test_a_step_worked_out_plainly_gives_the_same_weights(sets):
    """AdamW on the masked mean square of two days' windows at a time, in the order of the epoch."""
    train, valid = sets
    train = hide(train, [2, 9, 10])
    model, plain = Relative(), Relative()
    fit(model, train, valid, seed=3, **QUICK | {"epochs": 1, "batch_size": 2, "clip_norm": None})
    optimizer = torch.optim.AdamW(plain.parameters(), lr=0.02, weight_decay=0.01)
    dates = train.dates.unique().sort_values()
    variance = float(np.nanvar(train.y.double().numpy()))
    order = np.random.default_rng([3, 0]).permutation(len(dates))
    for start in range(0, len(dates), 2):
        errors = []
        for day in order[start : start + 2]:
            rows = np.flatnonzero(train.dates == dates[day])
            known = ~train.y[rows].isnan()
            errors.append((plain(train.batch(rows)).squeeze(1) - train.y[rows])[known])
        optimizer.zero_grad()
        (torch.cat(errors).square().mean() / variance).backward()
        optimizer.step()
    torch.testing.assert_close(model.layer.weight, plain.layer.weight, rtol=1e-5, atol=1e-7)


def test_what_a_hidden_label_says_changes_nothing_and_its_window_does(sets):
    train, valid = sets
    known = hide(train, [0, 5])
    wrong = replace(known, y=known.y.clone())
    wrong.y[[0, 5]] = 1e6  # still unknown by its date
    digests = []
    for windows in (known, wrong):
        model = Relative()
        fit(model, windows, valid, **QUICK)
        digests.append(weights_sha256(weights_of(model)))
    assert digests[0] == digests[1]
    without = Relative()
    fit(without, known.labelled(), valid, **QUICK)
    assert weights_sha256(weights_of(without)) != digests[0]


def test_classes_of_a_cross_section_are_masked_too(make_windows):
    windows = make_windows(tickers=NAMES, bars=60)
    train, valid, _ = windows.split(0.7, 0.85)
    train, valid = hide(train, [1, 6]), hide(valid, [3])
    history = fit(Relative(3), train, valid, **QUICK)
    assert history.splits["valid"]["windows"] == len(valid)
    assert np.isfinite(history.epochs.to_numpy()).all()


@pytest.mark.parametrize("loss", ["mse", "ic"])
def test_validation_figures_are_those_of_pandas_by_day(sets, loss):
    train, valid = sets[0], hide(sets[1], [2, 4, 5, 6])  # of the second day one label is left
    model = Relative()
    history = fit(model, train, valid, loss=loss, **QUICK)
    frame = predict(model, valid).assign(y=valid.y.double().numpy()).groupby(level="date")
    daily = frame.apply(lambda day: day["forecast"].corr(day["y"])).dropna()
    ranked = frame.apply(lambda day: day["forecast"].corr(day["y"], method="spearman")).dropna()
    assert len(daily) == valid.dates.nunique() - 1
    best = history.best
    assert best["valid_ic"] == pytest.approx(daily.mean(), abs=1e-6)
    assert best["valid_rank_ic"] == pytest.approx(ranked.mean(), abs=1e-6)
    assert best["valid_icir"] == pytest.approx(daily.mean() / daily.std(), abs=1e-5)
    if loss == "ic":
        assert best["valid_loss"] == pytest.approx(1 - daily.mean(), abs=1e-6)


@pytest.mark.parametrize("monitor", ["valid_rank_ic", "valid_icir", "valid_ic"])
def test_the_daily_figures_may_choose_the_best_epoch(sets, monitor):
    history = fit(Relative(), *sets, monitor=monitor, loss="ic", **QUICK)
    assert history.best_epoch == history.epochs[monitor].idxmax()
    assert history.options["loss"] == "ic"
    assert history.options["batch_by"] == "day"
    assert history.options["batch_size"] == 1


def test_one_ticker_has_no_icir(make_windows, linear):
    train, valid, _ = make_windows(task="regression").split(0.7, 0.85)
    history = fit(linear(1), train, valid, loss="ic", **QUICK)
    assert "valid_icir" not in history.epochs
    assert history.best["valid_loss"] == pytest.approx(1 - history.best["valid_ic"], abs=1e-6)
    with pytest.raises(ValueError, match="windows are of one ticker: monitor valid_ic"):
        fit(linear(1), train, valid, monitor="valid_icir", **QUICK)
    with pytest.raises(ValueError, match="batch_size at least 2"):
        fit(linear(1), train, valid, loss="ic", batch_size=1, **QUICK)


def test_days_may_be_batches_of_any_model(sets, linear):
    sizes = []

    class Sizes(type(linear(1))):
        def forward(self, x):
            if self.training:
                sizes.append(len(x))
            return super().forward(x)

    train, valid = sets
    fit(Sizes(1), train, valid, batch_by="day", batch_size=3, **QUICK | {"epochs": 1})
    days = train.dates.nunique()
    assert sum(sizes) == len(train)
    assert len(sizes) == -(-days // 3)
    assert max(sizes) == 12


def test_windows_out_of_order_are_judged_in_theirs(sets):
    train, valid = sets
    order = np.random.default_rng(1).permutation(len(valid))
    straight = fit(Relative(), train, valid, **QUICK).epochs
    mixed = fit(Relative(), train, valid[order], **QUICK).epochs
    figures = ["valid_loss", "valid_ic", "valid_rank_ic", "valid_icir"]
    np.testing.assert_allclose(straight[figures], mixed[figures], atol=1e-5)


@pytest.mark.parametrize("loss", ["mse", "ic"])
@pytest.mark.parametrize("epoch", [1, 3])
def test_a_killed_run_of_day_batches_resumes_to_the_same_bits(sets, tmp_path, loss, epoch):
    class Killed(Exception):
        pass

    class Kill(Callback):
        def on_batch_end(self, net, training=False, **kwargs):
            if training and len(net.history) == epoch + 1 and len(net.history[-1]["batches"]) == 2:
                raise Killed

    options = QUICK | {"loss": loss, "batch_size": 2}
    whole, resumed = Relative(noisy=0.3), Relative(noisy=0.3)
    expected = fit(whole, *sets, **options)
    with pytest.raises(Killed):
        fit(resumed, *sets, checkpoint=tmp_path, callbacks=[Kill()], **options)
    history = fit(resumed, *sets, checkpoint=tmp_path, **options)
    assert weights_sha256(weights_of(whole)) == weights_sha256(weights_of(resumed))
    figures = [name for name in history.epochs if name != "seconds"]
    pd.testing.assert_frame_equal(expected.epochs[figures], history.epochs[figures], check_exact=True)


class Penalised(nn.Module):
    """Adds the square of its forecasts, kept by forward, to the loss while training."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(12, 1)
        self.kept, self.told = None, []

    def forward(self, x):
        answer = self.layer(x.flatten(1))
        self.kept = answer.square().mean() if self.training else None
        return answer

    def training_loss(self, loss, y):
        assert self.kept is not None
        self.told.append((loss.item(), len(y)))
        total = loss + 2 * self.kept
        self.kept = None
        return total


def test_a_loss_of_the_models_own_is_added_while_training_only(make_windows):
    train, valid, _ = make_windows(task="regression", bars=60).split(0.7, 0.85)
    model = Penalised()
    start = {name: value.clone() for name, value in model.state_dict().items()}
    history = fit(model, train, valid, batch_size=500, **QUICK | {"epochs": 1})
    plain = Penalised()
    plain.load_state_dict(start)
    forecast = plain(train.x)
    penalty = 2 * forecast.square().mean().item()
    mse = ((forecast.squeeze(1) - train.y).square().mean() / train.y.double().var(unbiased=False)).item()
    assert model.told == [(pytest.approx(mse, rel=1e-5), len(train))]
    assert history.best["train_loss"] == pytest.approx(mse + penalty, rel=1e-5)
    after = (outputs_of(model, valid).squeeze(1) - valid.y).square().mean() / train.y.double().var(
        unbiased=False
    )
    assert history.best["valid_loss"] == pytest.approx(after.item(), rel=1e-5)


def test_a_loss_of_its_own_and_several_days_a_step_do_not_go_together(sets):
    class Both(Relative):
        def training_loss(self, loss, y):
            return loss

    fit(Both(), *sets, **QUICK | {"epochs": 1})
    with pytest.raises(ValueError, match=r"adds a loss of its own to it, so a batch is one day.*got 3"):
        fit(Both(), *sets, batch_size=3, **QUICK)


def test_what_cannot_be_is_refused(sets, make_windows, linear):
    with pytest.raises(ValueError, match="this model reads all stocks of a day together: leave batch_by out"):
        fit(Relative(), *sets, batch_by="window", **QUICK)
    with pytest.raises(ValueError, match="loss='ic' compares all stocks of a day"):
        fit(linear(1), *sets, batch_by="window", loss="ic", **QUICK)
    classes = make_windows(tickers=NAMES).split(0.7, 0.85)[:2]
    with pytest.raises(ValueError, match="is for forecasts, and these labels are classes"):
        fit(linear(), *classes, loss="mse", **QUICK)


def test_a_day_without_two_different_labels_teaches_no_correlation():
    loss, days = CorrelationLoss(), torch.tensor([0, 0, 1])
    forecast = torch.tensor([[1.0], [2.0], [3.0]], requires_grad=True)
    value = loss(forecast, torch.tensor([5.0, 5.0, 1.0]), days)
    value.backward()
    assert value.item() == 1
    assert forecast.grad.tolist() == [[0.0], [0.0], [0.0]]


def test_a_model_trained_by_day_is_recognised_and_one_of_other_batches_is_not(sets, tmp_path):
    options = QUICK | {"epochs": 1, "hidden_size": 4}
    first, history = ensure_model("gats", *sets, folder=tmp_path, **options)
    again, kept = ensure_model("gats", *sets, folder=tmp_path, **options)
    assert weights_sha256(weights_of(first)) == weights_sha256(weights_of(again))
    assert kept.seconds == history.seconds  # read, not trained
    assert (kept.options["batch_by"], kept.options["batch_size"]) == ("day", 1)
    _, other = ensure_model("gats", *sets, folder=tmp_path, batch_size=2, **options)
    assert other.seconds != history.seconds
    pd.testing.assert_frame_equal(predict(first, sets[1]), predict(again, sets[1]), check_exact=True)


def test_a_model_of_the_registry_learns_a_signal_relative_to_its_day(make_windows):
    """The label is the rank of the stock's signal among those of its day, which no stock can know alone."""
    windows = make_windows(task="regression", tickers=NAMES, bars=80, noise=0.05)
    ranked = pd.Series(windows.y.numpy()).groupby(np.asarray(windows.dates.asi8)).rank(pct=True)
    y = torch.tensor(ranked.to_numpy(dtype=np.float32)).where(~windows.y.isnan(), torch.tensor(float("nan")))
    train, valid, _ = replace(windows, y=y).split(0.7, 0.85)
    model = build_model("gats", train, hidden_size=12, dropout=0.0)
    history = fit(model, train, valid, loss="ic", **QUICK | {"epochs": 6})
    assert history.best["valid_rank_ic"] > 0.4


def test_a_wrapped_model_reads_days_together_too(panel):
    model = Relative()
    assert is_cross_sectional(nn.DataParallel(model))
    assert not is_cross_sectional(nn.Linear(1, 1))


def test_a_state_of_before_there_were_these_figures_is_gone_on_from(sets, linear, tmp_path):
    class Killed(Exception):
        pass

    class Kill(Callback):
        def on_batch_end(self, net, training=False, **kwargs):
            if training and len(net.history) == 3:
                raise Killed

    whole, resumed = linear(1), linear(1)
    fit(whole, *sets, **QUICK)
    with pytest.raises(Killed):
        fit(resumed, *sets, checkpoint=tmp_path, callbacks=[Kill()], **QUICK)
    state = TrainingState.load(tmp_path)
    newer = ("valid_rank_ic", "valid_icir")
    rows = [{name: value for name, value in row.items() if name not in newer} for row in state.rows]
    replace(state, rows=rows).save(tmp_path)
    history = fit(resumed, *sets, checkpoint=tmp_path, **QUICK)
    assert history.epochs["valid_rank_ic"].isna().tolist() == [True, True, False, False]
    assert weights_sha256(weights_of(whole)) == weights_sha256(weights_of(resumed))
