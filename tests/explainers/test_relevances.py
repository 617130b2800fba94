import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from workbench.explainers.capture import attention_maps
from workbench.explainers.maps import AttentionMaps
from workbench.explainers.relevances import cross_relevance, gathered, gradient_weighted, relevance
from workbench.models.transformer import TradingTransformer

EXACT = {"rtol": 0, "atol": 1e-12}


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def leaf(weights):
    return torch.tensor(weights, dtype=torch.float64)[None].requires_grad_()  # (1, head, query, key)


# Two heads, three layers, two positions: weights and the gradients of the answer by them.
WEIGHTS = [
    [[[0.5, 0.5], [0.25, 0.75]], [[1.0, 0.0], [0.5, 0.5]]],
    [[[0.5, 0.5], [0.5, 0.5]], [[0.2, 0.8], [0.6, 0.4]]],
    [[[1.0, 0.0], [0.5, 0.5]], [[0.5, 0.5], [0.25, 0.75]]],
]
GRADIENTS = [
    [[[2.0, -4.0], [4.0, 0.0]], [[-1.0, 3.0], [2.0, 4.0]]],
    [[[0.0, 2.0], [-2.0, 0.0]], [[5.0, -1.0], [0.0, -5.0]]],
    [[[0.0, 9.0], [4.0, 2.0]], [[4.0, -2.0], [-8.0, 4.0]]],
]


def by_hand():
    layers = [leaf(weights) for weights in WEIGHTS]
    return AttentionMaps.of(layers), sum(
        (layer * torch.tensor(gradient)).sum((1, 2, 3))
        for layer, gradient in zip(layers, GRADIENTS, strict=True)
    )


def test_two_heads_and_three_layers_by_hand():
    # (∇A ⊙ A)⁺ of layer 1: [[1, 0], [1, 0]] and [[0, 0], [1, 2]], so Ā₁ = [[.5, 0], [1, 1]];
    # of layer 2: [[0, 1], [0, 0]] and [[1, 0], [0, 0]], Ā₂ = [[.5, .5], [0, 0]];
    # of layer 3: [[0, 0], [2, 1]] and [[2, 0], [0, 3]], Ā₃ = [[1, 0], [1, 2]].
    # (I + Ā₂)(I + Ā₁) = [[2.75, 1], [1, 2]], and (I + Ā₃) from the left makes
    expected = torch.tensor([[5.5, 2.0], [5.75, 7.0]], dtype=torch.float64)
    torch.testing.assert_close(relevance(*by_hand())[0], expected, **EXACT)
    # Without the first layer: (I + Ā₃)(I + Ā₂) = [[2, 0], [1, 3]] · [[1.5, .5], [0, 1]].
    later = torch.tensor([[3.0, 1.0], [1.5, 3.5]], dtype=torch.float64)
    torch.testing.assert_close(relevance(*by_hand(), start_layer=1)[0], later, **EXACT)


