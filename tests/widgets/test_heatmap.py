"""The attention heatmap's Python side: what is sent, what is averaged, what is refused."""

import base64
from math import ceil

import numpy as np
import pandas as pd
import pytest
import torch
import traitlets

from workbench.explainers.maps import AttentionMaps
from workbench.widgets.heatmap import AttentionHeatmap
from workbench.widgets.mapdata import MapLayer, colour_top, intraday, layers_of, milliseconds, shrunk


def shares(*shape, seed=0):
    """Random rows that sum to one."""
    weights = np.random.default_rng(seed).random(shape).astype(np.float32)
    return weights / weights.sum(-1, keepdims=True)


def maps_of(*layers, kinds=None):
    tensors = tuple(torch.from_numpy(layer)[None] for layer in layers)
    names = tuple(f"layers.{i}" for i in range(len(layers)))
    return AttentionMaps(tensors, names, kinds or ("self",) * len(layers), (None,) * len(layers))


def sent(heatmap):
    """The layers as the browser cuts them out of the data."""
    numbers, start, layers = np.frombuffer(heatmap.data, "<f4"), 0, []
    for facts in heatmap.layers:
        shape = facts["heads"], facts["queries"], facts["keys"]
        layers.append(numbers[start : start + np.prod(shape)].reshape(shape))
        start += np.prod(shape)
    assert start == len(numbers)
    return layers


def test_layers_of_different_shapes_are_sent_exactly():
    given = [shares(4, 6, 6), shares(2, 6, 9), shares(3, 1, 6)]
    heatmap = AttentionHeatmap(maps_of(*given, kinds=("self", "cross", "last")))
    for there, here in zip(sent(heatmap), given, strict=True):
        np.testing.assert_array_equal(there, here)
    assert [facts["kind"] for facts in heatmap.layers] == ["self", "cross", "last"]
    assert all(facts["block"] == 1 for facts in heatmap.layers)


def test_a_list_of_arrays_and_attention_maps_send_the_same():
    given = [shares(2, 5, 5)]
    assert AttentionHeatmap(given).data == AttentionHeatmap(maps_of(*given)).data


def test_the_last_layer_is_shown_first_and_minus_one_means_it():
    heatmap = AttentionHeatmap([shares(2, 3, 3)] * 3)
    assert heatmap.layer == 2
    heatmap.layer = -3
    assert heatmap.layer == 0


@pytest.mark.parametrize("head", ["mean", "max", "min", "1"])
def test_values_are_those_of_the_head_or_over_heads(head):
    weights = shares(3, 4, 4)
    fused = weights[1] if head == "1" else getattr(np, head)(weights, axis=0)
    np.testing.assert_allclose(AttentionHeatmap([weights], head=head).weights, fused, rtol=1e-6)


def test_dates_are_sent_as_milliseconds_of_utc():
    dates = pd.date_range("2024-03-01 09:30", periods=3, freq="h", tz="America/New_York")
    heatmap = AttentionHeatmap([shares(1, 3, 3)], dates)
    assert pd.to_datetime(np.frombuffer(heatmap.dates), unit="ms", utc=True).equals(dates.tz_convert("UTC"))
    assert heatmap.intraday
    assert not AttentionHeatmap([shares(1, 3, 3)], pd.bdate_range("2024", periods=3)).intraday


def test_big_maps_are_averaged_and_say_so():
    weights = shares(1, 1030, 1030)
    heatmap = AttentionHeatmap([weights])
    (there,) = sent(heatmap)
    assert there.shape == (1, 344, 344)
    np.testing.assert_allclose(there[0, 2, 5], weights[0, 6:9, 15:18].mean(), rtol=1e-5)
    np.testing.assert_allclose(there[0, -1, -1], weights[0, 1029, 1029], rtol=1e-5)  # what is left over
    assert "means over blocks of 3 × 3 bars" in heatmap.heading()
    assert heatmap.layers[0]["query_bars"] == 1030


def test_the_last_query_of_a_long_window_stays_one_row():
    (layer,) = shrunk(layers_of([shares(2, 1, 2000)]))
    assert layer.weights.shape == (2, 1, 500)
    assert layer.block == 4


