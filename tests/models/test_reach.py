"""The receptive field as the gradient shows it, against fields that are known."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from workbench.models.reach import Reach, measure_reach
from workbench.models.recurrent import LSTMModel
from workbench.models.transformer import TradingTransformer


def x_of(batch: int = 4, time: int = 20, width: int = 3) -> Tensor:
    return torch.randn(batch, time, width, generator=torch.Generator().manual_seed(0))


class Causal(nn.Module):
    """Dilated causal convolutions, dilation 1, 2, 4 …, read at the last bar."""

    def __init__(self, kernel: int, levels: int):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv1d(3, 3, kernel, dilation=2**i) for i in range(levels))

    def forward(self, x: Tensor) -> Tensor:
        h = x.transpose(1, 2)
        for conv in self.convs:
            h = conv(nn.functional.pad(h, ((conv.kernel_size[0] - 1) * conv.dilation[0], 0)))
        return h[:, :, -1]


class Weighted(nn.Module):
    def __init__(self, weights: list[float]):
        super().__init__()
        self.register_buffer("weights", torch.tensor(weights, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("t,btf->bf", self.weights, x)[:, :1]


@given(kernel=st.integers(1, 4), levels=st.integers(1, 4))
def test_a_stack_of_convolutions_reaches_as_far_as_its_formula(kernel: int, levels: int):
    formula = 1 + (kernel - 1) * (2**levels - 1)
    assert measure_reach(Causal(kernel, levels), x_of(time=50)).bars == min(50, formula)


def test_three_bars_weighed_by_hand():
    reach = measure_reach(Weighted([0.0, 0.0, -1.0, 0.0, 3.0, 6.0]), x_of(time=6))
    np.testing.assert_allclose(reach.shares, [0, 0, 0.1, 0, 0.3, 0.6], atol=1e-7)
    assert (reach.bars, reach.most) == (4, 2)  # 0.6 + 0.3 are nine tenths


@pytest.mark.parametrize(
    ("shares", "bars", "most"),
    [([0, 0, 0], 0, 0), ([0, 0, 1], 1, 1), ([1, 0, 0], 3, 3), ([0.2, 0.3, 0.5], 3, 3)],
)
def test_bars_and_most_count_back_from_the_last(shares: list[float], bars: int, most: int):
    reach = Reach(np.array(shares, dtype=float))
    assert (reach.bars, reach.most) == (bars, most)


@pytest.mark.parametrize("model", [LSTMModel(3, n_layers=1), TradingTransformer(3, d_model=8, n_heads=2)])
def test_recurrence_and_attention_reach_the_whole_window(model: nn.Module):
    assert measure_reach(model, x_of()).bars == 20


def test_an_answer_that_changes_with_nothing_reaches_nothing():
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            return self.bias.expand(len(x), 1)

    assert measure_reach(Constant(), x_of()).bars == 0
    assert measure_reach(Weighted([0.0] * 20), x_of()).bars == 0
    Constant.forward = lambda self, x: torch.ones(len(x), 1)
    assert measure_reach(Constant(), x_of()).bars == 0


def test_the_model_and_its_input_are_left_as_they_were():
    model, x = LSTMModel(3), x_of()
    state = torch.get_rng_state()
    with torch.no_grad():
        measure_reach(model, x)
    assert model.training
    assert not x.requires_grad
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_a_gradient_that_is_not_finite_is_refused():
    class Root(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x * 0).sqrt().sum(dim=(1, 2), keepdim=True)[:, :, 0]

    with pytest.raises(ValueError, match="not finite"):
        measure_reach(Root(), x_of())
