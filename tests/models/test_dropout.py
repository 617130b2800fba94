import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench.models.dropout import Dropout


def drop(x, p, seed=0):
    torch.manual_seed(seed)
    return Dropout(p).train()(x)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_share_of_zeros_is_p_and_the_mean_stays(p):
    kept = drop(torch.ones(200_000), p)
    share = (kept == 0).double().mean().item()
    sigma = (p * (1 - p) / 200_000) ** 0.5
    assert abs(share - p) < 5 * sigma
    assert abs(kept.double().mean().item() - 1) < 5 * sigma / (1 - p)


def test_what_is_kept_is_scaled_by_the_share_kept():
    kept = drop(torch.full((1000,), 3.0), 0.25)
    assert set(kept.tolist()) == {0.0, 4.0}


@given(st.integers(1, 17), st.integers(0, 100))
def test_any_number_of_elements_works(n, seed):
    kept = drop(torch.ones(n), 0.5, seed)
    assert kept.shape == (n,)
    assert set(kept.tolist()) <= {0.0, 2.0}


def test_neighbours_are_dropped_independently():
    zero = drop(torch.ones(400_000), 0.3).view(-1, 4) == 0  # the four that share one random number
    both = (zero[:, 0] & zero[:, 1]).double().mean().item()
    assert both == pytest.approx(0.09, abs=0.005)
    assert (zero[:, 3] & zero[:, 2]).double().mean().item() == pytest.approx(0.09, abs=0.005)


def test_the_gradient_passes_where_the_value_passed():
    x = torch.ones(100, requires_grad=True)
    kept = drop(x, 0.5)
    kept.sum().backward()
    assert torch.equal(x.grad, kept.detach())


def test_the_seed_decides():
    x = torch.ones(100)
    assert torch.equal(drop(x, 0.5, seed=1), drop(x, 0.5, seed=1))
    assert not torch.equal(drop(x, 0.5, seed=1), drop(x, 0.5, seed=2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_kind_of_number_stays(dtype):
    assert drop(torch.ones(10, dtype=dtype), 0.5).dtype == dtype


def test_nothing_happens_in_eval_mode_or_at_zero():
    x = torch.ones(100)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0).train()(x) is x


def test_a_probability_close_to_one_never_divides_by_zero():
    assert drop(torch.ones(1000), 0.999999).isfinite().all()


@pytest.mark.parametrize("p", [-0.1, 1, 1.5])
def test_a_probability_outside_its_range_is_refused(p):
    with pytest.raises(ValueError, match="at least 0 and less than 1"):
        Dropout(p)
