from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench.training.coverage import check_finite, covered, fingerprint, statistics


@given(st.sets(st.integers(0, 50), min_size=1))
def test_covered_bars_are_those_of_any_window(make_windows, chosen):
    windows = make_windows(bars=60)[sorted(chosen)]
    expected = {row for end in windows.ends.tolist() for row in range(end - 3, end + 1)}
    assert set(np.flatnonzero(covered(windows))) == expected


def test_statistics_count_each_bar_once(make_windows):
    windows = make_windows()[[0, 1, 30]]
    ends = windows.ends.tolist()
    rows = sorted({row for end in ends for row in range(end - 3, end + 1)})
    bars = windows.bars.numpy().astype(np.float64)[rows]
    mean, std = statistics(windows)
    assert len(rows) == 9
    assert mean.numpy() == pytest.approx(bars.mean(axis=0))
    assert std.numpy() == pytest.approx(bars.std(axis=0))


def test_statistics_know_nothing_of_bars_outside(make_windows):
    train, _, _ = make_windows().split(0.7, 0.85)
    altered = replace(train, bars=train.bars.clone())
    altered.bars[int(train.ends[-1]) + 1 :] += 1000
    assert all(torch.equal(a, b) for a, b in zip(statistics(train), statistics(altered), strict=True))


def broken(windows, row, column, value=float("nan")):
    bars = windows.bars.clone()
    bars[row, column] = value
    return replace(windows, bars=bars)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_broken_bar_is_named_with_its_window_and_feature(make_windows, value):
    windows = make_windows()
    check_finite(windows)
    row = int(windows.ends[20])
    with pytest.raises(ValueError, match=r"window decided on 2010-02-.*in b \(4 of") as caught:
        check_finite(broken(windows, row, 1, value))
    assert str(windows.dates[20]) in str(caught.value)


def test_a_broken_bar_of_a_panel_is_named_with_its_ticker(make_windows):
    windows = make_windows(tickers=("MSFT", "AAPL"))
    last_row_of_msft = int(windows.ends.max())
    with pytest.raises(ValueError, match="of MSFT holds"):
        check_finite(broken(windows, last_row_of_msft, 0))


def test_a_broken_bar_that_no_window_holds_is_nobodys_business(make_windows):
    windows = make_windows()
    check_finite(broken(windows, 0, 0)[10:])


def test_the_fingerprint_changes_with_whatever_training_sees(make_windows):
    windows = make_windows()
    train, valid, _ = windows.split(0.7, 0.85)
    end = int(train.ends[-1])
    prints = [
        fingerprint(train),
        fingerprint(valid),
        fingerprint(train[:-1]),
        fingerprint(broken(train, end, 0, 5.0)),
        fingerprint(replace(train, y=train.y.roll(1))),
        fingerprint(replace(train, feature_names=("a", "b", "d"))),
        fingerprint(replace(train, dates=train.dates.shift(1, freq="D"))),
        fingerprint(replace(train, tickers=np.full(len(train), "IBM"))),
    ]
    assert len(set(prints)) == len(prints)


def test_the_fingerprint_knows_nothing_of_bars_outside(make_windows):
    train, _, _ = make_windows().split(0.7, 0.85)
    longer, _, _ = make_windows().split(0.7, 0.85)
    assert fingerprint(broken(train, int(train.ends[-1]) + 1, 0)) == fingerprint(longer)
