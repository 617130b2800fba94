from itertools import combinations
from math import factorial

import captum.attr
import numpy as np
import pytest
import torch
from captum._utils.models.linear_model import SkLearnLinearRegression
from torch import nn

from workbench.explainers.coalitions import even_coalitions, shapley_coalitions
from workbench.explainers.explanation import explain
from workbench.models.registry import build_model
from workbench.models.transformer import TradingTransformer


def small(seed=0, features=3):
    torch.manual_seed(seed)
    model = TradingTransformer(features, d_model=12, n_heads=3, n_layers=2, d_ff=16).eval()
    with torch.no_grad():
        model.head.weight.mul_(3)
    return model


def shapley(model, x, parts, column):
    """Return Shapley values by their definition: every coalition, every part's share in float64."""
    count = int(parts.max()) + 1
    sets = [set(kept) for size in range(count + 1) for kept in combinations(range(count), size)]
    masks = torch.tensor([[part in kept for part in range(count)] for kept in sets])[:, parts]
    with torch.no_grad():
        answers = model.double()(torch.where(masks, x.double(), 0.0))[:, column].tolist()

    def answer(kept):
        return answers[sets.index(kept)]

    values = np.zeros(count)
    for part in range(count):
        others = [other for other in range(count) if other != part]
        for size in range(count):
            weight = factorial(size) * factorial(count - size - 1) / factorial(count)
            for kept in combinations(others, size):
                values[part] += weight * (answer({*kept, part}) - answer({*kept}))
    model.float()
    return values


@pytest.mark.parametrize("network", ["transformer", "lstm"])
def test_the_shapley_values_of_few_bars_are_exact(windows, network):
    model = small() if network == "transformer" else build_model("lstm", windows).eval()
    why = explain(model, windows[:2], "kernel_shap", target="buy")
    parts = torch.arange(6)[:, None].expand(6, 3)
    for i in range(2):
        np.testing.assert_allclose(why.scores[i], shapley(model, windows.x[i], parts, 2), atol=1e-6)


def test_the_shapley_values_of_features_and_patches_are_exact_and_shared_evenly(windows):
    model = small()
    for wanted, parts in {
        "features": torch.arange(3).expand(6, 3),
        (4, 2): torch.tensor([[0, 0, 1]] * 2 + [[2, 2, 3]] * 4),
    }.items():
        why = explain(model, windows[:1], "kernel_shap", target="sell", parts=wanted)
        values = shapley(model, windows.x[0], parts, 0)
        sizes = np.bincount(parts.flatten())
        np.testing.assert_allclose(why.scores[0], (values / sizes)[parts], atol=1e-6)
        np.testing.assert_allclose(why.gap, 0, atol=1e-6)


def test_drawn_coalitions_come_near_the_exact_values(windows):
    model = small()
    exact = explain(model, windows[:10], "kernel_shap", target="buy", parts=(2, 1)).scores
    drawn = explain(model, windows[:10], "kernel_shap", target="buy", parts=(2, 1), samples=200).scores
    few = explain(model, windows[:10], "kernel_shap", target="buy", parts=(2, 1), samples=30).scores
    assert 0 < np.abs(drawn - exact).max() < 0.1 * np.abs(exact).max()
    assert np.abs(drawn - exact).mean() < 0.5 * np.abs(few - exact).mean()


def from_coalitions(method, kept, parts):
    """Have captum ask of these coalitions."""

    def generate(original, **_):
        for row in kept.long():
            yield row[None]

    method.perturb_func = generate
    return {"feature_mask": parts[None], "n_samples": len(kept), "perturbations_per_eval": 64}


def test_captum_agrees_on_kernel_shap_with_the_same_coalitions(windows):
    model = small()
    why = explain(model, windows[:3], "kernel_shap", target="buy", parts="cells", samples=300, seed=4)
    coalitions = shapley_coalitions(18, 300, 4)
    drawn = coalitions.weights[2:].long().clamp_min(1)
    kept = torch.cat([coalitions.kept[:2], coalitions.kept[2:].repeat_interleave(drawn, 0)])
    assert len(kept) == 300
    method = captum.attr.KernelShap(lambda x: model(x)[:, 2])
    asked = from_coalitions(method, kept, torch.arange(18).view(6, 3))
    for i in range(3):
        expected = method.attribute(windows.x[i : i + 1], **asked)[0]
        np.testing.assert_allclose(why.scores[i], expected, atol=1e-6)


def test_captum_agrees_on_lime_with_the_same_coalitions(windows):
    model = small()
    why = explain(model, windows[:3], "lime", target="buy", parts="cells", samples=200, seed=4)
    coalitions = even_coalitions(18, 200, 0.25, 4)
    near = iter([])
    method = captum.attr.Lime(
        lambda x: model(x)[:, 2], SkLearnLinearRegression(), lambda *_, **__: next(near)
    )
    asked = from_coalitions(method, coalitions.kept, torch.arange(18).view(6, 3))
    for i in range(3):
        near = iter(coalitions.weights.float())
        expected = method.attribute(windows.x[i : i + 1], **asked)[0]
        np.testing.assert_allclose(why.scores[i], expected, atol=2e-6)


