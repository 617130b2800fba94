from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from workbench.explainers.explanation import explain
from workbench.features.windows import Windows
from workbench.models.registry import build_model
from workbench.models.scaling import InputScaling
from workbench.training.prediction import predict

METHOD = "gradient_x_input"


class Weighted(nn.Module):
    """Scores that are sums of weighted values: weight (output, time, feature)."""

    def __init__(self, weight, bias=None):
        super().__init__()
        self.weight = nn.Parameter(torch.as_tensor(weight, dtype=torch.float32))
        self.bias = nn.Parameter(torch.zeros(len(self.weight)) if bias is None else bias)

    def forward(self, x):
        return torch.einsum("btf,otf->bo", x, self.weight) + self.bias


class Scaled(Weighted):
    """The same of scaled values, as the models of the package scale theirs."""

    def __init__(self, weight, bias=None):
        super().__init__(weight, bias)
        self.scaling = InputScaling(self.weight.shape[-1])

    def forward(self, x):
        return super().forward(self.scaling(x))


def regression(windows):
    return replace(windows, task="regression", classes=(), y=windows.y.float())


def hand_windows():
    """Three bars of two features, one window."""
    dates = pd.bdate_range("2010-01-04", periods=3, name="date")
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [10.0, -20.0, 30.0]}, dates)
    labels = pd.Series([0.0, 1.0, np.nan], dates)
    labels.attrs = {"task": "classification", "horizon": 1, "classes": ["down", "up"]}
    return Windows.of(frame, labels, 3)


WEIGHT = [[[1, 2], [0, -1], [3, 0.5]], [[-1, 0], [2, 0.1], [0, -0.2]]]


def test_a_linear_model_by_hand():
    windows = (
        hand_windows()
    )  # score of down: 1·1 + 2·10 + 0 + 1·20 + 3·3 + 0.5·30 = 65; of up: −1 + 4 − 2 − 6 = −5
    down = [[1, 20], [0, 20], [9, 15]]
    up = [[-1, 0], [4, -2], [0, -6]]
    model = Weighted(WEIGHT)
    np.testing.assert_allclose(explain(model, windows, METHOD, target="down").scores[0], down, rtol=1e-6)
    np.testing.assert_allclose(explain(model, windows, METHOD, target="up").scores[0], up, rtol=1e-6)
    likeliest = explain(model, windows, METHOD)
    np.testing.assert_allclose(likeliest.scores[0], down, rtol=1e-6)
    assert likeliest.target == "likeliest class"
    assert likeliest.predictions.idxmax(axis=1).tolist() == ["down"]


def test_a_scaled_model_by_hand():
    windows, model = hand_windows(), Scaled(WEIGHT)
    model.scaling.fit_(torch.tensor([2.0, 0.0]), torch.tensor([0.5, 10.0]))
    # scaled bars: a = −2, 0, 2 and b = 1, −2, 3
    up = [[2, 0], [0, -0.2], [0, -0.6]]
    found = explain(model, windows, METHOD, target="up")
    np.testing.assert_allclose(found.scores[0], up, rtol=1e-6, atol=1e-7)
    assert (found.method, found.target, found.null, found.options) == (METHOD, "up", None, {})


def test_a_product_of_bars_by_hand():
    class Product(nn.Module):  # the gradient of x₀·x₁·x₂ times x is the product itself, at every bar
        def forward(self, x):
            product = x[:, :, 0].prod(1)
            return torch.stack([product, x[:, 2, 1] ** 2], 1)

    windows = hand_windows()
    down = explain(Product(), windows, METHOD, target="down").scores[0]
    np.testing.assert_allclose(down, [[6, 0], [6, 0], [6, 0]], rtol=1e-6)
    up = explain(Product(), windows, METHOD, target="up").scores[0]
    np.testing.assert_allclose(up, [[0, 0], [0, 0], [0, 1800]], rtol=1e-6)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), target=st.sampled_from(["sell", "hold", "buy", None]))
