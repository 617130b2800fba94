import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from naive_cells import DOUBLE, naive, sequences_of
from recurrent_cases import KINDS, STACKS, Several, configurations, layers, made, random, set_weights
from torch import nn

from workbench.gates.directions import Direction
from workbench.gates.gradients import gate_gradients, input_gradients
from workbench.gates.states import GATES
from workbench.models.recurrent import GRUModel, LSTMModel

each = pytest.mark.parametrize("kind", KINDS)
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")


def whole_loss(answer):
    """Depends on every output and every last state, each with a weight of its own."""
    output, last = answer
    output = output if isinstance(output, torch.Tensor) else output.data
    parts = [output, *(last if isinstance(last, tuple) else (last,))]
    return sum(
        (part.sin() * torch.linspace(0.2, 1, part.numel(), dtype=part.dtype).view_as(part)).sum()
        for part in parts
    )


def same(ours, theirs):
    scale = max(1.0, float(theirs.abs().max()))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-13 * scale)


@settings(max_examples=80)
@given(configurations())
def test_sums_over_time_are_the_gradients_by_the_weights(configuration):
    rnn, x, initial = made(**(configuration | {"dtype": torch.float64}))
    found = gate_gradients(rnn, x, whole_loss, initial)
    assert all(weight.grad is None for weight in rnn.parameters())
    whole_loss(rnn(x) if initial is None else rnn(x, initial)).backward()
    for layer in found:
        for name, gradient in layer.weights().items():
            own = getattr(rnn, f"{name}_l{layer.layer}" + "_reverse" * layer.reverse, None)
            assert (own is None) == (name.startswith("bias") and not rnn.bias)
            if own is not None:
                same(gradient, own.grad)
        assert not layer.by_input["candidate"][~layer.mask].any()


@each
@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"bias": False}, {"batch_first": True}])
def test_each_step_of_each_gate_has_the_gradient_of_a_loop(kind, options):
    rnn, x = layers(kind, 3, 4, 2, **options), random(5, 3, 3)
    loop = naive(rnn, sequences_of(rnn, x))
    last = [[step.h for step in run] for (layer, *_), run in loop.steps.items() if layer == 1]
    sum((h * (1 + t)).sum() for run in last for t, h in enumerate(run)).backward()
    bars = 3 if rnn.batch_first else 5
    weights = torch.arange(1, bars + 1).double()

    def loss(answer):
        return (answer[0] * (weights if rnn.batch_first else weights[:, None])[..., None]).sum()

    for layer in gate_gradients(rnn, x, loss):
        runs = [
            s for (n, reverse, _), s in loop.steps.items() if (n, reverse) == (layer.layer, layer.reverse)
        ]
        for number, gate in enumerate(GATES[kind]):
            for parts, heard in ((layer.by_input, "by_input"), (layer.by_state, "by_state")):
                of = [[getattr(s, heard).grad.chunk(len(GATES[kind]))[number] for s in run] for run in runs]
                torch.testing.assert_close(
                    parts[gate], torch.stack([torch.stack(run) for run in of]), **DOUBLE
                )


def test_three_steps_of_a_gru_worked_by_hand():
    # r = ½, z = ¾, n = 0.8, 0.4, −0.2 and h = 0.2, 0.25, 0.1375 as where they were recovered; the loss is h_3
    rnn = nn.GRU(1, 1).double()
    set_weights(
        rnn,
        weight_ih=[0.0, 0, 1],
        weight_hh=[0.0, 0, 1],
        bias_ih=[0.0, math.log(3), 0.0],
        bias_hh=[0.0, 0.0, 0.4],
    )
    x = [math.atanh(0.8) - 0.2, math.atanh(0.4) - 0.5 * 0.6, math.atanh(-0.2) - 0.5 * 0.65]
    (layer,) = gate_gradients(
        rnn, torch.tensor(x, dtype=torch.float64).view(3, 1, 1), lambda answer: answer[0][-1].sum()
    )
    # δ_n = ∂L/∂h · ¼ · (1 − n²); ∂L/∂h_2 = ¾ + ½·0.24 = 0.87, ∂L/∂h_1 = ¾·0.87 + ½·0.1827 = 0.74385
    candidate = [0.0669465, 0.1827, 0.24]
    # δ_z = ∂L/∂h (h_{t−1} − n) · 3/16; δ_r = δ_n (h_{t−1} + 0.4) · ¼
    update = [0.74385 * -0.8 * 3 / 16, 0.87 * -0.2 * 3 / 16, 0.45 * 3 / 16]
    reset = [0.0669465 * 0.4 / 4, 0.1827 * 0.6 / 4, 0.24 * 0.65 / 4]
    for gate, values in (("candidate", candidate), ("update", update), ("reset", reset)):
        assert layer.by_input[gate].flatten().tolist() == pytest.approx(values, abs=1e-15)
    halved = [value / 2 for value in candidate]
    assert layer.by_state["candidate"].flatten().tolist() == pytest.approx(halved, abs=1e-15)
    assert layer.by_state["reset"].flatten().tolist() == pytest.approx(reset, abs=1e-15)
    assert layer.previous.flatten().tolist() == pytest.approx([0, 0.2, 0.25], abs=1e-15)


