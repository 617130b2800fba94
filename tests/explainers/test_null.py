import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench.explainers.maps import AttentionMaps
from workbench.explainers.null import uniform_layer, uniform_maps
from workbench.explainers.rollouts import rollout
from workbench.explainers.softmax import AttentionLayer


def masked(allowed):
    scores = torch.zeros(allowed.shape, dtype=torch.float64).masked_fill(~allowed, -torch.inf)
    weights = scores.softmax(-1).nan_to_num(0)
    return AttentionMaps((weights,) * 3, ("a", "b", "c"), ("self",) * 3, (allowed,) * 3)


def test_three_causal_layers_by_hand():
    # Two bars: A = [1 0; ½ ½], Ã = (A + I)/2 = [1 0; ¼ ¾]. Ã³ has last row [1 − (¾)³, (¾)³] = [37/64, 27/64].
    maps = masked(torch.ones(1, 1, 2, 2).tril().bool())
    expected = torch.tensor([[37 / 64, 27 / 64]], dtype=torch.float64)
    torch.testing.assert_close(rollout(uniform_maps(maps), position=-1), expected, rtol=0, atol=1e-15)


@given(seed=st.integers(0, 2**31), length=st.integers(1, 7), heads=st.integers(1, 3))
def test_uniform_attention_is_its_own_null(seed, length, heads):
    allowed = torch.rand(2, heads, length, length, generator=torch.Generator().manual_seed(seed)) < 0.7
    allowed |= torch.eye(length).bool()
    maps = masked(allowed)
    torch.testing.assert_close(rollout(uniform_maps(maps)), rollout(maps))


def test_without_a_mask_every_key_counts_the_same():
    even = uniform_maps(AttentionMaps.of([torch.eye(4)[None, None]] * 2))
    assert torch.equal(even.layers[0], torch.full((1, 1, 4, 4), 0.25))
    layer = uniform_layer(
        AttentionLayer("self", None, query=torch.zeros(2, 3, 4, 1), key=torch.zeros(2, 3, 4, 1))
    )
    assert torch.equal(layer.weights(), even.layers[0])


def test_a_query_that_may_look_at_nothing_stays_empty():
    allowed = torch.ones(1, 1, 3, 3).bool()
    allowed[0, 0, 1] = False
    even = uniform_maps(masked(allowed)).layers[0]
    assert torch.equal(even[0, 0, 1], torch.zeros(3, dtype=torch.float64))
