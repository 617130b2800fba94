import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench.features.indicators import make_features
from workbench.features.labels import label_moves
from workbench.features.windows import Windows

seeds = st.integers(0, 2**32 - 1)


@given(data=st.data())
def test_batches_and_subsets_agree_with_indexing_x(single, panel, data):
    for windows in (single, panel):
        numbers = data.draw(st.lists(st.integers(-len(windows), len(windows) - 1), min_size=1, max_size=9))
        mask = torch.zeros(len(windows), dtype=torch.bool)
        mask[numbers] = True
        for rows in (
            numbers,
            torch.tensor(numbers),
            np.array(numbers),
            mask,
            mask.numpy(),
            slice(*numbers[:2]),
        ):
            expected = windows.x[rows]
            assert torch.equal(windows.batch(rows), expected)
            chosen = windows[rows]
            assert torch.equal(chosen.x, expected)
            assert torch.equal(chosen.y, windows.y[rows])
            plain = rows.numpy() if isinstance(rows, torch.Tensor) else rows
            assert chosen.dates.equals(windows.dates[plain])
            assert chosen.label_dates.equals(windows.label_dates[plain])
            assert chosen.tickers.tolist() == windows.tickers[plain].tolist()


def test_a_number_chooses_one_window_and_iterating_ends(single):
    assert torch.equal(single[-1].x[0], single.x[-1])
    assert len(list(single[:3])) == 3
    assert len(single[:0]) == 0
    assert single[:0].x.shape == (0, 20, 13)


def test_labelled_leaves_out_what_is_not_yet_known(panel):
    assert (panel.y == -1).sum() == 9  # three tickers, three bars
    assert (panel.labelled().y >= 0).all()
    assert len(panel.labelled()) == len(panel) - 9
    assert (panel.label_dates.isna() == (panel.y == -1).numpy()).all()


def test_at_finds_the_window_decided_on_a_date(single, panel):
    day = single.at("2000-05-17")
    assert day.dates.tolist() == [pd.Timestamp("2000-05-17")]
    assert day.x.shape == (1, 20, 13)
    assert day.bar_dates.equals(single.bar_index[single.bar_index <= "2000-05-17"][-20:].rename("date"))
    found = panel.at(panel.dates[-1], ticker="B")
    assert (found.tickers.tolist(), found.dates[0]) == (["B"], panel.dates[-1])
    assert torch.equal(found.x[0], panel.x[-2])


def test_at_names_what_is_nearest_when_there_is_no_such_window(single, panel):
    with pytest.raises(KeyError, match=r"decided on 2000-05-20 00:00:00; the nearest is 2000-05-19 00:00:00"):
        single.at("2000-05-20")
    with pytest.raises(KeyError, match=r"3 tickers are decided on .*: add ticker=, one of \['A', 'B', 'C'\]"):
        panel.at(panel.dates[-1])
    with pytest.raises(KeyError, match=r"No windows of 'Z': there are A, B, C"):
        panel.at(panel.dates[-1], ticker="Z")
    with pytest.raises(KeyError, match=r"There are no windows"):
        single[:0].at("2000-05-17")
    with pytest.raises(ValueError, match=r"for one window. Got 348: use `at\(date\)`"):
        _ = single.bar_dates


def test_hourly_windows_are_found_by_their_utc_time(make_prices):
    prices = make_prices(100)
    prices.index = pd.date_range("2000-01-01", periods=100, freq="h", tz="UTC", name="date")
    windows = Windows.of(make_features(prices), label_moves(prices), 20)
    assert windows.at("2000-01-04 10:00").dates[0] == pd.Timestamp("2000-01-04 10:00", tz="UTC")
    train, valid, test = windows.split("2000-01-03 18:00", "2000-01-04 06:00")
    assert valid.dates[0] == pd.Timestamp("2000-01-03 18:00", tz="UTC")
    assert train.label_dates[-1] == pd.Timestamp("2000-01-03 17:00", tz="UTC")
    assert test.dates[-1] == prices.index[-1]


# Labels as people use them


def test_labels_keep_what_they_say_through_everyday_pandas(make_prices):
    prices = make_prices(120)
    features, labels = make_features(prices), label_moves(prices)
    whole = Windows.of(features, labels, 10)
    late = np.asarray(labels.index >= "2000-04-03")
    for changed in (
        labels[late],
        labels.loc["2000-04-03":],
        labels.iloc[late.argmax() :],
        labels[late].copy(),
    ):
        some = Windows.of(features, changed, 10)
        assert some.dates.equals(whole.dates[whole.dates >= "2000-04-03"])
        assert torch.equal(some.y, whole.y[np.asarray(whole.dates >= "2000-04-03")])
    assert len(Windows.of(features, labels.dropna(), 10)) == len(whole) - 1
    assert Windows.of(features, labels.rename("move").astype("float32"), 10).classes == (
        "sell",
        "hold",
        "buy",
    )


def test_labels_that_lost_their_attrs_are_refused_with_the_repair(make_prices):
    prices = make_prices(60)
    labels = label_moves(prices)
    bare = pd.Series(labels.to_numpy(), index=labels.index)
    with pytest.raises(
        ValueError, match=r"must tell the task and the horizon.*labels.attrs = original.attrs"
    ):
        Windows.of(make_features(prices), bare, 5)
    bare.attrs = labels.attrs
    assert len(Windows.of(make_features(prices), bare, 5)) == 23


def test_cutting_both_frames_at_a_date_leaks_nothing_from_behind_it(make_prices):
    prices = make_prices(120)
    cut = prices.index[99]
    windows = Windows.of(make_features(prices).loc[:cut], label_moves(prices, 5).loc[:cut], 10)
    assert windows.label_dates.max() == cut
    assert (windows.y == -1).sum() == 5  # these moves end behind the cut, though the labels tell them
    longer = Windows.of(make_features(prices).loc[:cut], label_moves(prices, 5), 10)
    assert (longer.y >= 0).all()
    assert longer.label_dates.max() == prices.index[104]


def test_features_and_labels_of_two_tickers_are_not_mixed_up(make_prices):
    ours, theirs = make_prices(60, ticker="OURS"), make_prices(60, seed=1, ticker="THEIRS")
    with pytest.raises(ValueError, match=r"features come from OURS and labels from THEIRS"):
        Windows.of(make_features(ours), label_moves(theirs), 5)
