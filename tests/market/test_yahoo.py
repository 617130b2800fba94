"""yfinance itself against a local server: what comes back, and what every failure says."""

import warnings
from collections.abc import Callable
from functools import partial

import pandas as pd
import pytest
from loopback import Reply, Server

from workbench.market import yahoo
from workbench.market.frame import Request, SourceError, content_sha256
from workbench.market.patience import NoBars, Patience, Unreachable
from workbench.market.yahoo_faults import translated

NEW_YORK = "America/New_York"
NIGHT = pd.Timestamp("2024-01-13 03:00", tz="UTC")  # Friday 2024-01-12, long after the close
Fetch = Callable[..., pd.DataFrame]


def at(text: str) -> pd.Timestamp:
    return pd.Timestamp(text, tz=NEW_YORK)


def seconds(stamp: pd.Timestamp) -> int:
    return int(stamp.timestamp())


def chart(
    bars: dict[str, tuple[float | None, ...]], last_trade: str = "2024-01-12 16:00:01", **extra: object
) -> dict:
    """Yahoo's JSON of bars, New York time → open, high, low, close, volume[, adjusted close]."""
    rows = list(bars.values())
    column = {
        name: [row[k] for row in rows] for k, name in enumerate(("open", "high", "low", "close", "volume"))
    }
    indicators: dict = {"quote": [column]}
    if rows and len(rows[0]) == 6:
        indicators["adjclose"] = [{"adjclose": [row[5] for row in rows]}]
    day = last_trade[:10]
    session = {"timezone": "EST", "gmtoffset": -18000}
    sessions = [
        session | {"start": seconds(at(f"{d} 09:30")), "end": seconds(at(f"{d} 16:00"))}
        for d in sorted({stamp[:10] for stamp in bars} | {day})
    ]
    meta = {
        "currency": "USD",
        "symbol": "AAPL",
        "exchangeName": "NMS",
        "instrumentType": "EQUITY",
        "exchangeTimezoneName": NEW_YORK,
        "regularMarketTime": seconds(at(last_trade)),
        "validRanges": ["1d", "5d", "max"],
        "currentTradingPeriod": {
            part: session | {"start": seconds(at(f"{day} 09:30")), "end": seconds(at(f"{day} 16:00"))}
            for part in ("pre", "regular", "post")
        },
        "tradingPeriods": [[part] for part in sessions],
    }
    stamps = [seconds(at(stamp)) for stamp in bars]
    return {
        "chart": {
            "result": [{"meta": meta, "timestamp": stamps, "indicators": indicators} | extra],
            "error": None,
        }
    }


def refusal(description: str, code: str = "Bad Request") -> dict:
    return {"chart": {"result": None, "error": {"code": code, "description": description}}}


DAILY = {
    "2024-01-08 09:30": (100.0, 104.0, 99.0, 102.0, 1000, 51.0),
    "2024-01-09 09:30": (102.0, 106.0, 101.0, 104.0, 1100, 52.0),
    "2024-01-10 09:30": (104.0, 108.0, 103.0, 106.0, 1200, 106.0),
    "2024-01-11 09:30": (106.0, 110.0, 105.0, 108.0, 1300, 108.0),
    "2024-01-12 09:30": (108.0, 112.0, 107.0, 110.0, 1400, 110.0),
}


def serve(content: dict) -> Callable[[str, dict[str, str]], Reply]:
    return lambda path, query: Reply(content)


@pytest.fixture
def fetch(server: Server, pauses: list[float], yfinance_at: Callable[[str], None]) -> Fetch:
    yfinance_at(server.url)
    server.answer = serve(chart(DAILY))
    return partial(yahoo.fetch, patience=Patience(sleep=pauses.append), clock=lambda: NIGHT)


def days(start: str | None = "2024-01-08", end: str | None = "2024-01-12", interval: str = "1d") -> Request:
    return Request(
        "AAPL",
        None if start is None else pd.Timestamp(start),
        None if end is None else pd.Timestamp(end),
        interval,
    )


