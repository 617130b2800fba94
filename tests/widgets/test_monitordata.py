"""What is kept of a training, which epochs lose their panels, and which bytes are sent."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_gates import layer_of, snapshot_of, states_of

from workbench.widgets import monitordata
from workbench.widgets.monitordata import (
    MOST_BYTES,
    RECENT,
    Places,
    Story,
    capacity_for,
    gate_norms,
)
from workbench.widgets.monitordata import (
    layer_of as of,
)


@pytest.mark.parametrize(
    ("parameter", "layer"),
    [
        ("lstm.weight_ih_l0", "lstm.l0"),
        ("net.rnn.bias_hh_l11_reverse", "net.rnn.l11.reverse"),
        ("weight_hr_l0", "l0"),
        ("head.weight", ""),
        ("return_1", ""),
    ],
)
def test_a_parameter_is_of_its_layer(parameter, layer):
    assert of(parameter) == layer


def test_norms_of_a_gate_are_joined_over_its_parameters():
    norms = {("lstm.weight_ih_l0", "forget"): 1.0, ("lstm.weight_hh_l0", "forget"): 2.0}
    norms |= {("lstm.bias_ih_l0", "forget"): 2.0, ("lstm.bias_ih_l0", "input"): 4.0, ("head.weight", ""): 9.0}
    joined = gate_norms(snapshot_of(1, norms=norms))
    assert joined == {("lstm.l0", "forget"): 3.0, ("lstm.l0", "input"): 4.0}  # √(1 + 4 + 4)


def test_beyond_four_every_second_epoch_is_kept_then_every_fourth():
    places, kept = Places(4), []
    for number in range(9):
        places.put(number)
        kept.append(sorted(places.kept))
    assert kept == [
        [0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 2, 4], [0, 2, 4, 5], [0, 2, 4, 6], [0, 4, 7], [0, 4, 8],
    ]  # fmt: skip


@given(st.integers(2, 12), st.integers(1, 120))
def test_the_first_and_the_newest_are_always_there_evenly_spaced(capacity, count):
    places = Places(capacity)
    for number in range(count):
        places.put(number)
    kept = sorted(places.kept)
    assert kept[-1] == count - 1
    assert kept[0] == 0
    assert len(kept) <= capacity
    assert all(number % places.stride == 0 for number in kept[:-1])
    assert len(set(places.kept.values())) == len(kept)
    assert kept == [number for number in range(count) if Places(capacity).wants(number, count)]


def told(count):
    story = Story()
    for epoch in range(1, count + 1):
        story.add(snapshot_of(epoch), states_of(layer_of(seed=epoch)))
    return story


def test_curves_are_settled_by_the_dozen_and_told_exactly():
    story = told(RECENT + 3)
    settled, recent = (np.frombuffer(part).reshape(-1, len(story.columns)) for part in story.curves())
    assert (len(settled), len(recent)) == (RECENT, 3)
    table = pd.DataFrame(np.concatenate([settled, recent]), columns=story.columns)
    np.testing.assert_array_equal(table["epoch"], np.arange(1, RECENT + 4))
    np.testing.assert_array_equal(table["train_loss"], 1 / table["epoch"])
    np.testing.assert_allclose(table["norm|lstm.l0|forget"], 0.1 * table["epoch"], rtol=1e-15)
    assert "lr" not in table


def test_only_the_slots_that_changed_are_handed_over():
    story = told(3)
    assert sorted(story.taken_slots()) == [0, 1, 2]
    assert story.taken_slots() == {}
    story.add(snapshot_of(4), states_of(layer_of(seed=4)))
    changed = story.taken_slots()
    assert list(changed) == [3]
    assert np.frombuffer(changed[3][:4], "<i4") == 4
    assert changed[3][4:] == story.panels[4][0].tobytes()


def test_an_epoch_looked_at_twice_stands_there_once():
    story = told(3)
    again = layer_of(seed=99)
    story.add(snapshot_of(3, train_loss=7.0), states_of(again))
    assert story.looked == [1, 2, 3]
    assert story.rows[3]["train_loss"] == 7.0
    assert len(story.places.kept) == 3
    np.testing.assert_allclose(story.panels[3][0].values("input"), again.gates["input"].mean(0).T, atol=0.003)


def test_the_newest_epoch_is_never_settled():
    story = told(RECENT)
    assert story.curves()[0] == b""
    story.add(snapshot_of(RECENT, train_loss=7.0), None)
    recent = np.frombuffer(story.curves()[1]).reshape(RECENT, -1)
    assert recent[-1, story.columns.index("train_loss")] == 7.0
    assert len(story.looked) == RECENT


def test_epochs_that_were_passed_over_have_losses_and_no_norms():
    story = told(2)
    record = pd.DataFrame(
        {"taken": [True, True, False], "train_loss": [9.0, 9.0, 0.25]}, pd.Index([1, 2, 3], name="epoch")
    )
    story.add_passed(record)
    assert story.rows[3] == {"epoch": 3.0, "taken": 0.0, "train_loss": 0.25}
    assert story.rows[1]["train_loss"] == 1.0
    assert story.looked == [1, 2]


def test_panels_beyond_the_bytes_of_a_page_are_dropped(monkeypatch):
    monkeypatch.setattr(monitordata, "MOST_BYTES", 500)
    story = told(30)  # 4 · 20 + 32 + 4 bytes an epoch
    held = sum(len(panel.tobytes()) + 4 for panels in story.panels.values() for panel in panels)
    assert held <= 500
    assert max(story.panels) == 30
    assert min(story.panels) == 1
    slots = {}
    for slot, panel in story.taken_slots().items():
        slots[slot] = panel
    assert sorted(np.frombuffer(p[:4], "<i4")[0] for p in slots.values() if p) == sorted(story.panels)


def test_the_usual_model_keeps_thirty_epochs():
    size = 2 * (4 * 64 * 60 + 4 * 2 * 64)  # two layers of 64 units over 60 bars
    assert capacity_for(size) == MOST_BYTES // size == 31
    assert capacity_for(10) == 64
    assert capacity_for(10**9) == 2


def test_a_story_begun_anew_empties_what_it_had_filled():
    story = told(3)
    story.taken_slots()
    story.forget()
    assert story.taken_slots() == {0: b"", 1: b"", 2: b""}
    assert (story.rows, story.looked, story.panels, story.last) == ({}, [], {}, None)


def test_the_nearest_kept_epoch_is_shown():
    story = told(3)
    assert [story.nearest(epoch) for epoch in (0, 1, 2, 40)] == [3, 1, 2, 3]
    assert Story().nearest(0) is None
