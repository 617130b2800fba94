import pandas as pd
import pytest
from cases import days, provenance

from workbench.trading.annualisation import bars_per_year


def told(interval, calendar=None):
    return {"interval": interval, "source": "csv", "calendar": calendar}


WEEK = pd.date_range("2024-01-01", periods=168, freq="1h", tz="UTC")
US = WEEK[(WEEK.hour >= 15) & (WEEK.hour < 21) & (WEEK.day_of_week < 5)]


@pytest.mark.parametrize(
    ("interval", "calendar", "dates", "bars"),
    [
        ("1d", "XNYS", days(20), 252),
        ("1d", "weekdays", days(20), 252),
        ("1d", None, days(20), 252),
        ("1h", "XNYS", US, 1638),
        ("30m", "XNYS", US, 3276),
        ("4h", "XNYS", US, 409.5),
        ("1d", "24/7", days(3), 365),
        ("1d", None, pd.date_range("2024-01-01", periods=30), 365),
        ("1h", "24/7", WEEK[:30], 8760),
        ("1h", None, WEEK, 8760),
        ("4h", "24/7", WEEK, 2190),
        ("1wk", None, days(5), 52),
        ("1mo", "24/7", days(5), 12),
    ],
)
def test_a_year_follows_the_market(interval, calendar, dates, bars):
    assert bars_per_year(told(interval, calendar), dates)[0] == bars


def test_the_reason_is_told():
    assert bars_per_year(provenance(), days(9)) == (252.0, "daily bars, weekdays")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "Pass periods_per_year"),
        (told("1h"), "from 'csv', whose trading hours are unknown. Pass periods_per_year"),
    ],
)
def test_an_unknown_market_asks_instead_of_guessing(given, message):
    with pytest.raises(ValueError, match=message):
        bars_per_year(given, US)
