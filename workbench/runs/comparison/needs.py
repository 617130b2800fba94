"""Which model for which need: what was measured says so, or says that it cannot tell."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workbench.runs.comparison.summary import Drawn, Group, interval_of

KNOWS_NOTHING = ("zero", "last_return")  # learn nothing, so they are asked neither for time nor for memory


@dataclass(frozen=True)
class Need:
    """Something wanted of a model, and the figure that shows it.

    Attributes
    ----------
    wanted
        In words.
    figure
        Name of the figure.
    part
        Where records keep it: "figures", or "cost", of which less is better.
    chance
        What it is worth to know nothing; of hits the share of the commoner sign, which the data tell.
    margin
        Factor within which two costs count as alike: seconds and memory hang on what else a machine does.
    """

    wanted: str
    figure: str
    part: str = "figures"
    chance: float | None = None
    margin: float = 1.25


NEEDS = (
    Need("to rank a day's stocks by what they will return", "ic", chance=0.0),
    Need("to put them in the right order", "rank_ic", chance=0.0),
    Need("to say which of them will beat the others' mean", "hit_rate", chance=0.5),
    Need("to earn, after costs", "sharpe", chance=0.0),
    Need("to train in little time", "train_cpu_s", "cost"),
    Need("to answer quickly", "predict_cpu_ms_a_window", "cost"),
    Need("to train in little memory", "peak_mb", "cost"),
    Need("to hold few parameters", "parameters", "cost", margin=1.0),
)


def by_figure(need: Need, groups: Sequence[Group], drawn: Drawn) -> dict[str, Any] | None:
    """Name the model with the largest figure, and those that cannot be told from it.

    One is told from the other if the interval of their difference, on the same drawn days, leaves out 0; its
    5 % are divided among the others, so that all who are as good stay in the list in 95 of 100 worlds.

    Returns
    -------
    dict or None
        None if no model has the figure. `above_chance` says whether an interval that allows for the best of
        so many having been picked (its 5 % divided among them) leaves out what knowing nothing is worth; None
        where it is undefined.
    """
    means = {group.model: group.spread(need.part, need.figure)["mean"] for group in groups}
    known = {name: value for name, value in means.items() if value is not None and name in drawn}
    if not known:
        return None
    best = max(known, key=known.__getitem__)
    own = interval_of(drawn[best])
    others = [name for name in known if name != best]
    alike = [name for name in others if not _told_apart(drawn[best], drawn[name], 0.05 / len(others))]
    careful = interval_of(drawn[best], 0.05 / len(known))  # first of so many: Bonferroni
    above = None if careful is None or need.chance is None else careful[0] > need.chance
    return {
        "need": need.wanted,
        "figure": need.figure,
        "best": best,
        "value": known[best],
        "interval": own,
        "alike": alike,
        "of": len(known),
        "above_chance": above,
        "verdict": verdict(best, alike, len(known), above),
    }


def by_cost(need: Need, groups: Sequence[Group]) -> dict[str, Any] | None:
    """Name the model that costs least, and those that cost as little with some seed, within the margin."""
    spreads = {g.model: g.spread(need.part, need.figure) for g in groups if g.model not in KNOWS_NOTHING}
    known = {name: spread for name, spread in spreads.items() if spread["mean"] is not None}
    if not known:
        return None
    best = min(known, key=lambda name: known[name]["mean"] or 0.0)
    most = known[best]["most"] or 0.0
    alike = [
        name
        for name, spread in known.items()
        if name != best and (spread["least"] or 0.0) <= need.margin * most
    ]
    return {
        "need": need.wanted,
        "figure": need.figure,
        "best": best,
        "value": known[best]["mean"],
        "interval": [known[best]["least"], most],
        "alike": alike,
        "of": len(known),
        "above_chance": None,
        "verdict": verdict(best, alike, len(known), None),
    }


def verdict(best: str, alike: Sequence[str], of: int, above: bool | None) -> str:
    """Say it in words: a name only where the figures carry it."""
    if above is False:
        return f"none: even the first, {best}, cannot be told from knowing nothing"
    if of > 1 and len(alike) == of - 1:
        return f"cannot be told apart; {best} comes first"
    return f"{best}, or {', '.join(alike)}, which cannot be told from it" if alike else best


def _told_apart(one: Any, other: Any, outside: float) -> bool:
    between = interval_of(one - other, outside)
    return between is not None and between[0] > 0
