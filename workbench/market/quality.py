"""How good the prices are: what a reader should know of them before a model reads them."""

import html
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from workbench.market.calendars import ends
from workbench.market.faults import row_faults
from workbench.market.frame import COLUMNS, PriceError, dates_of
from workbench.market.remarks import Remark, remarks


@dataclass(frozen=True)
class Issue:
    """What one check found.

    `count` is None when the check could not be made, and `note` then says why. `breach` marks what the
    contract forbids; anything else is only for the reader to know.
    """

    check: str
    count: int | None
    breach: bool = False
    note: str = ""

    @property
    def verdict(self) -> str:
        """One of ok, flagged, refused and not checked."""
        if self.count is None:
            return "not checked"
        if self.count == 0:
            return "ok"
        return "refused" if self.breach else "flagged"


@dataclass(frozen=True, eq=False)
class QualityReport:
    """What the checks found in a price frame; prints as a small table.

    Attributes
    ----------
    title
        Which prices: ticker, source, interval, bars, range, adjustment.
    issues
        One of every check, in order.
    rows
        The flagged rows: index `date`; columns `ticker`, `check`, and `value`, which is the log return of an
        extreme move, the price ratio of a suspected split, the close of a repeated close, else NaN.
    """

    title: str
    issues: tuple[Issue, ...]
    rows: pd.DataFrame

    @property
    def ok(self) -> bool:
        """Whether nothing breaks the contract; flagged rows are no breach."""
        return not any(issue.verdict == "refused" for issue in self.issues)

    @property
    def table(self) -> pd.DataFrame:
        """The checks as a frame, indexed by check: found, verdict, note."""
        heading, *cells = self._cells
        return pd.DataFrame(cells, columns=list(heading)).set_index("check")

    @property
    def _cells(self) -> list[tuple[str, str, str, str]]:
        heading = ("check", "found", "verdict", "note")
        found = ["–" if issue.count is None else str(issue.count) for issue in self.issues]
        return [heading, *((i.check, n, i.verdict, i.note) for i, n in zip(self.issues, found, strict=True))]

    def flagged(self, check: str) -> pd.DataFrame:
        """Rows that one check flagged; `table` names the checks."""
        if check not in self.table.index:
            raise KeyError(f"check must be one of {', '.join(self.table.index)}. Got {check!r}.")
        return self.rows.loc[self.rows["check"] == check]

    def __str__(self) -> str:
        widths = [max(map(len, column)) for column in zip(*self._cells, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in self._cells]
        return "\n".join([self.title, *lines])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self.title)}</p>{self.table.to_html()}"


def check_prices(prices: pd.DataFrame) -> QualityReport:
    """Look for everything in `prices` that could mislead a model; change and remove nothing.

    Breaches of the contract (see `conform`) are "refused": duplicate or unsorted dates, prices that are not
    finite and positive, negative volume, highs and lows that do not enclose the bar. "Flagged" are facts that
    may be real: zero volume, repeated closes, bars that the calendar has and the prices lack or the reverse,
    moves beyond 8 robust standard deviations (median ± 8 · 1.4826 · MAD of the log returns), and price
    ratios near a split's.

    Parameters
    ----------
    prices
        Columns among open, high, low, close, volume; index of dates, or a panel's (date, ticker). What
        `attrs["provenance"]` says of fields, calendar and interval is used; without it gaps are not checked.

    Returns
    -------
    QualityReport
        Counts, and the flagged rows. A panel's are the sums over its tickers.
    """
    provenance = prices.attrs.get("provenance", {})
    fields = _fields(prices, provenance)
    faults = row_faults(prices, fields)
    issues = [Issue(check, int(bad.sum()), breach=True) for check, bad in faults.items()]
    rows = [_rows(check, prices.loc[bad], provenance) for check, bad in faults.items()]
    looked = {ticker: _look(bars, fields, provenance) for ticker, bars in _assets(prices, provenance)}
    for check in next(iter(looked.values())):
        found = [remark[check] for remark in looked.values()]
        issues.append(_issue(check, found, provenance.get("calendar")))
        rows += [_remarked(check, ticker, remark[check]) for ticker, remark in looked.items()]
    flagged = pd.concat([part for part in rows if len(part)] or rows[:1])
    return QualityReport(_title(prices, provenance), tuple(issues), flagged)


