import threading
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import spearmanr
from torch.utils.checkpoint import checkpoint

from workbench.explainers.agreement import by_bar, rank_correlations, top_bars, top_overlap
from workbench.explainers.comparisons import Comparison, compare
from workbench.explainers.explanation import explain
from workbench.explainers.methods import METHODS, Method, Scored
from workbench.explainers.watching import Cancelled, Watch
from workbench.models.recurrent import LSTMModel
from workbench.models.transformer import TradingTransformer

# Four bars; by hand: ranks of |score| are 1 4 2 3 and 2 4 1 3 and 2.5 2.5 4 1.
FOUR = np.array([[[0.1, -0.9, 0.2, 0.5]], [[2.0, 7.0, -1.0, 3.0]], [[0.3, -0.3, 0.4, 0.0]]])
# Centred: −1.5 1.5 −.5 .5, then −.5 1.5 −1.5 .5, both of square sum 5; then 0 0 1.5 −1.5, of square sum 4.5.
BY_HAND = {(0, 1): 4 / 5, (0, 2): -1.5 / 22.5**0.5, (1, 2): -3 / 22.5**0.5}


def small():
    return TradingTransformer(3, d_model=12, n_heads=3, n_layers=1, d_ff=8)


@pytest.fixture
def made_up(monkeypatch):
    """Add a method to those that there are, which answers as it is told."""

    def add(name, answer):
        def run(question):
            scores = answer(question)
            return Scored(scores, torch.zeros(len(question.windows), 3), "last bar")

        known = {"needs_attention": False, "targets": False, "by_feature": False, "signed": True}
        monkeypatch.setitem(METHODS, name, Method(name, name, "what a test says", run, **known))

    return add


def test_ranks_of_four_bars_agree_as_worked_out_by_hand():
    found = rank_correlations(FOUR)[..., 0]
    for (one, other), expected in BY_HAND.items():
        assert found[one, other] == pytest.approx(expected, abs=1e-12)
        assert found[other, one] == found[one, other]


def test_the_top_bars_of_four_are_shared_as_worked_out_by_hand():
    # The two largest: bars 1 and 3; bars 1 and 3; bar 2, and bar 0 or 1 by lot.
    np.testing.assert_allclose(
        top_bars(FOUR, 2)[:, 0], [[0, 1, 0, 1], [0, 1, 0, 1], [0.5, 0.5, 1, 0]], atol=1e-12
    )
    found = top_overlap(FOUR, 2)[..., 0]
    np.testing.assert_allclose(found, [[1, 1, 0.25], [1, 1, 0.25], [0.25, 0.25, 0.75]], atol=1e-12)


def test_rank_agreement_is_that_of_scipy_window_by_window():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(4, 30, 13)).round(1)  # rounded, so that there are ties
    found = rank_correlations(scores)
    for w in range(30):
        expected = spearmanr(np.abs(scores[:, w]).T).statistic
        np.testing.assert_allclose(found[..., w], expected, atol=1e-12)


def test_a_method_that_scores_all_bars_alike_ranks_nothing_and_shares_what_chance_would():
    scores = np.stack([np.full((2, 5), -0.2), np.random.default_rng(0).normal(size=(2, 5))])
    found = rank_correlations(scores)
    assert np.isnan(found[0]).all()
    assert (found[1, 1] == 1).all()
    np.testing.assert_allclose(top_overlap(scores, 2)[0, 1], 2 / 5)


sizes = st.integers(0, 40).map(float)
several = arrays(float, (3, 2, 6), elements=sizes)


@given(several)
def test_agreement_is_symmetric_within_its_bounds_and_whole_with_itself(scores):
    found, shared = rank_correlations(scores), top_overlap(scores, 2)
    for values, low in ((found, -1), (shared, 0)):
        np.testing.assert_array_equal(values, values.swapaxes(0, 1))
        known = values[np.isfinite(values)]
        assert ((known >= low - 1e-12) & (known <= 1 + 1e-12)).all()
    own = found[[0, 1, 2], [0, 1, 2]]
    ranked = np.ptp(scores, axis=-1) > 0
    np.testing.assert_allclose(own[ranked], 1)
    assert np.isnan(own[~ranked]).all()


