"""Whether the gates stood otherwise around a model's worst drawdowns than they do at other times."""

from dataclasses import dataclass
from html import escape

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from workbench.gates.shifts import LEVEL, POWER, WIDEST, Turns, contrast_weights

PHASES = {"before": "decisions up to the peak", "fall": "from the peak to the trough"}
_WHEN = {"before": "before the peaks", "fall": "in the falls"}
_LACKING = {
    "before": "no drawdown has {bars:,} decisions before its peak",
    "fall": "no drawdown has a decision in its fall",
}
_SHOWN = ("mean", "rest", "difference", "low", "high", "p_value", "family_p_value", "detectable")


@dataclass(frozen=True, eq=False, repr=False)
class DrawdownContrast:
    """Signals around the worst drawdowns against all other dates. Prints as a report.

    The report goes by family-wise p, then by p. The two orders differ: p ranks a difference among the shifts
    of its own signal; family-wise p ranks it, in standard deviations of its own shifts, among the largest of
    all signals and phases at each shift.

    Attributes
    ----------
    table
        By (`phase`, `signal`), in the signal's own unit: `mean` of the phase, each drawdown counting alike;
        `rest`, of the dates in no phase; `difference`, with its 95 % interval `low` to `high`; `chance`, what
        one circular shift in twenty reaches, half the interval; `spread`, the signal's standard deviation
        over all dates; `memory`, the correlation of its neighbouring dates; `p_value`; `family_p_value`, for
        the whole table; `detectable`, the least difference that would have been found at a family-wise p of
        0.05 in 80 of 100 such histories.
    drawdowns
        Those looked at, as `worst_drawdowns` lists them.
    decisions
        Dates a signal has.
    bars
        Decisions up to a peak that count as before it.
    used
        By phase, how many drawdowns have decisions there: before, all of them; the others are left out. A
        phase that none has is not in the table.
    """

    table: pd.DataFrame
    drawdowns: pd.DataFrame
    decisions: int
    bars: int
    used: dict[str, int]

    @property
    def verdict(self) -> str:
        """What can be said, in a few sentences."""
        least = self._sorted()["family_p_value"]
        values = least.to_numpy(dtype=np.float64)
        if np.isnan(values).all():
            return " ".join(["No signal varies, so none can differ.", *self.lacking])
        names = [f"{signal} ({phase})" for phase, signal in least.index.to_list()]
        found = [
            f"{name}, family-wise p = {p:.2g}" for name, p in zip(names, values, strict=True) if p <= LEVEL
        ]
        if found:
            head = f"These differ more than shifted series do: {'; '.join(found)}."
        else:
            head = (
                "None differs more than shifted series do: the least family-wise p is "
                f"{values[0]:.2g}, of {names[0]}."
            )
        return " ".join([head, self.power, *self.lacking])

    @property
    def lacking(self) -> list[str]:
        """Why a phase could not be compared: a sentence each."""
        return [
            f"Not compared: {_WHEN[phase]}, since {_LACKING[phase].format(bars=self.bars)}."
            for phase, count in self.used.items()
            if not count
        ]

    @property
    def power(self) -> str:
        """How large a difference these drawdowns could have shown, by phase."""
        widths = (self.table["detectable"] / self.table["spread"]).groupby("phase").median()
        told = [
            f"{f'{width:.1f}' if np.isfinite(width) else f'over {WIDEST:g}'} {_WHEN[str(phase)]}"
            for phase, width in zip(widths.index, widths.to_numpy(dtype=np.float64), strict=True)
        ]
        return (
            f"To be found in {100 * POWER:.0f} % of such histories, a difference must be, in standard "
            f"deviations of its signal, {' and '.join(told)} (medians of the signals)."
        )

    def _facts(self) -> list[str]:
        counts = [
            f"{phase}: {PHASES[phase]}, {n} drawdown{'s' * (n != 1)}" for phase, n in self.used.items() if n
        ]
        counts += [f"before is the last {self.bars:,} decisions"] if self.used["before"] else []
        memory = self.table["memory"]
        return [
            f"Gates around the {len(self.drawdowns)} worst drawdowns, against the rest of {self.decisions} "
            "decisions",
            "; ".join(counts),
            *self.lacking,
            f"Null: all {self.decisions} circular shifts of the signals against the drawdowns. Correlation "
            f"of neighbouring dates: {memory.median():.2f} at the median, at most {memory.max():.2f}; near "
            "1, p is too small",
        ]

    def _sorted(self) -> pd.DataFrame:
        return pd.DataFrame(self.table.sort_values(["family_p_value", "p_value"], kind="stable"))

    def _figures(self) -> pd.DataFrame:
        return pd.DataFrame(self._sorted()[list(_SHOWN)]).map("{:.3g}".format)

    def __str__(self) -> str:
        return "\n".join([*self._facts(), "", self._figures().to_string(), "", self.verdict])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        facts = "".join(f"<div>{escape(line)}</div>" for line in self._facts())
        verdict = f"<div><b>{escape(self.verdict)}</b></div>"
        return f"<div>{facts}{self._figures().to_html(border=0)}{verdict}</div>"


