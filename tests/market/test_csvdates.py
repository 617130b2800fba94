from pathlib import Path

import pandas as pd
import pytest

from workbench.market.csvfile import fetch
from workbench.market.frame import PriceError, Request

HEADER = "Date,Open,High,Low,Close,Volume"
GOOD = ["2012-04-03,10,12,9,11,100", "2012-04-04,11,13,10,12,200", "2012-04-05,12,14,11,13,300"]


@pytest.fixture
def read(tmp_path: Path):
    def write_and_read(*lines: str, interval: str = "1d", encoding: str = "utf-8") -> pd.DataFrame:
        path = tmp_path / "mine.csv"
        path.write_bytes("\n".join(lines).encode(encoding))
        return fetch(Request(str(path), None, None, interval))

    return write_and_read


@pytest.mark.parametrize(
    "date",
    [
        "03/04/2012",
        "3.4.2012",
        "04-03-2012",
        "2012/04/03",
        "Apr 3 2012",
        "1333411200",
        "",
        "2012-4-3",
        "2012-02-30",
    ],
)
def test_a_date_that_is_not_iso_is_refused_with_the_repair(read, date: str) -> None:
    with pytest.raises(PriceError, match="line 3, column 'Date': expected an ISO 8601 date") as refused:
        read(HEADER, GOOD[0], f"{date},11,13,10,12,200")
    assert repr(date) in str(refused.value)
    assert "pd.to_datetime(column, format='%d/%m/%Y')" in str(refused.value)


def test_iso_dates_without_dashes_and_midnights_are_read(read) -> None:
    rows = [
        "20120403,10,12,9,11,100",
        "2012-04-04 00:00:00,10,12,9,11,100",
        "2012-04-05T00:00-04:00,10,12,9,11,1",
    ]
    assert read(HEADER, *rows).index.tolist() == list(pd.date_range("2012-04-03", periods=3))


def test_a_time_in_a_daily_file_is_refused(read) -> None:
    with pytest.raises(PriceError, match=r'line 2, column .Date.: a daily or longer bar.*interval="1h"'):
        read(HEADER, "2012-04-03 09:30:00-04:00,10,12,9,11,100")


def test_intraday_bars_are_turned_into_utc_across_a_clock_change(read) -> None:
    rows = [
        "2012-03-09T15:00-05:00,10,12,9,11,1",
        "2012-03-12T15:00-04:00,10,12,9,11,1",
        "2012-03-12T20:00Z,10,12,9,11,1",
    ]
    prices = read(HEADER, *rows, interval="1h")
    assert prices.index.tolist() == list(
        pd.to_datetime(["2012-03-09 20:00", "2012-03-12 19:00", "2012-03-12 20:00"], utc=True)
    )


def test_an_intraday_time_without_a_zone_is_refused_with_the_repair(read) -> None:
    with pytest.raises(
        PriceError, match=r"line 2, column 'Date': an intraday bar needs a timezone.*tz_localize"
    ):
        read(HEADER, "2012-04-03 09:30,10,12,9,11,100", interval="1h")


def test_a_date_that_comes_twice_is_pointed_at_with_its_first_line(read) -> None:
    with pytest.raises(PriceError, match=r"line 5, column 'Date': 2012-04-03 .* was given in line 2 already"):
        read(HEADER, *GOOD, GOOD[0])
    with pytest.raises(PriceError, match=r"one ticker a file. Columns not read: Ticker"):
        read(HEADER + ",Ticker", GOOD[0] + ",A", GOOD[0] + ",B")
    with pytest.raises(PriceError, match="given in line 2 already"):
        read(HEADER, "2012-04-03T15:00Z,1,1,1,1,1", "2012-04-03T11:00-04:00,1,1,1,1,1", interval="1h")


def test_bars_that_do_not_suit_the_interval_are_refused(read) -> None:
    weekly = [f"2012-04-{day:02d},10,12,9,11,100" for day in (2, 9, 16)]
    with pytest.raises(
        PriceError, match=r'7 days 00:00:00 apart, which suits interval="1wk". Got interval="1d"'
    ):
        read(HEADER, *weekly)
    assert len(read(HEADER, *weekly, interval="1wk")) == 3
    monthly = [f"2012-{month:02d}-01,10,12,9,11,100" for month in (1, 2, 3)]
    assert len(read(HEADER, *monthly, interval="1mo")) == 3
    minutes = [f"2012-04-02T10:{minute:02d}Z,10,12,9,11,100" for minute in (0, 5, 15)]
    with pytest.raises(PriceError, match='suits interval="5m"'):
        read(HEADER, *minutes, interval="1h")
