import threading

import numpy as np
import pandas as pd
import pytest
import torch
from naive_parts import own_model
from torch import nn

from workbench.explainers import contributions
from workbench.explainers.explanation import explain
from workbench.explainers.maps import NoAttentionFound
from workbench.explainers.methods import METHODS
from workbench.explainers.rollouts import rollout
from workbench.explainers.value_maps import alti_maps, value_weighted_maps
from workbench.explainers.watching import Cancelled, Watch
from workbench.models.recurrent import LSTMModel
from workbench.models.transformer import TradingTransformer
from workbench.training.prediction import predict

pytestmark = pytest.mark.usefixtures("small_batches")


@pytest.fixture
def windows(windows):
    return windows[:10]


def transformer(causal=False, layers=3, norm="post"):
    model = TradingTransformer(3, d_model=12, n_heads=3, n_layers=layers, d_ff=8, causal=causal, norm=norm)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.3 * torch.randn_like(weight)
    return model.eval()


def rolled(model, x, name, position=-1, start_layer=0, residual=0.5):
    """The same answer by way of whole maps."""
    if name == "alti":
        return rollout(alti_maps(model, x), residual=0, position=position, start_layer=start_layer)
    inside = residual == "inside"
    maps = value_weighted_maps(model, x, inside=inside)
    return rollout(maps, residual=0 if inside else residual, position=position, start_layer=start_layer)


class Padded(nn.Module):
    """A user's own model, which masks bars of each window's own."""

    def __init__(self, layers=3):
        super().__init__()
        layer = nn.TransformerEncoderLayer(3, 3, 8, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(3, 3)

    def forward(self, x):
        padding = (x[:, :, 0] > 0.5).index_fill(1, torch.tensor(5), False)
        return self.head(self.encoder(x, src_key_padding_mask=padding)[:, -1])


METHOD = pytest.mark.parametrize("name", ["value_rollout", "alti"])


@METHOD
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("layers", [1, 2, 4])
def test_every_window_has_the_rollout_of_its_maps_and_its_prediction(windows, name, causal, layers):
    model = transformer(causal, layers)
    why = explain(model, windows, name)
    np.testing.assert_allclose(why.scores, rolled(model, windows.x, name), rtol=0, atol=2e-6)
    np.testing.assert_allclose(why.scores.sum(1), 1, rtol=0, atol=1e-5)
    pd.testing.assert_frame_equal(why.predictions, predict(model, windows), atol=1e-6)
    assert (why.method, why.target, why.null.shape) == (name, "last bar", why.scores.shape)


@METHOD
@pytest.mark.parametrize("norm", ["post", "pre"])
def test_the_answer_is_that_of_the_loops_to_float32(windows, name, norm):
    model, few = transformer(causal=True, norm=norm), windows[:3]
    why = explain(model, few, name)
    expected = own_model(model.double(), few.x.double())["values" if name == "value_rollout" else "alti"]
    row = torch.eye(6, dtype=torch.float64)[-1:]
    for layer in reversed(expected):
        passed = layer if name == "alti" else (layer + torch.eye(6)) / 2
        row = row @ (passed + torch.diag_embed((passed.sum(-1) == 0).double()))
    np.testing.assert_allclose(why.scores, row[:, 0], rtol=0, atol=2e-6)


@METHOD
@pytest.mark.parametrize("options", [{"position": 2}, {"start_layer": 1}, {"position": -6}])
def test_options_reach_the_rollout(windows, name, options):
    model = transformer()
    why = explain(model, windows, name, **options)
    expected = rolled(model, windows.x, name, **{"position": -1, **options})
    np.testing.assert_allclose(why.scores, expected, rtol=0, atol=2e-6)
    assert why.target == {2: "bar 2", -6: "bar -6"}.get(options.get("position"), "last bar")
    assert why.options.items() >= options.items()


@pytest.mark.parametrize("residual", [0, 0.2, 1, "inside"])
def test_the_residual_is_joined_as_asked(windows, residual):
    model = transformer(causal=True)
    why = explain(model, windows, "value_rollout", residual=residual)
    expected = rolled(model, windows.x, "value_rollout", residual=residual)
    np.testing.assert_allclose(why.scores, expected, rtol=0, atol=2e-6)
    assert why.options["residual"] == residual


@METHOD
def test_the_null_is_that_of_the_same_values_attended_to_evenly(windows, name):
    # Of one layer the values do not depend on the attention, so a model that cannot choose shows the null.
    model = transformer(causal=True, layers=1)
    null = explain(model, windows, name).null
    with torch.no_grad():
        model.layers[0].attention.w_q.weight.zero_()
        model.layers[0].attention.w_q.bias.zero_()
    indifferent = explain(model, windows, name)
    np.testing.assert_allclose(null, indifferent.scores, rtol=0, atol=2e-6)
    np.testing.assert_allclose(indifferent.null, indifferent.scores, rtol=0, atol=2e-6)


@METHOD
def test_a_model_that_attends_evenly_is_its_own_null(windows, name):
    model = transformer(causal=True, layers=4)
    with torch.no_grad():
        for layer in model.layers:
            layer.attention.w_k.weight.zero_()
    why = explain(model, windows, name)
    np.testing.assert_allclose(why.null, why.scores, rtol=0, atol=5e-6)


def test_a_position_that_nothing_adds_to_draws_on_itself(windows):
    model = transformer(causal=True)
    with torch.no_grad():
        for weight in (model.layers[1].attention.w_v.weight, model.layers[1].attention.w_v.bias):
            weight.zero_()
    why = explain(model, windows, "value_rollout")
    np.testing.assert_allclose(why.scores.sum(1), 1, rtol=0, atol=1e-6)
    without = [value_weighted_maps(model, windows.x).layers[i] for i in (0, 2)]
    np.testing.assert_allclose(why.scores, rollout(without, position=-1), rtol=0, atol=2e-6)


@METHOD
def test_masks_of_each_windows_own_hold_in_scores_and_null(windows, name):
    model = Padded(layers=1).eval()
    why = explain(model, windows, name)
    np.testing.assert_allclose(why.scores, rolled(model, windows.x, name), rtol=0, atol=2e-6)
    padding = (windows.x[:, :, 0] > 0.5).index_fill(1, torch.tensor(5), False).numpy()
    assert bool((why.scores[padding] == 0).all())
    assert bool((why.null[padding] == 0).all())


@METHOD
def test_windows_too_long_to_keep_weights_are_computed_in_blocks(windows, name, monkeypatch):
    model = transformer(causal=True)
    expected = explain(model, windows, name)
    monkeypatch.setattr("workbench.explainers.values.LONG", 4)
    monkeypatch.setattr("workbench.explainers.values.BLOCK_BYTES", 2 * 3 * 3 * 6 * 4)
    monkeypatch.setattr(contributions, "CHUNK_BYTES", 500)
    why = explain(model, windows, name)
    np.testing.assert_allclose(why.scores, expected.scores, rtol=0, atol=2e-6)
    np.testing.assert_allclose(why.null, expected.null, rtol=0, atol=2e-6)


@METHOD
def test_no_pass_is_made_beside_those_that_predict(windows, name):
    model = transformer()
    passes = []
    model.register_forward_hook(lambda *_: passes.append(1))
    explain(model, windows, name)
    few = len(passes)
    passes.clear()
    explain(model, windows, "rollout")
    assert few == len(passes)


@METHOD
def test_the_model_is_left_as_it_was(windows, name):
    model = transformer().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    explain(model, windows, name)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(part.training for part in model.modules())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())
    with pytest.raises(ValueError, match="position 9 is outside"):
        explain(model, windows, name, position=9)
    stop = threading.Event()
    with pytest.raises(Cancelled, match=r"after \d of 10"):
        explain(model, windows, name, watch=Watch(lambda done, total: stop.set() if done else None, stop))
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())
    assert model.prune


