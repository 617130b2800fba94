import importlib.util
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from workbench.explainers import batches
from workbench.explainers.compiled_attention import attend
from workbench.explainers.explanation import explain
from workbench.explainers.products import Product, Shelf
from workbench.explainers.rollouts import RolloutOptions, chain, rollout
from workbench.explainers.softmax import AttentionLayer
from workbench.models.transformer import TradingTransformer


def exact(asked):
    """The answer and the mean of the heads' weights, written out in float64."""
    query, key, value = asked.query.double(), asked.key.double(), asked.value.double()
    scale = query.shape[-1] ** -0.5 if asked.scale is None else asked.scale
    scores = query @ key.transpose(-2, -1) * scale
    if asked.is_causal:
        scores = scores.masked_fill(torch.ones(scores.shape[-2:]).triu(1).bool(), -torch.inf)
    weights = scores.softmax(-1)
    return weights @ value, weights.mean(1)


def drawn(batch, heads, queries, channels, layout="projected"):
    if layout == "heads first":
        return [torch.randn(batch, heads, queries, channels) for _ in range(3)]
    if layout == "one projection":
        joined = torch.randn(batch, queries, 3, heads, channels)
        return [joined[:, :, i].transpose(1, 2) for i in range(3)]
    return [torch.randn(batch, queries, heads, channels).transpose(1, 2) for _ in range(3)]


def test_three_layers_worked_by_hand():
    quarters = [  # first layer first; weights of two heads, in quarters
        [[[1, 2, 1], [1, 1, 2], [2, 1, 1]], [[1, 1, 2], [1, 1, 2], [1, 2, 1]]],
        [[[2, 1, 1], [1, 2, 1], [1, 1, 2]], [[1, 1, 2], [2, 1, 1], [1, 2, 1]]],
        [[[1, 1, 2], [1, 2, 1], [2, 1, 1]], [[2, 1, 1], [1, 1, 2], [1, 1, 2]]],
    ]
    layers, shelf = [], Shelf(reuse=True, attend=attend)
    values = torch.tensor([[1.0, 0, 0], [0, 10, 0], [0, 0, 100]]).expand(1, 2, 3, 3)
    for weights in quarters:
        query = (torch.tensor(weights) / 4).log()[None]  # keys that are ones make scores of it
        asked = Product(query, torch.eye(3).expand(1, 2, 3, 3).contiguous(), values, scale=1.0)
        answer, mean = attend(asked, shelf)
        torch.testing.assert_close(answer, (torch.tensor(weights) / 4 * torch.tensor([1, 10, 100]))[None])
        layer = AttentionLayer.of_product("self", asked)
        layer.keep_mean(mean)
        layers.append(layer)
    # (3, 2, 11)/16 of the last row, then (61, 61, 134)/256, then
    last = chain(layers, torch.tensor([[0.0, 0, 1]]), RolloutOptions())
    torch.testing.assert_close(last, torch.tensor([[1134.0, 1195, 1767]]) / 4096)


@settings(max_examples=60)
@given(
    st.integers(1, 3),
    st.integers(1, 5),
    st.integers(1, 70),
    st.integers(1, 40),
    st.booleans(),
    st.sampled_from([None, 0.0, 0.7, -2.0]),
    st.sampled_from(["projected", "heads first", "one projection"]),
)
def test_it_is_attention_in_float64_to_rounding(batch, heads, queries, channels, causal, scale, layout):
    asked = Product(*drawn(batch, heads, queries, channels, layout), is_causal=causal, scale=scale)
    answer, mean = attend(asked, Shelf(reuse=True))
    wanted, weights = exact(asked)
    torch.testing.assert_close(answer.double(), wanted, atol=1e-5, rtol=0)
    torch.testing.assert_close(mean.double(), weights, atol=1e-6, rtol=0)
    torch.testing.assert_close(mean.sum(-1), torch.ones(batch, queries))


def test_it_says_no_worse_than_torch():
    asked = Product(*drawn(4, 8, 60, 16))
    wanted = exact(asked)[0]
    own, theirs = (
        (answer.double() - wanted).abs().max()
        for answer in (attend(asked, Shelf(False))[0], asked.by_torch())
    )
    assert own < 2 * theirs + 1e-7


