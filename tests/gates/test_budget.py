import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.gates.budget import Budget


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def begun(share=0.02):
    clock = Clock()
    return Budget(share, clock), clock


def spend(budget, clock, kind, seconds):
    with budget.spending(kind):
        clock.now += seconds


def test_three_epochs_by_hand():
    budget, clock = begun()
    clock.now += 1.0  # training alone
    spend(budget, clock, "look", 0.03)
    assert budget.overhead == pytest.approx(0.03 / 1.0)
    assert not budget.allows("look")  # 0.06 of 1 s
    clock.now += 1.0
    assert not budget.allows("look")  # 0.06 of 2 s
    clock.now += 1.3
    assert not budget.allows("look")  # 0.06 of 3.3 s is within 2 %, but a tenth of that is held back
    clock.now += 0.04
    assert budget.allows("look")  # 0.06 of 3.34 s
    spend(budget, clock, "look", 0.03)
    assert budget.overhead == pytest.approx(0.06 / 3.34)
    assert budget.costs == pytest.approx({"look": 0.06})


def test_what_is_spent_within_another_block_is_counted_once():
    budget, clock = begun()
    clock.now += 1.0
    with budget.spending("look"):
        clock.now += 0.01
        spend(budget, clock, "steps", 0.02)
    assert budget.costs == pytest.approx({"look": 0.03})
    assert budget.own == pytest.approx(1.0)


def test_a_block_that_fails_is_counted_too():
    budget, clock = begun()

    def failing():
        with budget.spending("log"):
            clock.now += 0.5
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        failing()
    assert budget.spent == pytest.approx(0.5)


def test_three_steps_by_hand():
    budget, clock = begun(0.1)  # of which steps may take a quarter: 1 s in 40
    assert budget.enough_for_step("steps") == 0.0
    spend(budget, clock, "steps", 0.05)
    assert budget.enough_for_step("steps") == pytest.approx(0.10 * 40)
    spend(budget, clock, "steps", 0.02)
    assert budget.enough_for_step("steps") == pytest.approx((0.07 + 0.05) * 40)
    budget.add("look", 1.0)  # now it is the whole that is short: 1.07 s and the next step's 0.05 of a tenth
    assert budget.enough_for_step("steps") == pytest.approx(1.12 * 10)
    assert budget.spent == pytest.approx(1.07)


def test_the_next_is_expected_to_cost_what_the_dearest_of_the_last_three_did():
    budget, clock = begun()
    for seconds in (9.0, 1.0, 3.0, 2.0):
        spend(budget, clock, "look", seconds)
    assert budget.expected("look") == pytest.approx(3.0)
    assert budget.expected("other") == 0.0


@given(
    st.lists(st.floats(0.001, 1.0), min_size=5, max_size=30),
    st.floats(0.001, 0.5),
    st.floats(0.0001, 0.01),
    st.floats(0.005, 0.2),
)
def test_after_every_look_that_was_allowed_watching_is_within_its_share(epochs, look, step, share):
    budget, clock = begun(share)
    spend(budget, clock, "look", look)  # the first, which nobody asks for
    for seconds in epochs:
        clock.now += seconds
        for _ in range(3):
            if budget.own >= budget.enough_for_step("steps"):
                spend(budget, clock, "steps", step)
                assert budget.overhead <= share * (1 + 1e-9) or budget.costs["steps"] < 1.5 * step
            clock.now += seconds / 10
        if budget.allows("look"):
            spend(budget, clock, "look", look)
            assert budget.overhead <= share * (1 + 1e-9)
        if budget.costs.get("steps", 0) > step:
            assert budget.costs["steps"] <= share * budget.own / 4 * (1 + 1e-9)


def test_after_it_is_stopped_nothing_changes():
    budget, clock = begun()
    clock.now += 1.0
    spend(budget, clock, "look", 0.1)
    budget.stop()
    clock.now += 1000.0
    assert budget.overhead == pytest.approx(0.1)
    budget.start()
    assert (budget.overhead, budget.costs) == (0.0, {})


@pytest.mark.parametrize("share", [0, -0.1])
def test_a_budget_of_nothing_is_refused(share):
    with pytest.raises(ValueError, match="above 0"):
        Budget(share)
