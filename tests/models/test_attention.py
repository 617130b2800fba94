import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from workbench.models.attention import MultiHeadAttention, ScaledDotProductAttention, SinusoidalPositions


def naive_attention(q, k, v, allowed=None):
    """softmax(QKᵀ/√d)·V of one head with Python loops: (query, d), (key, d), (key, o)."""
    out, weights = [], []
    for i in range(len(q)):
        scores = {}
        for j in range(len(k)):
            if allowed is None or allowed[i][j]:
                scores[j] = sum(a * b for a, b in zip(q[i], k[j], strict=True)) / math.sqrt(len(q[i]))
        total = sum(math.exp(s) for s in scores.values())
        row = [math.exp(scores[j]) / total if j in scores else 0.0 for j in range(len(k))]
        weights.append(row)
        out.append([sum(row[j] * v[j][c] for j in range(len(k))) for c in range(len(v[0]))])
    return torch.tensor(out, dtype=torch.float64), torch.tensor(weights, dtype=torch.float64)


def doubles(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def multi_head(d_model=12, n_heads=3, norm="post", seed=0):
    torch.manual_seed(seed)
    return MultiHeadAttention(d_model, n_heads, norm=norm).double().eval()


def torch_twin(ours: MultiHeadAttention) -> nn.MultiheadAttention:
    twin = nn.MultiheadAttention(ours.w_q.in_features, ours.n_heads, batch_first=True).double().eval()
    with torch.no_grad():
        twin.in_proj_weight.copy_(torch.cat([ours.w_q.weight, ours.w_k.weight, ours.w_v.weight]))
        twin.in_proj_bias.copy_(torch.cat([ours.w_q.bias, torch.randn_like(ours.w_q.bias), ours.w_v.bias]))
        twin.out_proj.weight.copy_(ours.w_o.weight)
        twin.out_proj.bias.copy_(ours.w_o.bias)
    return twin


def test_three_steps_worked_by_hand():
    # d = 1, so scores are the products q·k: rows [0 0 0], [0 ln2 ln4], [0 ln4 ln16].
    ln2 = math.log(2)
    q = torch.tensor([[0.0], [1.0], [2.0]], dtype=torch.float64)
    k = torch.tensor([[0.0], [ln2], [2 * ln2]], dtype=torch.float64)
    v = torch.tensor([[21.0], [42.0], [84.0]], dtype=torch.float64)
    output, weights = ScaledDotProductAttention()(q, k, v)
    thirds, sevenths, by21 = [1 / 3] * 3, [1 / 7, 2 / 7, 4 / 7], [1 / 21, 4 / 21, 16 / 21]
    torch.testing.assert_close(weights, torch.tensor([thirds, sevenths, by21], dtype=torch.float64))
    torch.testing.assert_close(output.squeeze(), torch.tensor([49.0, 63.0, 73.0], dtype=torch.float64))


def test_scores_are_divided_by_the_root_of_the_width():
    q = k = torch.eye(4, dtype=torch.float64) * 2  # own score 4/√4 = 2, others 0
    _, weights = ScaledDotProductAttention()(q, k, k)
    assert weights[0, 0].item() == pytest.approx(math.e**2 / (math.e**2 + 3), abs=1e-12)


@pytest.mark.parametrize("causal", [False, True])
def test_the_formula_agrees_with_loops_and_with_the_fused_kernel(causal):
    q, k, v = doubles(5, 4), doubles(5, 4, seed=1), doubles(5, 3, seed=2)
    allowed = [[j <= i or not causal for j in range(5)] for i in range(5)]
    expected, weights_expected = naive_attention(q.tolist(), k.tolist(), v.tolist(), allowed)
    output, weights = ScaledDotProductAttention()(q, k, v, causal=causal)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(weights, weights_expected, rtol=0, atol=1e-12)
    fused = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
    torch.testing.assert_close(output, fused, rtol=0, atol=1e-12)


def test_a_mask_and_causality_hold_together():
    mask = torch.tensor([[True, True, True], [False, True, True], [True, False, True]])
    _, weights = ScaledDotProductAttention()(doubles(3, 2), doubles(3, 2), doubles(3, 2), mask, causal=True)
    _, expected = naive_attention(
        doubles(3, 2).tolist(), doubles(3, 2).tolist(), doubles(3, 2).tolist(), mask.tril().tolist()
    )
    torch.testing.assert_close(weights, expected, rtol=0, atol=1e-12)


def test_a_query_that_may_attend_to_nothing_gives_zeros_and_no_nan_gradient():
    mask = torch.tensor([[True, True], [False, False]])
    q = doubles(1, 2, 4).requires_grad_()
    output, weights = ScaledDotProductAttention()(q, q, q, mask)
    assert weights[0, 1].tolist() == [0.0, 0.0]
    assert output[0, 1].tolist() == [0.0] * 4
    output.square().sum().backward()
    assert q.grad is not None
    assert q.grad.isfinite().all()


@given(st.integers(0, 10_000), st.integers(1, 7), st.integers(1, 7), st.floats(0.01, 100))
def test_rows_of_weights_sum_to_one(seed, queries, keys, spread):
    q, k = doubles(queries, 3, seed=seed) * spread, doubles(keys, 3, seed=seed + 1)
    _, weights = ScaledDotProductAttention()(q, k, k)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(queries, dtype=torch.float64), rtol=0, atol=1e-12)


