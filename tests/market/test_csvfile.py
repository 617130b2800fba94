import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workbench.market.csvfile import fetch, tickers
from workbench.market.frame import PriceError, Request
from workbench.market.loading import load_prices

HEADER = "Date,Open,High,Low,Close,Volume"
GOOD = ["2012-04-03,10,12,9,11,100", "2012-04-04,11,13,10,12,200", "2012-04-05,12,14,11,13,300"]


@pytest.fixture
def read(tmp_path: Path):
    def write_and_read(*lines: str, interval: str = "1d", encoding: str = "utf-8") -> pd.DataFrame:
        path = tmp_path / "mine.csv"
        path.write_bytes("\n".join(lines).encode(encoding))
        return fetch(Request(str(path), None, None, interval))

    return write_and_read


def test_a_plain_file_is_read(read) -> None:
    prices = read(HEADER, *GOOD)
    assert prices.index.tolist() == list(pd.to_datetime(["2012-04-03", "2012-04-04", "2012-04-05"]))
    assert prices.loc["2012-04-04"].tolist() == [11.0, 13.0, 10.0, 12.0, 200.0]
    told = prices.attrs["provenance"]
    assert told["source"] == "csv"
    assert told["ticker"] == "mine"
    assert told["adjusted"] == "as in the file"
    assert "note" not in told


def test_the_provenance_holds_the_files_hash_and_not_its_folder(read, tmp_path: Path) -> None:
    told = read(HEADER, *GOOD).attrs["provenance"]
    assert told["file_sha256"] == hashlib.sha256((tmp_path / "mine.csv").read_bytes()).hexdigest()
    assert told["file"] == "mine.csv"
    assert str(tmp_path) not in str(told)


def test_it_works_through_the_front_door(read, tmp_path: Path) -> None:
    read(HEADER, *GOOD)
    prices = load_prices(str(tmp_path / "mine.csv"), source="csv", start="2012-04-04")
    assert len(prices) == 2
    assert tickers() == []


@pytest.mark.parametrize(
    "header",
    [
        "date,open,high,low,close,volume",
        "TIMESTAMP,OPEN,HIGH,LOW,CLOSE,VOLUME",
        " Datetime , Open,High,Low,Close,Volume ",
        "\ufefftime,Open,High,Low,Close,Volume",
    ],
)
def test_column_names_are_matched_whatever_their_case(read, header: str) -> None:
    assert read(header, *GOOD)["close"].tolist() == [11.0, 12.0, 13.0]


def test_columns_may_come_in_any_order_and_with_other_separators(read) -> None:
    prices = read("Close;Volume;Date;Low;High;Open", "11;100;2012-04-03;9;12;10")
    assert prices.loc["2012-04-03"].tolist() == [10.0, 12.0, 9.0, 11.0, 100.0]
    assert read(*(line.replace(",", "\t") for line in (HEADER, *GOOD))).shape == (3, 5)


def test_rows_in_any_order_are_sorted_and_blank_lines_skipped(read) -> None:
    prices = read(HEADER, "", *reversed(GOOD), "", ",,,,,")
    assert prices["close"].tolist() == [11.0, 12.0, 13.0]


def test_unknown_columns_are_left_out_and_named(read) -> None:
    prices = read(HEADER + ",Ticker,Turnover", *(line + ",X,1e6" for line in GOOD))
    assert prices.attrs["provenance"]["note"] == "columns left out: Ticker, Turnover"


@pytest.mark.parametrize("name", ["Adj Close", "adj_close", "AdjClose", "Adjusted Close"])
def test_an_adjusted_close_adjusts_the_other_prices(read, name: str) -> None:
    # 2:1 on the second day, and a tenth paid out on the third
    prices = read(
        f"{HEADER},{name}",
        "2012-04-03,100,120,90,100,10,45",
        "2012-04-04,50,60,45,50,20,45",
        "2012-04-05,45,54,40,45,20,45",
    )
    assert prices["close"].tolist() == [45.0, 45.0, 45.0]
    np.testing.assert_allclose(prices["high"], [54.0, 54.0, 54.0])
    np.testing.assert_allclose(prices["low"], [40.5, 40.5, 40.0])
    assert prices["volume"].tolist() == [20.0, 20.0, 20.0]
    assert prices.attrs["provenance"]["adjusted"] == "splits and dividends"
    assert prices.attrs["provenance"]["splits"] == {"2012-04-04": "2:1"}


def test_adjusting_follows_dates_and_not_the_files_order(read) -> None:
    rows = ["2012-04-04,50,60,45,50,20,50", "2012-04-03,100,120,90,100,10,50"]
    assert read(f"{HEADER},Adj Close", *rows)["volume"].tolist() == [20.0, 20.0]


def test_empty_columns_are_unknown_and_said_to_be(read) -> None:
    prices = read(HEADER, "2012-04-03,,,,11,", "2012-04-04,,,,12,")
    assert prices["close"].tolist() == [11.0, 12.0]
    told = prices.attrs["provenance"]
    assert told["fields"] == ["close"]
    assert told["note"] == "empty columns: open, high, low, volume"
    unadjusted = read(HEADER + ",Adj Close", *(line + "," for line in GOOD))
    assert unadjusted.attrs["provenance"]["adjusted"] == "as in the file"