def test_all_layers_together_fit_the_limit():
    layers = [MapLayer(f"layers.{i}", "self", shares(8, 60, 60), (60, 60)) for i in range(12)]
    whole = sum(layer.weights.nbytes for layer in layers)
    fitting = shrunk(layers, size=whole // 3)
    assert whole // 12 < sum(layer.weights.nbytes for layer in fitting) <= whole // 3
    assert len({layer.block for layer in fitting}) == 1
    assert shrunk(layers, size=whole)[0].block == 1


def test_one_colour_scale_serves_all_layers_and_passes_over_a_few_large_values():
    even = [MapLayer("a", "self", np.full((1, 10, 10), 0.1, np.float32), (10, 10))]
    assert colour_top(even) == pytest.approx(0.1)
    spiked = np.full((1, 10, 10), 0.1, np.float32)
    spiked[0, 0, 0] = 0.9
    assert colour_top([*even, MapLayer("b", "self", spiked, (10, 10))]) == pytest.approx(0.1)
    assert colour_top([MapLayer("c", "self", np.full((1, 2, 2), np.nan, np.float32), (2, 2))]) == 1.0
    assert (
        AttentionHeatmap([shares(2, 4, 4), 3 * shares(2, 4, 4)]).top > AttentionHeatmap([shares(2, 4, 4)]).top
    )


def test_another_window_is_shown_in_place():
    heatmap = AttentionHeatmap([shares(4, 5, 5)] * 2, head="3")
    heatmap.row = 4
    heatmap.show([shares(2, 3, 3)])
    assert (heatmap.layer, heatmap.head, heatmap.row, heatmap.weights.shape) == (0, "mean", -1, (3, 3))


def test_maps_that_are_refused_leave_the_old_ones():
    heatmap = AttentionHeatmap([shares(1, 3, 3)])
    before = heatmap.data
    with pytest.raises(ValueError, match="dates must name each bar"):
        heatmap.show([shares(1, 5, 5)], pd.bdate_range("2024", periods=4))
    assert heatmap.data == before
    assert heatmap.weights.shape == (3, 3)


def test_what_the_browser_writes_becomes_bytes():
    heatmap = AttentionHeatmap([shares(1, 3, 3)])
    heatmap.set_state({"row": 1, "row_weights": memoryview(np.float32([0.5, 0.25, 0.25]).tobytes())})
    assert np.frombuffer(heatmap.row_weights, "<f4").tolist() == [0.5, 0.25, 0.25]


@pytest.mark.parametrize(
    ("maps", "said"),
    [
        (maps_of(shares(1, 3, 3)).layers[0].repeat(2, 1, 1, 1), "Put a single layer into a list"),
        ([shares(2, 1, 3, 3)], "must be of one window; layer 0 holds 2. Pick one"),
        ([shares(3, 3)], r"layer 0 must have shape \(head, query, key\)\. Got \(3, 3\)"),
        ([], "there are no maps"),
        ("maps.npy", "maps must be AttentionMaps or a list of arrays.*Got str"),
    ],
)
def test_what_is_not_maps_of_one_window_is_refused(maps, said):
    with pytest.raises(ValueError, match=said):
        AttentionHeatmap(maps)


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"layer": 2}, "one of the 2 layers"),
        ({"layer": -3}, "one of the 2 layers"),
        ({"head": "4"}, "one of 2 heads"),
        ({"head": "median"}, 'must be "mean", "max", "min"'),
        ({"head": -1}, "one of 2 heads"),
    ],
)
def test_a_layer_or_head_that_is_not_there_is_refused(choice, said):
    with pytest.raises(traitlets.TraitError, match=said):
        AttentionHeatmap([shares(2, 3, 3)] * 2, **choice)


def test_a_head_that_only_another_layer_has_is_refused_when_read():
    heatmap = AttentionHeatmap([shares(1, 3, 3), shares(4, 3, 3)], head="3")
    heatmap.layer = 0
    with pytest.raises(ValueError, match="layer 0 has 1 heads, counted from 0; it has no head 3"):
        _ = heatmap.weights


def test_a_picture_stands_in_where_no_widget_runs():
    dates = pd.bdate_range("2011-05-16", periods=60)
    told = {"ticker": "LAG5", "synthetic": True}
    heatmap = AttentionHeatmap([shares(4, 60, 60)], dates, provenance=told)
    bundle, _ = heatmap._repr_mimebundle_()
    picture = base64.b64decode(bundle["image/png"])
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 150_000
    figure = heatmap.snapshot()
    assert figure.get_suptitle().startswith("SYNTHETIC · LAG5 · Attention, layer 0")
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), heatmap.weights)


def test_a_head_that_is_missing_in_a_layer_still_displays():
    heatmap = AttentionHeatmap([shares(1, 3, 3), shares(4, 3, 3)], head="3")
    heatmap.layer = 0
    bundle, _ = heatmap._repr_mimebundle_()
    assert "image/png" not in bundle
    assert "application/vnd.jupyter.widget-view+json" in bundle


@pytest.mark.parametrize("bars", [5, 700])
def test_axes_of_the_picture_count_bars_not_cells(bars):
    figure = AttentionHeatmap([shares(1, bars, bars)], pd.bdate_range("2000-01-03", periods=bars)).snapshot()
    assert figure.axes[0].get_xlim() == (-0.5, bars - 0.5)
    assert len(figure.axes[0].images[0].get_array()) == ceil(bars / max(1, ceil(bars / 512)))


def test_milliseconds_keep_daily_sessions_at_their_date():
    assert milliseconds(pd.DatetimeIndex(["1970-01-02"])).tolist() == [86_400_000.0]
    assert intraday(pd.DatetimeIndex(["1970-01-02", "1970-01-02 10:00"]))