def test_the_scores_of_a_linear_model_add_up_to_its_answer(windows, seed, target):
    random = torch.Generator().manual_seed(seed)
    model = Scaled(torch.randn(3, 6, 3, generator=random), torch.randn(3, generator=random))
    model.scaling.fit_(torch.randn(3, generator=random), 0.1 + torch.rand(3, generator=random))
    why = explain(model, windows, METHOD, target=target)
    with torch.no_grad():
        outputs = model(windows.x)
    chosen = outputs.argmax(1) if target is None else torch.tensor(windows.classes.index(target))
    column = chosen.expand(len(windows))
    expected = outputs.gather(1, column[:, None])[:, 0] - model.bias.detach()[column]
    np.testing.assert_allclose(why.scores.sum((1, 2)), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("name", ["transformer", "lstm"])
def test_finite_differences_agree(windows, name, task):
    windows = windows if task == "classification" else regression(windows)
    windows = windows[:3]
    model = build_model(name, windows, seed=1).double()
    model.scaling.fit_(torch.tensor([0.3, -0.2, 0.1]).double(), torch.tensor([0.5, 2.0, 1.3]).double())
    target, column = ("buy", 2) if task == "classification" else (None, 0)
    why = explain(model, windows, METHOD, target=target)
    x, step = windows.x.double(), 1e-5
    model.eval()
    for time, feature in [(0, 0), (2, 1), (5, 2), (5, 0)]:
        nudge = torch.zeros_like(x[0])
        nudge[time, feature] = step * model.scaling.std[feature]
        with torch.no_grad():
            slope = (model(x + nudge) - model(x - nudge))[:, column] / (2 * step)
        expected = slope * model.scaling(x)[:, time, feature]
        np.testing.assert_allclose(why.scores[:, time, feature], expected, rtol=1e-5, atol=1e-9)
    assert why.target == ("buy" if task == "classification" else "forecast")
    assert np.abs(why.scores).max() > 1e-3


@pytest.mark.parametrize("name", ["transformer", "lstm"])
def test_windows_are_explained_alike_however_they_are_batched(windows, name, monkeypatch):
    model = build_model(name, windows)
    whole = explain(model, windows, METHOD)
    for bars in (1, 4 * 6, 17 * 6):
        monkeypatch.setattr("workbench.explainers.gradients.BARS", bars)
        parts = explain(model, windows, METHOD)
        np.testing.assert_allclose(parts.scores, whole.scores, atol=1e-6)
        pd.testing.assert_frame_equal(parts.predictions, whole.predictions, atol=1e-6)


@pytest.mark.parametrize("name", ["transformer", "lstm"])
def test_the_predictions_of_the_pass_are_those_of_predict(windows, name):
    model = build_model(name, windows).train()
    why = explain(model, windows, METHOD)
    pd.testing.assert_frame_equal(why.predictions, predict(model, windows), atol=1e-6)
    assert model.training


def test_the_likeliest_class_is_each_windows_own(windows):
    model = build_model("lstm", windows, seed=3)
    with torch.no_grad():
        model.head.weight.mul_(20)
    likeliest = explain(model, windows, METHOD)
    chosen = likeliest.predictions.idxmax(axis=1).tolist()
    assert len(set(chosen)) > 1
    of = {name: explain(model, windows, METHOD, target=name).scores for name in windows.classes}
    for i, name in enumerate(chosen):
        np.testing.assert_allclose(likeliest.scores[i], of[name][i], atol=1e-6)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_caller_that_turned_gradients_off_gets_the_same(windows, mode):
    model = build_model("transformer", windows)
    expected = explain(model, windows, METHOD).scores
    with mode():
        np.testing.assert_array_equal(explain(model, windows, METHOD).scores, expected)
        assert not torch.is_grad_enabled()


def test_windows_made_where_gradients_are_off_are_explained():
    with torch.inference_mode():
        windows = hand_windows()
    assert explain(Weighted(WEIGHT), windows, METHOD).scores.shape == (1, 3, 2)


def test_neither_weights_nor_windows_are_left_changed(windows):
    model, bars = build_model("transformer", windows), windows.bars.clone()
    model.embedding.weight.grad = torch.ones_like(model.embedding.weight)
    explain(model, windows, METHOD)
    grads = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    assert set(grads) == {"embedding.weight"}
    assert bool((grads["embedding.weight"] == 1).all())
    assert torch.equal(windows.bars, bars)
    assert not windows.bars.requires_grad
    assert all(weight.requires_grad for weight in model.parameters())


def test_frozen_models_and_models_that_work_in_place_are_explained(windows):
    class InPlace(Weighted):
        def forward(self, x):
            x -= 1
            return super().forward(x)

    weight = torch.randn(3, 6, 3)
    why = explain(InPlace(weight).requires_grad_(False), windows, METHOD, target="hold")
    np.testing.assert_allclose(why.scores, weight[1] * windows.x, atol=1e-6)


def test_a_models_own_bars_are_not_touched_by_those_of_other_windows(windows):
    model = build_model("transformer", windows)
    altered = windows.bars.clone()
    altered[30:] += 5
    before, after = (
        explain(model, replace(windows, bars=bars), METHOD).scores for bars in (windows.bars, altered)
    )
    past = windows.ends.numpy() < 30
    np.testing.assert_array_equal(before[past], after[past])
    assert not np.allclose(before[~past], after[~past])


def test_half_precision_models_give_float32(windows):
    model = build_model("lstm", windows).to(torch.bfloat16)
    why = explain(model, windows, METHOD)
    assert why.scores.dtype == np.float32
    np.testing.assert_allclose(why.scores, explain(model.float(), windows, METHOD).scores, atol=0.02)


def test_an_unknown_class_or_option_is_refused_with_the_choice(windows):
    model = Weighted(torch.randn(3, 6, 3))
    with pytest.raises(ValueError, match=r"no class 'bye'\. Did you mean 'buy'\? There are: sell, hold, buy"):
        explain(model, windows, METHOD, target="bye")
    with pytest.raises(ValueError, match=r"one answer, target='forecast'\. Got 'buy'"):
        explain(Weighted(torch.randn(1, 6, 3)), regression(windows), METHOD, target="buy")
    with pytest.raises(ValueError, match="gradient_x_input has no options; got fusion"):
        explain(model, windows, METHOD, fusion="max")


def test_a_model_that_cannot_be_differentiated_says_so(windows):
    class Ungraded(Weighted):
        @torch.no_grad()
        def forward(self, x):
            return super().forward(x)

    class Deaf(Weighted):
        def forward(self, x):
            return super().forward(x.detach())

    for model in (Ungraded(torch.randn(3, 6, 3)), Deaf(torch.randn(3, 6, 3))):
        with pytest.raises(
            ValueError, match=r"cannot be differentiated by its input.*Look for torch.no_grad"
        ):
            explain(model, windows, METHOD)


def test_broken_weights_and_values_are_reported(windows):
    weight = torch.randn(3, 6, 3)
    weight[:, 0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"35 of 35 windows have a gradient that is not finite.*2010-01-11"):
        explain(Weighted(weight), windows, METHOD)
    bars = windows.bars.clone()
    bars[20, 1] = torch.nan
    with pytest.raises(ValueError, match=r"decided on 2010-02-01.*in f1"):
        explain(Weighted(torch.randn(3, 6, 3)), replace(windows, bars=bars), METHOD)


def test_a_panel_keeps_tickers_beside_dates(panel):
    why = explain(build_model("lstm", panel), panel, METHOD, target="sell")
    day = why.at(panel.dates[10], ticker="BBB")
    assert day.scores.shape == (1, 6, 3)
    assert "gradient_x_input of sell: 1 × 6 × 3" in repr(day)