@pytest.mark.parametrize(
    ("cell", "column", "said"),
    [
        ("null", "Close", "expected a number such as 1234.5, got 'null'"),
        ("", "Close", "got ''"),
        ("1_000", "Open", "got '1_000'"),
        ("nan", "Low", "got 'nan'"),
        ("1e999", "High", "got '1e999'"),
        ('"1,234"', "Volume", "got '1,234'"),
        ("0x10", "Volume", "got '0x10'"),
        ("١١", "Volume", "expected a number"),
    ],
)
def test_a_cell_that_is_no_number_is_pointed_at(
    read, tmp_path: Path, cell: str, column: str, said: str
) -> None:
    cells = GOOD[1].split(",")
    cells[HEADER.split(",").index(column)] = cell
    with pytest.raises(PriceError) as refused:
        read(HEADER, GOOD[0], "", ",".join(cells))
    assert str(refused.value).startswith(f"{tmp_path / 'mine.csv'}, line 4, column '{column}': ")
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("2012-04-06,10,10.9,9,11,100", "high below open, close or low: 2012-04-06"),
        ("2012-04-06,10,12,10.5,11,100", "low above open, close or high"),
        ("2012-04-06,0,12,0,11,100", "prices not positive"),
        ("2012-04-06,10,12,9,11,-5", "volumes negative"),
    ],
)
def test_a_bar_that_breaks_the_contract_is_pointed_at(read, row: str, said: str) -> None:
    with pytest.raises(PriceError, match=f"line 5: {said}") as refused:
        read(HEADER, *GOOD, row)
    assert "open " in str(refused.value)
    assert "volume " in str(refused.value)


def test_an_adjusted_close_must_be_positive(read) -> None:
    with pytest.raises(PriceError, match="line 3, column 'Adj Close': expected a positive price"):
        read(HEADER + ",Adj Close", GOOD[0] + ",11", GOOD[1] + ",0")


def test_a_missing_column_is_named_with_its_look_alike(read) -> None:
    with pytest.raises(
        PriceError, match=r"Missing: open, volume. Is 'Opne' the open\? Is 'Vol.' the volume\?"
    ):
        read("Date,Opne,High,Low,Close,Vol.", GOOD[0])
    with pytest.raises(PriceError, match=r"Missing: date\. The first column has no name"):
        read(HEADER.replace("Date", ""), GOOD[0])


def test_two_columns_of_one_meaning_are_refused(read) -> None:
    with pytest.raises(PriceError, match="columns Date, Time all mean date"):
        read("Date,Time,Open,High,Low,Close,Volume", "2012-04-03,10:00,1,1,1,1,1")


def test_a_line_of_another_length_is_pointed_at(read) -> None:
    with pytest.raises(PriceError, match="line 3: expected 6 cells as in the header, got 5"):
        read(HEADER, GOOD[0], "2012-04-04,11,13,10,12")
    with pytest.raises(PriceError, match="line 3: not readable as CSV"):
        read(HEADER, GOOD[0], '2012-04-04,"11,13,10,12,1')


def test_files_that_are_not_there_or_empty_are_named(read, tmp_path: Path) -> None:
    with pytest.raises(PriceError, match="the file is empty"):
        read("")
    with pytest.raises(PriceError, match="expected lines of prices below the header"):
        read(HEADER)
    with pytest.raises(
        PriceError, match=r"mime\.csv: no such file. Did you mean 'mine\.csv'\? CSV files in .*mine"
    ):
        fetch(Request(str(tmp_path / "mime.csv"), None, None))
    with pytest.raises(PriceError, match="got a folder"):
        fetch(Request(str(tmp_path), None, None))
    with pytest.raises(PriceError, match=r"no such file.*: none"):
        fetch(Request(str(tmp_path / "nowhere" / "x.csv"), None, None))
    with pytest.raises(PriceError, match="expected UTF-8 text"):
        read("Датa" + HEADER, *GOOD, encoding="utf-16")


def test_an_empty_range_is_refused(read, tmp_path: Path) -> None:
    read(HEADER, *GOOD)
    with pytest.raises(PriceError, match="no bars between 2013"):
        load_prices(str(tmp_path / "mine.csv"), source="csv", start="2013")


def test_prices_that_were_loaded_can_be_saved_and_read_back(tmp_path: Path) -> None:
    prices = load_prices("AAPL", start="2010", end="2011")
    path = tmp_path / "aapl.csv"
    prices.to_csv(path)
    again = load_prices(str(path), source="csv")
    pd.testing.assert_frame_equal(again, prices)
    assert again.attrs["provenance"]["sha256"] == prices.attrs["provenance"]["sha256"]
    hourly = load_prices("LAG5-BARS100", source="synthetic", interval="1h")
    hourly.to_csv(path)
    pd.testing.assert_frame_equal(load_prices(str(path), source="csv", interval="1h"), hourly)