def test_three_steps_of_an_lstm_worked_by_hand():
    # i = ¾, f = ⅘, o = ⅕, g = 0.8, 0.4, −0.2, no weights on h; the loss is c_3 = 0.474
    rnn = nn.LSTM(1, 1).double()
    biases = [math.log(3), math.log(4), 0.0, -math.log(4)]
    set_weights(rnn, weight_ih=[0.0, 0, 1, 0], weight_hh=[0.0] * 4, bias_ih=biases, bias_hh=[0.0] * 4)
    x = torch.tensor([0.8, 0.4, -0.2], dtype=torch.float64).atanh()
    (layer,) = gate_gradients(rnn, x.view(3, 1, 1), lambda answer: answer[1][1].sum())
    back = [0.64, 0.8, 1.0]  # ∂c_3/∂c_t, each step by f
    expected = {
        "input": [b * g * 3 / 16 for b, g in zip(back, [0.8, 0.4, -0.2], strict=True)],  # g · i (1 − i)
        "forget": [b * c * 4 / 25 for b, c in zip(back, [0.0, 0.6, 0.78], strict=True)],  # c_{t−1} f (1 − f)
        "candidate": [b * 0.75 * n for b, n in zip(back, [0.36, 0.84, 0.96], strict=True)],  # i (1 − g²)
        "output": [0.0] * 3,
    }
    for gate, values in expected.items():
        assert layer.by_input[gate].flatten().tolist() == pytest.approx(values, abs=1e-15)


@pytest.mark.parametrize("name", ["lstm", "gru", "alstm", "alstm of gru", "gats", "gats of gru"])
def test_gradients_reach_the_layers_of_the_packages_models(name):
    torch.manual_seed(0)
    make, path = STACKS[name]
    model, x, y = make().double().eval(), random(4, 6, 3), torch.tensor([0, 1, 2, 1])
    found = gate_gradients(model, x, lambda logits: F.cross_entropy(logits, y))
    F.cross_entropy(model(x), y).backward()
    rnn = model.get_submodule(path)
    assert [layer.name for layer in found] == [f"{path}.l0", f"{path}.l1"]
    for layer in found:
        for weight, gradient in layer.weights().items():
            same(gradient, getattr(rnn, f"{weight}_l{layer.layer}").grad)


def test_gradients_of_layers_that_run_several_times_add_up():
    torch.manual_seed(0)
    model, x = Several().double().eval(), random(2, 5, 3)
    model.last.register_forward_hook(lambda module, args, answer: (answer[0] + 1, answer[1]))

    def forward(x):  # without the last step of its own, which multiplies by 0
        h, state = model.first(input=x)
        h, _ = model.first(torch.relu(h)[..., :3], hx=state)
        return h

    model.forward = forward
    found = gate_gradients(model, x, lambda h: h.square().sum())
    assert [layer.name for layer in found] == ["first.l0", "first.l1", "first.l0#2", "first.l1#2"]
    model(x).square().sum().backward()
    for name in ("weight_ih", "weight_hh", "bias_ih"):
        for number in range(2):
            both = found[number].weights()[name] + found[number + 2].weights()[name]
            same(both, getattr(model.first, f"{name}_l{number}").grad)


