"""How many bars make a year: a convention of the market, never guessed from the values of the prices."""

from typing import Any

import pandas as pd

from workbench.market.frame import bar_seconds

_YEAR = 365 * 86_400  # seconds of a market that never closes
_SESSIONS, _SESSION = 252, 6.5 * 3_600  # trading days of a year, seconds of a US session


def bars_per_year(provenance: dict[str, Any], dates: pd.DatetimeIndex) -> tuple[float, str]:
    """Bars in a year and why, from the interval and calendar of the prices' provenance.

    252 for daily bars, 365 around the clock; 1638 for hourly bars of US sessions, 8760 around the clock; 52
    weeks, 12 months. Prices that name no calendar trade around the clock if they have weekend bars.

    Raises
    ------
    ValueError
        If the interval is unknown, or bars shorter than a day come from a market whose hours are unknown:
        pass `periods_per_year`.
    """
    interval, calendar = provenance.get("interval"), provenance.get("calendar")
    if interval is None:
        raise ValueError(
            "prices do not say their interval, so a year has no known number of bars. Pass periods_per_year: "
            "252 for daily stocks, 1638 US hourly, 365 daily crypto, 8760 hourly crypto."
        )
    if interval in ("1wk", "1mo"):
        return (52.0, "weekly bars") if interval == "1wk" else (12.0, "monthly bars")
    seconds = bar_seconds(interval)
    weekends = bool((dates.day_of_week >= 5).any())
    if calendar == "24/7" or (calendar is None and weekends):
        return _YEAR / seconds, f"{interval} bars around the clock"
    if seconds == 86_400:
        return float(_SESSIONS), "daily bars, weekdays"
    if calendar == "XNYS":
        return _SESSIONS * _SESSION / seconds, f"{interval} bars, US sessions of 6.5 hours"
    raise ValueError(
        f"prices are {interval} bars from {provenance.get('source')!r}, whose trading hours are unknown. "
        "Pass periods_per_year: trading hours a day × days a year × bars an hour."
    )