@given(several, st.sampled_from([lambda x: 3 * x, lambda x: x**3 + x, np.expm1, lambda x: -x]))
def test_agreement_knows_of_sizes_only_their_order(scores, rescaled):
    other = np.stack([scores[0], rescaled(scores[1]), scores[2]])
    np.testing.assert_array_equal(rank_correlations(other), rank_correlations(scores))
    np.testing.assert_array_equal(top_overlap(other, 3), top_overlap(scores, 3))


@given(arrays(float, (1, 1, 6), elements=sizes), st.integers(1, 6))
def test_k_bars_are_in_the_top_k_and_none_before_a_larger_one(scores, k):
    chances = top_bars(scores, k)[0, 0]
    assert chances.sum() == pytest.approx(k)
    assert ((chances >= 0) & (chances <= 1)).all()
    order = np.argsort(scores[0, 0], kind="stable")
    assert (np.diff(chances[order]) >= 0).all()


def test_the_share_by_lot_is_the_mean_over_many_lots():
    rng = np.random.default_rng(1)
    scores = rng.integers(0, 4, size=(2, 1, 7)).astype(float)
    drawn = []
    for _ in range(20_000):
        noisy = scores + 1e-6 * rng.random(scores.shape)
        tops = np.argsort(-noisy, axis=-1)[:, 0, :3]
        drawn.append(len(set(tops[0]) & set(tops[1])) / 3)
    assert top_overlap(scores, 3)[0, 1, 0] == pytest.approx(np.mean(drawn), abs=0.01)


def test_features_of_a_bar_are_added_up_signs_and_all():
    scores = np.array([[[1.0, -1.0], [2.0, 1.0]]], dtype=np.float32)
    np.testing.assert_array_equal(by_bar(scores), [[0, 3]])


def test_each_method_explains_the_windows_as_it_does_alone(windows):
    model = small()
    seen = compare(model, windows, ["rollout", "gradient_x_input", "kernel_shap"], target="buy",
                   options={"rollout": {"fusion": "max"}, "kernel_shap": {"samples": 20}})  # fmt: skip
    alone = {
        "rollout": explain(model, windows, "rollout", fusion="max"),
        "gradient_x_input": explain(model, windows, "gradient_x_input", target="buy"),
        "kernel_shap": explain(model, windows, "kernel_shap", target="buy", samples=20),
    }
    assert isinstance(seen, Comparison)
    assert list(seen.explanations) == list(alone)
    for name, why in alone.items():
        np.testing.assert_array_equal(seen.explanations[name].scores, why.scores)
        assert seen.explanations[name].target == why.target
    scores = [why.scores.reshape(len(windows), 6, -1).sum(2) for why in alone.values()]
    expected = np.mean([spearmanr(np.abs(np.stack(scores)[:, i]).T).statistic for i in range(35)], axis=0)
    np.testing.assert_allclose(seen.spearman.to_numpy(), expected, atol=1e-6)
    assert list(seen.spearman.index) == list(seen.spearman.columns) == list(alone)


def test_the_quick_methods_are_compared_unless_others_are_asked_for(windows):
    usual = [name for name, method in METHODS.items() if not method.inside]
    quick = [name for name in usual if not METHODS[name].slow]
    assert list(compare(small(), windows).explanations) == quick
    options = {"kernel_shap": {"samples": 20}, "lime": {"samples": 20}}
    assert list(compare(small(), windows[:2], "all", options=options).explanations) == usual


def test_a_method_takes_part_twice_under_names_of_your_own(windows):
    names = {"mean of heads": "rollout", "largest head": "rollout"}
    seen = compare(small(), windows, names, options={"largest head": {"fusion": "max"}})
    assert list(seen.explanations) == list(names)
    assert seen.explanations["largest head"].options["fusion"] == "max"
    assert "fusion" not in seen.explanations["mean of heads"].options
    assert seen.spearman.loc["mean of heads", "largest head"] < 1


def test_a_method_that_cannot_explain_the_model_is_named_with_its_reason(windows):
    seen = compare(LSTMModel(3), windows, ["rollout", "gradient_x_input"])
    assert list(seen.explanations) == list(seen.seconds.index) == ["gradient_x_input"]
    assert list(seen.refused) == ["rollout"]
    assert "no attention found in LSTMModel" in seen.refused["rollout"]
    assert "\n" not in seen.refused["rollout"]
    assert "rollout: no attention found" in str(seen)
    assert "no attention found" in seen._repr_html_()


