import copy

import pytest
import torch
import torch.nn.functional as F
from naive_parts import encoder_model, own_model
from torch import nn

from workbench.explainers.blocks import blocks_of
from workbench.explainers.capture import attention_maps, watching
from workbench.explainers.contributions import Parts
from workbench.explainers.flows import attention_flow
from workbench.explainers.maps import NoAttentionFound
from workbench.explainers.products import Shelf
from workbench.explainers.rollouts import rollout
from workbench.explainers.value_maps import alti_maps, parts_of, value_weighted_maps
from workbench.models.attention import MultiHeadAttention
from workbench.models.recurrent import LSTMModel
from workbench.models.transformer import TradingTransformer
from workbench.training.reopening import bundled_models, reopen

MAPS = {
    "values": value_weighted_maps,
    "inside": lambda *args, **options: value_weighted_maps(*args, inside=True, **options),
    "alti": alti_maps,
}


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def shaken(model):
    """Give every weight, also of biases and norms, which begin at zero and one, a value of its own."""
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.3 * torch.randn_like(weight)
    return model.double().eval()


def transformer(norm="post", causal=False):
    return shaken(TradingTransformer(3, d_model=12, n_heads=3, n_layers=3, d_ff=8, causal=causal, norm=norm))


def encoder(norm_first=False, batch_first=True, layers=3, **options):
    layer = nn.TransformerEncoderLayer(
        8, 2, 12, batch_first=batch_first, norm_first=norm_first, dropout=0.3, **options
    )
    return shaken(nn.TransformerEncoder(layer, layers, enable_nested_tensor=False))


def hooks(model):
    return sum(
        len(part._forward_hooks) + len(part._forward_pre_hooks) + len(part._backward_hooks)
        for part in model.modules()
    )


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("causal", [False, True])
def test_our_transformer_has_the_rows_of_the_loops(norm, causal):
    model, x = transformer(norm, causal), random(2, 4, 3)
    expected = own_model(model, x)
    for name, maps_of in MAPS.items():
        maps, last = maps_of(model, x), maps_of(model, x, full=False)
        for found, rows in zip(maps.layers, expected[name], strict=True):
            torch.testing.assert_close(found[:, 0], rows, rtol=0, atol=1e-10)
        torch.testing.assert_close(last.layers[-1][:, 0], expected[name][-1][:, -1:], rtol=0, atol=1e-10)
        assert last.kinds == ("self", "self", "last")
        torch.testing.assert_close(maps.output, model(x), rtol=0, atol=1e-12)


MASKS = {
    "none": {},
    "causal": {"mask": torch.ones(5, 5).bool().triu(1)},
    "causal hint": {"mask": torch.ones(5, 5).bool().triu(1), "is_causal": True},
    "float": {"mask": torch.zeros(5, 5).masked_fill(torch.ones(5, 5).bool().triu(1), -torch.inf)},
    "padding": {"src_key_padding_mask": torch.tensor([[0, 0, 0, 0, 1], [0, 1, 0, 0, 0]]).bool()},
    "both": {
        "mask": torch.ones(5, 5).bool().triu(1),
        "src_key_padding_mask": torch.tensor([[0, 0, 0, 0, 1], [0, 1, 0, 0, 0]]).bool(),
    },
}


def allowed_by(masks, batch):
    allowed = torch.ones(batch, 5, 5).bool()
    if "mask" in masks:
        blocked = masks["mask"]
        allowed &= ~(blocked if blocked.dtype == torch.bool else blocked < 0)
    if "src_key_padding_mask" in masks:
        allowed &= ~masks["src_key_padding_mask"][:, None]
    return allowed


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("masks", MASKS.values(), ids=MASKS)
def test_torchs_encoder_has_the_rows_of_the_loops(norm_first, batch_first, masks):
    model, x = encoder(norm_first, batch_first, layers=2), random(2, 5, 8)
    expected = encoder_model(model, x, allowed_by(masks, 2))
    given = x if batch_first else x.transpose(0, 1)
    for name, maps_of in MAPS.items():
        maps = maps_of(model, given, **masks)
        for found, rows in zip(maps.layers, expected[name], strict=True):
            torch.testing.assert_close(found[:, 0], rows, rtol=0, atol=1e-10)
        assert maps.names == tuple(f"layers.{i}.self_attn" for i in range(2))
        torch.testing.assert_close(maps.output, model(given, **masks), rtol=0, atol=1e-12)


class Weighing(nn.TransformerEncoderLayer):
    """Asks its attention for the weights too, which takes another way through PyTorch."""

    def _sa_block(self, x, attn_mask, key_padding_mask, is_causal=False):
        asked = {"attn_mask": attn_mask, "key_padding_mask": key_padding_mask, "need_weights": True}
        return self.dropout1(self.self_attn(x, x, x, **asked)[0])