def _fields(prices: pd.DataFrame, provenance: dict[str, Any]) -> list[str]:
    present = [c for c in COLUMNS if c in prices.columns and bool(prices[c].notna().any())]
    fields = provenance.get("fields", present)
    dated = isinstance(prices.index.get_level_values(0), pd.DatetimeIndex)
    if prices.empty or not dated or "close" not in fields or not set(fields) <= set(prices.columns):
        raise PriceError(
            f"prices need rows, an index of dates and a column close. Got {len(prices)} rows, an index of "
            f"{prices.index.dtype} and columns {list(prices.columns)}. "
            "Make them with load_prices, or set the index and name the columns."
        )
    return fields


def _assets(prices: pd.DataFrame, provenance: dict[str, Any]) -> list[tuple[str, pd.DataFrame]]:
    if isinstance(prices.index, pd.MultiIndex):
        return [(str(ticker), bars) for ticker, bars in prices.groupby(level=1, sort=True)]
    return [(str(provenance.get("ticker", "")), prices)]


def _look(bars: pd.DataFrame, fields: list[str], provenance: dict[str, Any]) -> dict[str, Remark]:
    columns = {name: bars[name].to_numpy(dtype="float64") for name in fields}
    return remarks(dates_of(bars), columns, provenance.get("calendar"), provenance.get("interval", "1d"))


def _issue(check: str, found: list[Remark], calendar: str | None) -> Issue:
    """One line of the table for the remarks of every asset."""
    reasons = {remark for remark in found if isinstance(remark, str)}
    counts = [len(remark[0]) for remark in found if not isinstance(remark, str)]
    note = "; ".join(sorted(reasons))
    if not note and calendar and check in ("missing bars", "unexpected bars"):
        note = f"calendar {calendar}"
    return Issue(check, sum(counts) if counts else None, note=note)


def _remarked(check: str, ticker: str, remark: Remark) -> pd.DataFrame:
    dates, values = (pd.DatetimeIndex([]), np.empty(0)) if isinstance(remark, str) else remark
    return _flagged(check, dates, [ticker] * len(dates), values)


def _rows(check: str, bad: pd.DataFrame, provenance: dict[str, Any]) -> pd.DataFrame:
    panel = isinstance(bad.index, pd.MultiIndex)
    tickers = bad.index.get_level_values(1) if panel else [provenance.get("ticker", "")] * len(bad)
    return _flagged(check, dates_of(bad), [str(ticker) for ticker in tickers], np.full(len(bad), np.nan))


def _flagged(check: str, dates: pd.DatetimeIndex, tickers: list[str], values: np.ndarray) -> pd.DataFrame:
    frame = pd.DataFrame({"ticker": tickers, "check": check, "value": values}, index=dates)
    return frame.astype({"ticker": "str", "check": "str"}).rename_axis("date")


def _title(prices: pd.DataFrame, provenance: dict[str, Any]) -> str:
    ticker = provenance.get("ticker", "prices without provenance")
    dates = dates_of(prices)
    parts = [ticker if isinstance(ticker, str) else f"{len(ticker)} tickers"]
    parts += [str(provenance[key]) for key in ("source", "interval") if key in provenance]
    first, last = ends(dates.sort_values())
    parts.append(f"{len(prices)} bars, {first.date()} to {last.date()}")
    if "adjusted" in provenance and not provenance.get("synthetic"):
        parts.append(f"adjusted: {provenance['adjusted']}")
    return " · ".join(parts)
