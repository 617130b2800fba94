from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from workbench.runs.comparison.needs import NEEDS, by_cost, by_figure
from workbench.runs.comparison.summary import Group, drawn_figures, groups_of, interval_of

IC = next(need for need in NEEDS if need.figure == "ic")
TIME = next(need for need in NEEDS if need.figure == "train_cpu_s")
DAYS = 400


def record(model: str, seed: int, ic: np.ndarray, seconds: float = 1.0) -> dict[str, Any]:
    """What a cell keeps, as far as it is asked here."""
    values = [None if np.isnan(value) else float(value) for value in ic]
    mean = None if np.isnan(ic).all() else float(np.nanmean(ic))
    return {
        "dataset": "made", "model": model, "seed": seed, "figures": {"ic": mean},
        "cost": {"train_cpu_s": seconds}, "days": {"ic": {"values": values}}, "bars_a_year": 252.0,
        "undefined": {},
    }  # fmt: skip


def made(means: dict[str, Sequence[float]], spread: float = 0.2, seed: int = 0) -> list[Group]:
    """Groups whose seeds have these means of the daily IC; all share the days' luck."""
    rng = np.random.default_rng(seed)
    luck = spread * rng.normal(size=DAYS)
    luck -= luck.mean()
    records = [
        record(name, i, mean + luck + 0.01 * rng.normal(size=DAYS))
        for name, seeds in means.items()
        for i, mean in enumerate(seeds)
    ]
    return groups_of(records, "made")


def answered(groups: list[Group]) -> dict[str, Any]:
    found = by_figure(IC, groups, drawn_figures(groups, "ic", 5, 500))
    assert found is not None
    return found


def test_who_is_better_on_the_same_days_is_named_however_wild_the_days():
    found = answered(made({"good": [0.10, 0.10, 0.10], "worse": [0.08, 0.08, 0.08]}))
    assert (found["best"], found["alike"], found["verdict"]) == ("good", [], "good")
    assert found["interval"][0] < 0.10 < found["interval"][1]


def test_who_differs_by_seed_as_much_as_from_others_cannot_be_told_apart():
    found = answered(made({"lucky": [0.16, 0.10, 0.04], "steady": [0.08, 0.08, 0.08]}))
    assert found["alike"] == ["steady"]
    assert found["verdict"] == "cannot be told apart; lucky comes first"


def test_some_alike_and_some_behind_are_said():
    found = answered(made({"a": [0.100], "b": [0.0999], "c": [0.02]}))
    assert found["verdict"] == "a, or b, which cannot be told from it"


def test_whose_interval_holds_nothing_knows_nothing():
    found = answered(made({"a": [0.005], "b": [-0.1]}))
    assert found["above_chance"] is False
    assert found["verdict"] == "none: even the first, a, cannot be told from knowing nothing"


def test_the_first_of_many_must_lie_further_off_than_one_alone():
    rng, error = np.random.default_rng(0), 0.2 / DAYS**0.5
    days = rng.normal(size=DAYS) * 0.2
    days += 2.4 * error - days.mean()  # an interval of its own leaves out nothing
    alone = groups_of([record("a", 0, days)], "made")
    others = [record(f"b{i}", 0, days - days.mean()) for i in range(12)]
    assert by_figure(IC, alone, drawn_figures(alone, "ic", 1, 4000))["above_chance"] is True
    many = groups_of([record("a", 0, days), *others], "made")
    assert by_figure(IC, many, drawn_figures(many, "ic", 1, 4000))["above_chance"] is False


def test_a_model_without_the_figure_is_left_out_and_alone_there_is_no_answer():
    silent = [record("zero", 0, np.full(DAYS, np.nan))]
    groups = made({"a": [0.1]}) + groups_of(silent, "made")
    assert answered(groups)["of"] == 1
    alone = groups_of(silent, "made")
    assert by_figure(IC, alone, drawn_figures(alone, "ic", 5, 100)) is None


def test_days_are_drawn_alike_for_all_so_that_twins_never_differ():
    groups = made({"a": [0.1]}) + made({"b": [0.1]})
    drawn = drawn_figures(groups, "ic", 5, 100)
    assert np.array_equal(drawn["a"], drawn["b"])


def test_the_interval_over_seeds_is_wider_than_over_days_alone():
    def width(seeds: Sequence[float]) -> float:
        low, high = interval_of(drawn_figures(made({"a": seeds}, 0.01), "ic", 5, 1000)["a"]) or (0, 0)
        return high - low

    assert width([0.16, 0.1, 0.04]) > 5 * width([0.1, 0.1, 0.1])


def test_costs_within_the_margin_or_met_by_another_seed_count_as_alike():
    quick = [record("quick", i, np.zeros(DAYS), s) for i, s in enumerate((1.0, 1.2))]
    near = [record("near", i, np.zeros(DAYS), s) for i, s in enumerate((1.4, 9.0))]
    slow = [record("slow", 0, np.zeros(DAYS), 1.6)]
    nothing = [record("zero", 0, np.zeros(DAYS), 0.0)]
    found = by_cost(TIME, groups_of([*slow, *near, *quick, *nothing], "made"))
    assert found is not None
    assert (found["best"], found["alike"]) == ("quick", ["near"])
    assert found["interval"] == [1.0, 1.2]


def test_spread_is_the_sample_standard_deviation_over_seeds():
    group = made({"a": [0.1, 0.2, 0.6]}, spread=0)[0]
    values = [r["figures"]["ic"] for r in group.records]
    found = group.spread("figures", "ic")
    assert found["mean"] == pytest.approx(np.mean(values))
    assert found["sd"] == pytest.approx(np.std(values, ddof=1))
    assert made({"a": [0.1]})[0].spread("figures", "ic")["sd"] is None
