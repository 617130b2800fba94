import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from workbench.training.losses import CorrelationLoss, VarianceShare, balanced_weights, loss_for
from workbench.training.metrics import information_coefficients


def test_balanced_weights_worked_by_hand(make_windows):
    train = make_windows().labelled()
    counts = np.bincount(train.y.numpy())
    assert balanced_weights(train) == pytest.approx(len(train) / (3 * counts))
    assert (balanced_weights(train) * counts).tolist() == pytest.approx([len(train) / 3] * 3)


def test_balanced_weights_agree_with_scikit_learn(make_windows):
    train = make_windows(noise=2.0).labelled()
    y = train.y.numpy()
    assert balanced_weights(train) == pytest.approx(
        compute_class_weight("balanced", classes=np.arange(3), y=y)
    )


def test_a_class_that_never_occurs_weighs_one(make_windows):
    train = make_windows().labelled()
    assert balanced_weights(train[(train.y != 0).numpy()])[0] == 1


def test_the_loss_of_classes_is_the_weighted_mean_of_minus_log_probability(make_windows):
    train = make_windows().labelled()
    logits = torch.log(
        torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]], dtype=torch.float64)
    )
    loss = loss_for(train, [1, 2, 4], torch.float64)(logits, torch.tensor([0, 1, 2]))
    assert loss.item() == pytest.approx(-(np.log(0.5) + 2 * np.log(0.8) + 4 * np.log(0.6)) / 7)
    plain = loss_for(train, None, torch.float64)(logits, torch.tensor([0, 1, 2]))
    assert plain.item() == pytest.approx(-(np.log(0.5) + np.log(0.8) + np.log(0.6)) / 3)


def test_the_loss_of_forecasts_worked_by_hand():
    # squared errors 1, 0, 4 over a variance of 2
    loss = VarianceShare(2.0)(torch.tensor([[1.0], [2.0], [5.0]]), torch.tensor([2.0, 2.0, 3.0]))
    assert loss.item() == pytest.approx(5 / 3 / 2)


@given(st.floats(1e-4, 1e4), st.floats(-10, 10))
def test_forecasting_the_mean_of_the_training_labels_costs_one(scale, shift):
    y = torch.tensor([1.0, 2.0, 4.0, 9.0], dtype=torch.float64) * scale + shift
    loss = VarianceShare(y.var(unbiased=False).item())
    assert loss(y.mean().expand(4, 1), y).item() == pytest.approx(1)
    assert loss(y[:, None], y).item() == 0


def test_the_variance_is_that_of_the_training_labels(make_windows):
    train = make_windows(task="regression").labelled()
    loss = loss_for(train, "balanced", torch.float32)
    assert isinstance(loss, VarianceShare)
    assert loss.variance == pytest.approx(np.var(train.y.numpy().astype(float)))


@pytest.mark.parametrize("weights", [[1, 2], [1, -1, 1], [0, 0, 0]])
def test_class_weights_that_cannot_be_are_refused(make_windows, weights):
    with pytest.raises(ValueError, match=r"one non-negative number for each of \('sell', 'hold', 'buy'\)"):
        loss_for(make_windows().labelled(), weights, torch.float32)


def test_labels_that_never_differ_are_refused(make_windows):
    train = make_windows(task="regression").labelled()
    train.y[:] = 0.5
    with pytest.raises(ValueError, match=r"labels are 0\.5: there is nothing to learn"):
        loss_for(train, None, torch.float32)


def test_the_correlation_loss_worked_by_hand():
    # day 0: (1, 2, 3) with (2, 4, 6) is 1; day 5: (1, 2) with (5, 4) is −1; day 2: 3 with 1 alone;
    # day 7: all forecasts the same, which counts as 0
    forecast = torch.tensor([1.0, 1.0, 2.0, 3.0, 3.0, 2.0, 4.0, 4.0])[:, None]
    y = torch.tensor([2.0, 5.0, 4.0, 6.0, 1.0, 4.0, 1.0, 3.0])
    days = torch.tensor([0, 5, 0, 0, 2, 5, 7, 7])
    assert CorrelationLoss()(forecast, y, days).item() == pytest.approx(1 - (1 - 1 + 0) / 3)


@given(st.integers(0, 10_000), st.floats(0.01, 100), st.floats(-3, 3))
def test_it_is_one_minus_the_coefficient_whatever_level_and_unit(seed, unit, level):
    rng = np.random.default_rng(seed)
    days = rng.integers(0, 4, 30)
    forecast, y = rng.normal(size=(2, 30))
    expected = 1 - information_coefficients(forecast, y, days).mean()
    given_ = torch.tensor(forecast * unit + level)[:, None]
    loss = CorrelationLoss()(given_, torch.tensor(y), torch.tensor(days))
    assert loss.item() == pytest.approx(expected, abs=1e-9)


def test_its_slope_is_that_of_finite_differences_and_finite_where_forecasts_are_equal():
    rng = np.random.default_rng(0)
    y, days = torch.tensor(rng.normal(size=9)), torch.tensor([0, 1, 0, 1, 2, 2, 0, 1, 3])
    forecast = torch.tensor(rng.normal(size=(9, 1)), requires_grad=True)
    assert torch.autograd.gradcheck(lambda f: CorrelationLoss()(f, y, days), forecast)
    equal = torch.ones(9, 1, requires_grad=True)
    CorrelationLoss()(equal, y.float(), days).backward()
    assert equal.grad.isfinite().all()


def test_unknown_labels_decide_neither_variance_nor_weights(make_windows):
    windows = make_windows(task="regression")
    assert windows.y.isnan().any()
    assert loss_for(windows, None, torch.float32).variance == pytest.approx(
        np.nanvar(windows.y.double().numpy())
    )
    classes = make_windows()
    assert (classes.y < 0).any()
    expected = balanced_weights(classes.labelled())
    assert loss_for(classes, "balanced", torch.float64).weight.numpy() == pytest.approx(expected)
