import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.features.indicators import make_features
from workbench.features.labels import forward_return, label_moves
from workbench.features.past import with_past_label
from workbench.models.columns import PAST_LABEL


def test_four_bars_by_hand():
    index = pd.bdate_range("2000-01-03", periods=4, name="date")
    prices = pd.DataFrame({"close": [100.0, 110, 99, 198]}, index=index)
    features = prices.rename(columns={"close": "x"})
    one = with_past_label(features, forward_return(prices))[PAST_LABEL]
    np.testing.assert_allclose(one, [np.nan, 0.1, -0.1, 1])  # the return that ends with the bar
    two = with_past_label(features, forward_return(prices, 2))[PAST_LABEL]
    np.testing.assert_allclose(two, [np.nan, np.nan, -0.01, 0.8])


@given(seed=st.integers(0, 2**32 - 1), horizon=st.integers(1, 7))
def test_it_is_the_label_of_the_tickers_own_bar_horizon_bars_before(make_panel, seed, horizon):
    panel = make_panel((30, 12, 3), seed % 1000)
    labels = label_moves(panel, horizon, 0.5, "volatility") if seed % 2 else forward_return(panel, horizon)
    found = with_past_label(make_features(panel), labels)[PAST_LABEL]
    for ticker in "ABC":
        own, past = (one.xs(ticker, level="ticker").tolist() for one in (labels, found))
        expected = [own[t - horizon] if t >= horizon else np.nan for t in range(len(own))]
        np.testing.assert_array_equal(past, expected)


def test_later_bars_leave_it_alone(make_panel, alter_future):
    panel = make_panel((60, 50))
    day = panel.index[60][0]
    altered = alter_future(panel, day, 3)
    past = np.asarray(panel.index.get_level_values("date") <= day)
    one, other = (
        with_past_label(make_features(prices), forward_return(prices, 3)) for prices in (panel, altered)
    )
    pd.testing.assert_frame_equal(one[past], other[past], check_exact=True)


def test_features_may_lack_the_first_bars(make_prices):
    prices = make_prices(60)
    labels = forward_return(prices, 2)
    found = with_past_label(make_features(prices).iloc[40:], labels)[PAST_LABEL]
    np.testing.assert_array_equal(found, labels.iloc[38:58])


def test_what_does_not_fit_is_refused(make_prices):
    prices = make_prices(60)
    features, labels = make_features(prices), forward_return(prices)
    with pytest.raises(ValueError, match=r"labels lack 10 bars of the features, first 2000-01-03"):
        with_past_label(features, labels.iloc[10:])
    with pytest.raises(ValueError, match=r"a column 'past_label' already: add it once"):
        with_past_label(with_past_label(features, labels), labels)
    with pytest.raises(ValueError, match=r"features come from MADE and labels from OTHER"):
        with_past_label(features, forward_return(make_prices(60, ticker="OTHER")))
    with pytest.raises(ValueError, match=r"labels.attrs must tell the task and the horizon"):
        with_past_label(features, pd.Series(0.0, index=prices.index))
