import threading

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from workbench.explainers.capture import attention_maps, watching
from workbench.explainers.maps import NoAttentionFound
from workbench.explainers.products import Shelf
from workbench.explainers.rollouts import rollout
from workbench.models.recurrent import LSTMModel
from workbench.models.transformer import TradingTransformer

CLOSE = {"rtol": 0, "atol": 1e-6}


class Attends(nn.Module):
    """Hands its inputs to F.scaled_dot_product_attention."""

    def __init__(self, **options):
        super().__init__()
        self.options = options

    def forward(self, query, key=None, value=None):
        key = query if key is None else key
        return F.scaled_dot_product_attention(query, key, key if value is None else value, **self.options)


def by_hand(query, key, mask=None, causal=False, scale=None):
    """softmax(QKᵀ·scale) in float64, query by query; a query with nothing to look at gathers nothing."""
    query, key = query.double(), key.double()
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    scores = torch.einsum("bhqd,bhkd->bhqk", query, key) * scale
    weights = torch.zeros_like(scores)
    for q in range(scores.shape[2]):
        row = scores[:, :, q]
        if causal:
            row = row.masked_fill(torch.arange(row.shape[-1]) > q, -torch.inf)
        if mask is not None:
            part = mask.expand_as(scores)[:, :, q]
            row = row.masked_fill(~part, -torch.inf) if part.dtype == torch.bool else row + part
        weights[:, :, q] = (row - row.amax(-1, keepdim=True).clamp_min(-1e300)).exp()
        weights[:, :, q] /= weights[:, :, q].sum(-1, keepdim=True).clamp_min(1e-300)
    return weights


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_three_keys_worked_by_hand():
    # d = 1, scale 1: query 1 on keys ln1, ln2, ln5 gives weights 1/8, 2/8, 5/8; query 0 gives thirds;
    # query 2 squares them: 1/30, 4/30, 25/30.
    key = torch.tensor([1.0, 2.0, 5.0]).log()[None, None, :, None]
    query = torch.tensor([1.0, 0.0, 2.0])[None, None, :, None]
    maps = attention_maps(Attends(scale=1.0), query, key)
    expected = torch.tensor([[1 / 8, 2 / 8, 5 / 8], [1 / 3, 1 / 3, 1 / 3], [1 / 30, 4 / 30, 25 / 30]])
    torch.testing.assert_close(maps.layers[0][0, 0], expected, **CLOSE)


MASKS = {
    "none": {},
    "causal": {"is_causal": True},
    "scale": {"scale": 0.3},
    "bool": {"attn_mask": random(2, 1, 5, 7) > -0.5},
    "shared bool": {"attn_mask": random(5, 7) > -0.5},
    "bool and causal": {"attn_mask": random(5, 7) > -0.5, "is_causal": True},
    "float and causal": {"attn_mask": random(5, 7), "is_causal": True},
    "keys only": {"attn_mask": random(2, 1, 1, 7) > -0.5},
    "empty row": {"attn_mask": torch.ones(5, 7).bool().index_fill(0, torch.tensor(2), False)},
    "float": {"attn_mask": random(2, 3, 5, 7)},
    "float -inf": {"attn_mask": torch.zeros(5, 7).index_fill(1, torch.tensor([0, 3]), -torch.inf)},
    "float lowest": {"attn_mask": torch.zeros(5, 7).index_fill(0, torch.tensor(1), torch.finfo().min)},
}


@pytest.mark.parametrize("options", MASKS.values(), ids=MASKS)
def test_weights_and_output_of_the_product_are_right_under_every_mask(options):
    channels = 4 if len(options) == 2 else 6  # torch takes both masks together with equal channels only
    query, key, value = random(2, 3, 5, 4), random(2, 3, 7, 4, seed=1), random(2, 3, 7, channels, seed=2)
    model = Attends(**options)
    maps = attention_maps(model, query, key, value)
    expected = by_hand(
        query, key, options.get("attn_mask"), options.get("is_causal", False), options.get("scale")
    )
    torch.testing.assert_close(maps.layers[0].double(), expected, **CLOSE)
    torch.testing.assert_close(maps.output, model(query, key, value), **CLOSE)
    assert maps.kinds == ("cross",)


