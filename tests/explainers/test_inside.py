"""What models say of themselves: their own parts, by window, and the days that some read together."""

import re
import threading
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from torch import nn

from workbench.explainers.agreement import by_bar
from workbench.explainers.comparisons import compare
from workbench.explainers.explanation import explain
from workbench.explainers.inside import held_by, parts_of, shares
from workbench.explainers.methods import METHODS
from workbench.explainers.neighbours import row_agreement
from workbench.explainers.regimes import temporal_importance
from workbench.explainers.watching import Cancelled, Watch
from workbench.features.windows import Windows
from workbench.models.recurrent import LSTMModel
from workbench.models.registry import build_model
from workbench.training.prediction import outputs_of, predict

INSIDE = [name for name, method in METHODS.items() if method.inside]
OWN = {
    "alstm": {"decomposition"},
    "hist": {"modules", "concepts", "neighbours"},
    "gats": {"neighbours"},
    "asset_transformer": {"neighbours"},
    "sfm": {"frequencies"},
    "tra": {"routing"},
    "tabnet": {"masks"},
    "lstm": set(),
    "transformer": set(),
}
SMALL = {
    "alstm": {"hidden_size": 6},
    "hist": {"hidden_size": 6},
    "gats": {"hidden_size": 6},
    "asset_transformer": {"d_model": 8, "n_heads": 2, "d_ff": 8, "n_layers": 3},
    "sfm": {"hidden_size": 4, "n_frequencies": 5, "output_width": 3},
    "tra": {"hidden_size": 6, "router_size": 4},
    "tabnet": {"n_d": 4, "n_a": 4, "n_steps": 3},
    "transformer": {"d_model": 8, "n_heads": 2, "n_layers": 1, "d_ff": 8},
    "lstm": {"hidden_size": 4},
}
TICKERS = ("AAA", "BBB", "CCC", "DDD")
LOOKBACK = 6


def panel_of(task="regression", bars=14, seed=0) -> Windows:
    """Windows of four stocks with concepts and past labels; CCC comes later than the others."""
    random = np.random.default_rng(seed)
    dates = pd.bdate_range("2010-01-04", periods=bars, name="date")
    frames, labels = {}, {}
    for i, ticker in enumerate(TICKERS):
        own = dates[3:] if ticker == "CCC" else dates
        frame = pd.DataFrame(random.normal(size=(len(own), 3)), own, ["f0", "f1", "f2"])
        frame["concept:even"], frame["concept:late"] = float(i % 2 == 0), float(i >= 2)
        answer = random.normal(size=len(own)) if task == "regression" else random.integers(0, 3, len(own))
        frame["past_label"] = answer.astype(float)
        frames[ticker], labels[ticker] = frame, pd.Series(answer.astype(float), own)
    features = pd.concat(frames, names=["ticker"]).swaplevel().sort_index()
    label = pd.concat(labels, names=["ticker"]).swaplevel().sort_index()
    features.attrs["provenance"] = {"ticker": list(TICKERS)}
    classes = ["sell", "hold", "buy"] if task == "classification" else []
    label.attrs = {"task": task, "horizon": 1, "classes": classes}
    return Windows.of(features, label, LOOKBACK)


@pytest.fixture(scope="module")
def forecasts() -> Windows:
    return panel_of()


@pytest.fixture(scope="module")
def classes() -> Windows:
    return panel_of("classification")


