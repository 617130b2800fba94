from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from naive_rollout import naive_rollout

from workbench.explainers.flows import attention_flow
from workbench.explainers.maps import AttentionMaps
from workbench.explainers.rollouts import rollout


def random_maps(seed, layers=4, batch=2, heads=3, length=7, causal=False, dtype=torch.float64):
    scores = torch.randn(
        layers, batch, heads, length, length, dtype=dtype, generator=torch.Generator().manual_seed(seed)
    )
    if causal:
        scores = scores.masked_fill(torch.ones(length, length).triu(1).bool(), -torch.inf)
    return list(scores.mul(2).softmax(-1))


def published(maps, residual=0.5, fuse=lambda a: a.mean(0), discard=0.0):
    """The paper's algorithm, one sample and one layer at a time, in float64 NumPy."""
    samples = []
    for sample in range(len(maps[0])):
        rolled = np.eye(maps[0].shape[-1])
        for layer in maps:
            fused = fuse(layer[sample].double().numpy())
            count = int(fused.size * discard)
            for entry in np.argsort(fused, axis=None)[:count]:
                fused[np.unravel_index(entry, fused.shape)] = 0
            passed = (1 - residual) * fused + residual * np.eye(len(fused))
            passed = passed / passed.sum(axis=1, keepdims=True)
            rolled = passed @ rolled
        samples.append(rolled)
    return np.stack(samples)


def test_three_layers_by_hand_show_that_later_layers_multiply_from_the_left():
    # Two positions, one head, α = 1/2, so Ã = (A + I)/2.
    #   A₁ = [1 0; 1 0]   → Ã₁ = [1 0; ½ ½]
    #   A₂ = [0 1; 0 1]   → Ã₂ = [½ ½; 0 1]
    #   A₃ = [½ ½; 1 0]   → Ã₃ = [¾ ¼; ½ ½]
    # Ã₂Ã₁ = [¾ ¼; ½ ½];  Ã₃(Ã₂Ã₁) = [¾·¾+¼·½  ¾·¼+¼·½; ½·¾+½·½  ½·¼+½·½] = [11/16 5/16; 5/8 3/8]
    layers = [[[1.0, 0], [1, 0]], [[0.0, 1], [0, 1]], [[0.5, 0.5], [1, 0]]]
    maps = [torch.tensor(layer, dtype=torch.float64)[None, None] for layer in layers]
    expected = [[Fraction(11, 16), Fraction(5, 16)], [Fraction(5, 8), Fraction(3, 8)]]
    expected = torch.tensor([[float(v) for v in row] for row in expected], dtype=torch.float64)
    assert torch.equal(rollout(maps)[0], expected)
    assert torch.equal(rollout(maps, position=0)[0], expected[0])
    assert torch.equal(rollout(maps, position=1)[0], expected[1])
    backwards = rollout(maps[::-1])[0]
    assert not torch.allclose(backwards, expected)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("residual", [0.0, 0.3, 0.5, 1.0])
def test_rollout_is_the_published_algorithm(causal, residual):
    maps = random_maps(1, causal=causal)
    expected = published(maps, residual)
    np.testing.assert_allclose(rollout(maps, residual=residual), expected, rtol=0, atol=1e-12)
    for position in (0, 3, -1):
        row = rollout(maps, residual=residual, position=position)
        np.testing.assert_allclose(row, expected[:, position], rtol=0, atol=1e-12)


@pytest.mark.parametrize("fusion", ["mean", "max", "min"])
@pytest.mark.parametrize("discard", [0.0, 0.4, 0.9])
def test_fusion_and_discard_follow_their_stated_meaning(fusion, discard):
    maps = random_maps(2)
    fuse = {"mean": lambda a: a.mean(0), "max": lambda a: a.max(0), "min": lambda a: a.min(0)}[fusion]
    expected = published(maps, fuse=fuse, discard=discard)
    np.testing.assert_allclose(rollout(maps, fusion, discard=discard), expected, rtol=0, atol=1e-12)
    row = rollout(maps, fusion, discard=discard, position=-1)
    np.testing.assert_allclose(row, expected[:, -1], rtol=0, atol=1e-12)


