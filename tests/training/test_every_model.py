"""Every network of the registry learns what it is able to see, and nothing where there is nothing."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
from skorch.callbacks import Callback

from workbench.features.windows import Windows
from workbench.models.registry import NETWORKS, build_model
from workbench.training.checkpoints import load_model, save_model
from workbench.training.fitting import fit
from workbench.training.metrics import information_coefficient
from workbench.training.prediction import predict
from workbench.training.states import weights_of, weights_sha256

STOCKS, BARS, LOOKBACK = 8, 110, 6
SMALL = {
    "transformer": {"d_model": 16, "n_heads": 2, "n_layers": 1, "d_ff": 32, "dropout": 0.0},
    "lstm": {"hidden_size": 16, "dropout": 0.0},
    "gru": {"hidden_size": 16, "dropout": 0.0},
    "alstm": {"hidden_size": 16, "dropout": 0.0},
    "tcn": {"channels": 16, "n_layers": 2, "dropout": 0.0},
    "sfm": {"hidden_size": 12, "n_frequencies": 6, "output_width": 8},
    "tabnet": {"n_d": 8, "n_a": 8, "n_steps": 2},
    "localformer": {"d_model": 16, "n_heads": 2, "n_layers": 1, "d_ff": 32, "dropout": 0.0},
    "gats": {"hidden_size": 16, "dropout": 0.0},
    "hist": {"hidden_size": 16},
    "tra": {"hidden_size": 16, "router_size": 8},
    "asset_transformer": {"d_model": 16, "n_heads": 2, "n_layers": 1, "d_ff": 32, "dropout": 0.0},
}
QUICK = {"lr": 0.02, "patience": None, "progress": False, "threads": None}
LEAST = 0.4  # IC of a model that has learnt; the signal itself has one of 0.89
# Over the 20 days of valid the mean IC of 8 stocks of which nothing is known varies by 1/√(7·20) = 0.085.
CHANCE = 4 * 0.085


@cache
def windows_of(planted: bool) -> tuple[Windows, Windows, Windows]:
    """Stocks whose label is the first feature two bars back, half as much noise added; or noise alone."""
    random = np.random.default_rng(11)
    dates = pd.bdate_range("2010-01-04", periods=BARS, name="date")
    frames, labels = {}, {}
    for i in range(STOCKS):
        frame = pd.DataFrame(random.normal(size=(BARS, 2)), dates, ["signal", "other"])
        noise = pd.Series(random.normal(size=BARS), dates)
        label = 0.01 * (frame["signal"].shift(2) + 0.5 * noise if planted else noise)
        frame["concept:even"], frame["concept:odd"] = float(i % 2 == 0), float(i % 2 == 1)
        frame["past_label"] = label.shift(1).fillna(0.0)
        frames[f"S{i}"], labels[f"S{i}"] = frame, label
        label.iloc[-1] = np.nan
    features = pd.concat(frames, names=["ticker"]).swaplevel().sort_index()
    label = pd.concat(labels, names=["ticker"]).swaplevel().sort_index()
    features.attrs["provenance"] = {
        "ticker": list(frames),
        "source": "sample",
        "sha256": "0",
        "interval": "1d",
    }
    label.attrs = {"task": "regression", "horizon": 1, "classes": []}
    return Windows.of(features, label, LOOKBACK).split(0.6, 0.8)


def options_of(name):
    """Two days a step for models that read a day together, else four days' windows in any order."""
    return QUICK | {"batch_size": 2 if NETWORKS[name].cross_sectional else 4 * STOCKS}


@cache
def trained(name: str, planted: bool):
    train, valid, _ = windows_of(planted)
    model = build_model(name, train, **SMALL[name])
    return model, fit(model, train, valid, epochs=8 if planted else 4, **options_of(name))


def coefficient(model, windows):
    windows = windows.labelled()
    forecast = predict(model, windows)["forecast"].to_numpy()
    return information_coefficient(forecast, windows.y.double().numpy(), windows.dates.asi8)


def test_every_network_is_here():
    assert set(SMALL) == set(NETWORKS)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_planted_signal_is_learnt_and_holds_on_days_never_seen(name):
    model, history = trained(name, planted=True)
    assert history.best["valid_ic"] > LEAST
    assert history.best["valid_rank_ic"] > LEAST
    assert coefficient(model, windows_of(True)[2]) > LEAST
    assert history.epochs["train_loss"].iloc[-1] < history.epochs["train_loss"].iloc[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_is_learnt_from_noise(name):
    model, history = trained(name, planted=False)
    assert abs(history.best["valid_ic"]) < CHANCE
    assert abs(coefficient(model, windows_of(False)[2])) < CHANCE


@pytest.mark.parametrize("name", NETWORKS)
def test_a_saved_model_answers_to_the_last_bit_as_before(name, tmp_path):
    model, history = trained(name, planted=True)
    train, _, test = windows_of(True)
    read = load_model(save_model(model, tmp_path, history, train), test)
    pd.testing.assert_frame_equal(predict(read, test), predict(model, test), check_exact=True)
    assert weights_sha256(weights_of(read)) == weights_sha256(weights_of(model))


class Killed(Exception):
    pass


class Kill(Callback):
    """Dies in the second epoch."""

    def on_batch_end(self, net, training=False, **kwargs):
        if training and len(net.history) == 2 and len(net.history[-1]["batches"]) == 3:
            raise Killed


@pytest.mark.parametrize("name", NETWORKS)
def test_a_killed_training_resumes_to_the_same_bits(name, tmp_path):
    train, valid, _ = windows_of(True)
    train = train[train.dates < train.dates.unique()[20]]
    options = options_of(name) | {"epochs": 3}
    whole, resumed = build_model(name, train, **SMALL[name]), build_model(name, train, **SMALL[name])
    fit(whole, train, valid, **options)
    with pytest.raises(Killed):
        fit(resumed, train, valid, checkpoint=tmp_path, callbacks=[Kill()], **options)
    fit(resumed, train, valid, checkpoint=tmp_path, **options)
    assert weights_sha256(weights_of(whole)) == weights_sha256(weights_of(resumed))
