"""Detectors: what they say, refuse and keep."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_snapshots import EPOCHS, made_runs, made_snapshot, with_values
from safetensors.numpy import save_file

from workbench.gates.calibrated import CalibratedDetector
from workbench.gates.detect import (
    Detector,
    FiniteCheck,
    IsolationForestDetector,
    NeighbourDetector,
    RobustRules,
    load_detector,
)
from workbench.gates.findings import Finding
from workbench.gates.keeping import write_healthy
from workbench.gates.snapshots import Snapshot

HEALTHY = made_runs(range(8))
FOREST = IsolationForestDetector
KINDS = (RobustRules, FOREST, NeighbourDetector)
NEW = [made_snapshot(seed, epoch) for seed in range(100, 106) for epoch in range(1, EPOCHS + 1)]


@pytest.fixture(scope="module")
def calibrated() -> dict[type[CalibratedDetector], CalibratedDetector]:
    return {kind: kind(**({"trees": 40} if kind is FOREST else {})).calibrate(HEALTHY) for kind in KINDS}


@pytest.fixture(scope="module")
def rules(calibrated: dict[type[CalibratedDetector], CalibratedDetector]) -> CalibratedDetector:
    return calibrated[RobustRules]


def gate_driven_open(snapshot: Snapshot) -> Snapshot:
    return with_values(snapshot, "units", slice(None), "forget_saturation_right", 1.0)


@pytest.mark.parametrize("kind", [*KINDS, FiniteCheck])
def test_all_are_detectors(kind: Callable[[], Detector]):
    assert isinstance(kind(), Detector)


@pytest.mark.parametrize("kind", KINDS)
def test_new_healthy_snapshots_pass(
    calibrated: dict[type[CalibratedDetector], CalibratedDetector], kind: type[CalibratedDetector]
):
    flagged = [bool(calibrated[kind].check(snapshot)) for snapshot in NEW]
    assert sum(flagged) <= 1
    assert flagged == [calibrated[kind].score(snapshot) > calibrated[kind].limit for snapshot in NEW]


def test_a_dead_unit_is_named(rules: CalibratedDetector):
    (found,) = rules.check(with_values(made_snapshot(99, 3), "units", [("lstm.l0", 2)], "dead", 1.0))
    # one of eight is dead: the mean is 1/8, and as none ever was, the floor of 0.02 is the scale
    assert found == Finding("robust_z", "dead", "lstm.l0", "", 2, 0.125, 0.0, 6.25, 3, (2,))
    assert str(found) == (
        "lstm.l0 unit 2: dead is 0.125, 0 while all was well (+6.2 robust standard deviations)"
    )
    assert found.key == "robust_z/lstm.l0/dead"
    assert found.condition == "robust_z/lstm.l0"


def test_some_units_are_counted_and_a_whole_layer_is_not_listed(rules: CalibratedDetector):
    some = [("lstm.l0", unit) for unit in (1, 3, 4, 6)]
    (found,) = rules.check(with_values(made_snapshot(99, 3), "units", some, "dead", 1.0))
    assert found.units == (1, 3, 4, 6)
    assert found.unit is None
    assert str(found).startswith("lstm.l0, 4 units (1, 3, 4 …): dead is 0.5, 0 while")
    (found,) = rules.check(with_values(made_snapshot(99, 3), "units", slice(None), "dead", 1.0))
    assert (found.unit, found.units) == (None, ())
    assert str(found).startswith("lstm.l0: dead is 1, 0 while")


def test_a_gate_is_named(rules: CalibratedDetector):
    (found,) = rules.check(gate_driven_open(made_snapshot(99, 3)))
    assert (found.where, found.gate, found.signal) == ("lstm.l0", "forget", "saturation_right")
    assert str(found).startswith("lstm.l0 forget gate: saturation_right is 1, 0.04")


def test_of_a_parameter_the_gate_that_does_it_is_named(rules: CalibratedDetector):
    where = ("lstm.weight_hh_l0", "candidate")
    (found,) = rules.check(with_values(made_snapshot(99, 3), "weights", [where], "gradient_norm", 50.0))
    assert (found.where, found.gate, found.signal) == (*where, "gradient_norm")
    assert found.value == pytest.approx(50.0, rel=1e-3)
    every = with_values(made_snapshot(99, 3), "weights", ["lstm.weight_hh_l0"], "gradient_norm", 50.0)
    (found,) = rules.check(every)
    assert found.gate == ""
    assert found.value == pytest.approx(100.0)  # √(4 · 50²)


def test_a_stale_feature_is_named(rules: CalibratedDetector):
    stale = with_values(made_snapshot(99, 3), "inputs", "volume", "unchanged", 1.0)
    stale = with_values(stale, "inputs", "volume", "spread", 0.0)
    found = rules.check(stale)
    assert {(each.where, each.signal) for each in found} == {("volume", "unchanged"), ("volume", "spread")}


def test_findings_are_sorted_and_few_however_much_is_wrong():
    dead = replace(made_snapshot(99, 3), units=made_snapshot(99, 3).units * 0 + 50.0)
    every = RobustRules(most=1000).calibrate(HEALTHY).check(dead)
    sizes = [abs(each.deviation) for each in every]
    assert sizes == sorted(sizes, reverse=True)
    assert len(every) > 10
    assert RobustRules(most=3).calibrate(HEALTHY).check(dead) == every[:3]


def test_much_that_is_wrong_in_one_place_hides_no_other():
    dead = replace(made_snapshot(99, 3), units=made_snapshot(99, 3).units * 0 + 50.0)
    both = with_values(dead, "inputs", "volume", "unchanged", 0.5)
    rules = RobustRules(most=1000).calibrate(HEALTHY)
    places = [each.where for each in rules.check(both)]
    assert places.index("volume") > 3
    for most in (1, len(set(places))):
        few = RobustRules(most=most).calibrate(HEALTHY).check(both)
        assert len(few) == len(set(places))
        assert {each.where for each in few} == set(places)


def test_what_is_usual_late_is_not_so_early():
    drifting = [
        with_values(snapshot, "units", slice(None), "forget_mean", 0.1 * snapshot.epoch)
        for snapshot in made_runs(range(8))
    ]
    # sixteen are compared: eight runs' epochs, and one that is next to it at either end
    rules = RobustRules().calibrate(drifting)
    late = drifting[EPOCHS - 1]
    assert rules.check(late) == []
    early = replace(late, progress=1 / EPOCHS, epoch=1)
    assert ("forget", "mean") in [(each.gate, each.signal) for each in rules.check(early)]


@pytest.mark.parametrize("kind", [IsolationForestDetector, NeighbourDetector])
def test_the_others_tell_one_score_for_the_whole(
    calibrated: dict[type[CalibratedDetector], CalibratedDetector], kind: type[CalibratedDetector]
):
    bad = made_snapshot(99, 3)
    bad = replace(bad, units=bad.units * 1.8, weights=bad.weights * 3, inputs=bad.inputs * 2)
    (found,) = calibrated[kind].check(bad)
    assert (found.rule, found.signal, found.where) == (kind.rule, "anomaly_score", "")
    assert found.value == calibrated[kind].score(bad) > calibrated[kind].limit > found.expected
    assert str(found).startswith("the model: anomaly_score is ")


def test_the_limit_is_of_runs_that_were_held_out(rules: CalibratedDetector):
    scores = []
    for seed in range(8):
        others = [s for other in range(8) if other != seed for s in made_runs(range(other, other + 1))]
        known = RobustRules.restored(others, {"options": {}, "limit": 4.0})
        scores += [known.score(snapshot) for snapshot in made_runs(range(seed, seed + 1))]
    high, middle = sorted(scores)[-1], float(np.median(scores))  # of 48, the 99 % quantile is the highest
    assert rules.limit == pytest.approx(max(4.0, middle + 1.25 * (high - middle)))


def test_without_healthy_snapshots_it_says_what_to_do():
    with pytest.raises(ValueError, match="knows no healthy snapshot yet: call calibrate"):
        RobustRules().check(made_snapshot(0))


def other_layer(snapshot: Snapshot) -> Snapshot:
    index = snapshot.units.index.set_levels(["rnn.l0"], level="layer")
    return replace(snapshot, units=snapshot.units.set_axis(index, axis=0))


@pytest.mark.parametrize(
    ("snapshot", "said"),
    [
        (made_snapshot(0, units=9), r"rows of its units differ \(it has lstm.l0/8\)"),
        (other_layer(made_snapshot(0)), r"it lacks lstm.l0/0, lstm.l0/1, .* and 3 more; it has rnn.l0/0"),
        (replace(made_snapshot(0), inputs=made_snapshot(0).inputs.iloc[::-1]), "stand in another order"),
        (replace(made_snapshot(0), progress=np.nan), "calibrated on trainings whose length is known"),
        (replace(made_snapshot(0), progress=np.nan), r"begin\(model, optimizer, Course\(epochs=…\)\)"),
    ],
)
def test_a_snapshot_of_another_model_is_refused(rules: CalibratedDetector, snapshot: Snapshot, said: str):
    with pytest.raises(ValueError, match=said):
        rules.check(snapshot)
    with pytest.raises(ValueError, match=said):
        rules.score(snapshot)


def test_only_what_is_alike_and_healthy_can_be_calibrated_with():
    in_use = [replace(snapshot, progress=np.nan, epoch=0) for snapshot in HEALTHY]
    with pytest.raises(ValueError, match="48 of 96 snapshots have no progress"):
        RobustRules().calibrate([*HEALTHY, *in_use])
    with pytest.raises(ValueError, match="another model"):
        RobustRules().calibrate([*HEALTHY, made_snapshot(0, units=9)])
    ill = with_values(HEALTHY[0], "units", [("lstm.l0", 1)], "hidden_mean", np.nan)
    with pytest.raises(
        ValueError, match=r"must be finite\. That of epoch 1: lstm.l0 unit 1: hidden_mean is nan"
    ):
        RobustRules().calibrate([ill, *HEALTHY])


def test_few_healthy_runs_are_warned_of_but_not_of_a_model_in_use():
    with pytest.warns(UserWarning, match=r"on 7 healthy runs\..* 17 to 24 % .* take 8 or more"):
        RobustRules().calibrate(made_runs(range(7)))
    in_use = [replace(snapshot, progress=np.nan) for snapshot in made_runs(range(5))]
    assert "of 5 runs" in repr(RobustRules().calibrate(in_use))


@pytest.mark.parametrize(
    "order",
    [
        np.arange(48)[::-1],
        np.arange(48).reshape(8, 6).T.ravel(),  # epoch after epoch
        np.random.default_rng(0).permutation(48),
        np.r_[0, 1, 3, 2, 4:48],
    ],
)
def test_healthy_snapshots_that_are_not_run_after_run_are_refused(order: np.ndarray):
    with pytest.raises(ValueError, match=r"not in order: .* no epoch is there more than 8 times"):
        RobustRules().calibrate([HEALTHY[i] for i in order])


def test_runs_of_which_a_budget_left_out_epochs_are_told_apart():
    some = [snapshot for i, snapshot in enumerate(HEALTHY) if i % 6 == 0 or i % 5]
    assert "of 8 runs" in repr(RobustRules().calibrate(some))


def test_a_model_in_use_has_no_phases():
    in_use = [replace(snapshot, progress=np.nan, epoch=0) for snapshot in HEALTHY]
    rules = RobustRules().calibrate(in_use)
    assert rules.check(replace(NEW[0], progress=np.nan, epoch=0)) == []
    assert rules.check(replace(gate_driven_open(NEW[0]), progress=np.nan, epoch=0))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_loaded_scores_to_the_last_bit_as_what_was_saved(
    tmp_path: Path, kind: type[CalibratedDetector]
):
    options = {"specificity": 0.95, "most": 4}
    options |= {"trees": 10, "seed": 7} if kind is IsolationForestDetector else {}
    options |= {"neighbours": 3} if kind is NeighbourDetector else {}
    before = kind(**options).calibrate(HEALTHY)
    before.save(tmp_path / "detector")
    seen = [*NEW[:8], gate_driven_open(NEW[0])]
    for after in (kind.load(tmp_path / "detector"), load_detector(tmp_path / "detector")):
        assert type(after) is kind
        assert after.options() == before.options() == options
        assert after.limit == before.limit
        assert [after.score(s) for s in seen] == [before.score(s) for s in seen]
        assert [after.check(s) for s in seen] == [before.check(s) for s in seen]
    assert [path.name for path in tmp_path.iterdir()] == ["detector"]


def test_nothing_in_the_file_is_a_pickle(tmp_path: Path, rules: CalibratedDetector):
    rules.save(tmp_path / "detector")
    content = (tmp_path / "detector").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert header["__metadata__"]["format"] == "attention-workbench gate detector 1"
    assert {entry["dtype"] for name, entry in header.items() if name != "__metadata__"} == {"F64"}


def test_a_save_that_fails_leaves_the_file_as_it_was(
    tmp_path: Path, rules: CalibratedDetector, monkeypatch: pytest.MonkeyPatch
):
    rules.save(tmp_path / "detector")
    before = (tmp_path / "detector").read_bytes()

    def full(*args: object, **kwargs: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("safetensors.numpy.save_file", full)
    with pytest.raises(OSError, match="no space left"):
        rules.save(tmp_path / "detector")
    assert (tmp_path / "detector").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["detector"]


def altered(content: bytes) -> bytes:
    return content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda content: content[:-100], "not a readable detector"),
        (lambda content: b"", "not a readable detector"),
        (lambda content: b"epoch,loss\n1,0.9\n" * 50, "not a readable detector"),
        (altered, "was altered"),
        (lambda content: content.replace(b"RobustRules", b"RobustFools"), "was altered"),
        (lambda content: content.replace(b"detector 1", b"detector 2"), "not a detector of this version"),
    ],
)
def test_a_damaged_or_foreign_file_is_refused(
    tmp_path: Path, rules: CalibratedDetector, damage: Callable[[bytes], bytes], said: str
):
    path = tmp_path / "detector"
    rules.save(path)
    path.write_bytes(damage(path.read_bytes()))
    for load in (load_detector, RobustRules.load):
        with pytest.raises(ValueError, match=said):
            load(path)


def test_tensors_of_something_else_are_refused(tmp_path: Path):
    save_file({"weight": np.zeros(3)}, tmp_path / "model")
    with pytest.raises(ValueError, match="not a detector of this version"):
        load_detector(tmp_path / "model")


def test_snapshots_without_a_detector_are_refused(tmp_path: Path):
    write_healthy(tmp_path / "snapshots", HEALTHY[:2], {})
    for load in (load_detector, RobustRules.load):
        with pytest.raises(ValueError, match="None"):
            load(tmp_path / "snapshots")


def test_a_detector_of_another_kind_is_refused(tmp_path: Path, rules: CalibratedDetector):
    rules.save(tmp_path / "detector")
    with pytest.raises(ValueError, match="is of a RobustRules, not of a NeighbourDetector: load it by"):
        NeighbourDetector.load(tmp_path / "detector")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: RobustRules(specificity=1.0), "specificity must be from 0.5 to below 1, got 1.0"),
        (lambda: RobustRules(most=0), "most must be at least 1, got 0"),
        (lambda: IsolationForestDetector(trees=0), "trees must be at least 1, got 0"),
        (lambda: NeighbourDetector(neighbours=11), "neighbours must be from 1 to 10, got 11"),
    ],
)
def test_an_option_that_cannot_work_is_refused(make: Callable[[], object], said: str):
    with pytest.raises(ValueError, match=said):
        make()


def test_it_says_what_it_knows(rules: CalibratedDetector):
    assert repr(RobustRules()) == "RobustRules(not calibrated)"
    assert repr(rules) == f"RobustRules(48 healthy snapshots of 8 runs, limit {rules.limit:.3g})"
    with pytest.raises(ValueError, match="knows nothing that a file could keep"):
        FiniteCheck().save("nowhere")
