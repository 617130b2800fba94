import copy
import pickle
import resource
import sys
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.features.indicators import make_features
from workbench.features.labels import forward_return, label_moves
from workbench.features.windows import Windows

seeds = st.integers(0, 2**32 - 1)


def ramp(n: int, start: str = "2000-01-03") -> pd.DataFrame:
    """Feature a is the bar's number, feature b ten times that."""
    index = pd.bdate_range(start, periods=n, name="date")
    return pd.DataFrame({"a": np.arange(n), "b": 10 * np.arange(n)}, index=index, dtype=float)


def labels_of(values, index, task="regression", horizon=1, classes=()) -> pd.Series:
    labels = pd.Series(values, index=index, dtype=float)
    labels.attrs = {"task": task, "horizon": horizon, "classes": list(classes)}
    return labels


# What a window is


def test_windows_by_hand():
    features = ramp(6)
    prices = pd.DataFrame({"close": [1.0, 2.0, 6.0, 3.0, 3.0, 12.0]}, index=features.index)
    windows = Windows.of(features, forward_return(prices, horizon=2), lookback=3)
    assert windows.x.tolist() == [
        [[0, 0], [1, 10], [2, 20]],
        [[1, 10], [2, 20], [3, 30]],
        [[2, 20], [3, 30], [4, 40]],
        [[3, 30], [4, 40], [5, 50]],
    ]
    # the window that ends on bar 2 (close 6) is labelled by bar 4 (close 3), the next one by bar 5
    assert windows.y.tolist()[:2] == [3 / 6 - 1, 12 / 3 - 1]
    assert windows.y.isnan().tolist() == [False, False, True, True]
    assert windows.dates.equals(features.index[2:])
    assert windows.label_dates[:2].equals(features.index[4:])
    assert windows.label_dates.isna().tolist() == [False, False, True, True]
    assert windows.feature_names == ("a", "b")
    assert (windows.task, windows.classes, windows.horizon, windows.lookback) == ("regression", (), 2, 3)
    assert (windows.n_features, windows.n_outputs, len(windows)) == (2, 1, 4)


def test_the_move_a_label_tells_starts_at_the_close_of_the_window_s_last_bar(make_prices):
    prices = make_prices(80)
    features = prices[["close"]].copy()
    windows = Windows.of(features, forward_return(prices), lookback=5).labelled()
    following = windows.x[1:, -1, 0]  # the next window's last close is the very next bar
    torch.testing.assert_close(windows.y[:-1], following / windows.x[:-1, -1, 0] - 1, rtol=1e-4, atol=1e-6)


@settings(max_examples=15)
@given(seed=seeds, lookback=st.integers(1, 30))
def test_every_window_s_last_row_is_the_feature_row_of_its_decision_date(
    make_prices, make_panel, seed, lookback
):
    for prices in (make_prices(80, seed), make_panel((80, 70), seed % 1000)):
        features = make_features(prices)
        windows = Windows.of(features, label_moves(prices), lookback)
        key = (
            windows.dates if not windows.is_panel else list(zip(windows.dates, windows.tickers, strict=True))
        )
        expected = features.loc[key].to_numpy(dtype="float32")
        assert windows.x[:, -1].numpy().tobytes() == expected.tobytes()


def naive_windows(features: pd.DataFrame, labels: pd.Series, lookback: int) -> list[tuple]:
    """(date, ticker, bars, label) of every complete window, one loop at a time."""
    if not isinstance(features.index, pd.MultiIndex):
        features = pd.concat({"": features}, names=["ticker"]).swaplevel()
        labels = pd.concat({"": labels}, names=["ticker"]).swaplevel()
    found = []
    for ticker in sorted(set(features.index.get_level_values("ticker"))):
        table, known = features.xs(ticker, level="ticker"), labels.xs(ticker, level="ticker")
        for end in range(lookback, len(table) + 1):
            bars = table.iloc[end - lookback : end]
            if bars.notna().all(axis=None):
                found.append((bars.index[-1], ticker, bars.to_numpy(dtype="float32"), known.iloc[end - 1]))
    return sorted(found, key=lambda item: item[:2])


