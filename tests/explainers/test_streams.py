from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_rollout import naive_rollout
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from workbench.explainers.capture import attention_maps
from workbench.explainers.explanation import explain
from workbench.explainers.maps import NoAttentionFound
from workbench.explainers.null import null_row, uniform_maps
from workbench.explainers.rollouts import rollout
from workbench.explainers.softmax import AttentionLayer
from workbench.explainers.streams import stream_rollout
from workbench.models.recurrent import LSTMModel
from workbench.models.transformer import TradingTransformer
from workbench.training.reopening import bundled_models, reopen

EXACT = {"rtol": 0, "atol": 1e-12}
FUSIONS = ["mean", "max", "min", [1, 2, 3], [[1, 2, 3], [0, 0, 1], [3, 1, 1]]]
DISCARDS = [(0.0, "map"), (0.3, "map"), (0.9, "map"), (0.3, "row"), (0.9, "row")]


@pytest.fixture(autouse=True)
def _few_rows_a_block(monkeypatch):
    monkeypatch.setattr("workbench.explainers.chains.BLOCK_BYTES", 4000)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def transformer(causal=False, layers=3, length=64):
    model = TradingTransformer(
        3, d_model=12, n_heads=3, n_layers=layers, d_ff=8, causal=causal, max_seq_len=length
    )
    with torch.no_grad():  # sharp attention, so that it matters what is discarded
        for layer in model.layers:
            layer.attention.w_q.weight *= 8
    return model.double().eval()


class Encoder(nn.Module):
    """A model of torch's own layers, masks and padding included."""

    def __init__(self, kind):
        super().__init__()
        layer = nn.TransformerEncoderLayer(6, 3, 8, batch_first=True, dropout=0.0)
        self.encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        self.kind = kind

    def forward(self, x):
        length = x.shape[1]
        if self.kind == "padded":
            padding = torch.arange(length) < torch.arange(len(x))[:, None] * 4
            return self.encoder(x, src_key_padding_mask=padding)
        if self.kind == "float mask":
            return self.encoder(
                x, mask=-torch.arange(length).sub(torch.arange(length)[:, None]).abs().double()
            )
        causal = nn.Transformer.generate_square_subsequent_mask(length, dtype=torch.float64)
        return self.encoder(x, mask=causal, is_causal=self.kind == "causal, told")


def check(model, x, **joining):
    """Compare full, positional and streamed rollout with the naive product."""
    maps = attention_maps(model, x)
    options = {name: value for name, value in joining.items() if name != "start_layer"}
    start = joining.get("start_layer", 0)
    expected = naive_rollout([layer.numpy() for layer in maps.layers[start:]], **options)
    np.testing.assert_allclose(rollout(maps, **joining), expected, **EXACT)
    np.testing.assert_allclose(rollout(maps, position=5, **joining), expected[:, 5], **EXACT)
    np.testing.assert_allclose(stream_rollout(model, x, **joining), expected[:, -1], **EXACT)
    rows = stream_rollout(model, x, position=[0, 5, -1], **joining)
    np.testing.assert_allclose(rows, expected[:, [0, 5, -1]], **EXACT)


@pytest.mark.parametrize(("discard", "by"), DISCARDS)
@pytest.mark.parametrize("fusion", FUSIONS, ids=["mean", "max", "min", "weights", "weights by layer"])
@pytest.mark.parametrize("causal", [False, True], ids=["all", "causal"])
def test_a_random_model_is_rolled_out_as_the_naive_product_has_it(causal, fusion, discard, by):
    check(transformer(causal), random(2, 13, 3), fusion=fusion, discard=discard, discard_by=by)


@pytest.mark.parametrize("residual", [0.0, 0.2, 1.0])
@pytest.mark.parametrize(("discard", "by"), [(0.0, "map"), (0.6, "map"), (0.6, "row")])
def test_the_residual_is_the_one_asked_for(residual, discard, by):
    check(transformer(True), random(2, 17, 3), residual=residual, discard=discard, discard_by=by)


