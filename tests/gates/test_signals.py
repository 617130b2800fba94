import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recurrent_cases import configurations, layers, made, random
from torch import nn

from workbench.gates import measures
from workbench.gates.readings import input_signals, lag_signals, layer_signals, unit_signals
from workbench.gates.recover import gate_states
from workbench.gates.signals import INPUT_SIGNALS, LAG_SIGNALS, UNIT_SIGNALS, WEIGHT_SIGNALS, signal_table
from workbench.gates.states import GateStates, LayerGates
from workbench.models.scaling import InputScaling

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")


def column(*values):
    return np.array(values, dtype=float)[:, None]


def test_saturation_counts_what_lies_beyond_a_tenth_of_either_end():
    gate = column(0.05, 0.5, 0.95, 0.1, 0.9)
    assert measures.share(gate < measures.LEFT) == pytest.approx([1 / 5])
    assert measures.share(gate > measures.RIGHT) == pytest.approx([1 / 5])


def test_mean_and_spread_of_three_steps():
    mean, spread = measures.mean_and_spread(column(1, 2, 6))
    assert mean == pytest.approx([3.0])
    assert spread == pytest.approx([math.sqrt((4 + 1 + 9) / 3)])


def test_crossings_are_shares_of_the_pairs_of_steps():
    values = np.array([[0.4, 0.6, 0.7, 0.3], [0.6, 0.4, 0.6, 0.6]])[..., None]
    assert measures.crossings(values, 0.5) == pytest.approx([4 / 6])
    mask = np.array([[True, True, True, True], [True, True, False, False]])
    assert measures.crossings(values, 0.5, mask) == pytest.approx([3 / 4])
    assert measures.crossings(np.array([[0.1, 0.5, 0.1]])[..., None], 0.5) == pytest.approx([0.0])
    assert np.isnan(measures.crossings(values[:, :1], 0.5)).all()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.5, 0.51, 0.52], 0.0),
        ([0.01, 0.02, 0.9, 0.95], 0.5 + 0.0 - 0.125),  # shares ½, ¼, ¼: 1.5 ln 2 / ln 16
        ([0.0, 1.0], 0.25),
        ([(k + 0.5) / 16 for k in range(16)], 1.0),
        ([-3.0, 0.01, 7.0, 0.99], 0.25),  # beyond the range counts at its ends
    ],
)
def test_entropy_worked_by_hand(values, expected):
    assert measures.entropy(column(*values)) == pytest.approx([expected])
    signed = 2 * column(*values) - 1
    assert measures.entropy(signed, -1.0, 1.0) == pytest.approx([expected])


def test_memory_length_worked_by_hand():
    assert measures.memory_length(column(0.95, 0.95, 0.95)) == pytest.approx([19.4957257], abs=1e-7)
    # the mean of ln f is −(1 + 2 + 3) ln 2 / 3
    assert measures.memory_length(column(1 / 2, 1 / 4, 1 / 8)) == pytest.approx([1 / (2 * math.log(2))])
    assert measures.memory_length(column(1, 1, 1)) == pytest.approx([2.0**24])
    assert measures.memory_length(column(0.9, 0.9, 0)) == pytest.approx([0.0])
    assert np.isnan(measures.memory_length(column(0.9, math.nan, 0.5))).all()


def gates_of(**parts):
    """An LSTM of one unit, from three or more steps of each part."""
    parts = {name: torch.tensor(values, dtype=torch.float64)[None, :, None] for name, values in parts.items()}
    hidden, cell = parts.pop("hidden"), parts.pop("cell")
    mask = torch.ones(hidden.shape[:2], dtype=torch.bool)
    return LayerGates("l0", "", "lstm", 0, False, parts, cell, hidden, mask)


