import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench.models.scaling import ForecastScaling, InputScaling


def test_nothing_happens_until_it_is_fitted():
    x = torch.randn(2, 3, 4)
    assert torch.equal(InputScaling(4)(x), x)
    assert torch.equal(ForecastScaling()(x[0, :, :1]), x[0, :, :1])


def test_three_bars_worked_by_hand():
    scaling = InputScaling(2).fit_(torch.tensor([2.0, 10.0]), torch.tensor([0.5, 5.0]))
    x = torch.tensor([[[1.0, 10.0], [2.0, 0.0], [3.0, 25.0]]])
    assert scaling(x).tolist() == [[[-2.0, 0.0], [0.0, -2.0], [2.0, 3.0]]]


@given(st.integers(0, 1000))
def test_the_bars_it_was_fitted_on_come_out_with_mean_0_and_spread_1(seed):
    x = torch.randn(1, 50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 7 + 3
    scaling = InputScaling(3).double().fit_(x[0].mean(0), x[0].std(0, unbiased=False))
    torch.testing.assert_close(scaling(x)[0].mean(0), torch.zeros(3).double(), rtol=0, atol=1e-9)
    torch.testing.assert_close(
        scaling(x)[0].std(0, unbiased=False), torch.ones(3).double(), rtol=0, atol=1e-9
    )


def test_a_column_that_never_moves_is_centred_only():
    scaling = InputScaling(2).fit_(torch.tensor([0.1, 5.0]), torch.tensor([1e-9, 0.0]))
    assert scaling(torch.tensor([[[0.1, 6.0]]])).tolist() == [[[0.0, 1.0]]]


def test_the_statistics_travel_with_the_weights_and_are_not_trained():
    scaling = InputScaling(2).fit_(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]))
    other = InputScaling(2)
    other.load_state_dict(scaling.state_dict())
    assert other.mean.tolist() == [1.0, 2.0]
    assert other.std.tolist() == [3.0, 4.0]
    assert list(scaling.parameters()) == []


def test_forecasts_come_out_in_the_labels_own_units():
    scaling = ForecastScaling().fit_(torch.tensor(0.001), torch.tensor(0.02))
    expected = torch.tensor([[-0.019], [0.001], [0.041]])
    torch.testing.assert_close(scaling(torch.tensor([[-1.0], [0.0], [2.0]])), expected)


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ([1.0], [1.0], r"shape \(2,\)"),
        ([1.0, float("nan")], [1.0, 1.0], "finite"),
        ([1.0, 1.0], [1.0, -1.0], "not negative"),
    ],
)
def test_statistics_that_cannot_be_are_refused(mean, std, message):
    with pytest.raises(ValueError, match=message):
        InputScaling(2).fit_(torch.tensor(mean), torch.tensor(std))


def test_windows_with_other_features_are_refused():
    with pytest.raises(ValueError, match="built for 2 features and got windows of 3"):
        InputScaling(2)(torch.zeros(1, 1, 3))


def test_columns_that_are_not_to_be_scaled_come_out_as_they_went_in():
    scaling = InputScaling(3, unscaled=(1,)).fit_(
        torch.tensor([2.0, 10.0, 0.0]), torch.tensor([0.5, 5.0, 2.0])
    )
    x = torch.tensor([[[1.0, 1.0, 4.0], [2.0, 0.0, 2.0], [3.0, 0.1, -2.0]]])
    expected = torch.tensor([[[-2.0, 1.0, 2.0], [0.0, 0.0, 1.0], [2.0, 0.1, -1.0]]])
    assert torch.equal(scaling(x), expected)
    assert scaling.divisor.tolist() == [0.5, 1.0, 2.0]
    assert scaling.std.tolist() == [0.5, 5.0, 2.0]  # the statistics themselves are kept
    assert sorted(scaling.state_dict()) == ["mean", "std"]


def test_a_column_that_does_not_exist_cannot_be_left_unscaled():
    with pytest.raises(ValueError, match=r"columns from 0 to 2, got \(3,\)"):
        InputScaling(3, unscaled=(3,))


def test_anchored_columns_worked_by_hand():
    scaling = (
        InputScaling(3).anchor_({0: 1, 1: 1}).fit_(torch.tensor([1.0, 0.5, 10.0]), torch.tensor([0.5, 1, 2]))
    )
    x = torch.tensor([[[2.0, 8, 10], [6, 2, 12], [4, 4, 14]], [[5.0, 5, 10], [0, 20, 10], [10, 10, 8]]])
    first = [[-1.0, 1.5, 0], [1, 0, 1], [0, 0.5, 2]]  # over the last of column 1, 4: 0.5 2; 1.5 0.5; 1 1
    second = [[-1.0, 0, 0], [-2, 1.5, 0], [0, 0.5, -1]]  # over 10
    assert scaling(x).tolist() == [first, second]
    assert scaling.units(x)[:, 0].tolist() == [[4, 4, 1], [10, 10, 1]]


def test_an_anchor_outside_the_columns_is_refused():
    with pytest.raises(ValueError, match=r"anchors must name columns from 0 to 1, got \{0: 2\}"):
        InputScaling(2).anchor_({0: 2})


def test_an_anchor_of_nothing_leaves_finite_numbers():
    scaling = InputScaling(1).anchor_({0: 0})
    assert scaling(torch.tensor([[[3.0], [0.0]]])).isfinite().all()
