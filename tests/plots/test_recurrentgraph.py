"""The graph of recurrent edges as drawn, and its frames."""

import base64
import zlib

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex

from workbench import plots


def edges_of(layer, gate="forget", top=4, **more):
    state = layer.hidden.shape[2]
    blocks = len(layer.gates)
    weight = np.random.default_rng(1).normal(size=(blocks * layer.gates[gate].shape[2], state))
    return plots.recurrent_edges(layer, weight, gate, top=top, **more)


def lines(ax):
    """[(bar column, source y, target y, colour, width)] of every line drawn."""
    return [
        (float(path[0, 0]), float(path[0, 1]), float(path[-1, 1]), to_hex(colour).upper(), float(width))
        for drawn in ax.collections
        if isinstance(drawn, LineCollection)
        for path, colour, width in zip(
            drawn.get_segments(), drawn.get_colors(), drawn.get_linewidths(), strict=True
        )
    ]


def test_each_edge_is_a_line_from_its_source_to_its_target(layer_of, readable):
    layer = layer_of(time=6)
    dates = pd.bdate_range("2011-03-01", periods=6)
    edges = edges_of(layer)
    with plots.theme("light"):
        ax = plots.recurrent_graph(edges, dates, steps=3)
    found = sorted(lines(ax))
    largest = np.abs(edges.size).max()
    wanted = sorted(
        (column, edges.source[t, k], edges.target[t, k], "#D55E00" if size < 0 else "#0072B2",
         0.5 + 3.5 * abs(size) / largest)
        for column, t in enumerate((3, 4, 5)) for k, size in enumerate(edges.size[t])
    )  # fmt: skip
    assert [line[3] for line in found] == [line[3] for line in wanted]
    for got, line in zip(found, wanted, strict=True):
        assert [*got[:3], got[4]] == pytest.approx([*line[:3], line[4]])
    texts = [label.get_text() for label in ax.get_xticklabels()]
    assert texts == ["h before", "04 Mar 2011", "07 Mar 2011", "08 Mar 2011"]
    covered = 100 * edges.covered[3:].mean()
    assert f"{covered:.0f} % of all terms' size" in " ".join(ax.get_title(loc="left").split())
    readable(ax.figure)


def test_dots_are_the_states_and_the_gate_at_last(layer_of):
    layer = layer_of(time=3)
    ax = plots.recurrent_graph(edges_of(layer), steps=2)
    dots = [drawn.get_array() for drawn in ax.collections if not isinstance(drawn, LineCollection)]
    np.testing.assert_allclose(dots[0], layer.hidden[0, 0])
    np.testing.assert_allclose(dots[1], layer.hidden[0, 1])
    np.testing.assert_allclose(dots[2], layer.gates["forget"][0, 2])


def test_a_backward_layer_is_read_from_the_right(layer_of):
    edges = edges_of(layer_of(time=4, reverse=True))
    ax = plots.recurrent_graph(edges, step=1, steps=2)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["h after", "t−1", "t−2"]
    assert sorted(line[1] for line in lines(ax) if line[0] == 0) == sorted(edges.source[2].tolist())


def test_of_a_projected_layer_one_bar_is_drawn(layer_of, readable):
    layer = layer_of(unit=8, hidden=np.random.default_rng(0).normal(size=(3, 5, 2)))
    edges = edges_of(layer)
    ax = plots.recurrent_graph(edges, provenance={"synthetic": True})
    assert len(ax.get_xticks()) == 2
    places = {0: 1.5, 1: 5.5}  # two states as far apart as eight units
    assert sorted(line[1] for line in lines(ax)) == pytest.approx(sorted(places[j] for j in edges.source[-1]))
    assert ax.get_title(loc="left").startswith("SYNTHETIC")
    readable(ax.figure)


@pytest.mark.parametrize(("unit", "time", "dark"), [(4, 1, True), (256, 6, False), (64, 60, True)])
def test_few_and_many_units_can_be_read(layer_of, readable, unit, time, dark):
    with plots.theme("dark" if dark else "light"):
        ax = plots.recurrent_graph(edges_of(layer_of(unit=unit, time=time), top=30))
        readable(ax.figure)
    assert ("all terms are 0" in ax.get_title(loc="left")) is (time == 1)


def test_given_axes_are_used(layer_of):
    _, ax = plt.subplots()
    assert plots.recurrent_graph(edges_of(layer_of()), ax=ax) is ax


def test_its_frames_hold_the_edges_exactly(layer_of):
    edges = edges_of(layer_of(time=6, unit=5))
    dates = pd.bdate_range("2011-03-01", periods=6)
    moving = plots.recurrent_animation(edges, dates)
    assert moving.labels == tuple(f"{date:%d %b %Y}" for date in dates)
    read = {name: zlib.decompress(base64.b64decode(text)) for name, text in moving.facts["buffers"].items()}
    np.testing.assert_array_equal(np.frombuffer(read["source"], "<u2").reshape(6, 4), edges.source)
    np.testing.assert_array_equal(np.frombuffer(read["target"], "<u2").reshape(6, 4), edges.target)
    np.testing.assert_array_equal(
        np.frombuffer(read["size"], "<f4").reshape(6, 4), edges.size.astype(np.float32)
    )
    scale = moving.facts["right"]
    openings = scale["low"] + scale["step"] * np.frombuffer(read["openings"], np.uint8).reshape(6, 5)
    np.testing.assert_allclose(openings, edges.openings, atol=1 / 508 + 1e-12)
    told = f"the 4 strongest edges a bar, on average {100 * edges.covered.mean():.0f} % of all terms' size"
    assert told in moving.facts["note"]
    assert moving.facts["largest"] == np.abs(edges.size).max()
    assert plt.get_fignums() == []


def test_what_cannot_be_drawn_is_refused_in_words(layer_of):
    edges = edges_of(layer_of())
    with pytest.raises(ValueError, match=r"step must be one of the 5 of the window.*Got 5 and 4"):
        plots.recurrent_graph(edges, step=5)
    with pytest.raises(ValueError, match=r"steps at least 1\. Got -1 and 0"):
        plots.recurrent_graph(edges, steps=0)
    with pytest.raises(ValueError, match=r"dates must hold one date for each of the 5 bars\. Got 3"):
        plots.recurrent_graph(edges, pd.bdate_range("2011-03-01", periods=3))
    with pytest.raises(ValueError, match=r"labels must be one for each of the 5 frames\. Got 2"):
        plots.recurrent_animation(edges, labels=["a", "b"])
