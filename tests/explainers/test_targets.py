import pytest
import torch

from workbench.explainers.targets import LIKELIEST, Target


def test_a_class_a_lead_and_the_likeliest_weigh_the_outputs(windows):
    outputs = torch.tensor([[1.0, 2.0, 4.0], [9.0, 0.0, 3.0]])
    assert Target.of(windows, "hold").weigh(outputs).tolist() == [[0, 1, 0]] * 2
    assert Target.of(windows, "buy-sell").weigh(outputs).tolist() == [[-1, 0, 1]] * 2
    assert Target.of(windows, "sell - hold").weigh(outputs).tolist() == [[1, -1, 0]] * 2
    likeliest = Target.of(windows, None)
    assert likeliest.told == LIKELIEST
    assert likeliest.weigh(outputs).tolist() == [[0, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize("wrong", ["bye", "buy-buy", "buy-bye", "-", ""])
def test_an_unknown_class_or_lead_is_refused_with_the_choice(windows, wrong):
    with pytest.raises(ValueError, match=r"There are: sell, hold, buy\. The lead .* as 'buy-sell'\."):
        Target.of(windows, wrong)
