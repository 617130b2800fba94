"""Columns that a model divides by their window's last bar: from statistics to explanations."""

import numpy as np
import pytest
import torch

from workbench.explainers.explanation import explain
from workbench.features.alpha360 import alpha360, alpha360_bars
from workbench.features.labels import forward_return
from workbench.features.windows import Windows
from workbench.market.loading import load_panel
from workbench.models.registry import build_model
from workbench.training.checkpoints import load_model, save_model
from workbench.training.coverage import statistics
from workbench.training.fitting import fit
from workbench.training.prediction import predict

LOOKBACK = 60


@pytest.fixture(scope="module")
def prices():
    return load_panel(["AAPL", "IBM"], start="2010", end="2011-06")


@pytest.fixture(scope="module")
def windows(prices) -> Windows:
    features = alpha360_bars(prices).assign(day=np.arange(len(prices)) % 5.0)
    return Windows.of(features, forward_return(prices), LOOKBACK)


@pytest.fixture(scope="module")
def trained(windows):
    train, valid, _ = windows.split(0.6, 0.8)
    model = build_model("lstm", train, hidden_size=4)
    fit(model, train, valid, epochs=1, progress=False)
    return model, train


def test_their_statistics_are_those_of_the_ratios_of_all_windows(prices, trained):
    model, train = trained
    classic = alpha360(prices)
    rows = [(date, ticker) for date, ticker in zip(train.dates, train.tickers, strict=True)]
    for place, field in enumerate(["CLOSE", "OPEN", "HIGH", "LOW", "VWAP", "VOLUME"]):
        names = [name for name in classic if str(name).rstrip("0123456789_hlc") == field]
        assert len(names) == LOOKBACK
        ratios = classic.loc[rows, names].to_numpy(dtype="float64")
        assert float(model.scaling.mean[place]) == pytest.approx(ratios.mean(), rel=1e-5)
        assert float(model.scaling.std[place]) == pytest.approx(ratios.std(), rel=1e-5)


def test_the_other_columns_count_each_bar_once(trained):
    model, train = trained
    mean, std = statistics(train)
    assert float(model.scaling.mean[6]) == pytest.approx(float(mean[6]))
    assert float(model.scaling.std[6]) == pytest.approx(float(std[6]))


def test_the_unit_of_the_bars_changes_no_answer(trained):
    model, train = trained
    x = train.batch(slice(0, 9)).clone()
    other = x.clone()
    other[:, :, :5] *= 8  # another currency
    other[:, :, 5] *= 1024  # lots
    assert torch.equal(model(x), model(other))


def test_a_saved_model_divides_as_before(tmp_path, trained):
    model, train = trained
    save_model(model, tmp_path, windows=train)
    again = load_model(tmp_path, train)
    assert again.scaling.anchors == {0: 0, 1: 0, 2: 0, 3: 0, 4: 0, 5: 5}
    assert predict(again, train).equals(predict(model, train))


def test_gradients_are_weighed_by_what_is_above_the_training_mean_of_the_window(trained):
    model, train = trained
    some = train[:4]
    found = explain(model, some, "gradient_x_input").scores
    x = some.batch(slice(None)).clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(x).sum(), x)
    mean = model.scaling.mean.repeat(4, LOOKBACK, 1)
    mean[:, :, :5] *= x[:, -1:, :1].detach()
    mean[:, :, 5:6] *= x[:, -1:, 5:6].detach()
    expected = gradient * (x.detach() - mean)
    torch.testing.assert_close(torch.as_tensor(np.asarray(found)), expected, rtol=1e-3, atol=1e-7)


def test_the_training_mean_as_a_baseline_is_in_the_units_of_each_window(trained):
    model, train = trained
    why = explain(model, train[:3], "integrated_gradients", n_steps=300)
    flat = train.batch(slice(0, 3)).clone()
    flat[:] = model.scaling.mean
    last = train.batch(slice(0, 3))[:, -1:]
    flat[:, :, :5] *= last[:, :, :1]
    flat[:, :, 5:6] *= last[:, :, 5:6]
    change = (model(train.batch(slice(0, 3))) - model(flat))[:, 0].detach().numpy()
    np.testing.assert_allclose(np.asarray(why.scores).sum((1, 2)), change, rtol=2e-2, atol=1e-6)
