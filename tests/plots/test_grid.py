"""Attention by layer and head as drawn, against the maps."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from workbench import plots


def maps_of(*shapes, kinds=None):
    """Maps whose layers have the shapes (batch, head, query, key), rows summing to one."""
    generator = torch.Generator().manual_seed(3)
    layers = tuple(torch.softmax(torch.randn(shape, generator=generator), dim=-1) for shape in shapes)
    names = tuple(f"layers.{i}.attention" for i in range(len(layers)))
    return SimpleNamespace(layers=layers, names=names, kinds=kinds or ("self",) * len(layers))


def test_cells_show_the_chosen_window_by_layer_and_head():
    maps = maps_of((2, 3, 7, 7), (2, 3, 7, 7))
    grid = plots.attention_grid(maps, sample=1)
    assert grid.shape == (2, 3)
    for layer in range(2):
        for head in range(3):
            drawn = grid[layer, head].images[0].get_array()
            np.testing.assert_allclose(drawn, maps.layers[layer][1, head].numpy())


def test_all_cells_share_one_colour_scale_and_one_colour_bar():
    maps = maps_of((1, 2, 5, 5), (1, 2, 9, 9))
    grid = plots.attention_grid(maps)
    assert len({id(ax.images[0].norm) for ax in grid.flat}) == 1
    bars = [ax for ax in grid[0, 0].figure.axes if ax.get_ylabel() == "share of attention"]
    assert len(bars) == 1
    assert grid[0, 0].images[0].norm.vmax == pytest.approx(max(float(layer.max()) for layer in maps.layers))


def test_the_last_query_alone_is_a_strip_named_so():
    grid = plots.attention_grid(maps_of((1, 2, 6, 6), (1, 2, 1, 6), kinds=("self", "last")))
    assert grid[1, 0].images[0].get_array().shape == (1, 6)
    assert grid[1, 0].get_ylabel() == "layer 1\n(last)"


def test_heads_that_a_layer_lacks_are_none():
    grid = plots.attention_grid(maps_of((1, 3, 4, 4), (1, 2, 4, 4)))
    assert grid[1, 2] is None
    assert all(ax is not None for ax in grid.flat[:5])


def test_queries_and_keys_are_named():
    figure = plots.attention_grid(maps_of((1, 1, 4, 4)))[0, 0].figure
    assert figure.get_supxlabel() == "Key: the bar looked at"
    assert figure.get_supylabel() == "Query: the bar that looks"


def test_made_up_prices_are_named_in_the_title():
    figure = plots.attention_grid(maps_of((1, 1, 4, 4)), provenance={"synthetic": True})[0, 0].figure
    assert figure.get_suptitle().startswith("SYNTHETIC")


def test_a_sample_outside_the_batch_is_refused():
    with pytest.raises(ValueError, match=r"one of the 2 windows, counted from 0\. Got 2"):
        plots.attention_grid(maps_of((2, 1, 4, 4)), sample=2)


def test_a_layer_without_heads_is_refused_by_name():
    with pytest.raises(ValueError, match=r"layers\.0\.attention must have shape \(batch, head, query, key\)"):
        plots.attention_grid(maps_of((2, 4, 4)))


def test_dates_that_match_no_layer_are_refused():
    with pytest.raises(ValueError, match=r"each of the 4 bars\. Got 1"):
        plots.attention_grid(maps_of((1, 1, 4, 4)), pd.bdate_range("2011", periods=1))


@pytest.mark.parametrize(("layers", "heads", "bars"), [(1, 1, 5), (2, 4, 60), (3, 8, 252)])
@pytest.mark.parametrize("dated", [True, False])
def test_texts_can_be_read(readable, layers, heads, bars, dated):
    dates = pd.bdate_range("2011-05-16", periods=bars) if dated else None
    shapes = [(1, heads, bars, bars)] * layers
    readable(plots.attention_grid(maps_of(*shapes), dates)[0, 0].figure)


def test_twelve_layers_of_eight_heads_can_be_read(readable):
    dates = pd.date_range("2024-03-01", periods=24, freq="h", tz="UTC")
    readable(plots.attention_grid(maps_of(*[(1, 8, 24, 24)] * 12), dates)[0, 0].figure)
