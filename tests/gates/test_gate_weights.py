import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from workbench.gates.signals import WEIGHT_SIGNALS
from workbench.gates.states import GATES
from workbench.gates.weights import SIGNALS, Blocks, StepWatch


class Small(nn.Module):
    def __init__(self, kind, **options):
        super().__init__()
        self.rnn = kind(2, 3, batch_first=True, **options)
        self.head = nn.Linear(3, 1)
        self.unused = nn.Linear(1, 1)
        self.fixed = nn.Parameter(torch.ones(2), requires_grad=False)

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])


def naive(model, before, gradients):
    """Return the signals parameter by parameter and gate by gate, in plain float64 loops."""
    found = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        kind = "lstm" if isinstance(model.rnn, nn.LSTM) else "gru"
        split = name.startswith("rnn.") and "weight_hr" not in name
        gates = GATES[kind] if split else ("",)
        new, old = parameter.detach().double().chunk(len(gates)), before[name].double().chunk(len(gates))
        slopes = gradients[name].double().chunk(len(gates))
        for gate, a, b, g in zip(gates, new, old, slopes, strict=True):
            moved = [abs(p - q) > 0.001 * abs(q) for p, q in zip(a.flatten(), b.flatten(), strict=True)]
            found[name, gate] = {
                "gradient_norm": float(g.square().sum().sqrt()),
                "weight_norm": float(a.square().sum().sqrt()),
                "update_ratio": float((a - b).norm() / b.norm()),
                "update_frequency": sum(map(bool, moved)) / len(moved),
                "not_finite": 0.0,
            }
    return pd.DataFrame(found).T


def step(model, optimizer, watch, scale=1.0):
    optimizer.zero_grad()
    watch.arm()
    (scale * model(torch.randn(4, 5, 2)).square().mean()).backward()
    gradients = {
        n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in model.named_parameters()
    }
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    nn.utils.clip_grad_norm_(model.parameters(), 1e-4)  # what is measured is the gradient before
    watch.begin_step()
    optimizer.step()
    watch.end_step()
    return naive(model, before, gradients)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (nn.LSTM, {}),
        (nn.GRU, {"num_layers": 2}),
        (nn.LSTM, {"proj_size": 2, "bidirectional": True}),
        (nn.GRU, {"bias": False}),
    ],
)
def test_three_steps_are_measured_gate_by_gate_before_clipping(kind, options):
    torch.manual_seed(0)
    model = Small(kind, **options)
    if "proj_size" in options:
        model.head = nn.Linear(4, 1)
    optimizer, watch = torch.optim.AdamW(model.parameters(), lr=1e-3), StepWatch(Blocks.of(model))
    tables = [step(model, optimizer, watch) for _ in range(3)]
    expected = sum(table for table in tables) / 3
    expected["weight_norm"] = tables[-1]["weight_norm"]
    got = watch.taken()
    assert list(got.columns) == list(SIGNALS) == list(WEIGHT_SIGNALS)
    assert got.index.tolist() == expected.index.tolist()
    np.testing.assert_allclose(got.to_numpy(), expected.loc[:, list(SIGNALS)].to_numpy(), rtol=1e-6)
    assert (got.loc["unused.weight", "gradient_norm"] == 0).all()
    assert "fixed" not in got.index.get_level_values(0)


def test_three_steps_of_plain_descent_by_hand():
    # θ = (3, 4) by θ ← θ − 0.1·g, g = (1, 0): the norm is 5, then √(2.9² + 16), √(2.8² + 16), √(2.7² + 16)
    blocks = Blocks(
        (nn.Parameter(torch.tensor([3.0, 4.0])),), np.array([0]), pd.MultiIndex.from_tuples([("w", "")])
    )
    watch = StepWatch(blocks)
    optimizer = torch.optim.SGD(blocks.parameters, lr=0.1)
    for _ in range(3):
        watch.arm()
        optimizer.zero_grad()
        blocks.parameters[0][0].backward()
        watch.begin_step()
        optimizer.step()
        watch.end_step()
    norms = [25.0**0.5, (2.9**2 + 16) ** 0.5, (2.8**2 + 16) ** 0.5]
    (row,) = watch.taken().to_dict("records")
    assert row["gradient_norm"] == pytest.approx(1.0)
    assert row["update_ratio"] == pytest.approx(sum(0.1 / norm for norm in norms) / 3, rel=1e-6)
    assert row["update_frequency"] == 0.5
    assert row["weight_norm"] == pytest.approx((2.7**2 + 16) ** 0.5, rel=1e-6)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 99), st.floats(0.01, 100))