def test_daily_bars_are_adjusted_alike_and_dated_by_session(fetch: Fetch) -> None:
    prices = fetch(days())
    assert list(prices.index) == list(pd.date_range("2024-01-08", periods=5))
    assert prices.index.tz is None
    first = prices.iloc[0]  # 51 / 102 = ½ on all four prices, none on the volume
    assert first.to_list() == [50.0, 52.0, 49.5, 51.0, 1000.0]
    assert prices["close"].to_list() == [51.0, 52.0, 106.0, 108.0, 110.0]
    provenance = prices.attrs["provenance"]
    assert provenance["adjusted"] == "splits and dividends"
    assert provenance["currency"] == "USD"
    assert provenance["timezone"] == NEW_YORK
    assert provenance["calendar"] == "XNYS"
    assert provenance["fetched_at"] == "2024-01-13T03:00:00+00:00"
    assert provenance["sha256"] == content_sha256(prices)
    assert "note" not in provenance


def test_the_end_is_included_though_yahoos_is_not(fetch: Fetch, server: Server) -> None:
    prices = fetch(days(end="2024-01-10"))
    assert prices.index[-1] == pd.Timestamp("2024-01-10")
    query = server.asked[-1][1]
    assert int(query["period1"]) == seconds(at("2024-01-08"))
    assert int(query["period2"]) == seconds(at("2024-01-11"))


def test_an_open_start_goes_back_as_far_as_yahoo_allows(fetch: Fetch, server: Server) -> None:
    fetch(days(start=None))
    assert int(server.asked[-1][1]["period1"]) == seconds(at("1925-01-13"))
    fetch(days(start="1800-01-01"))
    assert int(server.asked[-1][1]["period1"]) == seconds(at("1925-01-13"))


def test_dividends_and_splits_leave_no_trace_but_the_adjustment(fetch: Fetch, server: Server) -> None:
    moment = seconds(at("2024-01-10 09:30"))
    events = {
        "dividends": {"x": {"amount": 0.5, "date": moment}},
        "splits": {"y": {"date": moment, "numerator": 2, "denominator": 1, "splitRatio": "2:1"}},
    }
    server.answer = serve(chart(DAILY, events=events))
    assert list(fetch(days()).columns) == ["open", "high", "low", "close", "volume"]


def test_todays_bar_is_left_out_while_the_market_is_open(fetch: Fetch, server: Server) -> None:
    server.answer = serve(chart(DAILY, last_trade="2024-01-12 13:00:00"))
    half_past_one = at("2024-01-12 13:30").tz_convert("UTC")
    assert fetch(days(end=None), clock=lambda: half_past_one).index[-1] == pd.Timestamp("2024-01-11")
    assert fetch(days(), clock=lambda: half_past_one).index[-1] == pd.Timestamp("2024-01-11")


@pytest.mark.parametrize(
    ("last_trade", "now", "last"),
    [
        ("16:00:01", "16:01", "2024-01-12"),  # the feed has passed the close
        ("15:44:00", "16:01", "2024-01-11"),  # the feed is 16 minutes late
        ("15:44:00", "16:30", "2024-01-12"),  # half an hour later nothing more can come
        ("16:00:01", "15:59", "2024-01-11"),  # a fast clock at Yahoo's closes nothing
    ],
)
def test_a_session_is_final_when_the_feed_has_passed_its_close_or_half_an_hour_later(
    fetch: Fetch, server: Server, last_trade: str, now: str, last: str
) -> None:
    server.answer = serve(chart(DAILY, last_trade=f"2024-01-12 {last_trade}"))
    moment = at(f"2024-01-12 {now}").tz_convert("UTC")
    assert fetch(days(), clock=lambda: moment).index[-1] == pd.Timestamp(last)


