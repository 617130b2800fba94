import subprocess
import sys
from collections.abc import Callable
from datetime import date, datetime
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workbench.market import bybit, sample, sources, yahoo
from workbench.market.frame import INTERVALS, PriceError, Request, SourceError, clip, conform, content_sha256
from workbench.market.loading import list_sources, list_tickers, load_panel, load_prices
from workbench.market.quality import check_prices


def test_the_default_is_the_bundled_sample() -> None:
    prices = load_prices("AAPL")
    pd.testing.assert_frame_equal(prices, sample.fetch(Request("AAPL", None, None)))
    assert prices.attrs["provenance"]["source"] == "sample"


@pytest.mark.parametrize(
    ("start", "end", "first", "last"),
    [
        ("2010-01-04", "2010-01-05", "2010-01-04", "2010-01-05"),
        ("2009", "2010", "2009-01-02", "2010-12-31"),
        ("2011-08", "2011-08", "2011-08-01", "2011-08-31"),
        (date(2010, 1, 4), datetime(2010, 1, 5, 15), "2010-01-04", "2010-01-05"),
        (pd.Timestamp("2010-01-04"), np.datetime64("2010-01-05"), "2010-01-04", "2010-01-05"),
        (None, "2000-03-02T10:00", "2000-03-01", "2000-03-02"),
        ("20130228", None, "2013-02-28", "2013-03-01"),
    ],
)
def test_both_ends_are_included_however_they_are_written(start, end, first: str, last: str) -> None:
    prices = load_prices("IBM", start=start, end=end)
    assert prices.index[[0, -1]].tolist() == [pd.Timestamp(first), pd.Timestamp(last)]


def test_a_day_ends_with_its_last_hour() -> None:
    prices = load_prices("LAG5", source="synthetic", interval="1h", start="2020-01-02", end="2020-01-03")
    assert prices.index[0] == pd.Timestamp("2020-01-02 00:00", tz="UTC")
    assert prices.index[-1] == pd.Timestamp("2020-01-03 23:00", tz="UTC")
    until = load_prices("LAG5", source="synthetic", interval="1h", end="2020-01-03T05:00")
    assert until.index[-1] == pd.Timestamp("2020-01-03 05:00", tz="UTC")
    offset = load_prices("LAG5", source="synthetic", interval="1h", end="2020-01-03T05:00-05:00")
    assert offset.index[-1] == pd.Timestamp("2020-01-03 10:00", tz="UTC")


@pytest.mark.parametrize("moment", ["03/04/2012", "2012-13", "yesterday", "2012-1-1", "2012-02-30"])
def test_a_date_that_is_not_iso_is_refused(moment: str) -> None:
    with pytest.raises(
        PriceError, match=f"end must be an ISO 8601 date such as '2011-08-08'. Got '{moment}'"
    ):
        load_prices("AAPL", end=moment)


def test_no_date_is_none_and_not_nat() -> None:
    with pytest.raises(PriceError, match="start must be a date"):
        load_prices("AAPL", start=pd.NaT)


def test_what_is_unknown_is_refused_with_the_choices() -> None:
    with pytest.raises(
        PriceError, match=r"source must be one of sample, .*synthetic. Got 'yaho'. Did you mean 'yahoo'"
    ):
        load_prices("AAPL", source="yaho")
    with pytest.raises(PriceError, match=r"must be one of AAPL, .*Did you mean 'AAPL'"):
        load_prices("AAPPL")
    with pytest.raises(PriceError, match=r'source "sample" has intervals 1d. Got \'1h\''):
        load_prices("AAPL", interval="1h")
    with pytest.raises(PriceError, match=r'source "yahoo" has intervals 1m, .*1mo. Got \'4h\''):
        load_prices("AAPL", source="yahoo", interval="4h")
    with pytest.raises(PriceError, match="source must be one of"):
        list_tickers("nowhere")


def test_an_empty_range_is_refused_with_the_range_there_is() -> None:
    with pytest.raises(PriceError, match=r"between 2014-01-01.*bars from 2000-03-01.*to 2013-03-01"):
        load_prices("AAPL", start="2014")


def test_facebooks_196_bars_load() -> None:
    assert len(load_prices("FB")) == 196


def test_sources_are_listed() -> None:
    table = list_sources()
    assert table.index.tolist() == [
        "sample",
        "sample20",
        "yahoo",
        "bybit",
        "bybit-linear",
        "bybit-inverse",
        "csv",
        "synthetic",
    ]
    assert table.columns.tolist() == ["what", "intervals", "network", "cached"]
    assert table.index[table["network"]].tolist() == ["yahoo", "bybit", "bybit-linear", "bybit-inverse"]