def test_three_layers_by_hand_lose_their_weakest_entries():
    # Three positions, one head, α = 1/2; every layer is A. Of each row one entry goes, or of the map three of
    # nine: the two zeros and ⅛, either way.
    #   A = [½ ½ 0; ⅛ ¼ ⅝; 0 ¼ ¾] → [½ ½ 0; 0 ¼ ⅝; 0 ¼ ¾]
    # (A + I)/2 scaled: Ã = [¾ ¼ 0; 0 ⅔ ⅓; 0 ⅛ ⅞]. Its last row e₃ᵀÃ³:
    #   e₃ᵀÃ = [0 ⅛ ⅞];  ·Ã = [0, ⅛·⅔ + ⅞·⅛, ⅛·⅓ + ⅞·⅞] = [0, 37/192, 155/192]
    #   ·Ã = [0, 37/192·⅔ + 155/192·⅛, …] = [0, 1057/4608, 3551/4608]
    layer = torch.tensor([[1 / 2, 1 / 2, 0], [1 / 8, 1 / 4, 5 / 8], [0, 1 / 4, 3 / 4]], dtype=torch.float64)
    expected = torch.tensor([[0, 1057 / 4608, 3551 / 4608]], dtype=torch.float64)
    for by in ("map", "row"):
        row = rollout([layer[None, None]] * 3, position=-1, discard=1 / 3 + 1e-9, discard_by=by)
        torch.testing.assert_close(row, expected, rtol=0, atol=1e-15)


def test_entries_that_equal_the_weakest_one_kept_are_kept():
    # Of [⅛ ⅛ ¼ ½], two of four are to go: ⅛ and ⅛. One of four: the first ⅛ equals the second, so none goes.
    layer = torch.tensor([1 / 8, 1 / 8, 1 / 4, 1 / 2], dtype=torch.float64).expand(1, 1, 4, 4)
    for by in ("map", "row"):
        kept = rollout([layer], residual=0.0, discard=0.25, discard_by=by)[0]
        assert torch.equal(kept, layer[0, 0])
        kept = rollout([layer], residual=0.0, discard=0.5, discard_by=by)[0]
        torch.testing.assert_close(kept[0], torch.tensor([0, 0, 1 / 3, 2 / 3], dtype=torch.float64))
    even = torch.full((1, 2, 5, 5), 0.2)
    torch.testing.assert_close(rollout([even] * 3, discard=0.9), rollout([even] * 3))


@given(
    seed=st.integers(0, 2**31),
    order=st.permutations(range(6)),
    by=st.sampled_from(["map", "row"]),
    discard=st.floats(0, 0.95),
)
def test_what_is_discarded_does_not_hang_on_the_order_of_positions(seed, order, by, discard):
    # Few different values, so that many are equal.
    layer = torch.randint(0, 3, (1, 1, 6, 6), generator=torch.Generator().manual_seed(seed)).double()
    maps = [layer / layer.sum(-1, keepdim=True).clamp_min(1)] * 3
    renamed = [layer[..., order, :][..., order] for layer in maps]
    asked = {"discard": discard, "discard_by": by}
    torch.testing.assert_close(rollout(renamed, **asked), rollout(maps, **asked)[..., order, :][..., order])


def test_a_last_layer_of_one_query_discards_by_row():
    maps = random_maps(12)
    kinds = ("self", "self", "self", "last")
    pruned = AttentionMaps((*maps[:-1], maps[-1][:, :, -1:]), tuple("abcd"), kinds, (None,) * 4)
    asked = {"position": -1, "discard": 0.5, "discard_by": "row"}
    torch.testing.assert_close(rollout(pruned, **asked), rollout(maps, **asked))


def test_every_layer_may_have_head_weights_of_its_own():
    maps = random_maps(10)
    weights = [[1, 0, 0], [0, 1, 1], [2, 1, 1], [0, 0, 5]]
    expected = naive_rollout([layer.numpy() for layer in maps], weights)
    for given_ in (weights, torch.tensor(weights)):
        np.testing.assert_allclose(rollout(maps, given_), expected, rtol=0, atol=1e-12)
        np.testing.assert_allclose(rollout(maps, given_, position=2), expected[:, 2], rtol=0, atol=1e-12)
    one = torch.tensor([0.2, 0.3, 0.5])
    torch.testing.assert_close(rollout(maps, one.double()), rollout(maps, [0.2, 0.3, 0.5]))


