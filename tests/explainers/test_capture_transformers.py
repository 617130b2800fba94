"""Models of Hugging Face transformers, small and with random weights, watched without touching them."""

import warnings

import pytest
import torch

from workbench.explainers.capture import attention_maps
from workbench.explainers.maps import NoAttentionFound

transformers = pytest.importorskip(
    "transformers", reason="transformers is not installed: its models are not tried"
)

CLOSE = {"rtol": 0, "atol": 1e-6}
ATTENTIONS = ["sdpa", "eager"]


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def patch_tst(attention):
    config = transformers.PatchTSTConfig(
        num_input_channels=2,
        context_length=24,
        patch_length=6,
        patch_stride=6,
        num_hidden_layers=2,
        d_model=16,
        num_attention_heads=4,
        ffn_dim=16,
        num_targets=3,
        attn_implementation=attention,
    )
    return transformers.PatchTSTForClassification(config), (random(3, 24, 2),), {}


def time_series(attention):
    config = transformers.TimeSeriesTransformerConfig(
        prediction_length=12,
        context_length=12,
        input_size=1,
        num_time_features=1,
        lags_sequence=[1, 2],
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=8,
        decoder_ffn_dim=8,
        d_model=16,
        attn_implementation=attention,
    )
    past = 12 + 2
    inputs = {
        "past_time_features": random(3, past, 1, seed=1),
        "past_observed_mask": torch.ones(3, past),
        "future_values": random(3, 12, seed=2),
        "future_time_features": random(3, 12, 1, seed=3),
    }
    return transformers.TimeSeriesTransformerModel(config), (random(3, past),), inputs


def bert(attention):
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=16,
        attn_implementation=attention,
    )
    tokens = torch.arange(21).view(3, 7) * 2 % 50
    padding = torch.ones(3, 7, dtype=torch.long)
    padding[1, 5:] = 0
    return transformers.BertModel(config), (tokens,), {"attention_mask": padding}


def llama(attention):
    config = transformers.LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        attn_implementation=attention,
    )
    return transformers.LlamaForCausalLM(config), (torch.arange(21).view(3, 7),), {}


FAMILIES = [patch_tst, time_series, bert, llama]
CASES = [  # the time series transformer has no other attention than its own written-out one
    pytest.param(family, attention, id=f"{family.__name__}-{attention}")
    for family in FAMILIES
    for attention in (["eager"] if family is time_series else ATTENTIONS)
]


def made(family, attention):
    torch.manual_seed(0)
    model, inputs, named = family(attention)
    return model.eval(), inputs, named


def its_own(model, inputs, named):
    """Return the weights that the model itself hands out when it attends by its written-out function."""
    answer = model(*inputs, **named, output_attentions=True)
    weights = [answer.get("attentions"), answer.get("encoder_attentions"), answer.get("decoder_attentions")]
    crosses = answer.get("cross_attentions")
    encoder, decoder = weights[0] or weights[1], weights[2] or ()
    return [*encoder, *(w for pair in zip(decoder, crosses or (), strict=True) for w in pair)]


@pytest.mark.parametrize(("family", "attention"), CASES)
def test_weights_are_those_the_model_hands_out_itself_and_its_answer_is_unchanged(family, attention):
    model, inputs, named = made(family, attention)
    maps = attention_maps(model, *inputs, **named)
    expected = its_own(*made(family, "eager"))
    assert len(maps) == len(expected) > 0
    for weights, theirs in zip(maps.layers, expected, strict=True):
        torch.testing.assert_close(weights, theirs.view(weights.shape), **CLOSE)
    unwatched = model(*inputs, **named)
    torch.testing.assert_close(maps.output[0], unwatched[0], rtol=1e-5, atol=2e-6)
    with torch.no_grad():
        maps64 = attention_maps(model.double(), *(_double(x) for x in inputs), **_doubled(named))
    for weights, exact in zip(maps.layers, maps64.layers, strict=True):
        torch.testing.assert_close(weights.double(), exact.double(), **CLOSE)


def _double(x):
    return x.double() if x.is_floating_point() else x


def _doubled(named):
    return {name: _double(x) for name, x in named.items()}


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_names_and_kinds_tell_the_layers(attention):
    maps = attention_maps(*_flat(made(patch_tst, attention)))
    assert maps.names == tuple(f"model.encoder.layers.{i}.self_attn" for i in range(2))
    assert maps.kinds == ("self", "self")
    assert maps.layers[0].shape == (3 * 2, 4, 4, 4)  # every channel is a sequence of patches of its own

    model, inputs, named = made(time_series, "eager")
    maps = attention_maps(model, *inputs, **named)
    kinds = dict(zip(maps.names, maps.kinds, strict=True))
    assert all(w.shape == (3, 2, 12, 12) for w in maps.layers)  # lengths tell nothing here
    assert kinds == {
        **{f"encoder.layers.{i}.self_attn": "self" for i in range(2)},
        **{f"decoder.layers.{i}.self_attn": "self" for i in range(2)},
        **{f"decoder.layers.{i}.encoder_attn": "cross" for i in range(2)},
    }
    assert maps.select("decoder*self_attn").causal

    model, inputs, named = made(llama, attention)
    maps = attention_maps(model, *inputs)
    assert maps.names == tuple(f"model.layers.{i}.self_attn" for i in range(2))
    assert maps.kinds == ("self", "self")
    assert maps.causal


def _flat(model):
    return model[0], *model[1]


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_padding_of_bert_is_known_as_a_mask(attention):
    model, inputs, named = made(bert, attention)
    maps = attention_maps(model, *inputs, **named)
    for weights, allowed in zip(maps.layers, maps.allowed, strict=True):
        seen = allowed.expand(weights.shape)[1]
        assert not seen[..., 5:].any()
        assert seen[..., :5].all()
        assert weights[1, :, :, 5:].abs().max() == 0


@pytest.mark.parametrize(("family", "attention"), CASES)
def test_gradients_reach_every_weight_that_the_answer_hangs_on(family, attention):
    model, inputs, named = made(family, attention)
    maps = attention_maps(model, *inputs, **named, gradients=True)
    gradients = torch.autograd.grad(maps.output[0].square().sum(), maps.layers)
    assert all(gradient.abs().sum() > 0 for gradient in gradients)
    plain = attention_maps(model, *inputs, **named)
    torch.testing.assert_close(maps.output[0], plain.output[0], rtol=1e-5, atol=2e-6)


def test_flex_attention_is_named_where_nothing_else_attends():
    model, inputs, _ = made(llama, "flex_attention")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, of an unfused kernel
        with pytest.raises(
            NoAttentionFound, match=r"it attends by flex_attention in .*, which cannot be watched"
        ):
            attention_maps(model, *inputs)
