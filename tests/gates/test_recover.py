import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from naive_cells import DOUBLE, SINGLE, cell_states, naive, sequences_of
from recurrent_cases import KINDS, STACKS, Several, configurations, layers, made, random, set_weights
from torch import nn

from workbench.gates.calls import RecurrentCall
from workbench.gates.daily import check_dated
from workbench.gates.directions import Direction
from workbench.gates.passes import check_readable, recurrent_layers
from workbench.gates.recover import gate_states
from workbench.models.recurrent import LSTMModel
from workbench.models.sfm import SFM

each = pytest.mark.parametrize("kind", KINDS)
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")


def as_naive(rnn, x, initial=None, close=None):
    """Check every value at every step against the loop."""
    states = gate_states(rnn, x, initial)
    sequences = sequences_of(rnn, x)
    h0, c0 = initial if isinstance(initial, tuple) else (initial, None)
    loop = naive(
        rnn, sequences, *(s if s is None else (s if s.dim() == 3 else s[:, None]).double() for s in (h0, c0))
    )
    assert [(layer.layer, layer.reverse) for layer in states.layers] == list(
        dict.fromkeys(key[:2] for key in loop.steps)
    )
    for layer in states.layers:
        parts = dict(layer.gates) | {"hidden": layer.hidden}
        parts |= {} if layer.cell is None else {"cell": layer.cell}
        assert (layer.cell is None) == isinstance(rnn, nn.GRU)
        for name, values in parts.items():
            for row, expected in enumerate(loop.of((layer.layer, layer.reverse), name)):
                long = len(expected)
                torch.testing.assert_close(values[row, :long].double(), expected, **close)
                assert not values[row, long:].any()
                assert layer.mask[row].tolist() == [t < long for t in range(values.shape[1])]
    return states


@settings(max_examples=100)
@given(configurations())
def test_every_value_of_every_configuration_is_that_of_a_loop_over_steps(configuration):
    rnn, x, initial = made(**configuration)
    as_naive(rnn, x, initial, SINGLE if configuration["dtype"] == torch.float32 else DOUBLE)


@each
@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, SINGLE), (torch.float64, DOUBLE)])
def test_states_are_those_of_pytorchs_cells_over_many_steps(kind, dtype, close):
    rnn = layers(kind, 5, 16, 2, dtype=dtype)
    x = random(80, 6, 5, dtype=dtype)
    states = gate_states(rnn, x)
    for number in range(2):
        layer = states[f"l{number}"]
        parts = cell_states(rnn, number, x)
        torch.testing.assert_close(layer.hidden, parts[0].transpose(0, 1), **close)
        if kind == "lstm":
            torch.testing.assert_close(layer.cell, parts[1].transpose(0, 1), **close)
        x = parts[0]


def test_three_steps_of_an_lstm_worked_by_hand():
    # i = σ(ln 3) = ¾, f = σ(ln 4) = ⅘, o = σ(−ln 4) = ⅕; the candidate hears x_t and h_{t−1}
    rnn = nn.LSTM(1, 1).double()
    biases = [math.log(3), math.log(4), 0.0, -math.log(4)]
    set_weights(rnn, weight_ih=[0.0, 0, 1, 0], weight_hh=[0.0, 0, 1, 0], bias_ih=biases, bias_hh=[0.0] * 4)
    cells = [0.6, 0.78, 0.474]  # ¾·0.8; ⅘·0.6 + ¾·0.4; ⅘·0.78 − ¾·0.2
    hidden = [0.2 * math.tanh(c) for c in cells]
    x = [math.atanh(0.8), math.atanh(0.4) - hidden[0], math.atanh(-0.2) - hidden[1]]
    layer = gate_states(rnn, torch.tensor(x, dtype=torch.float64).view(3, 1, 1))["l0"]
    expected = {"input": [0.75] * 3, "forget": [0.8] * 3, "candidate": [0.8, 0.4, -0.2], "output": [0.2] * 3}
    for gate, values in expected.items():
        assert layer.gates[gate].flatten().tolist() == pytest.approx(values, abs=1e-15)
    assert layer.cell.flatten().tolist() == pytest.approx(cells, abs=1e-15)
    assert layer.hidden.flatten().tolist() == pytest.approx(hidden, abs=1e-15)


