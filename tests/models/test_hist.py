import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from naive_models import cosine, doubles, leaky, linear, naive_states, softmax

from workbench.models.hist import HIST, hidden_links

NAMES = ("range", "concept:oil", "volume", "concept:banks", "concept:none", "market_cap", "return")
READ = [0, 2, 6]


def windows(stocks=7, bars=5, seed=0):
    """Bars of stocks: some in two concepts, one in none, nobody in the last concept."""
    x = doubles(stocks, bars, len(NAMES), seed=seed)
    belongs = torch.tensor([[1.0, 0], [1, 1], [0, 1], [0, 0], [1, 0], [0, 1], [0.5, 0]], dtype=torch.float64)
    x[..., [1, 3]] = belongs[:stocks, None]
    x[..., 4] = 0.0
    x[..., 5] = x[..., 5].exp() * 1e9
    return x


def hist(dtype=torch.float64, names=NAMES, seed=0, **options):
    torch.manual_seed(seed)
    shape = {"hidden_size": 5, "n_layers": 1}
    return HIST(len(names), feature_names=names, **(shape | options)).to(dtype).eval()


def naive_concepts(model, states, bar):
    """Vectors of the concepts that have a member on the day, by number."""
    vectors = {}
    for k, column in enumerate(model.concept_at):
        counts = [float(row[column]) for row in bar]
        if model.style == "paper" and model.cap_at is not None:
            counts = [c * float(row[model.cap_at]) for c, row in zip(counts, bar, strict=True)]
        if any(counts):
            over = sum(counts) + (1 if model.style == "qlib" else 0)
            vectors[k] = sum(c / over * h for c, h in zip(counts, states, strict=True))
    if model.style == "paper":
        for k, e in vectors.items():
            shares = softmax({i: cosine(h, e) for i, h in enumerate(states)})
            vectors[k] = sum(shares[i] * h for i, h in enumerate(states))
    return vectors


def naive_hidden(rest, links):
    """Vectors of the hidden concepts, by the number of the stock that each began with."""
    members = {}
    for i, own in enumerate(rest):
        others = sorted((j for j in range(len(rest)) if j != i), key=lambda j: -cosine(own, rest[j]))
        for k in others[:links]:
            members.setdefault(k, {k}).add(i)
    return {k: sum(cosine(rest[i], rest[k]) * rest[i] for i in of) for k, of in members.items()}


def naive_module(module, states, vectors):
    """Backcast and forecast of each stock."""
    out = []
    for h in states:
        shares = softmax({k: cosine(h, v) for k, v in vectors.items()}) if vectors else {}
        gathered = sum((shares[k] * v for k, v in vectors.items()), torch.zeros_like(h))
        s = linear(module.shared, gathered)
        out.append((linear(module.backcast, s), leaky(linear(module.forecast, s))))
    return out


def naive_hist(model, x):
    states = list(naive_states(model.base, x[..., model.read])[:, -1])
    predefined = naive_module(model.predefined, states, naive_concepts(model, states, x[:, -1].double()))
    rest = [h - back for h, (back, _) in zip(states, predefined, strict=True)]
    hidden = naive_module(model.hidden, rest, naive_hidden(rest, model.links))
    own = [leaky(linear(model.individual, r - back)) for r, (back, _) in zip(rest, hidden, strict=True)]
    sums = [a + b + c for (_, a), (_, b), c in zip(predefined, hidden, own, strict=True)]
    return torch.stack([linear(model.head, s) for s in sums])


@pytest.mark.parametrize("options", [{}, {"style": "qlib"}, {"links": 2, "base": "gru"}, {"links": 20}])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_the_network_agrees_with_loops_over_stocks_and_concepts(options, dtype, tolerance):
    model, x = hist(dtype, **options), windows().to(dtype)
    torch.testing.assert_close(model(x).double(), naive_hist(model, x), rtol=0, atol=tolerance)


@pytest.mark.parametrize("style", ["paper", "qlib"])
@pytest.mark.parametrize("stocks", [1, 2, 3])
def test_days_of_few_stocks_agree_too(style, stocks):
    model, x = hist(style=style), windows(stocks)
    torch.testing.assert_close(model(x), naive_hist(model, x), rtol=0, atol=1e-12)


def test_days_on_which_nobody_belongs_to_a_concept_agree_too():
    model, x = hist(), windows()
    x[..., [1, 3]] = 0.0
    torch.testing.assert_close(model(x), naive_hist(model, x), rtol=0, atol=1e-12)
    assert model.parts(x)["concepts"].abs().sum() == 0


def test_without_a_market_cap_members_weigh_alike():
    names = tuple(name for name in NAMES if name != "market_cap")
    kept = [i for i, name in enumerate(NAMES) if name != "market_cap"]
    alone, x = hist(names=names), windows()
    weighed = hist()
    weighed.load_state_dict(
        alone.state_dict() | {n: weighed.state_dict()[n] for n in ("scaling.mean", "scaling.std")}
    )
    x[..., 5] = 3e9  # all caps the same: as if there were none
    torch.testing.assert_close(alone(x[..., kept]), weighed(x), rtol=0, atol=1e-12)
    torch.testing.assert_close(alone(x[..., kept]), naive_hist(alone, x[..., kept]), rtol=0, atol=1e-12)


