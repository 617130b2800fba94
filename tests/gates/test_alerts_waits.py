"""How long to wait before the next attempt."""

import random

from workbench.gates.waits import SETTINGS, Waits


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_waits_double_up_to_the_longest_and_chance_shortens_them_by_at_most_a_half():
    for _ in range(200):
        waits = Waits(2.0, 10.0, Clock())
        pauses = [waits.failed("a") for _ in range(6)]
        for pause, most in zip(pauses, [2, 4, 8, 10, 10, 10], strict=True):
            assert most / 2 <= pause <= most


def test_chance_differs_between_two_senders():
    assert Waits(2.0, 10.0).failed("a") != Waits(2.0, 10.0).failed("a")


def test_a_hundred_thousand_failures_overflow_nothing():
    waits = Waits(2.0, 10.0, Clock())
    waits._failures["a"] = 100_000
    assert waits.failed("a") <= 10


def test_what_failed_rests_until_its_time_is_over_and_the_others_do_not():
    clock = Clock()
    waits = Waits(2.0, 10.0, clock)
    pause = waits.failed("a")
    assert waits.resting() == {"a"}
    clock.now = pause - 0.001
    assert waits.resting() == {"a"}
    clock.now = pause
    assert waits.resting() == set()


def test_success_begins_anew():
    waits = Waits(2.0, 1000.0, Clock())
    for _ in range(5):
        waits.failed("a")
    waits.worked("a")
    assert waits.failures("a") == 0
    assert waits.failed("a") <= 2.0


def test_a_wrong_setting_rests_for_an_hour_until_everything_is_forgotten():
    waits = Waits(2.0, 10.0, Clock())
    assert waits.failed("a", settings=True) == SETTINGS
    waits.forget()
    assert waits.resting() == set()


def test_the_random_numbers_of_a_training_are_left_alone():
    random.seed(0)
    state = random.getstate()
    Waits(2.0, 10.0).failed("a")
    assert random.getstate() == state
