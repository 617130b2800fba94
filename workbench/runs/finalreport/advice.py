"""Recommendations, each tied to a number of the report by a JSON pointer."""

import math
import re
from collections.abc import Iterator
from typing import Any

from workbench.runs.finalreport.numbers import value_at

__all__ = ["recommend"]

FEW_TRADES, SHORT, DRAG = 30, 3.0, 2.0  # trades; years; percent a year
Advice = dict[str, Any]


def recommend(report: dict[str, Any]) -> list[Advice]:
    """Return what the report's numbers call for: "text", "about" (a JSON pointer), and the "value" there.

    First whether the answers are worth anything, then what they cost, then training and configuration.
    """
    rules = (_answers, _excess, _costs, _evidence, _training, _configuration)
    return [advice for rule in rules for advice in rule(report)]


def _said(report: dict[str, Any], pointer: str, text: str) -> Advice:
    text = re.sub(r"(?<![\w.])-(?=\d)", "−", text)
    return {"text": text, "about": pointer, "value": value_at(report, pointer)}


def _number(report: dict[str, Any], pointer: str) -> float | None:
    """The number that a pointer leads to; None where the section wasn't run or the figure is undefined."""
    try:
        found = value_at(report, pointer)
    except KeyError:
        return None
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None


def _answers(report: dict[str, Any]) -> Iterator[Advice]:
    low = _number(report, "/performance/answers/interval/0")
    high = _number(report, "/performance/answers/interval/1")
    guessing = _number(report, "/performance/answers/guessing")
    if low is None or high is None or guessing is None:
        return
    headline = report["performance"]["answers"]["headline"]
    where = f"The 95 % interval of the {headline} on the test windows, {low:.3f} to {high:.3f},"
    if high < guessing:
        text = f"{where} lies below guessing ({guessing:.3f}). Do not trade on these answers: find out why."
        yield _said(report, "/performance/answers/interval/1", text)
    elif low <= guessing:
        text = (
            f"{where} holds guessing ({guessing:.3f}): these windows do not show that the model knows "
            "anything. Do not read the money below as skill; try other features, labels or more data."
        )
        yield _said(report, "/performance/answers/interval/0", text)


def _excess(report: dict[str, Any]) -> Iterator[Advice]:
    place = "/performance/excess_over_buy_and_hold/interval"
    low, high = _number(report, f"{place}/0"), _number(report, f"{place}/1")
    if low is None or high is None:
        return
    if high < 0:
        text = (
            f"The strategy earned less than buying and holding, by {-high:.1f} to {-low:.1f} % a year "
            "(95 % interval): holding would have been better."
        )
        yield _said(report, f"{place}/1", text)
    elif low <= 0:
        text = (
            f"What the strategy earned over buying and holding lies between {low:+.1f} and {high:+.1f} % a "
            "year (95 % interval), so the two are not told apart. Prefer holding, which costs less, or test "
            "on more years."
        )
        yield _said(report, f"{place}/0", text)


def _costs(report: dict[str, Any]) -> Iterator[Advice]:
    paid = _number(report, "/performance/strategy/CAGR [%]")
    free = _number(report, "/performance/strategy_before_costs/CAGR [%]")
    if paid is None or free is None or free - paid <= DRAG:
        return
    bps = report["strategy"]["conventions"]["cost_bps"]
    text = (
        f"Costs of {bps:g} basis points a side took the growth from {free:.1f} to {paid:.1f} % a year. Trade "
        "less often: a higher threshold, a longer horizon, or positions that are held."
    )
    yield _said(report, "/performance/strategy/CAGR [%]", text)


def _evidence(report: dict[str, Any]) -> Iterator[Advice]:
    exposure = _number(report, "/performance/strategy/Exposure [%]")
    if exposure == 0:
        text = "The strategy never held a position, so nothing was tested. Lower the threshold."
        yield _said(report, "/performance/strategy/Exposure [%]", text)
        return
    trades = _number(report, "/performance/strategy/Trades")
    if trades is not None and trades < FEW_TRADES:
        text = (
            f"All figures of money hang on {trades:.0f} closed trades. Test on more years or tickers before "
            "believing any of them."
        )
        yield _said(report, "/performance/strategy/Trades", text)
    years = _number(report, "/performance/span/years")
    if years is not None and round(years, 1) < SHORT:
        text = (
            f"The test covers {years:.1f} years, over which a Sharpe ratio is known to about "
            f"±{1.96 / math.sqrt(years):.1f}. Test on more years."
        )
        yield _said(report, "/performance/span/years", text)


def _training(report: dict[str, Any]) -> Iterator[Advice]:
    training = report["training"]
    if training["status"] != "computed" or training["best"] is None:
        return
    run, best = training["epochs_run"], training["best_epoch"]
    if best == run and training["stopped"] == "finished":
        text = f"The last of {run} epochs was the best: it was still improving. Give it more epochs."
        yield _said(report, "/training/best_epoch", text)
    elif best == 1 and training["epochs"][-1]["train_loss"] < training["best"]["train_loss"]:
        text = (
            f"The first of {run} epochs was the best, though the training loss went on falling: the rest was "
            "learnt by heart. Lower lr, or regularise."
        )
        yield _said(report, "/training/best_epoch", text)
    classes, loss = report["configuration"]["classes"], _number(report, "/training/best/valid_loss")
    balanced = training["options"].get("class_weights") == "balanced"
    if classes and balanced and loss is not None and loss >= math.log(len(classes)):
        text = (
            f"The best validation loss, {loss:.4f}, is no lower than that of knowing nothing, "
            f"ln {len(classes)} = {math.log(len(classes)):.4f}: it found nothing that holds."
        )
        yield _said(report, "/training/best/valid_loss", text)


def _configuration(report: dict[str, Any]) -> Iterator[Advice]:
    study = report["configuration"]["study"]
    if study["status"] == "computed":
        for remark in study["remarks"]:
            yield _said(report, f"/configuration/study/{remark['about']}", remark["text"])
