"""Explaining one model in two threads: watching switches it about, so that they must take turns."""

import threading

import numpy as np
import pytest

from workbench.explainers.explanation import explain
from workbench.explainers.streams import stream_rollout
from workbench.explainers.watching import Cancelled, Watch
from workbench.models.transformer import TradingTransformer

pytestmark = pytest.mark.usefixtures("small_batches")

SHORT, LONG = 0.3, 20.0  # seconds


def small():
    return TradingTransformer(3, d_model=12, n_heads=3, n_layers=2, d_ff=8, dropout=0.3).eval()


def overlapped(first, second):
    """Call `second` once `first` has begun, and let `first` go on while `second` is in it, if it can be."""
    first_in, second_in, found = threading.Event(), threading.Event(), {}

    def begun(*_):
        if not first_in.is_set():
            first_in.set()
            second_in.wait(SHORT)

    def other(*_):
        if not second_in.is_set():
            second_in.set()
            one.join(LONG)

    def start(name, call, watch):
        found[name] = call(watch)

    one = threading.Thread(target=start, args=("first", first, Watch(begun)))
    one.start()
    assert first_in.wait(LONG)
    two = threading.Thread(target=start, args=("second", second, Watch(other)))
    two.start()
    one.join(LONG)
    two.join(LONG)
    return found["first"], found["second"]


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("rollout", {"position": 4}),
        ("rollout", {}),
        ("relevance", {}),
        ("attention", {"position": 2}),
        ("value_rollout", {"position": 2}),
        ("flow", {"position": 4}),
        ("integrated_gradients", {"n_steps": 2}),
    ],
)
def test_two_threads_find_what_each_finds_alone(windows, method, options):
    model = small()
    wanted = explain(model, windows, position=3).scores, explain(model, windows, method, **options).scores
    first, second = overlapped(
        lambda watch: explain(model, windows, position=3, watch=watch).scores,
        lambda watch: explain(model, windows, method, watch=watch, **options).scores,
    )
    np.testing.assert_array_equal(first, wanted[0])
    np.testing.assert_array_equal(second, wanted[1])
    assert model.prune


def test_a_model_in_training_mode_stays_in_it_and_is_asked_without_dropout(windows):
    model = small().train()
    wanted = explain(model, windows).predictions
    found = overlapped(
        lambda watch: explain(model, windows, watch=watch).predictions,
        lambda watch: explain(model, windows, watch=watch).predictions,
    )
    assert all(each.equals(wanted) for each in found)
    assert all(part.training for part in model.modules())


def test_a_pass_outside_explain_takes_turns_too(windows):
    model = small()
    x = windows.batch(slice(0, 3))
    wanted = stream_rollout(model, x)
    _, found = overlapped(
        lambda watch: explain(model, windows, position=3, watch=watch),
        lambda watch: stream_rollout(model, x),
    )
    assert found.equal(wanted)


def test_an_explanation_that_waits_for_its_turn_can_be_cancelled(windows):
    model, waiting, stop, told = small(), threading.Event(), threading.Event(), []

    def wait():
        waiting.set()
        with pytest.raises(Cancelled, match="after 0 of"):
            explain(model, windows, watch=Watch(stop=stop))
        told.append("cancelled")

    def during(*_):
        if not waiting.is_set():
            thread.start()
            waiting.wait(LONG)
            stop.set()
            thread.join(LONG)

    thread = threading.Thread(target=wait)
    explain(model, windows, watch=Watch(during))
    assert told == ["cancelled"]