def test_three_axes_and_grouped_queries_are_taken():
    query = random(2, 5, 4)
    maps = attention_maps(Attends(), query)
    torch.testing.assert_close(maps.layers[0].double(), by_hand(query[:, None], query[:, None]), **CLOSE)
    torch.testing.assert_close(maps.output, F.scaled_dot_product_attention(query, query, query), **CLOSE)

    query, key = random(2, 6, 5, 4), random(2, 2, 5, 4, seed=1)
    model = Attends(enable_gqa=True)
    maps = attention_maps(model, query, key)
    torch.testing.assert_close(maps.layers[0].double(), by_hand(query, key.repeat_interleave(3, 1)), **CLOSE)
    torch.testing.assert_close(maps.output, model(query, key), **CLOSE)


class Multi(nn.Module):
    """nn.MultiheadAttention, with whatever arguments."""

    def __init__(self, batch_first=True, **arguments):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=batch_first)
        self.arguments = arguments

    def forward(self, x):
        return self.attention(x, x, x, **self.arguments)[0]


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"attn_mask": torch.ones(6, 6).triu(1).bool()},
        {"attn_mask": nn.Transformer.generate_square_subsequent_mask(6), "is_causal": True},
        {"key_padding_mask": torch.tensor([[False] * 6, [False] * 4 + [True] * 2])},
    ],
    ids=["plain", "bool", "causal", "padding"],
)
def test_multihead_attention_gives_the_weights_it_would_return_itself(arguments, need_weights):
    torch.manual_seed(0)
    model, x = Multi(need_weights=need_weights, **arguments).eval(), random(2, 6, 8)
    maps = attention_maps(model, x)
    asked = {**arguments, "need_weights": True, "average_attn_weights": False, "is_causal": False}
    _, expected = model.attention(x, x, x, **asked)
    torch.testing.assert_close(maps.layers[0], expected, **CLOSE)
    torch.testing.assert_close(maps.output, model(x), **CLOSE)
    assert maps.names == ("attention",)
    assert maps.kinds == ("self",)
    assert maps.causal == ("attn_mask" in arguments)


def test_unbatched_and_time_first_inputs_are_taken():
    model = Multi(batch_first=False).eval()
    x = random(6, 3, 8)  # (time, batch, channel)
    assert attention_maps(model, x).layers[0].shape == (3, 2, 6, 6)
    assert attention_maps(model, x[:, 0]).layers[0].shape == (1, 2, 6, 6)


@pytest.mark.parametrize("norm_first", [False, True])
def test_a_transformer_encoder_shows_every_layer_and_answers_the_same(norm_first):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=norm_first)
    model = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False).eval()
    x = random(2, 6, 8)
    maps = attention_maps(model, x)
    assert maps.names == tuple(f"layers.{i}.self_attn" for i in range(3))
    torch.testing.assert_close(maps.output, model(x), rtol=0, atol=2e-6)
    first = model.layers[0]
    inside = first.norm1(x) if norm_first else x
    _, expected = first.self_attn(inside, inside, inside, average_attn_weights=False)
    torch.testing.assert_close(maps.layers[0], expected, **CLOSE)


def test_the_decoder_of_a_transformer_tells_self_from_cross_attention():
    model = nn.Transformer(8, 2, 1, 1, 16, batch_first=True).eval()
    maps = attention_maps(model, random(2, 5, 8), random(2, 4, 8, seed=1))
    assert dict(zip(maps.names, maps.kinds, strict=True)) == {
        "encoder.layers.0.self_attn": "self",
        "decoder.layers.0.self_attn": "self",
        "decoder.layers.0.multihead_attn": "cross",
    }
    assert maps.select("encoder*").names == ("encoder.layers.0.self_attn",)
    assert len(maps.select("self")) == 2
    with pytest.raises(ValueError, match=r"no layer matches 'head\*'; there are encoder.layers.0"):
        maps.select("head*")


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("norm", ["post", "pre"])
def test_the_trading_transformer_shows_the_weights_of_its_own_formula(causal, norm):
    torch.manual_seed(1)
    model = TradingTransformer(3, d_model=12, n_heads=3, n_layers=3, d_ff=8, causal=causal, norm=norm).eval()
    x, inputs = random(2, 6, 3), []
    for layer in model.layers:
        layer.attention.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    maps = attention_maps(model, x)
    assert maps.causal == causal
    for layer, weights, into in zip(model.layers, maps.layers, inputs, strict=True):
        torch.testing.assert_close(weights, layer.attention.attention_weights(into, causal=causal), **CLOSE)
    torch.testing.assert_close(maps.output, model(x), **CLOSE)
    assert model.prune


