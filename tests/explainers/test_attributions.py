from dataclasses import replace

import captum.attr
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from workbench.explainers.attributions import DrawnOptions, Draws
from workbench.explainers.explanation import explain
from workbench.features.windows import Windows
from workbench.models.registry import build_model
from workbench.models.scaling import InputScaling
from workbench.training.prediction import predict

PATHS = ["integrated_gradients", "gradient_shap"]
ADDITIVE = [*PATHS, "kernel_shap"]
ALL = [*ADDITIVE, "lime", "occlusion"]
CELLS = {name: {} if name in PATHS else {"parts": "cells"} for name in ALL}


class Linear(nn.Module):
    """Scores that are sums of weighted scaled values: weight (output, time, feature)."""

    def __init__(self, weight, bias=None):
        super().__init__()
        self.weight = nn.Parameter(torch.as_tensor(weight, dtype=torch.float32))
        self.bias = nn.Parameter(torch.zeros(len(self.weight)) if bias is None else bias)
        self.scaling = InputScaling(self.weight.shape[-1])

    def forward(self, x):
        return torch.einsum("btf,otf->bo", self.scaling(x), self.weight) + self.bias


class Raw(Linear):
    """The same, of a user's own model: nothing in it says what a mean is."""

    def __init__(self, weight):
        super().__init__(weight)
        del self.scaling

    def forward(self, x):
        return torch.einsum("btf,otf->bo", x, self.weight)


class Product(nn.Module):
    """The product of the first feature of three bars, and the second feature of the last squared."""

    def forward(self, x):
        return torch.stack([x[:, :, 0].prod(1), x[:, 2, 1] ** 2], 1)


def hand_windows():
    """Three bars of two features, one window."""
    dates = pd.bdate_range("2010-01-04", periods=3, name="date")
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [10.0, -20.0, 30.0]}, dates)
    labels = pd.Series([0.0, 1.0, np.nan], dates)
    labels.attrs = {"task": "classification", "horizon": 1, "classes": ["down", "up"]}
    return Windows.of(frame, labels, 3)


def regression(windows):
    return replace(windows, task="regression", classes=(), y=windows.y.float())


def scaled_linear(seed=0, lookback=6, features=3):
    random = torch.Generator().manual_seed(seed)
    model = Linear(torch.randn(3, lookback, features, generator=random), torch.randn(3, generator=random))
    model.scaling.fit_(torch.randn(features, generator=random), 0.1 + torch.rand(features, generator=random))
    return model


SMALL = {"transformer": {"d_model": 16, "n_heads": 2, "n_layers": 2, "d_ff": 32}, "lstm": {}}
WEIGHT = [[[1, 2], [0, -1], [3, 0.5]], [[-1, 0], [2, 0.1], [0, -0.2]]]


