"""The Bybit client against a local exchange that behaves like the real one."""

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loopback import Reply, Server

from workbench.market import bybit
from workbench.market.bybit import Exchange
from workbench.market.bybit_answers import Answer, read
from workbench.market.frame import INTERVALS, PriceError, Request, SourceError
from workbench.market.pages import bar_number, bar_start, pages
from workbench.market.patience import NoBars, Patience, Unreachable

MINUTE, HOUR = 60_000, 3_600_000
NOW = int(pd.Timestamp("2024-03-01 12:30", tz="UTC").timestamp() * 1000)
LISTED = int(pd.Timestamp("2024-01-10 05:00", tz="UTC").timestamp() * 1000)
OURS = {theirs: ours for ours, theirs in bybit.INTERVALS.items()}


def row(start: int) -> list[str]:
    price = 100 + start // MINUTE % 977
    values = (price, price + 2, price - 2, price + 1, 10, 10 * price)
    return [str(start), *map(str, values)]


@dataclass
class Market:
    """Bybit's answers: newest first, both ends included, with the bar that holds `start` and the unclosed."""

    listed: int = LISTED
    now: int = NOW
    headers: dict[str, str] = field(default_factory=dict)

    def __call__(self, path: str, query: dict[str, str]) -> Reply:
        assert path == "/v5/market/kline"
        interval, limit = OURS[query["interval"]], int(query["limit"])
        assert 1 <= limit <= 1000
        start = max(int(query["start"]), self.listed)
        end = min(int(query.get("end", self.now)), self.now)
        numbers = (
            range(bar_number(start, interval), bar_number(end, interval) + 1) if start <= end else range(0)
        )
        rows = [row(bar_start(n, interval)) for n in reversed(numbers)][:limit]
        return Reply(klines(rows, self.now), headers=self.headers)


def klines(rows: Any, time: int = NOW, **extra: object) -> dict:
    return {"retCode": 0, "retMsg": "OK", "result": {"symbol": "X", "list": rows}, "time": time} | extra


@pytest.fixture
def exchange(server: Server, pauses: list[float]) -> Exchange:
    server.answer = Market()
    return Exchange(server.url, patience=Patience(sleep=pauses.append))


def ask(start: str | None, end: str | None, interval: str = "1h") -> Request:
    return Request("BTCUSDT", start and pd.Timestamp(start), end and pd.Timestamp(end), interval)


def test_an_hour_of_minutes_comes_in_order_with_both_ends(exchange: Exchange, server: Server) -> None:
    prices = bybit.fetch(ask("2024-02-01 10:00", "2024-02-01 11:00", "1m"), exchange=exchange)
    assert list(prices.index) == list(pd.date_range("2024-02-01 10:00", periods=61, freq="min", tz="UTC"))
    start = int(prices.index[0].timestamp() * 1000)
    assert prices.iloc[0].to_list() == [float(v) for v in row(start)[1:6]]
    query = server.asked[-1][1]
    assert query["category"] == "spot"
    assert query["symbol"] == "BTCUSDT"
    assert query["interval"] == "1"
    provenance = prices.attrs["provenance"]
    assert provenance["adjusted"] == "none (spot prices)"
    assert provenance["calendar"] == "24/7"
    assert provenance["volume_unit"] == "base coins"
    assert "note" not in provenance


def test_ends_inside_a_bar_take_only_bars_that_start_in_the_range(exchange: Exchange) -> None:
    prices = bybit.fetch(ask("2024-02-01 10:20", "2024-02-01 13:40"), exchange=exchange)
    assert [stamp.hour for stamp in prices.index] == [11, 12, 13]


def test_an_open_range_runs_from_the_listing_to_the_last_closed_bar(
    exchange: Exchange, server: Server
) -> None:
    prices = bybit.fetch(ask(None, None), exchange=exchange)
    assert prices.index[0] == pd.Timestamp("2024-01-10 05:00", tz="UTC")
    assert prices.index[-1] == pd.Timestamp("2024-03-01 11:00", tz="UTC")
    assert prices.index.diff()[1:].unique() == pd.Timedelta("1h")
    assert int(server.asked[1][1]["start"]) == int(pd.Timestamp("2024-01-01").timestamp() * 1000)


