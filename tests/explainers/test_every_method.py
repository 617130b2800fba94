"""Every method, on every network of the registry and every mistake that is made in asking.

What is inside of some models only is in test_inside.
"""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from workbench.explainers.explanation import explain
from workbench.explainers.methods import METHODS as ALL
from workbench.models.registry import NETWORKS, build_model
from workbench.training.prediction import predict

METHODS = {name: method for name, method in ALL.items() if not method.inside}
ALONE = [name for name, network in NETWORKS.items() if not network.cross_sectional]
TOGETHER = [name for name, network in NETWORKS.items() if network.cross_sectional]
SMALL = {
    "transformer": {"d_model": 8, "n_heads": 2, "n_layers": 3, "d_ff": 8},
    "lstm": {"hidden_size": 8},
    "gru": {"hidden_size": 8},
    "alstm": {"hidden_size": 8},
    "tcn": {"channels": 8, "n_layers": 2},
    "sfm": {"hidden_size": 8, "n_frequencies": 4, "output_width": 4},
    "tabnet": {"n_d": 8, "n_a": 4},
    "localformer": {"d_model": 8, "n_heads": 2, "d_ff": 8},
    "gats": {"hidden_size": 8},
    "hist": {"hidden_size": 8},
    "tra": {"hidden_size": 8, "router_size": 4},
    "asset_transformer": {"d_model": 8, "n_heads": 2, "d_ff": 8},
}  # of the networks; others are built by their defaults
FOLLOWED = {  # by methods of attention; other networks have none, or none that leads from bars to the answer
    "transformer": {name for name, method in METHODS.items() if method.needs_attention},
    "alstm": {"attention"},  # of the answer over the states of the bars
    "localformer": {"attention"},  # a convolution and a GRU mix bars too
}
CHEAP = {
    "integrated_gradients": {"n_steps": 4},
    "gradient_shap": {"samples": 4},
    "kernel_shap": {"samples": 16},
    "lime": {"samples": 16},
}


def network(name, windows):
    return build_model(name, windows, **SMALL.get(name, {}))


def furnished(name, windows):
    """Windows with the columns that a network needs beside features."""
    if not NETWORKS[name].needs:
        return windows
    marks = torch.arange(2 * len(windows.bars)).view(-1, 2) % 3 % 2
    names = (*windows.feature_names, "concept:oil", "past_label")
    return replace(windows, bars=torch.cat([windows.bars, marks.float()], 1), feature_names=names)


def asked(model, windows, method, **options):
    return explain(model, windows, method, **CHEAP.get(method, {}), **options)


@pytest.fixture
def few(windows):
    return windows[:3]


@pytest.fixture
def forecasts(few):
    return replace(few, task="regression", classes=(), y=few.y.float())


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("name", ALONE)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_explains_every_network_or_says_in_one_line_why_not(few, forecasts, method, name, task):
    windows = furnished(name, few if task == "classification" else forecasts)
    model, known = network(name, windows), METHODS[method]
    refusal = None
    try:
        why = asked(model, windows, method)
    except ValueError as refused:
        refusal = str(refused)
    if refusal is not None:
        assert known.needs_attention, "a method that needs no attention explains any network"
        assert method not in FOLLOWED.get(name, ()), "a method of attention explains what it can follow"
        assert re.fullmatch(
            r".*(because|which \w+ does not follow|does not say|needs the weights).*", refusal
        )
        return
    assert not known.needs_attention or method in FOLLOWED.get(name, ()), "what cannot be followed is refused"
    shape = (len(windows), windows.lookback, windows.n_features)
    assert why.scores.shape == (shape if known.by_feature else shape[:2])
    assert why.scores.dtype == np.float32
    assert np.isfinite(why.scores).all()
    assert (why.scores != 0).any()
    if not known.signed:
        assert (why.scores >= 0).all()
        np.testing.assert_allclose(why.scores.sum(axis=1), 1, atol=1e-5)
    if why.null is not None:
        np.testing.assert_allclose(np.atleast_2d(why.null).sum(axis=1), 1, atol=1e-5)
    pd.testing.assert_frame_equal(why.predictions, predict(model, windows), atol=1e-5)
    assert method in repr(why)
    if known.targets:
        assert why.target == ("forecast" if task == "regression" else "likeliest class")