@pytest.mark.parametrize("name", ALL)
def test_a_linear_model_by_hand(name):
    model, windows = Linear(WEIGHT), hand_windows()
    model.scaling.fit_(torch.tensor([2.0, 0.0]), torch.tensor([0.5, 10.0]))
    # scaled bars: a = −2, 0, 2 and b = 1, −2, 3; each value adds its weight times that
    down, up = [[-2, 2], [0, 2], [6, 1.5]], [[2, 0], [0, -0.2], [0, -0.6]]
    asked = {"down": down, "up": up, "down-up": np.subtract(down, up)}
    for target, expected in asked.items():
        why = explain(model, windows, name, target=target, **CELLS[name])
        np.testing.assert_allclose(why.scores[0], expected, rtol=1e-5, atol=1e-6)
        assert why.target == target
        assert why.options["baseline"] == "training mean"
        if name in ADDITIVE:
            np.testing.assert_allclose(why.change, [np.sum(expected)], rtol=1e-6)
        else:
            assert why.change is why.gap is None
    if name not in PATHS:
        by_bar = explain(model, windows, name, target="down").scores
        np.testing.assert_allclose(by_bar, [[0, 2, 7.5]], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("baseline", "replaced"),
    [
        ("mean", [[2, 20 / 3]] * 3),
        ("own mean", [[2, 20 / 3]] * 3),
        (None, [[2, 20 / 3]] * 3),
        ("previous bar", [[1, 10], [1, 10], [2, -20]]),
        ([5.0, -1.0], [[5, -1]] * 3),
        (np.arange(6.0).reshape(3, 2), [[0, 1], [2, 3], [4, 5]]),
        (1.5, [[1.5, 1.5]] * 3),
    ],
    ids=[
        "mean",
        "own mean",
        "default of a user's model",
        "previous bar",
        "feature",
        "time, feature",
        "number",
    ],
)
@pytest.mark.parametrize("name", ALL)
def test_every_baseline_by_hand(name, baseline, replaced):
    bars = [[1, 10], [2, -20], [3, 30]]
    why = explain(Raw(WEIGHT), hand_windows(), name, target="down", baseline=baseline, **CELLS[name])
    expected = np.multiply(WEIGHT[0], np.subtract(bars, replaced))
    np.testing.assert_allclose(why.scores[0], expected, rtol=1e-5, atol=2e-5)
    told = baseline if isinstance(baseline, str) else "own mean" if baseline is None else "as given"
    assert why.options["baseline"] == told


def test_three_bars_that_only_count_together_by_hand():
    windows = hand_windows()  # a = 1, 2, 3: the product is 6, and 0 with any bar away
    third = [[2, 0], [2, 0], [2, 0]]
    for name in ADDITIVE:
        options = {"samples": 20_000} if name == "gradient_shap" else CELLS[name]
        why = explain(Product(), windows, name, target="down", baseline=0, **options)
        np.testing.assert_allclose(why.scores[0], third, rtol=1e-3, atol=1e-6)
    lost = explain(Product(), windows, "occlusion", target="down", baseline=0).scores[0]
    np.testing.assert_allclose(lost, [6, 6, 6])
    # LIME at ridge 0, all eight coalitions weighing alike: a slope of E[y | kept] − E[y | not] = 6/4
    slope = explain(Product(), windows, "lime", target="down", baseline=0, width=1e6).scores[0]
    np.testing.assert_allclose(slope, [1.5, 1.5, 1.5], rtol=1e-5)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(
    seed=st.integers(0, 2**32 - 1),
    name=st.sampled_from(ALL),
    target=st.sampled_from(["sell", "buy", "buy-sell", None]),
)
def test_the_scores_of_a_linear_model_are_what_each_value_adds(windows, seed, name, target):
    model = scaled_linear(seed)
    why = explain(model, windows, name, target=target, **CELLS[name])
    with torch.no_grad():
        likeliest = model(windows.x).argmax(1)
        weight = model.weight[likeliest] if target is None else model.weight[2]
        weight = model.weight[0].expand_as(weight) if target == "sell" else weight
        weight = weight - model.weight[0] if target == "buy-sell" else weight
        expected = weight * model.scaling(windows.x)
    np.testing.assert_allclose(why.scores, expected, rtol=1e-3, atol=1e-3)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=12)
@given(
    seed=st.integers(0, 2**32 - 1),
    name=st.sampled_from(ADDITIVE),
    network=st.sampled_from(["transformer", "lstm"]),
    task=st.sampled_from(["classification", "regression"]),
    baseline=st.sampled_from([None, "mean", "own mean", "previous bar"]),
)
def test_additive_scores_add_up_to_the_change(windows, seed, name, network, task, baseline):
    windows = (windows if task == "classification" else regression(windows))[:8]
    model = build_model(network, windows, seed=seed, **SMALL[network])
    why = explain(model, windows, name, baseline=baseline)
    x = windows.x
    away = {
        None: torch.zeros_like(x),
        "mean": windows.bars[: int(windows.ends[-1]) + 1].mean(0).expand_as(x),
        "own mean": x.mean(1, keepdim=True).expand_as(x),
        "previous bar": x[:, [0, 0, 1, 2, 3, 4]],
    }[baseline]
    with torch.no_grad():
        here, there = model.eval()(x), model(away)
    column = here.argmax(1, keepdim=True)
    change = (here - there).gather(1, column)[:, 0]
    np.testing.assert_allclose(why.change, change, atol=2e-6)
    np.testing.assert_allclose(why.gap, why.scores.reshape(8, -1).sum(1) - why.change, atol=1e-6)
    tight = 2e-6 if name == "kernel_shap" else 0.001 + 0.05 * np.abs(why.change).max()
    assert np.abs(why.gap).max() <= tight
    pd.testing.assert_frame_equal(why.predictions, predict(model, windows), atol=1e-6)


