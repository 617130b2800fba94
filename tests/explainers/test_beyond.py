import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import zeros

from workbench import plots
from workbench.explainers.beyond import beyond_null
from workbench.explainers.explanation import explain
from workbench.explainers.methods import METHODS, Scored
from workbench.explainers.regimes import attention_regime, temporal_importance
from workbench.models.transformer import TradingTransformer
from workbench.trading.attention import attention_by_outcome
from workbench.trading.ledger import backtest
from workbench.widgets.chartdata import packed_scores


def transformer(causal=True):
    return TradingTransformer(3, d_model=12, n_heads=3, n_layers=3, d_ff=8, causal=causal)


def scored(scores, null, **options):
    scores = np.asarray(scores, np.float32)
    null = None if null is None else np.asarray(null, np.float32)
    return Scored(scores, zeros(len(scores), 3), "last bar", null, options)


def test_two_windows_of_three_bars_by_hand():
    # An even causal model of three bars and two layers shows .5, .25, .25, say.
    found = beyond_null(METHODS["rollout"], scored([[0.2, 0.3, 0.5], [0.5, 0.25, 0.25]], [0.5, 0.25, 0.25]))
    np.testing.assert_allclose(found.scores, [[-0.3, 0.05, 0.25], [0, 0, 0]], atol=1e-7)
    assert found.null is None
    assert found.options == {"against_null": True}


shares = arrays(np.float32, (4, 5), elements=st.floats(0.0625, 1, width=32))


@given(shares, shares, st.booleans())
def test_what_is_beyond_sums_to_zero_and_gives_the_scores_back(scores, null, shared):
    scores, null = (each / each.sum(axis=1, keepdims=True) for each in (scores, null))
    null = null[0] if shared else null
    found = beyond_null(METHODS["flow"], scored(scores, null, residual=0.5))
    np.testing.assert_allclose(found.scores.sum(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(found.scores + null, scores, atol=1e-6)
    assert found.scores.dtype == np.float32
    assert found.options == {"residual": 0.5, "against_null": True}
    again = beyond_null(METHODS["flow"], scored(null * np.ones_like(scores), null))
    assert (again.scores == 0).all()


def test_a_model_that_looks_evenly_has_nothing_beyond(windows):
    model = transformer()
    for layer in model.layers:
        layer.attention.w_k.weight.detach().zero_()
    for method in ("rollout", "flow", "attention"):
        np.testing.assert_allclose(
            explain(model, windows[:3], method, against_null=True).scores, 0, atol=1e-6
        )


def test_a_rollout_that_discards_has_no_null_to_be_taken_off(windows):
    with pytest.raises(ValueError, match=r"rollout with discard=0\.2 has no null .*Leave out against_null"):
        explain(transformer(), windows, discard=0.2, against_null=True)


def test_no_pass_is_spent_where_no_null_is_thinkable(windows):
    class Unasked(TradingTransformer):
        def forward(self, x):
            raise AssertionError("the model was run")

    model = Unasked(3, d_model=12, n_heads=3, n_layers=1, d_ff=8)
    with pytest.raises(ValueError, match="kernel_shap has no null"):
        explain(model, windows, "kernel_shap", against_null=True)
    with pytest.raises(ValueError, match="relevance has no null"):
        explain(model, windows, "relevance", against_null=True)
    for method in ("rollout", "flow"):
        with pytest.raises(ValueError, match=rf"{method} with discard=0\.2 has no null"):
            explain(model, windows, method, discard=0.2, against_null=True)
    with pytest.raises(ValueError, match="against_null is True or False; got 'yes'"):
        explain(model, windows, against_null="yes")


@pytest.fixture
def beyond(windows):
    return explain(transformer(), windows, against_null=True)


def test_a_verdict_and_panels_of_shares_refuse_differences(windows, beyond):
    with pytest.raises(
        ValueError, match=r"rollout are less their null already.*explain without against_null"
    ):
        attention_regime(beyond)
    dates = pd.DatetimeIndex(windows.dates)
    close = np.linspace(100, 110, len(dates))
    prices = pd.DataFrame({"open": close, "high": close, "low": close, "close": close}, dates)
    result = backtest(pd.Series(1.0, dates), prices, periods_per_year=252)
    with pytest.raises(ValueError, match=r"less their null.*explain without against_null"):
        attention_by_outcome(beyond, result)
    with pytest.raises(ValueError, match=r"Got scores less their null: explain without against_null"):
        plots.backtest(result, beyond)


def test_a_chart_calls_differences_signed_and_draws_no_null_beside_them(windows, beyond):
    scores, null, told = packed_scores(beyond)
    assert told["signed"] is True
    assert told["label"] == "Attention rollout of last bar, less its null [difference in share]"
    assert null == b""
    np.testing.assert_array_equal(np.frombuffer(scores, "<f4").reshape(35, 6), beyond.scores)
    plain = packed_scores(explain(transformer(), windows))
    assert plain[2]["label"] == "Attention rollout of last bar, share [%]"
    assert plain[1] != b""


def test_plots_of_differences_are_signed(beyond):
    importance = temporal_importance(beyond)
    assert importance.sum() == pytest.approx(0, abs=1e-6)
    assert plots.importance(importance).get_ylabel() == "Importance [signed]"


def test_one_window_is_still_less_its_null(beyond):
    assert beyond[[3]].against_null
    assert repr(beyond[[3]]).startswith("Explanation(rollout of last bar, less its null: 1 × 6")
