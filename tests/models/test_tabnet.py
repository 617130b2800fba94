import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from naive_networks import DOUBLE, SINGLE, dead, double_windows, gradients_are_right, sigmoid
from torch import nn

from workbench.models.tabnet import GhostBatchNorm, TabNet, sparsemax

SMALL = {"lookback": 5, "n_d": 4, "n_a": 3, "n_steps": 3}


def network(dtype=torch.float64, **options):
    """A network in eval mode whose norms have seen something, so that each has statistics of its own."""
    torch.manual_seed(0)
    model = TabNet(2, **(SMALL | options))
    for norm in model.modules():
        if isinstance(norm, GhostBatchNorm):
            nn.init.normal_(norm.running_mean)
            nn.init.uniform_(norm.running_var, 0.5, 2.0)
            nn.init.normal_(norm.bias)
            nn.init.uniform_(norm.weight, 0.5, 1.5)
    return model.to(dtype).eval()


def windows(batch=6, dtype=torch.float64, seed=0):
    return double_windows(batch, 5, 2, seed).to(dtype)


def naive_sparsemax(z):
    """The definition: the largest set whose smallest number stays above the threshold."""
    ordered = sorted(z.tolist(), reverse=True)
    for size in range(len(ordered), 0, -1):
        threshold = (sum(ordered[:size]) - 1) / size
        if ordered[size - 1] > threshold:
            return torch.tensor([max(0.0, value - threshold) for value in z.tolist()], dtype=torch.float64)
    raise AssertionError


class Naive:
    """The network's equations, window by window; norms by running statistics."""

    def __init__(self, model):
        self.model = model

    def norm(self, norm, x):
        scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        return (x - norm.running_mean.double()) * scale + norm.bias.double()

    def units(self, transformer, x):
        linears = [*self.model.shared, *transformer.own]
        h = None
        for linear, norm in zip(linears, transformer.norms, strict=True):
            both = self.norm(norm, linear.weight.double() @ (x if h is None else h))
            unit = both[: len(both) // 2] * sigmoid(both[len(both) // 2 :])
            if h is not None:
                h = h[transformer.kept] if len(unit) < len(h) else h
            h = unit if h is None else (h + unit) * 0.5**0.5
        return h

    def __call__(self, window):
        model = self.model
        f = self.norm(model.norm, torch.cat(list(window.double())))
        a, prior, total, masks, decided = self.units(model.first, f), torch.ones_like(f), 0.0, [], []
        for i in range(len(model.steps)):
            asked = self.norm(model.choice_norms[i], model.choices[i].weight.double() @ a)
            mask = naive_sparsemax(prior * asked)
            made = self.units(model.steps[i], mask * f)
            d, a = made[: model.n_d].clamp_min(0), made[model.n_d :]
            prior = prior * (model.relax - mask)
            total = total + d
            masks.append(mask)
            decided.append(d.sum())
        answer = model.head.weight.double() @ total + model.head.bias.double()
        return answer, torch.stack(masks), torch.stack(decided)


@pytest.mark.parametrize("options", [{}, {"n_shared": 0}, {"n_independent": 1}, {"n_steps": 1}, {"relax": 1}])
@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, SINGLE), (torch.float64, DOUBLE)])
def test_the_network_is_its_equations_window_by_window(options, dtype, close):
    model, x = network(dtype, **options), windows(dtype=dtype)
    expected = torch.stack([Naive(model)(window)[0] for window in x])
    torch.testing.assert_close(model(x).double(), expected, **close)


def test_the_parts_are_the_masks_behind_the_answer():
    model = network()
    parts = model.parts(windows())
    assert parts["steps"].shape == (3, 6, 5, 2)
    for i, window in enumerate(windows()):
        _, masks, decided = Naive(model)(window)
        torch.testing.assert_close(parts["steps"][:, i].flatten(1), masks, **DOUBLE)
        expected = (decided[:, None] * masks).sum(0) / decided.sum()
        torch.testing.assert_close(parts["masks"][i].flatten(), expected, **DOUBLE)
    torch.testing.assert_close(parts["masks"].sum((1, 2)), torch.ones(6).double(), **DOUBLE)


