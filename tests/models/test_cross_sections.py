"""What holds for every model of a panel: of the stocks of a day, of their order, and of other days."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.features.windows import Windows
from workbench.models.registry import build_model, rebuild
from workbench.training.coverage import statistics
from workbench.training.prediction import outputs_of

SMALL = {"hidden_size": 4, "n_layers": 2, "dropout": 0.0}
MODELS = {
    "gats": SMALL,
    "gats, version 2": SMALL | {"version": 2, "base": "gru"},
    "hist": SMALL,
    "hist, as in qlib": SMALL | {"style": "qlib", "base": "gru"},
    "asset_transformer": {"d_model": 4, "n_heads": 2, "d_ff": 5, "dropout": 0.0},
    "asset_transformer, over a transformer": {
        "encoder": "transformer",
        "d_model": 4,
        "n_heads": 2,
        "d_ff": 5,
        "dropout": 0.0,
        "norm": "pre",
    },
    "tra": SMALL | {"router_size": 3},
}
TASKS = {"classification": ("sell", "hold", "buy"), "regression": ()}
COLUMNS = ("range", "return", "concept:oil", "concept:banks", "market_cap", "past_label")
each = pytest.mark.parametrize("name", MODELS)
of_a_day = pytest.mark.parametrize("name", [name for name in MODELS if name != "tra"])


def panel(seed=0, bars=12, tickers=("AA", "BB", "CC", "DD", "EE"), lookback=5):
    """Windows of five stocks; the last is listed halfway."""
    random = np.random.default_rng(seed)
    dates = pd.bdate_range("2020-01-06", periods=bars, name="date")
    index = pd.MultiIndex.from_product([dates, tickers], names=["date", "ticker"])
    values = random.normal(size=(len(index), len(COLUMNS)))
    features = pd.DataFrame(values, index, list(COLUMNS))
    features[["concept:oil", "concept:banks"]] = random.integers(0, 2, (len(index), 2))
    features["market_cap"] = np.exp(features["market_cap"]) * 1e9
    features["past_label"] = random.integers(0, 3, len(index))
    late = (index.get_level_values("ticker") == tickers[-1]) & (index.get_level_values("date") < dates[3])
    features = features[~late]
    labels = pd.Series(random.integers(0, 3, len(features)).astype(float), features.index)
    labels.attrs = {"task": "classification", "horizon": 2, "classes": list(TASKS["classification"])}
    features.attrs["provenance"] = {"ticker": list(tickers)}
    return Windows.of(features, labels, lookback)


def network(name, windows, task="classification", dtype=torch.float64, **options):
    if task == "regression":
        windows = replace(windows, task="regression", classes=(), y=windows.y.float())
    model = build_model(name.split(",")[0], windows, **(MODELS[name] | options))
    model.scaling.fit_(*statistics(windows))
    return model.to(dtype).eval()


def day(windows, number=-1):
    return windows[np.flatnonzero(windows.dates == windows.dates.unique()[number])].x.double()


@each
@pytest.mark.parametrize("task", TASKS)
def test_a_day_of_one_stock_is_answered(name, task):
    windows = panel()
    answer = network(name, windows, task)(day(windows)[:1])
    assert answer.shape == (1, len(TASKS[task]) or 1)
    assert answer.isfinite().all()


@each
@settings(max_examples=8)
@given(st.integers(0, 99), st.permutations(range(5)))
def test_stocks_in_another_order_get_their_own_answers(name, seed, order):
    windows = panel(seed)
    model, x = network(name, windows), day(windows)
    torch.testing.assert_close(model(x[order]), model(x)[order], rtol=0, atol=1e-12)


@of_a_day
def test_the_others_of_the_day_count(name):
    windows = panel()
    model, x = network(name, windows), day(windows)
    other = x.clone()
    other[1, :, :2] += 1.0
    assert not torch.allclose(model(other)[0], model(x)[0], atol=1e-7)


def test_stocks_of_tra_do_not_count_for_each_other():
    windows = panel()
    model, x = network("tra", windows), day(windows)
    other = x.clone()
    other[1:] += 1.0
    torch.testing.assert_close(model(other)[0], model(x)[0], rtol=0, atol=1e-12)


@each
def test_another_days_windows_never_change_a_days_answer(name):
    windows = panel()
    model = network(name, windows, dtype=torch.float32)
    together = outputs_of(model, windows)
    for date in windows.dates.unique():
        rows = np.flatnonzero(windows.dates == date)
        torch.testing.assert_close(outputs_of(model, windows[rows]), together[rows], rtol=0, atol=1e-6)


@each
def test_later_bars_leave_earlier_answers_as_they_were_to_the_last_bit(name):
    windows = panel()
    model = network(name, windows, dtype=torch.float32)
    dates = windows.dates.unique()
    cut = dates[3]
    bars = windows.bars.clone()
    bars[np.asarray(windows.bar_index > cut)] += 1.0
    before = np.flatnonzero(windows.dates <= cut)
    altered, known = (outputs_of(model, w) for w in (replace(windows, bars=bars), windows))
    assert torch.equal(altered[before], known[before])
    assert not torch.equal(altered, known)


@each
@pytest.mark.parametrize("task", TASKS)
def test_one_step_back_reaches_every_weight(name, task):
    windows = panel()
    model = network(name, windows, task).train()
    loss = model(day(windows)).square().sum()
    if hasattr(model, "training_loss"):
        y = torch.tensor([0, 1, 2, 1, 0])
        loss = model.training_loss(loss, y if task == "classification" else y.double())
    loss.backward()
    dead = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert dead == []


@each
@pytest.mark.parametrize("task", TASKS)
def test_gradients_are_right(name, task):
    windows = panel(lookback=4)
    model, x = network(name, windows, task), day(windows)[:3].clone()
    read = [0, 1]  # the others say who a stock is: whole numbers, and a cap of billions

    def answer(features):
        return model(torch.cat([features, x[..., 2:]], -1))

    assert torch.autograd.gradcheck(answer, x[..., read].requires_grad_(), fast_mode=True)
    names, weights = zip(*model.named_parameters(), strict=True)

    def by_weights(*values):
        return torch.func.functional_call(model, dict(zip(names, values, strict=True)), (x,))

    values = tuple(weight.detach().clone().requires_grad_() for weight in weights)
    assert torch.autograd.gradcheck(by_weights, values, fast_mode=True)


def test_gradients_of_the_router_are_right_while_it_is_trained():
    windows = panel(lookback=4)
    model, x = network("tra", windows, router="latent").train(), day(windows)[:3]
    names, weights = zip(*model.named_parameters(), strict=True)

    def by_weights(*values):
        torch.manual_seed(0)  # the same Gumbel noise each time
        return torch.func.functional_call(model, dict(zip(names, values, strict=True)), (x,))

    values = tuple(weight.detach().clone().requires_grad_() for weight in weights)
    assert torch.autograd.gradcheck(by_weights, values, fast_mode=True)


@each
def test_the_weights_travel_under_plain_names(name):
    windows = panel()
    model = network(name, windows)
    twin = rebuild(replace(model.spec, seed=9)).double().eval()
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin(day(windows)), model(day(windows)))
    assert not any(key.startswith("_") for key in model.state_dict())
