"""The list of saved models that can be chosen from."""

from pathlib import Path

import pytest
from torch import nn

from workbench.models.spec import ModelSpec
from workbench.training.checkpoints import load_model, save_model
from workbench.widgets.picker import RunPicker


@pytest.fixture
def model():
    from workbench.models.registry import rebuild

    options = {"d_model": 4, "n_heads": 1, "n_layers": 1, "d_ff": 4}
    return rebuild(ModelSpec("transformer", options, ("f0", "f1"), 5, "regression", (), 2, 0))


def test_the_chosen_model_can_be_loaded_from_its_path(tmp_path, model):
    save_model(model, tmp_path / "mine")
    picker = RunPicker(tmp_path, bundled=False, run="mine")
    assert picker.path == tmp_path / "mine"
    assert isinstance(load_model(picker.path), nn.Module)


def test_nothing_is_chosen_at_first(tmp_path):
    picker = RunPicker(tmp_path, bundled=False)
    assert (picker.run, picker.path, picker.models, picker.listed) == ("", None, [], [])


def test_the_browser_is_told_what_is_known_of_each(tmp_path, model):
    save_model(model, tmp_path / "mine")
    (row,) = RunPicker(tmp_path, bundled=False).listed
    facts = dict(row["facts"])
    assert (row["key"], row["label"], row["fault"]) == ("mine", "transformer · 5 bars", "")
    assert (facts["Sees"], facts["Answers"], facts["Folder"]) == (
        "5 bars",
        "regression, 2 bars ahead",
        "mine",
    )
    assert "Trained on" not in facts  # nobody said


def test_a_model_saved_later_is_there_after_a_refresh(tmp_path, model):
    picker = RunPicker(tmp_path, bundled=False)
    save_model(model, tmp_path / "mine")
    picker._handle_custom_msg({"ask": "refresh"}, [])
    assert [row["key"] for row in picker.listed] == ["mine"]
    assert picker.error == ""


def test_a_message_that_is_not_known_is_told_in_place(tmp_path):
    picker = RunPicker(tmp_path, bundled=False)
    picker._handle_custom_msg({"ask": "delete"}, [])
    assert "knows the message {'ask': 'refresh'}. Got {'ask': 'delete'}" in picker.error
    picker.refresh()
    assert picker.error == ""


def test_a_run_that_is_not_listed_has_no_path(tmp_path, model):
    save_model(model, tmp_path / "mine")
    picker = RunPicker(tmp_path, bundled=False, run="theirs")
    with pytest.raises(ValueError, match=r"no saved model 'theirs' in .*; there are: mine\."):
        _ = picker.path


def test_a_damaged_model_is_listed_and_has_no_path(tmp_path, model):
    save_model(model, tmp_path / "mine")
    (tmp_path / "mine" / "model.json").write_text("{")
    picker = RunPicker(tmp_path, bundled=False, run="mine")
    assert "is not JSON" in picker.listed[0]["fault"]
    with pytest.raises(ValueError, match=r"'mine' cannot be used\. .*is not JSON"):
        _ = picker.path


def test_the_models_that_come_with_the_package_are_listed_too(tmp_path, model, monkeypatch):
    monkeypatch.setattr("workbench.widgets.picker.bundled_models", lambda: tmp_path / "bundled")
    save_model(model, tmp_path / "bundled" / "shipped")
    save_model(model, tmp_path / "own" / "shipped")
    picker = RunPicker(tmp_path / "own")
    assert sorted(found.key for found in picker.models) == ["shipped", "shipped (own)"]


def test_where_no_widget_runs_the_list_is_a_table_without_markup_of_its_own(tmp_path: Path):
    folder = tmp_path / "<img onerror=alert(1)>"
    folder.mkdir()
    (folder / "model.json").write_text("{}")
    data, _ = RunPicker(tmp_path, bundled=False)._repr_mimebundle_()
    assert "&lt;img onerror" in data["text/html"]
    assert "<img" not in data["text/html"]