def test_four_stocks_and_their_hidden_concepts_worked_by_hand():
    # Angles 0°, 60°, 90° and 180°: with one link each, 0 → 1, 1 → 2 (30° apart), 2 → 1, 3 → 2 (90°).
    angles = torch.deg2rad(torch.tensor([0.0, 60.0, 90.0, 180.0], dtype=torch.float64))
    links = hidden_links(
        torch.stack([angles.cos(), angles.sin()], 1) * torch.tensor([[1.0], [2], [3], [4]]), 1
    )
    root = 3**0.5 / 2
    expected = [[0.5, 0], [1, root], [root, 1], [0, 0]]  # concepts 1 and 2; cos 90° is nothing
    torch.testing.assert_close(links, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)


@given(st.integers(0, 1000), st.integers(2, 9), st.integers(1, 4))
def test_every_stock_links_to_as_many_others_as_asked_for(seed, stocks, links):
    rest = doubles(stocks, 4, seed=seed)
    found = hidden_links(rest, links)
    members = (found != 0).sum(0)
    assert (members >= 2).all()  # its own stock and who links to it
    assert members.sum() - found.size(1) == stocks * min(links, stocks - 1)


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("style", ["paper", "qlib"])
def test_the_modules_add_up_to_the_answer(task, style):
    model, x = hist(task=task, style=style), windows()
    if task == "regression":
        model.forecast_scaling.fit_(torch.tensor(0.3).double(), torch.tensor(0.02).double())
    parts = model.parts(x)
    whole = parts["shared"] + parts["hidden"] + parts["individual"] + parts["bias"]
    torch.testing.assert_close(whole, model(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("style", ["paper", "qlib"])
def test_shares_of_concepts_and_of_neighbours_sum_to_one(style):
    parts = hist(style=style).parts(windows())
    for name, width in (("concepts", 3), ("neighbours", 7)):
        assert parts[name].shape == (7, width)
        assert (parts[name] >= 0).all()
        torch.testing.assert_close(parts[name].sum(1), torch.ones(7).double(), rtol=0, atol=1e-12)
    assert parts["concepts"][:, 2].abs().sum() == 0  # nobody is in it
    assert hist().parts(windows(1))["neighbours"].tolist() == [[0.0]]  # no other stock is there


@pytest.mark.parametrize("style", ["paper", "qlib"])
@pytest.mark.parametrize("empty", [1, 3, 4])
def test_shares_of_concepts_are_those_that_a_stock_gathers_by(style, empty):
    model, x = hist(style=style), windows()
    x[..., 4] = x[..., 1].flip(0)  # three concepts, of which nobody is in one
    x[..., empty] = 0.0
    states = naive_states(model.base, x[..., READ])[:, -1]
    vectors = naive_concepts(model, list(states), x[:, -1])
    assert len(vectors) == 2
    for own, found in zip(states, model.parts(x)["concepts"], strict=True):
        shares = softmax({k: cosine(own, e) for k, e in vectors.items()})
        expected = torch.tensor([shares.get(k, 0.0) for k in range(3)], dtype=torch.float64)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_shares_of_neighbours_follow_the_links():
    """Through three stocks: who attends to a hidden concept draws on all that it is made of."""
    model, x = hist(links=1), windows(3)
    parts = model.parts(x)
    states = naive_states(model.base, x[..., READ])[:, -1]
    back = torch.stack(
        [b for b, _ in naive_module(model.predefined, states, naive_concepts(model, states, x[:, -1]))]
    )
    rest = states - back
    made = naive_hidden(list(rest), 1)
    for i in range(3):
        shares, drawn = softmax({k: cosine(rest[i], q) for k, q in made.items()}), torch.zeros(3).double()
        for k, share in shares.items():
            sizes = hidden_links(rest, 1)[:, sorted(made).index(k)].abs()
            drawn += share * sizes / sizes.sum()
        torch.testing.assert_close(parts["neighbours"][i], drawn, rtol=0, atol=1e-12)


def test_a_stock_links_to_three_others_in_the_paper_and_to_one_in_qlib():
    assert (hist().links, hist(style="qlib").links, hist(style="qlib", links=2).links) == (3, 1, 2)


def test_membership_counts_on_the_day_and_not_before():
    model, x = hist(), windows()
    earlier = x.clone()
    earlier[:, :-1, [1, 3, 5]] = 7.0
    assert torch.equal(model(earlier), model(x))
    moved = x.clone()
    moved[3, -1, 1] = 1.0
    assert not torch.allclose(model(moved), model(x), atol=1e-6)


def test_concepts_are_never_scaled():
    model, x = hist(), windows()
    model.scaling.fit_(x.flatten(0, 1).mean(0), x.flatten(0, 1).std(0))
    scaled = model.scaling(x)
    assert torch.equal(scaled[..., [1, 3, 4, 5]], x[..., [1, 3, 4, 5]])
    assert not torch.equal(scaled[..., READ], x[..., READ])
    assert model.concepts == ("oil", "banks", "none")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"names": ("range", "return")},
            r"needs columns concept:<name>, and got range, return.*with_concepts\(fea",
        ),
        ({"names": ("concept:oil",)}, "needs features beside concepts"),
        ({"style": "own"}, "style must be one of paper, qlib, got 'own'"),
        ({"links": 0}, "links must be at least 1"),
        ({"base": "cnn"}, "base must be 'lstm' or 'gru'"),
        ({"task": "ranking"}, "'regression', got 'ranking'"),
    ],
)
def test_options_that_cannot_work_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        hist(**options)


def test_names_of_other_columns_are_refused():
    with pytest.raises(ValueError, match="must name 3 columns, got 2"):
        HIST(3, feature_names=("concept:oil", "return"))