def test_a_model_that_no_method_explains_is_refused_with_every_reason(windows):
    with pytest.raises(ValueError, match=r"no method could explain LSTMModel.*\n  rollout: no attention"):
        compare(LSTMModel(3), windows, ["rollout"])


def test_an_error_that_is_no_refusal_is_raised(windows, made_up):
    def fails(question):
        raise ZeroDivisionError("a fault of the method's own")

    made_up("broken", fails)
    with pytest.raises(ZeroDivisionError, match="a fault of the method's own"):
        compare(small(), windows, ["rollout", "broken"])


class Checkpointed(torch.nn.Module):
    """Computes its attention again for gradients, where it cannot be watched."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = torch.nn.Linear(3, 8), torch.nn.Linear(8, 3)
        self.layer = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, x):
        return self.head(checkpoint(self.layer, self.embed(x), use_reentrant=False)[:, -1])


def test_a_method_that_the_model_cannot_run_under_is_named_with_its_reason(windows):
    seen = compare(Checkpointed(), windows[:3], ["rollout", "relevance"])
    assert list(seen.explanations) == ["rollout"]
    assert "checkpointing computes attention again" in seen.refused["relevance"]


@pytest.mark.parametrize("error", [NotImplementedError, RuntimeError])
def test_a_model_that_fails_under_every_method_is_refused_by_all(windows, made_up, error):
    def fails(question):
        raise error("no kernel for this")

    made_up("broken", fails)
    with pytest.raises(ValueError, match="broken: no kernel for this"):
        compare(small(), windows, ["broken"])


@pytest.mark.parametrize("error", [TypeError, KeyError, AttributeError])
def test_a_fault_of_the_program_is_raised(windows, made_up, error):
    def fails(question):
        raise error("a fault")

    made_up("broken", fails)
    with pytest.raises(error, match="a fault"):
        compare(small(), windows, ["rollout", "broken"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lime": {"sampels": 64}}, r"lime has no option 'sampels'\. Did you mean 'samples'"),
        ({"lime": {"samples": 64, "target": "xyz"}}, "There is no class 'xyz'"),
        ({"rollout": {"target": "buy"}}, "rollout says what the whole answer draws on"),
        ({"rollout": {"residual": 5}}, "residual is a share between 0 and 1"),
        ({"gradient_x_input": {"steps": 5}}, "gradient_x_input has no options; got steps"),
    ],
)
def test_a_mistake_in_the_options_is_the_callers_not_a_refusal(windows, options, message):
    with pytest.raises(ValueError, match=message):
        compare(small(), windows[:2], ["rollout", "gradient_x_input", "lime"], options=options)


def test_windows_without_ranks_are_left_out_of_the_mean(windows, made_up):
    rng = np.random.default_rng(0)
    first = rng.normal(size=(35, 6)).astype(np.float32)
    second = rng.normal(size=(35, 6)).astype(np.float32)
    first[5:] = 0.5
    made_up("mostly even", lambda question: first)
    made_up("other", lambda question: second)
    made_up("even", lambda question: np.ones((35, 6), np.float32))
    seen = compare(small(), windows, ["mostly even", "other", "even"])
    by_window = seen.by_window()
    assert by_window["mostly even", "other"].notna().sum() == 5
    expected = [spearmanr(abs(first[i]), abs(second[i])).statistic for i in range(5)]
    assert seen.spearman.loc["mostly even", "other"] == pytest.approx(np.mean(expected))
    np.testing.assert_allclose(by_window["mostly even", "other"][:5], expected)
    assert seen.spearman.loc["even"].isna().all()
    assert "–" in str(seen)


def test_the_top_k_stand_beside_what_chance_would_share(windows):
    seen = compare(small(), windows, ["rollout", "gradient_x_input"])
    top = seen.top_k(2)
    assert top.attrs["chance"] == pytest.approx(2 / 6)
    scores = [by_bar(why.scores) for why in seen.explanations.values()]
    tops = [[set(np.argsort(-np.abs(row))[:2]) for row in each] for each in scores]
    shared = np.mean([len(a & b) / 2 for a, b in zip(*tops, strict=True)])
    assert top.loc["rollout", "gradient_x_input"] == pytest.approx(shared)
    assert (seen.top_k(6).to_numpy() == 1).all()
    for k in (0, 7):
        with pytest.raises(ValueError, match="from 1 to the window's 6"):
            seen.top_k(k)


def test_shares_of_the_lags_are_those_of_sizes_over_all_windows(windows, made_up):
    scores = np.zeros((35, 6), np.float32)
    scores[:20, 4], scores[20:, 4], scores[:, 0] = 3, -3, 1
    made_up("two bars", lambda question: scores)
    made_up("none", lambda question: np.zeros((35, 6), np.float32))
    lags = compare(small(), windows, ["two bars", "none"]).by_lag()
    assert list(lags.index) == ["t−5", "t−4", "t−3", "t−2", "t−1", "t−0"]
    np.testing.assert_allclose(lags["two bars"], [0.25, 0, 0, 0, 0.75, 0])
    assert lags["none"].isna().all()


def test_one_day_is_taken_out_of_every_explanation(windows):
    seen = compare(small(), windows, ["rollout", "gradient_x_input"])
    day = seen.at(windows.dates[3])
    for name, why in day.items():
        np.testing.assert_array_equal(why.scores, seen.explanations[name].scores[3:4])


def test_days_of_several_tickers_are_told_apart(panel):
    seen = compare(small(), panel, ["rollout", "gradient_x_input"])
    assert seen.by_window().index.names == ["date", "ticker"]
    assert len(seen.at(panel.dates[0], "BBB")["rollout"]) == 1


def test_progress_counts_the_windows_of_every_method(windows):
    told = []
    compare(LSTMModel(3), windows, ["gradient_x_input", "occlusion", "rollout"],
            watch=Watch(lambda *counted: told.append(counted)))  # fmt: skip
    assert {total for _, total in told} == {105}
    done = [count for count, _ in told]
    assert done == sorted(done)
    assert 35 in done
    assert done[-1] == 105  # the refused one too


def test_a_comparison_can_be_ended_between_methods(windows):
    stop = threading.Event()

    def progress(done, total):
        if done == 35:
            stop.set()

    with pytest.raises(Cancelled):
        compare(small(), windows, ["rollout", "gradient_x_input"], watch=Watch(progress, stop))


def test_time_is_told_for_all_windows_and_for_one(windows):
    seconds = compare(small(), windows, ["rollout", "gradient_x_input"]).seconds
    assert (seconds > 0).all(axis=None)
    np.testing.assert_allclose(seconds["all windows [s]"], 35 * seconds["one window [s]"])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"methods": "rollout"}, "methods is 'quick', 'all' or a list.*Got 'rollout'"),
        ({"methods": []}, "one name or more"),
        ({"methods": ["rollout", "rollout"]}, "none of them twice"),
        ({"methods": ["rolout"]}, "There is no method 'rolout'"),
        ({"target": "by"}, "There is no class 'by'"),
        ({"methods": ["rollout"], "target": "buy"}, "leave out target"),
        ({"options": {"lime": {"samples": 9}}}, "options are for 'lime', which is not compared"),
    ],
)
def test_a_mistake_of_the_caller_is_no_refusal(windows, asked, message):
    with pytest.raises(ValueError, match=message):
        compare(small(), windows, **asked)
    with pytest.raises(ValueError, match="no windows"):
        compare(small(), windows[:0])


def test_it_prints_what_was_compared_and_names_made_up_prices(windows):
    told = replace(windows, provenance={"ticker": "<b>", "synthetic": True})
    seen = compare(small(), told, {"<i>": "rollout", "gradient": "gradient_x_input"})
    first = str(seen).splitlines()[0]
    assert first == f"SYNTHETIC · 2 methods on 35 windows of 6 bars, {told.dates[0]:%Y-%m-%d} → 2010-02-26"
    assert repr(seen) == str(seen)
    assert "1 <i>" in str(seen)
    html = seen._repr_html_()
    assert "<i>" not in html
    assert "&lt;i&gt;" in html
    assert "SYNTHETIC" in html
    assert len(seen) == 2
    assert isinstance(seen.spearman, pd.DataFrame)