def test_dropout_touches_the_output_and_not_the_weights_returned():
    attention = ScaledDotProductAttention(dropout=0.5)
    x = doubles(4, 6, 3)
    torch.manual_seed(0)
    output, weights = attention(x, x, x)
    calm, weights_calm = attention.eval()(x, x, x)
    assert not torch.allclose(output, calm)
    assert torch.equal(weights, weights_calm)


@pytest.mark.parametrize("causal", [False, True])
def test_multi_head_agrees_with_pytorch_given_the_same_weights(causal):
    ours, x = multi_head(), doubles(2, 7, 12)
    blocked = torch.ones(7, 7, dtype=torch.bool).triu(1) if causal else None  # PyTorch's True blocks
    attended, weights = torch_twin(ours)(x, x, x, attn_mask=blocked, average_attn_weights=False)
    torch.testing.assert_close(ours(x, causal=causal), ours.norm(x + attended), rtol=0, atol=1e-12)
    torch.testing.assert_close(ours.attention_weights(x, causal=causal), weights, rtol=0, atol=1e-12)


def test_cross_attention_agrees_with_pytorch():
    ours, query, memory, value = (
        multi_head(),
        doubles(2, 3, 12),
        doubles(2, 5, 12, seed=1),
        doubles(2, 5, 12, seed=2),
    )
    twin = torch_twin(ours)
    attended, weights = twin(query, memory, value, average_attn_weights=False)
    torch.testing.assert_close(ours(query, memory, value), ours.norm(query + attended), rtol=0, atol=1e-12)
    torch.testing.assert_close(ours.attention_weights(query, memory), weights, rtol=0, atol=1e-12)
    attended, _ = twin(query, memory, memory)
    torch.testing.assert_close(ours(query, memory), ours.norm(query + attended), rtol=0, atol=1e-12)


def test_pre_norm_normalises_what_goes_in_and_leaves_the_residual_alone():
    ours, x = multi_head(norm="pre"), doubles(2, 7, 12) * 5 + 3
    inside = ours.norm(x)
    attended, weights = torch_twin(ours)(inside, inside, inside, average_attn_weights=False)
    torch.testing.assert_close(ours(x), x + attended, rtol=0, atol=1e-12)
    torch.testing.assert_close(ours.attention_weights(x), weights, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(7, 7), (2, 7, 7), (2, 3, 7, 7), (2, 1, 7, 7)])
def test_masks_of_every_shape_say_who_may_attend(shape):
    ours, x = multi_head(), doubles(2, 7, 12)
    mask = (torch.rand(shape, generator=torch.Generator().manual_seed(0)) > 0.4) | torch.eye(
        7, dtype=torch.bool
    )
    full = mask[:, None] if mask.ndim == 3 else mask
    blocked = ~full.expand(2, 3, 7, 7).reshape(6, 7, 7)
    attended, weights = torch_twin(ours)(x, x, x, attn_mask=blocked, average_attn_weights=False)
    torch.testing.assert_close(ours(x, mask=mask), ours.norm(x + attended), rtol=0, atol=1e-12)
    torch.testing.assert_close(ours.attention_weights(x, mask=mask), weights, rtol=0, atol=1e-12)


def test_multi_head_with_a_row_that_may_attend_to_nothing_has_no_nan():
    ours, x = multi_head(), doubles(2, 4, 12).requires_grad_()
    mask = torch.ones(4, 4, dtype=torch.bool)
    mask[2] = False
    output = ours(x, mask=mask)
    torch.testing.assert_close(output[:, 2], ours.norm(x + ours.w_o.bias)[:, 2], rtol=0, atol=1e-12)
    assert ours.attention_weights(x, mask=mask)[:, :, 2].abs().sum() == 0
    output.square().sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_the_last_query_alone_is_the_last_row_of_all(norm, causal, masked):
    ours, x = multi_head(norm=norm), doubles(2, 6, 12)
    mask = (torch.rand(6, 6, generator=torch.Generator().manual_seed(1)) > 0.4) if masked else None
    whole = ours(x, mask=mask, causal=causal)[:, -1:]
    ours.last_query_only = True
    torch.testing.assert_close(ours(x, mask=mask, causal=causal), whole, rtol=0, atol=1e-12)


