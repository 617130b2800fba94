import pytest
import torch
from naive_networks import DOUBLE, SINGLE, dead, double_windows, gradients_are_right, gru_states, lstm_states
from torch import nn

from workbench.explainers.capture import attention_maps
from workbench.models.alstm import ALSTM

SMALL = {"hidden_size": 6, "input_width": 5, "attention_width": 3}
STATES = {"lstm": lstm_states, "gru": gru_states}
each = pytest.mark.parametrize("rnn", STATES)
either_order = pytest.mark.parametrize("context_first", [False, True])


def network(dtype=torch.float64, **options):
    torch.manual_seed(0)
    return ALSTM(4, **(SMALL | options)).to(dtype).eval()


def windows(batch=3, time=7, dtype=torch.float64):
    return double_windows(batch, time, 4).to(dtype)


class Projected:
    """What the recurrent layers see of a window: m_t = tanh(W x_t + b)."""

    def __init__(self, model):
        self.w, self.b = model.input_projection.weight.double(), model.input_projection.bias.double()

    def __call__(self, window):
        return torch.stack([torch.tanh(self.w @ x + self.b) for x in window])


def weights_of(model, h):
    """α of one window, from its states."""
    w_a, b_a = model.attention_hidden.weight.double(), model.attention_hidden.bias.double()
    u = model.attention_score.weight[0].double()
    scores = torch.stack([u @ torch.tanh(w_a @ state + b_a) for state in h])
    return torch.exp(scores) / torch.exp(scores).sum()


def naive(model, rnn, batch):
    """The answer of each window by the paper's equations, one bar after the other."""
    project, answers = Projected(model), []
    for h in STATES[rnn](model.rnn, [project(window) for window in batch]):
        context = sum(share * state for share, state in zip(weights_of(model, h), h, strict=True))
        both = [context, h[-1]] if model.context_first else [h[-1], context]
        answers.append(model.head.weight.double() @ torch.cat(both) + model.head.bias.double())
    return torch.stack(answers)


@each
@either_order
@pytest.mark.parametrize("n_layers", [1, 2])
@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, SINGLE), (torch.float64, DOUBLE)])
def test_the_network_is_its_equations_bar_by_bar(rnn, context_first, n_layers, dtype, close):
    model = network(dtype, rnn=rnn, context_first=context_first, n_layers=n_layers)
    torch.testing.assert_close(
        model(windows(dtype=dtype)).double(), naive(model, rnn, windows(dtype=dtype).double()), **close
    )


def test_the_attention_worked_by_hand():
    model = ALSTM(1, hidden_size=1, n_layers=1, attention_width=1, task="regression").double().eval()
    states = torch.tensor([[[0.0], [1.0], [-1.0]]], dtype=torch.float64)
    with torch.no_grad():
        model.attention_hidden.weight.fill_(2.0)
        model.attention_hidden.bias.fill_(0.0)
        model.attention_score.weight.fill_(1.0)
    # tanh(0), tanh(2), tanh(−2) = 0, .9640, −.9640; exp: 1, 2.6222, .3814, of 4.0036
    expected = [0.249776, 0.654971, 0.095253]
    assert model.weights(states).flatten().tolist() == pytest.approx(expected, abs=1e-6)


@each
@either_order
def test_gradients_are_right_and_reach_every_weight(rnn, context_first):
    model = network(rnn=rnn, context_first=context_first)
    assert gradients_are_right(model, windows(2, 4))
    assert dead(model, windows()) == []


@each
def test_the_kind_of_recurrent_layer_is_the_one_asked_for(rnn):
    assert type(network(rnn=rnn).rnn) is {"lstm": nn.LSTM, "gru": nn.GRU}[rnn]


def test_the_papers_sizes_and_qlibs_are_options():
    paper = ALSTM(4, n_layers=1, hidden_size=16, input_width=4, attention_width=16)
    assert (paper.input_projection.out_features, paper.attention_hidden.out_features) == (4, 16)
    qlib = ALSTM(6)
    assert (qlib.input_projection.out_features, qlib.attention_hidden.out_features) == (64, 32)
    assert (qlib.rnn.num_layers, qlib.rnn.hidden_size) == (2, 64)
    assert ALSTM(4, hidden_size=1).attention_hidden.out_features == 1


@pytest.mark.parametrize(("task", "outputs"), [("classification", 4), ("regression", 1)])
@pytest.mark.parametrize("batch", [1, 3])
def test_one_row_a_window_and_one_column_a_class_or_forecast(task, outputs, batch):
    assert network(task=task, n_classes=4)(windows(batch)).shape == (batch, outputs)