@pytest.mark.parametrize(("discard", "by"), [(0.0, "map"), (0.9, "map"), (0.9, "row")])
@pytest.mark.parametrize("fusion", ["mean", "max"])
@pytest.mark.parametrize("name", ["transformer-AAPL", "transformer-JPM-closes"])
def test_a_trained_model_is_rolled_out_as_the_naive_product_has_it(name, fusion, discard, by):
    opened = reopen(bundled_models() / name)
    x = opened.windows.batch(slice(-2, None)).double()
    check(opened.model.double(), x, fusion=fusion, discard=discard, discard_by=by)


@pytest.mark.parametrize("kind", ["causal, told", "causal mask", "float mask", "padded"])
@pytest.mark.parametrize(("discard", "by"), [(0.0, "map"), (0.5, "map"), (0.5, "row")])
@pytest.mark.parametrize("fusion", ["mean", "min"])
def test_a_model_of_torchs_own_layers_is_rolled_out_without_a_change(kind, fusion, discard, by):
    check(Encoder(kind).double().eval(), random(3, 13, 6), fusion=fusion, discard=discard, discard_by=by)


def test_attention_written_out_and_weights_asked_for_are_rolled_out_too():
    class Asks(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.MultiheadAttention(6, 3, batch_first=True) for _ in range(3))

        def forward(self, x):
            for layer in self.layers:
                x = x + layer(x, x, x, need_weights=True)[0]
            return x

    check(Asks().double().eval(), random(2, 11, 6), discard=0.4)


def test_layers_below_the_start_layer_are_left_out_and_their_weights_unused():
    model, x = transformer(), random(2, 13, 3)
    check(model, x, start_layer=1, discard=0.3)
    streamed = stream_rollout(model, x, start_layer=1, fusion=[[1, 1, 1], [1, 2, 3], [3, 0, 1]])
    expected = rollout(attention_maps(model, x).layers[1:], [[1, 2, 3], [3, 0, 1]], position=-1)
    torch.testing.assert_close(streamed, expected, **EXACT)