def test_an_encoder_and_a_decoder_of_two_blocks_by_hand():
    # Every weight is one half, so that the gradient is twice Ā.
    kinds = ["self", "self", "self", "cross", "self", "cross"]
    names = ["encoder.0", "encoder.1", "decoder.0", "decoder.0.cross", "decoder.1", "decoder.1.cross"]
    weighted = [
        [[1, 0], [1, 1]],
        [[0, 1], [0, 0]],  # R^{qq} = [[3, 2], [1, 2]], R̄^{qq} = [[1.5, .5], [.5, 1.5]]
        [[0, 0], [1, 0]],  # R^{ss} = [[1, 0], [1, 1]] = R̄^{ss}, whose first row has gathered nothing
        [[0, 2], [1, 0]],  # R^{sq} = [[1, 1], [0, 1]] · [[1, 3], [1.5, .5]] = [[2.5, 3.5], [1.5, .5]]
        [[1, 1], [0, 2]],  # R^{ss} = [[3, 1], [3, 3]]; R^{sq} = [[6.5, 7.5], [4.5, 1.5]]
        [[1, 0], [0, 0]],  # R̄^{ss} = [[5/3, 1/3], [.6, 1.4]]; R^{sq} grows by [[2.5, 5/6], [.5, 1/6]]
    ]
    layers = tuple(torch.full((1, 1, 2, 2), 0.5, dtype=torch.float64, requires_grad=True) for _ in kinds)
    maps = AttentionMaps(layers, tuple(names), tuple(kinds), (None,) * 6)
    answers = sum(
        (layer * 2 * torch.tensor(a)).sum((1, 2, 3)) for layer, a in zip(layers, weighted, strict=True)
    )
    found = cross_relevance(maps, answers, encoder="encoder.*")
    expected = torch.tensor([[9, 7.5 + 5 / 6], [5, 1.5 + 1 / 6]], dtype=torch.float64)
    torch.testing.assert_close(found.cross[0], expected, **EXACT)
    torch.testing.assert_close(
        found.encoder[0], torch.tensor([[3.0, 2], [1, 2]], dtype=torch.float64), **EXACT
    )
    torch.testing.assert_close(
        found.decoder[0], torch.tensor([[3.0, 1], [3, 3]], dtype=torch.float64), **EXACT
    )


# An oracle that shares nothing with the capture: attention by hand, a leaf of zeros added to its weights.
class ByHand:
    """Stands in for F.scaled_dot_product_attention; `added` is put on the weights of each call in turn."""

    def __init__(self, added=None):
        self.added, self.weights, self.leaves = added, [], []

    def __call__(self, query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, **_):
        scores = query @ key.transpose(-2, -1) * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
        if is_causal:
            scores = scores.masked_fill(torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1), -torch.inf)
        if attn_mask is not None:
            mask = attn_mask
            scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
        weights = scores.softmax(-1)
        call = len(self.weights)
        added = torch.zeros_like(weights) if self.added is None else self.added[call]
        self.leaves.append(added.requires_grad_())
        self.weights.append(weights.detach())
        return (weights + added) @ value


class Encoder(nn.Module):
    """A user's own model, with nothing of this package in it."""

    def __init__(self, pool, mask=None, layers=3):
        super().__init__()
        layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, dropout=0.0)
        self.embedding = nn.Linear(3, 4)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head, self.pool, self.mask = nn.Linear(4, 3), pool, mask

    def forward(self, x):
        return self.head(self.pool(self.encoder(self.embedding(x), mask=self.mask)))


def pruned():
    return TradingTransformer(3, d_model=8, n_heads=2, n_layers=3, d_ff=8, causal=True, dropout=0.0)


def encoder(mask=None):
    return Encoder(lambda h: h[:, -1], mask)


def causal_encoder():
    return encoder(torch.ones(5, 5, dtype=torch.float64).tril().log())


MODELS = [pruned, encoder, causal_encoder]


def made(model):
    torch.manual_seed(3)
    return model().double().eval()


@pytest.mark.parametrize("model", MODELS)
def test_gradients_by_the_weights_agree_with_finite_differences(model, monkeypatch):
    model, x = made(model), random(1, 5, 3)
    maps = attention_maps(model, x, gradients=True)
    found = torch.autograd.grad(maps.output[:, 2].sum(), maps.layers)
    if hasattr(model, "prune"):
        model.prune = False
    size = 1e-6
    sdpa = ByHand()
    monkeypatch.setattr(F, "scaled_dot_product_attention", sdpa)
    model(x)
    shapes = [weights.shape for weights in sdpa.weights]
    picked = torch.Generator().manual_seed(1)
    for layer, shape in enumerate(shapes):
        for flat in torch.randint(math.prod(shape), (8,), generator=picked).tolist():
            answers = []
            for sign in (1, -1):
                added = [torch.zeros(other, dtype=torch.float64) for other in shapes]
                added[layer].view(-1)[flat] = sign * size
                monkeypatch.setattr(F, "scaled_dot_product_attention", ByHand(added))
                answers.append(model(x)[0, 2].item())
            assert found[layer].view(-1)[flat].item() == pytest.approx(
                (answers[0] - answers[1]) / 2 / size, abs=1e-8
            )