@settings(max_examples=15)
@given(seed=seeds, lookback=st.integers(1, 12), holes=st.sets(st.integers(0, 69), max_size=4))
def test_windows_equal_the_naive_loop_with_holes_and_several_tickers(
    make_prices, make_panel, seed, lookback, holes
):
    for prices in (make_prices(70, seed), make_panel((70, 50, 60), seed % 1000)):
        features = make_features(prices)[["range", "gap"]]
        features.iloc[sorted(holes), 0] = np.nan
        labels = label_moves(prices, 2)
        windows = Windows.of(features, labels, lookback)
        expected = naive_windows(features, labels, lookback)
        assert len(windows) == len(expected)
        assert windows.x.numpy().tobytes() == np.stack([bars for _, _, bars, _ in expected]).tobytes()
        assert windows.dates.tolist() == [date for date, _, _, _ in expected]
        assert windows.y.tolist() == [-1 if np.isnan(label) else int(label) for *_, label in expected]
        if windows.is_panel:
            assert windows.tickers.tolist() == [ticker for _, ticker, _, _ in expected]
        for i in (0, len(windows) // 2, len(windows) - 1):
            assert windows.bar_dates_of(i)[-1] == windows.dates[i]
            assert len(windows.bar_dates_of(i)) == lookback


# Memory


def test_x_is_a_view_of_the_bars(single):
    assert single.x.untyped_storage().data_ptr() == single.bars.untyped_storage().data_ptr()
    assert single.x.data_ptr() == single.bars[int(single.ends[0]) - 19].data_ptr()
    train, valid, test = single.split(0.5, 0.75)
    for part in (train, valid, test, single[::3], single[5], single.at(single.dates[7])):
        assert part.x.untyped_storage().data_ptr() == single.bars.untyped_storage().data_ptr()
    assert (
        single.batch(slice(10, 20)).untyped_storage().data_ptr() == single.bars.untyped_storage().data_ptr()
    )
    assert torch.equal(single[::3].x, single.x.clone()[::3])


def test_memory_does_not_grow_with_the_lookback():
    features = ramp(20_000)
    labels = labels_of(np.zeros(20_000), features.index)
    peaks = {}
    for lookback in (10, 5000):
        tracemalloc.start()
        windows = Windows.of(features, labels, lookback)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        shape = windows.x.shape
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        peaks[lookback] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert shape == (20_001 - lookback, lookback, 2)
        assert windows.x.untyped_storage().nbytes() == 20_000 * 2 * 4
        assert grown * (1 if sys.platform == "darwin" else 1024) < 50e6  # copied, it would be 600 MB
    assert peaks[5000] <= peaks[10] * 1.01


def test_windows_with_holes_between_them_are_gathered(single, panel):
    holed = single[np.arange(len(single)) != 5]
    assert holed.x.untyped_storage().data_ptr() != single.bars.untyped_storage().data_ptr()
    assert torch.equal(holed.x, torch.cat([single.x[:5], single.x[6:]]))
    assert panel.x.shape == (len(panel), 20, 13)
    assert (
        panel[panel.tickers == "B"].x.untyped_storage().data_ptr() == panel.bars.untyped_storage().data_ptr()
    )


def test_bars_that_do_not_lie_in_order_in_memory_still_give_their_windows(single):
    scattered = copy.copy(single)
    object.__setattr__(scattered, "bars", single.bars.t().contiguous().t())
    assert not scattered.bars.is_contiguous()
    assert torch.equal(scattered.x, single.x)


# Splits


@settings(max_examples=15)
@given(seed=seeds, horizon=st.integers(1, 8), first=st.floats(0.2, 0.6), width=st.floats(0.2, 0.3))
def test_split_purges_one_ticker_and_a_panel(make_prices, make_panel, seed, horizon, first, width):
    for prices in (make_prices(150, seed), make_panel((150, 120), seed % 1000)):
        features = make_features(prices)[["log_return", "range"]]
        windows = Windows.of(features, label_moves(prices, horizon), 5)
        train, valid, test = windows.split(first, first + width)
        for part, following in ((train, valid), (valid, test)):
            assert part.label_dates.max() < following.dates.min()
            assert (part.y >= 0).all()
        assert (test.y == -1).sum() == horizon * len(set(test.tickers))


def test_split_by_dates_of_real_size(single):
    train, valid, test = single.split("2000-09", pd.Timestamp("2001-02-01"))
    assert train.label_dates[-1] == pd.Timestamp("2000-08-31")
    assert (valid.dates[0], valid.label_dates[-1]) == (pd.Timestamp("2000-09-01"), pd.Timestamp("2001-01-31"))
    assert (test.dates[0], test.dates[-1]) == (pd.Timestamp("2001-02-01"), single.dates[-1])
    assert len(train) + len(valid) + len(test) == len(single) - 2
    with pytest.raises(ValueError, match=r"leaves train 0, valid 0, test 348"):
        single.split("1990", "1991")


def test_windows_carry_where_their_prices_came_from(single, panel, make_prices):
    assert single.provenance.items() >= make_prices(5).attrs["provenance"].items()
    assert set(single.tickers) == {"MADE"}
    assert (single.is_panel, panel.is_panel, panel[0].is_panel) == (False, True, True)
    assert single.bars.dtype == torch.float32
    assert single.y.dtype == torch.int64
    assert len(single.bar_index) == len(single.bars)


def test_windows_own_their_bars(make_prices):
    prices = make_prices(60)
    features = make_features(prices)
    numbers = np.array(features, dtype="float32", order="C")
    shared = pd.DataFrame(numbers, index=features.index, columns=features.columns, copy=False)
    windows = Windows.of(shared, label_moves(prices), 5)
    before = windows.bars.clone()
    numbers[:] = 0.0
    assert torch.equal(windows.bars.nan_to_num(), before.nan_to_num())


def test_windows_travel_to_another_process(single):
    back = pickle.loads(pickle.dumps(single))
    assert torch.equal(back.x, single.x)
    assert back.x.untyped_storage().data_ptr() == back.bars.untyped_storage().data_ptr()
