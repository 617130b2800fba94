import json
import pickle
import threading
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from workbench.models.registry import build_model
from workbench.training import checkpoints
from workbench.training.card import ModelFileError, sealed
from workbench.training.checkpoints import ensure_model, load_history, load_model, save_model
from workbench.training.fitting import fit
from workbench.training.prediction import predict

TINY = {"d_model": 8, "n_heads": 2, "n_layers": 1, "d_ff": 16}
QUICK = {"epochs": 2, "batch_size": 32, "progress": False}


@pytest.fixture
def saved(parts, tmp_path):
    """Return a trained model, its history, and the folder it was saved in."""
    model = build_model("transformer", parts[0], **TINY)
    history = fit(model, *parts[:2], **QUICK)
    return model, history, save_model(model, tmp_path / "model", history, parts[0])


def rewrite(folder, **changes):
    card = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(sealed(card | changes)))


@pytest.mark.parametrize("name", ["transformer", "lstm"])
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_loaded_model_answers_as_the_saved_one_did(make_windows, tmp_path, name, task):
    train, valid, test = make_windows(task=task).split(0.7, 0.85)
    model = build_model(name, train, seed=2)
    fit(model, train, valid, **QUICK)
    loaded = load_model(save_model(model, tmp_path / "a" / "b"), test)
    pd.testing.assert_frame_equal(predict(loaded, test), predict(model, test), check_exact=True)
    assert loaded.spec == model.spec
    assert not loaded.training


def test_the_card_tells_all_there_is_to_tell(saved, parts):
    model, history, folder = saved
    card = json.loads((folder / "model.json").read_text())
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "model.safetensors"]
    assert card["model"]["name"] == "transformer"
    assert card["model"]["options"]["d_model"] == 8
    assert card["model"]["feature_names"] == ["a", "b", "c"]
    assert card["scaling"]["b"]["mean"] == pytest.approx(model.scaling.mean[1].item())
    assert card["data"] == {
        "source": "sample",
        "ticker": "AAPL",
        "sha256": "0123",
        "interval": "1d",
        "bars": {"first": "2010-01-04T00:00:00", "last": "2010-06-18T00:00:00"},
        "split": {"valid": "2010-05-03T00:00:00", "test": "2010-05-26T00:00:00"},
    }
    assert card["windows"]["windows"] == len(parts[0])
    assert card["history"]["splits"] == history.splits
    assert card["history"]["seed"] == 0
    assert torch.__version__.startswith(card["versions"]["torch"])
    assert card["versions"]["python"]
    assert all(card["versions"].values())  # what isn't installed is left out


def test_the_history_comes_back(saved, tmp_path):
    model, history, folder = saved
    again = load_history(folder)
    assert again is not None
    pd.testing.assert_frame_equal(again.epochs, history.epochs)
    assert str(again) == str(history)
    assert load_history(save_model(model, tmp_path / "other")) is None


def test_saving_leaves_a_whole_model_or_none(saved, monkeypatch):
    model, history, folder = saved

    def full_disk(*args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr(checkpoints.json, "dumps", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_model(model, folder, history)
    with pytest.raises(FileNotFoundError, match=r"no complete model in .*model\.json is missing"):
        load_model(folder)
    assert [path.name for path in folder.iterdir()] == ["model.safetensors"]


def test_a_model_that_does_not_say_how_to_build_it_is_not_saved(linear, tmp_path):
    with pytest.raises(ValueError, match=r"This Linear has no \.spec.*Build models with build_model"):
        save_model(linear(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_loading_never_unpickles(saved, monkeypatch):
    def unpickle(*args, **kwargs):
        raise AssertionError("something was unpickled")

    for module, name in [(pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (torch, "load")]:
        monkeypatch.setattr(module, name, unpickle)
    load_model(saved[2])
    load_history(saved[2])


def test_a_folder_without_a_model_is_told_so(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no complete model in .*nowhere.*save_model"):
        load_model(tmp_path / "nowhere")


def test_missing_weights_are_told(saved):
    folder = saved[2]
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"no model\.safetensors"):
        load_model(folder)


def test_altered_weights_are_refused(saved):
    folder = saved[2]
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(bytes(content))
    with pytest.raises(ModelFileError, match="cut short or altered"):
        load_model(folder)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"causal": false', '"causal": true'),
        ('"n_heads": 2', '"n_heads": 4'),
        ('"dropout": 0.1', '"dropout": 0.5'),
        ('"horizon": 1', '"horizon": 2'),
        ('"std": ', '"std": 1'),
        ('"seed": 0', '"seed": 1'),
        ('"card_sha256": "', '"card_sha256": "0'),
    ],
)
def test_an_altered_card_is_refused(saved, before, after):
    path = saved[2] / "model.json"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))
    for load in (load_model, load_history):
        with pytest.raises(ModelFileError, match=r"model\.json was altered"):
            load(saved[2])


def test_a_card_laid_out_anew_is_the_same_card(saved):
    path = saved[2] / "model.json"
    card = json.loads(path.read_text())
    path.write_text(json.dumps(dict(reversed(card.items()))))
    assert load_model(saved[2]).spec == saved[0].spec


def test_an_altered_model_is_trained_anew_with_a_warning(parts, tmp_path):
    model, _ = ensure_model("lstm", *parts[:2], folder=tmp_path, hidden_size=4, **QUICK)
    path = next(tmp_path.iterdir()) / "model.json"
    path.write_text(path.read_text().replace('"dropout": 0.1', '"dropout": 0.5'))
    with pytest.warns(UserWarning, match="was altered.*Training anew"):
        again, _ = ensure_model("lstm", *parts[:2], folder=tmp_path, hidden_size=4, **QUICK)
    assert again.spec == model.spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[1, 2]", "not a model of this workbench"),
        (b'{"format": "onnx"}', "not a model of this workbench"),
        (
            b'{"format": "attention-workbench model 1"}',
            "lacks card_sha256, history, model, recipe, weights_sha256",
        ),
    ],
)
def test_a_card_that_is_none_is_refused(saved, text, message):
    folder = saved[2]
    (folder / "model.json").write_bytes(text)
    with pytest.raises(ModelFileError, match=message):
        load_model(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "mamba"},
        {"options": {"d_model": 16}},
        {"options": {"depth": 3}},
        {"feature_names": None},
        {"lookback": 4, "surprise": 1},
    ],
)
def test_a_card_of_a_model_unknown_here_is_refused(saved, change):
    folder = saved[2]
    card = json.loads((folder / "model.json").read_text())
    rewrite(folder, model=card["model"] | change)
    with pytest.raises(ModelFileError, match="no model that this version knows"):
        load_model(folder)