def test_the_intervals_listed_are_those_of_the_sources_themselves() -> None:
    assert sources.SOURCES["yahoo"].intervals == tuple(yahoo.INTERVALS)
    assert sources.SOURCES["bybit"].intervals == tuple(bybit.INTERVALS) == INTERVALS


def test_every_listed_ticker_loads() -> None:
    for source in ("sample", "sample20", "synthetic"):
        assert list_tickers(source)
        for ticker in list_tickers(source):
            prices = load_prices(ticker, source=source)
            assert prices.attrs["provenance"]["ticker"] == ticker
            assert prices.attrs["provenance"]["source"] == source


@pytest.mark.parametrize("source", ["yahoo", "bybit", "bybit-linear", "bybit-inverse", "csv"])
def test_open_ended_sources_list_no_tickers(source: str) -> None:
    assert list_tickers(source) == []


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[Request, str]]:
    """Requests that reached a source of the network, which answers with ten days or hours."""
    requests: list[tuple[Request, str]] = []

    def answering(source: str) -> Callable[..., pd.DataFrame]:
        def fetch(request: Request, source: str = source) -> pd.DataFrame:
            requests.append((request, source))
            index = pd.date_range("2024-01-01", periods=10)
            values = {"open": 1.0, "high": 2.0, "low": 1.0, "close": 2.0, "volume": 3.0}
            told = {"source": source, "ticker": request.ticker, "interval": "1d", "adjusted": "raw"}
            return conform(pd.DataFrame(values, index=index), told)

        return fetch

    monkeypatch.setattr(yahoo, "fetch", answering("yahoo"))
    monkeypatch.setattr(bybit, "fetch", answering("bybit"))

    def cached(request: Request, source: str, fetch, folder=None, refresh: bool = False) -> pd.DataFrame:
        prices = fetch(request)
        prices.attrs["provenance"] |= {"note": f"cached as {source}, refresh={refresh}"}
        return prices

    monkeypatch.setattr(sources, "cached", cached)
    return requests


@pytest.mark.parametrize("source", ["yahoo", "bybit", "bybit-linear", "bybit-inverse"])
@pytest.mark.parametrize("refresh", [False, True])
def test_sources_of_the_network_go_through_the_cache(asked, source: str, refresh: bool) -> None:
    prices = load_prices("X", source=source, start="2024-01-02", refresh=refresh)
    assert asked == [(Request("X", pd.Timestamp("2024-01-02"), None), source)]
    assert prices.attrs["provenance"]["note"] == f"cached as {source}, refresh={refresh}"


def test_other_sources_do_not(asked) -> None:
    load_prices("AAPL")
    load_prices("LAG5", source="synthetic")
    assert asked == []


def test_a_panel_is_the_frames_of_its_tickers() -> None:
    panel = load_panel(["MSFT", "AAPL", "FB"], start="2012")
    assert panel.index.names == ["date", "ticker"]
    assert panel.index.is_monotonic_increasing
    for ticker in ("AAPL", "FB", "MSFT"):
        pd.testing.assert_frame_equal(panel.xs(ticker, level="ticker"), load_prices(ticker, start="2012"))
    assert len(panel.loc["2012-05-17"]) == 2, "before Facebook was listed nothing is filled in"
    assert len(panel.loc["2012-05-18"]) == 3


def test_a_panels_provenance_has_what_is_shared_and_each_hash() -> None:
    told = load_panel(["MSFT", "GOOG"], end="2005").attrs["provenance"]
    assert told["ticker"] == ["GOOG", "MSFT"]
    assert told["source"] == "sample"
    assert told["calendar"] == "XNYS"
    each = {
        ticker: load_prices(ticker, end="2005").attrs["provenance"]["sha256"] for ticker in ("GOOG", "MSFT")
    }
    assert told["sha256_by_ticker"] == each
    assert told["sha256"] == content_sha256(load_panel(["GOOG", "MSFT"], end="2005"))
    assert told["sha256"] not in each.values()
    assert "GOOGL" in told["note_by_ticker"]["GOOG"]
    assert "note" not in told


def test_a_panel_of_closes_stays_closes() -> None:
    panel = load_panel(["JPM", "XOM"], source="sample20", start="2020", end="2020")
    assert panel.attrs["provenance"]["fields"] == ["close"]
    assert panel["close"].notna().all()
    assert check_prices(panel).ok


def test_a_synthetic_panel_says_each_truth() -> None:
    told = load_panel(["LAG5", "NOISE"], source="synthetic").attrs["provenance"]
    assert told["synthetic"] is True
    assert told["truth"]["LAG5"]["lag"] == 5
    assert told["truth"]["NOISE"]["lag"] is None