def naive(model, x, answer, monkeypatch):
    """Return R of one window, (query, key), by loops over layers, heads and entries."""
    sdpa = ByHand()
    monkeypatch.setattr(F, "scaled_dot_product_attention", sdpa)
    if hasattr(model, "prune"):
        model.prune = False
    answer(model(x)).sum().backward()
    monkeypatch.undo()
    size = x.shape[1]
    rolled = torch.eye(size, dtype=torch.float64)
    for weights, leaf in zip(sdpa.weights, sdpa.leaves, strict=True):
        gradient, heads = leaf.grad, weights.shape[1]
        weighted = torch.zeros(size, size, dtype=torch.float64)
        for head in range(heads):
            for i in range(size):
                for j in range(size):
                    push = float(gradient[0, head, i, j] * weights[0, head, i, j])
                    weighted[i, j] += max(push, 0.0) / heads
        rolled = rolled + weighted @ rolled
    return rolled


@pytest.mark.parametrize("model", MODELS)
def test_a_batch_equals_a_loop_over_windows_layers_heads_and_entries(model, monkeypatch):
    model, x = made(model), random(4, 5, 3)

    def answer(output):
        return output[:, 2] - output[:, 0]

    maps = attention_maps(model, x, gradients=True)
    found = relevance(maps, answer(maps.output))
    for i in range(len(x)):
        torch.testing.assert_close(found[i], naive(model, x[i : i + 1], answer, monkeypatch), **EXACT)


def authors_rules(maps, answers, is_encoder):
    """Rules 5 to 10 as the paper's authors apply them to DETR, one sample at a time; no row may be empty."""
    gradients = torch.autograd.grad(answers.sum(), maps.layers, retain_graph=True)
    results = []
    for i in range(len(answers)):
        r_ee = r_dd = r_de = None
        for layer, name, kind, gradient in zip(maps.layers, maps.names, maps.kinds, gradients, strict=True):
            cam = (layer[i].detach() * gradient[i]).clamp(min=0).mean(dim=0)
            if kind == "cross":
                normal = []
                for rolled in (r_dd, r_ee):
                    hat = rolled - torch.eye(len(rolled), dtype=rolled.dtype)
                    normal.append(
                        hat / hat.sum(-1, keepdim=True) + torch.eye(len(rolled), dtype=rolled.dtype)
                    )
                r_de = (0 if r_de is None else r_de) + normal[0].t() @ cam @ normal[1]
            elif is_encoder(name):
                r_ee = (torch.eye(len(cam), dtype=cam.dtype) if r_ee is None else r_ee).clone()
                r_ee += cam @ r_ee
            else:
                r_dd = (torch.eye(len(cam), dtype=cam.dtype) if r_dd is None else r_dd).clone()
                if r_de is not None:
                    r_de = r_de + cam @ r_de
                r_dd += cam @ r_dd
        results.append((r_de, r_dd, r_ee))
    return [torch.stack(each) for each in zip(*results, strict=True)]


@pytest.mark.parametrize("target", [4, 7])
def test_encoder_and_decoder_follow_the_rules_as_their_authors_apply_them(target):
    torch.manual_seed(0)
    model = nn.Transformer(8, 2, 2, 3, 16, batch_first=True, dropout=0.0).double().eval()
    maps = attention_maps(model, random(3, 7, 8), random(3, target, 8, seed=1), gradients=True)
    answers = maps.output[:, -1, 0]
    found = cross_relevance(maps, answers, encoder="encoder.*" if target == 7 else None)
    expected = authors_rules(maps, answers, lambda name: name.startswith("encoder"))
    for mine, theirs in zip((found.cross, found.decoder, found.encoder), expected, strict=True):
        torch.testing.assert_close(mine, theirs, **EXACT)
    assert found.cross.shape == (3, target, 7)
    assert (found.cross > 0).any()


