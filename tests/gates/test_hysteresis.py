"""When something is told, by hand and against a naive reading of the whole history."""

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.gates.hysteresis import QUIET, Condition, Level, Patience, Rule, advanced

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
LEVELS: tuple[Level, ...] = ("above", "broken", "between", "below")


def told(levels: list[Level], patience: Patience, every: timedelta = HOUR) -> list[str | None]:
    """What is told at each reading."""
    condition, events = QUIET, []
    for i, level in enumerate(levels):
        condition, event = advanced(condition, level, patience, START + i * every)
        events.append(event)
    return events


def of_values(values: list[float], rule: Rule) -> list[str | None]:
    return told([rule.level(value) for value in values], rule)


def naive(levels: list[Level], patience: Patience) -> list[str | None]:
    """Look back, at each reading, over all that came since the last change."""
    events: list[str | None] = []
    for i in range(len(levels)):
        changes = [j for j in range(i) if events[j] in ("firing", "resolved")]
        since = levels[changes[-1] + 1 if changes else 0 : i + 1]
        firing = bool(changes) and events[changes[-1]] == "firing"
        count = patience.clear_after if firing else patience.fire_after
        wanted = {"below"} if firing else {"above", "broken"}
        if not firing and levels[i] == "broken" and patience.not_finite_after is not None:
            count = patience.not_finite_after
        last = since[-count:]
        event: str | None = None
        if len(last) == count and set(last) <= wanted:
            event = "resolved" if firing else "firing"
        elif firing and levels[i] in ("above", "broken") and patience.repeat is not None:
            spoken = max(j for j in range(i) if events[j] in ("firing", "still firing"))
            if (i - spoken) * HOUR >= patience.repeat:
                event = "still firing"
        events.append(event)
    return events


def test_it_fires_at_the_third_bad_reading_in_a_row_and_is_resolved_at_the_second_good_one():
    rule = Rule("loss", above=1.0, clear=0.6, fire_after=3, clear_after=2, repeat=None)
    values = [2.0, 2.0, 0.5, 2.0, 2.0, 2.0, 0.5, 0.8, 0.5, 0.5, 0.5]
    wanted = [None] * 5 + ["firing"] + [None] * 3 + ["resolved", None]
    assert of_values(values, rule) == wanted


def test_a_reading_between_ends_both_rows():
    rule = Rule("loss", above=1.0, clear=0.6, fire_after=2, clear_after=2, repeat=None)
    values = [2.0, 0.8, 2.0, 2.0, 0.5, 0.8, 0.5, 0.5]
    assert of_values(values, rule) == [None, None, None, "firing", None, None, None, "resolved"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_finite_number_is_bad(value: float):
    rule = Rule("loss", above=1.0, fire_after=3)
    assert of_values([value, 2.0, value], rule) == [None, None, "firing"]
    hasty = Rule("loss", above=1.0, fire_after=3, not_finite_after=1)
    assert of_values([2.0, value], hasty) == [None, "firing"]


def test_what_is_no_finite_number_resolves_nothing():
    rule = Rule("loss", above=1.0, fire_after=1, clear_after=2, repeat=None)
    assert of_values([2.0, 0.0, math.nan, 0.0, 0.0], rule) == ["firing", None, None, None, "resolved"]


def test_it_is_told_again_when_the_time_is_over_and_only_while_it_is_bad():
    rule = Rule("loss", above=1.0, clear=0.5, fire_after=1, clear_after=9, repeat=2 * HOUR)
    values = [2.0, 2.0, 2.0, 2.0, 0.7, 2.0, 2.0, 2.0]
    wanted = ["firing", None, "still firing", None, None, "still firing", None, "still firing"]
    assert of_values(values, rule) == wanted


def test_a_clock_set_back_tells_nothing_again():
    firing = Condition(firing=True, told_at=START)
    assert advanced(firing, "above", Patience(), START - 1000 * HOUR) == (firing, None)


def test_limits_themselves_are_neither_bad_nor_good():
    rule = Rule("loss", above=1.0, clear=0.5)
    assert [rule.level(value) for value in (1.0, 1.001, 0.5, 0.499)] == [
        "between",
        "above",
        "between",
        "below",
    ]
    assert Rule("loss", above=1.0).level(1.0) == "below"


@given(
    st.lists(st.sampled_from(LEVELS), max_size=60),
    st.integers(1, 4),
    st.integers(1, 4),
    st.none() | st.integers(1, 4),
    st.none() | st.integers(1, 5),
)
def test_it_tells_what_a_naive_look_at_all_readings_tells(
    levels: list[Level], fire: int, clear: int, broken: int | None, hours: int | None
):
    repeat = None if hours is None else hours * HOUR
    patience = Patience(fire_after=fire, clear_after=clear, not_finite_after=broken, repeat=repeat)
    events = told(levels, patience)
    assert events == naive(levels, patience)
    changes = [event for event in events if event in ("firing", "resolved")]
    assert changes == ["firing", "resolved"] * (len(changes) // 2) + ["firing"] * (len(changes) % 2)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Patience(fire_after=0), "fire_after counts readings, so it must be at least 1; got 0"),
        (lambda: Patience(clear_after=-1), "clear_after counts"),
        (lambda: Patience(not_finite_after=0), "not_finite_after counts"),
        (lambda: Patience(repeat=timedelta(0)), "None for never"),
        (lambda: Rule("loss", above=1, clear=2), "clear no higher; got above=1, clear=2"),
        (lambda: Rule("loss", above=math.nan), "Rule 'loss' needs a number for above"),
        (lambda: Rule("loss", above=1, clear=math.nan), "clear no higher"),
    ],
)
def test_rules_that_make_no_sense_are_refused_in_words(make, words: str):
    with pytest.raises(ValueError, match=words):
        make()
