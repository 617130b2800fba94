import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from naive_models import doubles, linear, naive_states, softmax

from workbench.models.tra import TRA, assigned

NAMES = ("range", "past_label", "return")
READ = [0, 2]


def tra(dtype=torch.float64, names=NAMES, seed=0, **options):
    torch.manual_seed(seed)
    small = {"hidden_size": 5, "n_layers": 1, "router_size": 4, "horizon": 3}
    model = TRA(len(names), feature_names=names, **(small | options)).to(dtype).eval()
    if options.get("task") == "regression":
        model.forecast_scaling.fit_(torch.tensor(0.5).to(dtype), torch.tensor(1.5).to(dtype))
    return model


def windows(batch=6, bars=8, seed=0, task="classification"):
    x = doubles(batch, bars, 3, seed=seed)
    if task == "classification":
        x[..., 1] = torch.randint(0, 3, (batch, bars), generator=torch.Generator().manual_seed(seed)).double()
    return x


def forecasts(model):
    return model.predictors.out_features == model.n_predictors


def naive_losses(model, answers, label):
    """Each predictor's loss, less the best one's."""
    if forecasts(model):
        losses = [(float(a[0]) - (label - 0.5) / 1.5) ** 2 for a in answers]
    else:
        losses = [-math.log(softmax(dict(enumerate(a.tolist())))[int(label)]) for a in answers]
    return [loss - min(losses) for loss in losses]


def naive_tra(model, x):
    """Answers (batch, predictor, output) in standard units and probabilities (batch, predictor)."""
    states = naive_states(model.base, x[..., model.read])

    def answers_from(state):
        return linear(model.predictors, state).view(model.n_predictors, -1)

    answers, routing = [], []
    for window, of in zip(x.double(), states, strict=True):
        seen = [of[-1]] if model.reads != "errors" else []
        if model.reads != "latent":
            past = [  # what was answered `horizon` bars before the label became known
                naive_losses(model, answers_from(of[bar - model.horizon]), float(window[bar, 1]))
                for bar in range(model.horizon, len(window))
            ]
            seen.append(naive_states(model.losses, torch.tensor([past], dtype=torch.float64))[0, -1])
        scores = linear(model.router, torch.cat(seen))
        answers.append(answers_from(of[-1]))
        routing.append(list(softmax(dict(enumerate(scores.tolist()))).values()))
    return torch.stack(answers), torch.tensor(routing, dtype=torch.float64)