@pytest.mark.parametrize("options", [{}, {"bias": False}, {"norm_first": True}])
def test_whether_weights_are_asked_for_does_not_matter_nor_do_missing_biases(options):
    model = shaken(Weighing(8, 2, 12, batch_first=True, **options))
    stack, x = nn.TransformerEncoder(model, 1, enable_nested_tensor=False).eval(), random(2, 5, 8)
    stack.layers[0].load_state_dict(model.state_dict())
    plain = encoder(layers=1, **options)
    plain.layers[0].load_state_dict(model.state_dict())
    for maps_of in MAPS.values():
        found, expected = maps_of(stack, x).layers[0], maps_of(plain, x).layers[0]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_one_sample_without_a_batch_and_a_model_that_is_one_block():
    layer, block, x = encoder(layers=1).layers[0], shaken(MultiHeadAttention(8, 2)), random(1, 5, 8)
    for maps_of in MAPS.values():
        torch.testing.assert_close(maps_of(layer, x[0]).layers[0], maps_of(layer, x).layers[0])
        assert maps_of(layer, x).names == ("self_attn",)
        assert maps_of(block, x).layers[0].shape == (1, 1, 5, 5)


def test_a_block_that_runs_twice_has_maps_of_both_runs():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = MultiHeadAttention(8, 2)

        def forward(self, x):
            return self.block(self.block(x))

    model, x = shaken(Twice()), random(2, 5, 8)
    maps = value_weighted_maps(model, x)
    assert maps.names == ("block", "block#2")
    again = value_weighted_maps(model.block, model.block(x)).layers[0]
    torch.testing.assert_close(maps.layers[1], again, rtol=0, atol=1e-12)


@pytest.mark.parametrize("maps_of", MAPS.values(), ids=MAPS)
def test_a_model_that_changes_its_stream_in_place_is_read_before_it_does(maps_of):
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = MultiHeadAttention(8, 2), MultiHeadAttention(8, 2, norm="pre")

        def forward(self, x):
            x = x.clone()
            x += self.first(x)
            y = self.second(x)
            y *= 2
            x.zero_()
            return y

    assert len(maps_of(shaken(InPlace()), random(2, 5, 8))) == 2


def test_rollout_and_flow_take_the_maps():
    model, x = transformer(causal=True), random(2, 5, 3)
    maps = value_weighted_maps(model, x)
    assert rollout(maps, position=-1).shape == (2, 5)
    assert attention_flow(maps, position=-1).shares.shape == (2, 5)
    assert maps.causal
    closer = rollout(alti_maps(model, x), residual=0)
    torch.testing.assert_close(closer.sum(-1), torch.ones(2, 5, dtype=torch.float64))


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 2e-6), (torch.bfloat16, 0.1)])
@pytest.mark.parametrize("maps_of", MAPS.values(), ids=MAPS)
def test_coarse_numbers_round_the_maps_and_are_not_taken_for_another_forward(maps_of, dtype, error):
    fine, x = transformer(causal=True), random(4, 5, 3)
    coarse = copy.deepcopy(fine).to(dtype)
    expected = rollout(maps_of(fine, x), residual=0.2)
    found = rollout(maps_of(coarse, x.to(dtype)), residual=0.2)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=error)


@pytest.mark.parametrize("folder", sorted(bundled_models().glob("*-*")), ids=lambda folder: folder.name)
def test_the_parts_of_bundled_models_add_up(folder):
    opened = reopen(folder)
    if isinstance(opened.model, LSTMModel):
        with pytest.raises(NoAttentionFound):
            value_weighted_maps(opened.model, opened.windows.x[:2])
        return
    x = torch.as_tensor(opened.windows.x[:64])
    assert max(gaps(opened.model, x)) < 2e-6


def gaps(model, x, **masks):
    """How far the parts of each layer miss its output."""
    with torch.no_grad(), blocks_of(model) as blocks, watching(model, keep=Shelf(reuse=False)) as recorder:
        model(x, **masks)
        parts = parts_of("gaps", model, recorder, blocks)
        return [
            part.gap(part.summed(layer.weights(), 0), 0)
            for layer, part in zip(recorder.layers, parts, strict=True)
        ]


@pytest.mark.parametrize("norm_first", [False, True])
def test_the_parts_of_torchs_encoder_add_up(norm_first):
    layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True, norm_first=norm_first)
    model = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False).eval()
    x = random(16, 60, 64, dtype=torch.float32)
    assert max(gaps(model, x)) < 2e-6
    assert max(gaps(model.double(), x.double())) < 1e-14


class Halved(MultiHeadAttention):
    """Does more than its weights say."""

    def forward(self, *args, **kwargs):
        return super().forward(*args, **kwargs) * 0.999


@pytest.mark.parametrize("maps_of", MAPS.values(), ids=MAPS)
def test_a_forward_that_does_something_else_is_found_out(maps_of):
    model = transformer()
    other = Halved(12, 3).double()
    other.load_state_dict(model.layers[1].attention.state_dict())
    model.layers[1].attention = other
    with pytest.raises(ValueError, match=r"layers\.1\.attention miss its output by 1\.0e-03.*1e-10.*rollout"):
        maps_of(model, random(2, 5, 3))


