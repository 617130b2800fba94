import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from workbench.explainers.ranks import entry_of_rank


def ranked(values, rank, entries=None, pieces=3):
    """Ask for an entry of rows (batch, entry), given in pieces."""
    values = torch.as_tensor(values)
    parts = values.tensor_split(pieces, dim=1)
    return entry_of_rank(lambda: iter(parts), rank, entries or values.shape[1], like=values[:, 0])


def test_ranks_by_hand():
    # Of ¼, ½, ½, 0, ⅛, 1 the ranks 0 … 5 are 0, ⅛, ¼, ½, ½, 1.
    row = torch.tensor([[0.25, 0.5, 0.5, 0.0, 0.125, 1.0]], dtype=torch.float64)
    assert [float(ranked(row, rank)) for rank in range(6)] == [0, 0.125, 0.25, 0.5, 0.5, 1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(data=st.data())
def test_the_entry_is_the_one_that_sorting_finds(dtype, data):
    shape = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 40)))
    width = np.dtype(dtype).itemsize * 8
    values = data.draw(arrays(dtype, shape, elements=st.floats(0, 1, width=width)))
    values = values + 0  # no negative zero: a weight is none
    rank = data.draw(st.integers(0, shape[1] - 1))
    assert (ranked(values, rank).numpy() == np.sort(values, axis=1)[:, rank]).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numbers_that_differ_in_their_last_bit_are_told_apart(dtype):
    one = torch.tensor(0.3, dtype=dtype)
    row = torch.stack([torch.nextafter(one, torch.tensor(1.0, dtype=dtype)), one, one])[None]
    assert ranked(row, 1) == one
    assert ranked(row, 2) > one


def test_zeros_that_are_left_out_are_counted():
    row = torch.tensor([[0.5, 0.25]])
    assert [float(ranked(row, rank, entries=4)) for rank in range(4)] == [0, 0, 0.25, 0.5]


def test_every_sample_has_its_own():
    values = torch.rand(4, 1000)
    assert torch.equal(ranked(values, 900), values.sort(1).values[:, 900])


def test_numbers_that_are_none_rank_last_whatever_their_sign():
    row = torch.tensor([[0.5, torch.nan, -torch.nan, 0.25]])
    assert ranked(row, 1) == 0.5
