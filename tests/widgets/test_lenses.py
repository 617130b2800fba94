import numpy as np
import pytest
import torch

from workbench.explainers.capture import attention_maps
from workbench.models.registry import build_model
from workbench.widgets import lenses
from workbench.widgets.lenses import facts_of, lens_of, maps_of, top_of


def test_maps_are_those_of_the_package(model, windows):
    lens = lens_of(model, windows)
    found = maps_of(model, windows, lens, [3, 90])
    expected = attention_maps(model, windows.batch([3, 90])).layers
    for number, layer in enumerate(expected):
        for row in range(2):
            assert np.allclose(found[row][number], layer[row].numpy(), atol=1e-6)


def test_facts_tell_the_shape_of_what_is_sent(model, windows):
    lens = lens_of(model, windows)
    layers = facts_of(lens)["layers"]
    maps = maps_of(model, windows, lens, [0])[0]
    assert [(f["heads"], f["queries"], f["keys"]) for f in layers] == [m.shape for m in maps]
    assert [f["block"] for f in layers] == [1, 1]
    assert layers[0]["name"] == "layers.0.attention"


def test_large_maps_are_means_over_blocks_in_bands_too(monkeypatch, model, windows):
    whole = maps_of(model, windows, lens_of(model, windows), [5])[0]
    monkeypatch.setattr(lenses, "MOST_CELLS", 3)
    monkeypatch.setattr(lenses, "HELD_BYTES", 500)  # a few queries at a time
    lens = lens_of(model, windows)
    assert (lens.layers[0].queries, lens.layers[0].block) == (3, 4)
    small = maps_of(model, windows, lens, [5])[0]
    for reduced, layer in zip(small, whole, strict=True):
        assert np.allclose(reduced, layer.reshape(-1, 3, 4, 3, 4).mean(axis=(2, 4)), atol=1e-7)


def test_a_last_block_that_is_not_full_is_the_mean_of_what_it_has(monkeypatch, model, windows):
    whole = maps_of(model, windows, lens_of(model, windows), [5])[0][0]
    monkeypatch.setattr(lenses, "MOST_CELLS", 2.4)  # 12 bars in blocks of 5: 5, 5 and 2
    lens = lens_of(model, windows)
    small = maps_of(model, windows, lens, [5])[0][0]
    assert small.shape[1:] == (3, 3)
    assert np.allclose(small[:, 2, 2], whole[:, 10:, 10:].mean(axis=(1, 2)), atol=1e-7)


def test_maps_of_a_window_are_averaged_until_they_fit_together(monkeypatch, model, windows):
    monkeypatch.setattr(lenses, "MOST_BYTES", 400)
    lens = lens_of(model, windows)
    assert sum(layer.bytes for layer in lens.layers) <= 400
    assert lens.layers[0].block == 3  # 4 would be coarser than needed: 2 layers × 2 heads × 4 × 4 × 4 bytes


def test_a_lookback_of_1100_bars_keeps_its_maps_small(prices, windows_of):
    from workbench.market.loading import load_prices

    windows = windows_of(load_prices("LAG5-BARS1180", source="synthetic"), lookback=1100)
    model = build_model("transformer", windows, d_model=8, n_heads=2, n_layers=2, d_ff=16)
    lens = lens_of(model, windows)
    assert (lens.layers[0].queries, lens.layers[0].block) == (367, 3)
    (maps,) = maps_of(model, windows, lens, [0])
    assert np.allclose(maps[0][:, :366].sum(axis=2) * 3, 1, atol=1e-2)  # rows still hold all the attention


def test_the_colour_scale_ends_where_nearly_all_weights_do(model, windows):
    lens = lens_of(model, windows)
    rows = list(range(0, len(windows), 5))
    values = np.concatenate([m.ravel() for maps in maps_of(model, windows, lens, rows) for m in maps])
    assert top_of(model, windows, lens) == pytest.approx(np.quantile(values, 0.998), rel=0.1)


def test_a_model_without_attention_has_a_reason_instead_of_layers(windows):
    facts = facts_of(lens_of(build_model("lstm", windows), windows))
    assert facts["layers"] == []
    assert "recurrent" in facts["no_attention"]


def test_attention_over_something_else_than_bars_is_not_shown_as_if_it_were(windows):
    class Features(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.attend = torch.nn.TransformerEncoderLayer(12, 2, 16, batch_first=True)
            self.out = torch.nn.Linear(12, 3)

        def forward(self, x):
            return self.out(self.attend(x.transpose(1, 2))[:, -1])

    lens = lens_of(Features().eval(), windows)
    assert lens.layers == ()
    assert "13 queries × 13 keys" in lens.why_none