@METHOD
def test_what_cannot_be_weighed_is_refused_with_the_reason(windows, name):
    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention, self.head = nn.MultiheadAttention(3, 1, batch_first=True), nn.Linear(3, 3)

        def forward(self, x):
            return self.head(self.attention(x, x, x)[0][:, -1])

    with pytest.raises(
        ValueError, match=rf"{name} needs the weights.*attention is of MultiheadAttention: use"
    ):
        explain(Bare(), windows, name)
    with pytest.raises(NoAttentionFound, match="it is recurrent"):
        explain(LSTMModel(3), windows, name)
    with pytest.raises(ValueError, match=rf"{name} has no option 'positon'\. Did you mean 'position'"):
        explain(transformer(), windows, name, positon=1)
    with pytest.raises(ValueError, match="start_layer 3 is not one of the 3 layers"):
        explain(transformer(), windows, name, start_layer=3)
    with pytest.raises(
        ValueError, match="start_layer is the first layer counted, a whole number of at least 0"
    ):
        explain(transformer(), windows, name, start_layer=-1)


@pytest.mark.parametrize("residual", [-0.1, 1.5, "norm"])
def test_a_residual_that_is_neither_share_nor_inside_is_refused(windows, residual):
    with pytest.raises(ValueError, match=r"residual is a share between 0 and 1.*or 'inside'"):
        explain(transformer(), windows, "value_rollout", residual=residual)


@METHOD
def test_broken_weights_are_named_not_drawn(windows, name):
    model = transformer()
    with torch.no_grad():
        model.layers[1].attention.w_o.weight[0, 0] = torch.inf
    with pytest.raises(ValueError, match=r"layers\.1\.attention answers with numbers that are not finite"):
        explain(model, windows, name)


def test_both_are_on_the_list_and_need_attention_of_their_own():
    for name in ("value_rollout", "alti"):
        method = METHODS[name]
        assert method.needs_attention
        assert not any([method.targets, method.by_feature, method.signed, method.slow])
