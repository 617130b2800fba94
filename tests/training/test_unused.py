"""Every bar is accounted for once, by counts made by hand and by a plain loop."""

from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench.features.windows import Windows
from workbench.training.unused import account_rows


def windows_of(table: dict[str, list[float]], lookback: int = 3) -> Windows:
    """Windows of a panel, one list of values a ticker; every label but the last is known."""
    frames, labels = [], []
    for values in table.values():
        dates = pd.bdate_range("2020-01-01", periods=len(values), name="date")
        frames.append(pd.DataFrame({"a": values, "b": 1.0}, index=dates))
        labels.append(pd.Series(np.where(np.arange(len(values)) < len(values) - 1, 0.1, np.nan), index=dates))
    stacked = [
        pd.concat(part, keys=table, names=["ticker"]).swaplevel().sort_index() for part in (frames, labels)
    ]
    stacked[1].attrs = {"task": "regression", "horizon": 1}
    return Windows.of(stacked[0], stacked[1].rename("forward_return"), lookback)


def test_two_tickers_are_counted_by_hand():
    nan = float("nan")
    found = account_rows(windows_of({"A": [nan, nan, 1, 2, 3, 4, 5, 6], "B": [1, 2, nan, 4, 5, 6, 7]}))
    # A: 2 early, then 2 that see the missing ones, then 4, of which the last isn't known yet.
    # B: 2 early, then 3 that see the missing one, then 2, of which the last isn't known yet.
    assert found.bars == 15
    assert (found.train, found.unlabelled, found.early, found.missing) == (4, 2, 4, 5)
    assert (found.valid, found.later, found.apart) == (0, 0, 0)
    assert found.worst == ("a", 3)


def test_parts_of_a_split_count_each_bar_once(make_windows):
    windows = make_windows(bars=60, lookback=4)
    train, valid, test = windows.split(0.5, 0.75)
    found = account_rows(train, valid)
    assert (found.train, found.valid, found.early) == (len(train), len(valid), 3)
    assert found.later == len(test) + 1  # and the bar before the test, whose label ends in it
    assert found.apart == 1  # the last of train's, whose label ends in valid
    # the labels of the first two bars are unknown too, but those bars come too early as well
    assert sum(value for name, value in asdict(found).items() if name not in ("bars", "worst")) == 60


def test_validation_of_another_table_is_not_counted_here(parts, make_windows):
    train = parts[0]
    apart = account_rows(train, make_windows(seed=5).split(0.7, 0.85)[1])
    assert apart == account_rows(train)


def test_tickers_that_follow_each_other_are_told_apart():
    windows = windows_of({"A": [1, 2, 3, 4, 5], "B": [1, 2, 3, 4, 5]})
    later = windows.bar_index[:5].append(windows.bar_index[5:] + pd.Timedelta(days=100))
    ends = torch.arange(10)[[2, 3, 4, 7, 8, 9]]
    moved = replace(
        windows,
        bar_index=later,
        ends=ends,
        dates=later[ends.numpy()],
        tickers=np.repeat(np.array(["A", "B"], dtype=object), 3),
    )
    assert account_rows(moved).early == 4


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    gaps=st.sets(st.integers(0, 26), max_size=4),
    lookback=st.integers(1, 4),
)
def test_any_table_is_accounted_for_as_by_a_loop(lengths: list[int], gaps: set[int], lookback: int):
    values = iter(range(27))
    table = {
        name: [float("nan") if (i := next(values)) in gaps else float(i) for _ in range(length)]
        for name, length in zip("ABC", lengths, strict=False)
    }
    try:
        found = account_rows(windows_of(table, lookback))
    except ValueError:  # no complete window, or a column that is NaN throughout
        return
    early = missing = 0
    for column in table.values():
        for i in range(len(column)):
            early += i < lookback - 1
            missing += i >= lookback - 1 and any(np.isnan(column[i - lookback + 1 : i + 1]))
    assert (found.early, found.missing) == (early, missing)
    parts = [value for name, value in asdict(found).items() if name not in ("bars", "worst")]
    assert sum(parts) == found.bars == sum(lengths)


def test_bars_without_a_label_row_are_apart():
    windows = windows_of({"A": [1, 2, 3, 4, 5, 6]})
    fewer = windows[[0, 3]]
    assert account_rows(fewer).apart == 2
    assert account_rows(windows[[0, 1]]).later == 2


@pytest.mark.parametrize("rows", [slice(0, 4)])
def test_a_table_without_gaps_has_no_worst_column(parts, rows):
    assert account_rows(parts[0][rows]).worst is None