@pytest.mark.parametrize(("parts", "window"), [("bars", (1, 3)), ("features", (6, 1)), ((2, 1), (2, 1))])
def test_captum_agrees_on_occlusion(windows, parts, window):
    model = small()
    why = explain(model, windows[:3], "occlusion", target="hold", parts=parts)
    method = captum.attr.Occlusion(model)
    cells = 3 if parts == "bars" else 1  # scores by bar are the part's; others are shared by its values
    for i in range(3):
        lost = method.attribute(windows.x[i : i + 1], window, strides=window, target=1)[0]
        expected = lost.sum(1) / cells if parts == "bars" else lost / (window[0] * window[1])
        np.testing.assert_allclose(why.scores[i], expected, atol=1e-6)


def test_a_coalition_counts_the_less_the_farther_it_is_from_all():
    coalitions = even_coalitions(4, 16, 0.5, 0)
    far = {4: 0.0, 1: 0.5, 0: 1.0}  # 1 − the cosine √(kept / 4)
    for kept, distance in far.items():
        rows = coalitions.kept.sum(1) == kept
        np.testing.assert_allclose(coalitions.weights[rows], np.exp(-((distance / 0.5) ** 2)))
    assert len(coalitions.kept.unique(dim=0)) == 16


def test_ridge_draws_slopes_to_zero(windows):
    free, ridged = (
        np.abs(explain(small(), windows[:3], "lime", target="buy", ridge=ridge).scores).sum()
        for ridge in (0.0, 5.0)
    )
    assert 0 < ridged < 0.7 * free


def test_parts_of_ones_own_are_explained_together(windows):
    numbers = np.full((6, 3), 40)
    numbers[:, 2] = 7
    why = explain(small(), windows[:1], "kernel_shap", target="buy", parts=numbers)
    parts = torch.tensor([[1, 1, 0]]).expand(6, 3)
    values = shapley(small(), windows.x[0], parts, 2)
    np.testing.assert_allclose(why.scores[0].sum(0), [values[1] / 2, values[1] / 2, values[0]], atol=1e-6)


def test_one_part_takes_all(windows):
    why = explain(small(), windows[:4], "kernel_shap", target="buy", parts=(6, 3))
    np.testing.assert_allclose(why.scores, why.change[:, None].repeat(6, 1) / 6, atol=1e-6)


@pytest.mark.parametrize("name", ["kernel_shap", "lime", "occlusion"])
def test_the_model_is_asked_in_batches_over_windows_and_perturbations(windows, name, monkeypatch):
    asked = []

    class Counted(nn.Module):
        def forward(self, x):
            asked.append(len(x))
            return x[:, -1]

    monkeypatch.setattr("workbench.explainers.perturbations.BARS", 6 * 128)
    explain(Counted(), windows[:20], name)
    each = 7 if name == "occlusion" else 2**6
    assert sum(asked) == 20 * each
    assert len(asked) == -(-20 // (128 // each))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("kernel_shap", {"parts": "bar"}, r"no parts 'bar'. Did you mean 'bars'\?"),
        ("kernel_shap", {"parts": (0, 1)}, r"sizes of at least 1; got \(0, 1\)"),
        ("occlusion", {"parts": np.zeros((2, 2), int)}, r"shape \(time, feature\) = \(6, 3\); got int64"),
        ("kernel_shap", {"samples": 2}, "samples is the number of coalitions asked.*at least 3; got 2"),
        ("kernel_shap", {"samples": 12, "parts": "cells"}, "in 12 samples do not tell 18 parts apart: raise"),
        ("lime", {"samples": 12, "parts": "cells"}, "in 12 samples do not tell 18 parts apart: raise"),
        ("lime", {"width": 0}, "width says how far coalitions count.*got 0"),
        ("lime", {"ridge": -1}, "ridge is a penalty of 0 or more; got -1"),
        ("lime", {"kernel_width": 1}, "lime has no option 'kernel_width'. There are: samples, parts, base"),
    ],
)
def test_bad_options_are_refused_with_the_repair(windows, name, options, message):
    with pytest.raises(ValueError, match=message):
        explain(small(), windows, name, **options)


def test_too_few_samples_are_told_by_how_many_were_asked_and_enough_suffice(windows):
    # Seed 74 draws 18 different coalitions of these 30.
    with pytest.raises(ValueError, match="in 30 samples do not tell 6 parts apart: raise samples to 60"):
        explain(small(), windows[:2], "kernel_shap", samples=30, seed=74)
    explain(small(), windows[:2], "kernel_shap", samples=60, seed=74)


def test_a_width_at_which_nothing_counts_is_told_where_samples_cannot_help(windows):
    with pytest.raises(ValueError, match="in 512 samples do not tell 6 parts apart: raise width"):
        explain(small(), windows[:2], "lime", width=0.003)
