"""What the monitor's widget says in words."""

import math

import pandas as pd
import pytest
from made_gates import finding_of, layer_of, snapshot_of, states_of

from workbench.widgets.monitordata import Story
from workbench.widgets.monitorwords import (
    cost_line,
    findings_line,
    findings_told,
    ordinal,
    progress_line,
    thinned_line,
)


def told(*losses):
    story = Story()
    for epoch, loss in enumerate(losses, start=1):
        story.add(snapshot_of(epoch, valid_loss=loss, train_loss=1.5), states_of(layer_of()))
    return story


def test_progress_names_the_epoch_its_losses_and_the_best():
    assert progress_line(told(0.9, 0.7, 0.8), 40) == (
        "Epoch 3 of at most 40 · training loss 1.5, validation loss 0.8 · best validation loss 0.7 in epoch 2"
    )
    assert progress_line(Story(), 40) == "No epoch is over yet."
    assert "of at most" not in progress_line(told(0.9), None)
    assert "best validation loss 0.9 in epoch 1" in progress_line(told(0.9, math.nan), None)


def test_costs_are_told_against_the_budget():
    assert cost_line(0.0123, 0.02) == "watching costs 1.23 % of training's time, of at most 2 %"
    assert cost_line(0.5, None) == "watching costs 50 % of training's time"
    assert cost_line(math.nan, 0.02) == ""


def test_what_was_left_out_is_said():
    record = pd.DataFrame(
        {"taken": [True, False, False], "steps": [400] * 3, "sampled": [10] * 3},
        pd.Index([1, 2, 3], name="epoch"),
    )
    story = told(0.9)
    assert thinned_line(record, story) == (
        "Gradients were measured in 30 of 1,200 steps; the gates were not looked at in 2 of 3 epochs."
    )
    story.places.stride = 2
    assert thinned_line(record.iloc[:0], story) == (
        "Panels are kept of the newest epoch and of every 2nd of those looked at, 1 MB at most."
    )
    whole = record.assign(taken=True, sampled=400)
    assert thinned_line(whole, told(0.9)) == ""


def test_findings_come_newest_and_worst_first_once_each():
    found = [
        finding_of(1, "dead", 99.0),
        *(finding_of(epoch, "norm", -5.0) for epoch in (1, 3, 4)),
        finding_of(4, "spread", 9.0),
        finding_of(4, "lost", math.nan, value=math.nan),
    ]
    entries = findings_told(found, [1, 2, 3, 4], ["lstm.l0"])
    assert [entry["key"].rsplit("/", 1)[-1] for entry in entries] == ["lost", "spread", "norm", "dead"]
    assert [(entry["since"], entry["epoch"], entry["current"]) for entry in entries] == [
        (4, 4, True), (4, 4, True), (3, 4, True), (1, 1, False),
    ]  # fmt: skip
    assert findings_line(entries, [1, 2, 3, 4]) == "3 found wrong in epoch 4, 1 before."
    assert entries[1]["text"] == str(finding_of(4, "spread", 9.0))


@pytest.mark.parametrize(
    ("where", "units", "layer", "unit"),
    [
        ("lstm.l0", (), "lstm.l0", None),
        ("lstm.weight_hh_l0", (), "lstm.l0", None),
        ("lstm.l0", (3, 5), "lstm.l0", 3),
        ("return_1", (), "", None),
        ("lstm.l7", (), "", None),
    ],
)
def test_a_finding_leads_to_its_layer_and_unit(where, units, layer, unit):
    (entry,) = findings_told([finding_of(1, where=where, units=units)], [1], ["lstm.l0"])
    assert (entry["layer"], entry["unit"]) == (layer, unit)


def test_a_model_that_is_well_is_said_to_be():
    assert findings_line([], [1]) == "Nothing was found wrong."
    assert findings_line([], [1], 7) == "Nothing was found wrong in the 1 of 7 epochs looked at."
    assert findings_line([], [1, 2], 2) == "Nothing was found wrong."
    assert findings_line([], []) == "Nothing has been looked at yet."
    (entry,) = findings_told([finding_of(1)], [1, 2], [])
    assert findings_line([entry], [1, 2]) == "Nothing found wrong in epoch 2, 1 before."


def test_ordinals():
    assert [ordinal(n) for n in (2, 4, 11, 12, 21, 32, 112)] == [
        "2nd", "4th", "11th", "12th", "21st", "32nd", "112th",
    ]  # fmt: skip