def test_a_session_to_2359_is_final_at_midnight(fetch: Fetch, server: Server) -> None:
    content = chart(
        {"2024-01-11 00:00": DAILY["2024-01-11 09:30"], "2024-01-12 00:00": DAILY["2024-01-12 09:30"]}
    )
    session = content["chart"]["result"][0]["meta"]["currentTradingPeriod"]["regular"]
    session |= {"start": seconds(at("2024-01-12 00:00")), "end": seconds(at("2024-01-12 23:59"))}
    content["chart"]["result"][0]["meta"] |= {
        "instrumentType": "CRYPTOCURRENCY",
        "regularMarketTime": seconds(at("2024-01-12 23:59:30")),
    }
    server.answer = serve(content)
    late = at("2024-01-12 23:59:40").tz_convert("UTC")
    prices = fetch(days("2024-01-11", None), clock=lambda: late)
    assert list(prices.index) == [pd.Timestamp("2024-01-11")]
    assert prices.attrs["provenance"]["calendar"] == "24/7"


def test_unsorted_and_duplicated_bars_come_out_once_and_in_order(fetch: Fetch, server: Server) -> None:
    expected = fetch(days())
    content = chart(DAILY)
    result = content["chart"]["result"][0]
    order = [3, 0, 4, 0, 2, 1, 3]
    result["timestamp"] = [result["timestamp"][k] for k in order]
    for block in (*result["indicators"]["quote"], *result["indicators"]["adjclose"]):
        for name, values in block.items():
            block[name] = [values[k] for k in order]
    server.answer = serve(content)
    pd.testing.assert_frame_equal(fetch(days()), expected)


def test_rows_without_any_price_are_left_out_and_counted(fetch: Fetch, server: Server) -> None:
    nothing = (None,) * 6
    server.answer = serve(chart(DAILY | {"2024-01-09 09:30": nothing, "2024-01-10 09:30": (0.0,) * 6}))
    prices = fetch(days())
    assert [date.day for date in prices.index] == [8, 11, 12]
    assert prices.attrs["provenance"]["note"] == "2 rows without any price left out"


def test_a_bar_without_all_its_prices_is_left_out_with_a_warning(fetch: Fetch, server: Server) -> None:
    server.answer = serve(chart(DAILY | {"2024-01-09 09:30": (102.0, None, 101.0, 104.0, 1100, 52.0)}))
    with pytest.warns(UserWarning, match="1 bars without all four prices left out .2024-01-09"):
        prices = fetch(days())
    assert [date.day for date in prices.index] == [8, 10, 11, 12]
    assert "1 bars without all four prices" in prices.attrs["provenance"]["note"]


def test_an_unknown_volume_is_noted_since_yfinance_writes_zero_for_it(fetch: Fetch, server: Server) -> None:
    server.answer = serve(chart(DAILY | {"2024-01-09 09:30": (102.0, 106.0, 101.0, 104.0, None, 52.0)}))
    prices = fetch(days())
    assert prices.loc["2024-01-09", "volume"] == 0
    assert "1 bars moved with a volume of 0" in prices.attrs["provenance"]["note"]


def test_weeks_are_made_of_adjusted_days_and_only_of_whole_weeks(fetch: Fetch, server: Server) -> None:
    stamps = [f"{day:%Y-%m-%d} 09:30" for day in pd.bdate_range("2024-01-02", "2024-01-12")]
    rows = {s: (100.0 + k, 103.0 + k, 98.0 + k, 101.0 + k, 10 * k, 101.0 + k) for k, s in enumerate(stamps)}
    server.answer = serve(chart(rows))
    weeks = fetch(days(start=None, end=None, interval="1wk"))  # on Friday night the week is not over
    assert list(weeks.index) == [pd.Timestamp("2024-01-01")]
    assert weeks.iloc[0].to_list() == [100.0, 106.0, 98.0, 104.0, 60.0]  # days 2nd to 5th
    monday = pd.Timestamp("2024-01-15 06:00", tz="UTC")
    weeks = fetch(days(start="2024-01-02", end="2024-01-08", interval="1wk"), clock=lambda: monday)
    assert list(weeks.index) == [pd.Timestamp("2024-01-08")]
    assert weeks.iloc[0].to_list() == [104.0, 111.0, 102.0, 109.0, 300.0]
    assert server.asked[-1][1]["interval"] == "1d"
    assert int(server.asked[-1][1]["period2"]) == seconds(at("2024-01-15"))