def network(name, windows, **more):
    return build_model(name, windows, **SMALL[name] | more).eval()


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("method", INSIDE)
def test_every_inside_of_every_model_is_shown_or_said_in_one_line_to_be_none(
    forecasts, classes, method, name, task
):
    windows, known = forecasts if task == "regression" else classes, METHODS[method]
    model = network(name, windows)
    if method not in OWN[name]:
        with pytest.raises(
            ValueError, match=rf"^{method} cannot be shown because \w+ has nothing of the kind"
        ):
            explain(model, windows, method)
        return
    why = explain(model, windows, method)
    assert why.axes == known.axes
    for axis, size in zip(why.axes, why.scores.shape[1:], strict=True):
        if axis == "time":
            assert size == windows.lookback
        else:
            assert len(why.axis_labels[axis]) == size
    assert why.scores.dtype == np.float32
    assert np.isfinite(why.scores).all()
    assert (why.scores != 0).any()
    assert why.target == (("forecast" if task == "regression" else "likeliest class") if known.targets
                          else why.target)  # fmt: skip
    if not known.signed:
        sums = why.scores.reshape(len(why), -1).sum(1)
        np.testing.assert_allclose(sums, 1, atol=1e-5)
        assert (why.scores >= 0).all()
    pd.testing.assert_frame_equal(why.predictions, predict(model, windows), atol=1e-5)
    assert re.search(method, repr(why))


@pytest.mark.parametrize(("name", "method"), [(name, method) for name in OWN for method in sorted(OWN[name])])
def test_windows_in_any_order_are_explained_as_they_are(forecasts, name, method):
    model, order = network(name, forecasts), np.random.default_rng(0).permutation(len(forecasts))
    straight, mixed = explain(model, forecasts, method), explain(model, forecasts[order], method)
    np.testing.assert_allclose(mixed.scores, straight.scores[order], atol=1e-5)
    np.testing.assert_allclose(mixed.predictions, straight.predictions.iloc[order], atol=1e-5)


@pytest.mark.parametrize("method", ["modules", "neighbours", "concepts"])
def test_each_day_is_explained_as_if_it_were_alone(forecasts, method):
    model = network("hist", forecasts)
    why = explain(model, forecasts, method)
    for date in forecasts.dates.unique():
        rows = np.flatnonzero(forecasts.dates == date)
        alone = explain(model, forecasts[rows], method)
        kept = [why.axis_labels["asset"].index(name) for name in alone.axis_labels["asset"]] \
            if method == "neighbours" else slice(None)  # fmt: skip
        np.testing.assert_allclose(alone.scores, why.scores[rows][:, kept], atol=1e-5)


# Decomposition and modules -----------------------------------------------------------------------


class Told(nn.Module):
    """Says of itself what it was told to, and answers accordingly."""

    def __init__(self, parts, answer):
        super().__init__()
        self.told, self.answer = parts, answer

    def forward(self, x):
        return self.answer(x)

    def parts(self, x):
        return self.told(x)


def test_a_decomposition_worked_by_hand():
    """Three bars, α = 1/2, 1/4, 1/4 of states 1, 2, 3 by w_c = 2, w_h = 10 and a bias of 5."""
    windows = panel_of()
    windows = replace(windows[windows.tickers == "AAA"][:2], lookback=3, is_panel=False)
    alpha, states = torch.tensor([0.5, 0.25, 0.25]), torch.tensor([1.0, 2.0, 3.0])

    def parts(x):
        n = len(x)
        bars = (2 * alpha * states)[None, :, None].expand(n, 3, 1)
        return {
            "bars": bars,
            "state": torch.full((n, 1), 30.0),
            "bias": torch.tensor([5.0]),
            "weights": alpha.expand(n, 3),
        }

    model = Told(parts, lambda x: torch.full((len(x), 1), 5 + 30 + 1 + 1 + 1.5))
    why = explain(model, windows, "decomposition")
    np.testing.assert_allclose(why.scores, [[1, 1, 31.5]] * 2)
    np.testing.assert_allclose(why.change, [33.5] * 2)
    assert why.completeness == 0
    assert why.options["state"].tolist() == [30, 30]
    assert why.options["bias"].tolist() == [5, 5]
    np.testing.assert_allclose(why.options["weights"], [[0.5, 0.25, 0.25]] * 2)
    assert list(why.options["weights"].columns) == ["t−2", "t−1", "t−0"]
    assert len(why[[1]].options["weights"]) == 1
    assert temporal_importance(why).tolist() == pytest.approx([1, 1, 31.5])