def test_a_panel_of_one_is_a_panel() -> None:
    panel = load_panel(("IBM",), start="2013")
    assert panel.index.nlevels == 2
    assert panel.attrs["provenance"]["ticker"] == ["IBM"]


def test_the_ticker_that_fails_is_named(asked, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PriceError, match=r"load_panel failed at ticker 'IBN': .*Did you mean 'IBM'"):
        load_panel(["AAPL", "IBN"])

    def refusing(request: Request) -> pd.DataFrame:
        raise SourceError("no network. Try later.")

    monkeypatch.setattr(yahoo, "fetch", refusing)
    with pytest.raises(SourceError, match=r"load_panel failed at ticker 'SPY': no network. Try later"):
        load_panel(["SPY"], source="yahoo")


def test_a_panel_needs_different_tickers_in_a_list() -> None:
    with pytest.raises(PriceError, match=r"must be a list of names. Got the text 'AAPL': pass \['AAPL'\]"):
        load_panel("AAPL")
    with pytest.raises(PriceError, match="at least one"):
        load_panel([])
    with pytest.raises(PriceError, match=r"tickers must differ. Got AAPL, AAPL"):
        load_panel(["AAPL", "aapl"])


def test_tickers_that_are_not_alike_are_refused(tmp_path: Path) -> None:
    header = "Date,Open,High,Low,Close,Volume"
    (tmp_path / "a.csv").write_text(f"{header}\n2020-01-01,1,1,1,1,1\n")
    (tmp_path / "b.csv").write_text(f"{header},Adj Close\n2020-01-01,1,1,1,1,1,1\n")
    (tmp_path / "c.csv").write_text(f"{header}\n2020-01-01,,,,1,\n")
    with pytest.raises(
        PriceError, match=r"'adjusted' in common. Got a: as in the file, b: splits and dividends"
    ):
        load_panel([str(tmp_path / "a.csv"), str(tmp_path / "b.csv")], source="csv")
    with pytest.raises(PriceError, match=r"'fields' in common"):
        load_panel([str(tmp_path / "a.csv"), str(tmp_path / "c.csv")], source="csv")


def test_a_panels_fetch_time_is_its_oldest(tmp_path: Path) -> None:
    import os

    for name, seconds in (("new", 2_000_000_000), ("old", 1_000_000_000)):
        path = tmp_path / f"{name}.csv"
        path.write_text("Date,Open,High,Low,Close,Volume\n2020-01-01,1,1,1,1,1\n")
        os.utime(path, (seconds, seconds))
    told = load_panel([str(tmp_path / f"{name}.csv") for name in ("new", "old")], source="csv").attrs[
        "provenance"
    ]
    assert told["fetched_at"] == "2001-09-09T01:46:40+00:00"
    assert told["fetched_at_by_ticker"]["new"] == "2033-05-18T03:33:20+00:00"


def test_importing_it_and_reading_the_sample_loads_nothing_heavy() -> None:
    heavy = ["requests", "yfinance", "exchange_calendars", "scipy", "torch", "matplotlib", "talib", "sklearn"]
    code = (
        "import sys; from workbench.market import loading; loading.load_prices('AAPL');"
        "loading.list_sources();"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_was_fetched_once_is_read_from_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[Request] = []

    def fetch(request: Request) -> pd.DataFrame:
        calls.append(request)
        index = pd.bdate_range("2024-01-01", "2024-01-31")
        values = {"open": 1.0, "high": 2.0, "low": 1.0, "close": 2.0, "volume": 3.0}
        told = {"source": "yahoo", "ticker": request.ticker, "interval": "1d", "adjusted": "raw"}
        return clip(conform(pd.DataFrame(values, index=index), told), request)

    monkeypatch.setattr(yahoo, "fetch", fetch)
    monkeypatch.setattr(sources, "cached", partial(sources.cached, folder=tmp_path))
    first = load_prices("SPY", source="yahoo", start="2024-01-08", end="2024-01-12")
    again = load_prices("SPY", source="yahoo", start="2024-01-09", end="2024-01-10")
    assert len(calls) == 1
    pd.testing.assert_frame_equal(again, first.loc["2024-01-09":"2024-01-10"])
    load_prices("SPY", source="yahoo", start="2024-01-08", end="2024-01-12", refresh=True)
    assert len(calls) == 2


def test_a_whole_number_is_a_year():
    by_number, by_text = (
        load_prices("AAPL", start=start, end=end) for start, end in ((2008, 2009), ("2008", "2009"))
    )
    pd.testing.assert_frame_equal(by_number, by_text)
    assert by_number.index[0].year == 2008
    with pytest.raises(PriceError, match="start must be an ISO 8601 date"):
        load_prices("AAPL", start=20080)
