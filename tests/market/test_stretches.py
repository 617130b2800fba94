"""Spans against sets of days."""

from itertools import pairwise

import pandas as pd
from hypothesis import example, given
from hypothesis import strategies as st

from workbench.market.stretches import Grid, Span, Stretch

NOON = pd.Timestamp("2024-06-05 12:00", tz="UTC")
DAY = pd.Timedelta(1, "D")
ends = st.tuples(st.integers(0, 40), st.integers(0, 12)).map(lambda e: (e[0], e[0] + e[1]))


def day(number: int) -> pd.Timestamp:
    return pd.Timestamp("2024-01-01") + number * DAY


def stretch(first: int, last: int) -> Stretch:
    return Stretch(day(first), day(last), NOON, day(last))


def days(spans: list) -> set[pd.Timestamp]:
    return {date for span in spans for date in pd.date_range(span.first, span.last)}


@given(ends, st.lists(ends, max_size=5))
def test_gaps_are_the_wanted_days_that_no_stretch_has(
    wanted: tuple[int, int], held: list[tuple[int, int]]
) -> None:
    span, stretches = Span(day(wanted[0]), day(wanted[1])), [stretch(*e) for e in held]
    gaps = Grid("1d", NOON).gaps(span, stretches)
    assert days(gaps) == days([span]) - days(stretches)
    assert all(before.last + DAY < after.first for before, after in pairwise(gaps))


@example((5, 7), (8, 9))
@example((5, 7), (9, 9))
@example((5, 7), (2, 4))
@example((5, 7), (2, 3))
@given(ends, ends)
def test_spans_touch_when_they_share_a_day_or_follow_one_another(
    one: tuple[int, int], other: tuple[int, int]
) -> None:
    near = Grid("1d", NOON).touching(Span(day(one[0]), day(one[1])), [stretch(*other)])
    around = set(range(one[0] - 1, one[1] + 2))
    assert bool(near) == bool(around & set(range(other[0], other[1] + 1)))


def test_what_is_certain_has_closed_and_settled_everywhere() -> None:
    assert Grid("1h", NOON).certain == pd.Timestamp("2024-06-05 10:00", tz="UTC")
    assert Grid("1d", NOON).certain == pd.Timestamp("2024-06-03")
    assert Grid("1wk", NOON).certain == pd.Timestamp("2024-05-28")
    assert Grid("1mo", NOON).certain == pd.Timestamp("2024-05-04")
    assert Grid("1d", NOON).horizon == pd.Timestamp("2024-06-05")
    assert Grid("5m", NOON).horizon == NOON


def test_an_answer_up_to_now_is_good_for_a_bar_and_no_more_than_an_hour() -> None:
    minutes = [
        Grid(interval, NOON).freshness // pd.Timedelta(1, "min") for interval in ("1m", "30m", "4h", "1mo")
    ]
    assert minutes == [1, 30, 60, 60]
