"""Which layers are one on top of the other, and which run side by side."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from workbench.explainers.capture import attention_maps
from workbench.explainers.explanation import explain
from workbench.explainers.flows import attention_flow
from workbench.explainers.maps import AttentionMaps
from workbench.explainers.null import uniform_maps
from workbench.explainers.relevances import relevance
from workbench.explainers.rollouts import rollout
from workbench.explainers.streams import stream_rollout
from workbench.explainers.value_maps import value_weighted_maps
from workbench.models.transformer import TradingTransformer

X = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))


class Head(nn.Module):
    """One head, fused or written out, from width 8 to `width`."""

    def __init__(self, width=4, written=False):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(8, width) for _ in range(3))
        self.written = written

    def forward(self, x, values=None):
        q, k, v = self.q(x), self.k(x), self.v(x if values is None else values)
        if self.written:
            return (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1) @ v
        return F.scaled_dot_product_attention(q, k, v)


class Beside(nn.Module):
    """Heads that read the same input."""

    def __init__(self, written=False, after=False, features=8):
        super().__init__()
        self.embed = nn.Linear(features, 8)
        self.heads = nn.ModuleList(Head(4, written) for _ in range(2))
        self.above = Head(8, written) if after else nn.Identity()
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = self.embed(x)
        return self.head(self.above(torch.cat([head(x) for head in self.heads], -1))[:, -1])


@pytest.mark.parametrize("written", [False, True])
def test_heads_that_read_the_same_input_are_no_layers_of_a_stack(written, windows):
    maps = attention_maps(Beside(written, after=True), X)
    assert maps.above == (frozenset(), frozenset(), frozenset({"heads.0", "heads.1"}))
    says = (
        r"heads.0 and heads.1 run side by side: .* join them, as in rollout\(\[torch.cat\(maps.layers\[:2\]"
    )
    gradients = attention_maps(Beside(written), X, gradients=True)
    for follow in (
        lambda: rollout(maps),
        lambda: attention_flow(maps),
        lambda: rollout(uniform_maps(maps)),
        lambda: stream_rollout(Beside(written), X),
        lambda: relevance(gradients, gradients.output[:, 0]),
    ):
        with pytest.raises(ValueError, match=says):
            follow()
    model = Beside(written, features=windows.n_features)
    for method in ("rollout", "flow", "relevance"):
        with pytest.raises(ValueError, match="run side by side"):
            explain(model, windows, method)


def test_heads_that_are_joined_by_hand_are_a_layer_again():
    maps = attention_maps(Beside(after=True), X)
    rolled = rollout([torch.cat(maps.layers[:2], 1), maps.layers[2]])
    first, second = (
        (layer.mean(1) + torch.eye(5)) / 2 for layer in (torch.cat(maps.layers[:2], 1), maps.layers[2])
    )
    torch.testing.assert_close(rolled, second @ first)
    torch.testing.assert_close(rollout(maps.select("heads.1")), (maps.layers[1][:, 0] + torch.eye(5)) / 2)
    torch.testing.assert_close(rollout(maps, start_layer=1), rollout(maps.layers[1:]))


def test_two_towers_and_values_of_the_input_are_no_stack():
    class Towers(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = (
                nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)
                for _ in range(2)
            )

        def forward(self, x):
            return self.left(x) + self.right(x)

    maps = attention_maps(Towers().eval(), X)
    with pytest.raises(
        ValueError, match=r"left\.layers\.1.self_attn and right.layers.0.self_attn run side by"
    ):
        rollout(maps)
    assert rollout(maps.select("right*")).shape == (2, 5, 5)

    class Around(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = Head(8), Head(8)

        def forward(self, x):
            return self.second(self.first(x), values=x)

    with pytest.raises(ValueError, match="first and second run side by side"):
        rollout(attention_maps(Around(), X))


class Layers(nn.Module):
    """Three layers whose results are joined to the stream in some way."""

    def __init__(self, join, written=False):
        super().__init__()
        self.layers = nn.ModuleList(Head(8, written) for _ in range(3))
        self.join = join
        self.table = torch.ones(5, 8)  # no buffer

    def forward(self, x):
        x = x + self.table
        for layer in self.layers:
            x = self.join(x, layer(x))
        return x


def _added_in_place(x, attended):
    return x.add_(attended)


def _added_through_a_view(x, attended):
    x.view(-1, 8).add_(attended.view(-1, 8))
    return x


def _written_into(x, attended):
    out = torch.empty_like(x)
    out[..., :4], out[..., 4:] = attended[..., :4], attended[..., 4:]
    return x + out


def _through_numpy(x, attended):
    return x + torch.from_numpy(attended.detach().numpy().copy())


class _Copies(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()


def _out_of_sight(x, attended):
    return x + _Copies.apply(attended)


JOINS = {
    "alone": lambda x, attended: attended,
    "added": lambda x, attended: x + attended,
    "normed": lambda x, attended: F.layer_norm(x + attended, (8,)),
    "gated": lambda x, attended: torch.lerp(x, attended, torch.sigmoid(x)),
    "beside": lambda x, attended: F.linear(torch.cat([x, attended], -1), torch.ones(8, 16)),
    "in place": _added_in_place,
    "through a view": _added_through_a_view,
    "written into": _written_into,
    "numpy": _through_numpy,
    "out of sight": _out_of_sight,
}


@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize("join", JOINS.values(), ids=JOINS)
def test_layers_one_on_top_of_the_other_are_a_stack_however_they_are_joined(join, written):
    maps = attention_maps(Layers(join, written), X.clone())
    torch.testing.assert_close(rollout(maps), rollout(maps.layers))
    stream_rollout(Layers(join, written), X.clone())
    if join not in (_through_numpy, _out_of_sight):
        assert maps.above[2] >= {"layers.1"}


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("gradients", [False, True])
def test_an_encoder_is_a_stack(norm_first, gradients):
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=norm_first)
    encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False).eval()
    maps = attention_maps(encoder, X, gradients=gradients)
    assert maps.above[1:] == (
        frozenset({"layers.0.self_attn"}),
        frozenset({"layers.0.self_attn", "layers.1.self_attn"}),
    )
    torch.testing.assert_close(rollout(maps), rollout(maps.layers))


@pytest.mark.parametrize("full", [False, True])
def test_our_transformer_is_a_stack_with_its_short_cut_and_without(full):
    model = TradingTransformer(8, d_model=8, n_heads=2, n_layers=3, d_ff=8).eval()
    maps = attention_maps(model, X, full=full)
    assert maps.above[2] == {"layers.0.attention", "layers.1.attention"}
    assert value_weighted_maps(model, X, full=full).above == maps.above


def test_a_decoders_own_layers_are_a_stack_though_it_looks_elsewhere_between():
    class Decoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.own, self.across = (nn.ModuleList(Head(8) for _ in range(2)) for _ in range(2))

        def forward(self, x, memory):
            for own, across in zip(self.own, self.across, strict=True):
                q, k, v = across.q(own(x)), across.k(memory), across.v(memory)
                x = F.scaled_dot_product_attention(q, k, v)
            return x

    maps = attention_maps(Decoder(), X, X.flip(1)).select("self")
    assert rollout(maps).shape == (2, 5, 5)


def test_nothing_is_asked_of_maps_from_elsewhere():
    even = torch.full((1, 1, 2, 2), 0.5)
    assert AttentionMaps.of([even, even]).above == ()
    torch.testing.assert_close(rollout([even, even])[0], torch.tensor([[0.625, 0.375], [0.375, 0.625]]))