def test_signals_of_a_unit_worked_by_hand():
    layer = gates_of(
        input=[0.05, 0.95, 0.5, 0.05],
        forget=[0.95, 0.95, 0.95, 0.95],
        candidate=[0.995, -0.5, 0.2, -0.999],
        output=[0.3, 0.3, 0.3, 0.3],
        cell=[3.0, -3.0, 1.0, 3.0],
        hidden=[0.1, 0.1, -0.1, -0.1],
    )
    row = unit_signals(GateStates((layer,), 0.0)).loc[("l0", 0)]
    expected = {
        "input_saturation_left": 0.5,
        "input_saturation_right": 0.25,
        "input_mean": 1.55 / 4,
        "input_crossings": 2 / 3,
        "input_entropy": 0.375,
        "forget_saturation_right": 1.0,
        "forget_spread": 0.0,
        "forget_entropy": 0.0,
        "candidate_saturation": 0.5,
        "candidate_crossings": 1.0,
        "cell_saturation": 0.75,  # tanh 3 = 0.9951
        "cell_mean": 1.0,
        "cell_spread": math.sqrt((4 + 16 + 0 + 4) / 4),
        "cell_crossings": 2 / 3,
        "cell_entropy": 0.375,
        "hidden_saturation": 0.0,
        "hidden_spread": 0.1,
        "hidden_crossings": 1 / 3,
        "hidden_entropy": 0.25,
        "memory_length": 19.4957257,
        "half_life": 13.5134073,
        "dead": 0.0,
    }
    for name, value in expected.items():
        assert row[name] == pytest.approx(value, abs=1e-7), name
    assert row[["reset_mean", "update_entropy", "frozen"]].isna().all()


def test_a_unit_that_always_says_the_same_is_dead_and_one_that_did_not_change_is_frozen():
    still = gates_of(
        input=[0.5] * 3,
        forget=[0.5] * 3,
        candidate=[0.0] * 3,
        output=[0.5] * 3,
        cell=[0.0] * 3,
        hidden=[0.7, 0.7005, 0.6995],
    )
    moved = replace(still, hidden=still.hidden + torch.tensor([0, 0, 2e-6])[None, :, None])
    assert layer_signals(still)["dead"] == [1.0]
    assert layer_signals(still, still)["frozen"] == [1.0]
    assert layer_signals(moved, still)["frozen"] == [0.0]
    assert layer_signals(replace(still, hidden=still.hidden * 10))["dead"] == [0.0]


def naive_course(name, sequences, low, squash=lambda v: v):
    """Signals of one unit from its values, one sequence after the other."""
    values = [v for sequence in sequences for v in sequence]
    squashed = [squash(v) for v in values]
    mean = sum(values) / len(values)
    found = {f"{name}_mean": mean}
    found[f"{name}_spread"] = math.sqrt(sum((v - mean) ** 2 for v in values) / len(values))
    if low < 0:
        found[f"{name}_saturation"] = sum(abs(v) > 0.99 for v in squashed) / len(values)
    else:
        found[f"{name}_saturation_left"] = sum(v < 0.1 for v in values) / len(values)
        found[f"{name}_saturation_right"] = sum(v > 0.9 for v in values) / len(values)
    level = (low + 1) / 2
    pairs = [(a > level, b > level) for s in sequences for a, b in pairwise(s)]
    found[f"{name}_crossings"] = sum(a != b for a, b in pairs) / len(pairs) if pairs else math.nan
    bins = [min(max(math.floor((v - low) / (1 - low) * 16), 0), 15) for v in squashed]
    shares = [bins.count(k) / len(bins) for k in set(bins)]
    found[f"{name}_entropy"] = -sum(p * math.log(p) for p in shares) / math.log(16)
    return found