def loop_of_alstm(model, x):
    """An ALSTM's answer and its parts by bar, one window and bar at a time in float64."""
    model = model.double()
    h = model.rnn(torch.tanh(model.input_projection(model.scaling(x.double()))))[0]
    scores = torch.stack(
        [model.attention_score(torch.tanh(model.attention_hidden(bar))) for bar in h[0]]
    ).flatten()
    alpha = [float(torch.exp(s) / sum(torch.exp(other) for other in scores)) for s in scores]
    half = h.shape[-1]
    w = model.head.weight
    scale = float(model.forecast_scaling.std) if hasattr(model.forecast_scaling, "std") else 1.0
    bars = [alpha[t] * (w[:, half:] @ h[0, t]) * scale for t in range(h.shape[1])]
    bars[-1] = bars[-1] + w[:, :half] @ h[0, -1] * scale
    return torch.stack(bars), alpha


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_decomposition_is_the_sum_of_a_plain_loop_and_complete(forecasts, classes, task):
    windows = (forecasts if task == "regression" else classes)[:12]
    model = network("alstm", windows)
    if task == "regression":
        model.forecast_scaling.fit_(torch.tensor(0.3), torch.tensor(2.5))
    target = None if task == "regression" else "buy-sell"
    why = explain(model, windows, "decomposition", target=target)
    assert why.completeness < 2e-6
    weigh = torch.tensor([1.0] if task == "regression" else [-1.0, 0.0, 1.0]).double()
    for i in range(len(windows)):
        with torch.no_grad():
            bars, alpha = loop_of_alstm(network_copy(model), windows.batch([i]))
        np.testing.assert_allclose(why.scores[i], (bars @ weigh).numpy(), atol=1e-6)
        np.testing.assert_allclose(why.options["weights"].iloc[i], alpha, atol=1e-6)
    weights = explain(model, windows, "attention").scores
    np.testing.assert_allclose(why.options["weights"], weights, atol=1e-6)


def network_copy(model):
    import copy

    return copy.deepcopy(model)


@pytest.mark.parametrize("target", [None, "buy", "buy-sell"])
def test_modules_add_up_to_any_answer_beside_its_bias(classes, target):
    model = network("hist", classes)
    why = explain(model, classes, "modules", target=target)
    assert why.axis_labels == {"module": ("shared", "hidden", "individual")}
    logits = outputs_of(model, classes).double().numpy()
    names = list(classes.classes)
    each = {None: logits.max(1), "buy": logits[:, names.index("buy")],
            "buy-sell": logits[:, names.index("buy")] - logits[:, names.index("sell")]}  # fmt: skip
    bias = why.options["bias"].to_numpy()
    np.testing.assert_allclose(why.scores.sum(1) + bias, each[target], atol=1e-5)
    assert why.completeness < 1e-5
    assert np.abs(why.scores).min(axis=0).max() > 0  # none of the three is nothing throughout


