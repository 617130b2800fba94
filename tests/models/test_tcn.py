import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from naive_networks import DOUBLE, SINGLE, dead, double_windows, gradients_are_right
from torch import nn

from workbench.models.tcn import TCN, CausalConv, TemporalBlock

SMALL = {"channels": 4, "n_layers": 3, "kernel_size": 2, "dropout": 0.0}


def network(dtype=torch.float64, **options):
    torch.manual_seed(0)
    model = TCN(3, **(SMALL | options))
    for name, weight in model.named_parameters():  # weights that do something: the first ones are small
        if "weight_" in name or "downsample" in name:
            nn.init.normal_(weight, 0, 0.5)
    return model.to(dtype).eval()


def windows(batch=3, time=11, dtype=torch.float64, seed=0):
    return double_windows(batch, time, 3, seed).to(dtype)


def naive_conv(conv, steps, dilation):
    """Each step's convolution with those `dilation` apart before it, zeros before the first."""
    v, g = conv.weight_v.detach().double(), conv.weight_g.detach().double()
    weight = torch.stack([g[i] * v[i] / v[i].square().sum().sqrt() for i in range(len(v))])
    made = []
    for t in range(len(steps)):
        out = conv.bias.detach().double().clone()
        for k in range(weight.shape[2]):
            before = t - (weight.shape[2] - 1 - k) * dilation
            if before >= 0:
                out = out + weight[:, :, k] @ steps[before]
        made.append(out)
    return made


def naive(model, batch):
    answers = []
    for window in batch:
        steps = list(window)
        for i, block in enumerate(model.blocks):
            hidden = [h.clamp_min(0) for h in naive_conv(block.conv1, steps, 2**i)]
            hidden = [h.clamp_min(0) for h in naive_conv(block.conv2, hidden, 2**i)]
            if isinstance(block.downsample, nn.Conv1d):
                w, b = block.downsample.weight[..., 0].double(), block.downsample.bias.double()
                steps = [w @ x + b for x in steps]
            steps = [(h + x).clamp_min(0) for h, x in zip(hidden, steps, strict=True)]
        answers.append(model.head.weight.double() @ steps[-1] + model.head.bias.double())
    return torch.stack(answers)


@pytest.mark.parametrize("time", [1, 2, 11, 12, 40])  # the field of 15 bars is longer, and shorter
@pytest.mark.parametrize("options", [{}, {"kernel_size": 3}, {"kernel_size": 1}, {"channels": 3}])
@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, SINGLE), (torch.float64, DOUBLE)])
def test_the_network_is_the_dilated_one_step_by_step(time, options, dtype, close):
    model, x = network(dtype, **options), windows(2, time, dtype)
    torch.testing.assert_close(model(x).double(), naive(model, x.double()), **close)


def test_gradients_are_right_and_reach_every_weight():
    model = network()
    assert gradients_are_right(model, windows(2, 6))
    assert dead(model, windows()) == []


def test_a_convolution_worked_by_hand():
    conv = CausalConv(1, 1, 3)
    with torch.no_grad():
        conv.weight_v.copy_(torch.tensor([[[2.0, 3.0, 6.0]]]))  # of length 7
        conv.weight_g.fill_(14.0)
        conv.bias.fill_(1.0)
    steps = torch.tensor([[[1.0, 10.0, 100.0, 1000.0]]])
    # the weights are 4, 6, 12, the last of the step itself
    expected = [13.0, 6 + 120 + 1, 4 + 60 + 1200 + 1, 40 + 600 + 12000 + 1]
    torch.testing.assert_close(conv(steps).flatten(), torch.tensor(expected))


def test_weight_norm_leaves_the_first_weights_as_they_are_drawn():
    torch.manual_seed(0)
    conv = CausalConv(64, 64, 3)
    torch.testing.assert_close(conv.weight, conv.weight_v)
    assert conv.weight.std().item() == pytest.approx(0.01, rel=0.03)


@given(st.integers(1, 3), st.integers(1, 4), st.integers(0, 100))
def test_the_answer_draws_on_the_receptive_field_and_on_no_bar_before_it(kernel_size, n_layers, seed):
    model = network(kernel_size=kernel_size, n_layers=n_layers)
    field = model.receptive_field
    x = windows(8, field + 3, seed=seed).requires_grad_()
    for block in model.blocks:  # rectifiers let everything through, so that no bar is shut out by chance
        for part in (block.conv1, block.conv2):
            nn.init.constant_(part.bias, 100.0)
    (gradient,) = torch.autograd.grad(model(x).sum(), x)
    heard = (gradient != 0).any(dim=2).any(dim=0)
    assert not heard[:3].any()
    assert heard[3]
    assert heard[-1]


