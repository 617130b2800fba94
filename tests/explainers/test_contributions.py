from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from workbench.explainers.blocks import Block
from workbench.explainers.contributions import Closeness, PartNorms, Parts, ValueNorms, shares
from workbench.explainers.rollouts import rollout
from workbench.explainers.value_maps import alti_maps, value_weighted_maps
from workbench.models.attention import MultiHeadAttention

EXACT = {"rtol": 0, "atol": 1e-12}


class Three(nn.Module):
    """Three blocks of one head, two channels wide, each gathering evenly what is not in the future.

    Of two channels a layer norm leaves the sign s of their difference: (s, −s). The values are
    (bias + slope·s, 0), and the output hands them on as they are.
    """

    def __init__(self, *values):
        super().__init__()
        self.blocks = nn.ModuleList(self.block(*value) for value in values)

    @staticmethod
    def block(bias, slope):
        block = MultiHeadAttention(2, 1, norm="pre").double()
        block.norm.eps = 0.0
        with torch.no_grad():
            for weight in (
                block.w_q.weight,
                block.w_q.bias,
                block.w_k.weight,
                block.w_v.bias,
                block.w_o.bias,
            ):
                weight.zero_()
            block.w_v.weight.copy_(torch.tensor([[slope / 2, -slope / 2], [0, 0]]))
            block.w_v.bias[0] = bias
            block.w_o.weight.copy_(torch.eye(2))
        return block

    def forward(self, x):
        for block in self.blocks:
            x = block(x, causal=True)
        return x


def three():
    """The model, whose s is (+, −, +) all the way, and its input."""
    x = torch.tensor([[[1.0, 0.0], [0.0, 8.0], [2.0, 0.0]]], dtype=torch.float64)
    return Three((2, 1), (0, 2), (2, -1)), x


def close(found, *expected):
    expected = torch.tensor([float(Fraction(one)) for one in expected], dtype=torch.float64)
    torch.testing.assert_close(found, expected, **EXACT)


def test_three_layers_of_value_norms_worked_by_hand():
    # The values' lengths are 3, 1, 3, then 2, 2, 2, then 1, 3, 1. Each bar gathers evenly, so that row 2 is
    # (3, 1, 3)/7, (1, 1, 1)/3, (1, 3, 1)/5, and row 1 is (3, 1)/4, (1, 1)/2, (1, 3)/4; half of each is the
    # residual's. From the last bar down: (1, 3, 6)/10, then (11, 13, 16)/40, then (1081, 519, 640)/2240.
    maps = value_weighted_maps(*three())
    close(maps.layers[0][0, 0, 2], "3/7", "1/7", "3/7")
    close(maps.layers[1][0, 0, 1], "1/2", "1/2", 0)
    close(maps.layers[2][0, 0, 2], "1/5", "3/5", "1/5")
    close(rollout(maps, position=-1)[0], "1081/2240", "519/2240", "640/2240")
    close(rollout(maps, position=-1, start_layer=1)[0], "11/40", "13/40", "16/40")


def test_three_layers_of_alti_worked_by_hand():
    # Channel 0 of x is 1, 0, 2, then 4, 2, 13/3, then 6, 2, 5; channel 1 stays 0, 8, 0. A part closes as much
    # of y's length as it is long, if it points where y does, and nothing if it points away.
    # Layer 1, row 1: parts 3/2, and 1/2 + 0 and 8: (3, 17)/20. Row 2: 1, 1/3, 1 + 2: (3, 1, 9)/13.
    # Layer 2, values 2, −2, 2; row 1: 1, and −1 + 2 and 8: (1, 9)/10. Row 2: 2/3, −2/3, 2/3 + 13/3:
    # (2, 0, 15)/17. Layer 3; row 1: 1/2, and 3/2 + 2 and 8: (1, 23)/24. Row 2: 1/3, 1, 1/3 + 5:
    # (1, 3, 16)/20.
    # From the last bar down: (1, 3, 16)/20, then (541, 459, 2400)/3400, then those of the last line.
    maps = alti_maps(*three())
    close(maps.layers[0][0, 0, 1], "3/20", "17/20", 0)
    close(maps.layers[1][0, 0, 2], "2/17", 0, "15/17")
    close(maps.layers[2][0, 0, 1], "1/24", "23/24", 0)
    close(maps.layers[2][0, 0, 2], "1/20", "3/20", "16/20")
    close(rollout(maps, residual=0, position=-1)[0], "302561/884000", "149439/884000", "108/221")