def test_a_window_about_which_no_step_decides_has_no_masks():
    model = network()
    for step in model.steps:
        nn.init.zeros_(step.norms[-1].weight)
        nn.init.zeros_(step.norms[-1].bias)
        nn.init.constant_(step.norms[-2].weight, 0.0)
        nn.init.constant_(step.norms[-2].bias, -1.0)
        nn.init.constant_(step.norms[-3].weight, 0.0)
        nn.init.constant_(step.norms[-3].bias, -1.0)
        nn.init.constant_(step.norms[0].weight, 0.0)
        nn.init.constant_(step.norms[0].bias, -1.0)
    assert (model.parts(windows())["masks"] == 0).all()


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=12), st.floats(-2, 2))
def test_sparsemax_is_its_definition_and_a_share_that_no_shift_changes(numbers, shift):
    z = torch.tensor([numbers], dtype=torch.float64)
    shares = sparsemax(z)
    torch.testing.assert_close(shares[0], naive_sparsemax(z[0]), rtol=0, atol=1e-9)
    torch.testing.assert_close(shares.sum(), torch.tensor(1.0).double())
    torch.testing.assert_close(sparsemax(z + shift), shares, rtol=0, atol=1e-9)


@pytest.mark.parametrize("scale", [1e-3, 0.1, 1, 30, 1e6])
def test_sparsemax_of_many_values_is_right_in_single_precision(scale):
    z = scale * torch.randn(7, 400, generator=torch.Generator().manual_seed(0))
    shares = sparsemax(z)
    for row, wanted in zip(shares, z.double(), strict=True):
        torch.testing.assert_close(row.double(), naive_sparsemax(wanted), rtol=0, atol=1e-6)
    torch.testing.assert_close(shares.sum(1), torch.ones(7))


def test_a_row_that_is_not_finite_spoils_no_other():
    z = torch.tensor([[0.1, 0.2], [float("nan"), 0.0]])
    assert sparsemax(z).isnan().any(1).tolist() == [False, True]


def test_sparsemax_worked_by_hand():
    # of .9, .6 and −1 the third gets nothing: τ = (1.5 − 1)/2 = .25
    z = torch.tensor([[0.9, -1.0, 0.6], [2.0, 0.0, 0.5], [0.1, 0.1, 0.1]], dtype=torch.float64)
    expected = torch.tensor([[0.65, 0.0, 0.35], [1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]]).double()
    torch.testing.assert_close(sparsemax(z), expected, rtol=0, atol=1e-7)
    assert torch.autograd.gradcheck(sparsemax, z[:2].requires_grad_())


def test_gradients_are_right_and_reach_every_weight():
    model = network()
    assert gradients_are_right(model, windows(3))
    assert dead(model, windows(64)) == []


def test_no_row_of_a_weight_is_without_gradient():
    torch.manual_seed(0)
    model = TabNet(2, **SMALL).double()
    assert dead(model, windows(256)) == []  # leaves the gradients there
    for name, p in model.named_parameters():
        assert (p.grad.flatten(1).abs().sum(1) if p.ndim == 2 else p.grad.abs()).min() > 0, name


def test_the_loss_gets_the_entropy_of_the_masks():
    model = network(sparsity=0.5).train()
    model(windows())
    masks = torch.stack([mask for _, mask in model._decide(windows())])
    plain = torch.tensor(2.0, dtype=torch.float64)
    expected = 0.0
    for step in masks:
        for row in step:
            expected -= sum(share * torch.log(share) for share in row if share > 0) / (3 * len(step))
    torch.testing.assert_close(model.training_loss(plain, torch.zeros(6)), plain + 0.5 * expected, **DOUBLE)


def test_sparser_masks_are_learned_with_the_entropy_than_without():
    def entropy(sparsity):
        model = network(sparsity=sparsity, task="regression").train()
        optimiser = torch.optim.Adam(model.parameters(), 0.02)
        for _ in range(30):
            optimiser.zero_grad()
            loss = (model(windows(32))[:, 0] - windows(32)[:, 0, 0]).square().mean()
            model.training_loss(loss, torch.zeros(32)).backward()
            optimiser.step()
        masks = model.parts(windows(32))["steps"]
        return -(masks * (masks + 1e-15).log()).sum((2, 3)).mean().item()

    assert entropy(1.0) < 0.5 * entropy(0.0)


