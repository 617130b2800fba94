"""The panels of gates as drawn, against the arrays they are made of."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from workbench import plots
from workbench.gates.recover import gate_states
from workbench.gates.states import GATES
from workbench.plots.layerpanels import ORDER, Gates, bounds, panels_of


def image(ax):
    """(unit, time) as drawn, NaN where blank."""
    return np.ma.filled(ax.images[0].get_array().astype(float), np.nan)


def test_the_order_of_row_blocks_is_that_of_the_gates():
    assert ORDER == GATES


def test_an_lstm_has_four_panels_of_the_mean_over_windows(layer_of, readable):
    layer = layer_of(batch=2, time=6, unit=3)
    drawn = plots.gates(layer)
    assert list(drawn) == ["input", "forget", "cell", "output"]
    for name, values in {**layer.gates, "cell": layer.cell}.items():
        if name in drawn:
            np.testing.assert_allclose(image(drawn[name]), ((values[0] + values[1]) / 2).T)
    assert [ax.images[0].get_clim() for ax in drawn.values()][0::3] == [(0, 1), (0, 1)]
    assert drawn["input"].images[0].colorbar.ax.get_ylabel() == "opening [0 shut, 1 open]"
    assert drawn["input"].get_ylabel() == "Unit"
    assert drawn["output"].get_xlabel() == "Bar (t: the decision)"
    readable(drawn["input"].figure)


def test_the_cells_colours_reach_as_far_as_its_largest_value_either_way(layer_of):
    layer = layer_of()
    layer.cell[1, 2, 3] = -7.5
    low, high = plots.gates(layer, window=1)["cell"].images[0].get_clim()
    assert (low, high) == (-7.5, 7.5)


def test_a_gru_has_four_panels_on_fixed_ranges(layer_of, readable):
    layer = layer_of("gru")
    dates = pd.bdate_range("2011-03-01", periods=5)
    with plots.theme("dark"):
        drawn = plots.gates(layer, dates, window=2, provenance={"synthetic": True})
    limits = {name: ax.images[0].get_clim() for name, ax in drawn.items()}
    assert limits == {"reset": (0, 1), "update": (0, 1), "candidate": (-1, 1), "hidden": (-1, 1)}
    for name, values in layer.gates.items():
        np.testing.assert_array_equal(image(drawn[name]), values[2].T)
    figure = drawn["reset"].figure
    assert figure.get_suptitle() == "SYNTHETIC · Inside rnn.l0 (GRU)\nwindow 2 · bars to 07 Mar 2011"
    readable(figure)


@pytest.mark.parametrize(("unit", "time"), [(4, 1), (256, 500), (1, 60)])
def test_few_and_many_units_and_bars_can_be_read(layer_of, readable, unit, time):
    drawn = plots.gates(layer_of(unit=unit, time=time), panels=("forget", "cell", "hidden"))
    assert list(drawn) == ["forget", "cell", "hidden"]
    readable(drawn["cell"].figure)


def test_steps_that_no_window_has_and_what_is_not_finite_are_blank(layer_of):
    """Two windows of 2 and 3 bars, worked by hand."""
    mask = np.array([[True, True, False, False], [True, True, True, False]])
    forget = np.array([[[0.2], [0.4], [0.9], [0.9]], [[0.4], [np.nan], [0.6], [0.9]]])
    layer = layer_of(batch=2, time=4, unit=1, mask=mask)
    layer.gates["forget"] = forget
    np.testing.assert_allclose(image(plots.gates(layer)["forget"]), [[0.3, np.nan, 0.6, np.nan]])
    np.testing.assert_allclose(image(plots.gates(layer, window=0)["forget"]), [[0.2, 0.4, np.nan, np.nan]])


@given(st.integers(0, 1000), st.integers(1, 4), st.integers(1, 5))
def test_means_are_those_of_a_plain_loop(seed, batch, time):
    rng = np.random.default_rng(seed)
    values, mask = rng.random((batch, time, 3)), rng.random((batch, time)) < 0.6
    layer = SimpleNamespace(
        name="l", kind="gru", gates={"reset": values}, cell=None, hidden=values, mask=mask
    )
    [panel] = panels_of(layer, ["reset"])
    for t in range(time):
        there = [values[b, t] for b in range(batch) if mask[b, t]]
        wanted = sum(there) / len(there) if there else np.full(3, np.nan)
        np.testing.assert_allclose(panel.drawn[:, t], wanted)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_what_is_recovered_from_a_layer_is_what_is_drawn(kind):
    torch.manual_seed(0)
    [layer] = gate_states(kind(3, 6, batch_first=True), torch.randn(2, 7, 3)).layers
    assert isinstance(layer, Gates)
    for name, ax in plots.gates(layer, window=1).items():
        values = layer.gates.get(name, layer.cell if name == "cell" else layer.hidden)
        np.testing.assert_allclose(image(ax), values[1].T.numpy())


def test_a_projected_state_beyond_one_gets_a_range_of_its_own():
    assert bounds("hidden", np.array([0.2, -1.5])) == (-1.5, 1.5)
    assert bounds("hidden", np.array([0.2])) == (-1, 1)
    assert bounds("cell", np.array([np.nan, np.nan])) == (-1, 1)
    assert bounds("cell", np.zeros(3)) == (-1, 1)


def test_what_cannot_be_drawn_is_refused_in_words(layer_of):
    layer = layer_of()
    with pytest.raises(ValueError, match=r"panels must be some of input, forget, .*Got 'update'"):
        plots.gates(layer, panels=["update"])
    with pytest.raises(ValueError, match=r"panels must be some of .*Got none"):
        plots.gates(layer, panels=[])
    with pytest.raises(ValueError, match=r"window must be one of the 3 of 'rnn.l0'.*Got 3"):
        plots.gates(layer, window=3)
    with pytest.raises(ValueError, match=r"dates must hold one date for each of the 5 bars\. Got 4"):
        plots.gates(layer, pd.bdate_range("2011-03-01", periods=4))
    with pytest.raises(ValueError, match=r"cell of 'rnn.l0' must have shape \(batch, time, unit\)"):
        plots.gates(layer_of(cell=np.zeros((3, 4, 4))))
    with pytest.raises(ValueError, match=r"mask must be \(batch, time\)"):
        plots.gates(layer_of(mask=np.ones(5, bool)))


@pytest.mark.parametrize("dark", [True, False])
def test_a_panel_without_a_finite_value_says_so(layer_of, readable, dark):
    layer = layer_of()
    layer.gates["forget"][:] = np.nan
    with plots.theme("dark" if dark else "light"):
        drawn = plots.gates(layer)
        readable(drawn["forget"].figure)
    said = {name: [text.get_text() for text in ax.texts] for name, ax in drawn.items()}
    assert said == {"input": [], "forget": ["no finite value"], "cell": [], "output": []}


@pytest.mark.parametrize(("unit", "wanted"), [(1, [0]), (2, [0, 1]), (5, [0, 2, 4])])
def test_units_are_counted_in_whole_numbers(layer_of, unit, wanted):
    ax = plots.gates(layer_of(unit=unit))["input"]
    assert [tick for tick in ax.get_yticks() if -0.5 <= tick <= unit - 0.5] == wanted


WRONG = """
from types import SimpleNamespace
import numpy as np
from workbench import plots
values = np.zeros((2, 3, 4))
layer = SimpleNamespace(name="lstm.l0", kind="lstm", gates={"input": values}, cell=values, hidden=values,
                        mask=np.ones((2, 3), bool))
states = SimpleNamespace(layers=(layer,))
for draw, given in [(plots.gates, states), (plots.gate_animation, [states]), (plots.gate_animation, layer),
                    (plots.gates, 3), (plots.gate_norms, states)]:
    try:
        draw(given)
    except TypeError as error:
        print(error)
try:
    plots.recurrent_edges(states, np.zeros((16, 4)), "input")
except TypeError as error:
    print(error)
"""


def test_what_is_no_single_layer_is_refused_in_words():
    """In a process of its own, where no types are checked."""
    ran = subprocess.run([sys.executable, "-c", WRONG], capture_output=True, text=True, check=True)
    one = (
        "layer must be one recurrent layer. Got SimpleNamespace: give states.layers[-1] or states['lstm.l0']."
    )
    many = (
        "frames must be a sequence, one layer a frame. Got one SimpleNamespace: give the same layer of each"
    )
    none = "layer must be one recurrent layer. Got int: give gate_states(model, x).layers[-1]."
    norms = "Got SimpleNamespace: of a monitor give monitor.log.weights, of a log log.weights."
    said = ran.stdout.splitlines()
    assert [said[0], said[1], said[3], said[5]] == [one, one, none, one]
    assert said[2].startswith(many)
    assert said[4].endswith(norms)