@pytest.mark.parametrize("causal", [False, True])
def test_the_short_cut_keeps_the_last_row_of_the_last_map(causal):
    torch.manual_seed(2)
    model = TradingTransformer(3, d_model=12, n_heads=3, n_layers=2, d_ff=8, causal=causal)
    x = random(2, 6, 3)
    full, short = attention_maps(model, x), attention_maps(model, x, full=False)
    assert short.kinds == ("self", "last")
    torch.testing.assert_close(short.layers[1], full.layers[1][:, :, -1:], **CLOSE)
    torch.testing.assert_close(short.output, full.output, **CLOSE)


def test_capture_is_in_evaluation_mode_and_the_mode_comes_back():
    model = TradingTransformer(3, d_model=12, n_heads=3, n_layers=2, d_ff=8, dropout=0.5)
    model.layers[0].eval()
    x = random(2, 6, 3)
    assert torch.equal(attention_maps(model, x).output, attention_maps(model, x).output)
    assert model.training
    assert not model.layers[0].training


def test_in_training_mode_the_output_is_that_of_an_unwatched_run_and_weights_sum_to_one():
    torch.manual_seed(3)
    model, x = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.5, batch_first=True), random(2, 6, 8)
    torch.manual_seed(4)
    expected = model(x)
    torch.manual_seed(4)
    maps = attention_maps(model, x, training=True)
    torch.testing.assert_close(maps.output, expected, **CLOSE)
    torch.testing.assert_close(maps.layers[0].sum(-1), torch.ones(2, 2, 6), **CLOSE)


def test_nothing_stays_behind_even_after_an_exception():
    class Breaks(TradingTransformer):
        def forward(self, x):
            super().forward(x)
            raise RuntimeError("broken on purpose")

    model = Breaks(3, d_model=12, n_heads=3, n_layers=2, d_ff=8)
    product, multi = F.scaled_dot_product_attention, F.multi_head_attention_forward
    with pytest.raises(RuntimeError, match="broken on purpose"):
        attention_maps(model, random(2, 6, 3))
    assert F.scaled_dot_product_attention is product
    assert F.multi_head_attention_forward is multi
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert not torch.overrides._get_current_function_mode_stack()
    assert model.prune
    assert model.training


def test_captured_maps_survive_the_next_capture():
    model = TradingTransformer(3, d_model=12, n_heads=3, n_layers=2, d_ff=8)
    first = attention_maps(model, random(2, 6, 3))
    before = [layer.clone() for layer in first.layers]
    attention_maps(model, random(2, 6, 3, seed=9))
    assert all(torch.equal(a, b) for a, b in zip(first.layers, before, strict=True))


def test_other_threads_run_unwatched():
    model, x, shapes = Attends(), random(1, 1, 4, 2), []

    class Waits(nn.Module):
        def forward(self, x):
            other = threading.Thread(target=lambda: shapes.append(model(x).shape))
            other.start()
            other.join()
            return model(x)

    assert len(attention_maps(Waits(), x)) == 1
    assert shapes == [x.shape]


def test_the_class_softmax_is_not_attention():
    model = nn.Sequential(nn.Linear(3, 4), nn.Softmax(-1))
    with pytest.raises(
        NoAttentionFound, match=r"no attention found in Sequential \(its layers: Linear, Softmax\)"
    ):
        attention_maps(model, random(2, 3))


def test_a_recurrent_model_is_told_what_to_use_instead():
    with pytest.raises(NoAttentionFound, match="it is recurrent: use an attribution method"):
        attention_maps(LSTMModel(3), random(2, 6, 3))


def test_a_scripted_model_is_refused_with_the_repair():
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        scripted = torch.jit.script(nn.Linear(3, 3))
    with pytest.raises(NoAttentionFound, match="pass the module it was scripted from"):
        attention_maps(scripted, random(2, 3))


def test_a_compiled_model_is_watched_through_its_wrapper():
    torch.manual_seed(5)
    model, x = Multi().eval(), random(2, 6, 8)
    compiled = torch.compile(model, backend="eager")
    torch.testing.assert_close(attention_maps(compiled, x).layers, attention_maps(model, x).layers)


def test_wrong_models_and_inputs_are_refused_with_the_repair():
    with pytest.raises(ValueError, match="the batch is empty"):
        attention_maps(Attends(), torch.zeros(0, 1, 4, 2))


