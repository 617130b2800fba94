import numpy as np
import pandas as pd
import pytest
import torch

from workbench.features import making
from workbench.features.indicators import make_features
from workbench.features.labels import forward_return, label_moves
from workbench.features.windows import Windows
from workbench.market.loading import load_panel, load_prices
from workbench.models.registry import build_model
from workbench.training import reopening
from workbench.training.checkpoints import ensure_model, save_model
from workbench.training.coverage import fingerprint
from workbench.training.fitting import fit
from workbench.training.reopening import bundled_models, reopen

START, END = "2010-01-04", "2011-06-30"
QUICK = {"hidden_size": 4, "epochs": 1, "progress": False}


def trained(folder, prices=None, features=None, labels=None, **options):
    """Train a tiny model, save it in `folder`, and return the windows of its training."""
    prices = load_prices("AAPL", start=START, end=END) if prices is None else prices
    features = make_features(prices) if features is None else features
    labels = label_moves(prices, scale="volatility") if labels is None else labels
    windows = Windows.of(features, labels, 10)
    train, valid, _ = windows.split(0.7, 0.85)
    model = build_model("lstm", train, hidden_size=4)
    history = fit(model, train, valid, epochs=1, progress=False)
    save_model(model, folder, history, train)
    return windows


@pytest.mark.parametrize(
    ("features", "labels"),
    [
        ({}, lambda prices: label_moves(prices, 2, 0.7, "volatility")),
        ({}, lambda prices: label_moves(prices, 3, 0.02)),
        ({"zscore": 30}, lambda prices: forward_return(prices, 2)),
    ],
)
def test_a_reopened_model_has_the_windows_it_was_trained_on(tmp_path, features, labels):
    prices = load_prices("AAPL", start=START, end=END)
    windows = trained(tmp_path, prices, make_features(prices, **features), labels(prices))
    again = reopen(tmp_path)
    assert fingerprint(again.windows) == fingerprint(windows)
    pd.testing.assert_frame_equal(again.prices, prices, check_exact=True)
    assert again.note == ""
    train, valid, test = again.windows.split(*again.split)
    assert fingerprint(train) == again.card["windows"]["sha256"]
    assert again.history.splits["valid"]["last"] == valid.dates[-1].isoformat()
    assert test.dates[0].isoformat() == again.split[1]


def test_a_kept_model_is_reopened_by_its_folder(tmp_path):
    prices = load_prices("IBM", start=START, end=END)
    windows = Windows.of(make_features(prices), label_moves(prices), 10)
    model, _ = ensure_model("lstm", *windows.split(0.7, 0.85)[:2], folder=tmp_path, **QUICK)
    again = reopen(next(tmp_path.iterdir()))
    weights = again.model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert again.trained_on == "IBM"
    assert repr(again).startswith("Reopened(lstm trained on IBM: Windows(")


def test_another_ticker_gets_the_same_recipe_and_dates(tmp_path):
    trained(tmp_path)
    again = reopen(tmp_path, ticker="MSFT")
    prices = load_prices("MSFT", start=START, end=END)
    expected = Windows.of(make_features(prices), label_moves(prices, scale="volatility"), 10)
    assert fingerprint(again.windows) == fingerprint(expected)
    assert again.trained_on == "AAPL"
    assert set(again.windows.tickers) == {"MSFT"}
    assert again.note == ""


def test_another_source_gives_all_its_dates(tmp_path):
    trained(tmp_path)
    again = reopen(tmp_path, "LAG5-BARS500", "synthetic")
    assert len(again.prices) == 500
    assert again.prices.attrs["provenance"]["synthetic"]


def test_a_panel_is_made_again(tmp_path):
    prices = load_panel(["IBM", "AAPL"], start=START, end=END)
    windows = trained(tmp_path, prices)
    again = reopen(tmp_path)
    assert again.windows.is_panel
    assert fingerprint(again.windows) == fingerprint(windows)
    assert again.note == ""
    assert not reopen(tmp_path, "MSFT").windows.is_panel


def test_some_of_the_columns_are_made_again(tmp_path):
    prices = load_prices("AAPL", start=START, end=END)
    windows = trained(tmp_path, prices, make_features(prices)[["rsi_14", "range"]])
    assert fingerprint(reopen(tmp_path).windows) == fingerprint(windows)