def test_a_layer_norm_takes_part_in_alti_worked_by_hand():
    # One head, values as they come, even attention of two bars over (3, 1) and (1, −1): each gathers (2, 0).
    # Row 0 sums to (5, 1), less its mean (2, −2), times the weight (1, 2) and over σ = 2: (1, −2); with the
    # norm's bias (1, 0): y = (2, −2), ‖y‖₁ = 4. Its parts: own (3, 1) + (3, 1)/2, less the mean (3/2, −3/2),
    # so (3/4, −3/2); the other (1, −1)/2, so (1/4, −1/2). They close 9/4 and 3/4: shares 3/4 and 1/4.
    block = MultiHeadAttention(2, 1).double()
    block.norm.eps = 0.0
    with torch.no_grad():
        for part in (block.w_q, block.w_k, block.w_v, block.w_o):
            part.weight.copy_(torch.eye(2) * (part in (block.w_v, block.w_o)))
            if part.bias is not None:
                part.bias.zero_()
        block.norm.weight.copy_(torch.tensor([1.0, 2.0]))
        block.norm.bias.copy_(torch.tensor([1.0, 0.0]))
    x = torch.tensor([[[3.0, 1.0], [1.0, -1.0]]], dtype=torch.float64)
    maps = alti_maps(block, x)
    torch.testing.assert_close(maps.output[0, 0], torch.tensor([2.0, -2.0], dtype=torch.float64), **EXACT)
    close(maps.layers[0][0, 0, 0], "3/4", "1/4")
    # ‖T‖₂ of (3/4, −3/2) is three times that of (1/4, −1/2).
    close(value_weighted_maps(block, x, inside=True).layers[0][0, 0, 0], "3/4", "1/4")


def made(values, w_o, norm=None, residual=None):
    """Parts of one block whose outputs nobody asks for."""
    keys, width = values.shape[2], w_o.shape[2]
    residual = values.new_zeros(len(values), keys, width) if residual is None else residual
    return Parts(Block(residual, values, w_o, None, norm, residual, 1e-10), "made")


