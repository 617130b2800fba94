import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from workbench.explainers.explanation import Explanation
from workbench.explainers.regimes import attention_regime, temporal_importance


def explanation(scores, null=None):
    scores = np.asarray(scores, dtype=np.float32)
    dates = pd.bdate_range("2010-01-04", periods=len(scores), name="date")
    return Explanation(
        scores=scores,
        method="rollout",
        target="last bar",
        dates=dates,
        tickers=np.array(["AAA"] * len(scores)),
        feature_names=("f0",),
        predictions=pd.DataFrame({"buy": 1.0}, index=dates),
        null=None if null is None else np.asarray(null, dtype=np.float32),
    )


def test_three_windows_of_four_bars_by_hand():
    # The recent quarter is the last bar. Its shares .5, .25, .1 against a null of .25: ratios 2, 1, .4.
    scores = [[0.1, 0.2, 0.2, 0.5], [0.25, 0.25, 0.25, 0.25], [0.6, 0.2, 0.1, 0.1]]
    regimes = attention_regime(explanation(scores, [0.25] * 4))
    np.testing.assert_allclose(regimes["recent_share"], [0.5, 0.25, 0.1], rtol=1e-6)
    np.testing.assert_allclose(regimes["ratio"], [2, 1, 0.4], rtol=1e-6)
    assert regimes["regime"].tolist() == ["momentum", "mixed", "mean-reversion"]


def test_raw_recency_is_no_verdict_when_the_null_is_recent_too():
    scores = [[0.1, 0.1, 0.1, 0.7]]
    assert attention_regime(explanation(scores, [0.25] * 4))["regime"].item() == "momentum"
    assert attention_regime(explanation(scores, [0.1, 0.1, 0.1, 0.7]))["regime"].item() == "mixed"
    assert attention_regime(explanation(scores, [0.0, 0.0, 0.05, 0.95]))["regime"].item() == "mean-reversion"


def test_each_window_may_have_a_null_of_its_own():
    scores = [[0.5, 0.5], [0.5, 0.5]]
    regimes = attention_regime(explanation(scores, [[0.5, 0.5], [0.9, 0.1]]), recent=0.5)
    assert regimes["regime"].tolist() == ["mixed", "momentum"]


@given(
    arrays(np.float32, (3, 8), elements=st.floats(0.0625, 1, width=32)),
    st.floats(0.05, 0.95),
    st.sampled_from([0.25, 2.0, 8.0]),
)
def test_scale_changes_nothing_and_the_null_itself_is_mixed(scores, recent, scale):
    plain = attention_regime(explanation(scores, scores[0]), recent=recent)
    scaled = attention_regime(explanation(scores * scale, scores[0]), recent=recent)
    pd.testing.assert_frame_equal(plain, scaled)
    assert plain["ratio"].iloc[0] == 1
    assert plain["regime"].iloc[0] == "mixed"


def test_a_wider_recent_part_holds_a_larger_share():
    why = explanation(np.full((1, 10), 0.1), np.full(10, 0.1))
    shares = [attention_regime(why, recent=r)["recent_share"].item() for r in (0.1, 0.25, 0.5, 0.9)]
    np.testing.assert_allclose(shares, [0.1, 0.3, 0.5, 0.9], rtol=1e-6)


def test_importance_is_the_mean_by_lag_or_date():
    scores = [[0.1, 0.2, 0.7], [0.3, 0.4, 0.3], [0.2, 0.0, 0.8]]
    importance = temporal_importance(explanation(scores))
    assert importance.index.tolist() == ["t−2", "t−1", "t−0"]
    np.testing.assert_allclose(importance, [0.2, 0.2, 0.6], rtol=1e-6)
    dates = pd.DatetimeIndex(["2010-01-01", "2010-01-04", "2010-01-05"])
    one = temporal_importance(explanation(scores)[:1], dates)
    assert one.index.tolist() == dates.tolist()
    np.testing.assert_allclose(one, scores[0], rtol=1e-6)


def test_signed_scores_by_feature_count_by_their_size():
    scores = np.zeros((1, 2, 2), np.float32)
    scores[0] = [[1, -1], [0.5, 0]]
    np.testing.assert_allclose(temporal_importance(explanation(scores)), [2, 0.5])


@pytest.mark.parametrize(
    ("why", "arguments", "message"),
    [
        (explanation([[1, 1]]), {}, "comes without a null"),
        (explanation([[1, 1]], [1, 1]), {"recent": 1.0}, "between 0 and 1, got 1.0"),
        (explanation([[1, 1]], [1, 1]), {"momentum": 0.9}, "reversion ≤ 1 ≤ momentum, got 0.8 and 0.9"),
    ],
)
def test_a_verdict_without_grounds_is_refused(why, arguments, message):
    with pytest.raises(ValueError, match=message):
        attention_regime(why, **arguments)


def test_dates_must_fit_the_window():
    dates = pd.bdate_range("2010-01-04", periods=2)
    with pytest.raises(ValueError, match="dates label one window, and there are 2"):
        temporal_importance(explanation([[1, 1], [1, 1]]), dates)
    with pytest.raises(ValueError, match="one date for each of the 3 bars, got 2"):
        temporal_importance(explanation([[1, 1, 1]]), dates)