def test_weights_that_are_no_safetensors_are_refused(saved):
    import hashlib

    folder = saved[2]
    (folder / "model.safetensors").write_bytes(b"PK\x03\x04 a zip of pickles")
    rewrite(folder, weights_sha256=hashlib.sha256(b"PK\x03\x04 a zip of pickles").hexdigest())
    with pytest.raises(ModelFileError, match="no model that this version knows"):
        load_model(folder)


def test_a_history_that_cannot_be_read_is_refused(saved):
    folder = saved[2]
    rewrite(folder, history={"epochs": []})
    with pytest.raises(ModelFileError, match=r"history in .* cannot be read"):
        load_history(folder)


def test_windows_that_do_not_match_are_refused_with_the_names(saved, parts):
    folder = saved[2]
    load_model(folder, parts[2])
    with pytest.raises(ValueError, match=r"lack b\. The model doesn't know rsi_14\."):
        load_model(folder, replace(parts[2], feature_names=("a", "rsi_14", "c")))
    with pytest.raises(ValueError, match="task 'classification'"):
        load_model(folder, replace(parts[2], task="regression"))


def test_a_model_is_trained_once_and_found_again(parts, tmp_path, monkeypatch):
    model, history = ensure_model("transformer", *parts[:2], folder=tmp_path, **TINY, **QUICK)
    (folder,) = tmp_path.iterdir()
    assert folder.name.startswith("transformer-AAPL-4-")
    monkeypatch.setattr(checkpoints, "fit", None)  # would fail if called
    again, repeated = ensure_model("transformer", *parts[:2], folder=tmp_path, **TINY, **QUICK)
    pd.testing.assert_frame_equal(predict(again, parts[2]), predict(model, parts[2]), check_exact=True)
    pd.testing.assert_frame_equal(repeated.epochs, history.epochs)


def test_whatever_changes_the_model_makes_another_one(make_windows, parts, tmp_path):
    train, valid, test = parts
    base = {"name": "transformer", "train": train, "valid": valid, **TINY, **QUICK}
    changes = [
        {},
        {"seed": 1},
        {"lr": 0.01},
        {"d_ff": 32},
        {"valid": test.labelled()},
        {"train": train[:-1]},
        {"train": replace(train, bars=train.bars + 0.01)},
        {"train": replace(train, y=train.y.flip(0))},
    ]
    for change in changes:
        ensure_model(folder=tmp_path, **base | change)
    assert len(list(tmp_path.iterdir())) == len(changes)
    ensure_model(folder=tmp_path, **base | {"progress": True, "valid": valid[np.arange(len(valid))]})
    assert len(list(tmp_path.iterdir())) == len(changes)


def test_a_damaged_model_is_trained_anew_with_a_warning(parts, tmp_path):
    def ensured():
        return ensure_model("transformer", *parts[:2], folder=tmp_path, **TINY, **QUICK)[0]

    model = ensured()
    (folder,) = tmp_path.iterdir()
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.warns(UserWarning, match="cut short or altered.*Training anew"):
        again = ensured()
    pd.testing.assert_frame_equal(predict(again, parts[2]), predict(model, parts[2]), check_exact=True)
    (folder / "model.json").unlink()
    ensured()
    rewrite(folder, recipe={})
    with pytest.warns(UserWarning, match="another recipe"):
        ensured()
    rewrite(folder, history=None)
    with pytest.warns(UserWarning, match="without its history"):
        ensured()
    assert load_model(folder) is not None


def test_a_cancelled_model_is_not_kept(parts, tmp_path):
    stop = threading.Event()
    stop.set()
    _, history = ensure_model("transformer", *parts[:2], folder=tmp_path, stop=stop, **TINY, **QUICK)
    assert history.stopped == "cancelled"
    assert list(tmp_path.iterdir()) == []


def test_options_of_neither_are_refused(parts, tmp_path):
    with pytest.raises(
        TypeError, match=r"Neither 'transformer' nor fit has an option 'epoch'. Did you mean 'epochs'"
    ):
        ensure_model("transformer", *parts[:2], folder=tmp_path, epoch=3)
    with pytest.raises(ValueError, match="by its callbacks"):
        ensure_model("transformer", *parts[:2], folder=tmp_path, callbacks=[print])


def test_a_panel_names_how_many_tickers_it_has(make_windows, tmp_path):
    train, valid, _ = make_windows(tickers=("A", "B", "C")).split(0.7, 0.85)
    ensure_model("lstm", train, valid, folder=tmp_path, hidden_size=4, **QUICK)
    assert next(tmp_path.iterdir()).name.startswith("lstm-3-tickers-4-")