@pytest.mark.parametrize(
    ("fusion", "message"),
    [
        ([1, -1, 3], "zero or more"),
        ([1, float("nan"), 3], "finite"),
        ([1, float("inf"), 3], "finite"),
        ([], "one a head"),
        ([[1, 2, 3], 4, 5, 6], "a row of them a layer"),
        ([[1, 2, 3]] * 3, "one row for each of the 4 layers"),
        ([1, 2], "head weights are 3 numbers, one a head; got 2"),
    ],
)
def test_head_weights_that_are_none_are_refused_with_the_rule(fusion, message):
    with pytest.raises(ValueError, match=message):
        rollout(random_maps(11), fusion)


def test_head_weights_are_scaled_to_sum_to_one():
    maps = random_maps(3)
    expected = published(maps, fuse=lambda a: np.tensordot([0.5, 0.25, 0.25], a, 1))
    np.testing.assert_allclose(rollout(maps, [2, 1, 1]), expected, rtol=0, atol=1e-12)


def test_layers_below_the_start_layer_are_left_out():
    maps = random_maps(4)
    torch.testing.assert_close(rollout(maps, start_layer=2), rollout(maps[2:]))


@given(
    seed=st.integers(0, 2**31),
    residual=st.floats(0, 1),
    fusion=st.sampled_from(["mean", "max", "min"]),
    discard=st.floats(0, 0.95),
    causal=st.booleans(),
    layers=st.integers(1, 5),
    length=st.integers(1, 9),
)
def test_rows_are_shares_whatever_the_options(seed, residual, fusion, discard, causal, layers, length):
    maps = random_maps(seed, layers, length=length, causal=causal)
    rolled = rollout(maps, fusion, residual, discard=discard)
    assert (rolled >= 0).all()
    torch.testing.assert_close(rolled.sum(-1), torch.ones(2, length, dtype=torch.float64))
    if causal:
        assert (rolled.triu(1) == 0).all()
    for position in range(length):
        row = rollout(maps, fusion, residual, discard=discard, position=position)
        torch.testing.assert_close(row, rolled[:, position], rtol=0, atol=1e-12)


@given(seed=st.integers(0, 2**31), order=st.permutations(range(6)))
def test_renaming_the_positions_renames_the_rollout(seed, order):
    maps = random_maps(seed, layers=3, length=6)
    renamed = [layer[..., order, :][..., order] for layer in maps]
    torch.testing.assert_close(rollout(renamed), rollout(maps)[..., order, :][..., order])


def test_uniform_causal_attention_piles_up_on_early_bars():
    # The share of the first tenth of 60 bars as depth grows, by the plain algorithm above.
    even = torch.ones(60, 60, dtype=torch.float64).tril()
    even = (even / even.sum(-1, keepdim=True))[None, None]
    early = [float(rollout([even] * layers, position=-1)[0, :6].sum()) for layers in (2, 4, 8, 12)]
    plain = [published([even] * layers)[0, -1, :6].sum() for layers in (2, 4, 8, 12)]
    np.testing.assert_allclose(early, plain, atol=1e-12)
    np.testing.assert_allclose(early, [0.13, 0.34, 0.71, 0.91], atol=0.005)


def test_a_position_with_nothing_to_attend_to_draws_on_itself():
    maps = [torch.zeros(1, 1, 3, 3, dtype=torch.float64)] * 3
    assert torch.equal(rollout(maps, residual=0.0)[0], torch.eye(3, dtype=torch.float64))
    assert torch.equal(rollout(maps, residual=0.0, position=1)[0], torch.eye(3, dtype=torch.float64)[1])


def test_float32_stays_within_a_millionth_of_float64():
    maps = random_maps(5, layers=6, length=120)
    low = [layer.float() for layer in maps]
    torch.testing.assert_close(rollout(low).double(), rollout(maps), rtol=0, atol=1e-6)
    torch.testing.assert_close(
        rollout(low, position=-1).double(), rollout(maps, position=-1), rtol=0, atol=1e-6
    )