def test_heads_taken_apart_in_the_wrong_order_are_found_out(monkeypatch):
    summed = Parts.summed

    def shuffled(self, weights, start):
        swapped = Parts(type(self.block)(**{**vars(self.block), "w_o": self.block.w_o.flip(0)}), self.name)
        return summed(swapped, weights, start)

    monkeypatch.setattr(Parts, "summed", shuffled)
    with pytest.raises(ValueError, match=r"layers\.0\.attention miss its output"):
        value_weighted_maps(transformer(), random(2, 5, 3))


def test_numbers_that_are_not_finite_are_named():
    model = transformer()
    with torch.no_grad():
        model.layers[1].attention.w_v.weight[0, 0] = torch.inf
    with pytest.raises(ValueError, match=r"layers\.1\.attention answers with numbers that are not finite"):
        alti_maps(model, random(2, 5, 3))


class Written(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.Identity()

    def forward(self, x):
        return (x @ x.transpose(1, 2)).softmax(-1) @ x


class Bare(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x)[0]


class Fused(nn.Module):
    def forward(self, x):
        return F.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None])[:, 0]


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (Written(), r"attention 1 is attention written out in Written"),
        (Bare(), r"attention is of MultiheadAttention"),
        (nn.Sequential(Fused()), r"0 is of Fused"),
    ],
)
@pytest.mark.parametrize("maps_of", [value_weighted_maps, alti_maps])
def test_a_module_whose_weights_are_not_known_is_named_and_rollout_offered(model, named, maps_of):
    with pytest.raises(
        ValueError, match=rf"{maps_of.__name__} needs the weights.*{named}: use rollout or flow"
    ):
        maps_of(model.double(), random(2, 5, 8))


def test_cross_attention_is_refused():
    layer = nn.TransformerDecoderLayer(8, 2, 12, batch_first=True)
    model, x = shaken(nn.TransformerDecoder(layer, 2)), random(2, 5, 8)
    with pytest.raises(ValueError, match=r"layers\.0\.self_attn is of MultiheadAttention: use rollout"):
        alti_maps(model, x, random(2, 7, 8))
    model, x = shaken(MultiHeadAttention(8, 2)), random(2, 5, 8)
    with pytest.raises(
        ValueError, match=r"is cross-attention in MultiHeadAttention: use a method that needs no"
    ):
        alti_maps(model, x, random(2, 7, 8))


def test_a_norm_of_another_kind_is_refused():
    model = encoder()
    model.layers[1].norm1 = nn.RMSNorm(8, eps=1e-5).double()
    with pytest.raises(ValueError, match=r"layers\.1\.self_attn is of MultiheadAttention"):
        value_weighted_maps(model, random(2, 5, 8))


def test_a_model_of_transformers_is_refused_by_name():
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 8, "num_hidden_layers": 1}
    model = transformers.BertModel(transformers.BertConfig(vocab_size=11, **sizes)).eval()
    with pytest.raises(
        ValueError, match=r"encoder\.layer\.0\.attention\.self is of Bert\w*SelfAttention: use r"
    ):
        value_weighted_maps(model, torch.arange(5)[None])


@pytest.mark.parametrize("maps_of", MAPS.values(), ids=MAPS)
def test_nothing_stays_hooked_and_the_mode_is_restored(maps_of):
    class Failing(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = transformer()

        def forward(self, x):
            self.model(x)
            raise RuntimeError("after the pass")

    for model, error in (
        (Failing(), RuntimeError),
        (transformer(), None),
        (encoder(), None),
        (Bare().double(), ValueError),
    ):
        model.train()
        x = random(2, 5, 3 if isinstance(model, Failing | TradingTransformer) else 8)
        if error is None:
            maps_of(model, x)
        else:
            with pytest.raises(error):
                maps_of(model, x)
        assert hooks(model) == 0
        assert all(part.training for part in model.modules() if not isinstance(model, Failing))
        assert getattr(model, "prune", True)
        assert len(torch.overrides._get_current_function_mode_stack()) == 0


def test_a_compiled_model_is_read_as_it_was_written():
    model, x = transformer(), random(2, 5, 3)
    for maps_of in MAPS.values():
        torch.testing.assert_close(
            maps_of(torch.compile(model, backend="eager"), x).layers, maps_of(model, x).layers, rtol=0, atol=0
        )


def test_grouped_weights_of_attention_maps_are_those_that_are_weighed():
    # Of one head with values of one length the rows are the attention itself.
    block = shaken(MultiHeadAttention(8, 1, norm="pre"))
    with torch.no_grad():
        block.w_v.weight.zero_()
    x = random(2, 5, 8)
    weights = attention_maps(block, x).layers[0]
    torch.testing.assert_close(value_weighted_maps(block, x).layers[0], weights, rtol=0, atol=1e-12)
