"""What came of explaining the same windows by several methods."""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

import numpy as np
import pandas as pd

from workbench.explainers.agreement import by_bar, rank_correlations, top_overlap
from workbench.explainers.explanation import Explanation
from workbench.explainers.options import is_whole

_RANKS = "Rank agreement: Spearman's correlation of |score| over the bars, mean over windows"


@dataclass(frozen=True)
class Comparison:
    """The same windows explained by several methods.

    Attributes
    ----------
    explanations
        By method, as `explain` gives them.
    spearman
        (method, method): Spearman's rank correlation of |score| over the bars of a window, features added up,
        averaged over the windows. Tied bars share the mean of their ranks; a window that a method scores all
        alike has no ranks and is left out, and a pair without any window left is NaN.
    seconds
        By method: wall time of all windows, and of one [s].
    refused
        By method that could not explain these windows, the reason.
    """

    explanations: dict[str, Explanation]
    spearman: pd.DataFrame
    seconds: pd.DataFrame
    refused: dict[str, str]

    @classmethod
    def of(
        cls, explanations: Mapping[str, Explanation], seconds: Mapping[str, float], refused: Mapping[str, str]
    ) -> "Comparison":
        """Compare explanations of the same windows."""
        taken = pd.Series(dict(seconds), dtype=float)
        windows = len(next(iter(explanations.values())))
        table = pd.DataFrame({"all windows [s]": taken, "one window [s]": taken / windows})
        by_window = rank_correlations(_stacked(explanations))
        return cls(
            explanations=dict(explanations),
            spearman=_square(_mean_over_windows(by_window), explanations),
            seconds=table.rename_axis("method"),
            refused=dict(refused),
        )

    def __len__(self) -> int:
        return len(self.explanations)

    def at(self, date: object, ticker: str | None = None) -> dict[str, Explanation]:
        """Return the explanations of the one window decided on `date`, by method."""
        return {name: each.at(date, ticker) for name, each in self.explanations.items()}

    def by_window(self) -> pd.DataFrame:
        """Return the rank agreement of every two methods in each window; NaN where there are no ranks.

        A row a decision, the columns are the pairs of methods.
        """
        names, first = list(self.explanations), next(iter(self.explanations.values()))
        pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
        found = rank_correlations(_stacked(self.explanations))
        values = [found[names.index(a), names.index(b)] for a, b in pairs]
        columns = pd.MultiIndex.from_tuples(pairs, names=["one", "other"]) if pairs else pd.Index([])
        table = np.stack(values, axis=1) if pairs else np.empty((len(first), 0))
        return pd.DataFrame(table, index=first.predictions.index, columns=columns)

    def by_lag(self) -> pd.DataFrame:
        """Return which share of its scores, by size and over all windows, each method lays on each bar.

        Rows are bars, `t−k` being k bars before the decision, oldest first; columns are methods and sum to 1,
        or are NaN where a method's scores are all 0.
        """
        sizes = np.abs(_stacked(self.explanations)).mean(axis=1).T  # (time, method)
        total = sizes.sum(axis=0)
        shares = np.divide(sizes, total, out=np.full_like(sizes, np.nan), where=total > 0)
        bars = len(shares)
        lags = pd.Index([f"t−{bars - 1 - i}" for i in range(bars)], name="lag")
        return pd.DataFrame(shares, index=lags, columns=pd.Index(list(self.explanations), name="method"))

    def top_k(self, k: int = 5) -> pd.DataFrame:
        """Return the share of the k bars of largest |score| that two methods have in common.

        Over all windows. Bars tied for the last places are drawn by lot: the figure is what that gives on
        average, so a method that ties shares less than all with itself. `attrs["chance"]`, k ÷ bars, is what
        methods that know nothing of each other share; `attrs["k"]` is k.

        Raises
        ------
        ValueError
            If k is not between 1 and the number of bars.
        """
        scores = _stacked(self.explanations)
        bars = scores.shape[-1]
        if not is_whole(k) or not 1 <= k <= bars:
            raise ValueError(f"k must be a whole number of bars, from 1 to the window's {bars}; got {k!r}")
        table = _square(top_overlap(scores, k).mean(axis=-1), self.explanations)
        table.attrs |= {"chance": k / bars, "k": k}
        return table

    def __str__(self) -> str:
        parts = [self._title(), f"{_RANKS}\n{_indented(_shown(self.spearman))}"]
        parts.append(f"Time\n{_indented(_timed(self.seconds))}")
        if self.refused:
            lines = [f"  {name}: {reason}" for name, reason in self.refused.items()]
            parts.append("\n".join(["Refused", *lines]))
        return "\n".join(parts)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        parts = [f"<p><b>{escape(self._title())}</b></p>"]
        for told, table in ((_RANKS, _shown(self.spearman)), ("Time", _timed(self.seconds))):
            parts.append(f"<p>{escape(told)}</p>{table.to_html(border=0)}")
        if self.refused:
            reasons = [f"<li><b>{escape(n)}</b>: {escape(r)}</li>" for n, r in self.refused.items()]
            parts.append(f"<p>Refused</p><ul>{''.join(reasons)}</ul>")
        return "".join(parts)

    def _title(self) -> str:
        one = next(iter(self.explanations.values()))
        made_up = "SYNTHETIC · " if one.provenance.get("synthetic") else ""
        methods = f"{len(self)} method{'s' * (len(self) != 1)}"
        windows = f"{len(one)} window{'s' * (len(one) != 1)} of {one.scores.shape[1]} bars"
        span = f"{min(one.dates):%Y-%m-%d} → {max(one.dates):%Y-%m-%d}"
        return f"{made_up}{methods} on {windows}, {span}"


def _stacked(explanations: Mapping[str, Explanation]) -> np.ndarray:
    for each in explanations.values():
        each.check_by_bar("a comparison of methods")
    return np.stack([by_bar(each.scores) for each in explanations.values()])


def _mean_over_windows(values: np.ndarray) -> np.ndarray:
    known = np.isfinite(values)
    count = known.sum(axis=-1)
    sums = np.where(known, values, 0).sum(axis=-1)
    return np.divide(sums, count, out=np.full(sums.shape, np.nan), where=count > 0)


def _square(values: np.ndarray, explanations: Mapping[str, Explanation]) -> pd.DataFrame:
    names = list(explanations)
    table = pd.DataFrame(values, index=pd.Index(names, name="method"), columns=pd.Index(names))
    table.attrs["provenance"] = dict(explanations[names[0]].provenance)
    return table


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    """Return correlations as text, their columns numbered: names would run off the page."""
    numbered = {name: f"{i} {name}" for i, name in enumerate(table.index, start=1)}
    text = table.map(lambda value: "–" if np.isnan(value) else f"{round(value, 2) + 0:.2f}".replace("-", "−"))
    text.index = pd.Index(list(numbered.values()))
    text.columns = pd.Index([str(i) for i in range(1, len(numbered) + 1)])
    return text


def _timed(seconds: pd.DataFrame) -> pd.DataFrame:
    """Return times as text, those of one window in milliseconds."""
    every, each = (
        seconds.iloc[:, 0].map("{:.3g} s".format),
        (1000 * seconds.iloc[:, 1]).map("{:.3g} ms".format),
    )
    return pd.DataFrame({"all windows": every, "one window": each}).rename_axis(None)


def _indented(table: pd.DataFrame) -> str:
    return "\n".join(f"  {line}" for line in table.to_string().splitlines())