def test_the_entropy_is_of_the_pass_just_made_and_of_one_in_training():
    model = network()
    model(windows())
    with pytest.raises(RuntimeError, match="follows a forward pass in training mode"):
        model.training_loss(torch.tensor(0.0), torch.zeros(6))
    model.train()(windows())
    model.training_loss(torch.tensor(0.0), torch.zeros(6))
    with pytest.raises(RuntimeError, match="call the model first"):
        model.training_loss(torch.tensor(0.0), torch.zeros(6))


def test_a_model_between_a_pass_and_its_loss_can_be_copied_and_pickled():
    model = network().train()
    model(windows())
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin.eval()(windows()), model.eval()(windows()))
        model.train()


@pytest.mark.parametrize(("task", "outputs"), [("classification", 4), ("regression", 1)])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("mode", [True, False])
def test_one_row_a_window_and_one_column_a_class_or_forecast(task, outputs, batch, mode):
    assert network(task=task, n_classes=4).train(mode)(windows(batch)).shape == (batch, outputs)


def test_a_window_alone_is_answered_as_among_others():
    torch.testing.assert_close(network()(windows()[:1]), network()(windows())[:1], **DOUBLE)


def test_a_batch_of_one_is_normed_by_what_is_known_and_leaves_it_alone():
    model = network()
    expected, before = model(windows(1)), copy.deepcopy(model.state_dict())
    answer = model.train()(windows(1))
    torch.testing.assert_close(answer, expected, **DOUBLE)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert answer.requires_grad


@pytest.mark.parametrize(
    ("rows", "size", "parts"), [(7, 3, [4, 3]), (9, 3, [3, 3, 3]), (2, 3, [2]), (3, 2, [3]), (8, None, [8])]
)
def test_virtual_batches_are_normed_each_by_itself(rows, size, parts):
    norm, x = GhostBatchNorm(2, size, 0.25).double(), windows(rows)[:, 0]
    made, running = norm(x), torch.zeros(2).double()
    expected = []
    for part in x.split(parts):
        expected.append((part - part.mean(0)) / (part.var(0, correction=0) + norm.eps).sqrt())
        running = 0.75 * running + 0.25 * part.mean(0)
    torch.testing.assert_close(made, torch.cat(expected), **DOUBLE)
    torch.testing.assert_close(norm.running_mean, running, **DOUBLE)


class Unit(nn.Module):
    """qlib's GLU, the ghost batch norm being a norm within."""

    def __init__(self, fc, n_in, n_out):
        super().__init__()
        self.fc = fc or nn.Linear(n_in, 2 * n_out)
        self.bn = nn.Module()
        self.bn.bn = nn.BatchNorm1d(2 * n_out)
        self.n_out = n_out

    def forward(self, x):
        x = self.bn.bn(self.fc(x))
        return x[:, : self.n_out] * torch.sigmoid(x[:, self.n_out :])


class Transformer(nn.Module):
    """qlib's FeatureTransformer."""

    def __init__(self, n_in, n_out, shared):
        super().__init__()
        self.shared = nn.ModuleList(Unit(fc, n_in, n_out) for fc in shared)
        self.independ = nn.ModuleList(Unit(None, n_out, n_out) for _ in range(2))

    def forward(self, x):
        x = self.shared[0](x)
        for unit in [*self.shared[1:], *self.independ]:
            x = (x + unit(x)) * 0.5**0.5
        return x


class Qlibs(nn.Module):
    """qlib's TabNet for 5 bars of 2 features, two layers at its end, its prior handed on."""

    def __init__(self, n_d=4, n_a=3):
        super().__init__()
        self.shared = nn.ModuleList([nn.Linear(10, 2 * (n_d + n_a)), nn.Linear(n_d + n_a, 2 * (n_d + n_a))])
        self.first_step = Transformer(10, n_d + n_a, self.shared)
        self.steps = nn.ModuleList()
        for _ in range(3):
            step = nn.Module()
            step.atten_tran, step.atten_tran.fc = nn.Module(), nn.Linear(n_a, 10)
            step.atten_tran.bn = nn.Module()
            step.atten_tran.bn.bn = nn.BatchNorm1d(10)
            step.fea_tran = Transformer(10, n_d + n_a, self.shared)
            self.steps.append(step)
        self.bn, self.fc, self.final = nn.BatchNorm1d(10), nn.Linear(n_d, 6), nn.Linear(6, 1)
        self.n_d = n_d

    def forward(self, x):
        x = self.bn(x)
        a, prior, out = self.first_step(x)[:, self.n_d :], torch.ones_like(x), 0.0
        for step in self.steps:
            asked = step.atten_tran.bn.bn(step.atten_tran.fc(a)) * prior
            mask = torch.stack([naive_sparsemax(row) for row in asked])
            prior = prior * (1.3 - mask)
            made = step.fea_tran(x * mask)
            out, a = out + F.relu(made[:, : self.n_d]), made[:, self.n_d :]
        return self.final(self.fc(out)).squeeze()


