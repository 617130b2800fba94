import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.market.calendars import missing_and_unexpected


def test_the_exchanges_calendar_knows_its_holidays() -> None:
    # 2001: closed 11–14 September; 2012: Sandy 29–30 October
    week = pd.DatetimeIndex(["2001-09-07", "2001-09-10", "2001-09-17", "2001-09-18"])
    missing, unexpected = missing_and_unexpected(week, "XNYS", "1d")
    assert len(missing) == len(unexpected) == 0
    missing, unexpected = missing_and_unexpected(week, "weekdays", "1d")
    assert missing.tolist() == list(pd.date_range("2001-09-11", "2001-09-14"))
    storm = pd.DatetimeIndex(["2012-10-25", "2012-10-29", "2012-10-31"])
    missing, unexpected = missing_and_unexpected(storm, "XNYS", "1d")
    assert missing.tolist() == [pd.Timestamp("2012-10-26")]
    assert unexpected.tolist() == [pd.Timestamp("2012-10-29")]


def test_the_calendar_reaches_back_before_twenty_years() -> None:
    days = pd.DatetimeIndex(["1962-01-02", "1962-01-04"])
    missing, _ = missing_and_unexpected(days, "XNYS", "1d")
    assert missing.tolist() == [pd.Timestamp("1962-01-03")]


def test_intraday_stock_bars_are_checked_by_session() -> None:
    stamps = ["2012-10-25 13:30", "2012-10-25 19:30", "2012-10-27 00:30", "2012-10-31 13:30"]
    missing, unexpected = missing_and_unexpected(pd.DatetimeIndex(stamps, tz="UTC"), "XNYS", "1h")
    assert len(missing) == 0, "00:30 UTC on Saturday is still Friday in New York"
    assert len(unexpected) == 0
    missing, _ = missing_and_unexpected(pd.DatetimeIndex(stamps[::3], tz="UTC"), "XNYS", "1h")
    assert missing.tolist() == [pd.Timestamp("2012-10-26")]


@given(st.sets(st.integers(1, 198), max_size=20), st.sampled_from(["1m", "15m", "1h", "4h", "1d"]))
def test_a_fixed_grid_misses_exactly_what_was_taken_out(gone: set[int], interval: str) -> None:
    from workbench.market.frame import bar_seconds, is_intraday

    step = pd.Timedelta(bar_seconds(interval), "s")
    whole = pd.date_range("2020-01-01", periods=200, freq=step, tz="UTC" if is_intraday(interval) else None)
    missing, unexpected = missing_and_unexpected(whole.delete(sorted(gone)), "24/7", interval)
    assert missing.tolist() == whole[sorted(gone)].tolist()
    assert len(unexpected) == 0


def test_bars_off_the_grid_are_unexpected() -> None:
    dates = pd.DatetimeIndex(["2020-01-01 00:00", "2020-01-01 01:07", "2020-01-01 02:00"], tz="UTC")
    missing, unexpected = missing_and_unexpected(dates, "24/7", "1h")
    assert unexpected.tolist() == [dates[1]]
    assert missing.tolist() == [pd.Timestamp("2020-01-01 01:00", tz="UTC")]


def test_what_cannot_be_told_is_said() -> None:
    dates = pd.DatetimeIndex(["2020-01-06", "2020-01-13"])
    assert missing_and_unexpected(dates, "XNYS", "1wk") == "1wk bars have no fixed sessions"
    assert "no sessions" in missing_and_unexpected(dates.tz_localize("UTC"), "weekdays", "1h")
    with pytest.raises(ValueError, match="calendar must be one of"):
        missing_and_unexpected(dates, "NYSE", "1d")