def test_more_than_a_thousand_bars_come_in_disjoint_pages(exchange: Exchange, server: Server) -> None:
    prices = bybit.fetch(ask("2024-02-01", "2024-02-02 23:59", "1m"), exchange=exchange)
    assert len(prices) == 2880
    asked = [(int(q["start"]), int(q["end"])) for _, q in server.asked[1:]]
    assert len(asked) == 3
    assert all(end - start == 1000 * MINUTE - 1 for start, end in asked[:2])
    assert all(following == end + 1 for (_, end), (following, _) in pairwise(asked))


def test_the_unclosed_bar_is_left_out_by_the_exchanges_clock(exchange: Exchange, server: Server) -> None:
    assert bybit.fetch(ask("2024-03-01", None), exchange=exchange).index[-1].hour == 11
    server.answer = Market(now=NOW + 30 * MINUTE)
    assert bybit.fetch(ask("2024-03-01", None), exchange=exchange).index[-1].hour == 12
    server.answer = Market(now=NOW + 30 * MINUTE - 1)
    assert bybit.fetch(ask("2024-03-01", "2030-01-01"), exchange=exchange).index[-1].hour == 11


@pytest.mark.parametrize("interval", INTERVALS)
def test_every_interval_is_asked_for_by_bybits_name(
    exchange: Exchange, server: Server, interval: str
) -> None:
    start = "2024-02-28" if bybit.INTERVALS[interval].isdigit() else "2024-01-01"
    server.answer = Market(listed=bar_start(600, "1mo"))
    prices = bybit.fetch(ask(start, None, interval), exchange=exchange)
    assert server.asked[-1][1]["interval"] == bybit.INTERVALS[interval]
    starts = [int(stamp.timestamp() * 1000) for stamp in prices.index]
    numbers = [bar_number(s, interval) for s in starts]
    assert starts == [bar_start(n, interval) for n in numbers]
    assert numbers == list(range(numbers[0], bar_number(NOW, interval)))


def test_weeks_start_on_monday_and_months_on_the_first_without_a_timezone(
    exchange: Exchange, server: Server
) -> None:
    weeks = bybit.fetch(ask("2024-01-11", None, "1wk"), exchange=exchange)
    assert [f"{d:%a %d}" for d in weeks.index] == ["Mon 15", "Mon 22", "Mon 29", "Mon 05", "Mon 12", "Mon 19"]
    server.answer = Market(listed=bar_start(640, "1mo"))
    months = bybit.fetch(ask("2023-12-01", None, "1mo"), exchange=exchange)
    assert list(months.index) == list(pd.to_datetime(["2023-12-01", "2024-01-01", "2024-02-01"]))
    assert weeks.index.tz is None
    assert months.index.tz is None


def test_duplicated_and_unsorted_bars_come_out_once_and_in_order(exchange: Exchange, server: Server) -> None:
    request = ask("2024-02-01", "2024-02-01 06:00")
    expected = bybit.fetch(request, exchange=exchange)
    market = Market()

    def shuffled(path: str, query: dict[str, str]) -> Reply:
        content: Any = market(path, query).body
        rows = content["result"]["list"]
        content["result"]["list"] = rows[1::2] + rows[::2] + rows[:3]
        return Reply(content)

    server.answer = shuffled
    pd.testing.assert_frame_equal(bybit.fetch(request, exchange=exchange), expected)


def test_bars_that_were_not_asked_for_are_left_out(exchange: Exchange, server: Server) -> None:
    market = Market()

    def generous(path: str, query: dict[str, str]) -> Reply:
        content: Any = market(path, query).body
        content["result"]["list"] += [row(NOW - NOW % HOUR - k * HOUR) for k in range(3)] + [row(LISTED)]
        return Reply(content)

    server.answer = generous
    prices = bybit.fetch(ask("2024-02-01", "2024-02-01 06:00"), exchange=exchange)
    assert [stamp.hour for stamp in prices.index] == list(range(7))


