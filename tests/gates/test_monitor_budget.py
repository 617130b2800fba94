import pandas as pd
import pytest
from skorch.callbacks import Callback
from trainings import OPTIONS, At, model_of, parts_of

from workbench.gates.detect import FiniteCheck
from workbench.gates.monitor import GateMonitor
from workbench.gates.weights import StepWatch
from workbench.training.fitting import fit


class Clock:
    """Seconds that pass by what is done, not by what it takes."""

    def __init__(self, look=0.05, step=0.02):
        self.now, self.look, self.step = 0.0, look, step

    def __call__(self):
        return self.now


class Costly:
    """A detector that takes a while."""

    def __init__(self, clock):
        self.clock = clock

    def check(self, snapshot):
        self.clock.now += self.clock.look
        return []


class Steps(Callback):
    """Training that takes a while."""

    def __init__(self, clock):
        self.clock = clock

    def on_batch_end(self, net, training=False, **kwargs):
        self.clock.now += self.clock.step if training else 0.0


def test_epochs_are_left_out_so_that_the_budget_holds_and_it_is_told():
    parts, clock = parts_of(), Clock()  # 5 steps of 0.02 s an epoch; a look takes 0.05 s
    monitor = GateMonitor(parts[1], budget=0.1, detector=Costly(clock))
    monitor.budget._clock = clock
    fit(
        model_of(parts),
        *parts,
        callbacks=[Steps(clock), monitor],
        **OPTIONS | {"epochs": 23, "patience": None},
    )
    record = monitor.record
    assert -(-len(parts[0]) // 16) == 5
    taken = record.index[record["taken"]].tolist()
    # after n epochs of 0.1 s, k looks may have cost 0.9 · 0.1 · 0.1 n, a tenth being held back: the k-th, but
    # the first, comes at the next epoch after 5.56 k
    assert taken == [1, 12, 17, 23]
    assert set(record.loc[~record["taken"], "why"]) == {"over budget"}
    assert monitor.overhead == pytest.approx(4 * 0.05 / 2.3)
    assert monitor.overhead <= 0.1
    assert monitor.costs["detector"] == pytest.approx(0.2)
    assert record["valid_loss"].notna().all()
    pd.testing.assert_frame_equal(monitor.log.record, record)  # also of the epochs after the last look


def test_a_training_shorter_than_its_budget_is_looked_at_once():
    parts, clock = parts_of(), Clock(look=10.0)
    monitor = GateMonitor(parts[1], detector=Costly(clock))
    monitor.budget._clock = clock

    def spend():  # more than the budget, before the first look
        with monitor.budget.spending("steps"):
            clock.now += 5.0

    with pytest.warns(UserWarning, match=r"looked at 1 of 3 epochs.* `fire_after` looks.* every=1, or"):
        fit(model_of(parts), *parts, callbacks=[Steps(clock), At(1, spend), monitor], **OPTIONS)
    assert list(monitor.record["taken"]) == [True, False, False]
    assert monitor.overhead > 1
    assert "1 looked at" in repr(monitor)


@pytest.mark.parametrize("watch", [{}, {"detector": FiniteCheck()}])
def test_a_budget_that_leaves_epochs_out_is_no_matter_where_nobody_is_to_be_told(watch):
    parts = parts_of()
    monitor = GateMonitor(parts[1], budget=1e-9, **watch)
    fit(model_of(parts), *parts, callbacks=[monitor], **OPTIONS)
    assert len(monitor.snapshots) == 1


def test_alerts_that_a_budget_gives_one_look_are_warned_of():
    class Told:
        def observe(self, readings, epoch=None):
            pass

    parts = parts_of()
    monitor = GateMonitor(parts[1], budget=1e-9, alerts=Told())
    with pytest.warns(UserWarning, match="looked at 1 of 3 epochs"):
        fit(model_of(parts), *parts, callbacks=[monitor], **OPTIONS)


def test_steps_are_measured_as_far_as_a_quarter_of_the_budget_goes(monkeypatch):
    parts, clock = parts_of(bars=400), Clock(look=0.0, step=1.0)
    monitor = GateMonitor(parts[1], budget=0.2)
    monitor.budget._clock = clock
    ends = StepWatch.end_step

    def slow(self):
        clock.now += 0.5
        ends(self)

    monkeypatch.setattr(StepWatch, "end_step", slow)
    fit(model_of(parts), *parts, callbacks=[Steps(clock), monitor], **OPTIONS)
    steps, sampled = monitor.record["steps"].sum(), monitor.record["sampled"].sum()
    assert sampled == pytest.approx(steps * 0.2 / 4 / 0.5, abs=1)  # one step in ten
    assert monitor.costs["steps"] == pytest.approx(0.5 * sampled)