stacks = st.lists(st.integers(0, 10**6), min_size=1, max_size=5)


def test_the_short_cut_for_the_last_query_is_refused_since_its_gradient_is_another():
    model, x = made(pruned), random(2, 5, 3)
    maps = attention_maps(model, x, full=False, gradients=True)
    with pytest.raises(ValueError, match=r"layers\.2\.attention was computed for the last query.*full=True"):
        relevance(maps, maps.output[:, 0])
    every = attention_maps(model, x, gradients=True)
    torch.testing.assert_close(every.output, maps.output, **EXACT)
    taken = [torch.autograd.grad(m.output[:, 0].sum(), m.layers)[-1][:, :, -1] for m in (every, maps)]
    shift = taken[0] - taken[1]  # the same for all keys of a head: along it weights cannot go
    torch.testing.assert_close(shift, shift[..., :1].expand_as(shift), **EXACT)
    assert (shift.abs() > 1e-6).any()


@given(stacks, st.integers(2, 5))
def test_a_row_that_goes_down_the_layers_is_the_matrix_row_less_the_identity(seeds, size):
    weighted = [random(2, size, size, seed=seed).clamp_min(0) for seed in seeds]
    rolled = torch.eye(size, dtype=torch.float64)
    for each in weighted:
        rolled = rolled + each @ rolled
    row = torch.zeros(2, size, dtype=torch.float64)
    row[:, -1] = 1
    torch.testing.assert_close(gathered(weighted, row), rolled[:, -1] - row, rtol=1e-12, atol=1e-12)


@given(stacks, st.permutations(range(3)), st.permutations(range(4)), st.sampled_from([0.25, 8.0]))
def test_names_of_heads_and_positions_mean_nothing_and_r_holds_the_identity(seeds, heads, places, scale):
    layers = [random(2, 3, 4, 4, seed=seed).softmax(-1) for seed in seeds]
    pushes = [random(2, 3, 4, 4, seed=seed + 1) for seed in seeds]

    def found(change, factor=1.0):
        leaves = [change(layer).clone().requires_grad_() for layer in layers]
        pairs = zip(leaves, pushes, strict=True)
        return relevance(
            AttentionMaps.of(leaves), factor * sum((a * change(g)).sum((1, 2, 3)) for a, g in pairs)
        )

    plain = found(lambda a: a)
    assert (plain >= torch.eye(4)).all()
    torch.testing.assert_close(found(lambda a: a[:, list(heads)]), plain, **EXACT)
    moved = found(lambda a: a[:, :, list(places)][..., list(places)])
    torch.testing.assert_close(moved, plain[:, list(places)][..., list(places)], rtol=1e-12, atol=1e-12)
    if len(seeds) == 1:  # one layer is as large as the answer's own scale
        eye = torch.eye(4, dtype=torch.float64)
        torch.testing.assert_close(
            found(lambda a: a, scale) - eye, scale * (plain - eye), rtol=1e-12, atol=1e-12
        )


def test_only_weights_that_raise_the_answer_count():
    weights, gradient = torch.tensor([[[[0.25, 0.75]]]]), torch.tensor([[[[-4.0, 4.0]]]])
    torch.testing.assert_close(gradient_weighted([weights], [gradient])[0], torch.tensor([[[0.0, 3.0]]]))


def test_small_relevances_keep_their_digits_beside_the_identity():
    tiny = torch.full((1, 3, 3), 1e-9)
    row = torch.tensor([[0.0, 0.0, 1.0]])
    torch.testing.assert_close(gathered([tiny, tiny], row), torch.full((1, 3), 2e-9), rtol=1e-5, atol=0)


