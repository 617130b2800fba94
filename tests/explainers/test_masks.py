"""What counts as masked, and what is a large negative score of the model's own."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from workbench.explainers.capture import attention_maps
from workbench.explainers.masks import unblocked
from workbench.explainers.null import uniform_maps

LATER = torch.ones(6, 6).triu(1).bool()
CONSTANTS = [-1e4, -1e9, torch.finfo(torch.float32).min, -torch.inf]


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Asks(nn.Module):
    """One layer written out, by nn.MultiheadAttention or by the fused product, masked or not."""

    def __init__(self, how, mask=None, add=False):
        super().__init__()
        torch.manual_seed(0)
        self.how, self.mask, self.add = how, mask, add
        self.multi = nn.MultiheadAttention(8, 2, batch_first=True)
        self.q, self.k = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        if self.how == "multi":
            return self.multi(x, x, x, attn_mask=self.mask)[0]
        if self.how == "fused":
            return F.scaled_dot_product_attention(self.q(x), self.k(x), x, attn_mask=self.mask)
        scores = self.q(x) @ self.k(x).mT * 8**-0.5
        if self.mask is not None:
            scores = scores + self.mask if self.add else scores.where(self.mask == 0, self.mask)
        return scores.softmax(-1) @ x


@pytest.mark.parametrize("how", ["written", "multi", "fused"])
@pytest.mark.parametrize("scale", [1, 1e3])
def test_scores_of_unscaled_features_are_not_taken_for_masked(how, scale):
    maps = attention_maps(Asks(how).eval(), random(4, 6, 8) * scale)
    assert maps.allowed == (None,)
    torch.testing.assert_close(uniform_maps(maps).layers[0], torch.full((1, 1, 6, 6), 1 / 6))


@pytest.mark.parametrize("how", ["written", "multi", "fused"])
@pytest.mark.parametrize("constant", CONSTANTS)
def test_masks_of_every_constant_are_known(how, constant):
    mask = torch.zeros(6, 6).masked_fill(LATER, constant)
    for add in (False, True):
        allowed = attention_maps(Asks(how, mask, add).eval(), random(4, 6, 8)).allowed[0]
        assert allowed is not None
        assert bool((allowed == ~LATER).all())


@pytest.mark.parametrize("how", ["written", "multi", "fused"])
@pytest.mark.parametrize("constant", [-1e9, torch.finfo(torch.float32).min, -torch.inf])
def test_masks_are_known_beside_scores_of_unscaled_features(how, constant):
    """Scores reach some 1e6, added to the mask or written over by it."""
    mask = torch.zeros(6, 6).masked_fill(LATER, constant)
    for add in (False, True):
        model, x = Asks(how, mask, add).eval(), random(4, 6, 8) * 1e3
        allowed = attention_maps(model, x).allowed[0]
        assert allowed is not None
        assert bool((allowed == ~LATER).all())


def test_a_constant_written_over_scores_of_thousands_is_known():
    scores = (random(2, 2, 6, 6) * 1e3).masked_fill(LATER, -1e4)
    allowed = unblocked(scores)
    assert allowed is not None
    assert bool((allowed == ~LATER).all())


def test_biases_by_distance_are_no_masks_and_leave_a_mask_beside_them_known():
    distance = (torch.arange(200)[:, None] - torch.arange(200)).abs() * -60.0  # to −11,940
    assert unblocked(distance[None, None]) is None
    later = torch.ones(200, 200).triu(1).bool()
    for constant in (-1e9, torch.finfo(torch.float32).min, -torch.inf):
        allowed = unblocked(distance.masked_fill(later, constant)[None, None])
        assert allowed is not None
        assert bool((allowed == ~later).all())
    squared = (
        -((torch.arange(200.0)[:, None] - torch.arange(200)) ** 2) * 1e5
    )  # zero on the diagonal, −1e5 beside it
    assert unblocked(squared[None, None]) is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_masks_are_known_in_other_precisions(dtype):
    scores = random(2, 2, 6, 6).to(dtype)
    for constant in (-1e4, torch.finfo(dtype).min, -torch.inf):
        for masked in (
            scores.masked_fill(LATER, constant),
            scores + scores.new_zeros(6, 6).masked_fill(LATER, constant),
        ):
            allowed = unblocked(masked)
            assert allowed is not None
            assert bool((allowed == ~LATER).all())
    assert unblocked(scores) is None


def test_masks_added_twice_and_rows_masked_throughout():
    pad = torch.zeros(2, 1, 1, 6)
    pad[1, ..., 4:] = -1e4
    scores = random(2, 2, 6, 6) + torch.zeros(6, 6).masked_fill(LATER, -1e4) + pad
    allowed = unblocked(scores)
    assert allowed is not None
    assert bool((allowed == (~LATER & (pad == 0))).all())
    scores = random(2, 1, 6, 6)
    scores[0, 0, 2] = -1e9  # nothing to choose from: softmax is even
    assert unblocked(scores) is None
    scores[1, 0, 1, 3] = torch.nan
    assert unblocked(scores) is None


@given(seed=st.integers(0, 2**31), scale=st.floats(1, 1e8), heavy=st.booleans())
def test_no_spread_of_scores_alone_makes_a_mask(seed, scale, heavy):
    scores = random(2, 2, 8, 8, seed=seed)
    scores = scores * random(2, 2, 8, 8, seed=seed + 1) if heavy else scores
    assert unblocked(scores * scale) is None


@given(seed=st.integers(0, 2**31), scale=st.floats(0.01, 100), constant=st.sampled_from(CONSTANTS))
def test_what_a_mask_blocks_is_told_whatever_it_blocks(seed, scale, constant):
    blocked = random(2, 1, 6, 6, seed=seed) > 0.5
    blocked[..., 0] = False
    scores = random(2, 2, 6, 6, seed=seed + 1) * scale
    allowed = unblocked(scores + torch.zeros(2, 1, 6, 6).masked_fill(blocked, constant))
    assert torch.equal(allowed.expand_as(scores), (~blocked).expand_as(scores))
