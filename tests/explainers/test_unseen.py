"""What attends where it cannot be watched is named, and no part of a model is taken for the whole."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention.flex_attention import flex_attention

from workbench.explainers.capture import attention_maps
from workbench.explainers.explanation import explain
from workbench.explainers.maps import NoAttentionFound
from workbench.explainers.rollouts import rollout
from workbench.explainers.streams import stream_rollout

X = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))


class Half(nn.Module):
    """A layer that is seen, and below it, or above, one that attends by `attend`."""

    def __init__(self, attend, features=8):
        super().__init__()
        self.embed, self.a, self.b = nn.Linear(features, 8), nn.Linear(8, 24), nn.Linear(8, 24)
        self.head = nn.Linear(8, 3)
        self.attend = attend

    def forward(self, x):
        h = self.embed(x)
        h = h + F.scaled_dot_product_attention(*self.a(h).chunk(3, -1))
        return self.head((h + self.attend(*self.b(h).chunk(3, -1)))[:, -1])


def _scores(q, k):
    return q @ k.mT * q.shape[-1] ** -0.5


def by_flex(q, k, v):
    return flex_attention(q[:, None], k[:, None], v[:, None])[:, 0]


def by_vmap(q, k, v):
    return torch.vmap(lambda q, k, v: _scores(q, k).softmax(-1) @ v)(q, k, v)


def by_fused_vmap(q, k, v):
    return torch.vmap(F.scaled_dot_product_attention)(q, k, v)


def by_topk(q, k, v):
    top = _scores(q, k).softmax(-1).topk(2)
    rows = torch.arange(len(q))[:, None, None]
    return torch.einsum("bqk,bqkd->bqd", top.values, v[rows, top.indices])


def by_heads_stacked(q, k, v):
    heads = [_scores(*(one.chunk(2, -1)[i] for one in (q, k))).softmax(-1) for i in range(2)]
    return (torch.stack(heads, 1) @ v.unflatten(-1, (2, 4)).transpose(1, 2)).transpose(1, 2).flatten(2)


HALVES = {
    by_flex: "flex_attention",
    by_vmap: "torch.vmap",
    by_fused_vmap: "torch.vmap",
    by_topk: "meets its values in einsum",
    by_heads_stacked: "meets its values in matmul",
}


@pytest.mark.parametrize(("attend", "told"), HALVES.items(), ids=lambda one: getattr(one, "__name__", ""))
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_what_is_seen_is_not_taken_for_the_whole(attend, told, windows):
    model = Half(attend).eval()
    with pytest.warns(UserWarning, match=f"not all attention of Half: it attends by .*{told}.*: "):
        maps = attention_maps(model, X)
    with torch.no_grad():
        torch.testing.assert_close(maps.output, model(X))
    assert len(maps) == 1
    with pytest.raises(ValueError, match=r"a part of the model alone.*list\(maps.layers\)"):
        rollout(maps)
    assert rollout(list(maps.layers)).shape == (2, 5, 5)
    with pytest.raises(NoAttentionFound, match=f"Half attends by .*{told}"):
        stream_rollout(model, X)
    model = Half(attend, windows.n_features).eval()
    for method in ("rollout", "flow", *(["relevance"] if attend is not by_flex else [])):
        with pytest.raises(NoAttentionFound, match=f"Half attends by .*{told}"):
            explain(model, windows, method)
    assert explain(model, windows, "attention").scores.shape == (len(windows), windows.lookback)


def gated(q, k, v):
    return q.softmax(-1) * v + F.linear(k.softmax(-1), torch.ones(8, 8))


def as_classes_in_vmap(q, k, v):
    return v + torch.vmap(lambda q: q.softmax(-1))(q)


def contrasted(q, k, v):
    return v + (_scores(q, k).softmax(-1).log().sum((1, 2), keepdim=True))


@pytest.mark.parametrize("other", [gated, as_classes_in_vmap, contrasted])
def test_a_softmax_that_is_no_attention_takes_nothing_away(other):
    maps = attention_maps(Half(other).eval(), X)
    assert not maps.unseen
    assert rollout(maps).shape == (2, 5, 5)


@pytest.mark.parametrize("product", [F.linear, torch.inner])
def test_products_over_the_last_axis_are_seen(product):
    class By(nn.Module):
        def __init__(self):
            super().__init__()
            self.three = nn.Linear(8, 24)

        def forward(self, x):
            q, k, v = self.three(x[0]).chunk(3, -1)
            return product(_scores(q, k).softmax(-1), v.mT) + product(v.mT, _scores(k, q).softmax(-1)).mT

    model = By().eval()
    for gradients in (False, True):
        maps = attention_maps(model, X, gradients=gradients)
        q, k, _ = model.three(X[0]).chunk(3, -1)
        assert maps.kinds == ("self", "self")
        torch.testing.assert_close(maps.layers[0][0, 0], _scores(q, k).softmax(-1))
        torch.testing.assert_close(maps.layers[1][0, 0], _scores(k, q).softmax(-1))
        torch.testing.assert_close(maps.output, model(X))
    assert all(g.abs().sum() > 0 for g in torch.autograd.grad(maps.output.sin().sum(), maps.layers))
