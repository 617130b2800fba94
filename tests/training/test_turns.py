import threading

import pytest
import torch
from torch import nn

from workbench.models.registry import build_model
from workbench.training.fitting import fit
from workbench.training.prediction import predict
from workbench.training.turns import turn

SOON, LATE = 0.2, 10.0  # seconds: how long nothing must happen, and within which it must


def _taking(model):
    """Start a thread that takes a turn; return it and the event that tells that it had one."""
    had = threading.Event()

    def take():
        with turn(model):
            had.set()

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    return thread, had


def _sharing():
    shared = nn.Linear(2, 2)
    return nn.Sequential(shared, nn.ReLU()), nn.Sequential(nn.Tanh(), shared)


def _wrapped():
    model = nn.Linear(2, 2)
    return model, nn.DataParallel(model)


def _one():
    model = nn.Linear(2, 2)
    return model, model


@pytest.mark.parametrize("pair", [_one, _sharing, _wrapped])
def test_who_shares_a_module_waits(pair):
    mine, other = pair()
    with turn(mine):
        thread, had = _taking(other)
        assert not had.wait(SOON)
    assert had.wait(LATE)
    thread.join(LATE)


def test_models_of_their_own_do_not_wait():
    with turn(nn.Linear(2, 2)):
        thread, had = _taking(nn.Linear(2, 2))
        assert had.wait(LATE)
        thread.join(LATE)


def test_a_thread_takes_its_own_turn_again_and_keeps_it_until_the_last_is_given_back():
    inner = nn.Linear(2, 2)
    outer = nn.Sequential(inner)
    with turn(inner):
        with turn(outer), turn(inner):
            pass
        thread, had = _taking(outer)
        assert not had.wait(SOON)
    assert had.wait(LATE)
    thread.join(LATE)


def test_a_turn_ends_with_an_error():
    model = nn.Linear(2, 2)
    with pytest.raises(RuntimeError), turn(model):
        raise RuntimeError
    thread, had = _taking(model)
    assert had.wait(LATE)
    thread.join(LATE)


def test_waiting_ends_when_what_is_asked_raises():
    model, failed = nn.Linear(2, 2), threading.Event()

    def impatient():
        def asked():
            raise TimeoutError

        try:
            with turn(model, asked):
                raise AssertionError("had a turn")
        except TimeoutError:
            failed.set()

    with turn(model):
        thread = threading.Thread(target=impatient, daemon=True)
        thread.start()
        assert failed.wait(LATE)
        thread.join(LATE)
    with turn(model):  # whoever gave up is in nobody's way
        pass


def test_turns_go_by_who_asked_first():
    model, order, begun = nn.Linear(2, 2), [], threading.Event()

    def greedy():
        for _ in range(3):
            with turn(model):
                begun.set()
                order.append("greedy")
                threading.Event().wait(SOON)  # the other asks meanwhile

    thread = threading.Thread(target=greedy, daemon=True)
    thread.start()
    assert begun.wait(LATE)
    with turn(model):
        order.append("other")
    thread.join(LATE)
    assert order == ["greedy", "other", "greedy", "greedy"]


def test_predictions_wait_for_a_turn_and_leave_the_mode_alone(make_windows):
    windows = make_windows()
    model = build_model("transformer", windows, seed=0).train()
    wanted, found = predict(model, windows), []
    with turn(model):
        model.train()
        thread = threading.Thread(target=lambda: found.append(predict(model, windows)), daemon=True)
        thread.start()
        thread.join(SOON)
        assert not found
        assert model.training
    thread.join(LATE)
    assert found[0].equals(wanted)
    assert model.training


def test_predicting_while_a_model_learns_changes_nothing_it_learns(make_windows):
    windows = make_windows(bars=80)
    train, valid = windows[:36], windows[40:]
    alone = build_model("transformer", windows, seed=0)
    fit(alone, train, valid, epochs=3, batch_size=4, progress=False)
    watched, ended = build_model("transformer", windows, seed=0), threading.Event()
    modes = []

    def ask():
        while not ended.is_set():
            predict(watched, valid)
            with turn(watched):
                modes.append(watched.training)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    fit(watched, train, valid, epochs=3, batch_size=4, progress=False)
    ended.set()
    thread.join(LATE)
    assert len(modes) > 3
    ours, theirs = alone.state_dict(), watched.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
