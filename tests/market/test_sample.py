import csv
import gzip
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workbench.market.frame import COLUMNS, PriceError, Request
from workbench.market.quality import check_prices
from workbench.market.sample import fetch, fetch20, sectors, tickers, tickers20

DATA = Path(__file__).parents[2] / "data"
LENGTHS = {"AAPL": 3270, "FB": 196, "GOOG": 2148, "IBM": 3270, "MSFT": 3270}


def whole(ticker: str) -> Request:
    return Request(ticker, None, None)


def as_traded(ticker: str) -> dict[str, dict[str, str]]:
    """The file, read apart from the package: date → cells."""
    rows = csv.DictReader(io.StringIO(gzip.decompress((DATA / "stocks.csv.gz").read_bytes()).decode()))
    return {row["Date"]: row for row in rows if row["Ticker"] == ticker}


@pytest.mark.parametrize("ticker", LENGTHS)
def test_every_stock_keeps_the_contract_and_the_calendar(ticker: str) -> None:
    prices = fetch(whole(ticker))
    assert len(prices) == LENGTHS[ticker]
    report = check_prices(prices)
    assert report.ok
    table = report.table["found"]
    assert table["missing bars"] == table["unexpected bars"] == table["suspected splits"] == "0"
    assert table["zero volume"] == "0"
    assert prices.attrs["provenance"]["adjusted"] == "splits and dividends"


def test_the_tickers_are_these() -> None:
    assert tickers() == list(LENGTHS)
    assert len(tickers20()) == 20


@pytest.mark.parametrize("date", ["2000-03-01", "2000-06-20", "2000-06-21", "2005-02-25", "2013-03-01"])
def test_a_bar_is_the_file_times_its_own_factor(date: str) -> None:
    cells = as_traded("AAPL")[date]
    factor = float(cells["Adj Close"]) / float(cells["Close"])
    bar = fetch(whole("AAPL")).loc[date]
    for column in ("open", "high", "low", "close"):
        assert bar[column] == pytest.approx(float(cells[column.title()]) * factor, rel=1e-14)
    shares = 4 if date < "2000-06-21" else 2 if date < "2005-02-28" else 1
    assert bar["volume"] == shares * float(cells["Volume"])


def test_apples_fall_of_2000_is_real_and_stays() -> None:
    prices = fetch(whole("AAPL"))
    fall = prices["close"].pct_change().loc["2000-09-29"]
    assert fall == pytest.approx(-0.519, abs=0.001)
    extremes = check_prices(prices).flagged("extreme moves")
    assert pd.Timestamp("2000-09-29") in extremes.index


def test_splits_are_the_three_and_a_special_dividend_is_none() -> None:
    found = {ticker: fetch(whole(ticker)).attrs["provenance"]["splits"] for ticker in tickers()}
    assert found == {
        "AAPL": {"2000-06-21": "2:1", "2005-02-28": "2:1"},
        "FB": {},
        "GOOG": {},
        "IBM": {},
        "MSFT": {"2003-02-18": "2:1"},
    }


def test_goog_says_that_it_is_googl() -> None:
    assert "GOOGL" in fetch(whole("GOOG")).attrs["provenance"]["note"]


def test_ranges_include_both_ends() -> None:
    prices = fetch(Request("IBM", pd.Timestamp("2008-09-15"), pd.Timestamp("2008-09-29")))
    assert prices.index[[0, -1]].tolist() == [pd.Timestamp("2008-09-15"), pd.Timestamp("2008-09-29")]
    with pytest.raises(PriceError, match="no bars between 2013-03-02"):
        fetch(Request("IBM", pd.Timestamp("2013-03-02"), None))


def test_the_twenty_have_closes_and_nothing_made_up() -> None:
    prices = fetch20(whole("PG"))
    assert prices.attrs["provenance"]["fields"] == ["close"]
    assert prices["close"].notna().all()
    assert prices.drop(columns="close").isna().all(axis=None)
    assert list(prices.columns) == list(COLUMNS)
    assert len(prices) == 5785
    assert check_prices(prices).ok


def test_the_twenty_agree_with_the_five_on_returns() -> None:
    # two unrelated vendors: rounding of theirs to 3 decimals of prices above 10 is all that may differ
    ours = np.log(fetch(whole("MSFT"))["close"]).diff().loc["2005":]
    theirs = np.log(fetch20(whole("MSFT"))["close"]).diff().loc["2005":"2013-03-01"]
    pd.testing.assert_index_equal(ours.index, theirs.index)
    assert (ours - theirs).abs().quantile(0.99) < 3e-4


def test_every_one_of_the_twenty_has_a_sector() -> None:
    assert sectors().index.tolist() == sorted(tickers20())
    assert sectors()["JPM"] == "Financials"
    assert sectors().nunique() == 7


def test_an_unknown_ticker_or_interval_is_refused_with_the_choices() -> None:
    with pytest.raises(PriceError, match=r"AAPL, FB, GOOG, IBM, MSFT. Got 'APPL'. Did you mean 'AAPL'\?"):
        fetch(whole("APPL"))
    with pytest.raises(PriceError, match="Did you mean 'GOOG'"):
        fetch(whole("GOOGL"))
    with pytest.raises(PriceError, match=r'source "sample20" has interval "1d" only. Got \'1h\''):
        fetch20(Request("AAPL", None, None, "1h"))


def test_a_ticker_may_be_written_in_lower_case() -> None:
    assert fetch(whole("ibm")).attrs["provenance"]["ticker"] == "IBM"


def test_reading_twice_gives_frames_of_their_own() -> None:
    first = fetch(whole("FB"))
    first.loc[:, :] = 1.0
    assert fetch(whole("FB"))["close"].iloc[0] == 38.2318