def test_the_receptive_field_of_the_published_size_is_125_bars():
    assert TCN(6).receptive_field == 125
    assert network().receptive_field == 15


def test_blocks_hear_of_no_later_step():
    block, altered = network().blocks[1], windows().transpose(1, 2).repeat(1, 2, 1)[:, :4].clone()
    plain = altered.clone()
    altered[..., 5:] += 10
    assert torch.equal(block(plain)[..., :5], block(altered)[..., :5])
    assert not torch.allclose(block(plain)[..., 5:], block(altered)[..., 5:])


@pytest.mark.parametrize(("task", "outputs"), [("classification", 4), ("regression", 1)])
@pytest.mark.parametrize("batch", [1, 3])
def test_one_row_a_window_and_one_column_a_class_or_forecast(task, outputs, batch):
    assert network(task=task, n_classes=4)(windows(batch)).shape == (batch, outputs)


def test_a_window_alone_is_answered_as_among_others():
    torch.testing.assert_close(network()(windows()[:1]), network()(windows())[:1], **DOUBLE)


def test_dropout_works_while_training_only():
    model = network(dropout=0.5).train()
    assert not torch.equal(model(windows()), model(windows()))
    model.eval()
    assert torch.equal(model(windows()), model(windows()))


def test_a_block_of_equal_widths_has_no_downsampling():
    assert isinstance(TemporalBlock(4, 4, 3).downsample, nn.Identity)
    assert isinstance(TemporalBlock(3, 4, 3).downsample, nn.Conv1d)


class TheirBlock(nn.Module):
    """qlib's TemporalBlock: weight norm, padding on both sides, the right one cut off again."""

    def __init__(self, n_inputs, n_outputs, dilation):
        super().__init__()
        self.cut = 2 * dilation
        options = {"padding": self.cut, "dilation": dilation}
        norm = nn.utils.parametrizations.weight_norm
        self.conv1 = norm(nn.Conv1d(n_inputs, n_outputs, 3, **options))
        self.conv2 = norm(nn.Conv1d(n_outputs, n_outputs, 3, **options))
        self.downsample = nn.Conv1d(n_inputs, n_outputs, 1) if n_inputs != n_outputs else None

    def forward(self, x):
        out = self.conv1(x)[..., : -self.cut].relu()
        out = self.conv2(out)[..., : -self.cut].relu()
        return (out + (x if self.downsample is None else self.downsample(x))).relu()


class Qlibs(nn.Module):
    def __init__(self):
        super().__init__()
        self.tcn = nn.Module()
        self.tcn.network = nn.Sequential(TheirBlock(3, 4, 1), TheirBlock(4, 4, 2), TheirBlock(4, 4, 4))
        self.linear = nn.Linear(4, 1)

    def forward(self, x):
        return self.linear(self.tcn.network(x.reshape(len(x), 3, -1))[:, :, -1]).squeeze()


def test_weights_of_qlibs_module_give_its_answers():
    theirs, ours = Qlibs().double(), network(kernel_size=3, task="regression")
    renamed = [("tcn.network", "blocks"), ("linear", "head")]
    renamed += [  # what the older weight norm, which qlib has, calls weight_g and weight_v
        (".parametrizations.weight.original0", ".weight_g"),
        (".parametrizations.weight.original1", ".weight_v"),
    ]
    mapped = {}
    for name, weight in theirs.state_dict().items():
        for old, new in renamed:
            name = name.replace(old, new)
        mapped[name] = weight
    found = ours.load_state_dict(mapped, strict=False)
    assert found.unexpected_keys == []
    assert all("scaling" in name for name in found.missing_keys)
    flat = windows().transpose(1, 2).flatten(1)
    torch.testing.assert_close(ours(windows())[:, 0], theirs(flat), **DOUBLE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 0}, "channels must be at least 1, got 0"),
        ({"n_layers": 0}, "n_layers must be at least 1, got 0"),
        ({"kernel_size": 0}, "kernel_size must be at least 1, got 0"),
        ({"task": "ranking"}, "'regression', got 'ranking'"),
        ({"dropout": 1.0}, "less than 1, got 1.0"),
    ],
)
def test_options_that_cannot_work_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        network(**options)