def test_columns_of_ones_own_cannot_be_made_again(tmp_path):
    prices = load_prices("AAPL", start=START, end=END)
    features = make_features(prices)
    trained(tmp_path / "added", prices, features.assign(mood=1.0))
    with pytest.raises(ValueError, match=r"reads mood, which make_features.*Pass model, windows and prices"):
        reopen(tmp_path / "added")
    bare = features.copy()
    bare.attrs = dict(prices.attrs)
    trained(tmp_path / "bare", prices, bare)
    with pytest.raises(ValueError, match=r"doesn't say how its features were made.*Pass model, windows"):
        reopen(tmp_path / "bare")


def test_labels_of_ones_own_cannot_be_made_again(tmp_path):
    prices = load_prices("AAPL", start=START, end=END)
    own = (forward_return(prices) > 0).astype(float).rename("up")
    own.attrs = {"task": "classification", "horizon": 1, "classes": ["down", "up"]}
    trained(tmp_path, prices, labels=own)
    with pytest.raises(ValueError, match=r"doesn't say how its labels were made"):
        reopen(tmp_path)


@pytest.mark.parametrize("what", ["features", "labels"])
def test_values_changed_under_their_old_names_are_found_out(tmp_path, what):
    prices = load_prices("AAPL", start=START, end=END)
    made = {"features": make_features(prices), "labels": label_moves(prices, scale="volatility")}
    if what == "features":
        made["features"]["range"] *= 1.01
    else:
        made["labels"].iloc[100:120] = made["labels"].iloc[101:121].to_numpy()
    trained(tmp_path, prices, **made)
    for ticker in (None, "IBM"):
        with pytest.raises(ValueError, match=r"cannot be made again: features or labels were changed after"):
            reopen(tmp_path, ticker)


def test_rounding_of_another_machine_is_told_not_refused(tmp_path, monkeypatch):
    trained(tmp_path)

    def elsewhere(*arguments):
        features = make_features(*arguments)
        features.iloc[::7] *= 1 + 1e-6
        return features

    monkeypatch.setattr(making, "make_features", elsewhere)
    with pytest.warns(UserWarning, match="features differ in the last digits"):
        again = reopen(tmp_path)
    assert "last digits" in again.note


def test_prices_changed_since_training_are_told(tmp_path, monkeypatch):
    trained(tmp_path)

    def restated(*arguments):
        prices = load_prices(*arguments)
        prices.attrs["provenance"] = prices.attrs["provenance"] | {"sha256": "another"}
        return prices * 0.99

    monkeypatch.setattr(reopening, "load_prices", restated)
    with pytest.warns(UserWarning, match=r"prices of AAPL \(sample\) are no longer those.*fetched 2026"):
        again = reopen(tmp_path)
    assert again.note in repr(again)


def test_a_card_without_its_windows_is_told(tmp_path):
    trained(tmp_path)
    again = reopen(tmp_path)
    save_model(again.model, tmp_path, again.history)
    with pytest.warns(UserWarning, match="doesn't say which windows it was trained on"):
        assert np.isfinite(reopen(tmp_path).windows.bars[40:].numpy()).all()


def test_prices_without_a_field_of_the_features_are_refused(tmp_path):
    trained(tmp_path)
    with pytest.raises(ValueError, match=r"reads range, log_volume.*prices of AMD\. If these prices lack"):
        reopen(tmp_path, "AMD", "sample20")


def test_prices_that_are_loaded_already_are_not_loaded_again(tmp_path, monkeypatch):
    trained(tmp_path)
    prices = load_prices("MSFT", start=START, end=END)
    expected = reopen(tmp_path, "MSFT").windows
    own = reopening.load_prices
    monkeypatch.setattr(reopening, "load_prices", lambda ticker, *rest: {"AAPL": own}[ticker](ticker, *rest))
    again = reopen(tmp_path, "MSFT", prices=prices)
    assert fingerprint(again.windows) == fingerprint(expected)
    assert again.prices is prices


def test_a_folder_without_a_model_is_told_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="no complete model"):
        reopen(tmp_path)


def test_bundled_models_lie_beside_the_bundled_prices():
    assert (bundled_models().parent / "SHA256SUMS").is_file()
