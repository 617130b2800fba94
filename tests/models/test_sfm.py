import math

import pytest
import torch
from naive_networks import DOUBLE, SINGLE, dead, double_windows, gradients_are_right
from torch import nn

from workbench.models.sfm import SFM, Memory

SMALL = {"hidden_size": 4, "n_frequencies": 3, "output_width": 2}


def network(dtype=torch.float64, **options):
    torch.manual_seed(0)
    return SFM(5, **(SMALL | options)).to(dtype).eval()


def windows(batch=3, time=7, dtype=torch.float64):
    return double_windows(batch, time, 5).to(dtype)


def hard_sigmoid(x):
    return (x / 6 + 0.5).clamp(0, 1)


def naive(model, window):
    """The answer of one window and the energy by bar and frequency, state by state."""
    states, frequencies = model.gate_sizes[0], model.gate_sizes[-1]
    own = {name: p.detach().double() for name, p in model.named_parameters()}
    h = torch.zeros(states, dtype=torch.float64)
    re, im = torch.zeros(2, states, frequencies, dtype=torch.float64)
    energies = []
    for t, x in enumerate(window.double(), start=1):
        gates = own["gates_x.weight"] @ x + own["gates_x.bias"] + own["gates_h.weight"] @ h
        i, s, c, o, r = gates.split(model.gate_sizes)
        loudness = torch.zeros(states, dtype=torch.float64)
        for d in range(states):
            for k in range(frequencies):
                kept = hard_sigmoid(s[d]) * hard_sigmoid(r[k])
                update, angle = hard_sigmoid(i[d]) * torch.tanh(c[d]), 2 * math.pi * k * t / frequencies
                re[d, k] = kept * re[d, k] + update * math.cos(angle)
                im[d, k] = kept * im[d, k] + update * math.sin(angle)
                loudness[d] += (re[d, k] ** 2 + im[d, k] ** 2) * own["amplitude_weight"][k]
        h = hard_sigmoid(o) * torch.tanh(loudness + own["amplitude_bias"])
        energies.append((re**2 + im**2).sum(0))
    output = own["output.weight"] @ h + own["output.bias"]
    return own["head.weight"] @ output + own["head.bias"], torch.stack(energies)


@pytest.mark.parametrize("time", [1, 3, 30])  # turns of the waves, and many
@pytest.mark.parametrize("frequencies", [1, 3, 4])
@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, SINGLE), (torch.float64, DOUBLE)])
def test_the_network_is_its_equations_bar_by_bar(time, frequencies, dtype, close):
    model, x = network(dtype, n_frequencies=frequencies), windows(2, time, dtype)
    expected = torch.stack([naive(model, window)[0] for window in x])
    torch.testing.assert_close(model(x).double(), expected, **close)


def test_the_parts_are_the_energy_of_the_memory_behind_the_answer():
    model = network()
    parts = model.parts(windows())
    expected = torch.stack([naive(model, window)[1] for window in windows()])
    torch.testing.assert_close(parts["over_time"], expected, **DOUBLE)
    torch.testing.assert_close(parts["frequencies"], expected[:, -1], **DOUBLE)
    lone = network(n_frequencies=1)  # of one state and frequency, the answer follows from the energy alone
    energy = lone.parts(windows())["over_time"]
    assert energy.shape == (3, 7, 1)


def test_three_bars_of_a_memory_worked_by_hand():
    model = SFM(1, hidden_size=1, n_frequencies=4, output_width=1, task="regression").double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        gates = model.gates_x.bias.split(model.gate_sizes)
        gates[0].fill_(3.0)  # all of the candidate goes in
        gates[1].fill_(0.0)  # half of the state is kept
        gates[4].fill_(3.0)  # and all of the frequencies
        model.gates_x.weight.split(model.gate_sizes)[2].fill_(1.0)
    ones = torch.full((1, 3, 1), math.atanh(0.5), dtype=torch.float64)
    # every bar puts in .5, times e^(iπkt/2), and halves what was there before
    # k = 0: .5, .75, .875; k = 1: .5i, .25i − .5, .125i − .25 − .5i; k = 2: −.5, .25, −.375; k = 3 as 1
    energy = model.parts(ones)["over_time"][0]
    one = [0.25, 0.3125, 0.203125]
    expected = torch.tensor([[0.25, 0.5625, 0.765625], one, [0.25, 0.0625, 0.140625], one])
    torch.testing.assert_close(energy, expected.T.double(), **DOUBLE)