def test_a_last_query_that_may_attend_to_nothing_keeps_its_residual_only():
    ours, x = multi_head(), doubles(2, 4, 12).requires_grad_()
    mask = torch.ones(2, 4, 4, dtype=torch.bool)
    mask[1, 3] = False
    whole = ours(x, mask=mask)[:, -1:]
    ours.last_query_only = True
    alone = ours(x, mask=mask)
    torch.testing.assert_close(alone, whole, rtol=0, atol=1e-12)
    torch.testing.assert_close(alone[1, 0], ours.norm(x + ours.w_o.bias)[1, 3], rtol=0, atol=1e-12)
    alone.square().sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_the_last_query_alone_attends_across_too():
    ours, query, memory, value = (
        multi_head(),
        doubles(2, 3, 12),
        doubles(2, 5, 12, seed=1),
        doubles(2, 5, 12, seed=2),
    )
    whole = ours(query, memory, value)[:, -1:]
    ours.last_query_only = True
    torch.testing.assert_close(ours(query, memory, value), whole, rtol=0, atol=1e-12)


@given(st.integers(0, 1000), st.permutations(range(6)))
def test_reordered_steps_give_the_same_steps_reordered(seed, order):
    ours, x = multi_head(seed=seed), doubles(1, 6, 12, seed=seed)
    torch.testing.assert_close(ours(x[:, order]), ours(x)[:, order], rtol=0, atol=1e-12)


@given(st.integers(0, 1000), st.integers(0, 5))
def test_causal_attention_never_hears_of_later_steps(seed, step):
    ours, x = multi_head(seed=seed), doubles(1, 6, 12, seed=seed)
    altered = x.clone()
    altered[:, step + 1 :] += 100
    assert torch.equal(ours(x, causal=True)[:, : step + 1], ours(altered, causal=True)[:, : step + 1])
    if step < 5:
        assert not torch.allclose(ours(x)[:, : step + 1], ours(altered)[:, : step + 1])


@pytest.mark.parametrize(("d_model", "n_heads"), [(10, 3), (10, 0), (0, 1), (4, 8)])
def test_heads_that_do_not_divide_the_width_are_refused_with_the_repair(d_model, n_heads):
    with pytest.raises(ValueError, match=r"multiple of n_heads, got d_model=.*Take d_model from"):
        MultiHeadAttention(d_model, n_heads)


def test_the_repair_names_widths_and_heads_that_fit():
    with pytest.raises(ValueError, match=r"d_model from \[9, 12\] or n_heads from \[1, 2, 5\]"):
        MultiHeadAttention(10, 3)


def test_a_mask_of_the_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"\(query, key\) = \(4, 4\).*Got \(4, 5\)"):
        multi_head()(doubles(1, 4, 12), mask=torch.ones(4, 5, dtype=torch.bool))


def test_causal_attention_across_unequal_lengths_is_refused():
    with pytest.raises(ValueError, match="3 queries and 5 keys"):
        multi_head()(doubles(1, 3, 12), doubles(1, 5, 12), causal=True)


def test_an_unknown_norm_is_refused():
    with pytest.raises(ValueError, match="'post'"):
        MultiHeadAttention(4, 2, norm="none")


@pytest.mark.parametrize("d_model", [1, 2, 7, 8])
def test_positions_follow_the_formula_of_the_paper(d_model):
    table = SinusoidalPositions(d_model, 9).table
    for pos in range(9):
        for i in range(d_model):
            angle = pos / 10_000 ** (2 * (i // 2) / d_model)
            expected = math.cos(angle) if i % 2 else math.sin(angle)
            assert table[pos, i].item() == pytest.approx(expected, abs=1e-6)


def test_positions_are_added_to_shorter_sequences_too():
    positions = SinusoidalPositions(4, 9)
    x = torch.randn(2, 3, 4)
    torch.testing.assert_close(positions(x) - x, positions.table[:3].expand(2, 3, 4), rtol=0, atol=1e-6)
    assert positions.state_dict() == {}


def test_a_sequence_longer_than_the_table_is_refused_with_the_repair():
    with pytest.raises(ValueError, match=r"10 bars long.*at most 9.*max_seq_len=10"):
        SinusoidalPositions(4, 9)(torch.zeros(1, 10, 4))
