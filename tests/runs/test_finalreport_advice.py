"""Each recommendation appears where its number calls for it, and nowhere else."""

import math
from typing import Any

import pytest

from workbench.runs.finalreport.advice import recommend
from workbench.runs.finalreport.numbers import value_at

ANSWERS, BOOK = "performance__answers", "performance__strategy"


def report(**changes: Any) -> dict[str, Any]:
    """A report that nothing is to be said of, but for `changes`: pointers with __ for /."""
    plain: dict[str, Any] = {
        "performance": {
            "answers": {"headline": "IC", "interval": [0.01, 0.05], "guessing": 0.0},
            "excess_over_buy_and_hold": {"interval": [1.0, 9.0]},
            "strategy": {"CAGR [%]": 8.0, "Exposure [%]": 60.0, "Trades": 99.0},
            "strategy_before_costs": {"CAGR [%]": 9.0},
            "span": {"years": 5.0},
        },
        "strategy": {"conventions": {"cost_bps": 5.0}},
        "training": {
            "status": "computed",
            "epochs_run": 12,
            "best_epoch": 4,
            "stopped": "early",
            "options": {"class_weights": "balanced"},
            "best": {"valid_loss": 0.9, "train_loss": 0.8},
            "epochs": [{"train_loss": 0.8}, {"train_loss": 0.7}],
        },
        "configuration": {"classes": ["sell", "hold", "buy"], "study": {"status": "computed", "remarks": []}},
    }
    for place, value in changes.items():
        *path, last = place.split("__")
        inner = plain
        for name in path:
            inner = inner[name]
        inner[last] = value
    return plain


def test_a_report_that_calls_for_nothing_is_left_alone():
    assert recommend(report()) == []


@pytest.mark.parametrize(
    ("changes", "about", "words"),
    [
        ({f"{ANSWERS}__interval": [-0.01, 0.02]}, "/performance/answers/interval/0", "holds guessing"),
        ({f"{ANSWERS}__interval": [-0.05, -0.02]}, "/performance/answers/interval/1", "lies below"),
        (
            {"performance__excess_over_buy_and_hold__interval": [-4.0, 2.5]},
            "/performance/excess_over_buy_and_hold/interval/0",
            "lies between −4.0 and +2.5 % a year",
        ),
        (
            {"performance__excess_over_buy_and_hold__interval": [-9.0, -2.0]},
            "/performance/excess_over_buy_and_hold/interval/1",
            "by 2.0 to 9.0 % a year",
        ),
        ({f"{BOOK}_before_costs": {"CAGR [%]": 11.0}}, "/performance/strategy/CAGR [%]", "from 11.0 to 8.0"),
        ({BOOK: {"Exposure [%]": 0, "Trades": 0}}, "/performance/strategy/Exposure [%]", "never held"),
        ({BOOK: {"Exposure [%]": 9.0, "Trades": 29.0}}, "/performance/strategy/Trades", "29 closed trades"),
        ({"performance__span": {"years": 1.0}}, "/performance/span/years", "about ±2.0"),
        ({"training__best_epoch": 12, "training__stopped": "finished"}, "/training/best_epoch", "last of 12"),
        ({"training__best_epoch": 1}, "/training/best_epoch", "first of 12 epochs"),
        ({"training__best": {"valid_loss": 1.1}}, "/training/best/valid_loss", "ln 3 = 1.0986"),
    ],
)  # fmt: skip
def test_a_number_out_of_line_is_remarked_on_once(changes: dict[str, Any], about: str, words: str):
    made = report(**changes)
    [advice] = recommend(made)
    assert advice["about"] == about
    assert words in advice["text"]
    assert value_at(made, about) == advice["value"]


@pytest.mark.parametrize(
    "changes",
    [
        {"performance__answers__interval": [{"undefined": "few"}, {"undefined": "few"}]},
        {"performance__strategy": {"CAGR [%]": {"undefined": "few"}, "Exposure [%]": 9.0, "Trades": 30.0}},
        {"performance__span": {"years": 3.0}},
        {"performance": {"status": "not run", "reason": "no prices"}},
        {"training": {"status": "not run", "reason": "no history"}},
        {"training__best_epoch": 12},  # the last, but it stopped early
        {"training__best_epoch": 1, "training__epochs": [{"train_loss": 0.8}]},  # the only one
        {"performance__span": {"years": 2.96}},
        {"training__best": {"valid_loss": math.log(3) - 1e-6}},
        {"training__best": {"valid_loss": 1.1}, "training__options": {"class_weights": None}},
        {"training__best": None},
        {"configuration__study": {"status": "not run", "reason": "no windows"}},
    ],
)
def test_nothing_is_said_of_what_is_in_line_or_undefined(changes: dict[str, Any]):
    assert recommend(report(**changes)) == []


def test_what_the_study_remarks_on_is_handed_on_with_its_place():
    study = {
        "status": "computed",
        "samples": {"per_parameter": 0.5},
        "remarks": [{"about": "samples/per_parameter", "value": 0.5, "text": "Take a narrower network."}],
    }
    [advice] = recommend(report(configuration__study=study))
    assert advice == {
        "text": "Take a narrower network.",
        "about": "/configuration/study/samples/per_parameter",
        "value": 0.5,
    }


def test_the_answers_come_first_and_the_configuration_last():
    study = {
        "status": "computed",
        "rows": {"bars": 7},
        "remarks": [{"about": "rows/bars", "value": 7, "text": "t"}],
    }
    made = report(
        configuration__study=study,
        training__best_epoch=1,
        performance__answers__interval=[-1.0, 1.0],
        performance__span={"years": 1.0},
    )
    assert [advice["about"].split("/")[1] for advice in recommend(made)] == [
        "performance",
        "performance",
        "training",
        "configuration",
    ]
