import datetime as dt

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from workbench.features.splits import purged_split, timestamp

TEN = pd.bdate_range("2000-01-03", periods=10, name="date")


def ends_of(dates: pd.DatetimeIndex, horizon: int) -> pd.DatetimeIndex:
    """Label dates of one ticker's consecutive bars."""
    later = pd.Series(dates, index=range(len(dates))).shift(-horizon)
    return pd.DatetimeIndex(later)


def rows(part: np.ndarray) -> list[int]:
    return np.flatnonzero(part).tolist()


def test_split_of_ten_days_by_hand():
    train, valid, test = purged_split(TEN, ends_of(TEN, 2), TEN[4], TEN[7])
    # bars 2 and 3 have labels that end on bars 4 and 5; bars 5 and 6 on 7 and 8
    assert (rows(train), rows(valid), rows(test)) == ([0, 1], [4], [7, 8, 9])


def test_a_cut_between_bars_begins_at_the_next_bar():
    saturday = "2000-01-08"
    train, valid, test = purged_split(TEN, ends_of(TEN, 1), saturday, dt.date(2000, 1, 12))
    assert (rows(train), rows(valid), rows(test)) == ([0, 1, 2, 3], [5], [7, 8, 9])


def test_fractions_count_distinct_decision_dates():
    train, valid, test = purged_split(TEN, ends_of(TEN, 1), 0.5, 0.8)
    assert (rows(train), rows(valid), rows(test)) == ([0, 1, 2, 3], [5, 6], [8, 9])
    twice = TEN.repeat(2)  # two tickers a day: a day is never cut in two
    train, valid, test = purged_split(twice, ends_of(TEN, 1).repeat(2), 0.5, 0.8)
    assert (rows(train), rows(valid), rows(test)) == (list(range(8)), [10, 11, 12, 13], [16, 17, 18, 19])


@given(data=st.data(), n=st.integers(5, 60), horizon=st.integers(1, 12), tickers=st.integers(1, 3))
def test_no_label_reaches_the_first_decision_bar_of_the_next_part(data, n, horizon, tickers):
    calendar = pd.bdate_range("2000-01-03", periods=n, name="date")
    dates, label_dates = [], []
    for _ in range(tickers):  # each with bars missing, so that its labels span more days than the horizon
        kept = calendar[sorted(data.draw(st.sets(st.integers(0, n - 1), min_size=2)))]
        dates.append(kept)
        label_dates.append(ends_of(kept, horizon))
    dates = pd.DatetimeIndex(np.concatenate(dates))
    label_dates = pd.DatetimeIndex(np.concatenate(label_dates))
    first, second = sorted(data.draw(st.tuples(st.integers(1, n - 2), st.integers(2, n - 1))))
    assume(first < second)
    start, stop = calendar[first], calendar[second]
    expected = []
    for begin, end in ((None, start), (start, stop), (stop, None)):
        following = min((day for day in dates if end is not None and day >= end), default=None)
        expected.append(
            [
                i
                for i, (day, known) in enumerate(zip(dates, label_dates, strict=True))
                if (begin is None or day >= begin)
                and (
                    end is None
                    or (day < end and known is not pd.NaT and (following is None or known < following))
                )
            ]
        )
    if not all(expected):
        with pytest.raises(
            ValueError, match=r"leaves train {}, valid {}, test {} ".format(*map(len, expected))
        ):
            purged_split(dates, label_dates, start, stop)
        return
    train, valid, test = purged_split(dates, label_dates, start, stop)
    assert [rows(train), rows(valid), rows(test)] == expected
    assert label_dates[train].max() < dates[valid].min()
    assert label_dates[valid].max() < dates[test].min()
    assert label_dates[train | valid].notna().all()
    assert not (train & valid).any()
    assert not ((train | valid) & test).any()


@given(n=st.integers(20, 80), horizon=st.integers(1, 5))
def test_the_gap_of_consecutive_bars_is_the_horizon(n, horizon):
    calendar = pd.bdate_range("2000-01-03", periods=n, name="date")
    train, valid, test = purged_split(calendar, ends_of(calendar, horizon), 0.4, 0.7)
    assert rows(valid)[0] - rows(train)[-1] == horizon + 1
    assert rows(test)[0] - rows(valid)[-1] == horizon + 1


def test_unordered_or_equal_cuts_are_refused():
    for first, second in (("2000-01-12", "2000-01-06"), ("2000-01-06", "2000-01-06"), (0.8, 0.5)):
        with pytest.raises(ValueError, match=r"valid must begin before test. Got valid at 2000"):
            purged_split(TEN, ends_of(TEN, 1), first, second)


@pytest.mark.parametrize(
    ("first", "second", "sizes"),
    [
        ("1999", "2000-01-10", "train 0, valid 4, test 5"),
        ("2000-01-10", "2000-01-11", "train 4, valid 0, test 4"),
        ("2000-01-10", "2001", "train 4, valid 4, test 0"),
        ("2001", "2002", "train 9, valid 0, test 0"),
    ],
)
def test_an_empty_part_is_refused_with_the_sizes(first, second, sizes):
    with pytest.raises(
        ValueError, match=f"leaves {sizes} after purging. Decision dates: 2000-01-03 → 2000-01-14"
    ):
        purged_split(TEN, ends_of(TEN, 1), first, second)


def test_mixed_cuts_and_bare_years_are_refused_with_the_repair():
    with pytest.raises(TypeError, match=r"two dates or by two fractions. Got 0.6 and '2001'"):
        purged_split(TEN, ends_of(TEN, 1), 0.6, "2001")
    with pytest.raises(ValueError, match=r"between 0 and 1. Got 2009: a year is written as text, '2009'"):
        purged_split(TEN, ends_of(TEN, 1), 2009, 2011)
    nothing = TEN[:0]
    with pytest.raises(ValueError, match=r"no windows to split"):
        purged_split(nothing, nothing, 0.5, 0.7)


def test_dates_are_read_in_the_clock_of_the_bars():
    assert timestamp("2009", None) == pd.Timestamp("2009-01-01")
    assert timestamp("2009-03-02 10:00", dt.UTC) == pd.Timestamp("2009-03-02 10:00", tz="UTC")
    assert timestamp("2009-03-02 10:00+02:00", dt.UTC) == pd.Timestamp("2009-03-02 08:00", tz="UTC")
    with pytest.raises(ValueError, match=r"carry session dates: leave it out"):
        timestamp("2009-03-02 10:00+02:00", None)
    with pytest.raises(ValueError, match=r"'soon' is not a date: write it like '2009'"):
        timestamp("soon", None)
    with pytest.raises(ValueError, match=r"A date is needed. Got 'NaT'"):
        timestamp("NaT", None)