def test_a_window_alone_is_answered_as_among_others():
    model = network()
    torch.testing.assert_close(model(windows()[:1]), model(windows())[:1], **DOUBLE)


@pytest.mark.parametrize("n_layers", [1, 2])
def test_dropout_works_while_training_only(n_layers):
    model = network(n_layers=n_layers, dropout=0.5).train()
    assert not torch.equal(model(windows()), model(windows()))
    model.eval()
    assert torch.equal(model(windows()), model(windows()))


@either_order
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_parts_add_up_to_the_answer_and_are_those_of_the_equations(context_first, task):
    model = network(context_first=context_first, task=task)
    if task == "regression":
        model.forecast_scaling.fit_(torch.tensor(0.3).double(), torch.tensor(2.0).double())
    with torch.no_grad():
        parts, answers = model.parts(windows()), model(windows())
    total = parts["bars"].sum(1) + parts["state"] + parts["bias"]
    torch.testing.assert_close(total, answers, **DOUBLE)
    states = lstm_states(model.rnn, [Projected(model)(window) for window in windows()])
    scale = 2.0 if task == "regression" else 1.0
    columns = slice(None, 6) if context_first else slice(6, None)
    for i, h in enumerate(states):
        shares = weights_of(model, h)
        bars = shares[:, None] * (h @ model.head.weight[:, columns].T) * scale
        torch.testing.assert_close(parts["weights"][i], shares, **DOUBLE)
        torch.testing.assert_close(parts["bars"][i], bars, **DOUBLE)


@each
def test_its_attention_is_seen_from_outside_as_one_query_over_the_bars(rnn):
    model = network(torch.float32, rnn=rnn)
    maps = attention_maps(model, windows(dtype=torch.float32))
    assert (len(maps), maps.kinds) == (1, ("cross",))
    weights = model.parts(windows(dtype=torch.float32))["weights"]
    torch.testing.assert_close(maps.layers[0][:, 0, 0], weights, **SINGLE)


class Qlibs(nn.Module):
    """qlib's ALSTMModel, its options put to use."""

    def __init__(self, rnn):
        super().__init__()
        self.net = nn.Sequential()
        self.net.add_module("fc_in", nn.Linear(4, 6))
        self.net.add_module("act", nn.Tanh())
        self.rnn = {"lstm": nn.LSTM, "gru": nn.GRU}[rnn](6, 6, 2, batch_first=True)
        self.fc_out = nn.Linear(12, 1)
        self.att_net = nn.Sequential()
        self.att_net.add_module("att_fc_in", nn.Linear(6, 3))
        self.att_net.add_module("att_act", nn.Tanh())
        self.att_net.add_module("att_fc_out", nn.Linear(3, 1, bias=False))
        self.att_net.add_module("att_softmax", nn.Softmax(dim=1))

    def forward(self, inputs):
        inputs = inputs.view(len(inputs), 4, -1).permute(0, 2, 1)
        rnn_out, _ = self.rnn(self.net(inputs))
        out_att = torch.sum(torch.mul(rnn_out, self.att_net(rnn_out)), dim=1)
        return self.fc_out(torch.cat((rnn_out[:, -1, :], out_att), dim=1))[..., 0]


NAMES = {
    "net.fc_in": "input_projection",
    "att_net.att_fc_in": "attention_hidden",
    "att_net.att_fc_out": "attention_score",
    "fc_out": "head",
}


@each
def test_weights_of_qlibs_module_give_its_answers(rnn):
    theirs = Qlibs(rnn).double()
    ours = network(rnn=rnn, input_width=None, attention_width=None, task="regression")
    mapped = {}
    for name, weight in theirs.state_dict().items():
        path, _, kind = name.rpartition(".")
        mapped[f"{NAMES.get(path, path)}.{kind}"] = weight
    found = ours.load_state_dict(mapped, strict=False)
    assert found.unexpected_keys == []
    assert all("scaling" in name for name in found.missing_keys)
    flat = windows().transpose(1, 2).flatten(1)
    torch.testing.assert_close(ours(windows())[:, 0], theirs(flat), **DOUBLE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rnn": "rnn"}, "'lstm' or 'gru', got 'rnn'"),
        ({"n_layers": 0}, "n_layers must be at least 1, got 0"),
        ({"input_width": 0}, "input_width must be at least 1, got 0"),
        ({"attention_width": 0}, "attention_width must be at least 1, got 0"),
        ({"task": "ranking"}, "'regression', got 'ranking'"),
        ({"dropout": 1.0}, "less than 1, got 1.0"),
    ],
)
def test_options_that_cannot_work_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        network(**options)