def test_three_steps_of_a_gru_worked_by_hand():
    # r = σ(0) = ½ weighs W h + b_hn, whose bias lies inside; z = σ(ln 3) = ¾
    rnn = nn.GRU(1, 1).double()
    set_weights(
        rnn,
        weight_ih=[0.0, 0, 1],
        weight_hh=[0.0, 0, 1],
        bias_ih=[0.0, math.log(3), 0.0],
        bias_hh=[0.0, 0.0, 0.4],
    )
    hidden = [0.2, 0.25, 0.1375]  # ¼·0.8; ¼·0.4 + ¾·0.2; −¼·0.2 + ¾·0.25
    x = [math.atanh(0.8) - 0.2, math.atanh(0.4) - 0.5 * 0.6, math.atanh(-0.2) - 0.5 * 0.65]
    layer = gate_states(rnn, torch.tensor(x, dtype=torch.float64).view(3, 1, 1))["l0"]
    expected = {"reset": [0.5] * 3, "update": [0.75] * 3, "candidate": [0.8, 0.4, -0.2]}
    for gate, values in expected.items():
        assert layer.gates[gate].flatten().tolist() == pytest.approx(values, abs=1e-15)
    assert layer.hidden.flatten().tolist() == pytest.approx(hidden, abs=1e-15)
    assert layer.cell is None


@each
@pytest.mark.parametrize("scale", [1.0, 1e3, 1e8])
def test_large_inputs_and_weights_are_rounding_to_the_check_and_no_fault(kind, scale):
    rnn = layers(kind, 3, 20, 2, dtype=torch.float32)
    with torch.no_grad():
        for weight in rnn.parameters():
            weight.mul_(30)
    states = gate_states(rnn, random(300, 4, 3, dtype=torch.float32) * scale)
    assert all(values.isfinite().all() for layer in states.layers for values in layer.gates.values())


@each
def test_memory_that_is_never_forgotten_is_followed_for_two_thousand_steps(kind):
    rnn = layers(kind, 3, 8, dtype=torch.float32)
    with torch.no_grad():
        rnn.bias_ih_l0[8:16] = 12.0  # the forget gate of an LSTM, the update gate of a GRU
    states = gate_states(rnn, random(2000, 2, 3, dtype=torch.float32))
    largest = 1.0 if kind == "gru" else float(states["l0"].cell.abs().max())
    assert states.error < 1e-5 * largest


class Louder(nn.LSTM):
    def forward(self, x, hx=None):
        h, state = super().forward(x, hx)
        return 1.001 * h, state


class Later(nn.GRU):
    """Resets the state before the product, as its first authors did, where PyTorch does after it."""

    def forward(self, x, hx=None):
        h, rows = torch.zeros(x.shape[1], self.hidden_size, dtype=x.dtype), []
        for step in x:
            r, z = (step @ self.weight_ih_l0[:10].T + h @ self.weight_hh_l0[:10].T).sigmoid().chunk(2, -1)
            n = (step @ self.weight_ih_l0[10:].T + (r * h) @ self.weight_hh_l0[10:].T).tanh()
            h = (1 - z) * n + z * h
            rows.append(h)
        return torch.stack(rows), h[None]


@pytest.mark.parametrize("kind", [Louder, Later])
def test_layers_that_compute_something_else_are_refused(kind):
    torch.manual_seed(0)
    model = nn.Sequential(kind(3, 5, bias=False).double())
    with pytest.raises(RuntimeError, match=rf"gates of 0\.l0 do not give .* {kind.__name__} at '0\.l0' must"):
        gate_states(model, random(4, 2, 3))


@each
def test_a_mistake_of_the_recovery_itself_is_caught(kind, monkeypatch):
    rnn, x, right = layers(kind, 3, 5, 2), random(4, 2, 3), Direction.products
    assert gate_states(rnn, x).error < 1e-15
    monkeypatch.setattr(Direction, "products", lambda *args: right(*args).roll(1, 0))  # gates change places
    with pytest.raises(RuntimeError, match="do not give the states that it computed"):
        gate_states(rnn, x)


@each
def test_a_wrong_state_of_a_lower_layer_is_caught(kind, monkeypatch):
    rnn, x, right = layers(kind, 3, 5, 2), random(4, 2, 3), Direction.fused

    def wrong(self, x, weights, train=False):
        h, last = right(self, x, weights, train)
        return h + 1e-6, last

    monkeypatch.setattr(Direction, "fused", wrong)
    with pytest.raises(RuntimeError, match=r"gates of l0 do not give"):
        gate_states(rnn, x)


@each
def test_a_weight_that_is_no_number_is_shown_and_not_refused(kind):
    rnn = layers(kind, 3, 5, 2)
    with torch.no_grad():
        rnn.weight_ih_l1[0, 0] = math.nan
    states = gate_states(rnn, random(4, 2, 3))
    assert states["l0"].hidden.isfinite().all()
    assert states["l1"].hidden.isnan().any()


@each
def test_an_input_that_is_no_number_spoils_its_own_sequence_only(kind):
    rnn, x = layers(kind, 3, 5), random(4, 2, 3)
    x[1, 0, 0] = math.inf
    x[2, 0, 0] = math.nan
    states = gate_states(rnn, x)
    assert states["l0"].hidden[0].isnan().any()
    torch.testing.assert_close(states["l0"].hidden[1], gate_states(rnn, x[:, 1:])["l0"].hidden[0], **DOUBLE)