def naive_signals(layer, unit):
    def sequences(values):
        return [row[mask, unit].tolist() for row, mask in zip(values, layer.mask, strict=True)]

    found = {}
    for gate, values in layer.gates.items():
        found |= naive_course(gate, sequences(values), -1.0 if gate == "candidate" else 0.0)
    if layer.cell is not None:
        found |= naive_course("cell", sequences(layer.cell), -1.0, math.tanh)
    if unit < layer.hidden.shape[-1]:
        found |= naive_course("hidden", sequences(layer.hidden), -1.0)
    kept = [f for s in sequences(layer.gates["forget" if layer.kind == "lstm" else "update"]) for f in s]
    found["memory_length"] = -len(kept) / sum(math.log(f) for f in kept)
    found["half_life"] = math.log(2) * found["memory_length"]
    said = layer.hidden if layer.cell is None else layer.gates["output"] * layer.cell.tanh()
    found["dead"] = float(naive_course("", sequences(said), -1.0)["_spread"] < 1e-3)
    return found


@settings(max_examples=40)
@given(configurations())
def test_signals_of_every_configuration_are_those_of_loops_over_steps(configuration):
    states = gate_states(*made(**(configuration | {"dtype": torch.float64})))
    frame = unit_signals(states)
    units = [layer.gates["candidate"].shape[-1] for layer in states.layers]
    places = [(layer.name, u) for layer, n in zip(states.layers, units, strict=True) for u in range(n)]
    assert frame.index.tolist() == places
    assert frame.columns.tolist() == list(UNIT_SIGNALS)
    for layer in states.layers:
        for unit in range(layer.gates["candidate"].shape[-1]):
            expected = naive_signals(layer, unit)
            row = frame.loc[(layer.name, unit)]
            assert set(row.dropna().index) == {name for name, v in expected.items() if not math.isnan(v)}
            for name, value in expected.items():
                assert row[name] == pytest.approx(value, abs=1e-12, rel=1e-9, nan_ok=True), (layer.name, name)


@settings(max_examples=30)
@given(st.integers(0, 1000), st.sampled_from(["lstm", "gru"]), st.sampled_from([0.1, 3.0, 100.0]))
def test_signals_stay_in_their_ranges_and_do_not_hang_on_how_often_a_sequence_is_there(seed, kind, scale):
    rnn = layers(kind, 3, 6, 2, dtype=torch.float32)
    x = random(7, 3, 3, seed=seed, dtype=torch.float32) * scale
    frame = unit_signals(gate_states(rnn, x))
    for name, signal in UNIT_SIGNALS.items():
        values = frame[name].dropna()
        assert values.between(signal.low - 1e-6, signal.high + 1e-6).all(), name
    twice = unit_signals(gate_states(rnn, torch.cat([x, x], dim=1)))
    pd.testing.assert_frame_equal(twice, frame, rtol=1e-5, atol=1e-6)


def test_single_precision_tells_the_same_as_double():
    rnn, x = layers("lstm", 5, 20, 2), random(60, 8, 5)
    double = unit_signals(gate_states(rnn, x))
    single = unit_signals(gate_states(rnn.float(), x.float()))
    assert (double - single).abs().max(axis=None) < 2.1 / 480 * 0.5  # a value at the edge of a bin may move
    assert (double - single).abs().median(axis=None) < 1e-6


def test_a_unit_that_is_not_finite_has_no_signals_and_spoils_no_other():
    rnn, x = layers("lstm", 3, 4), random(6, 2, 3)
    states = gate_states(rnn, x)
    layer = states["l0"]
    gates = {name: values.clone() for name, values in layer.gates.items()}
    gates["forget"][0, 2, 1] = math.nan
    cell = layer.cell.clone()
    cell[1, 0, 3] = math.inf
    hidden = layer.hidden.clone()
    hidden[:, :, 2] = math.nan
    broken = replace(layer, gates=gates, cell=cell, hidden=hidden)
    plain, frame = unit_signals(states), unit_signals(GateStates((broken,), 0.0), states)
    of_forget = [name for name in UNIT_SIGNALS if name.startswith("forget")]
    assert frame.loc[("l0", 1), [*of_forget, "memory_length", "half_life"]].isna().all()
    assert frame.loc[("l0", 3), ["cell_mean", "cell_spread"]].isna().all()
    assert (
        frame.loc[("l0", 2), ["hidden_mean", "hidden_entropy", "hidden_crossings", "dead", "frozen"]]
        .isna()
        .all()
    )
    rest = frame.drop(columns="frozen").loc[[("l0", 0)]]
    pd.testing.assert_frame_equal(rest, plain.drop(columns="frozen").loc[[("l0", 0)]])
    assert frame["frozen"].tolist()[:2] == [1.0, 1.0]


