import threading

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback

from workbench.models.registry import build_model
from workbench.training.fitting import fit
from workbench.training.states import state_file, weights_of, weights_sha256

TINY = {"d_model": 8, "n_heads": 2, "n_layers": 1, "d_ff": 16, "dropout": 0.2}
OPTIONS = {"epochs": 6, "batch_size": 32, "lr": 0.01, "progress": False}


class Killed(Exception):
    pass


class At(Callback):
    """Do something in the second batch of an epoch."""

    def __init__(self, epoch, action):
        self.epoch, self.action = epoch, action

    def on_batch_end(self, net, training=False, **kwargs):
        if training and len(net.history) == self.epoch and len(net.history[-1]["batches"]) == 2:
            self.action()


def kill():
    raise Killed


def model_for(parts, name="transformer"):
    return build_model(name, parts[0], **(TINY if name == "transformer" else {"hidden_size": 8}))


def digest(model):
    return weights_sha256(weights_of(model))


def test_training_can_be_cancelled_from_another_thread(parts):
    stop, underway = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: (underway.wait(), stop.set()))
    thread.start()
    options = OPTIONS | {"epochs": 10_000, "patience": None}
    history = fit(model_for(parts), *parts[:2], stop=stop, callbacks=[At(2, underway.set)], **options)
    thread.join()
    assert history.stopped == "cancelled"
    assert 1 <= len(history.epochs) < 10_000
    assert "was cancelled after" in str(history)


def test_a_cancelled_model_has_the_best_weights_so_far(parts):
    stop, cancelled, whole = threading.Event(), model_for(parts), model_for(parts)
    options = OPTIONS | {"schedule": "none"}
    history = fit(cancelled, *parts[:2], stop=stop, callbacks=[At(4, stop.set)], **options)
    fit(whole, *parts[:2], **options | {"epochs": 3})
    assert len(history.epochs) == 3
    assert digest(cancelled) == digest(whole)
    assert not cancelled.training


def test_cancelled_before_it_began(parts):
    stop, model = threading.Event(), model_for(parts)
    stop.set()
    history = fit(model, *parts[:2], stop=stop, **OPTIONS)
    assert (len(history.epochs), history.best_epoch, history.stopped) == (0, 0, "cancelled")
    assert "no epoch was completed" in str(history)
    with pytest.raises(ValueError, match="No epoch was completed"):
        _ = history.best


@pytest.mark.parametrize("name", ["transformer", "lstm"])
@pytest.mark.parametrize("schedule", ["cosine", "plateau"])
@pytest.mark.parametrize("epoch", [1, 2, 5])
def test_a_killed_run_resumes_to_the_same_bits(parts, tmp_path, name, schedule, epoch):
    options = OPTIONS | {"schedule": schedule, "patience": 5}
    whole, resumed = model_for(parts, name), model_for(parts, name)
    expected = fit(whole, *parts[:2], seed=4, **options)
    options["checkpoint"] = tmp_path
    with pytest.raises(Killed):
        fit(resumed, *parts[:2], seed=4, callbacks=[At(epoch, kill)], **options)
    torch.rand(100)  # a new process has another random state
    resumed = model_for(parts, name)
    history = fit(resumed, *parts[:2], seed=4, **options)
    assert digest(resumed) == digest(whole)
    assert history.epochs.drop(columns="seconds").equals(expected.epochs.drop(columns="seconds"))
    assert (history.stopped, history.best_epoch) == (expected.stopped, expected.best_epoch)


def test_a_run_may_be_killed_again_and_again(parts, tmp_path):
    whole = model_for(parts)
    fit(whole, *parts[:2], **OPTIONS)
    for epoch in (2, 3, 3, 6):
        with pytest.raises(Killed):
            fit(model_for(parts), *parts[:2], callbacks=[At(epoch, kill)], checkpoint=tmp_path, **OPTIONS)
    resumed = model_for(parts)
    fit(resumed, *parts[:2], checkpoint=tmp_path, **OPTIONS)
    assert digest(resumed) == digest(whole)