def test_inverse_contracts_turn_over_coins_and_so_these_are_the_volume(
    exchange: Exchange, server: Server
) -> None:
    first = int(pd.Timestamp("2024-02-01").timestamp() * 1000)
    # 1000 dollars at 100 dollars a coin are 10 coins, 2200 at 110 are 20, 1260 at 105 are 12
    bars = [(100, 1000, 10), (110, 2200, 20), (105, 1260, 12)]
    rows = [
        [str(first + k * HOUR), *[str(p)] * 4, str(usd), str(coins)] for k, (p, usd, coins) in enumerate(bars)
    ]
    server.answer = lambda path, query: Reply(klines(rows))
    request = ask("2024-02-01", "2024-02-01 02:00")
    inverse = bybit.fetch(request, "bybit-inverse", exchange)
    assert inverse["volume"].to_list() == [10.0, 20.0, 12.0]
    assert "note" not in inverse.attrs["provenance"]
    assert inverse.attrs["provenance"]["adjusted"] == "none (contract prices)"
    assert server.asked[-1][1]["category"] == "inverse"
    linear = bybit.fetch(request, "bybit-linear", exchange)
    assert linear["volume"].to_list() == [1000.0, 2200.0, 1260.0]
    assert linear.attrs["provenance"]["note"] == "in 3 of 3 bars turnover is not volume × a price of the bar"


def test_turnover_is_checked_against_low_and_high_with_one_percent(
    exchange: Exchange, server: Server
) -> None:
    first = int(pd.Timestamp("2024-02-01").timestamp() * 1000)
    turnovers = [895, 890, 1110, 1112, 0]  # 10 coins at 90 to 110, then none
    rows = [
        [str(first + k * HOUR), "100", "110", "90", "100", "10" if paid else "0", str(paid)]
        for k, paid in enumerate(turnovers)
    ]
    server.answer = lambda path, query: Reply(klines(rows))
    prices = bybit.fetch(ask("2024-02-01", "2024-02-01 04:00"), exchange=exchange)
    assert prices.attrs["provenance"]["note"] == "in 2 of 5 bars turnover is not volume × a price of the bar"


def test_no_bars_before_the_listing_is_said_with_its_month(exchange: Exchange, server: Server) -> None:
    with pytest.raises(NoBars, match=r"no closed 1h bars of BTCUSDT.*trades since 2024-01"):
        bybit.fetch(ask("2023-01-01", "2023-06-01"), exchange=exchange)
    assert len(server.asked) == 1
    server.answer = lambda path, query: Reply(klines([]))
    with pytest.raises(NoBars, match="has no bars of it yet"):
        bybit.fetch(ask(None, None), exchange=exchange)


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_failing_server_is_asked_again_after_the_time_it_names(
    exchange: Exchange, server: Server, pauses: list[float], status: int
) -> None:
    server.script = [
        Reply("<html>busy</html>", status, {"Retry-After": "7"}),
        Reply("<html>busy</html>", status),
    ]
    assert len(bybit.fetch(ask("2024-02-01", "2024-02-01 06:00"), exchange=exchange)) == 7
    assert pauses == [7.0, 1.0]


def test_a_longer_pause_than_our_patience_is_not_waited_for(
    exchange: Exchange, server: Server, pauses: list[float]
) -> None:
    server.answer = lambda path, query: Reply("busy", 429, {"Retry-After": "3600"})
    with pytest.raises(Unreachable, match=r"HTTP 429.*Try again in a few minutes"):
        bybit.fetch(ask(None, None), exchange=exchange)
    assert pauses == []


def test_too_many_visits_wait_for_the_reset_by_the_exchanges_clock(
    exchange: Exchange, server: Server, pauses: list[float]
) -> None:
    visits = {"retCode": 10006, "retMsg": "Too many visits!", "result": {}, "time": NOW}
    server.script = [Reply(visits, headers={"X-Bapi-Limit-Reset-Timestamp": str(NOW + 2500)})]
    assert len(bybit.fetch(ask("2024-02-01", "2024-02-01 06:00"), exchange=exchange)) == 7
    assert pauses == [2.5]