@each
def test_weights_that_are_not_trained_have_gradients_at_their_gates_too(kind):
    rnn, x = layers(kind, 3, 4), random(5, 2, 3)
    free = gate_gradients(rnn, x, whole_loss)
    rnn.requires_grad_(False)
    frozen = gate_gradients(rnn, x, whole_loss)
    assert torch.equal(free[0].by_input["candidate"], frozen[0].by_input["candidate"])


def test_a_layer_that_the_loss_does_not_depend_on_has_zeros():
    rnn = layers("gru", 3, 4, 2, bidirectional=True)
    found = gate_gradients(rnn, random(5, 2, 3), lambda answer: answer[0][..., :4].sum())
    assert found[2].by_input["candidate"].any()
    assert not found[3].by_input["candidate"].any()


@each
def test_a_mistake_is_caught_before_the_loss_is_asked(kind, monkeypatch):
    rnn, right = layers(kind, 3, 5, 2), Direction.fused

    def wrong(self, x, weights, train=False):
        h, last = right(self, x * 1.001, weights, train)
        return h, last

    monkeypatch.setattr(Direction, "fused", wrong)
    with pytest.raises(RuntimeError, match="gates of l0 do not give"):
        gate_gradients(rnn, random(4, 2, 3), whole_loss)


@pytest.mark.parametrize("ask", [gate_gradients, input_gradients])
def test_nothing_of_a_model_is_changed(ask):
    torch.manual_seed(0)
    model, x = LSTMModel(3, hidden_size=4, dropout=0.5).double().train(), random(2, 5, 3)
    model(x).sum().backward()
    grads = [(weight.grad, weight.grad.clone(), weight.detach().clone()) for weight in model.parameters()]
    before, given = torch.get_rng_state(), x.clone()
    with torch.inference_mode():
        ask(model, x, lambda logits: logits.sum())
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(x, given)
    assert not x.requires_grad
    assert all(module.training for module in model.modules())
    assert not model.lstm._forward_hooks
    for weight, (grad, then, value) in zip(model.parameters(), grads, strict=True):
        assert weight.grad is grad
        assert torch.equal(grad, then)
        assert torch.equal(weight, value)


def test_a_loss_must_be_one_number_of_the_answer():
    rnn, x = layers("lstm", 3, 4), random(5, 2, 3)
    with pytest.raises(ValueError, match=r"single number .*got a tensor of shape \(5, 2, 4\)"):
        gate_gradients(rnn, x, lambda answer: answer[0])
    with pytest.raises(ValueError, match=r"got a tensor of shape \(\) without a gradient"):
        gate_gradients(rnn, x, lambda answer: answer[0].detach().sum())
    with pytest.raises(ValueError, match="got float"):
        input_gradients(rnn, x, lambda answer: 1.0)
    with pytest.raises(ValueError, match=r"Linear has no nn.LSTM or nn.GRU"):
        gate_gradients(nn.Linear(2, 2), x, lambda answer: answer.sum())


@pytest.mark.parametrize("make", [LSTMModel, GRUModel])
def test_input_gradients_are_in_units_of_the_models_scaling(make):
    torch.manual_seed(0)
    model, x, y = make(3, hidden_size=4, n_layers=1).double(), random(2, 5, 3), torch.tensor([0, 2])

    def loss(logits):
        return F.cross_entropy(logits, y)

    plain = input_gradients(model, x, loss)
    step = 1e-6
    for place in ((0, 4, 1), (1, 0, 2), (1, 2, 0)):
        up, down = x.clone(), x.clone()
        up[place] += step
        down[place] -= step
        slope = (loss(model.eval()(up)) - loss(model(down))) / (2 * step)
        assert float(plain[place]) == pytest.approx(slope.item(), rel=1e-6)
    mean, spread = torch.tensor([5.0, -2.0, 0.1]).double(), torch.tensor([10.0, 0.01, 3.0]).double()
    model.scaling.fit_(mean, spread)  # the same model of the same features in other units
    same(input_gradients(model, x * spread + mean, loss), plain)


def test_inputs_that_no_gradient_reaches_are_told_of():
    class Blind(nn.Module):
        def __init__(self):
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(1))

        def forward(self, x):
            return x.detach().sum() + self.bias

    with pytest.raises(ValueError, match="no gradient of the loss reaches the inputs of Blind"):
        input_gradients(Blind(), torch.zeros(1, 2, 3), lambda answer: answer.sum())