def before_drawdowns(daily: pd.DataFrame, drawdowns: pd.DataFrame, bars: int = 10) -> DrawdownContrast:
    """Ask whether signals stood otherwise before the worst drawdowns' peaks, and in the falls.

    *Before* are the last `bars` decisions up to a peak, its own among them: what was known when the fall had
    not begun. The *fall* is every decision after the peak, up to the trough. Each phase is compared with the
    dates that are in neither. The drawdowns were chosen by how things turned out, so this describes and
    forecasts nothing; and gates follow volatility, as drawdowns do: put a column of it beside them.

    The null is every circular shift of the signals against the calendar of drawdowns. It keeps the signals'
    memory and what they have to do with each other. Few drawdowns and long memory leave it coarse;
    `detectable` says how coarse. Among some 400 made-up histories of 500 dates and eight signals each,
    p ≤ 0.05 came by chance in 5 of 100 where neighbouring dates had a correlation of up to 0.9, 6 of 100 at
    0.97, and 9 of 100 for a random walk; family-wise in 5, 8 and 11. So a signal that drifts through the test
    years has too small a p. What `detectable` says was found in 79 to 81 of 100
    (benchmarks/drawdown_chance.py).

    Parameters
    ----------
    daily
        A row a decision date, as `gates_by_date` returns; of a panel, averaged by date first.
    drawdowns
        With the columns `peak` and `trough`, dates: `worst_drawdowns` of the trading layer lists them.
    bars
        Decisions before a peak.

    Returns
    -------
    DrawdownContrast
        A phase in which no drawdown has decisions is not in its table; its report and verdict say why.

    Raises
    ------
    ValueError
        If dates are no increasing dates, or some have a time zone and others none, a value is not finite,
        there is no drawdown, or none lies within the dates.
    """
    _check(daily, drawdowns, bars)
    dates = pd.DatetimeIndex(daily.index)
    groups = _groups(dates, drawdowns, bars)
    if not groups:
        raise ValueError(
            f"no drawdown has {bars:,} decisions before its peak, or one in its fall, between {dates[0]} and "
            f"{dates[-1]}. Take fewer bars, or signals of the dates that were traded."
        )
    marked = np.stack([rows.any(axis=0) for rows in groups.values()])
    rest = np.logical_not(marked.any(axis=0))
    weights = np.stack([contrast_weights(rows, rest) for rows in groups.values()])
    values = daily.to_numpy(dtype=np.float64)
    columns = _columns(Turns(weights, values), values, rest, marked)
    index = pd.MultiIndex.from_product([list(groups), daily.columns], names=["phase", "signal"])
    table = pd.DataFrame({name: value.ravel() for name, value in columns.items()}, index=index)
    used = {phase: len(groups.get(phase, ())) for phase in PHASES}
    return DrawdownContrast(table, drawdowns, len(daily), bars, used)


