"""Dates of a CSV file: ISO 8601, with a timezone where the bar is shorter than a day, and no guessing."""

from datetime import UTC, datetime, time

import numpy as np
import pandas as pd

from workbench.market.csvtable import DATE, Table
from workbench.market.frame import INTERVALS, PriceError, bar_seconds, is_intraday


def stamps(table: Table, interval: str) -> pd.DatetimeIndex:
    """Dates of the rows, in the file's order: session dates, or UTC bar starts of intraday bars.

    Each is written as ISO 8601. A daily bar may carry a midnight of any offset, and its date is taken; an
    intraday bar must carry an offset. Dates that come twice, and bars whose smallest distance does not suit
    `interval`, are refused.
    """
    read = _instant if is_intraday(interval) else _session
    moments = [read(table, row, _parsed(table, row, cell)) for row, cell in enumerate(table.cells(DATE))]
    _refuse_twice(table, moments)
    dates = pd.DatetimeIndex(np.array(moments, dtype="datetime64[us]"), name="date")
    _refuse_other_interval(table, dates, interval)
    return dates.tz_localize("UTC") if is_intraday(interval) else dates


def _parsed(table: Table, row: int, cell: str) -> datetime:
    try:
        return datetime.fromisoformat(cell)
    except ValueError as error:
        raise table.error(
            row,
            DATE,
            f"expected an ISO 8601 date such as 2012-04-03, got {cell!r}. Other forms can mean two dates "
            "(03/04/2012), so say which it is: rewrite the column with "
            "pd.to_datetime(column, format='%d/%m/%Y').dt.strftime('%Y-%m-%d').",
        ) from error


def _session(table: Table, row: int, moment: datetime) -> datetime:
    if moment.time() != time():
        raise table.error(
            row,
            DATE,
            f"a daily or longer bar carries a date alone, got {moment}. Of intraday bars, say how long they "
            'are: interval="1h".',
        )
    return moment.replace(tzinfo=None)


def _instant(table: Table, row: int, moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise table.error(
            row,
            DATE,
            f"an intraday bar needs a timezone, got {moment} without one. Write its offset, such as "
            f"{moment.isoformat()}Z for UTC, or in pandas column.dt.tz_localize('America/New_York'). "
            'Of daily bars, pass interval="1d".',
        )
    return moment.astimezone(UTC).replace(tzinfo=None)


def _refuse_twice(table: Table, moments: list[datetime]) -> None:
    seen: dict[datetime, int] = {}
    for row, moment in enumerate(moments):
        first = seen.setdefault(moment, row)
        if first != row:
            hint = f" Columns not read: {', '.join(table.unknown)}." if table.unknown else ""
            raise table.error(
                row,
                DATE,
                f"{moment} was given in line {table.lines[first]} already. Keep one line a date and one "
                f"ticker a file.{hint}",
            )


def _refuse_other_interval(table: Table, dates: pd.DatetimeIndex, interval: str) -> None:
    """Three bars or more must come at least once as close as the interval says, and never closer."""
    ordered = np.sort(dates.to_numpy())
    if len(ordered) < 3:
        return
    closest = float(np.diff(ordered).min() / np.timedelta64(1, "s"))
    likely = min(INTERVALS, key=lambda name: abs(np.log(bar_seconds(name) / closest)))
    if likely != interval:
        raise PriceError(
            f"{table.path}: the closest bars are {pd.Timedelta(closest, 's')} apart, which suits "
            f'interval="{likely}". Got interval="{interval}".'
        )