def test_gradients_are_right_and_reach_every_weight():
    model = network()
    assert gradients_are_right(model, windows(2, 4))
    assert dead(model, windows()) == []


def test_the_memorys_gradient_written_out_is_right():
    random = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=random).requires_grad_()

    wave = torch.randn(2, 3, dtype=torch.float64, generator=random)
    memory, gates, weight = draw(2, 3, 4, 2), (draw(4, 2), draw(3, 2), draw(4, 2)), draw(3)

    def twice(memory, s, r, update, weight):  # a second bar, so that the memory's own gradient is at work
        memory, first = Memory.apply(memory, s, r, update, wave, weight)
        memory, second = Memory.apply(memory, s, r, update * first, wave.flip(0), weight)
        return memory, first, second

    assert torch.autograd.gradcheck(twice, (memory, *gates, weight))


def test_gradients_of_weights_agree_with_pytorchs_own():
    def written_out(memory, s, r, update, wave, weight):
        memory = memory * (r[:, None] * s) + wave[:, :, None, None] * update
        return memory, (memory.square().sum(0) * weight[:, None, None]).sum(0)

    model, x = network(), windows()
    model(x).square().sum().backward()
    ours = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Memory, "apply", written_out)
        model(x).square().sum().backward()
    torch.testing.assert_close(ours, {name: p.grad for name, p in model.named_parameters()}, **DOUBLE)


@pytest.mark.parametrize("options", [{"dropout_w": 0.5}, {"dropout_u": 0.5}])
def test_each_dropout_works_while_training_only(options):
    model = network(**options).train()
    torch.manual_seed(1)
    assert len({round(model(windows()).sum().item(), 9) for _ in range(8)}) > 1
    model.eval()
    assert torch.equal(model(windows()), model(windows()))


def test_what_dropout_takes_is_drawn_once_a_window_for_all_bars():
    model, x = network(dropout_w=0.5).train(), windows(8).requires_grad_()
    (gradient,) = torch.autograd.grad(model(x).sum(), x)
    gone = gradient == 0  # (batch, time, feature)
    assert torch.equal(gone, gone[:, :1].expand_as(gone))
    assert gone.any()
    assert not gone.all()


@pytest.mark.parametrize(("task", "outputs"), [("classification", 4), ("regression", 1)])
@pytest.mark.parametrize("batch", [1, 3])
def test_one_row_a_window_and_one_column_a_class_or_forecast(task, outputs, batch):
    assert network(task=task, n_classes=4)(windows(batch)).shape == (batch, outputs)


def test_a_window_alone_is_answered_as_among_others():
    torch.testing.assert_close(network()(windows()[:1]), network()(windows())[:1], **DOUBLE)


def test_the_states_of_the_past_do_not_hear_of_later_bars():
    model, altered = network(), windows()
    altered[:, 4:] += 10
    plain, other = (model.parts(x)["over_time"] for x in (windows(), altered))
    assert torch.equal(plain[:, :4], other[:, :4])
    assert not torch.allclose(plain[:, 4:], other[:, 4:])


def test_weights_are_numbers_of_single_precision():
    model = SFM(5, **SMALL)
    assert model(windows().float()).dtype == torch.float32
    assert {p.dtype for p in model.parameters()} == {torch.float32}