def after_bias(norm, bias):
    """A norm after a layer without its bias, and nothing changed."""
    return {**norm, "running_mean": norm["running_mean"] - bias}


def mapped(theirs):
    """Weights of Qlibs by the names and in the order of TabNet."""
    columns = torch.arange(10).view(2, 5).T.flatten()  # a bar's features side by side
    state = {}

    def put(path, values):
        state.update({f"{path}.{kind}": value for kind, value in values.items()})

    def transformer(path, theirs_, kept):
        units = [*theirs_.shared, *theirs_.independ]
        for i, unit in enumerate(units):
            norm = after_bias(unit.bn.bn.state_dict(), unit.fc.bias)
            rows = torch.arange(14).view(2, 7)[:, kept if i == 3 else slice(None)].flatten()
            put(f"{path}.norms.{i}", {k: v if v.ndim == 0 else v[rows] for k, v in norm.items()})
            if i >= 2:
                state[f"{path}.own.{i - 2}.weight"] = unit.fc.weight[rows]

    put("norm", {k: v if v.ndim == 0 else v[columns] for k, v in theirs.bn.state_dict().items()})
    state["shared.0.weight"] = theirs.shared[0].weight[:, columns]
    state["shared.1.weight"] = theirs.shared[1].weight
    transformer("first", theirs.first_step, slice(4, None))
    for i, step in enumerate(theirs.steps):
        transformer(f"steps.{i}", step.fea_tran, slice(4) if i == 2 else slice(None))
        state[f"choices.{i}.weight"] = step.atten_tran.fc.weight[columns]
        norm = after_bias(step.atten_tran.bn.bn.state_dict(), step.atten_tran.fc.bias)
        put(f"choice_norms.{i}", {k: v if v.ndim == 0 else v[columns] for k, v in norm.items()})
    state["head.weight"] = theirs.final.weight @ theirs.fc.weight
    state["head.bias"] = theirs.final.weight @ theirs.fc.bias + theirs.final.bias
    return state


def test_weights_of_qlibs_module_give_its_answers():
    torch.manual_seed(0)
    theirs = Qlibs().double()
    flat = windows(40).transpose(1, 2).flatten(1)
    for _ in range(20):
        theirs(flat)  # so that the norms know something
    theirs.eval()
    ours = network(task="regression")
    found = ours.load_state_dict(mapped(theirs), strict=False)
    assert found.unexpected_keys == []
    assert all("scaling" in name for name in found.missing_keys)
    torch.testing.assert_close(ours(windows(40))[:, 0], theirs(flat), **DOUBLE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lookback": 0}, "lookback must be at least 1, got 0"),
        ({"n_d": 0}, "n_d must be at least 1, got 0"),
        ({"n_a": 0}, "n_a must be at least 1, got 0"),
        ({"n_steps": 0}, "n_steps must be at least 1, got 0"),
        ({"n_independent": 0}, "n_independent must be at least 1, got 0"),
        ({"n_shared": -1}, "n_shared must be at least 0, got -1"),
        ({"relax": 0.9}, "relax must be at least 1, .* got 0.9"),
        ({"virtual_batch_size": 1}, "virtual_batch_size must be at least 2, or None, got 1"),
        ({"task": "ranking"}, "'regression', got 'ranking'"),
    ],
)
def test_options_that_cannot_work_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        network(**options)


def test_windows_of_another_length_are_refused():
    with pytest.raises(ValueError, match="built for windows of 5 bars and got 4"):
        network()(windows()[:, :4])