def test_a_used_up_allowance_is_waited_for_before_the_next_page(
    exchange: Exchange, server: Server, pauses: list[float]
) -> None:
    server.answer = Market(
        headers={"X-Bapi-Limit-Status": "0", "X-Bapi-Limit-Reset-Timestamp": str(NOW + 400)}
    )
    bybit.fetch(ask("2024-02-01", "2024-02-01 06:00"), exchange=exchange)
    assert pauses == [0.4, 0.4]
    pauses.clear()
    server.answer = Market(
        headers={"X-Bapi-Limit-Status": "7", "X-Bapi-Limit-Reset-Timestamp": str(NOW + 400)}
    )
    bybit.fetch(ask("2024-02-01", "2024-02-01 06:00"), exchange=exchange)
    assert pauses == []


def test_a_refused_address_is_explained_and_not_asked_again(
    exchange: Exchange, server: Server, pauses: list[float]
) -> None:
    server.answer = lambda path, query: Reply("<html>CloudFront</html>", 403)
    with pytest.raises(Unreachable, match=r"HTTP 403.*Wait 10 minutes.*United States.*source='yahoo'"):
        bybit.fetch(ask(None, None), exchange=exchange)
    assert len(server.asked) == 1
    assert pauses == []


@pytest.mark.parametrize(
    ("code", "said", "expected"),
    [
        (10001, "params error: Symbol Invalid", r"no BTCUSDT \(spot\).*written like BTCUSDT"),
        (10029, "requested symbol is invalid", r"no BTCUSDT \(spot\)"),
        (10001, "Illegal category", r"refused the request.*code 10001: Illegal category"),
        (10009, "IP has been banned", r"refuses this address.*United States"),
        (10016, "Internal server error", r"has an internal fault.*Try again"),
        (10000, "Server Timeout", r"timed out"),
    ],
)
def test_return_codes_are_translated(
    exchange: Exchange, server: Server, pauses: list[float], code: int, said: str, expected: str
) -> None:
    server.answer = lambda path, query: Reply({"retCode": code, "retMsg": said, "result": {}, "time": NOW})
    with pytest.raises(SourceError, match=expected) as caught:
        bybit.fetch(ask(None, None), exchange=exchange)
    assert isinstance(caught.value, Unreachable) == (code in {10009, 10016, 10000})
    assert len(pauses) == (3 if code in {10016, 10000} else 0)


def test_an_address_that_moved_says_so(exchange: Exchange, server: Server) -> None:
    server.answer = lambda path, query: Reply("not found", 404)
    with pytest.raises(SourceError, match=r"HTTP 404.*newer version"):
        bybit.fetch(ask(None, None), exchange=exchange)


@pytest.mark.parametrize("body", ["<html>Log in</html>", '{"retCode": 0, "result": {"li'])
def test_an_answer_that_is_not_json_is_quoted(exchange: Exchange, server: Server, body: str) -> None:
    server.answer = lambda path, query: Reply(body)
    with pytest.raises(Unreachable, match=rf"is not JSON.*begins '{body[:5]}"):
        bybit.fetch(ask(None, None), exchange=exchange)


def test_a_connection_cut_short_is_asked_again(
    exchange: Exchange, server: Server, pauses: list[float]
) -> None:
    server.script = [Reply(klines([row(LISTED)]), cut=5)]
    assert len(bybit.fetch(ask("2024-02-01", "2024-02-01 06:00"), exchange=exchange)) == 7
    assert pauses == [0.5]


@pytest.mark.parametrize(
    "content",
    [
        [],
        {},
        {"retCode": 0, "retMsg": "OK", "time": NOW},
        klines([["1", "2"]]),
        klines([[str(NOW), None, "1", "1", "1", "1", "1"]]),
        klines([[str(NOW), "", "1", "1", "1", "1", "1"]]),
        klines(None),
    ],
)
def test_json_of_another_shape_is_a_source_error(exchange: Exchange, server: Server, content: Any) -> None:
    server.answer = lambda path, query: Reply(content)
    with pytest.raises(SourceError, match="unexpected shape"):
        bybit.fetch(ask(None, None), exchange=exchange)


def test_prices_that_are_none_are_refused_with_the_bar(exchange: Exchange, server: Server) -> None:
    first = int(pd.Timestamp("2024-02-01").timestamp() * 1000)
    server.answer = lambda path, query: Reply(klines([[str(first), "1", "1", "0", "1", "1", "1"]]))
    with pytest.raises(PriceError, match="2024-02-01"):
        bybit.fetch(ask("2024-02-01", "2024-02-01 06:00"), exchange=exchange)