def test_months_are_dated_by_their_first_day(fetch: Fetch, server: Server) -> None:
    rows = {
        f"{d:%Y-%m-%d} 09:30": (9.0, 9.0, 9.0, 9.0, 1, 9.0)
        for d in pd.bdate_range("2023-11-01", "2024-01-12")
    }
    server.answer = serve(chart(rows))
    months = fetch(days(start="2023-11-01", end=None, interval="1mo"))
    assert list(months.index) == [pd.Timestamp("2023-11-01"), pd.Timestamp("2023-12-01")]
    assert months["volume"].to_list() == [22.0, 21.0]


def intraday(minutes: list[str]) -> dict[str, tuple[float | None, ...]]:
    return {f"2024-01-12 {m}": (10.0 + k, 11.0 + k, 9.0 + k, 10.5 + k, 100.0) for k, m in enumerate(minutes)}


def test_intraday_bars_carry_their_utc_start_and_are_adjusted_for_splits_alone(
    fetch: Fetch, server: Server
) -> None:
    server.answer = serve(chart(intraday(["09:30", "10:30", "11:30"])))
    prices = fetch(days(start=None, end=None, interval="1h"))
    assert str(prices.index.tz) == "UTC"
    assert [f"{stamp:%H:%M}" for stamp in prices.index] == ["14:30", "15:30", "16:30"]
    assert prices.attrs["provenance"]["adjusted"] == "splits"
    assert int(server.asked[-1][1]["period1"]) == seconds(NIGHT - pd.Timedelta(730, "D")) + 60


def test_intraday_ends_are_included(fetch: Fetch, server: Server) -> None:
    server.answer = serve(chart(intraday(["09:30", "09:35", "09:40", "09:45"])))
    prices = fetch(days("2024-01-12 14:35", "2024-01-12 14:40", "5m"))
    assert [f"{stamp:%H:%M}" for stamp in prices.index] == ["14:35", "14:40"]
    assert int(server.asked[-1][1]["period2"]) == seconds(at("2024-01-12 09:45"))


def test_the_unclosed_intraday_bar_and_the_live_quote_are_left_out(fetch: Fetch, server: Server) -> None:
    rows = intraday(["09:30", "09:35", "09:40", "09:45:00", "09:52:17"])
    server.answer = serve(chart(rows, last_trade="2024-01-12 09:52:17"))
    moment = at("2024-01-12 09:52:30").tz_convert("UTC")
    prices = fetch(days(None, None, "5m"), clock=lambda: moment)
    assert [f"{stamp:%H:%M}" for stamp in prices.index] == ["14:30", "14:35", "14:40", "14:45"]
    an_hour_on = moment + pd.Timedelta(60, "min")
    assert fetch(days(None, None, "5m"), clock=lambda: an_hour_on).index[-1] == at("2024-01-12 09:45")
    server.answer = serve(chart(rows, last_trade="2024-01-12 09:49:59"))
    assert fetch(days(None, None, "5m"), clock=lambda: moment).index[-1] == at("2024-01-12 09:40")


def test_the_last_hour_of_a_session_is_final_at_the_close(fetch: Fetch, server: Server) -> None:
    server.answer = serve(chart(intraday(["14:30", "15:30"])))
    moment = at("2024-01-12 16:05").tz_convert("UTC")  # an hour bar that starts at 15:30 lasts half an hour
    assert fetch(days(None, None, "1h"), clock=lambda: moment).index[-1] == at("2024-01-12 15:30")


def test_too_many_requests_are_asked_again(fetch: Fetch, server: Server, pauses: list[float]) -> None:
    busy = Reply("Too Many Requests", 429, {"Retry-After": "7"})
    server.script = [busy] * 4  # yfinance itself asks each time twice
    assert len(fetch(days())) == 5
    assert pauses == [0.5, 1.0]