def test_blocks_add_up_to_the_whole_and_ratios_know_no_unit(sizes, seed, unit):
    starts = np.cumsum([0, *sizes[:-1]])
    index = pd.MultiIndex.from_tuples([("w", str(i)) for i in range(len(sizes))])
    rng = torch.Generator().manual_seed(seed)
    before, move, slope = (torch.randn(sum(sizes), generator=rng, dtype=torch.float64) for _ in range(3))
    after = before + 0.002 * move
    many = Blocks((), starts, index).signals(before, after, slope)
    whole = Blocks((), np.array([0]), index[:1]).signals(before, after, slope)[0]
    lengths, norms = [SIGNALS.index(name) for name in ("gradient_norm", "weight_norm")], many[:, :2]
    np.testing.assert_allclose(np.sqrt((norms**2).sum(axis=0)), whole[lengths], rtol=1e-12)
    share = SIGNALS.index("update_frequency")
    assert np.average(many[:, share], weights=sizes) == pytest.approx(whole[share])
    scaled = Blocks((), starts, index).signals(unit * before, unit * after, slope)
    ratio = SIGNALS.index("update_ratio")
    np.testing.assert_allclose(scaled[:, ratio], many[:, ratio], rtol=1e-6)


def test_gradients_of_several_passes_are_the_sum_that_the_step_uses():
    torch.manual_seed(0)
    model = Small(nn.LSTM)
    watch = StepWatch(Blocks.of(model))
    watch.arm()
    watch.begin_step()
    x = torch.randn(4, 5, 2)
    for part in x.split(2):
        model(part).square().mean().backward()
    watch.end_step()
    grad = model.rnn.weight_hh_l0.grad
    assert grad is not None
    table = watch.taken().loc["rnn.weight_hh_l0", "gradient_norm"]
    np.testing.assert_allclose(table, [part.norm() for part in grad.chunk(4)], rtol=1e-6)


def test_what_is_not_finite_is_counted_where_it_is():
    model = Small(nn.GRU)
    watch = StepWatch(Blocks.of(model))
    with torch.no_grad():
        model.rnn.weight_hh_l0[4, :2] = torch.tensor([float("nan"), float("inf")])  # rows 3–5: update
    table = watch.taken()
    assert table["not_finite"].sum() == 2
    assert table.loc[("rnn.weight_hh_l0", "update"), "not_finite"] == 2
    model(torch.ones(1, 2, 2)).sum().backward()
    watch.arm()
    watch.begin_step()
    for parameter in model.parameters():
        parameter.grad = None
    model(torch.ones(1, 2, 2)).sum().backward()
    watch.end_step()
    assert watch.taken().loc[("rnn.weight_ih_l0", "reset"), "not_finite"] > 0  # its gradient


def test_what_the_hooks_take_within_a_step_is_counted():
    model, seconds = Small(nn.LSTM), iter(range(1000))
    watch = StepWatch(Blocks.of(model), lambda: float(next(seconds)))
    watch.arm()
    model(torch.ones(1, 2, 2)).sum().backward()
    assert watch.within == 6.0  # one for each weight that the loss reaches
    watch.arm()
    assert watch.within == 0.0


def test_without_a_step_there_are_norms_alone():
    model = Small(nn.LSTM)
    table = StepWatch(Blocks.of(model)).taken()
    assert table[["gradient_norm", "update_ratio", "update_frequency"]].isna().all(axis=None)
    blocks = model.rnn.weight_ih_l0.detach().chunk(4)
    np.testing.assert_allclose(
        table.loc["rnn.weight_ih_l0", "weight_norm"], [b.norm() for b in blocks], rtol=1e-6
    )


def test_hooks_are_taken_off_and_nothing_is_measured_unasked():
    model = Small(nn.LSTM)
    watch = StepWatch(Blocks.of(model))
    watch.arm()
    assert watch.armed
    watch.arm()  # again
    watch.disarm()
    assert not watch.armed
    assert all(not p._post_accumulate_grad_hooks for p in model.parameters() if p.requires_grad)
    watch.end_step()
    assert watch.measured == []