def test_modules_worked_by_hand_keep_their_order():
    windows = panel_of()[:4]

    def parts(x):
        ones = torch.ones(len(x), 1)
        return {"shared": ones, "hidden": 2 * ones, "individual": 4 * ones, "bias": torch.tensor([8.0])}

    why = explain(Told(parts, lambda x: torch.full((len(x), 1), 15.0)), windows, "modules")
    assert why.scores.tolist() == [[1, 2, 4]] * 4
    assert why.change.tolist() == [7] * 4


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.sampled_from([None, "buy", "hold-sell"]), st.booleans())
def test_exact_parts_add_up_whatever_the_weights(seed, target, by_bar):
    windows = panel_of("classification", bars=10, seed=seed)
    model = network("alstm" if by_bar else "hist", windows, seed=seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(2)
    why = explain(model, windows, "decomposition" if by_bar else "modules", target=target)
    assert np.abs(why.gap).max() < 1e-5 * max(1, np.abs(why.change).max())


# Neighbours --------------------------------------------------------------------------------------


class Between(Told):
    cross_sectional = True


def test_neighbours_of_days_with_other_stocks_worked_by_hand():
    """CCC joins after three days: before, its column is nothing, and nothing is shifted into it."""
    windows = panel_of()
    first, last = windows.dates.unique()[[0, -1]]
    rows = np.flatnonzero((windows.dates == first) | (windows.dates == last))
    windows = windows[rows[::-1]]  # D B A of the first day, D C B A of the last, the other way round

    def parts(x):  # stock i gives (j + 1) / Σ to the stock j of its day, counted in the rows' order
        n = len(x)
        row = torch.arange(1, n + 1).float()
        return {"neighbours": (row / row.sum()).expand(n, n)}

    why = explain(Between(parts, lambda x: torch.zeros(len(x), 1)), windows, "neighbours")
    assert why.axis_labels == {"asset": TICKERS}
    np.testing.assert_allclose(why.at(first, "AAA").scores, [[3 / 6, 2 / 6, 0, 1 / 6]], atol=1e-6)
    np.testing.assert_allclose(why.at(last, "BBB").scores, [[4 / 10, 3 / 10, 2 / 10, 1 / 10]], atol=1e-6)
    assert why.options["rank_agreement"] == pytest.approx(1)
    assert "every stock ranks the others alike" in why.options["warning"]


def test_gats_of_the_first_version_rank_all_neighbours_alike_and_say_so(forecasts):
    found = {}
    for version in (1, 2):
        torch.manual_seed(1)
        model = network("gats", forecasts, version=version, slope=0.2)
        with torch.no_grad():
            for weight in model.attention.parameters():
                weight.normal_(0, 2)
        found[version] = explain(model, forecasts, "neighbours")
    assert found[1].options["rank_agreement"] > 0.999
    assert "version=2" in found[1].options["warning"]
    assert found[2].options["rank_agreement"] < 0.98
    assert "warning" not in found[2].options


def test_row_agreement_is_the_mean_of_scipys_over_all_pairs():
    random = np.random.default_rng(0)
    matrix = random.dirichlet(np.ones(6), size=6)
    pairs = [spearmanr(matrix[i], matrix[j]).statistic for i in range(6) for j in range(i)]
    assert row_agreement(matrix) == pytest.approx(np.mean(pairs))
    matrix[2] = 1 / 6  # ranks nothing
    pairs = [spearmanr(matrix[i], matrix[j]).statistic for i in range(6) for j in range(i) if 2 not in (i, j)]
    assert row_agreement(matrix) == pytest.approx(np.mean(pairs))
    assert np.isnan(row_agreement(matrix[:2, :2]))
    assert np.isnan(row_agreement(np.full((3, 3), 1 / 3)))


def test_rollouts_over_assets_take_their_options_and_one_layer_takes_none(forecasts):
    model = network("asset_transformer", forecasts)
    still = explain(model, forecasts, "neighbours", residual=1.0)
    own = [still.axis_labels["asset"].index(name) for name in still.tickers]
    np.testing.assert_allclose(still.scores[np.arange(len(still)), own], 1)
    plain, moved = (
        explain(model, forecasts, "neighbours"),
        explain(model, forecasts, "neighbours", residual=0.1),
    )
    assert not np.allclose(plain.scores, moved.scores)
    assert plain.null.shape == plain.scores.shape
    beyond = explain(model, forecasts, "neighbours", against_null=True)
    np.testing.assert_allclose(beyond.scores, plain.scores - plain.null, atol=1e-6)
    with pytest.raises(
        ValueError, match="residual are of rollouts through several layers, and GATs attends in one"
    ):
        explain(network("gats", forecasts), forecasts, "neighbours", residual=0.1)


def test_one_stock_alone_and_one_day_are_explained(forecasts):
    for name in ("gats", "hist", "asset_transformer"):
        model = network(name, forecasts)
        alone = explain(model, forecasts[[0]], "neighbours")
        assert alone.scores.shape == (1, 1)
        assert alone.options["rank_agreement"] is None
        day = forecasts[forecasts.dates == forecasts.dates[0]]
        assert explain(model, day, "neighbours").scores.shape == (len(day), len(day))


def test_rows_of_several_days_are_no_stocks_of_one(forecasts):
    square = Told(lambda x: {"neighbours": torch.eye(len(x))}, lambda x: x[:, -1, :1])
    with pytest.raises(ValueError, match="neighbours cannot be shown because Told has nothing of the kind"):
        explain(square, forecasts, "neighbours")


# Shares ------------------------------------------------------------------------------------------


@given(st.integers(0, 10_000), st.floats(0.01, 100))
def test_shares_sum_to_one_and_do_not_change_with_the_unit(seed, unit):
    values = torch.tensor(np.random.default_rng(seed).random((4, 3, 2)))
    values[2] = 0
    found = shares(values, "values")
    np.testing.assert_allclose(found.sum((1, 2)), [1, 1, 0, 1], atol=1e-6)
    np.testing.assert_allclose(shares(values * unit, "values"), found, atol=1e-6)


def test_frequencies_worked_by_hand():
    windows = panel_of()[:2]

    def parts(x):
        over_time = torch.tensor([[1.0, 0, 3], [2, 2, 4], [0, 5, 15]]).expand(len(x), 3, 3)
        return {"frequencies": over_time[:, -1], "over_time": over_time}

    model = Told(parts, lambda x: x[:, -1, :1])
    why = explain(model, windows, "frequencies")
    assert why.scores.tolist() == [[0, 0.25, 0.75]] * 2
    assert why.options["energy"].tolist() == [20, 20]
    whole = explain(model, windows, "frequencies", over_time=True)
    assert whole.axes == ("time", "frequency")
    np.testing.assert_allclose(whole.scores[0] * 32, [[1, 0, 3], [2, 2, 4], [0, 5, 15]], atol=1e-5)


def test_energies_of_a_slow_and_a_fast_wave_lie_at_their_frequencies(forecasts):
    """The memory of a wave of three turns in K bars is loudest at 3 (and K − 3, its mirror)."""
    model = network("sfm", forecasts, n_frequencies=12)
    over_time = explain(model, forecasts, "frequencies", over_time=True)
    assert over_time.scores.shape == (len(forecasts), LOOKBACK, 12)
    last = explain(model, forecasts, "frequencies")
    share = over_time.scores[:, -1] / over_time.scores[:, -1].sum(1, keepdims=True)
    np.testing.assert_allclose(share, last.scores, atol=1e-5)


def test_masks_of_one_step_are_that_steps(forecasts):
    model = network("tabnet", forecasts)
    with torch.no_grad():
        steps = model.parts(forecasts.x)["steps"]
    for step in (0, 2, -1):
        found = explain(model, forecasts, "masks", step=step)
        np.testing.assert_allclose(found.scores, steps[step].numpy(), atol=1e-5)
    with pytest.raises(ValueError, match="step is one of the model's 3, counted from 0; got 3"):
        explain(model, forecasts, "masks", step=3)
    with pytest.raises(ValueError, match="step is a step of the model, a whole number; got 'first'"):
        explain(model, forecasts, "masks", step="first")


def test_routing_names_its_predictors_and_concepts_theirs(forecasts):
    routed = explain(network("tra", forecasts), forecasts, "routing")
    assert routed.axis_labels == {"predictor": ("predictor 1", "predictor 2", "predictor 3")}
    gathered = explain(network("hist", forecasts), forecasts, "concepts")
    assert gathered.axis_labels == {"concept": ("even", "late")}


def test_a_window_with_nothing_to_share_shows_zeros():
    windows = panel_of()[:3]
    model = Told(lambda x: {"routing": torch.tensor([[0.0, 0], [1, 3], [0, 2]])}, lambda x: x[:, -1, :1])
    assert explain(model, windows, "routing").scores.tolist() == [[0, 0], [0.25, 0.75], [0, 1]]


# What is asked wrongly ---------------------------------------------------------------------------


def test_numbers_that_are_none_are_refused_and_the_weights_named(forecasts):
    for name, methods in OWN.items():
        model = network(name, forecasts)
        with torch.no_grad():
            for weight in model.parameters():
                weight.fill_(float("nan"))
        for method in methods:
            with pytest.raises(ValueError, match=r"not finite.*model's weights"):
                explain(model, forecasts, method)


@pytest.mark.parametrize("method", INSIDE)
def test_options_and_targets_that_there_are_not_are_refused(classes, method):
    model = network("hist", classes)
    with pytest.raises(ValueError, match=rf"{method} has no option.*flavour"):
        explain(model, classes, method, flavour=1)
    with pytest.raises(ValueError, match="no class 'up'" if METHODS[method].targets else "leave out target"):
        explain(model, classes, method, target="up")
    if method != "neighbours":
        with pytest.raises(ValueError, match=f"{method} has no null"):
            explain(model, classes, method, against_null=True)


def test_what_another_model_calls_parts_is_left_alone(forecasts):
    class Shop(LSTMModel):
        def parts(self, x, of):
            raise RuntimeError

    class Shelf(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = nn.ModuleList()

    class Poet(nn.Module):
        def parts(self, x):
            return "many"

    x = forecasts.batch([0])
    assert parts_of(Shop(6, task="regression"), x) == parts_of(Shelf(), x) == parts_of(Poet(), x) == {}
    assert held_by(network("tra", forecasts), forecasts) == {"routing", "answers"}


def test_the_watch_counts_windows_day_by_day_and_may_stop(forecasts):
    told = []
    explain(
        network("hist", forecasts), forecasts, "modules", watch=Watch(lambda done, all_: told.append(done))
    )
    days = pd.Series(forecasts.dates).value_counts().sort_index().cumsum().tolist()
    assert told == days
    stopping = Watch(stop=threading.Event())
    stopping.stop.set()
    with pytest.raises(Cancelled):
        explain(network("hist", forecasts), forecasts, "modules", watch=stopping)


# Others that think of bars -----------------------------------------------------------------------


def test_what_is_about_bars_refuses_other_axes_in_words(forecasts):
    why = explain(network("hist", forecasts), forecasts, "modules")
    with pytest.raises(
        ValueError, match="temporal importance is about bars, and the scores of modules are by mod"
    ):
        temporal_importance(why)


@pytest.mark.parametrize("name", ["alstm", "sfm", "tra", "tabnet", "lstm", "transformer"])
def test_a_comparison_by_default_is_of_what_the_model_can_show(forecasts, name):
    seen = compare(network(name, forecasts), forecasts[:4])
    inside = OWN[name] & {"decomposition", "masks"}
    assert inside | {"gradient_x_input"} <= set(seen.explanations)
    assert all(METHODS[method].needs_attention for method in seen.refused)
    assert seen.spearman.shape == (len(seen), len(seen))


def test_a_comparison_takes_what_is_by_bar_and_leaves_out_what_is_inside_of_others(forecasts):
    alstm = compare(network("alstm", forecasts), forecasts)
    assert "decomposition" in alstm.explanations
    assert not set(INSIDE) & set(alstm.refused)
    tabnet = compare(network("tabnet", forecasts), forecasts, ["masks", "gradient_x_input"])
    assert list(tabnet.explanations) == ["masks", "gradient_x_input"]
    assert by_bar(tabnet.explanations["masks"].scores).shape == (len(forecasts), LOOKBACK)
    asked = compare(network("tabnet", forecasts), forecasts, ["decomposition", "gradient_x_input"])
    assert "decomposition cannot be shown because TabNet" in asked.refused["decomposition"]
    with pytest.raises(
        ValueError, match="methods are compared by bar, and modules is by module: leave it out"
    ):
        compare(network("hist", forecasts), forecasts, ["modules"])
    with pytest.raises(
        ValueError, match=r"no two methods can be compared on HIST because.*'neighbours'\) says"
    ):
        compare(network("hist", forecasts), forecasts)
