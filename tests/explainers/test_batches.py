import pytest
import torch
from torch import nn

from workbench.explainers.explanation import explain
from workbench.explainers.methods import METHODS
from workbench.training.prediction import predict

pytestmark = pytest.mark.usefixtures("small_batches")


class Overwriting(nn.Module):
    """Scales its input in place, as code that spares memory does."""

    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.embed, self.head = nn.Linear(3, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.layer(self.embed(x.mul_(2)))[:, -1])


@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if not method.inside])
def test_a_model_that_writes_over_its_input_writes_over_no_bars(windows, method):
    before = windows.bars.clone()
    model = Overwriting().eval()
    first = explain(model, windows, method)
    assert torch.equal(windows.bars, before)
    assert (explain(model, windows, method).scores == first.scores).all()


def test_nor_does_one_that_predicts(windows):
    before = windows.bars.clone()
    model = Overwriting().eval()
    first = predict(model, windows)
    assert torch.equal(windows.bars, before)
    assert predict(model, windows).equals(first)