def test_a_module_with_several_recurrent_modules_is_followed_run_by_run():
    torch.manual_seed(0)
    model, x = Several().double(), random(2, 5, 3)
    states = gate_states(model, x)
    assert [layer.name for layer in states.layers] == [
        "first.l0",
        "first.l1",
        "first.l0#2",
        "first.l1#2",
        "inner.back.l0",
        "inner.back.l0.reverse",
        "last.l0",
    ]
    assert {layer.module for layer in states.layers} == {"first", "inner.back", "last"}
    first, state = model.first.eval()(x)
    torch.testing.assert_close(states["first.l1"].hidden, first, **DOUBLE)
    as_first = model.first(first.relu()[..., :3], state)[0]
    torch.testing.assert_close(states["first.l1#2"].hidden, as_first, **DOUBLE)
    assert states["inner.back.l0"].mask.sum(1).tolist() == [3, 5]
    assert states["last.l0"].hidden.abs().max() > 0.001
    with pytest.raises(KeyError, match=r"no layer 'first'. There are first.l0, first.l1"):
        states["first"]


@pytest.mark.parametrize("name", STACKS)
def test_the_models_of_the_package_are_looked_into(name):
    torch.manual_seed(0)
    make, path = STACKS[name]
    model, x = make().double().train(), random(4, 6, 3)
    if name == "hist":
        x[..., 0] = torch.tensor([1.0, 0, 1, 1])[:, None]
    if name == "tra":
        x[..., 1] = torch.randint(0, 3, (4, 6)).double()
    seen = []
    rnn = model.get_submodule(path)
    handle = rnn.register_forward_hook(lambda _, args, answer: seen.append((args[0], answer[0])))
    states = gate_states(model, x)
    handle.remove()
    (heard, said), *_ = seen
    assert [layer.name for layer in states.layers][:2] == [f"{path}.l0", f"{path}.l1"]
    assert len(states.layers) == (3 if name == "tra" else 2)
    torch.testing.assert_close(states[f"{path}.l1"].hidden, said, **DOUBLE)
    rnn.eval()
    as_naive(rnn, heard, close=DOUBLE)
    for own, bare in zip(states.layers, gate_states(rnn, heard).layers, strict=False):
        assert all(torch.equal(own.gates[gate], bare.gates[gate]) for gate in own.gates)