def naive_answer(model, answers, weights):
    mixed = (weights[..., None] * answers).sum(1)
    return mixed * 1.5 + 0.5 if forecasts(model) else mixed


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("router", ["both", "latent", "errors"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_in_use_the_likeliest_predictor_answers_as_loops_have_it(task, router, dtype, tolerance):
    model, x = tra(dtype, router=router, task=task), windows(task=task).to(dtype)
    answers, routing = naive_tra(model, x)
    chosen = F.one_hot(routing.argmax(1), 3).double()
    torch.testing.assert_close(
        model(x).double(), naive_answer(model, answers, chosen), rtol=0, atol=tolerance
    )
    parts = model.parts(x)
    torch.testing.assert_close(parts["routing"].double(), routing, rtol=0, atol=tolerance)
    picked = parts["answers"].gather(
        1, parts["routing"].argmax(1)[:, None, None].expand(-1, 1, model(x).size(1))
    )
    torch.testing.assert_close(picked[:, 0], model(x), rtol=0, atol=tolerance)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_in_training_predictors_are_mixed_by_gumbel_softmax(task):
    model, x = tra(task=task, tau=0.7), windows(task=task)
    answers, routing = naive_tra(model, x)
    torch.manual_seed(5)
    output = model.train()(x)
    torch.manual_seed(5)
    gumbels = -torch.empty(6, 3, dtype=torch.float64).exponential_().log()
    weights = ((routing.log() + gumbels) / 0.7).softmax(1)
    torch.testing.assert_close(output, naive_answer(model, answers, weights), rtol=0, atol=1e-12)


def test_a_label_counts_at_the_bar_at_which_it_became_known():
    """What was answered at bar 4 of 8 is judged at bar 7; the first three labels judge nothing."""
    model, x = tra(router="errors"), windows()
    early = x.clone()
    early[:, :3, 1] = 2 - early[:, :3, 1]
    assert torch.equal(model.parts(early)["routing"], model.parts(x)["routing"])
    for bar in range(3, 8):
        other = x.clone()
        other[:, bar, 1] = (other[:, bar, 1] + 1) % 3
        assert not torch.equal(model.parts(other)["routing"], model.parts(x)["routing"])


def test_what_was_answered_earlier_knew_no_later_bar():
    """Features of the last three bars reach no past loss, since their labels are not known yet."""
    model, x = tra(router="errors"), windows()
    later = x.clone()
    later[:, -3:, READ] += 9.0
    assert torch.equal(model.parts(later)["routing"], model.parts(x)["routing"])


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_transport_is_added_to_the_loss_of_labelled_windows(task):
    model, x = tra(task=task, transport=2.0, transport_decay=0.5), windows(task=task)
    y = torch.tensor([0, 2, -1, 1, 1, 0]) if task == "classification" else doubles(6, seed=3)
    known = [0, 1, 3, 4, 5]
    if task == "regression":
        y[2] = float("nan")
    answers, routing = naive_tra(model, x)
    losses = torch.tensor([naive_losses(model, answers[i], float(y[i])) for i in known], dtype=torch.float64)
    best = assigned(losses)
    added = -sum(float(best[row] @ routing[i].log()) for row, i in enumerate(known)) / len(known)
    model.train()
    for weight in (2.0, 1.0, 0.5):  # each step halves it
        model(x)
        told = model.training_loss(torch.tensor(3.0).double(), y)
        assert told.item() == pytest.approx(3.0 + weight * added, abs=1e-10)


def test_the_loss_is_left_alone_where_there_is_nothing_to_add():
    model, x, loss = tra(), windows(), torch.tensor(3.0)
    model.train()(x)
    assert model.training_loss(loss, torch.full((6,), -1)) is loss  # no label is known
    assert model.training_loss(loss, torch.zeros(6, dtype=torch.int64)) is loss  # taken already
    model(x)
    model.eval()(x)
    assert (
        model.training_loss(loss, torch.zeros(6, dtype=torch.int64)) is loss
    )  # the last pass was no training
    assert model.steps.item() == 0


def test_the_transport_trains_the_router_and_not_the_predictors():
    model, x = tra(), windows()
    model.train()(x)
    model.training_loss(torch.tensor(0.0).double(), torch.zeros(6, dtype=torch.int64)).backward()
    assert model.predictors.weight.grad is None
    assert model.router.weight.grad.abs().sum() > 0
    assert model.losses.weight_ih_l0.grad.abs().sum() > 0


def regimes(count, random):
    """Windows in which the next label follows the return or its opposite; past labels tell which."""
    returns = torch.randn(count, 8, generator=random)
    sign = torch.randint(0, 2, (count,), generator=random) * 2.0 - 1
    past = torch.cat([torch.zeros(count, 1), sign[:, None] * returns[:, :-1]], 1)
    return torch.stack([returns, past], 2), sign * returns[:, -1], sign > 0


def test_the_router_learns_from_past_losses_which_predictor_suits_a_window():
    names, random = ("return", "past_label"), torch.Generator().manual_seed(0)
    options = {"horizon": 1, "hidden_size": 8, "router_size": 8, "n_predictors": 2, "router": "errors"}
    torch.manual_seed(0)
    model = TRA(2, feature_names=names, task="regression", n_layers=1, **options)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(150):
        x, y, _ = regimes(128, random)
        loss = model.training_loss((model(x)[:, 0] - y).square().mean(), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x, y, follows = regimes(500, random)
    with torch.no_grad():
        error = (model.eval()(x)[:, 0] - y).square().mean()
        chosen = model.parts(x)["routing"].argmax(1).bool()
    assert error < 0.05  # 1 is the least without knowing the sign
    assert min((chosen == follows).float().mean(), (chosen != follows).float().mean()) < 0.01


def test_three_windows_go_to_the_three_predictors_that_suit_them():
    losses = torch.tensor([[0.0, 5.0, 9.0], [0.0, 1.0, 9.0], [0.0, 6.0, 7.0]], dtype=torch.float64)
    # Predictor 0 is best for all, but each may have one: 0 + 1 + 7 is the least of the six ways.
    plan = assigned(losses, smoothing=0.05)
    torch.testing.assert_close(plan, torch.eye(3, dtype=torch.float64), rtol=0, atol=0.02)


@given(st.integers(0, 1000), st.integers(1, 40), st.integers(2, 5))
def test_the_assignment_is_the_optimum_of_the_smoothed_transport(seed, count, predictors):
    losses = doubles(count, predictors, seed=seed).square()
    plan = assigned(losses)
    torch.testing.assert_close(plan.sum(1), torch.ones(count).double(), rtol=0, atol=1e-12)
    torch.testing.assert_close(
        plan.sum(0), torch.full((predictors,), count / predictors).double(), rtol=0.05, atol=0
    )
    # At the optimum log P + L/ε is a number of the row plus one of the column.
    rest = plan.log() + losses / (0.1 * losses.mean())
    rest = rest - rest.mean(1, keepdim=True) - rest.mean(0) + rest.mean()
    torch.testing.assert_close(rest, torch.zeros_like(rest), rtol=0, atol=1e-6)
    torch.testing.assert_close(assigned(losses * 1e-6), plan, rtol=0, atol=1e-9)  # in whatever unit


@pytest.mark.parametrize("count", [2, 256, 5000])
def test_batches_of_any_size_are_assigned_in_single_precision_as_in_double(count):
    losses = doubles(count, 3, seed=1).square()
    plan = assigned(losses.float())
    torch.testing.assert_close(plan.double(), assigned(losses), rtol=0, atol=1e-4)
    torch.testing.assert_close(plan.sum(0), torch.full((3,), count / 3), rtol=0.05, atol=0)


def test_a_predictor_that_is_bad_throughout_gets_its_windows_too():
    bad = torch.cat([doubles(500, 1).square(), 1e6 + doubles(500, 1)], 1).float()
    torch.testing.assert_close(assigned(bad).sum(0), torch.full((2,), 250.0), rtol=0.05, atol=0)


def test_predictors_that_do_not_differ_share_the_windows_evenly():
    assert torch.equal(assigned(torch.zeros(4, 2)), torch.full((4, 2), 0.5))


def test_the_router_of_the_state_needs_no_past_labels():
    model = tra(names=("range", "return"), router="latent")
    assert model(doubles(2, 3, 2)).shape == (2, 3)  # nor a window longer than the horizon


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"names": ("range", "return")},
            r"'both' needs a column past_label, and got range, return.*with_past_label\(f",
        ),
        ({"names": ("past_label",)}, "needs features beside past_label"),
        ({"router": "none"}, "router must be one of both, latent, errors, got 'none'"),
        ({"n_predictors": 1}, "at least 2, got 1. One needs no router"),
        ({"tau": 0}, "tau must be above 0"),
        ({"transport": -1}, "transport at least 0"),
        ({"transport_decay": 1.5}, r"transport_decay in \(0, 1\]"),
        ({"base": "cnn"}, "base must be 'lstm' or 'gru'"),
        ({"task": "ranking"}, "'regression', got 'ranking'"),
    ],
)
def test_options_that_cannot_work_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        tra(**options)


def test_windows_in_which_no_label_is_known_yet_are_refused():
    with pytest.raises(ValueError, match=r"windows of 3 bars no label of 3 bars ahead is known yet.*above 3"):
        tra()(windows(bars=3))


def test_names_of_other_columns_are_refused():
    with pytest.raises(ValueError, match="must name 4 columns, got 3"):
        TRA(4, feature_names=NAMES, horizon=1)
