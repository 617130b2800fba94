"""Gates that move: what the browser gets, read back, against the arrays."""

import base64
import zlib
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench import plots
from workbench.plots import gateframes


def frames_in(animation):
    """{panel: (frame, unit, bar)} read back from the bytes, NaN where blank, and half a step of each."""
    facts = animation.facts
    read = zlib.decompress(base64.b64decode(facts["buffers"]["cells"]))
    codes = np.cumsum(np.frombuffer(read, np.uint8).reshape(len(animation), -1), axis=0, dtype=np.uint8)
    found, at = {}, 0
    for panel in facts["panels"]:
        rows, columns = panel["rows"], panel["columns"]
        cells = codes[:, at : at + rows * columns].reshape(-1, rows, columns).astype(float)
        values = np.where(cells == 255, np.nan, panel["low"] + cells * panel["step"])
        found[panel["name"]] = (values, panel["step"] / 2)
        at += rows * columns
    assert at == codes.shape[1]
    return found


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_frames_hold_the_means_over_windows_in_order(layer_of, kind):
    layers = [layer_of(kind, seed=seed, unit=5, time=7) for seed in range(4)]
    animation = plots.gate_animation(iter(layers))
    assert animation.labels == ("epoch 1", "epoch 2", "epoch 3", "epoch 4")
    for name, (values, half) in frames_in(animation).items():
        of = {**layers[0].gates, "cell": None, "hidden": None}
        assert name in of
        for frame, layer in enumerate(layers):
            whole = {**layer.gates, "cell": layer.cell, "hidden": layer.hidden}[name]
            np.testing.assert_allclose(values[frame], whole.mean(0).T, atol=half * (1 + 1e-9))
    steps = {panel["name"]: panel["step"] for panel in animation.facts["panels"]}
    assert {name: steps[name] for name in steps if name not in ("cell", "candidate", "hidden")} == {
        name: 1 / 254 for name in steps if name not in ("cell", "candidate", "hidden")
    }
    assert plt.get_fignums() == []


def test_the_cells_range_is_that_of_its_largest_value_in_any_frame(layer_of):
    layers = [layer_of(batch=1, seed=seed) for seed in range(3)]
    layers[1].cell[0, 2, 1] = -9.0
    facts = plots.gate_animation(layers, panels=["cell"]).facts["panels"][0]
    assert (facts["low"], facts["step"]) == (-9, 18 / 254)


@given(st.integers(0, 999), st.integers(1, 4), st.integers(1, 3))
@settings(max_examples=6, deadline=None)
def test_any_shape_comes_back(seed, frames, unit):
    rng = np.random.default_rng(seed)
    layers = []
    for _ in range(frames):
        values = rng.random((1, 2, unit))
        values[rng.random(values.shape) < 0.1] = np.nan
        mask = np.ones((1, 2), bool)
        layers.append(
            SimpleNamespace(
                name="l", kind="gru", gates={"reset": values}, cell=None, hidden=values, mask=mask
            )
        )
    values, half = frames_in(plots.gate_animation(layers, panels=["reset"]))["reset"]
    wanted = np.array([layer.gates["reset"][0].T for layer in layers])
    np.testing.assert_allclose(values, wanted, atol=half * (1 + 1e-9))


def test_one_layers_dates_name_the_bars(layer_of):
    dates = pd.bdate_range("2011-03-01", periods=5)
    facts = plots.gate_animation([layer_of(), layer_of(seed=1)], dates=dates).facts
    assert facts["bars"] == ["2011-03-01", "2011-03-02", "2011-03-03", "2011-03-04", "2011-03-07"]
    assert facts["starts"] == [0, 0]


def bars_of(animation, frame, count=5):
    facts = animation.facts
    return facts["bars"][facts["starts"][frame] : facts["starts"][frame] + count]


def test_rolling_windows_share_their_dates(layer_of):
    every = pd.date_range("2011-03-01 09:30", periods=9, freq="30min")
    dates = [every[i : i + 5] for i in (0, 2, 4)]
    animation = plots.gate_animation([layer_of(seed=i) for i in range(3)], dates=dates)
    assert len(animation.facts["bars"]) == 9
    for frame, each in enumerate(dates):
        assert bars_of(animation, frame) == list(each.strftime("%Y-%m-%d %H:%M"))


def test_windows_of_different_calendars_keep_their_own_dates(layer_of):
    dates = [pd.bdate_range("2011-03-01", periods=5), pd.date_range("2011-03-03", periods=5)]
    animation = plots.gate_animation([layer_of(), layer_of()], dates=dates)
    for frame, each in enumerate(dates):
        assert bars_of(animation, frame) == list(each.strftime("%Y-%m-%d"))


def test_fifty_frames_of_four_panels_take_a_megabyte_and_a_half_at_most(layer_of):
    layers = (layer_of(batch=2, unit=64, time=60, seed=seed) for seed in range(50))
    bundle = plots.gate_animation(layers, dates=pd.bdate_range("2011-03-01", periods=60))._repr_mimebundle_()
    assert sum(len(text.encode()) for text in bundle.values()) <= 1_500_000


def test_more_numbers_than_a_notebook_should_keep_are_refused(layer_of, monkeypatch):
    monkeypatch.setattr(gateframes, "MOST_NUMBERS", 199)
    layers = [layer_of(seed=seed) for seed in range(5)]  # 5 frames of 2 panels of 4 × 5
    with pytest.raises(ValueError, match=r"5 frames hold 200: take one of 2 frames, frames\[::2\], or fewer"):
        plots.gate_animation(layers, panels=["input", "cell"])
    assert len(plots.gate_animation(layers[::2], panels=["input", "cell"])) == 3


def test_made_up_prices_are_named_and_windows_chosen(layer_of):
    layers = [layer_of(seed=1), layer_of(seed=2)]
    animation = plots.gate_animation(layers, window=1, panels=["forget"], provenance={"synthetic": True})
    assert animation.title == "SYNTHETIC · Inside rnn.l0 (LSTM) · window 1"
    values, half = frames_in(animation)["forget"]
    np.testing.assert_allclose(values[1], layers[1].gates["forget"][1].T, atol=half * (1 + 1e-9))


def test_what_cannot_move_is_refused_in_words(layer_of):
    with pytest.raises(ValueError, match=r"frames must hold at least one layer's gates\. Got none"):
        plots.gate_animation([])
    two = [layer_of(), layer_of()]
    with pytest.raises(ValueError, match=r"labels must be one for each of the 2 frames\. Got 3"):
        plots.gate_animation(two, ["a", "b", "c"])
    with pytest.raises(ValueError, match=r"labels must be one for each of the 2 frames"):
        plots.gate_animation(two, "ab")
    with pytest.raises(ValueError, match=r"dates must hold one date for each of the 5 bars\. Got 4"):
        plots.gate_animation(two, dates=pd.bdate_range("2011-03-01", periods=4))
    with pytest.raises(ValueError, match=r"one index for all frames, or one for each of 2\. Got 1"):
        plots.gate_animation(two, dates=[pd.bdate_range("2011-03-01", periods=5)])
    with pytest.raises(ValueError, match=r"'epoch 2' has .*: take one layer of one model"):
        plots.gate_animation([layer_of(), layer_of(unit=7)])
    assert plt.get_fignums() == []