@pytest.mark.parametrize("queries", [16, 17, 33, 48])
@pytest.mark.parametrize("causal", [False, True])
def test_queries_fill_the_lanes_or_do_not(queries, causal):
    asked = Product(*drawn(2, 3, queries, 8), is_causal=causal)
    answer, mean = attend(asked, Shelf(reuse=True))
    torch.testing.assert_close(answer.double(), exact(asked)[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(mean.double(), exact(asked)[1], atol=1e-6, rtol=0)


def test_memory_that_held_another_batch_is_written_anew():
    shelf = Shelf(reuse=True)
    larger, smaller = (Product(*drawn(b, 2, 20, 4), is_causal=True) for b in (5, 2))
    attend(larger, shelf)
    shelf.rewind()
    torch.testing.assert_close(attend(smaller, shelf)[1].double(), exact(smaller)[1], atol=1e-6, rtol=0)
    assert len(shelf.buffers) == 1


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("size", [1e4, -1e4, 3e37])
def test_scores_however_large_or_small_are_a_softmax(size, causal):
    query, key, value = (part.contiguous() for part in drawn(1, 1, 5, 1))
    query[:], key[:] = 1, torch.tensor([0.0, 1, 2, 3, 4])[None, None, :, None] * size
    answer, mean = attend(Product(query, key, value, is_causal=causal, scale=1.0), Shelf(reuse=True))
    for i in range(5):
        seen = i if causal else 4
        largest = seen if size > 0 else 0
        assert mean[0, i].tolist() == [float(j == largest) for j in range(5)]
        assert answer[0, 0, i] == value[0, 0, largest]


def test_weights_far_below_the_largest_are_small_and_then_nothing():
    key = torch.tensor([0.0, -10, -80, -88, -200])[None, None, :, None]
    mean = attend(Product(torch.ones(1, 1, 5, 1), key, key, scale=1.0), Shelf(reuse=True))[1][0, 0]
    torch.testing.assert_close(mean[:3].double(), key[0, 0, :3, 0].double().softmax(0), rtol=1e-5, atol=0)
    assert mean[3:].tolist() == [0, 0]


@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_what_is_not_finite_stays_so(broken):
    query, key, value = (part.contiguous() for part in drawn(1, 2, 20, 4))
    query[0, 0, 3, 1] = broken
    answer, mean = attend(Product(query, key, value), Shelf(reuse=True))
    assert answer[0, 0, 3].isnan().all()
    assert mean[0, 3].isnan().all()
    assert mean[0, [2, 4]].isfinite().all()
    query[0, 0, 3, 1] = 0
    key[0, 1, 19, 2] = torch.nan
    assert attend(Product(query, key, value), Shelf(reuse=True))[1].isnan().all()


def test_a_later_key_that_is_not_finite_is_not_seen_by_causal_weights():
    query, key, value = (part.contiguous() for part in drawn(1, 2, 20, 4))
    key[0, 0, 18] = torch.nan
    mean = attend(Product(query, key, value, is_causal=True), Shelf(reuse=True))[1]
    assert mean[0, :18].isfinite().all()
    assert mean[0, 18:].isnan().any(-1).all()


OTHER = {
    "a mask": lambda q, k, v: Product(q, k, v, torch.ones(6, 6).bool()),
    "float64": lambda q, k, v: Product(q.double(), k.double(), v.double()),
    "half": lambda q, k, v: Product(q.half(), k.half(), v.half()),
    "fewer keys": lambda q, k, v: Product(q, k[:, :, :4], v[:, :, :4]),
    "shared keys": lambda q, k, v: Product(q, k[:, :1], v[:, :1], enable_gqa=True),
    "no heads": lambda q, k, v: Product(q[:, 0], k[:, 0], v[:, 0]),
    "wider values": lambda q, k, v: Product(q, k, torch.cat([v, v], -1)),
    "channels apart": lambda q, k, v: Product(q.mT.contiguous().mT, k, v),
}


@pytest.mark.parametrize("case", OTHER)
def test_anything_else_is_left_to_torch(case):
    assert attend(OTHER[case](*drawn(2, 2, 6, 4)), Shelf(reuse=True)) is None


def test_so_is_what_runs_in_lower_precision():
    asked = Product(*drawn(2, 2, 6, 4))
    with torch.autocast("cpu", torch.bfloat16):
        assert attend(asked, Shelf(reuse=True)) is None


class Attends(nn.Module):
    """Two layers of attention of many kinds, some compiled and some not."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.embed, self.project = nn.Linear(3, 16), nn.ModuleList(nn.Linear(16, 48) for _ in range(2))
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        h = self.embed(x)
        for i, project in enumerate(self.project):
            q, k, v = project(h).unflatten(-1, (3, 4, 4)).permute(2, 0, 3, 1, 4)
            asked = {"is_causal": self.kind == "causal"}
            if self.kind == "masked" or (self.kind == "mixed" and i):
                asked["attn_mask"] = torch.ones(x.shape[1], x.shape[1]).tril(2).bool()
            if self.kind == "grouped":
                k, v, asked["enable_gqa"] = k[:, :2], v[:, :2], True
            if self.kind == "broadcast":
                k = k[:1].expand_as(k)
            h = h + F.scaled_dot_product_attention(q, k, v, **asked).transpose(1, 2).flatten(2)
        return self.head(h[:, -1])


def encoder(norm_first):
    layer = nn.TransformerEncoderLayer(16, 2, 32, 0.1, batch_first=True, norm_first=norm_first)
    stack = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.stack, self.head = nn.Linear(3, 16), stack, nn.Linear(16, 3)

        def forward(self, x):
            return self.head(self.stack(self.embed(x))[:, -1])

    return Encoder()


def ours(**options):
    sizes = {"d_model": 24, "n_heads": 3, "n_layers": 3, "d_ff": 16}
    return TradingTransformer(3, **sizes, **options)


MODELS = {
    "ours": lambda: ours(),
    "ours, causal": lambda: ours(causal=True),
    "ours, pre-norm": lambda: ours(norm="pre", task="classification"),
    "encoder": lambda: encoder(False),
    "encoder, pre-norm": lambda: encoder(True),
    "in float64": lambda: ours().double(),
    **{
        kind: lambda kind=kind: Attends(kind)
        for kind in ("plain", "causal", "masked", "mixed", "grouped", "broadcast")
    },
}


def both_ways(monkeypatch, model, windows, **options):
    """The explanation by compiled attention, and by torch's operations."""
    monkeypatch.setattr(batches, "COMPILED", 0)
    compiled = explain(model, windows, **options)
    monkeypatch.setattr(batches, "COMPILED", 10**9)
    return compiled, explain(model, windows, **options)


@pytest.mark.parametrize("model", MODELS)
def test_an_explanation_is_the_same_compiled_or_not(windows_of, model, monkeypatch):
    windows = windows_of(bars=60, lookback=18)
    monkeypatch.setattr(batches, "BARS", 7 * 18)
    compiled, other = both_ways(monkeypatch, MODELS[model]().eval(), windows)
    np.testing.assert_allclose(compiled.scores, other.scores, atol=1e-6)
    np.testing.assert_allclose(compiled.null, other.null, atol=1e-7)
    for column in compiled.predictions.select_dtypes("number"):
        np.testing.assert_allclose(compiled.predictions[column], other.predictions[column], atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"position": 3},
        {"discard": 0.4},
        {"discard": 0.4, "discard_by": "row"},
        {"residual": 0.2, "start_layer": 1},
        {"fusion": "max"},
        {"fusion": [1, 2, 3]},
    ],
)
@pytest.mark.parametrize("causal", [False, True])
def test_with_every_option(windows, causal, options, monkeypatch):
    compiled, other = both_ways(monkeypatch, ours(causal=causal).eval(), windows, **options)
    np.testing.assert_allclose(compiled.scores, other.scores, atol=1e-6)


