import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from naive_models import doubles, leaky, linear, naive_states, softmax

from workbench.models.gats import GATs, GraphAttention


def gats(dtype=torch.float64, seed=0, **options):
    torch.manual_seed(seed)
    return GATs(4, **({"hidden_size": 5, "n_layers": 2} | options)).to(dtype).eval()


def naive_shares(attention, states):
    """Row i: the shares that stock i gives to each, by the equation of the version, pair by pair."""
    slope, rows = attention.leaky.negative_slope, []
    for own in states:
        scores = {}
        for j, other in enumerate(states):
            if attention.version == 1:
                wi, wj = linear(attention.w, own), linear(attention.w, other)
                score = leaky(linear(attention.a_1, wj) + linear(attention.a_2, wi), slope)
            else:
                score = linear(
                    attention.a, leaky(linear(attention.w_1, other) + linear(attention.w_2, own), slope)
                )
            scores[j] = float(score)
        rows.append(list(softmax(scores).values()))
    return rows


def naive_gats(model, x):
    states = naive_states(model.base, x)[:, -1]
    answers = []
    for own, shares in zip(states, naive_shares(model.attention, states), strict=True):
        z = sum(share * other for share, other in zip(shares, states, strict=True)) + own
        answers.append(linear(model.head, leaky(linear(model.linear, z), model.leaky.negative_slope)))
    return torch.stack(answers)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("base", ["lstm", "gru"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_the_network_agrees_with_loops_over_pairs_of_stocks(version, base, dtype, tolerance):
    x = doubles(6, 7, 4).to(dtype)
    model = gats(dtype, version=version, base=base, slope=0.3)
    torch.testing.assert_close(model(x).double(), naive_gats(model, x), rtol=0, atol=tolerance)


def test_weights_of_qlib_go_in_by_the_names_that_are_told():
    """Their one vector a scores the states of a pair, those of the one attended to first."""
    torch.manual_seed(0)
    rnn = torch.nn.LSTM(4, 6, 2, batch_first=True).double()
    linears = {"transformation": (6, 6), "fc": (6, 6), "fc_out": (1, 6)}
    theirs = {f"{name}.weight": torch.randn(shape).double() for name, shape in linears.items()}
    theirs |= {f"{name}.bias": torch.randn(shape[0]).double() for name, shape in linears.items()}
    a = torch.randn(12, 1).double()
    names = {"transformation": "attention.w", "fc": "linear", "fc_out": "head"}
    state = {f"base.{name}": weight for name, weight in rnn.state_dict().items()}
    for name, weight in theirs.items():
        module, _, kind = name.partition(".")
        state[f"{names[module]}.{kind}"] = weight
    state |= {"attention.a_1.weight": a[:6].T, "attention.a_2.weight": a[6:].T}
    model = GATs(4, hidden_size=6, n_layers=2, task="regression").double().eval()
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert unexpected == []
    assert all("scaling" in name for name in missing)
    x = torch.randn(3, 7, 4, dtype=torch.float64)
    h = rnn(x)[0][:, -1].detach()
    told = h @ theirs["transformation.weight"].T + theirs["transformation.bias"]
    for i in range(3):
        scores = {j: float(leaky(torch.cat([told[j], told[i]]) @ a[:, 0])) for j in range(3)}
        z = sum(share * h[j] for j, share in softmax(scores).items()) + h[i]
        hidden = leaky(theirs["fc.weight"] @ z + theirs["fc.bias"])
        answer = theirs["fc_out.weight"] @ hidden + theirs["fc_out.bias"]
        assert model(x)[i, 0].item() == pytest.approx(answer.item(), abs=1e-12)


def test_three_stocks_worked_by_hand():
    attention = GraphAttention(1, version=1, slope=0.5).double()
    with torch.no_grad():
        attention.w.weight.fill_(1.0)
        attention.w.bias.fill_(0.0)
        attention.a_1.weight.fill_(math.log(2))
        attention.a_2.weight.fill_(-math.log(2))
    # Scores ln 2 · (h_j − h_i), halved below zero: of h = 0, 1, 3 they are 2^: 0 1 3 | −½ 0 2 | −1½ −1 0.
    shares = attention(torch.tensor([[0.0], [1.0], [3.0]], dtype=torch.float64))
    powers = torch.tensor([[0, 1, 3], [-0.5, 0, 2], [-1.5, -1, 0]], dtype=torch.float64)
    expected = 2**powers / (2**powers).sum(1, keepdim=True)
    torch.testing.assert_close(shares, expected, rtol=0, atol=1e-12)


@given(st.integers(0, 1000), st.integers(1, 9))
def test_shares_sum_to_one_for_every_stock(seed, stocks):
    for version in (1, 2):
        shares = GraphAttention(3, version).double()(doubles(stocks, 3, seed=seed))
        assert (shares >= 0).all()
        torch.testing.assert_close(shares.sum(1), torch.ones(stocks).double(), rtol=0, atol=1e-12)


@given(st.integers(0, 1000))
def test_in_the_first_version_all_stocks_rank_their_neighbours_alike(seed):
    torch.manual_seed(seed)
    shares = GraphAttention(5, version=1).double()(doubles(8, 5, seed=seed))
    assert len({tuple(row.argsort().tolist()) for row in shares}) == 1


def test_in_the_second_version_stocks_rank_their_neighbours_each_in_its_own_way():
    torch.manual_seed(0)
    shares = GraphAttention(5, version=2).double()(3 * doubles(8, 5))
    assert len({tuple(row.argsort().tolist()) for row in shares}) > 1


@pytest.mark.parametrize("version", [1, 2])
def test_the_parts_are_what_the_answer_is_made_of(version):
    model, x = gats(version=version), doubles(6, 7, 4)
    shares = model.parts(x)["neighbours"]
    h = model.base(x)[0][:, -1]
    torch.testing.assert_close(
        model.head(model.leaky(model.linear(shares @ h + h))), model(x), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"version": 3}, "version must be 1 .* or 2 .*, got 3"),
        ({"base": "rnn"}, "base must be 'lstm' or 'gru', got 'rnn'"),
        ({"n_layers": 0}, "n_layers must be at least 1"),
        ({"dropout": 1.0}, "less than 1, got 1.0"),
        ({"task": "ranking"}, "'regression', got 'ranking'"),
    ],
)
def test_options_that_cannot_work_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        gats(**options)
