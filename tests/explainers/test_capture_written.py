"""Attention that a model writes out itself, in every spelling."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from workbench.explainers.capture import attention_maps, watching
from workbench.explainers.maps import NoAttentionFound
from workbench.explainers.rollouts import rollout
from workbench.models.attention import ScaledDotProductAttention

CLOSE = {"rtol": 0, "atol": 1e-6}
BATCH, HEADS, TIME, WIDTH = 2, 3, 5, 12


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def heads(x):
    return x.unflatten(-1, (HEADS, -1)).transpose(1, 2)  # (batch, head, time, channel)


def joined(x):
    return heads(x).reshape(BATCH * HEADS, x.shape[1], -1)


def by_matmul(q, k, v, mask, drop):
    q, k, v = heads(q), heads(k), heads(v)
    scores = torch.matmul(q, k.transpose(-2, -1)) / math.sqrt(q.shape[-1])
    weights = drop(F.softmax(scores.masked_fill(~mask, -1e9), dim=-1))
    return torch.matmul(weights, v).transpose(1, 2).flatten(2)


def by_operators(q, k, v, mask, drop):
    q, k, v = heads(q), heads(k), heads(v)
    scores = (q * q.shape[-1] ** -0.5) @ k.mT + torch.where(mask, 0.0, -torch.inf)
    return (drop(scores.softmax(-1)) @ v).transpose(1, 2).contiguous().view(*q.shape[:1], q.shape[2], -1)


def by_bmm(q, k, v, mask, drop):
    q, k, v = joined(q), joined(k), joined(v)
    scores = torch.bmm(q, k.transpose(1, 2)) * q.shape[-1] ** -0.5
    scores = scores.view(BATCH, HEADS, *scores.shape[1:]).masked_fill(~mask, torch.finfo().min)
    weights = drop(torch.softmax(scores, dim=-1)).view(BATCH * HEADS, *scores.shape[2:])
    return torch.bmm(weights, v).view(BATCH, HEADS, q.shape[1], -1).transpose(1, 2).flatten(2)


def by_baddbmm(q, k, v, mask, drop):
    q, k, v = joined(q), joined(k), joined(v)
    bias = torch.zeros(()).masked_fill(~mask, -torch.inf).expand(BATCH * HEADS, -1, -1)
    scores = torch.baddbmm(bias, q, k.mT, alpha=q.shape[-1] ** -0.5)
    out = torch.baddbmm(torch.zeros(()), drop(scores.softmax(2)), v, beta=0)
    return out.view(BATCH, HEADS, q.shape[1], -1).transpose(1, 2).flatten(2)


def by_einsum(q, k, v, mask, drop):
    q, k, v = (x.unflatten(-1, (HEADS, -1)) for x in (q, k, v))  # (batch, time, head, channel)
    scores = torch.einsum("blhe,bshe->bhls", q, k).masked_fill(~mask, -torch.inf)
    weights = drop(torch.softmax(scores * q.shape[-1] ** -0.5, dim=-1))
    return torch.einsum("bhls,bshd->blhd", weights, v).flatten(2)


def by_einsum_with_dots(q, k, v, mask, drop):
    scores = torch.einsum("...qd,...kd->...kq", heads(q), heads(k)) * (WIDTH // HEADS) ** -0.5
    weights = drop(scores.masked_fill(~mask.mT, -torch.inf).softmax(-2))  # (batch, head, key, query)
    return torch.einsum("...kq,...kd->...qd", weights, heads(v)).transpose(1, 2).flatten(2)


def by_transposed_values(q, k, v, mask, drop):
    q, k, v = heads(q), heads(k), heads(v)
    scores = k @ q.mT * q.shape[-1] ** -0.5  # (batch, head, key, query)
    weights = drop(nn.Softmax(dim=2)(scores.masked_fill(~mask.mT, -torch.inf)))
    return (v.mT @ weights).permute(0, 3, 1, 2).flatten(2)


def by_sums(q, k, v, mask, drop):
    q, k, v = heads(q), heads(k), heads(v)
    scores = (q[:, :, :, None] * k[:, :, None]).sum(-1) * q.shape[-1] ** -0.5
    weights = drop(scores.masked_fill(~mask, -torch.inf).softmax(-1))
    return (weights.unsqueeze(-1) * v.unsqueeze(2)).sum(dim=3).transpose(1, 2).flatten(2)


def by_renormalising(q, k, v, mask, drop):
    q, k, v = heads(q), heads(k), heads(v)
    weights = (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1).masked_fill(~mask, 0.0)
    weights = weights / weights.sum(-1, keepdim=True)
    return (drop(weights) @ v).transpose(1, 2).flatten(2)


def by_tensordot(q, k, v, mask, drop):
    parts = []
    for query, key, value in zip(heads(q), heads(k), heads(v), strict=True):
        weights = drop((query @ key.mT * query.shape[-1] ** -0.5).masked_fill(~mask, -torch.inf).softmax(-1))
        rows = [torch.tensordot(w, x, dims=([1], [0])) for w, x in zip(weights, value, strict=True)]
        parts.append(torch.stack(rows))
    return torch.stack(parts).transpose(1, 2).flatten(2)


SPELLINGS = [
    by_matmul,
    by_operators,
    by_bmm,
    by_baddbmm,
    by_einsum,
    by_einsum_with_dots,
    by_transposed_values,
    by_sums,
    by_renormalising,
]


class Attends(nn.Module):
    """Multi-head attention by one of the spellings, from `x` to `memory`."""

    def __init__(self, attend, causal=False, dropout=0.0):
        super().__init__()
        self.attend, self.causal = attend, causal
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, memory=None):
        memory = x if memory is None else memory
        mask = torch.ones(x.shape[1], memory.shape[1], dtype=torch.bool)
        mask = mask.tril() if self.causal else mask
        return self.attend(self.query(x), self.key(memory), self.value(memory), mask, self.dropout)

    def exact(self, x, memory=None):
        """softmax(QKᵀ/√d) in float64."""
        memory = x if memory is None else memory
        q, k = (
            heads(F.linear(of.double(), by.weight.double(), by.bias.double()))
            for of, by in ((x, self.query), (memory, self.key))
        )
        scores = torch.einsum("bhqd,bhkd->bhqk", q, k) / math.sqrt(q.shape[-1])
        if self.causal:
            scores = scores.masked_fill(torch.ones(scores.shape[-2:]).triu(1).bool(), -torch.inf)
        return scores.softmax(-1)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("attend", SPELLINGS)
def test_every_spelling_gives_the_weights_of_float64_and_the_models_own_output(attend, causal):
    model, x = Attends(attend, causal).eval(), random(BATCH, TIME, WIDTH)
    maps = attention_maps(model, x)
    assert len(maps) == 1
    assert maps.kinds == ("self",)
    assert maps.causal == causal
    torch.testing.assert_close(maps.layers[0].double(), model.exact(x), **CLOSE)
    assert torch.equal(maps.output, model(x))


@pytest.mark.parametrize("keys", [TIME, TIME + 2])
@pytest.mark.parametrize("attend", SPELLINGS)
def test_attention_to_another_sequence_is_cross_attention_however_long_it_is(attend, keys):
    model = Attends(attend).eval()
    x, memory = random(BATCH, TIME, WIDTH), random(BATCH, keys, WIDTH, seed=1)
    maps = attention_maps(model, x, memory)
    assert maps.kinds == ("cross",)
    torch.testing.assert_close(maps.layers[0].double(), model.exact(x, memory), **CLOSE)


@pytest.mark.parametrize("attend", SPELLINGS)
def test_weights_are_those_before_dropout_and_the_output_that_of_an_unwatched_run(attend):
    model, x = Attends(attend, dropout=0.4), random(BATCH, TIME, WIDTH)
    torch.manual_seed(5)
    expected = model(x)
    torch.manual_seed(5)
    maps = attention_maps(model, x, training=True)
    assert torch.equal(maps.output, expected)
    torch.testing.assert_close(maps.layers[0].double(), model.exact(x), **CLOSE)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("attend", SPELLINGS)
def test_the_gradient_by_the_weights_is_that_of_values_and_output(attend, training, frozen):
    # out = (A ∘ drop)·V, so ∂(out · r)/∂A = (r·Vᵀ) ∘ drop, head by head.
    model, x = Attends(attend, dropout=0.4 if training else 0.0), random(BATCH, TIME, WIDTH)
    model.requires_grad_(not frozen)
    direction = random(BATCH, TIME, WIDTH, seed=2)
    torch.manual_seed(5)
    expected = model(x)
    torch.manual_seed(5)
    maps = attention_maps(model, x, training=training, gradients=True)
    torch.testing.assert_close(maps.output, expected, **CLOSE)
    (gradient,) = torch.autograd.grad((maps.output * direction).sum(), maps.layers)
    by_hand = heads(direction) @ heads(model.value(x)).mT
    got = gradient
    if training:
        kept = got != 0
        assert 0.3 < kept.float().mean() < 0.9
        torch.testing.assert_close(got, torch.where(kept, by_hand / 0.6, 0.0), rtol=1e-4, atol=1e-5)
    else:
        torch.testing.assert_close(got, by_hand, rtol=1e-4, atol=1e-5)
    if not frozen:
        maps = attention_maps(model, x, gradients=True)
        maps.output.sum().backward()
        assert model.query.weight.grad.abs().sum() > 0


class Pooled(nn.Module):
    """An LSTM whose last state, or no state, asks its states: additive attention."""

    def __init__(self, score, pool):
        super().__init__()
        self.lstm = nn.LSTM(4, 6, batch_first=True)
        self.keys, self.query, self.energy = nn.Linear(6, 5), nn.Linear(6, 5), nn.Linear(5, 1, bias=False)
        self.out = nn.Linear(6, 3)
        self.score, self.pool = score, pool

    def forward(self, x):
        states, (last, _) = self.lstm(x)
        hidden = self.keys(states) + self.query(last[-1])[:, None] * self.score
        return self.out(self.pool(self.energy(torch.tanh(hidden)), states)).softmax(-1)


POOLS = {
    "mul and sum": lambda e, h: (e.softmax(1) * h).sum(1),
    "values first": lambda e, h: torch.sum(torch.mul(h, F.softmax(e, dim=1)), dim=1),
    "expanded": lambda e, h: (e.softmax(1).expand_as(h) * h).sum(-2),
    "two axes": lambda e, h: (e.squeeze(-1).softmax(-1)[..., None] * h).sum(1),
    "bmm": lambda e, h: torch.bmm(e.squeeze(2).softmax(1).unsqueeze(1), h).squeeze(1),
    "bmm from the right": lambda e, h: torch.bmm(h.transpose(1, 2), e.softmax(1)).squeeze(2),
    "transposed": lambda e, h: (e.softmax(1).transpose(1, 2) @ h)[:, 0],
    "einsum": lambda e, h: torch.einsum("bt,btd->bd", e[..., 0].softmax(1), h),
    "time first": lambda e, h: (e.transpose(0, 1).softmax(0) * h.transpose(0, 1)).sum(0),
}


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("score", [0, 1], ids=["self-attentive", "Bahdanau"])
@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
def test_additive_attention_over_the_states_of_an_lstm_is_a_map_of_one_query(pool, score, gradients):
    model, x = Pooled(score, pool).eval(), random(3, 7, 4)
    maps = attention_maps(model, x, gradients=gradients)
    states, (last, _) = model.lstm(x)
    hidden = torch.tanh(model.keys(states) + score * model.query(last[-1])[:, None])
    expected = model.energy(hidden).double().squeeze(-1).softmax(1)  # (batch, time)
    assert len(maps) == 1
    weights = maps.layers[0] if maps.layers[0].shape[0] == 3 else maps.layers[0].movedim(1, 0)
    torch.testing.assert_close(weights[:, 0, 0].double(), expected, **CLOSE)
    assert maps.kinds == ("cross",)
    torch.testing.assert_close(maps.output, model(x), **CLOSE)
    with pytest.raises(ValueError, match="gathers 7 positions for one query that is none of them"):
        rollout(maps)
    if gradients:
        (gradient,) = torch.autograd.grad(maps.output[:, 0].sum(), maps.layers)
        assert gradient.abs().sum() > 0


def test_heads_taken_one_by_one_are_layers_of_their_own_with_names_that_differ():
    model, x = Attends(by_tensordot).eval(), random(BATCH, TIME, WIDTH)
    maps = attention_maps(model, x)
    assert maps.names == tuple(f"attention {i + 1}" for i in range(BATCH * HEADS))
    assert set(maps.kinds) == {"self"}
    weights = torch.cat(maps.layers).view(BATCH, HEADS, TIME, TIME)
    torch.testing.assert_close(weights.double(), model.exact(x), **CLOSE)


class Joined(nn.Module):
    """Heads joined with the batch for torch.bmm, as models do it that keep time, or heads, first."""

    def __init__(self, way):
        super().__init__()
        self.way = way
        self.attends = Attends(None)

    def forward(self, x):
        q, k, v = (self.way(layer(x)) for layer in (self.attends.query, self.attends.key, self.attends.value))
        weights = torch.softmax(torch.bmm(q, k.transpose(1, 2)) * q.shape[-1] ** -0.5, dim=-1)
        return torch.bmm(weights, v)


def _time_first(x):
    return x.transpose(0, 1).contiguous().view(x.shape[1], -1, WIDTH // HEADS).transpose(0, 1)


WAYS = {
    "batch first": lambda x: heads(x).contiguous().view(-1, x.shape[1], WIDTH // HEADS),
    "batch first, not copied": lambda x: heads(x).flatten(0, 1),
    "time first": _time_first,
    "heads first": lambda x: heads(x).transpose(0, 1).contiguous().view(-1, x.shape[1], WIDTH // HEADS),
    "heads first, not copied": lambda x: heads(x).transpose(0, 1).flatten(0, 1),
}


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("batch", [1, 2, HEADS])
@pytest.mark.parametrize("way", WAYS)
def test_heads_joined_with_the_batch_are_told_apart_or_left_joined_where_nothing_tells(way, batch, gradients):
    model, x = Joined(WAYS[way]), random(batch, TIME, WIDTH)
    maps = attention_maps(model, x, gradients=gradients)
    if batch == HEADS and way in ("batch first", "heads first"):  # a copy, of as many samples as heads
        assert maps.layers[0].shape == (batch * HEADS, 1, TIME, TIME)
    else:
        torch.testing.assert_close(maps.layers[0].double(), model.attends.exact(x), **CLOSE)
    torch.testing.assert_close(maps.output, model(x), **CLOSE)
    if gradients:
        assert torch.autograd.grad(maps.output.square().sum(), maps.layers)[0].abs().sum() > 0


def test_as_many_samples_as_heads_are_joined_as_the_batch_before():
    model = Joined(WAYS["heads first"])
    with torch.no_grad(), watching(model) as recorder:
        for batch in (1, HEADS):
            recorder.clear()
            x = random(batch, TIME, WIDTH)
            model(x)
            weights = recorder.layers[0].weights()
            torch.testing.assert_close(weights.double(), model.attends.exact(x), **CLOSE)


class Runs(nn.Module):
    """Any function of the input, with weights and constants at hand."""

    def __init__(self, run):
        super().__init__()
        self.run = run
        self.linear = nn.Linear(4, 4)
        self.table = nn.Parameter(random(4, 3))
        self.register_buffer("levels", torch.tensor([-1.0, 0.0, 1.0, 2.0]))
        self.plain = torch.tensor([-1.0, 0.0, 1.0, 2.0])

    def forward(self, *inputs):
        return self.run(self, *inputs)


def classes(model, x):
    return model.linear(x[:, -1]).softmax(-1)


NOT_ATTENTION = {
    "classes": classes,
    "a layer after classes": lambda m, x: m.linear(classes(m, x)),
    "mean of the levels of classes": lambda m, x: classes(m, x) @ m.levels,
    "mean of constants": lambda m, x: (classes(m, x) * m.plain).sum(-1),
    "embedded classes": lambda m, x: classes(m, x) @ m.table,
    "entropy": lambda m, x: (classes(m, x) * classes(m, x).log()).sum(-1),
    "portfolio": lambda m, x: (classes(m, x) * x[:, 0]).sum(-1),
    "gate of channels": lambda m, x: (m.linear(x).softmax(-1) * x).sum(1),
    "gate of all bars": lambda m, x: (m.linear(x.mean(1, keepdim=True)).softmax(-1) * x).sum(1),
    "another axis": lambda m, x: m.linear(x).softmax(-1).transpose(1, 2) @ x,
    "normaliser": lambda m, x: (x[..., 0].softmax(1) * (x[..., 1] > 0)).sum(1),
}


@pytest.mark.parametrize("run", NOT_ATTENTION.values(), ids=NOT_ATTENTION)
def test_a_softmax_that_meets_no_values_along_its_axis_is_no_attention(run):
    with pytest.raises(
        NoAttentionFound, match=r"softmax(es)? is (not )?multiplied with values along the axis"
    ):
        attention_maps(Runs(run), random(2, 5, 4))


def test_attention_beside_a_class_softmax_is_found_alone():
    def run(model, x):
        return model.linear(((x @ x.mT).softmax(-1) @ x)[:, -1]).softmax(-1)

    maps = attention_maps(Runs(run), random(2, 5, 4))
    assert [layer.shape for layer in maps.layers] == [(2, 1, 5, 5)]


KINDS = {
    "one projection taken apart": (lambda m, x: _fused(*torch.cat([x, x, x], -1).chunk(3, -1)), "self"),
    "heads of one projection": (
        lambda m, x: _fused(*torch.cat([x, x, x], -1).view(2, 6, 3, 2, 2).permute(2, 0, 3, 1, 4)),
        "self",
    ),
    "a residual after attention": (lambda m, x: _twice(x), "self"),
    "rotated": (lambda m, x: _fused(x * m.levels, torch.cat([-x[..., 2:], x[..., :2]], -1), x), "self"),
    "two parts of one window": (lambda m, x: _fused(x[:, :3], x[:, 3:], x[:, 3:]), "cross"),
    "split into two parts": (lambda m, x: _fused(*x.split(3, 1), x[:, :3]), "cross"),
    "narrowed": (lambda m, x: _fused(x.narrow(1, 0, 3), x.narrow(1, 3, 3), x[:, :3]), "cross"),
    "states of a network before": (lambda m, x: _fused(x, nn.GRU(4, 4, batch_first=True)(x)[0], x), "cross"),
    "learned queries": (lambda m, x: _fused(m.table.new_ones(2, 6, 4), x, x), "cross"),
}


def _fused(q, k, v):
    return F.scaled_dot_product_attention(q, k, v)


def _twice(x):
    x = x + (x @ x.mT).softmax(-1) @ x
    return _fused(x * 2, F.layer_norm(x, (4,)), x)


@pytest.mark.parametrize("written", [False, True], ids=["fused", "written"])
@pytest.mark.parametrize(("run", "kind"), KINDS.values(), ids=KINDS)
def test_self_and_cross_attention_are_told_apart_by_where_query_and_key_come_from(
    run, kind, written, monkeypatch
):
    if written:
        monkeypatch.setattr(__name__ + "._fused", lambda q, k, v: (q @ k.mT).softmax(-1) @ v, raising=True)
    maps = attention_maps(Runs(run), random(2, 6, 4))
    assert maps.kinds[-1] == kind


def test_our_own_formula_is_seen():
    class Written(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = ScaledDotProductAttention()

        def forward(self, x):
            return self.attention(x, x, x, causal=True)[0]

    x = random(2, 5, 4)
    maps = attention_maps(Written(), x)
    torch.testing.assert_close(maps.layers[0][:, 0], Written().attention(x, x, x, causal=True)[1], **CLOSE)
    assert maps.causal
    assert maps.names == ("attention",)


def test_masks_after_the_softmax_and_sinks_leave_what_the_model_multiplies_with():
    def sinks(model, x):
        return torch.cat([x @ x.mT, torch.zeros(2, 5, 1)], -1).softmax(-1)[..., :-1] @ x

    x = random(2, 5, 4)
    weights = attention_maps(Runs(sinks), x).layers[0][:, 0]
    torch.testing.assert_close(weights, torch.cat([x @ x.mT, torch.zeros(2, 5, 1)], -1).softmax(-1)[..., :-1])

    def masked(model, x):
        return ((x @ x.mT).softmax(-1) * torch.ones(5, 5).tril()) @ x

    weights = attention_maps(Runs(masked), x).layers[0][:, 0]
    torch.testing.assert_close(weights, (x @ x.mT).softmax(-1).tril())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_shares_of_half_precision_are_exact_and_the_output_is_the_models_own(dtype):
    model = Runs(lambda m, x: (x @ x.mT).softmax(-1) @ x).to(dtype)
    x = random(2, 5, 4).to(dtype)
    maps = attention_maps(model, x)
    assert torch.equal(maps.output, model(x))
    torch.testing.assert_close(maps.layers[0].sum(-1), torch.ones(2, 1, 5), **CLOSE)


def test_a_product_of_one_softmax_with_two_values_is_one_layer():
    model = Runs(
        lambda m, x: (lambda w: w @ x + torch.einsum("bqk,bkd->bqd", w, x * 2))((x @ x.mT).softmax(-1))
    )
    assert len(attention_maps(model, random(2, 5, 4))) == 1


def test_nothing_stays_behind_after_an_exception_within_written_attention():
    def broken(model, x):
        x @ x.mT.softmax(-1) @ x
        raise RuntimeError("broken on purpose")

    model = Runs(broken)
    with pytest.raises(RuntimeError, match="broken on purpose"):
        attention_maps(model, random(2, 4, 4))
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())
    assert not torch.overrides._get_current_function_mode_stack()
    assert model.training