def test_windows_of_one_bar(windows_of, monkeypatch):
    compiled, _ = both_ways(monkeypatch, ours().eval(), windows_of(lookback=1))
    assert (compiled.scores == 1).all()


def test_it_is_the_exact_rollout(windows, monkeypatch):
    monkeypatch.setattr(batches, "COMPILED", 0)
    model = ours(causal=True).eval()
    found = explain(model, windows).scores
    x, layers = windows.x.double(), []
    model.double().prune = False
    for layer in model.layers:
        layer.attention.register_forward_hook(
            lambda part, given, _: layers.append(part.attention_weights(given[0], causal=True))
        )
    with torch.no_grad():
        model(x)
    np.testing.assert_allclose(found, rollout(layers, position=-1), atol=1e-6)


def test_weights_that_are_not_finite_are_refused(windows, monkeypatch):
    monkeypatch.setattr(batches, "COMPILED", 0)
    model = ours().eval()
    with torch.no_grad():
        model.layers[1].attention.w_q.weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        explain(model, windows)


def test_without_numba_torch_answers(windows, monkeypatch):
    model = ours().eval()
    wanted = explain(model, windows)
    monkeypatch.setattr(batches, "COMPILED", 0)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "workbench.explainers.compiled_attention", None)
    assert (explain(model, windows).scores == wanted.scores).all()


def test_it_serves_in_whole_test_sets_alone_and_where_one_thread_computes(windows, monkeypatch):
    used = []
    monkeypatch.setattr(
        "workbench.explainers.compiled_attention.attend", lambda *asked: used.append(1) or attend(*asked)
    )
    model = ours().eval()
    explain(model, windows)
    assert not used
    both_ways(monkeypatch, model, windows, fusion="max")
    monkeypatch.setattr(batches, "COMPILED", 0)
    explain(model, windows[:1], threads=2)
    assert not used
    both_ways(monkeypatch, model, windows)
    assert used
