"""Which bars a market should have had: an exchange's sessions, weekdays, or every bar of a fixed grid."""

import warnings
from functools import lru_cache

import pandas as pd

from workbench.market.request import bar_seconds, is_intraday

CALENDARS = ("XNYS", "weekdays", "24/7")


def missing_and_unexpected(
    dates: pd.DatetimeIndex, calendar: str, interval: str
) -> tuple[pd.DatetimeIndex, pd.DatetimeIndex] | str:
    """Bars the calendar has between the first and last of `dates` but `dates` hasn't, and the reverse.

    Parameters
    ----------
    dates
        Session dates, or UTC bar starts of intraday bars; sorted.
    calendar
        "24/7": every bar of the grid that starts at the epoch. "weekdays": Monday to Friday. "XNYS": the
        sessions of the New York Stock Exchange; of intraday bars only whole sessions are looked for.
    interval
        Length of a bar.

    Returns
    -------
    tuple of DatetimeIndex, or str
        Missing and unexpected; or why this cannot be told.
    """
    if calendar not in CALENDARS:
        raise ValueError(f"calendar must be one of {', '.join(CALENDARS)}. Got {calendar!r}.")
    if interval in ("1wk", "1mo"):
        return f"{interval} bars have no fixed sessions"
    if calendar == "24/7":
        expected = _grid(dates, bar_seconds(interval))
    elif not is_intraday(interval):
        expected = _sessions(dates, calendar)
    elif calendar == "XNYS":
        dates = pd.DatetimeIndex(dates.tz_convert("America/New_York").tz_localize(None).normalize().unique())
        expected = _sessions(dates, calendar)
    else:
        return f"{interval} bars have no sessions in the calendar {calendar!r}"
    return expected[~expected.isin(dates)], dates[~dates.isin(expected)]


def _grid(dates: pd.DatetimeIndex, seconds: int) -> pd.DatetimeIndex:
    first, last = ends(dates)
    return pd.date_range(first.ceil(f"{seconds}s"), last, freq=f"{seconds}s", unit="us")


def _sessions(dates: pd.DatetimeIndex, calendar: str) -> pd.DatetimeIndex:
    first, last = ends(dates)
    if calendar == "weekdays":
        return pd.bdate_range(first, last, unit="us")
    sessions = _exchange_sessions(first.year, last.year, calendar)
    return sessions[(sessions >= first) & (sessions <= last)]


def ends(dates: pd.DatetimeIndex) -> tuple[pd.Timestamp, pd.Timestamp]:
    """First and last of sorted dates."""
    first, last = dates[[0, -1]]
    return first, last


@lru_cache(maxsize=8)
def _exchange_sessions(first_year: int, last_year: int, calendar: str) -> pd.DatetimeIndex:
    import exchange_calendars

    with warnings.catch_warnings():  # its own use of pandas, nothing a reader could act on
        warnings.simplefilter("ignore", pd.errors.Pandas4Warning)
        made = exchange_calendars.get_calendar(
            calendar, start=f"{first_year}-01-01", end=f"{last_year}-12-31"
        )
        return pd.DatetimeIndex(made.sessions).as_unit("us")