def _columns(
    turns: Turns,
    values: Float[np.ndarray, "date signal"],
    rest: Bool[np.ndarray, " date"],
    marked: Bool[np.ndarray, "phase date"],
) -> dict[str, Float[np.ndarray, "phase signal"]]:
    """Return the table's columns."""
    observed, chance, level = turns.observed, turns.chance(), values[rest].mean(axis=0)
    return {
        "mean": level + observed,
        "rest": np.broadcast_to(level, observed.shape),
        "difference": observed,
        "low": observed - chance,
        "high": observed + chance,
        "chance": chance,
        "spread": np.broadcast_to(turns.spread, observed.shape),
        "memory": np.broadcast_to(_memory(values), observed.shape),
        "p_value": turns.p_values(),
        "family_p_value": turns.family_p_values(),
        "detectable": turns.detectable(marked.astype(np.float64)),
    }


def _groups(
    dates: pd.DatetimeIndex, drawdowns: pd.DataFrame, bars: int
) -> dict[str, Bool[np.ndarray, "drawdown date"]]:
    """Return, by phase, the decisions of each drawdown that has them; no phase that none has."""
    at = np.arange(len(dates))
    before, falls = [], []
    for peak, trough in zip(drawdowns["peak"], drawdowns["trough"], strict=True):
        first, last = (int(dates.searchsorted(date, side="right")) for date in (peak, trough))
        if first >= bars and peak <= dates[-1]:
            before.append((at >= first - bars) & (at < first))
        if last > first:
            falls.append((at >= first) & (at < last))
    found = {"before": before, "fall": falls}
    return {phase: np.stack(rows) for phase, rows in found.items() if rows}


def _memory(values: Float[np.ndarray, "date signal"]) -> Float[np.ndarray, " signal"]:
    """Correlation of each date's value with the next one's; NaN of a constant."""
    still = values - values.mean(axis=0)
    size = (still**2).sum(axis=0)
    shared = (still[1:] * still[:-1]).sum(axis=0)
    return np.divide(shared, size, out=np.full_like(size, np.nan), where=size > 0)


def _check(daily: pd.DataFrame, drawdowns: pd.DataFrame, bars: int) -> None:
    if bars < 1:
        raise ValueError(f"bars must be at least 1. Got {bars}.")
    dates = daily.index
    if not isinstance(dates, pd.DatetimeIndex) or not (dates.is_monotonic_increasing and dates.is_unique):
        raise ValueError(
            "daily needs one row a date, increasing. Of a panel average first: daily.groupby('date').mean()."
        )
    if not daily.size or not np.isfinite(daily.to_numpy(dtype=np.float64)).all():
        raise ValueError(
            f"daily must hold one date and signal or more, finite throughout. Got {daily.shape[0]} × "
            f"{daily.shape[1]}: drop the dates or columns that are not finite."
        )
    lacking = [name for name in ("peak", "trough") if name not in drawdowns]
    if lacking:
        raise ValueError(
            f"drawdowns lack {', '.join(lacking)}: list them with "
            "workbench.trading.drawdowns.worst_drawdowns."
        )
    if drawdowns.empty:
        raise ValueError(
            "drawdowns must hold one or more. Got none: the account never fell, so there is nothing to ask."
        )
    _check_zones(dates, drawdowns)


def _check_zones(dates: pd.DatetimeIndex, drawdowns: pd.DataFrame) -> None:
    for name in ("peak", "trough"):
        zone = pd.DatetimeIndex(drawdowns[name]).tz
        if (zone is None) != (dates.tz is None):
            wanted = None if zone is None else str(zone)
            raise ValueError(
                "daily and drawdowns must both have a time zone, or neither. Got daily with "
                f"{dates.tz or 'none'}, {name}s with {zone or 'none'}: e.g. daily.tz_localize({wanted!r})."
            )
