"""The scatter of saturation, against the shares."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from workbench import plots
from workbench.gates.readings import unit_signals
from workbench.gates.recover import gate_states


def shares(layers=("rnn.l0",), units=5, gates=("input", "forget", "output"), seed=0):
    rng = np.random.default_rng(seed)
    index = pd.MultiIndex.from_product([layers, range(units)], names=["layer", "unit"])
    columns = {}
    for gate in gates:
        left = rng.random(len(index))
        columns[f"{gate}_saturation_left"] = left
        columns[f"{gate}_saturation_right"] = (1 - left) * rng.random(len(index))
    return pd.DataFrame(columns, index=index)


def points(ax):
    return [drawn.get_offsets() for drawn in ax.collections]


@pytest.mark.parametrize("dark", [True, False])
def test_each_unit_is_a_point_of_its_layer(readable, dark):
    units = shares(("a.l0", "a.l1"), units=64)
    with plots.theme("dark" if dark else "light"):
        panels = plots.saturation(units)
        readable(panels["input"].figure)
    assert list(panels) == ["input", "forget", "output"]
    for gate, ax in panels.items():
        columns = [f"{gate}_saturation_left", f"{gate}_saturation_right"]
        for drawn, layer in zip(points(ax), ("a.l0", "a.l1"), strict=True):
            np.testing.assert_array_equal(drawn, units.loc[layer, columns])


def test_the_units_that_stand_still_are_counted_and_named_worked_by_hand():
    units = shares(units=4, gates=("forget",))
    units["forget_saturation_left"] = [0.1, 0.9, 0.0, 0.3]
    units["forget_saturation_right"] = [0.1, 0.0, 0.6, 0.2]  # together 0.2, 0.9, 0.6, 0.5
    [text] = plots.saturation(units)["forget"].texts
    assert text.get_text() == "2 of 4 units stand still\nrnn.l0 unit 1\nrnn.l0 unit 2"


def test_units_of_a_snapshot_are_drawn_whichever_gates_they_have(readable):
    torch.manual_seed(0)
    model = nn.ModuleDict({"lstm": nn.LSTM(3, 4, batch_first=True), "gru": nn.GRU(3, 5, batch_first=True)})
    signals = [
        unit_signals(gate_states(module, torch.randn(4, 9, 3))).rename(index={"l0": name}, level=0)
        for name, module in model.items()
    ]
    units = pd.concat(signals)
    panels = plots.saturation(units)
    assert [len(points(panels[gate])[0]) for gate in ("input", "reset")] == [4, 5]
    assert set(panels) == {"input", "forget", "output", "reset", "update"}
    readable(panels["input"].figure)


@pytest.mark.parametrize("units", [1, 256])
def test_few_and_many_can_be_read(readable, units):
    panels = plots.saturation(shares(units=units, gates=("reset", "update")), provenance={"synthetic": True})
    figure = panels["reset"].figure
    assert figure.get_suptitle().startswith("SYNTHETIC")
    readable(figure)


def test_what_are_no_shares_of_gates_is_refused_in_words():
    with pytest.raises(ValueError, match=r"columns such as forget_saturation_left.*Got \['x'\]"):
        plots.saturation(shares()[[]].assign(x=1.0))
    with pytest.raises(ValueError, match=r"by \(layer, unit\), one snapshot's"):
        plots.saturation(shares().droplevel(0))
    with pytest.raises(ValueError, match=r"from 0 to 1\. Those of the input gate"):
        plots.saturation(2 * shares())
    with pytest.raises(ValueError, match=r"with a number in them"):
        plots.saturation(shares() * np.nan)


@pytest.mark.parametrize("dark", [True, False])
def test_how_many_units_lie_on_each_other_is_said(readable, dark):
    units = shares(units=16, gates=("forget", "output"))
    units["forget_saturation_left"] = [0.0] * 10 + [1.0] * 4 + [0.5, 0.4]
    units["forget_saturation_right"] = [0.001] * 10 + [0.0] * 4 + [0.1, 0.4]
    units["output_saturation_left"] = 0.0
    units["output_saturation_right"] = 1.0
    with plots.theme("dark" if dark else "light"):
        panels = plots.saturation(units)
        readable(panels["forget"].figure)
    told = {gate: {text.get_text(): text.xy for text in ax.texts[:-1]} for gate, ax in panels.items()}
    assert told == {"forget": {"10 units": (0, 0), "4 units": (1, 0)}, "output": {"16 units": (0, 1)}}


def test_one_unit_stands():
    units = shares(units=1, gates=("forget",)).assign(forget_saturation_left=1.0, forget_saturation_right=0.0)
    panels = plots.saturation(units)
    assert panels["forget"].texts[-1].get_text().startswith("1 of 1 unit stands still")
    assert "1 unit" in panels["forget"].figure.get_suptitle().splitlines()[-1]