class Forgetful(nn.Module):
    """Draws random numbers even in evaluation mode, and changes its input."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(3, 4, 2, dropout=0.5, batch_first=True)
        self.calm = nn.Dropout(0.5)

    def forward(self, x):
        x += torch.rand_like(x)
        return self.calm(self.rnn(x)[0])


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_of_a_model_is_changed_by_looking(fails):
    model, x = Forgetful().double().train(), random(2, 5, 3)
    model.calm.eval()
    model(x.clone()).sum().backward()
    grads = [weight.grad for weight in model.parameters()]
    kept = [(weight.grad.clone(), weight.detach().clone()) for weight in model.parameters()]
    before, given = torch.get_rng_state(), x.clone()
    if fails:
        with pytest.raises(RuntimeError, match="size"):
            gate_states(model, x[..., :2])
    else:
        gate_states(model, x)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(x, given)
    assert (model.training, model.rnn.training, model.calm.training) == (True, True, False)
    assert not model.rnn._forward_hooks
    assert not model.rnn._forward_hooks_with_kwargs
    for weight, grad, (grad_then, then) in zip(model.parameters(), grads, kept, strict=True):
        assert weight.grad is grad
        assert torch.equal(grad, grad_then)
        assert torch.equal(weight, then)
        assert weight.requires_grad


def test_a_users_hooks_stay_and_those_that_change_the_answer_do_not_mislead():
    rnn, x = layers("lstm", 3, 5), random(4, 2, 3)
    plain = gate_states(rnn, x)
    handle = rnn.register_forward_hook(lambda module, args, answer: (answer[0] * 0, answer[1]))
    states = gate_states(rnn, x)
    assert torch.equal(states["l0"].hidden, plain["l0"].hidden)
    assert list(rnn._forward_hooks) == [handle.id]


def test_gates_are_recovered_within_autocast_and_inference_mode():
    rnn, x = layers("lstm", 3, 5, dtype=torch.float32), random(4, 2, 3, dtype=torch.float32)
    plain = gate_states(rnn, x)["l0"].gates["forget"]
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(gate_states(rnn, x)["l0"].gates["forget"], plain)


def test_layers_in_half_precision_are_refused():
    with pytest.raises(ValueError, match=r"float32 or float64, and these layers run in torch.bfloat16"):
        gate_states(nn.LSTM(3, 4).bfloat16(), torch.zeros(2, 1, 3).bfloat16())


def test_a_model_without_recurrent_layers_says_what_it_has():
    with pytest.raises(ValueError, match=r"Sequential has no nn.LSTM or nn.GRU.* made of Linear, ReLU"):
        recurrent_layers(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)))
    with pytest.raises(ValueError, match=r"SFM has no nn.LSTM or nn.GRU.*writes out itself"):
        gate_states(SFM(3), torch.zeros(1, 2, 3))
    with pytest.raises(ValueError, match=r"LSTMCell at '0', .*use nn.LSTM or nn.GRU there"):
        gate_states(nn.Sequential(nn.LSTMCell(2, 2), nn.RNN(2, 2)), torch.zeros(1, 2))
    with pytest.raises(ValueError, match=r"Linear has no nn.LSTM or nn.GRU.* single module, with none"):
        gate_states(nn.Linear(2, 2), torch.zeros(1, 2))


def test_what_is_no_tensor_is_refused_in_words():
    with pytest.raises(TypeError, match=r"x must be a tensor.* got ndarray\. .*day\.x"):
        check_readable(np.zeros((1, 4, 2), np.float32))
    with pytest.raises(TypeError, match=r"must be Windows.* got Tensor\. .*gate_states"):
        check_dated(torch.zeros(1, 4, 2))


def test_states_say_what_they_hold_and_no_numbers():
    states = gate_states(nn.LSTM(2, 3, batch_first=True), torch.zeros(5, 4, 2))
    layer = "LayerGates(l0: lstm, input, forget, candidate, output; 5 sequences × 4 steps × 3 units)"
    assert repr(states["l0"]) == layer
    assert repr(states).startswith(f"GateStates({layer}; error ")


def test_scripted_layers_are_hidden_and_it_says_so():
    with pytest.warns(DeprecationWarning, match="torch.jit.trace"):
        scripted = torch.jit.trace(nn.Sequential(nn.Linear(2, 2)), torch.zeros(1, 2))
    with pytest.raises(ValueError, match=r"is scripted or traced.* look at the module that it was made of"):
        gate_states(scripted, torch.zeros(1, 2))


class Outputs(nn.LSTM):
    """Answers its output alone."""

    def forward(self, x):
        return super().forward(x)[0]


def test_layers_that_answer_in_another_form_are_told_of():
    with pytest.raises(ValueError, match=r"Outputs must answer \(output, state\).* got Tensor"):
        gate_states(Outputs(2, 3), torch.zeros(4, 1, 2))


@each
def test_a_batch_of_no_sequences_has_no_states(kind):
    states = gate_states(layers(kind, 3, 5, 2), random(4, 0, 3))
    assert states.error == 0.0
    assert [layer.hidden.shape for layer in states.layers] == [(0, 4, 5), (0, 4, 5)]


def test_layers_that_do_not_run_are_told_of():
    model = nn.Identity()
    model.rnn = nn.GRU(2, 2)
    with pytest.raises(ValueError, match=r"Identity has recurrent layers at 'rnn', and its forward ran none"):
        gate_states(model, torch.zeros(1, 2))


def test_a_compiled_model_is_looked_into_as_it_was_written():
    rnn, x = layers("gru", 3, 5), random(4, 2, 3)
    compiled = torch.compile(rnn, backend="eager")
    assert torch.equal(gate_states(compiled, x)["l0"].hidden, gate_states(rnn, x)["l0"].hidden)


def test_a_copy_answers_alike():
    model, x = LSTMModel(3, hidden_size=4), random(2, 5, 3, dtype=torch.float32)
    ours, theirs = gate_states(model, x), gate_states(copy.deepcopy(model), x)
    assert torch.equal(ours["lstm.l1"].cell, theirs["lstm.l1"].cell)


def test_weights_that_a_parametrisation_computes_are_the_ones_looked_at():
    rnn, x = layers("lstm", 3, 5), random(4, 2, 3)
    plain = gate_states(rnn, x)
    torch.nn.utils.parametrizations.weight_norm(rnn, "weight_hh_l0", dim=1)
    torch.testing.assert_close(gate_states(rnn, x)["l0"].cell, plain["l0"].cell, **DOUBLE)
    with torch.no_grad():
        rnn.parametrizations.weight_hh_l0.original0.mul_(3)
    again = gate_states(rnn, x)
    assert again.error < 1e-15
    assert not torch.allclose(again["l0"].cell, plain["l0"].cell)


def test_steps_turned_twice_are_as_before_padding_included():
    rnn, x = nn.GRU(1, 1), torch.arange(8.0).view(4, 2, 1)
    call = RecurrentCall(rnn, x, torch.tensor([3, 4]), (x[:1],), (x[:1],), x, x)
    turned = call.turned(x)
    assert turned[..., 0].T.tolist() == [[4, 2, 0, 6], [7, 5, 3, 1]]
    assert torch.equal(call.turned(turned), x)