def test_more_steps_close_the_gap(windows):
    model = build_model("lstm", windows, seed=1)
    with torch.no_grad():
        model.head.weight.mul_(10)
    gaps = [
        np.abs(explain(model, windows, "integrated_gradients", n_steps=steps).gap).max()
        for steps in (1, 2, 8)
    ]
    assert gaps[0] > 5 * gaps[1] > 25 * gaps[2]


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("network", ["transformer", "lstm"])
def test_captum_one_window_at_a_time_agrees_on_integrated_gradients(windows, network, task):
    windows = windows if task == "classification" else regression(windows)
    model = build_model(network, windows, seed=2, **SMALL[network]).eval()
    target, column = ("hold", 1) if task == "classification" else (None, 0)
    why = explain(model, windows[:5], "integrated_gradients", target=target, baseline=0.3)
    path = captum.attr.IntegratedGradients(model)
    for i in range(5):
        x = windows.batch(slice(i, i + 1)).clone().requires_grad_()
        expected = path.attribute(x, 0.3, target=column, n_steps=50)[0]
        np.testing.assert_allclose(why.scores[i], expected.detach(), atol=1e-6)


def test_captum_agrees_on_gradient_shap_at_the_same_points(windows, monkeypatch):
    model = build_model("lstm", windows, seed=2).eval()
    background = windows[:10]
    why = explain(model, windows[-3:], "gradient_shap", target="buy", background=background, samples=40)
    draws = Draws.of(DrawnOptions(samples=40, background=background))
    monkeypatch.setattr(np.random, "uniform", lambda low, high, size: draws.shares.numpy())
    monkeypatch.setattr(np.random, "choice", lambda count, size: np.arange(size))
    method = captum.attr.GradientShap(model)
    for i in range(3):
        x = windows[-3:].batch(slice(i, i + 1)).clone().requires_grad_()
        expected = method.attribute(x, draws.baselines, n_samples=40, target=2)[0]
        np.testing.assert_allclose(why.scores[i], expected.detach(), atol=1e-6)
    with torch.no_grad():
        change = model(windows[-3:].x)[:, 2] - model(draws.baselines)[:, 2].mean()
    np.testing.assert_allclose(why.change, change, atol=1e-6)
    assert why.options["baseline"] == "drawn from 10 windows"


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("network", ["transformer", "lstm"])
def test_windows_are_explained_alike_however_they_are_batched(windows, name, network, monkeypatch):
    model = build_model(network, windows, **SMALL[network])
    whole = explain(model, windows[:7], name)
    for bars in (60, 6 * 75, 6 * 200):
        monkeypatch.setattr("workbench.explainers.attributions.BARS", bars)
        monkeypatch.setattr("workbench.explainers.perturbations.BARS", bars)
        parts = explain(model, windows[:7], name)
        np.testing.assert_allclose(parts.scores, whole.scores, atol=2e-6)
        pd.testing.assert_frame_equal(parts.predictions, whole.predictions, atol=1e-6)
    alone = explain(model, windows[4:5], name)
    np.testing.assert_allclose(alone.scores[0], whole.scores[4], atol=2e-6)
    np.testing.assert_allclose(whole[[4]].scores, alone.scores, atol=2e-6)
    if name in ADDITIVE:
        np.testing.assert_allclose(whole[[4]].change, alone.change, atol=1e-6)