def test_no_network_says_so(exchange: Exchange, closed_port: int, pauses: list[float]) -> None:
    nowhere = replace(exchange, url=f"http://127.0.0.1:{closed_port}")
    with pytest.raises(Unreachable, match=r"could not be reached for BTCUSDT \(spot\).*Check the network"):
        bybit.fetch(ask(None, None), exchange=nowhere)
    assert pauses == [0.5, 1.0, 2.0]


def test_an_unknown_category_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"bybit, bybit-linear, bybit-inverse. Got 'binance'"):
        bybit.fetch(ask(None, None), "binance")


def test_the_default_exchange_is_the_real_one_with_full_pages() -> None:
    assert Exchange().url == "https://api.bybit.com"
    assert Exchange().page == 1000
    assert bybit.tickers() == []


moments = st.integers(0, 2**41)  # 1970 to 2039


@given(moments, st.sampled_from(INTERVALS))
def test_a_moment_lies_in_the_bar_of_its_number(moment: int, interval: str) -> None:
    number = bar_number(moment, interval)
    assert bar_start(number, interval) <= moment < bar_start(number + 1, interval)
    assert bar_number(bar_start(number, interval), interval) == number


@given(moments, st.sampled_from(["1d", "1wk", "1mo"]))
def test_long_bars_start_where_pandas_starts_their_period(moment: int, interval: str) -> None:
    period = {"1d": "D", "1wk": "W-SUN", "1mo": "M"}[interval]
    expected = pd.Timestamp(moment, unit="ms").to_period(period).start_time
    assert pd.Timestamp(bar_start(bar_number(moment, interval), interval), unit="ms") == expected


@given(moments, st.integers(0, 5000), st.integers(1, 1000), st.sampled_from(INTERVALS))
def test_pages_are_disjoint_small_enough_and_cover_exactly_the_range(
    moment: int, bars: int, limit: int, interval: str
) -> None:
    first = bar_number(moment, interval)
    last = first + bars - 1
    cut = list(pages(first, last, interval, limit))
    numbers = [(bar_number(page.start, interval), bar_number(page.end, interval)) for page in cut]
    assert [n for low, high in numbers for n in range(low, high + 1)] == list(range(first, last + 1))
    assert all(high - low < limit for low, high in numbers)
    assert len(cut) == -(-bars // limit)
    if bars:
        assert cut[0].start == bar_start(first, interval)
        assert cut[-1].end == bar_start(last + 1, interval) - 1
    assert all(before.end + 1 == after.start for before, after in pairwise(cut))


@given(
    st.integers(-3 * 24 * 60, 53 * 24 * 60),
    st.integers(0, 4000),
    st.integers(1, 300),
    st.sampled_from(["1h", "4h", "1d", "1wk"]),
)
def test_any_range_by_pages_of_any_size_is_the_markets_bars_in_it(
    after: int, minutes: int, page: int, interval: str
) -> None:
    """The oracle looks at every bar of the market's life; the market stands in for HTTP."""
    start = pd.Timestamp(LISTED, unit="ms", tz="UTC") + pd.Timedelta(after, "min")
    end = start + pd.Timedelta(minutes, "min")
    market = Market()
    zone = None if interval in {"1d", "1wk"} else "UTC"
    request = Request(
        "BTCUSDT", start.tz_convert(None).tz_localize(zone), end.tz_convert(None).tz_localize(zone), interval
    )

    def answer(**query: str | int) -> Answer:
        reply = market("/v5/market/kline", {k: str(v) for k, v in query.items()})
        return read(200, {}, reply.content.decode(), "BTCUSDT")

    low, high = (int(bound.timestamp() * 1000) for bound in (request.start, request.end) if bound is not None)
    starts = range(bar_number(LISTED, interval), bar_number(NOW, interval))
    expected = [s for s in (bar_start(n, interval) for n in starts) if low <= s <= high]
    try:
        found = list(bybit._bars(answer, request, page))
    except NoBars:
        found = []
    assert found == expected
