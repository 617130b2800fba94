"""The models in data/models: whole, reproducible from what they say, and no better than they are called."""

import importlib.util
from importlib.machinery import SourceFileLoader

import pandas as pd
import pytest

from workbench.environment import ROOT
from workbench.models.registry import options_for
from workbench.training.card import CARD, WEIGHTS, read_card
from workbench.training.coverage import fingerprint
from workbench.training.losses import loss_for
from workbench.training.options import TrainingOptions
from workbench.training.prediction import outputs_of, placement
from workbench.training.reopening import bundled_models, reopen


def _script():
    """Return `.ci/train-models` as a module."""
    loader = SourceFileLoader("train_models", str(ROOT / ".ci" / "train-models"))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


SCRIPT = _script()


@pytest.fixture(scope="module", params=SCRIPT.MODELS)
def shipped(request):
    """Return the name and the reopened model."""
    return request.param, reopen(bundled_models() / request.param)


def test_what_is_shipped_is_what_the_script_trains():
    folders = sorted(path.name for path in bundled_models().iterdir() if path.is_dir())
    assert folders == sorted(SCRIPT.MODELS)
    for name in folders:
        files = {path.name: path.stat().st_size for path in (bundled_models() / name).iterdir()}
        assert sorted(files) == [CARD, WEIGHTS]
        assert files[WEIGHTS] < 150_000
        assert files[CARD] < 20_000


def test_a_shipped_model_opens_with_the_windows_it_was_trained_on(shipped):
    _, opened = shipped
    assert opened.note == ""
    train, valid, _ = opened.windows.split(*opened.split)
    assert fingerprint(train) == opened.card["windows"]["sha256"]
    for name, part in {"train": train, "valid": valid}.items():
        told = opened.history.splits[name]
        assert (part.dates[0], part.dates[-1]) == (pd.Timestamp(told["first"]), pd.Timestamp(told["last"]))
        assert len(part) == told["windows"]


def test_the_recorded_validation_loss_follows_from_the_weights(shipped):
    _, opened = shipped
    train, valid, _ = opened.windows.split(*opened.split)
    loss = loss_for(train, opened.history.options["class_weights"], placement(opened.model)[1])
    found = loss(outputs_of(opened.model, valid), valid.y).item()
    assert found == pytest.approx(opened.history.best["valid_loss"], abs=1e-4)


def test_the_recipe_is_what_the_script_declares(shipped):
    name, opened = shipped
    network, ticker, source = SCRIPT.MODELS[name]
    recipe, card = opened.card["recipe"], opened.card
    assert opened.trained_on == ticker
    assert card["data"]["source"] == source
    assert card["data"]["features"] == {"kind": "make_features", "zscore": None}
    assert card["data"]["labels"] == {"kind": "label_moves", **SCRIPT.LABELS}
    assert card["model"]["name"] == recipe["spec"]["name"] == network
    assert card["model"]["options"] == options_for(network, SCRIPT.LOOKBACK, {})
    assert card["model"]["lookback"] == SCRIPT.LOOKBACK
    assert recipe["seed"] == card["model"]["seed"] == SCRIPT.SEED
    assert recipe["options"] == TrainingOptions(**SCRIPT.TRAINING).recipe()
    train, valid, test = SCRIPT.windows_of(ticker, source).split(*SCRIPT.SPLIT)
    assert fingerprint(train) == recipe["train"]["sha256"] == card["windows"]["sha256"]
    assert fingerprint(valid) == recipe["valid"]["sha256"]
    assert test.dates[0] == pd.Timestamp(opened.split[1])


def test_the_readme_tells_the_figures_of_each_model(shipped):
    name, _ = shipped
    assert SCRIPT.row(name) in (bundled_models() / "README.md").read_text(encoding="utf-8").splitlines()


def test_no_shipped_model_is_shown_to_know_the_direction(shipped):
    """The README says so; should this fail, it needs other words."""
    found, spread = SCRIPT.tested(shipped[1])["direction"]
    assert abs(found - 0.5) < 2 * spread


def test_a_shipped_model_reads_another_stock_too():
    opened = reopen(bundled_models() / "transformer-AAPL", "FB")
    assert len(opened.windows) == 104
    assert opened.trained_on == "AAPL"


def test_a_card_names_no_folder_of_the_machine_that_made_it(shipped):
    text = (bundled_models() / shipped[0] / CARD).read_text(encoding="utf-8")
    assert "/tmp" not in text
    assert "/home" not in text
    assert read_card(bundled_models() / shipped[0])["weights_sha256"]
