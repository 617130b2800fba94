"""What is listed of the models on disk, and what is not followed."""

import json
import os

import numpy as np
import pandas as pd
import pytest

from workbench.features.windows import Windows
from workbench.models.registry import build_model
from workbench.training.card import CARD, WEIGHTS, sealed
from workbench.training.checkpoints import save_model
from workbench.widgets.catalogue import saved_models


@pytest.fixture(scope="module")
def windows():
    rng = np.random.default_rng(0)
    dates = pd.bdate_range("2010-01-04", periods=30, name="date")
    features = pd.DataFrame(rng.normal(size=(30, 2)), dates, ["f0", "f1"])
    features.attrs["provenance"] = {"ticker": "AAPL", "source": "sample", "interval": "1d"}
    labels = pd.Series(rng.integers(0, 3, 30).astype(float), dates)
    labels.attrs = {"task": "classification", "horizon": 2, "classes": ["sell", "hold", "buy"]}
    return Windows.of(features, labels, 5)


@pytest.fixture(scope="module")
def model(windows):
    return build_model("transformer", windows, d_model=4, n_heads=1, n_layers=1, d_ff=4)


def rewrite(folder, **changes):
    """Change a card as its own writer would."""
    card = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps(sealed({**card, **changes})))


def test_a_saved_model_is_described_by_its_card(tmp_path, model, windows):
    save_model(model, tmp_path / "mine", windows=windows)
    (found,) = saved_models(tmp_path)
    assert (found.key, found.kind, found.tickers, found.source, found.interval) == (
        "mine",
        "transformer",
        ("AAPL",),
        "sample",
        "1d",
    )
    assert (found.lookback, found.horizon, found.task, found.fault) == (5, 2, "classification", "")
    assert found.label == "transformer · AAPL · 5 bars"
    assert found.note == f"trained {windows.dates[0]:%Y-%m-%d} → {windows.dates[-1]:%Y-%m-%d}"
    assert found.folder == tmp_path / "mine"


def test_the_newest_comes_first(tmp_path, model):
    for name, when in (("old", "2020-01-01T00:00:00+00:00"), ("new", "2024-01-01T00:00:00"), ("mid", None)):
        save_model(model, tmp_path / name)
        rewrite(tmp_path / name, saved_at=when)
    os.utime(tmp_path / "mid", (1.6e9, 1.6e9))  # September 2020
    assert [found.key for found in saved_models(tmp_path)] == ["new", "mid", "old"]


def test_many_tickers_are_counted_and_few_are_named(tmp_path, model):
    save_model(model, tmp_path / "few")
    rewrite(tmp_path / "few", data={"ticker": ["A", "B"]})
    save_model(model, tmp_path / "many")
    rewrite(tmp_path / "many", data={"ticker": ["A", "B", "C", "D"]})
    labels = {found.key: found.label for found in saved_models(tmp_path)}
    assert labels == {"few": "transformer · A, B · 5 bars", "many": "transformer · 4 tickers · 5 bars"}


def test_a_model_saved_without_windows_says_that_its_dates_are_unknown(tmp_path, model):
    save_model(model, tmp_path / "mine")
    assert saved_models(tmp_path)[0].note == "training dates unknown"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / CARD).write_text("{"), "is not JSON"),
        (lambda folder: (folder / CARD).write_text("[]"), "is not a model of this workbench"),
        (lambda folder: (folder / CARD).unlink(), "model.json is missing"),
        (lambda folder: (folder / WEIGHTS).unlink(), "no model.safetensors"),
        (lambda folder: rewrite(folder, model={"name": "x"}), "no model that this version knows"),
        (lambda folder: rewrite(folder, model=None), "no model that this version knows"),
        (lambda folder: rewrite(folder, data=[1]), "no model that this version knows"),
        (lambda folder: rewrite(folder, saved_at="yesterday"), "no model that this version knows"),
    ],
)
def test_a_damaged_model_is_listed_with_its_fault(tmp_path, model, damage, said):
    save_model(model, tmp_path / "mine")
    damage(tmp_path / "mine")
    (found,) = saved_models(tmp_path)
    assert said in found.fault
    assert found.note == found.fault
    assert found.label == "mine (cannot be used)"


def test_a_folder_that_is_missing_or_holds_no_models_gives_none(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "file.txt").write_text("x")
    assert saved_models(tmp_path, tmp_path / "nowhere", tmp_path / "file.txt") == []


def test_links_out_of_the_folder_are_named_and_not_followed(tmp_path, model):
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    save_model(model, outside / "theirs")
    save_model(model, inside / "card")
    save_model(model, inside / "weights")
    (inside / "whole").symlink_to(outside / "theirs")
    for name, file in (("card", CARD), ("weights", WEIGHTS)):
        (inside / name / file).unlink()
        (inside / name / file).symlink_to(outside / "theirs" / file)
    found = saved_models(inside)
    assert sorted(model.key for model in found) == ["card", "weights", "whole"]
    assert all("leads out of the models' folder" in model.fault and not model.kind for model in found)
    assert not any("outside" in model.fault or "outside" in str(model.folder) for model in found)


def test_a_link_within_the_folder_does_not_list_a_model_twice(tmp_path, model):
    save_model(model, tmp_path / "mine")
    (tmp_path / "same").symlink_to(tmp_path / "mine")
    assert [(found.key, found.fault) for found in saved_models(tmp_path, tmp_path)] == [("mine", "")]


def test_the_same_name_in_two_folders_gives_two_keys(tmp_path, model):
    for parent in ("runs", "data"):
        save_model(model, tmp_path / parent / "example")
    keys = {found.key: found.folder for found in saved_models(tmp_path / "runs", tmp_path / "data")}
    assert keys == {
        "example": tmp_path / "runs" / "example",
        "example (data)": tmp_path / "data" / "example",
    }
