import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench.features.rows import even_step, resolve

bounds = st.none() | st.integers(-12, 12)


@given(n=st.integers(0, 9), start=bounds, stop=bounds, step=st.sampled_from([None, 1, 2, 3, -1, -2]))
def test_slices_mean_what_they_mean_for_a_list(n, start, stop, step):
    found = torch.arange(n)[resolve(slice(start, stop, step), n)]
    assert found.tolist() == list(range(n))[start:stop:step]


@pytest.mark.parametrize("kind", [list, tuple, np.array, torch.tensor, pd.Series, pd.Index])
def test_numbers_and_masks_of_every_kind(kind):
    assert resolve(kind([3, 0, -1]), 5).tolist() == [3, 0, 4]
    assert resolve(kind([True, False, True]), 3).tolist() == [0, 2]


def test_one_number_and_no_number():
    assert resolve(2, 3).tolist() == [2]
    assert resolve(np.int64(-3), 3).tolist() == [0]
    assert resolve([], 3).tolist() == []
    assert resolve(torch.zeros(0), 3).dtype == torch.int64


def test_rows_that_are_not_there_are_refused():
    for wrong in (3, -4, [0, 3], [-4]):
        with pytest.raises(IndexError, match=r"There are 3 windows, numbered from 0. Got"):
            resolve(wrong, 3)
    with pytest.raises(IndexError, match=r"A mask must have shape \(3,\), one entry a window. Got \(2,\)"):
        resolve([True, False], 3)
    with pytest.raises(IndexError, match=r"one axis of integers. Got torch.float64 \(2,\)"):
        resolve([0.0, 1.0], 3)


@pytest.mark.parametrize(
    ("starts", "step"),
    [
        ([], None),
        ([7], 1),
        ([2, 3, 4], 1),
        ([2, 5, 8], 3),
        ([2, 3, 5], None),
        ([4, 3, 2], None),
        ([1, 1], None),
    ],
)
def test_even_steps_are_found(starts, step):
    assert even_step(torch.tensor(starts, dtype=torch.int64)) == step