class Qlibs(nn.Module):
    """qlib's SFM_Model, one step after the other."""

    def __init__(self, features=5, states=4, frequencies=3, output=2):
        super().__init__()
        for gate in ("i", "ste", "c", "o", "fre"):
            width = frequencies if gate == "fre" else states
            setattr(self, f"W_{gate}", nn.Parameter(torch.randn(features, width)))
            setattr(self, f"U_{gate}", nn.Parameter(torch.randn(states, width)))
            setattr(self, f"b_{gate}", nn.Parameter(torch.randn(width)))
        self.U_a, self.b_a = nn.Parameter(torch.randn(frequencies, 1)), nn.Parameter(torch.randn(states))
        self.W_p, self.b_p = nn.Parameter(torch.randn(states, output)), nn.Parameter(torch.randn(output))
        self.fc_out = nn.Linear(output, 1)
        self.sizes = states, frequencies

    def forward(self, flat):
        inputs = flat.reshape(len(flat), 5, -1).permute(0, 2, 1)
        states, frequencies = self.sizes
        h, s_re, s_im = torch.zeros(states).double(), *torch.zeros(2, 1, states, frequencies).double()
        frequency = torch.arange(frequencies, dtype=torch.float64) / frequencies
        for t in range(inputs.shape[1]):
            x = inputs[:, t]
            i, ste, c, o, fre = (
                x @ getattr(self, f"W_{g}") + getattr(self, f"b_{g}") + h @ getattr(self, f"U_{g}")
                for g in ("i", "ste", "c", "o", "fre")
            )
            i, ste, fre, o = (nn.functional.hardsigmoid(gate) for gate in (i, ste, fre, o))
            f, c = ste[:, :, None] * fre[:, None], (i * c.tanh())[:, :, None]
            omega = 2 * math.pi * (t + 1) * frequency
            s_re, s_im = f * s_re + c * omega.cos(), f * s_im + c * omega.sin()
            a = ((s_re.square() + s_im.square()) @ self.U_a)[..., 0]
            h = o * torch.tanh(a + self.b_a)
        return self.fc_out(h @ self.W_p + self.b_p).squeeze()


def test_weights_of_qlibs_module_give_its_answers():
    torch.manual_seed(3)
    theirs, ours = Qlibs().double(), network(task="regression")
    own = theirs.state_dict()
    order = ("i", "ste", "c", "o", "fre")
    mapped = {
        "gates_x.weight": torch.cat([own[f"W_{gate}"].T for gate in order]),
        "gates_x.bias": torch.cat([own[f"b_{gate}"] for gate in order]),
        "gates_h.weight": torch.cat([own[f"U_{gate}"].T for gate in order]),
        "amplitude_weight": own["U_a"][:, 0],
        "amplitude_bias": own["b_a"],
        "output.weight": own["W_p"].T,
        "output.bias": own["b_p"],
        "head.weight": own["fc_out.weight"],
        "head.bias": own["fc_out.bias"],
    }
    found = ours.load_state_dict(mapped, strict=False)
    assert found.unexpected_keys == []
    assert all("scaling" in name for name in found.missing_keys)
    flat = windows().transpose(1, 2).flatten(1)
    torch.testing.assert_close(ours(windows())[:, 0], theirs(flat), **DOUBLE)


def test_first_weights_are_those_of_the_authors():
    model = SFM(6)
    i, s, c, o, r = model.gates_h.weight.split(model.gate_sizes)
    for square in (i, s, c, o):
        torch.testing.assert_close(square @ square.T, torch.eye(64), rtol=0, atol=1e-5)
    torch.testing.assert_close(r @ r.T, torch.eye(25), rtol=0, atol=1e-5)
    i, s, c, o, r = model.gates_x.bias.split(model.gate_sizes)
    assert (i == 0).all() and (c == 0).all() and (o == 0).all()  # noqa: PT018
    assert (s == 1).all() and (r == 1).all()  # noqa: PT018


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_size": 0}, "hidden_size must be at least 1, got 0"),
        ({"n_frequencies": 0}, "n_frequencies must be at least 1, got 0"),
        ({"output_width": 0}, "output_width must be at least 1, got 0"),
        ({"task": "ranking"}, "'regression', got 'ranking'"),
        ({"dropout_w": 1.0}, "less than 1, got 1.0"),
        ({"dropout_u": -0.1}, "at least 0"),
    ],
)
def test_options_that_cannot_work_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        network(**options)