def test_rate_limiting_without_end_is_one_clear_error(
    fetch: Fetch, server: Server, pauses: list[float]
) -> None:
    server.answer = lambda path, query: Reply("Too Many Requests", 429)
    with pytest.raises(Unreachable, match=r"HTTP 429.*Wait some minutes"):
        fetch(days())
    assert pauses == [0.5, 1.0, 2.0]


def test_a_passing_server_error_of_a_range_long_past_is_asked_again(
    fetch: Fetch, server: Server, pauses: list[float]
) -> None:
    server.script = [Reply("<html>502 Bad Gateway</html>", 502)] * 2
    assert len(fetch(days())) == 5
    assert pauses == [0.5]


@pytest.mark.parametrize(
    "reply",
    [
        Reply("<html>502 Bad Gateway</html>", 502),
        Reply("<html>consent</html>"),
        Reply('{"chart": {"result": [{"me'),
    ],
    ids=["502", "HTML", "truncated JSON"],
)
def test_an_answer_that_is_not_json_says_so(fetch: Fetch, server: Server, reply: Reply) -> None:
    server.answer = lambda path, query: reply
    with pytest.raises(Unreachable, match=r"AAPL is not JSON"):
        fetch(days())


def test_a_connection_cut_short_says_so(fetch: Fetch, server: Server) -> None:
    server.answer = lambda path, query: Reply(chart(DAILY), cut=10)
    with pytest.raises(Unreachable, match=r"could not be reached for AAPL"):
        fetch(days())


def test_an_unknown_ticker_is_named_with_where_to_look(
    fetch: Fetch, server: Server, pauses: list[float]
) -> None:
    server.answer = lambda path, query: Reply(
        refusal("No data found, symbol may be delisted", "Not Found"), 404
    )
    for _ in range(3):  # yfinance goes other ways after its second failure
        with pytest.raises(SourceError, match=r"no ticker 'AAPL'.*finance.yahoo.com") as caught:
            fetch(days())
        assert not isinstance(caught.value, Unreachable | NoBars)
    assert pauses == []


def known_then(content: dict, status: int) -> Callable[[str, dict[str, str]], Reply]:
    return lambda path, query: Reply(content, status) if "period1" in query else Reply(chart(DAILY))


def test_a_ticker_that_vanished_since_its_timezone_was_known_is_named(fetch: Fetch, server: Server) -> None:
    server.answer = known_then(refusal("No data found, symbol may be delisted", "Not Found"), 404)
    with pytest.raises(SourceError, match=r"no ticker 'AAPL'"):
        fetch(days())


def test_a_range_before_the_listing_has_no_bars(fetch: Fetch, server: Server) -> None:
    server.answer = known_then(refusal("Data doesn't exist for startDate = 1, endDate = 2"), 400)
    with pytest.raises(NoBars, match=r"no closed 1d bars of AAPL from 1970-01-05.*to 1970-01-09"):
        fetch(days("1970-01-05", "1970-01-09"))


def test_an_empty_answer_has_no_bars(fetch: Fetch, server: Server) -> None:
    empty = chart(DAILY)
    del empty["chart"]["result"][0]["timestamp"]
    empty["chart"]["result"][0]["indicators"] = {"quote": [{}]}
    server.answer = serve(empty)
    with pytest.raises(NoBars):
        fetch(days())


def test_nothing_but_the_unclosed_bar_is_no_bars(fetch: Fetch, server: Server) -> None:
    moment = at("2024-01-12 10:00").tz_convert("UTC")
    server.answer = serve(
        chart({"2024-01-12 09:30": DAILY["2024-01-12 09:30"]}, last_trade="2024-01-12 09:59:00")
    )
    with pytest.raises(NoBars):
        fetch(days("2024-01-12", None), clock=lambda: moment)


