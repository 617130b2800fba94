"""What the cells say together: means and spreads over seeds, intervals, and who can be told from whom."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from workbench.runs.comparison.scores import mean_over_spread, ratio
from workbench.trading.resampling import block_length, bootstrap_counts

Record = dict[str, Any]
Drawn = dict[str, Float[np.ndarray, " draw"]]
BY_DAY = ("ic", "rank_ic", "hit_rate", "sharpe")  # figures that days of the test are resampled for


@dataclass(frozen=True)
class Group:
    """The records of one model on one dataset, a seed each."""

    model: str
    records: Sequence[Record]

    def spread(self, part: str, name: str) -> dict[str, float | None]:
        """Mean, standard deviation (ddof 1), least and most over seeds; None where undefined."""
        found = [record[part].get(name) for record in self.records]
        values = [float(value) for value in found if value is not None]
        if not values:
            return dict.fromkeys(("mean", "sd", "least", "most"))
        sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
        return {"mean": float(np.mean(values)), "sd": sd, "least": min(values), "most": max(values)}

    def days(self, figure: str) -> Float[np.ndarray, "seed day value"]:
        """What each day adds to the sums that `figure` is made of, by seed."""
        return np.stack([_sums(record["days"], figure) for record in self.records])


def groups_of(records: Sequence[Record], dataset: str) -> list[Group]:
    """Sort the records of a dataset by model, in the order in which they come."""
    mine = [record for record in records if record["dataset"] == dataset]
    names = dict.fromkeys(record["model"] for record in mine)
    return [Group(name, [record for record in mine if record["model"] == name]) for name in names]


def drawn_figures(groups: Sequence[Group], figure: str, least: int, draws: int) -> Drawn:
    """Draw a figure of every model many times over: days in blocks, the same for all, and seeds.

    A stationary bootstrap of the test days (Politis & Romano 1994), whose blocks are as long as the model
    with the longest memory asks for, and at least as long as the labels' horizon. For each draw a model's
    seeds are drawn too, with replacement, so that what the seed decides widens the interval as well.

    Parameters
    ----------
    groups
        The models of one dataset.
    figure
        One of `BY_DAY`.
    least
        Shortest mean block [days].
    draws
        How many.

    Returns
    -------
    dict
        By model, the figure in each draw; models whose figure is undefined are left out.
    """
    days = {group.model: group.days(figure) for group in groups}
    days = {name: sums for name, sums in days.items() if np.ptp(sums[..., 0]) > 0}
    if not days:
        return {}
    block = max(block_length(sums[..., 0].mean(axis=0), least) for sums in days.values())
    length = next(iter(days.values())).shape[1]
    counts = np.concatenate(list(bootstrap_counts(length, block, draws, seed=0)))
    of, drawn = _figure(figure), {}
    scale = groups[0].records[0]["bars_a_year"] ** 0.5 if figure == "sharpe" else 1.0
    for name, sums in days.items():
        by_seed = np.stack([of(counts @ each) for each in sums], axis=1)  # (draw, seed)
        chosen = np.random.default_rng(0).integers(len(sums), size=by_seed.shape)
        drawn[name] = scale * np.take_along_axis(by_seed, chosen, axis=1).mean(axis=1)
    return drawn


def interval_of(values: Float[np.ndarray, " draw"], outside: float = 0.05) -> list[float] | None:
    """Return the middle of the draws, a share `outside` left out; None if under half of them are defined."""
    defined = values[np.isfinite(values)]
    if 2 * len(defined) < len(values):
        return None
    low, high = np.quantile(defined, (outside / 2, 1 - outside / 2)).tolist()
    return [low, high]


def _sums(days: dict[str, Any], figure: str) -> Float[np.ndarray, "day value"]:
    if figure == "sharpe":
        returns = _values(days["return"])
        return np.column_stack([returns, returns**2, np.ones(len(returns))])
    if figure == "hit_rate":
        return np.column_stack([_values(days["hits"]), _values(days["signs"])])
    values = _values(days[figure])
    known = np.isfinite(values)
    return np.column_stack([np.where(known, values, 0.0), known.astype(float)])


def _values(kept: dict[str, Any]) -> Float[np.ndarray, " day"]:
    return np.array([np.nan if value is None else value for value in kept["values"]], dtype=np.float64)


def _figure(name: str) -> Callable[[Float[np.ndarray, "draw value"]], Float[np.ndarray, " draw"]]:
    return mean_over_spread if name == "sharpe" else ratio