def test_signals_of_inputs_worked_by_hand():
    nan = math.nan
    x = torch.tensor(
        [[[1.0, 5.0], [1.0, nan], [3.0, 7.0]], [[2.0, 7.0], [3.0, 7.0], [3.0, 9.0]]], dtype=torch.float64
    )
    frame = input_signals(x, ["a", "b"])
    assert frame.columns.tolist() == list(INPUT_SIGNALS)
    expected = {
        "mean": [13 / 6, 7.0],
        "spread": [math.sqrt(33 / 6 - (13 / 6) ** 2), math.sqrt(8 / 5)],
        "largest": [3.0, 9.0],
        "unchanged": [2 / 4, 1 / 2],
        "missing": [0.0, 1 / 6],
    }
    for name, values in expected.items():
        assert frame[name].tolist() == pytest.approx(values), name
    scaling = (
        InputScaling(2).double().fit_(torch.tensor([2.0, 7.0]).double(), torch.tensor([0.5, 4.0]).double())
    )
    scaled = input_signals(x, ["a", "b"], scaling)
    assert scaled["mean"].tolist() == pytest.approx([(13 / 6 - 2) * 2, 0.0])
    assert scaled["spread"].tolist() == pytest.approx([2 * expected["spread"][0], expected["spread"][1] / 4])
    assert scaled["largest"].tolist() == pytest.approx([2.0, 0.5])
    assert scaled[["unchanged", "missing"]].equals(frame[["unchanged", "missing"]])


def test_a_feature_that_is_never_there_has_a_share_missing_and_nothing_else():
    frame = input_signals(torch.full((2, 3, 1), math.nan), ["gone"])
    assert frame.loc["gone", "missing"] == 1.0
    assert frame.loc["gone"].drop("missing").isna().all()
    with pytest.raises(ValueError, match="a name for each of 1 features, got 2"):
        input_signals(torch.zeros(2, 3, 1), ["a", "b"])


def test_signals_of_lags_worked_by_hand():
    gradient = torch.tensor([[[3.0, 4.0], [0.0, 0.0], [1.0, 0.0]], [[0.0, 0.0], [0.0, 2.0], [0.0, -6.0]]])
    frame = lag_signals(gradient)
    assert frame.columns.tolist() == list(LAG_SIGNALS)
    assert frame.index.tolist() == [0, 1, 2]
    assert frame["input_gradient"].tolist() == pytest.approx([7.0, 2.0, 5.0])  # the last bar first


def test_the_table_names_every_signal_with_its_formula_and_range():
    table = signal_table()
    counts = {"units": UNIT_SIGNALS, "weights": WEIGHT_SIGNALS, "inputs": INPUT_SIGNALS, "lags": LAG_SIGNALS}
    assert table.groupby(level="table").size().to_dict() == {name: len(of) for name, of in counts.items()}
    assert (table["low"] < table["high"]).all()
    assert table[["formula", "of"]].ne("").all(axis=None)
    assert set(table["unit"]) == {"", "share", "bars", "yes or no"}
    assert table.loc[("units", "half_life"), "formula"] == "−ln 2 / mean(ln f)"


def test_projected_states_have_signals_up_to_their_width():
    torch.manual_seed(0)
    frame = unit_signals(gate_states(nn.LSTM(3, 5, proj_size=2), torch.randn(6, 2, 3)))
    assert frame["hidden_mean"].notna().tolist() == [True, True, False, False, False]
    assert frame[["cell_mean", "forget_mean", "dead"]].notna().all(axis=None)
