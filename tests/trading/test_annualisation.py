import pandas as pd
import pytest
from cases import days, provenance

from workbench.trading.annualisation import bars_per_year


def told(interval, source="sample"):
    return {"interval": interval, "source": source}


WEEK = pd.date_range("2024-01-01", periods=168, freq="1h", tz="UTC")
US = WEEK[(WEEK.hour >= 15) & (WEEK.hour < 21) & (WEEK.day_of_week < 5)]


@pytest.mark.parametrize(
    ("interval", "source", "dates", "bars"),
    [
        ("1d", "sample", days(20), 252),
        ("1d", "csv", days(20), 252),
        ("1h", "yahoo", US, 1638),
        ("30m", "yahoo", US, 3276),
        ("1d", "bybit", pd.date_range("2024-01-01", periods=3), 365),
        ("1d", "csv", pd.date_range("2024-01-01", periods=30), 365),
        ("1h", "bybit-linear", WEEK, 8760),
        ("1h", "yahoo", WEEK, 8760),
        ("1h", "synthetic", WEEK[:30], 8760),
        ("4h", "bybit", WEEK, 2190),
        ("1wk", "yahoo", days(5), 52),
        ("1mo", "bybit", days(5), 12),
    ],
)
def test_a_year_follows_the_market(interval, source, dates, bars):
    assert bars_per_year(told(interval, source), dates)[0] == bars


def test_the_reason_is_told():
    assert bars_per_year(provenance(), days(9)) == (252.0, "daily bars, weekdays")


@pytest.mark.parametrize(
    ("given", "message"),
    [({}, "Pass periods_per_year"), (told("1h", "csv"), "trading hours are unknown. Pass periods_per_year")],
)
def test_an_unknown_market_asks_instead_of_guessing(given, message):
    with pytest.raises(ValueError, match=message):
        bars_per_year(given, US)