def test_keeping_the_state_changes_nothing(parts, tmp_path):
    kept, whole = model_for(parts), model_for(parts)
    fit(kept, *parts[:2], checkpoint=tmp_path, **OPTIONS)
    fit(whole, *parts[:2], **OPTIONS)
    assert digest(kept) == digest(whole)
    assert [path.name for path in tmp_path.iterdir()] == ["state.safetensors"]


def test_a_finished_run_is_not_trained_again(parts, tmp_path):
    first, again = model_for(parts), model_for(parts)
    history = fit(first, *parts[:2], checkpoint=tmp_path, **OPTIONS)
    shown = []
    repeated = fit(
        again, *parts[:2], checkpoint=tmp_path, callbacks=[At(1, lambda: shown.append(1))], **OPTIONS
    )
    assert digest(again) == digest(first)
    assert repeated.epochs.equals(history.epochs)
    assert repeated.stopped == history.stopped
    assert shown == []


def test_a_cancelled_run_goes_on_in_the_same_session_with_the_same_model(parts, tmp_path):
    stop, model, whole = threading.Event(), model_for(parts), model_for(parts)
    fit(model, *parts[:2], stop=stop, callbacks=[At(4, stop.set)], checkpoint=tmp_path, **OPTIONS)
    history = fit(model, *parts[:2], checkpoint=tmp_path, **OPTIONS)
    fit(whole, *parts[:2], **OPTIONS)
    assert len(history.epochs) == 6
    assert digest(model) == digest(whole)


def test_a_state_of_another_run_is_refused_with_what_differs(parts, tmp_path):
    train, valid, test = parts
    fit(model_for(parts), train, valid, checkpoint=tmp_path, **OPTIONS)
    with pytest.raises(ValueError, match="another training run: options differ"):
        fit(model_for(parts), train, valid, checkpoint=tmp_path, **OPTIONS | {"lr": 0.1})
    with pytest.raises(ValueError, match="seed differ"):
        fit(model_for(parts), train, valid, seed=1, checkpoint=tmp_path, **OPTIONS)
    with pytest.raises(ValueError, match="valid differ"):
        fit(model_for(parts), train, test.labelled(), checkpoint=tmp_path, **OPTIONS)
    with pytest.raises(ValueError, match="model, spec, first weights differ"):
        fit(model_for(parts, "lstm"), train, valid, checkpoint=tmp_path, **OPTIONS)


@pytest.mark.parametrize("damage", ["cut", "text", "foreign"])
def test_a_state_that_cannot_be_read_is_refused(parts, tmp_path, damage):
    from safetensors.torch import save_file

    fit(model_for(parts), *parts[:2], checkpoint=tmp_path, **OPTIONS | {"epochs": 1})
    path = state_file(tmp_path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "text":
        path.write_text("not a state")
    else:
        save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"not a .*training state.*Delete it to start anew"):
        fit(model_for(parts), *parts[:2], checkpoint=tmp_path, **OPTIONS)


@pytest.mark.parametrize("part", ["weight", "row"])
def test_an_altered_state_is_refused(parts, tmp_path, part):
    fit(model_for(parts), *parts[:2], checkpoint=tmp_path, **OPTIONS | {"epochs": 2})
    path = state_file(tmp_path)
    content = bytearray(path.read_bytes())
    if part == "weight":
        content[-1] ^= 1
    else:
        place = content.index(b"train_loss") + len(rb"train_loss\": ")
        content[place] = ord("7") if content[place] != ord("7") else ord("8")
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"was altered.*Delete it to start anew"):
        fit(model_for(parts), *parts[:2], checkpoint=tmp_path, **OPTIONS | {"epochs": 2})


def test_an_undefined_figure_survives_the_interruption(make_windows, tmp_path, linear):
    train, valid, _ = make_windows(task="regression").split(0.7, 0.85)
    options = OPTIONS | {"checkpoint": tmp_path, "monitor": "valid_ic"}
    one = valid[:1]  # no correlation over one window
    with pytest.raises(Killed):
        fit(linear(1), train, one, callbacks=[At(3, kill)], **options)
    history = fit(linear(1), train, one, **options)
    assert np.isnan(history.epochs["valid_ic"]).all()
    assert history.best_epoch == 1