@pytest.mark.parametrize("name", ["gradient_shap", "kernel_shap", "lime"])
def test_a_seed_repeats_to_the_bit_and_touches_no_generator_of_the_process(windows, name):
    model = build_model("lstm", windows)
    options = {"samples": 30} if name == "gradient_shap" else {"samples": 100, "parts": "cells"}
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first, again, other = (
        explain(model, windows[:3], name, seed=seed, **options).scores for seed in (5, 5, 6)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_caller_that_turned_gradients_off_gets_the_same(windows, name, mode):
    model = build_model("lstm", windows).train()
    expected = explain(model, windows[:3], name).scores
    with mode():
        np.testing.assert_array_equal(explain(model, windows[:3], name).scores, expected)
    assert model.training


@pytest.mark.parametrize("name", ALL)
def test_frozen_models_that_work_in_place_are_explained_and_left_alone(windows, name):
    class InPlace(Raw):
        def forward(self, x):
            x -= 1
            return super().forward(x)

    model, bars = InPlace(scaled_linear().weight.detach()).requires_grad_(False), windows.bars.clone()
    why = explain(model, windows, name, target="hold", baseline=0.0, **CELLS[name])
    np.testing.assert_allclose(why.scores, model.weight[1] * windows.x, atol=1e-4)
    assert torch.equal(windows.bars, bars)
    assert all(weight.grad is None for weight in model.parameters())


def test_models_in_half_precision_give_float32_scores(windows):
    model = build_model("lstm", windows).to(torch.bfloat16)
    for name in ALL:
        assert explain(model, windows[:2], name).scores.dtype == np.float32


@pytest.mark.parametrize("name", PATHS)
def test_a_model_that_cannot_be_differentiated_says_so(windows, name):
    class Deaf(Raw):
        def forward(self, x):
            return super().forward(x.detach())

    with pytest.raises(ValueError, match=r"cannot be differentiated by its input.*Look for torch.no_grad"):
        explain(Deaf(torch.randn(3, 6, 3)), windows, name)


@pytest.mark.parametrize("name", ALL)
def test_broken_weights_and_values_are_reported(windows, name):
    weight = torch.randn(3, 6, 3)
    weight[:, 0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"35 of 35 windows have scores that are not finite.*2010-01-11"):
        explain(Linear(weight), windows, name)
    bars = windows.bars.clone()
    bars[20, 1] = torch.nan
    with pytest.raises(ValueError, match=r"decided on 2010-02-01.*in f1"):
        explain(Linear(torch.randn(3, 6, 3)), replace(windows, bars=bars), name)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("integrated_gradients", {"steps": 3}, r"no option 'steps'. Did you mean 'n_steps'\?"),
        ("integrated_gradients", {"n_steps": 0}, "n_steps is the number of points.*at least 1; got 0"),
        ("gradient_shap", {"samples": 0}, "samples is the number of points drawn"),
        ("gradient_shap", {"background": 3}, "background is the Windows that baselines are drawn from.*int"),
        ("integrated_gradients", {"baseline": "zero"}, "There is no baseline 'zero'.*training mean, mean"),
        ("occlusion", {"baseline": [1, 2]}, r"\(feature,\) = \(3,\) or .* got shape \(2,\)"),
        ("occlusion", {"baseline": np.nan}, "baseline values must be finite"),
    ],
)
def test_bad_options_are_refused_with_the_repair(windows, name, options, message):
    with pytest.raises(ValueError, match=message):
        explain(scaled_linear(), windows, name, **options)


def test_a_background_and_a_baseline_exclude_each_other(windows):
    with pytest.raises(ValueError, match="not both"):
        explain(scaled_linear(), windows, "gradient_shap", baseline=0, background=windows)


def test_the_training_mean_of_a_users_model_is_not_guessed(windows):
    with pytest.raises(ValueError, match=r"Raw has no InputScaling.*Give the means themselves"):
        explain(Raw(torch.randn(3, 6, 3)), windows, "occlusion", baseline="training mean")
