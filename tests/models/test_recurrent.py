import pytest
import torch
from torch import nn

from workbench.models.recurrent import LSTMModel


def windows(batch=3, time=6):
    return torch.randn(batch, time, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("n_layers", [1, 2])
def test_the_network_agrees_with_a_loop_over_cells(n_layers):
    model = LSTMModel(4, hidden_size=5, n_layers=n_layers).double().eval()
    steps = windows().unbind(1)
    for layer in range(n_layers):
        cell = nn.LSTMCell(steps[0].shape[1], 5).double()
        cell.load_state_dict({f"{k}": getattr(model.lstm, f"{k}_l{layer}") for k in cell.state_dict()})
        h, c, states = torch.zeros(3, 5).double(), torch.zeros(3, 5).double(), []
        for x in steps:
            h, c = cell(x, (h, c))
            states.append(h)
        steps = states
    torch.testing.assert_close(model(windows()), model.head(steps[-1]), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("task", "outputs"), [("classification", 4), ("regression", 1)])
@pytest.mark.parametrize("batch", [1, 3])
def test_one_row_a_window_and_one_column_a_class_or_forecast(task, outputs, batch):
    assert LSTMModel(4, task=task, n_classes=4).double()(windows(batch)).shape == (batch, outputs)


@pytest.mark.parametrize("n_layers", [1, 2])
def test_dropout_works_while_training_only(n_layers):
    model = LSTMModel(4, n_layers=n_layers, dropout=0.5).double()
    assert not torch.equal(model(windows()), model(windows()))
    model.eval()
    assert torch.equal(model(windows()), model(windows()))


@pytest.mark.parametrize("options", [{"n_layers": 0}, {"task": "ranking"}])
def test_options_that_cannot_work_are_refused(options):
    with pytest.raises(ValueError, match=r"n_layers|task"):
        LSTMModel(4, **options)
