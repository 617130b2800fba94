"""Gradient norms by gate, against sums of squares made by hand."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench import plots

LSTM = ("input", "forget", "candidate", "output")


def frame(epochs=4, parameters=("rnn.weight_ih_l0", "rnn.weight_hh_l0"), gates=LSTM, seed=0):
    index = pd.MultiIndex.from_product(
        [range(1, epochs + 1), parameters, gates], names=["epoch", "parameter", "gate"]
    )
    norms = np.exp(np.random.default_rng(seed).normal(-3, 1, len(index)))
    return pd.DataFrame({"gradient_norm": norms, "not_finite": 0.0}, index=index).sort_index()


def lines(ax):
    return {line.get_label(): line.get_ydata() for line in ax.lines if not line.get_label().startswith("_")}


def crosses(ax):
    return [list(line.get_xdata()) for line in ax.lines if line.get_marker() == "x"]


def test_a_gates_norm_is_that_of_its_row_blocks_together(readable):
    weights = frame()
    weights.loc[(1, "rnn.weight_ih_l0", "forget"), "gradient_norm"] = 3.0
    weights.loc[(1, "rnn.weight_hh_l0", "forget"), "gradient_norm"] = 4.0
    head = pd.MultiIndex.from_tuples([(1, "head.weight", "")], names=weights.index.names)
    other = pd.DataFrame({"gradient_norm": [9.0], "not_finite": [0.0]}, index=head)
    panels = plots.gate_norms(pd.concat([weights, other]))
    assert list(panels) == ["rnn.l0"]
    drawn = lines(panels["rnn.l0"])
    assert list(drawn) == list(LSTM)
    assert drawn["forget"][0] == pytest.approx(5.0)
    assert panels["rnn.l0"].get_yscale() == "log"
    readable(panels["rnn.l0"].figure)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 5))
def test_norms_are_those_of_a_plain_loop(seed, epochs):
    weights = frame(
        epochs, ("a.weight_ih_l0", "a.bias_hh_l0", "a.weight_hh_l1_reverse", "weight_ih_l0"), seed=seed
    )
    panels = plots.gate_norms(weights)
    of = {
        "a.l0": ("a.weight_ih_l0", "a.bias_hh_l0"),
        "a.l1.reverse": ("a.weight_hh_l1_reverse",),
        "l0": ("weight_ih_l0",),
    }
    assert set(panels) == set(of)
    for layer, parameters in of.items():
        for gate, values in lines(panels[layer]).items():
            for epoch in range(1, epochs + 1):
                squares = [weights.loc[(epoch, p, gate), "gradient_norm"] ** 2 for p in parameters]
                assert values[epoch - 1] == pytest.approx(sum(squares) ** 0.5)
    plt.close("all")


def test_epochs_not_measured_are_gaps_and_what_is_not_finite_is_crossed():
    weights = frame(5)
    weights.loc[2, "gradient_norm"] = np.nan
    weights.loc[(4, "rnn.weight_hh_l0", "forget"), "gradient_norm"] = np.inf
    weights.loc[(5, "rnn.weight_ih_l0", "output"), "not_finite"] = 3.0
    weights.loc[pd.IndexSlice[3, :, "input"], "gradient_norm"] = 0.0
    ax = plots.gate_norms(weights)["rnn.l0"]
    drawn = {gate: np.isfinite(values).tolist() for gate, values in lines(ax).items()}
    assert drawn["candidate"] == [True, False, True, True, True]
    assert drawn["forget"] == [True, False, True, False, True]
    assert drawn["input"] == [True, False, False, True, True]
    assert crosses(ax) == [[], [4], [], [5]]
    assert "× not finite in 2 epochs" in " ".join(ax.get_title(loc="left").split())


@pytest.mark.parametrize(("epochs", "dark"), [(1, True), (3, False), (200, True)])
def test_layers_of_both_kinds_can_be_read(readable, epochs, dark):
    gru = frame(epochs, ("b.weight_hh_l0",), ("reset", "update", "candidate"))
    with plots.theme("dark" if dark else "light"):
        panels = plots.gate_norms(pd.concat([frame(epochs), gru]), provenance={"synthetic": True})
        readable(panels["rnn.l0"].figure)
    assert list(lines(panels["b.l0"])) == ["candidate", "reset", "update"]
    assert panels["rnn.l0"].get_title(loc="left").startswith("SYNTHETIC")


def test_what_are_no_norms_is_refused_in_words():
    with pytest.raises(ValueError, match=r"by \(epoch, parameter, gate\).*Got \['parameter', 'gate'\]"):
        plots.gate_norms(frame().xs(1))
    with pytest.raises(ValueError, match=r"must hold a gradient norm of a recurrent layer\. Got none"):
        plots.gate_norms(frame(parameters=("head.weight",)))
    with pytest.raises(ValueError, match=r"must hold a gradient norm of a recurrent layer\. Got none"):
        plots.gate_norms(frame() * np.nan)