@given(
    seed=st.integers(0, 2**31),
    batch=st.integers(1, 3),
    heads=st.integers(1, 3),
    queries=st.integers(1, 6),
    keys=st.integers(1, 6),
)
def test_rows_of_captured_attention_are_shares(seed, batch, heads, queries, keys):
    query, key = random(batch, heads, queries, 2, seed=seed), random(batch, heads, keys, 2, seed=seed + 1)
    weights = attention_maps(Attends(), query * 5, key).layers[0]
    assert weights.shape == (batch, heads, queries, keys)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(batch, heads, queries), **CLOSE)


def test_many_passes_under_one_recorder_keep_one_passs_memory():
    model, shelf = TradingTransformer(3, d_model=12, n_heads=3, n_layers=3, d_ff=8), Shelf(reuse=True)
    with torch.no_grad(), watching(model, keep=shelf) as recorder:
        for _ in range(4):
            recorder.clear()
            model(random(2, 6, 3))
            assert len(recorder.layers) == 3
    assert len(shelf.buffers) == 3


@pytest.mark.parametrize("batch", [1, 3, 5])
@pytest.mark.parametrize("kind", ["bool", "float"])
@pytest.mark.parametrize("shape", [(5, 7), (3, 5, 7), (1, 5, 7), (1, 3, 5, 7)])
def test_a_mask_is_aligned_from_the_right_as_torch_aligns_it(shape, kind, batch):
    query, key = random(batch, 3, 5, 4), random(batch, 3, 7, 4, seed=1)
    mask = random(*shape, seed=2) * 2
    mask = mask > -1.5 if kind == "bool" else mask
    model = Attends(attn_mask=mask)
    maps = attention_maps(model, query, key)
    torch.testing.assert_close(maps.output, model(query, key), **CLOSE)
    torch.testing.assert_close(maps.layers[0].double(), by_hand(query, key, mask), **CLOSE)


def test_shapes_that_torch_broadcasts_are_taken():
    asked = random(1, 2, 5, 4), random(3, 2, 7, 4, seed=1)  # one learned query set for all samples
    maps = attention_maps(Attends(), *asked)
    assert maps.layers[0].shape == (3, 2, 5, 7)
    torch.testing.assert_close(maps.output, Attends()(*asked), **CLOSE)
    five = random(2, 3, 2, 5, 4)
    model = Attends(attn_mask=random(3, 1, 5, 5, seed=3))
    maps = attention_maps(model, five)
    torch.testing.assert_close(maps.output, model(five), **CLOSE)
    assert maps.layers[0].shape == (6, 2, 5, 5)


@pytest.mark.parametrize("blocked", [-torch.inf, -1e9, -1e4])
@pytest.mark.parametrize("need_weights", [True, False])
def test_a_float_mask_blocks_by_any_large_negative_number(blocked, need_weights):
    mask = torch.zeros(6, 6).masked_fill(torch.ones(6, 6).triu(1).bool(), blocked)
    maps = attention_maps(Multi(attn_mask=mask, need_weights=need_weights).eval(), random(2, 6, 8))
    assert maps.causal
    assert attention_maps(Attends(attn_mask=mask), random(2, 1, 6, 4)).causal


def test_equal_lengths_do_not_hide_cross_attention():
    model = nn.Transformer(8, 2, 1, 1, 16, batch_first=True).eval()
    maps = attention_maps(model, random(2, 5, 8), random(2, 5, 8, seed=1))
    assert maps.kinds == ("self", "self", "cross")


def test_added_keys_are_no_positions():
    class Added(Multi):
        def __init__(self):
            super().__init__(need_weights=False)
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True, add_zero_attn=True)

    maps = attention_maps(Added().eval(), random(2, 6, 8))
    assert maps.kinds == ("self",)
    with pytest.raises(ValueError, match="6 queries and 7 keys: keys were added"):
        rollout(maps)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_answer_as_unwatched_and_give_exact_shares(dtype):
    x = random(2, 6, 8).to(dtype)
    for model in (Multi().eval().to(dtype), Multi(need_weights=False).eval().to(dtype)):
        maps = attention_maps(model, x)
        assert maps.output.dtype == dtype
        torch.testing.assert_close(maps.output, model(x), rtol=0, atol=0 if dtype != torch.float64 else 1e-12)
        torch.testing.assert_close(maps.layers[0].sum(-1).float(), torch.ones(2, 2, 6), **CLOSE)
