import pytest
import torch
from naive_networks import DOUBLE, SINGLE, dead, double_windows, gradients_are_right, gru_states, lstm_states
from torch import nn

from workbench.models.recurrent import GRUModel, LSTMModel, stacked

NETWORKS = {"lstm": LSTMModel, "gru": GRUModel}
STATES = {"lstm": lstm_states, "gru": gru_states}
CELLS = {"lstm": nn.LSTMCell, "gru": nn.GRUCell}
each = pytest.mark.parametrize("name", NETWORKS)


def network(name, dtype=torch.float64, **options):
    torch.manual_seed(0)
    return NETWORKS[name](4, **({"hidden_size": 5} | options)).to(dtype).eval()


def windows(batch=3, time=6, dtype=torch.float64):
    return double_windows(batch, time, 4).to(dtype)


@each
@pytest.mark.parametrize("n_layers", [1, 2, 3])
@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, SINGLE), (torch.float64, DOUBLE)])
def test_the_network_is_its_equations_bar_by_bar(name, n_layers, dtype, close):
    model = network(name, dtype, n_layers=n_layers)
    states = STATES[name](getattr(model, name), windows())
    expected = [model.head.double()(h[-1]) for h in states]
    torch.testing.assert_close(model.to(dtype)(windows(dtype=dtype)).double(), torch.stack(expected), **close)


@each
def test_the_layers_agree_with_pytorchs_cells(name):
    model = network(name, n_layers=2)
    steps = windows().unbind(1)
    for layer in range(2):
        cell = CELLS[name](steps[0].shape[1], 5).double()
        cell.load_state_dict({k: getattr(getattr(model, name), f"{k}_l{layer}") for k in cell.state_dict()})
        state, states = None, []
        for x in steps:
            state = cell(x, state)
            states.append(state[0] if name == "lstm" else state)
        steps = states
    torch.testing.assert_close(model(windows()), model.head(steps[-1]), **DOUBLE)


@each
def test_gradients_are_right_and_reach_every_weight(name):
    model = network(name, n_layers=2)
    assert gradients_are_right(model, windows(2, 4))
    assert dead(model, windows()) == []


@each
@pytest.mark.parametrize(("task", "outputs"), [("classification", 4), ("regression", 1)])
@pytest.mark.parametrize("batch", [1, 3])
def test_one_row_a_window_and_one_column_a_class_or_forecast(name, task, outputs, batch):
    assert network(name, task=task, n_classes=4)(windows(batch)).shape == (batch, outputs)


@each
def test_a_window_alone_is_answered_as_among_others(name):
    model = network(name)
    torch.testing.assert_close(model(windows()[:1]), model(windows())[:1], **DOUBLE)


@each
def test_states_of_the_past_do_not_hear_of_later_bars(name):
    model, altered = network(name), windows()
    altered[:, 3:] += 10
    assert torch.equal(model.states(windows())[:, :3], model.states(altered)[:, :3])
    assert not torch.allclose(model.states(windows())[:, 3:], model.states(altered)[:, 3:])


@each
@pytest.mark.parametrize("n_layers", [1, 2])
def test_dropout_works_while_training_only(name, n_layers):
    model = network(name, n_layers=n_layers, dropout=0.5).train()
    assert not torch.equal(model(windows()), model(windows()))
    model.eval()
    assert torch.equal(model(windows()), model(windows()))


@each
@pytest.mark.parametrize(("n_layers", "between"), [(1, 0.0), (2, 0.5)])
def test_dropout_works_between_the_layers_too(name, n_layers, between):
    assert getattr(network(name, n_layers=n_layers, dropout=0.5), name).dropout == between


@each
def test_weights_of_qlibs_module_give_its_answers(name):
    class Theirs(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = getattr(nn, name.upper())(4, 5, 2, batch_first=True)
            self.fc_out = nn.Linear(5, 1)

        def forward(self, x):
            x = x.reshape(len(x), 4, -1).permute(0, 2, 1)
            return self.fc_out(self.rnn(x)[0][:, -1]).squeeze()

    theirs, ours = Theirs().double(), network(name, n_layers=2, task="regression")
    renamed = {
        k.replace("rnn.", f"{name}.").replace("fc_out", "head"): v for k, v in theirs.state_dict().items()
    }
    assert ours.load_state_dict(renamed, strict=False).unexpected_keys == []
    flat = windows().transpose(1, 2).flatten(1)  # a feature's bars side by side, as Alpha360 has them
    torch.testing.assert_close(ours(windows())[:, 0], theirs(flat), **DOUBLE)


@each
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_layers": 0}, "n_layers must be at least 1, got 0"),
        ({"hidden_size": 0}, "hidden_size must be at least 1, got 0"),
        ({"task": "ranking"}, "'regression', got 'ranking'"),
    ],
)
def test_options_that_cannot_work_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        network(name, **options)


def test_layers_of_an_unknown_kind_are_refused():
    with pytest.raises(ValueError, match="rnn must be 'lstm' or 'gru', got 'rnn'"):
        stacked("rnn", 4, 5, 1)