def test_a_range_in_the_future_is_not_asked_for(fetch: Fetch, server: Server) -> None:
    with pytest.raises(NoBars):
        fetch(days("2030-01-01", None))
    assert server.asked == []


@pytest.mark.parametrize(
    "said",
    [
        "5m data not available for startTime=1 and endTime=2. The requested range must be within the last 60 "
        "days.",
        "1m data not available for startTime=1 and endTime=2. Only 8 days worth of 1m granularity data are "
        "allowed to be fetched per request.",
    ],
)
def test_intraday_too_far_back_says_what_to_ask_instead(fetch: Fetch, server: Server, said: str) -> None:
    server.answer = known_then(refusal(said, "Unprocessable Entity"), 422)
    with pytest.raises(SourceError, match=r"short time only.* days.*Ask for a later start") as caught:
        fetch(days("2023-01-02", "2023-01-03", "5m"))
    assert not isinstance(caught.value, NoBars | Unreachable)


def test_a_refused_request_repeats_what_yahoo_says(fetch: Fetch, server: Server) -> None:
    server.answer = known_then(refusal("Invalid input - interval=1d is not supported."), 400)
    with pytest.raises(SourceError, match=r"refused 1d bars of AAPL.*Invalid input - interval"):
        fetch(days())


def test_an_interval_that_yahoo_lacks_is_refused_with_those_it_has(fetch: Fetch, server: Server) -> None:
    with pytest.raises(SourceError, match=r"1m, 5m, 15m, 30m, 1h, 1d, 1wk, 1mo. Got '4h'"):
        fetch(days(interval="4h"))
    assert server.asked == []


@pytest.mark.parametrize(
    "content", [[], {"chart": {}}, {"finance": {"error": None}}, {"chart": {"result": [{}]}}]
)
def test_json_of_another_shape_is_a_source_error(fetch: Fetch, server: Server, content: dict) -> None:
    server.answer = lambda path, query: Reply(content)
    with pytest.raises(SourceError):
        fetch(days())


def test_no_network_says_so(
    fetch: Fetch,
    yfinance_at: Callable[[str], None],
    closed_port: int,
    pauses: list[float],
    caplog: pytest.LogCaptureFixture,
) -> None:
    yfinance_at(f"http://127.0.0.1:{closed_port}")
    with pytest.raises(
        Unreachable, match=r"could not be reached for AAPL.*Check the network, or use source='sample'"
    ):
        fetch(days())
    assert pauses == [0.5, 1.0, 2.0]
    assert caplog.records == []  # the error says it all; yfinance's own warnings would only repeat it


def stumble() -> None:
    try:
        raise ConnectionRefusedError("nobody there")
    except ConnectionRefusedError as error:
        error.dns = error.DNSError  # pyright: ignore[reportAttributeAccessIssue]


def test_a_network_error_that_yfinance_stumbles_over_is_still_one() -> None:
    with (
        pytest.raises(Unreachable, match=r"could not be reached for AAPL .ConnectionRefusedError."),
        translated(days()),
    ):
        stumble()


def test_yfinances_switches_are_left_as_they_were(fetch: Fetch, server: Server) -> None:
    import yfinance

    assert yfinance.config.debug.hide_exceptions is True
    fetch(days())
    assert yfinance.config.debug.hide_exceptions is True
    server.answer = lambda path, query: Reply("no", 500)
    with pytest.raises(SourceError):
        fetch(days())
    assert yfinance.config.debug.hide_exceptions is True


def test_only_yfinances_own_pandas_warning_is_silenced() -> None:
    with yahoo._yfinance_set_up():
        warnings.warn_explicit("old", pd.errors.Pandas4Warning, "utils.py", 1, module="yfinance.utils")
        with pytest.raises(pd.errors.Pandas4Warning):
            warnings.warn_explicit("old", pd.errors.Pandas4Warning, "mine.py", 1, module="mine")
        with pytest.raises(UserWarning):
            warnings.warn_explicit("other", UserWarning, "utils.py", 1, module="yfinance.utils")
