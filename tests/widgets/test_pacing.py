"""Acts are spaced, and the last wish is always met."""

import threading
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.widgets.pacing import Pacer


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def no_timer(monkeypatch):
    """Timers that fire when told to."""
    made = []

    class Timer:
        daemon = False

        def __init__(self, seconds, act):
            self.seconds, self.act, self.on = seconds, act, True
            made.append(self)

        def start(self):
            assert self.seconds > 0

        def cancel(self):
            self.on = False

    monkeypatch.setattr(threading, "Timer", Timer)
    return made


def test_wishes_between_two_acts_become_one(no_timer):
    clock, acts = Clock(), []
    pacer = Pacer(lambda: acts.append(clock.now), 0.5, clock)
    for clock.now in (0.0, 0.1, 0.2, 0.6, 0.7):
        pacer.wish()
    assert acts == [0.0, 0.6]
    late = no_timer[-1]
    assert late.on
    assert late.seconds == pytest.approx(0.4)  # due at 1.1
    clock.now = 1.1
    late.act()
    assert acts == [0.0, 0.6, 1.1]


def test_a_tick_acts_only_on_a_wish_that_is_due():
    clock, acts = Clock(), []
    pacer = Pacer(lambda: acts.append(clock.now), 0.5, clock)
    pacer.tick()
    assert acts == []
    pacer.wish()
    clock.now = 0.3
    pacer.wish()
    pacer.tick()
    clock.now = 0.5
    pacer.tick()
    assert acts == [0.0, 0.5]


def test_what_is_dropped_is_done_by_no_timer(no_timer):
    clock, acts = Clock(), []
    pacer = Pacer(lambda: acts.append(clock.now), 0.5, clock)
    pacer.now()
    pacer.wish()
    pacer.drop()
    no_timer[-1].act()
    assert acts == [0.0]
    assert not no_timer[-1].on


@given(st.lists(st.tuples(st.sampled_from("wt"), st.integers(0, 40)), max_size=40))
def test_acts_are_half_a_second_apart_and_end_with_the_last_wish(steps):
    clock, acts, wished = Clock(), [], -1.0
    pacer = Pacer(lambda: acts.append(clock.now), 0.5, clock)
    for what, after in steps:
        clock.now += after / 64  # which binary numbers hold exactly
        if what == "w":
            wished = clock.now
        (pacer.wish if what == "w" else pacer.tick)()
    clock.now += 0.5
    pacer._late()  # as a timer would
    assert all(later - earlier >= 0.5 for earlier, later in pairwise(acts))
    assert acts[-1:] >= [wished] or wished < 0
