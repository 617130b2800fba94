"""Altering any later bar changes nothing earlier: features, settled labels and windows alike."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.features.alpha158 import alpha158
from workbench.features.alpha360 import alpha360, alpha360_bars
from workbench.features.indicators import indicators, make_features
from workbench.features.labels import forward_return, label_moves
from workbench.features.processors import Chain, Fill, RobustZScore
from workbench.features.windows import Windows

seeds = st.integers(0, 2**32 - 1)


@given(seed=seeds, cut=st.integers(0, 119))
def test_no_feature_row_knows_a_later_bar(make_prices, alter_future, seed, cut):
    prices = make_prices(120, seed)
    altered = alter_future(prices, prices.index[cut], seed)
    for compute in (make_features, indicators, lambda p: make_features(p, zscore=10)):
        before, after = compute(prices), compute(altered)
        for name in before.columns:
            assert before[name].iloc[: cut + 1].to_numpy().tobytes() == (
                after[name].iloc[: cut + 1].to_numpy().tobytes()
            ), name


def scaled(prices):
    """Some of Alpha158 as models get it, fitted on the first weeks."""
    features = alpha158(prices, columns=["KLEN", "MA5", "WVMA60", "CORD10"])
    return Chain(RobustZScore(), Fill()).fit(features, before="2000-02-15").transform(features)


@settings(max_examples=10)
@given(seed=seeds, cut=st.integers(40, 89), many=st.booleans())
def test_no_row_of_the_alphas_knows_a_later_bar(make_prices, make_panel, alter_future, seed, cut, many):
    prices = make_panel((90, 60, 75), seed % 1000) if many else make_prices(90, seed)
    dates = prices.index.get_level_values("date")
    altered = alter_future(prices, dates.unique()[cut], seed)
    past = np.asarray(dates <= dates.unique()[cut])
    for compute in (alpha158, alpha360, alpha360_bars, scaled):
        before, after = compute(prices), compute(altered)
        assert list(before.columns) == list(after.columns)
        for name in before.columns:
            assert before[name].to_numpy()[past].tobytes() == after[name].to_numpy()[past].tobytes(), name


def test_every_feature_row_does_know_its_own_bar(make_prices, alter_future):
    prices = make_prices(120)
    altered = alter_future(prices, prices.index[79], 1)
    before, after = make_features(prices), make_features(altered)
    same = before.iloc[80] == after.iloc[80]
    assert not same.any(), f"{list(same[same].index)} ignore the bar they stand on"


@settings(max_examples=15)
@given(seed=seeds, cut=st.integers(0, 89))
def test_no_feature_row_of_a_panel_knows_a_later_bar(make_panel, alter_future, seed, cut):
    panel = make_panel((90, 60, 75), seed % 1000)
    date = panel.index.levels[0][cut]
    altered = alter_future(panel, date, seed)
    past = panel.index.get_level_values("date") <= date
    for compute in (make_features, indicators, lambda p: make_features(p, zscore=10)):
        before, after = compute(panel), compute(altered)
        for name in before.columns:
            assert before[name].to_numpy()[past].tobytes() == after[name].to_numpy()[past].tobytes(), name


@settings(max_examples=15)
@given(seed=seeds, cut=st.integers(0, 89), horizon=st.integers(1, 10))
def test_a_label_knows_nothing_past_its_horizon(make_prices, make_panel, alter_future, seed, cut, horizon):
    for prices in (make_prices(90, seed), make_panel((90, 70), seed % 1000)):
        dates = prices.index.get_level_values("date")
        calendar = dates.unique()
        altered = alter_future(prices, calendar[cut], seed)
        settled = dates <= calendar[cut - horizon] if cut >= horizon else np.zeros(len(dates), bool)
        for label in (
            lambda p: label_moves(p, horizon),
            lambda p: label_moves(p, horizon, scale="volatility"),
            lambda p: forward_return(p, horizon),
        ):
            before, after = label(prices)[settled], label(altered)[settled]
            assert before.to_numpy().tobytes() == after.to_numpy().tobytes()


@settings(max_examples=15)
@given(seed=seeds, cut=st.integers(45, 88), horizon=st.integers(1, 4))
def test_no_window_and_no_settled_label_knows_a_later_bar(
    make_prices, make_panel, alter_future, seed, cut, horizon
):
    for prices in (make_prices(90, seed), make_panel((90, 80), seed % 1000)):
        day = prices.index.get_level_values("date").unique()[cut]
        before, after = (
            Windows.of(make_features(p), label_moves(p, horizon), 10)
            for p in (prices, alter_future(prices, day, seed))
        )
        assert before.dates.equals(after.dates)
        past = np.asarray(before.dates <= day)
        assert past.any()
        assert before[past].x.numpy().tobytes() == after[past].x.numpy().tobytes()
        settled = np.asarray(before.label_dates <= day)
        assert torch.equal(before[settled].y, after[settled].y)
        assert not torch.equal(before.x[~past], after.x[~past])