@pytest.mark.parametrize("name", TOGETHER)
@pytest.mark.parametrize("method", METHODS)
def test_a_model_that_reads_a_day_together_is_explained_by_no_method_of_one_window(panel, method, name):
    windows = furnished(name, panel)
    with pytest.raises(
        ValueError, match=rf"^{method} takes each window alone.* because .*neighbours, or of HIST"
    ):
        asked(network(name, windows), windows, method)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_explains_a_panel_window_by_window(panel, method):
    picked = panel[[0, 40, 69]]
    model = network("transformer", panel)
    why = asked(model, picked, method, **({"target": "buy"} if METHODS[method].targets else {}))
    assert why.tickers.tolist() == picked.tickers.tolist()
    one = asked(model, picked[[1]], method, **({"target": "buy"} if METHODS[method].targets else {}))
    np.testing.assert_allclose(one.scores[0], why.scores[1], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_no_windows_to_explain_are_refused(few, method):
    with pytest.raises(
        ValueError, match="there are no windows to explain; choose dates that the windows cov"
    ):
        asked(network("transformer", few), few[:0], method)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("method", METHODS)
def test_values_that_are_not_numbers_are_named(few, method, bad):
    bars = few.bars.clone()
    bars[3, 1] = bad
    with pytest.raises(ValueError, match=r"its bar of 2010-01-07.* in f1 .*Put NaN there before Windows\.of"):
        asked(network("transformer", few), replace(few, bars=bars), method)


@pytest.mark.parametrize("method", METHODS)
def test_a_model_that_is_not_finite_is_refused_and_its_weights_named(few, method):
    model = network("transformer", few)
    with torch.no_grad():
        model.embedding.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match=r"not finite.*model's weights"):
        asked(model, few, method)


def narrower(windows):
    return replace(windows, bars=windows.bars[:, :2], feature_names=windows.feature_names[:2])


def shorter(windows):
    return replace(windows, lookback=4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (narrower, r"different features\. The windows lack f2\. Make the windows from features\["),
        (shorter, "built for lookback 6 and the windows have 4. Make the windows as they were for training"),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_windows_of_another_shape_than_the_models_are_refused(few, method, change, message):
    with pytest.raises(ValueError, match=message):
        asked(network("transformer", few), change(few), method)


class EveryBar(nn.Module):
    """Answers with an output a bar."""

    def forward(self, x):
        return x


class Several(nn.Module):
    """Answers with more than the output."""

    def forward(self, x):
        return x[:, -1], x


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (EveryBar(), ValueError, r"must return \(batch, output\) = \(\d+, 3\), one column for each"),
        (Several(), TypeError, "must return a tensor .* got tuple. Wrap it in a module"),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_a_model_whose_output_has_another_shape_is_told_the_right_one(few, method, model, error, message):
    with pytest.raises(error, match=message):
        asked(model, few, method)


@pytest.mark.parametrize("method", METHODS)
def test_an_unknown_target_is_refused_with_the_choice(few, forecasts, method):
    model, known = network("transformer", few), METHODS[method]
    message = r"There is no class 'up'\. There are: sell, hold, buy.*'buy-sell'"
    with pytest.raises(
        ValueError, match=message if known.targets else r"'up': leave out target, or choose a"
    ):
        asked(model, few, method, target="up")
    if known.targets:
        with pytest.raises(ValueError, match=r"one answer, target='forecast'\. Got 'buy'"):
            asked(network("transformer", forecasts), forecasts, method, target="buy")


@pytest.mark.parametrize("method", METHODS)
def test_an_unknown_option_is_refused_with_the_choice(few, method):
    with pytest.raises(
        ValueError, match=rf"{method} has no option.*flavour|{method} has no options; got flavour"
    ):
        explain(network("transformer", few), few, method, flavour=1)


@pytest.mark.parametrize("method", METHODS)
def test_the_null_is_taken_off_or_said_to_be_none(few, method):
    model = network("transformer", few)
    plain = asked(model, few, method)
    if plain.null is None:
        message = f"{method} has no null to be taken off.*Leave out against_null, or choose one of them"
        with pytest.raises(ValueError, match=message):
            asked(model, few, method, against_null=True)
        return
    beyond = asked(model, few, method, against_null=True)
    np.testing.assert_allclose(beyond.scores, plain.scores - plain.null, rtol=0, atol=1e-6)
    assert beyond.null is None
    assert list(beyond.options) == [*plain.options, "against_null"]
    assert beyond.options["against_null"] is True
    assert "less its null" in repr(beyond)
    assert "less its null" not in repr(plain)


@pytest.mark.parametrize("typo", [method[:-1] + "z" for method in METHODS])
def test_a_method_misspelt_is_guessed(few, typo):
    with pytest.raises(ValueError, match=rf"no method '{typo}'\. Did you mean '\w+'\? There are: rollout, "):
        explain(network("transformer", few), few, typo)