class Largest(TorchDispatchMode):
    """Notes the size of the largest tensor that any operation made."""

    entries = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for one in made if isinstance(made, tuple | list) else [made]:
            if isinstance(one, torch.Tensor) and one.untyped_storage().nbytes() > one.element_size():
                self.entries = max(self.entries, one.untyped_storage().nbytes() // one.element_size())
        return made


@contextmanager
def no_matrix(length):
    with Largest() as largest:
        yield
    assert 0 < largest.entries < length * length


@pytest.mark.parametrize(("discard", "by"), [(0.0, "map"), (0.5, "map"), (0.5, "row")])
@pytest.mark.parametrize("fusion", ["mean", "max"])
@pytest.mark.parametrize("causal", [False, True], ids=["all", "causal"])
def test_no_matrix_of_queries_by_keys_is_made(causal, fusion, discard, by, monkeypatch):
    monkeypatch.setattr("workbench.explainers.chains.BLOCK_BYTES", 100_000)
    model, x = transformer(causal, length=400), random(1, 400, 3)
    with no_matrix(400):
        stream_rollout(model, x, fusion=fusion, discard=discard, discard_by=by)


def test_a_padded_model_of_torchs_own_makes_no_matrix_either(monkeypatch):
    monkeypatch.setattr("workbench.explainers.chains.BLOCK_BYTES", 100_000)
    model, x = Encoder("padded").double().eval(), random(2, 400, 6)
    with no_matrix(400):
        stream_rollout(model, x)


@pytest.mark.parametrize("causal", [False, True], ids=["all", "causal"])
def test_explaining_long_windows_makes_no_matrix_and_equals_the_maps(causal, windows_of, monkeypatch):
    monkeypatch.setattr("workbench.explainers.chains.BLOCK_BYTES", 100_000)
    monkeypatch.setattr("workbench.explainers.batches.LONG", 400)
    windows = windows_of(bars=403, lookback=400)
    model = transformer(causal, length=400).float()
    with no_matrix(400):
        why = explain(model, windows)
    maps = attention_maps(model, windows.x)
    np.testing.assert_allclose(why.scores, rollout(maps, position=-1), atol=1e-6)
    np.testing.assert_allclose(why.null, rollout(uniform_maps(maps), position=-1)[0], atol=1e-6)


@given(
    seed=st.integers(0, 2**31),
    causal=st.booleans(),
    fusion=st.sampled_from(FUSIONS),
    residual=st.floats(0, 1),
    discard=st.floats(0, 0.99),
    by=st.sampled_from(["map", "row"]),
    length=st.integers(1, 20),
)
@settings(max_examples=20, deadline=None)
def test_streamed_rows_are_those_of_the_maps_and_shares(seed, causal, fusion, residual, discard, by, length):
    torch.manual_seed(seed)
    model, x = transformer(causal), random(1, length, 3, seed=seed)
    joining = {"fusion": fusion, "residual": residual, "discard": discard, "discard_by": by}
    rows = stream_rollout(model, x, position=list(range(length)), **joining)
    torch.testing.assert_close(rows, rollout(attention_maps(model, x), **joining), **EXACT)
    torch.testing.assert_close(rows.sum(-1), torch.ones(1, length, dtype=torch.float64))
    assert (rows >= 0).all()
    if causal:
        assert (rows.triu(1) == 0).all()


@given(
    seed=st.integers(0, 2**31),
    kind=st.sampled_from(["none", "causal", "mask", "mask by head", "bias", "bias and causal"]),
    residual=st.floats(0, 1),
    length=st.integers(1, 12),
)
def test_the_null_of_a_row_is_that_of_even_maps(seed, kind, residual, length):
    open_ = random(2, 3 if "head" in kind else 1, length, length, seed=seed) < 0.6
    mask = open_ if "mask" in kind else None
    bias = torch.where(open_, 0.3, -torch.inf).double() if "bias" in kind else None
    query = key = random(2, 3, length, 4, seed=seed)
    layers = [AttentionLayer("self", mask, query, key, bias=bias, causal="causal" in kind) for _ in range(3)]
    row = random(2, length, seed=seed + 1).softmax(-1)
    past = torch.ones(length, length).tril().bool()
    allowed = open_ if mask is not None or bias is not None else torch.ones(1, 1, length, length).bool()
    allowed = allowed & past if "causal" in kind else allowed
    even = allowed.double() / allowed.sum(-1, keepdim=True).clamp_min(1)
    rolled = naive_rollout([even.expand(2, -1, -1, -1).numpy()] * 3, residual=residual)
    expected = np.einsum("bq,bqk->bk", row.numpy(), rolled)
    np.testing.assert_allclose(null_row(layers, row, residual), expected, **EXACT)


def test_a_float32_model_is_rolled_out_to_a_millionth():
    model, x = transformer(length=300), random(1, 300, 3)
    exact = stream_rollout(model, x)
    assert abs(stream_rollout(model.float(), x.float()) - exact).max() < 1e-6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"position": 9}, "position 9 is outside the 9 positions"),
        ({"position": [0, -10]}, "position -10 is outside"),
        ({"start_layer": 3}, "not one of the 3 layers"),
        ({"fusion": [1, 2]}, "head weights are 3 numbers, one a head; got 2"),
        ({"fusion": [[1, 2, 3]]}, "one row for each of the 3 layers.*got 1 rows"),
        ({"discard_by": "column"}, "'map', the weakest entries of each whole map, or 'row'"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_the_choice(arguments, message):
    with pytest.raises(ValueError, match=message):
        stream_rollout(transformer(), random(1, 9, 3), **arguments)


def test_what_cannot_be_streamed_says_why():
    with pytest.raises(NoAttentionFound, match="it is recurrent"):
        stream_rollout(LSTMModel(3), torch.zeros(1, 5, 3))
    model = nn.Transformer(8, 2, 1, 1, 16, batch_first=True).eval()
    with pytest.raises(ValueError, match="is cross-attention"):
        stream_rollout(model, torch.randn(1, 5, 8), torch.randn(1, 5, 8))
    with pytest.raises(ValueError, match="not finite: look for NaN"):
        stream_rollout(transformer(), torch.full((1, 5, 3), torch.nan).double())