def test_weights_that_multihead_attention_returns_are_refused_not_zero():
    attention = nn.MultiheadAttention(4, 2, batch_first=True)
    x = random(2, 5, 4).float()
    output, returned = attention(x, x, x, average_attn_weights=False)
    with pytest.raises(
        ValueError, match=r"no gradient of the answers reaches the attention of layer 0.*copies"
    ):
        relevance(AttentionMaps.of([returned]), output[:, -1, 0])
    maps = attention_maps(attention, x, x, x, gradients=True)
    assert (relevance(maps, maps.output[0][:, -1, 0]) > torch.eye(5)).any()


def test_a_model_that_reads_the_returned_weights_gets_their_gradient():
    class Reads(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

        def forward(self, x):
            _, weights = self.attention(x, x, x)  # the mean over heads
            return weights[:, -1] @ torch.arange(5.0)

    maps = attention_maps(Reads().eval(), random(2, 5, 4).float(), gradients=True)
    (gradient,) = torch.autograd.grad(maps.output.sum(), maps.layers, retain_graph=True)
    torch.testing.assert_close(gradient[:, :, -1], (torch.arange(5.0) / 2).expand(2, 2, -1))
    expected = (torch.arange(5.0) / 2 * maps.layers[0][:, :, -1]).mean(1)
    torch.testing.assert_close(relevance(maps, maps.output)[:, -1] - torch.eye(5)[-1], expected.detach())


def plain():
    model = encoder().eval()
    return attention_maps(model, random(2, 5, 3).float()), attention_maps(
        model, random(2, 5, 3).float(), gradients=True
    )


def test_what_has_no_gradient_is_refused_with_the_repair():
    without, maps = plain()
    with pytest.raises(ValueError, match=r"answers have no gradient: capture with .*gradients=True"):
        relevance(maps, maps.output[:, 0].detach())
    with pytest.raises(ValueError, match=r"weights of encoder.*0.self_attn have no gradient: capture with"):
        relevance(without, maps.output[:, 0])
    with pytest.raises(ValueError, match="one answer a sample, 2 of them; got 1"):
        relevance(maps, maps.output[:1, 0])
    with pytest.raises(ValueError, match="start_layer 3 is not one of the 3 layers"):
        relevance(maps, maps.output[:, 0], start_layer=3)
    with pytest.raises(ValueError, match=r"there is none; .*use relevance\(maps, answers\)"):
        cross_relevance(maps, maps.output[:, 0])


def test_maps_that_are_not_finite_are_refused_alike():
    model = nn.Transformer(8, 2, 1, 1, 16, batch_first=True)
    source = random(2, 5, 8).float()
    source[1, 2, 3] = torch.nan
    crossed = attention_maps(model, source, random(2, 3, 8).float(), gradients=True)
    alone = attention_maps(model.encoder, source, gradients=True)
    message = "holds attention that is not finite: look for NaN in the input or the weights"
    with pytest.raises(ValueError, match=message):
        cross_relevance(crossed, crossed.output[:, -1, 0])
    with pytest.raises(ValueError, match=message):
        relevance(alone, alone.output[:, -1, 0])


def test_encoder_and_decoder_of_one_length_must_be_named():
    model = nn.Transformer(8, 2, 1, 1, 16, batch_first=True)
    x = random(2, 5, 8).float()
    maps = attention_maps(model, x, x, gradients=True)
    with pytest.raises(ValueError, match=r"both 5 long, so that encoder.layers.0.self_attn may be of either"):
        cross_relevance(maps, maps.output[:, -1, 0])
    with pytest.raises(
        ValueError, match=r"multihead_attn is cross-attention .* which relevance does not follow"
    ):
        relevance(maps, maps.output[:, -1, 0])
    maps = attention_maps(model, x, x[:, :3], gradients=True)
    with pytest.raises(
        ValueError, match=r"encoder.layers.0.self_attn has 5 .* of the decoder, which is 3 long"
    ):
        cross_relevance(maps, maps.output[:, -1, 0], encoder="nothing")