def random(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


SEEDS = st.integers(0, 2**32 - 1)
SIZES = {"heads": st.integers(1, 4), "time": st.integers(1, 6), "width": st.integers(1, 5)}


@given(seed=SEEDS, time=st.integers(1, 6), width=st.integers(1, 5), length=st.floats(0.1, 10))
@settings(deadline=None, max_examples=40)
def test_values_of_one_length_leave_the_weights_as_they_are(seed, time, width, length):
    # An orthogonal W_O keeps the lengths, so value-weighted rollout is rollout.
    values = random(seed, 2, 1, time, width)
    values *= length / values.norm(dim=-1, keepdim=True)
    w_o = torch.linalg.qr(random(seed + 1, width, width))[0][None]
    weights = random(seed + 2, 2, 1, time, time).softmax(-1)
    rows = shares(ValueNorms(made(values, w_o)).rows(weights, None, 0))
    torch.testing.assert_close(rows, weights[:, 0], rtol=0, atol=1e-10)
    maps = [weights] * 3
    torch.testing.assert_close(rollout([rows[:, None]] * 3), rollout(maps), rtol=0, atol=1e-10)


@given(seed=SEEDS, scale=st.floats(1e-3, 1e3), **SIZES)
@settings(deadline=None, max_examples=40)
def test_rows_sum_to_one_and_do_not_depend_on_units(seed, scale, heads, time, width):
    values, w_o = random(seed, 2, heads, time, 3), random(seed + 1, heads, 3, width)
    residual, weights = random(seed + 2, 2, time, width), random(seed + 3, 2, heads, time, time).softmax(-1)
    for measure in (ValueNorms, PartNorms, Closeness):
        rows = shares(measure(made(values, w_o, residual=residual)).rows(weights, None, 0))
        sums = rows.sum(-1)
        some = sums > 0 if measure is Closeness else torch.ones_like(sums).bool()  # no part may be near y
        torch.testing.assert_close(sums, some.double())
        assert bool((rows >= 0).all())
        scaled = measure(made(scale * values, w_o, residual=scale * residual)).rows(weights, None, 0)
        torch.testing.assert_close(shares(scaled), rows, rtol=0, atol=1e-9)
    scaled = ValueNorms(made(values, scale * w_o)).rows(weights, None, 0)
    torch.testing.assert_close(shares(scaled), shares(ValueNorms(made(values, w_o)).rows(weights, None, 0)))


@given(seed=SEEDS, **SIZES)
@settings(deadline=None, max_examples=40)
def test_the_order_of_heads_is_of_no_account_and_no_part_closes_more_than_its_length(
    seed, heads, time, width
):
    values, w_o = random(seed, 2, heads, time, 3), random(seed + 1, heads, 3, width)
    residual, weights = random(seed + 2, 2, time, width), random(seed + 3, 2, heads, time, time).softmax(-1)
    order = torch.randperm(heads, generator=torch.Generator().manual_seed(seed))
    for measure in (ValueNorms, PartNorms, Closeness):
        rows = measure(made(values, w_o, residual=residual)).rows(weights, None, 0)
        other = measure(made(values[:, order], w_o[order], residual=residual)).rows(
            weights[:, order], None, 0
        )
        torch.testing.assert_close(other, rows, rtol=0, atol=1e-7)
    parts = torch.einsum("bhqk,bhke,hed->bqkd", weights, values, w_o)
    parts += torch.eye(time, dtype=torch.float64)[:, :, None] * residual[:, :, None]
    assert bool((rows <= parts.abs().sum(-1) + 1e-9).all())


@given(seed=SEEDS, **SIZES)
@settings(deadline=None, max_examples=40)
def test_some_queries_at_a_time_have_the_rows_of_all(seed, heads, time, width):
    values, w_o = random(seed, 2, heads, time, 3), random(seed + 1, heads, 3, width)
    residual, weights = random(seed + 2, 2, time, width), random(seed + 3, 2, heads, time, time).softmax(-1)
    norm = nn.LayerNorm(width, dtype=torch.float64).requires_grad_(False) if width > 1 else None
    for measure in (ValueNorms, PartNorms, Closeness):
        asked = measure(made(values, w_o, norm, residual))
        rows = asked.rows(weights, None, 0)
        for i in range(time):
            one = asked.rows(weights[:, :, i : i + 1], None, i)
            torch.testing.assert_close(one[:, 0], rows[:, i], rtol=0, atol=1e-7)


@pytest.mark.parametrize("measure", [ValueNorms, PartNorms, Closeness])
def test_one_head_may_stand_for_all_that_attend_alike(measure):
    values, w_o, residual = random(0, 2, 4, 5, 3), random(1, 4, 3, 6), random(2, 2, 5, 6)
    alike = random(3, 1, 1, 5, 5).softmax(-1).tril()
    asked = measure(made(values, w_o, nn.LayerNorm(6).double().requires_grad_(False), residual))
    rows = asked.rows(alike.expand(2, 4, 5, 5), None, 0)
    torch.testing.assert_close(asked.rows(alike, None, 0), rows, rtol=0, atol=1e-12)
    assert bool((rows.triu(1) == 0).all())  # exactly: what is masked adds nothing


def test_heads_that_cancel_add_nothing():
    # Both heads hand on the same vector, once as it is and once reversed.
    values = random(0, 1, 1, 3, 4).expand(1, 2, 3, 4)
    w_o = torch.stack([torch.eye(4, dtype=torch.float64), -torch.eye(4, dtype=torch.float64)])
    rows = ValueNorms(made(values, w_o)).rows(torch.full((1, 2, 3, 3), 1 / 3).double(), None, 0)
    assert float(rows.max()) < 1e-7


def test_a_query_that_attends_to_nothing_has_an_empty_row_or_its_own():
    values, w_o, residual = random(0, 1, 2, 3, 2), random(1, 2, 2, 4), random(2, 1, 3, 4)
    weights = random(3, 1, 2, 3, 3).softmax(-1).index_fill(2, torch.tensor(1), 0.0)
    parts = made(values, w_o, residual=residual)
    close(shares(ValueNorms(parts).rows(weights, None, 0))[0, 1], 0, 0, 0)
    close(shares(PartNorms(parts).rows(weights, None, 0))[0, 1], 0, 1, 0)
    close(shares(Closeness(parts).rows(weights, None, 0))[0, 1], 0, 1, 0)