def test_a_last_layer_of_one_query_gives_the_last_row():
    maps = random_maps(6)
    pruned = AttentionMaps(
        layers=(*maps[:-1], maps[-1][:, :, -1:]),
        names=("a", "b", "c", "d"),
        kinds=("self", "self", "self", "last"),
        allowed=(None,) * 4,
    )
    expected = rollout(maps)[:, -1]
    torch.testing.assert_close(rollout(pruned)[:, 0], expected)
    torch.testing.assert_close(rollout(pruned, position=-1), expected)
    with pytest.raises(ValueError, match=r"position 0 was not computed.*full=True"):
        rollout(pruned, position=0)
    with pytest.raises(ValueError, match=r"discard ranks every entry.*full=True"):
        rollout(pruned, discard=0.1)


def test_blocks_of_queries_change_nothing(monkeypatch):
    maps = random_maps(7, length=11)
    whole = rollout(maps, position=-1), rollout(maps, "max", position=-1)
    monkeypatch.setattr("workbench.explainers.chains.BLOCK_BYTES", 1)
    blocks = rollout(maps, position=-1), rollout(maps, "max", position=-1)
    torch.testing.assert_close(blocks, whole, rtol=0, atol=1e-14)


def test_maps_are_left_as_they_were():
    maps = random_maps(8)
    before = [layer.clone() for layer in maps]
    rollout(maps, "max", discard=0.5)
    rollout(maps, position=2)
    assert all(torch.equal(a, b) for a, b in zip(maps, before, strict=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fusion": "median"}, "'mean', 'max', 'min' or one weight a head; got 'median'"),
        ({"fusion": [1.0, 2.0]}, "head weights are 3 numbers"),
        ({"fusion": [0.0, 0.0, 0.0]}, "not all zero"),
        ({"residual": 1.5}, "between 0 and 1"),
        ({"discard": 1.0}, "below 1; got 1.0"),
        ({"start_layer": 4}, "not one of the 4 layers"),
        ({"position": 7}, "outside the 7 positions"),
        ({"position": -8}, "outside the 7 positions"),
    ],
)
def test_options_out_of_range_are_refused_with_the_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        rollout(random_maps(9), **arguments)


def test_maps_that_cannot_be_rolled_are_refused_with_the_repair():
    with pytest.raises(ValueError, match=r"shape \(batch, head, query, key\).*got \(2, 5, 5\)"):
        rollout([torch.zeros(2, 5, 5)])
    with pytest.raises(ValueError, match="there are no maps"):
        rollout([])
    with pytest.raises(ValueError, match="two stacks"):
        rollout([torch.full((1, 1, 5, 5), 0.2), torch.full((1, 1, 4, 4), 0.25)])
    broken = torch.full((1, 1, 4, 4), torch.nan)
    with pytest.raises(ValueError, match="not finite"):
        rollout([broken])
    crossed = AttentionMaps((torch.zeros(1, 1, 3, 5),), ("decoder.cross",), ("cross",), (None,))
    with pytest.raises(ValueError, match=r"decoder.cross is cross-attention \(3 queries, 5 keys\)"):
        rollout(crossed)


def test_scores_are_not_taken_for_weights():
    maps = [torch.full((2, 1, 3, 3), 1 / 3) for _ in range(3)]
    scores = torch.tensor([[1.0, 2.0, 0.5], [0.5, 0.3, 0.2], [0.2, 0.2, 0.6]]).expand(2, 1, 3, 3)
    for broken, says in (
        (-scores, r"layer 1 has negative entries, to -2, .* look like scores. Take scores.softmax\(-1\)"),
        (scores, "rows of layer 1 sum to 3.5, and attention weights to one"),
        (maps[0] / 2, "rows of layer 1 sum to 0.5"),
    ):
        for follow in (rollout, attention_flow, AttentionMaps.of):
            with pytest.raises(ValueError, match=says):
                follow([maps[0], broken, maps[2]])
    rollout([scores.softmax(-1)] * 3)
    rollout([torch.randn(1, 2, 200, 200).mul(3).softmax(-1).bfloat16()] * 3)
    blocked = maps[1].clone()
    blocked[:, :, 1] = 0  # a query that may look at nothing
    rollout([maps[0], blocked, maps[2]])
