"""What a backtest gives back: series, tables and figures, with the conventions that made them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from workbench.trading.engine import LEDGERS
from workbench.trading.report import Report, date_text, figure, names_text

_FILL_NOTES = {
    "next_open": "filled at the open of the bar after the decision",
    "next_close": "filled at the close of the bar after the decision",
    "close": "filled at the close that was decided on",
}


@dataclass(frozen=True)
class Conventions:
    """What a backtest was told, complete.

    Attributes
    ----------
    fill, ledger, cost_bps
        As given to `backtest`.
    periods_per_year, year
        Bars in a year, and where that number comes from.
    initial_capital, liquidate, exposure, risk_free
        As in `BacktestOptions`.
    """

    fill: str
    ledger: str
    cost_bps: float | int
    periods_per_year: float | int
    year: str
    initial_capital: float | int
    liquidate: bool
    exposure: float | int
    risk_free: float | int


@dataclass(frozen=True, repr=False)
class BacktestResult:
    """What trading on the positions would have earned. Prints as a report.

    Attributes
    ----------
    equity
        Money at each close, from the first decision's bar on; 0 from the day of ruin on.
    returns
        Of each bar after the first, as fractions; the first of them counts from the initial capital.
    trades
        One row a trade: see `round_trips`.
    positions
        Position decided by each close (date × ticker), in [−1, 1].
    weights
        Target weight of the equity in force after each bar's fills (date × ticker).
    units
        Units held at each close (date × ticker); None for the formula ledger, which holds none.
    costs
        Fees paid at each bar, in money.
    turnover
        Notional traded at each bar over the equity just before it.
    outcomes
        Net return of each decision over its own bar (date × ticker); NaN where flat or not known.
    benchmark
        Money at each close of buying the same assets at once and holding them: same fill, costs, exposure.
    stats, benchmark_stats
        Figures with units in their names.
    reasons
        Why a figure of `stats` is NaN.
    conventions
        Fill, ledger, costs and the rest; the first four are attributes of the result too.
    ruined
        Date at which the account was wiped out and the run stopped, or None.
    unfilled
        Assets whose last decision was not filled on any bar of the run.
    provenance
        Of the prices.
    """

    equity: pd.Series
    returns: pd.Series
    trades: pd.DataFrame
    positions: pd.DataFrame
    weights: pd.DataFrame
    units: pd.DataFrame | None
    costs: pd.Series
    turnover: pd.Series
    outcomes: pd.DataFrame
    benchmark: pd.Series
    stats: pd.Series
    benchmark_stats: pd.Series
    reasons: Mapping[str, str]
    conventions: Conventions
    ruined: pd.Timestamp | None
    unfilled: tuple[str, ...]
    provenance: Mapping[str, Any]

    @property
    def fill(self) -> str:
        """When orders fill."""
        return self.conventions.fill

    @property
    def ledger(self) -> str:
        """How positions are held between orders."""
        return self.conventions.ledger

    @property
    def cost_bps(self) -> float | int:
        """Fee per side, in basis points of the notional."""
        return self.conventions.cost_bps

    @property
    def periods_per_year(self) -> float | int:
        """Bars in a year, by which rates are annualised."""
        return self.conventions.periods_per_year

    def report(self) -> str:
        """The figures beside those of buy and hold, the conventions behind them, and what to mind."""
        return self._report().text()

    def __str__(self) -> str:
        return self.report()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self._report().html()

    def _report(self) -> Report:
        dates = pd.DatetimeIndex(self.equity.index)
        title = (
            f"Backtest of {names_text(tuple(self.weights.columns))}, {date_text(dates[0])} to "
            f"{date_text(dates[-1])}, {len(dates)} bars"
        )
        if self.provenance.get("synthetic"):
            title += " (synthetic prices)"
        figures = pd.DataFrame({"Strategy": self.stats, "Buy and hold": self.benchmark_stats}).reindex(
            self.stats.index
        )
        text = pd.DataFrame(
            {
                column: [
                    figure(name, value)
                    for name, value in zip(figures.index, figures[column].tolist(), strict=True)
                ]
                for column in figures.columns
            },
            index=figures.index,
        )
        return Report(title, tuple(self._facts()), text, tuple(self._notes()))

    def _facts(self) -> list[str]:
        told = self.conventions
        facts = [
            f"Fill: {told.fill}, {_FILL_NOTES[told.fill]}",
            f"Ledger: {told.ledger}, {LEDGERS[told.ledger]}",
            f"Costs: {told.cost_bps:g} bp a side; initial capital {told.initial_capital:,.0f}, "
            f"exposure {told.exposure:g}; "
            + ("liquidated" if told.liquidate else "left open")
            + " at the end",
            f"A year: {told.periods_per_year:g} bars ({told.year}); "
            f"risk-free rate {told.risk_free:.2%} a year, divided by {told.periods_per_year:g} for a bar",
        ]
        if "source" in self.provenance:
            facts.append(f"Prices: {self.provenance['source']}, adjusted: {self.provenance.get('adjusted')}")
        return facts

    def _notes(self) -> list[str]:
        notes: list[str] = []
        if self.ruined is not None:
            notes.append(
                f"Ruined on {date_text(self.ruined)}: the equity fell to zero and the run stopped there."
            )
        if self.fill == "close":
            notes.append(
                "Same-bar fill: orders trade at the very close they were decided on, which nobody can. "
                "Compare fill='next_open'."
            )
        if self.ledger == "formula":
            notes.append("No broker holds a constant exposure for free: compare ledger='on_change'.")
        if self.conventions.exposure > 1:
            notes.append("Exposure above 1 borrows money whose interest is not charged.")
        if (self.weights < 0).to_numpy().any():
            notes.append("Short positions pay no borrowing fee here.")
            notes.append("Ruin is judged at fills and closes: a fall to zero between them is not seen.")
        if self.unfilled:
            notes.append(f"The last decision is not filled yet: {names_text(self.unfilled)}.")
        return notes + [f"{name} is undefined: {why}." for name, why in self.reasons.items()]
