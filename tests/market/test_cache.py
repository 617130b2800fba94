"""The cache in front of a made-up source, and in front of the real clients."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from loopback import Reply, Server
from made_up import NOON, Source, ask, same

from workbench.market import bybit, yahoo
from workbench.market.bybit import Exchange
from workbench.market.cache import cached
from workbench.market.frame import SourceError
from workbench.market.patience import NoBars, Patience, Unreachable

Load = Callable[..., pd.DataFrame]


def test_a_range_in_the_past_is_fetched_once(load: Load, source: Source) -> None:
    first = load("2021-01-01", "2021-12-31")
    again = load("2021-01-01", "2021-12-31")
    inside = load("2021-03-01", "2021-03-31")
    assert len(source.asked) == 1
    same(first, Source().fetch(ask("2021-01-01", "2021-12-31")))
    same(again, first)
    same(inside, Source().fetch(ask("2021-03-01", "2021-03-31")))
    assert inside.attrs["provenance"]["fetched_at"] == "2024-06-05T12:00:00+00:00"
    assert "age" not in inside.attrs["provenance"]


def test_a_longer_range_fetches_only_what_is_missing_and_five_bars_on_each_side(
    load: Load, source: Source
) -> None:
    load("2021-03-01", "2021-03-31")
    same(load("2021-02-01", "2021-04-30"), Source().fetch(ask("2021-02-01", "2021-04-30")))
    earlier, later = source.asked[1:]
    assert (earlier.start, earlier.end) == (pd.Timestamp("2021-02-01"), pd.Timestamp("2021-03-05"))
    assert (later.start, later.end) == (pd.Timestamp("2021-03-25"), pd.Timestamp("2021-04-30"))
    load("2021-02-01", "2021-04-30")
    assert len(source.asked) == 3


def test_a_gap_between_two_ranges_is_fetched_with_both_edges(load: Load, source: Source) -> None:
    load("2021-01-04", "2021-01-29")
    load("2021-04-01", "2021-04-30")
    assert len(source.asked) == 2  # apart from one another: nothing is fetched to join them
    same(load("2021-01-11", "2021-04-16"), Source().fetch(ask("2021-01-11", "2021-04-16")))
    (gap,) = source.asked[2:]
    assert (gap.start, gap.end) == (pd.Timestamp("2021-01-25"), pd.Timestamp("2021-04-07"))
    load("2021-01-04", "2021-04-30")
    assert len(source.asked) == 3
    load("2021-07-01", "2021-07-30")
    load("2021-10-01", "2021-10-29")
    source.asked.clear()
    same(load("2021-01-04", "2021-10-29"), Source().fetch(ask("2021-01-04", "2021-10-29")))
    assert [(f"{r.start:%m-%d}", f"{r.end:%m-%d}") for r in source.asked] == [
        ("04-26", "07-07"),
        ("07-26", "10-07"),
    ]


def test_years_before_the_listing_are_not_asked_for_twice(load: Load, source: Source) -> None:
    same(load("2010-01-01", "2021-12-31"), Source().fetch(ask("2010-01-01", "2021-12-31")))
    load("2010-01-01", "2020-12-31")
    load("2015-01-01", "2021-01-31")
    assert len(source.asked) == 1
    with pytest.raises(NoBars, match=r"had no 1d bars of ACME.*2015.*when asked on 2024-06-05.*refresh=True"):
        load("2015-01-01", "2015-12-31")
    assert len(source.asked) == 1


def test_a_range_without_any_bar_is_remembered_too(load: Load, source: Source) -> None:
    for _ in range(2):
        with pytest.raises(NoBars):
            load("2015-01-01", "2015-12-31")
    assert len(source.asked) == 1


def test_an_open_start_means_all_there_is(load: Load, source: Source) -> None:
    same(load(None, "2021-12-31"), Source().fetch(ask(None, "2021-12-31")))
    load("1999-01-01", "2021-12-31")
    load(None, "2020-12-31")
    assert len(source.asked) == 1


def test_extending_to_an_open_start_asks_with_an_open_start(load: Load, source: Source) -> None:
    load("2021-03-01", "2021-03-31")
    same(load(None, "2021-03-31"), Source().fetch(ask(None, "2021-03-31")))
    assert source.asked[-1].start is None
    assert source.asked[-1].end == pd.Timestamp("2021-03-05")


def test_up_to_now_is_good_for_an_hour_then_asked_for_what_is_new(load: Load, source: Source) -> None:
    load("2024-01-01")
    source.now = NOON + pd.Timedelta(59, "min")
    assert load("2024-01-01").index[-1] == pd.Timestamp("2024-06-04")
    assert len(source.asked) == 1
    source.now = NOON + pd.Timedelta(10, "h")  # Wednesday's session has closed
    assert load("2024-01-01").index[-1] == pd.Timestamp("2024-06-05")
    assert source.asked[-1].start == pd.Timestamp("2024-05-29")
    assert source.asked[-1].end is None
    source.now = NOON + pd.Timedelta(11.5, "h")  # no bar after Wednesday's can have closed before Thursday
    load("2024-01-01")
    assert len(source.asked) == 2
    source.now = NOON + pd.Timedelta(12.5, "h")
    load("2024-01-01")
    assert len(source.asked) == 3


def test_hours_up_to_now_are_good_for_an_hour(load: Load, source: Source) -> None:
    source.listed, source.now = "2024-06-01", NOON + pd.Timedelta(1, "min")
    same(load(None, None, interval="1h"), source.online().fetch(ask(interval="1h")))
    source.now = NOON + pd.Timedelta(50, "min")
    assert load(None, None, interval="1h").index[-1].hour == 11
    assert len(source.asked) == 1
    source.now = NOON + pd.Timedelta(61, "min")
    assert load(None, None, interval="1h").index[-1].hour == 12
    assert len(source.asked) == 2


def test_ends_between_two_bars_leave_none_out_when_extended(load: Load, source: Source) -> None:
    source.listed = "2024-05-01"
    load("2024-05-03 00:00:00.5", "2024-05-03 23:59:59.999999", interval="1h")
    prices = load("2024-05-02 00:00:00.5", "2024-05-04 23:59:59.999999", interval="1h")
    same(prices, source.online().fetch(ask("2024-05-02 01:00", "2024-05-04 23:00", "1h")))
    _, earlier, later = source.asked
    assert earlier.end == pd.Timestamp("2024-05-03 05:00", tz="UTC")
    assert later.start == pd.Timestamp("2024-05-03 19:00", tz="UTC")


def test_an_end_in_the_last_days_counts_as_up_to_now(load: Load, source: Source) -> None:
    assert load("2024-05-01", "2024-06-05").index[-1] == pd.Timestamp("2024-06-04")
    load("2024-05-01", "2024-06-05")
    load("2024-05-01", "2030-01-01")
    load("2024-05-01")
    assert len(source.asked) == 1
    source.now = NOON + pd.Timedelta(10, "h")
    assert load("2024-05-01", "2024-06-05").index[-1] == pd.Timestamp("2024-06-05")


def test_having_asked_up_to_yesterday_is_not_having_asked_up_to_now(load: Load, source: Source) -> None:
    source.now = NOON + pd.Timedelta(10, "h")
    load("2024-05-01", "2024-06-04")
    assert load("2024-05-01").index[-1] == pd.Timestamp("2024-06-05")


def test_extending_backwards_does_not_make_the_newest_bars_fresh(load: Load, source: Source) -> None:
    load("2024-05-01")
    source.now = NOON + pd.Timedelta(10, "h")
    load("2024-04-01", "2024-05-31")
    assert load("2024-05-01").index[-1] == pd.Timestamp("2024-06-05")


def test_a_ticker_long_delisted_is_asked_for_news_only(load: Load, source: Source, monkeypatch) -> None:
    everything = source.dates("1d")
    monkeypatch.setattr(source, "dates", lambda interval: everything[everything < pd.Timestamp("2021-06-01")])
    load("2021-01-01")
    source.now = NOON + pd.Timedelta(30, "D")
    load("2021-01-01")
    assert source.asked[-1].start == pd.Timestamp("2021-05-25")
    assert len(load("2021-01-01")) == 107
    assert len(source.asked) == 2


def test_prices_rescaled_since_are_fetched_whole(load: Load, source: Source) -> None:
    load("2021-01-01", "2021-12-31")
    source.scale = 0.9995  # a dividend of a twentieth of a percent
    same(load("2021-06-01", "2022-03-31"), Source(scale=0.9995).fetch(ask("2021-06-01", "2022-03-31")))
    assert [r.start for r in source.asked[1:]] == [pd.Timestamp("2021-12-27"), pd.Timestamp("2021-06-01")]
    same(load("2021-01-01", "2021-12-31"), Source(scale=0.9995).fetch(ask("2021-01-01", "2021-12-31")))


def test_digits_that_tremble_are_not_a_rescaling(load: Load, source: Source) -> None:
    load("2021-01-01", "2021-12-31")
    source.scale = 1 + 2e-6
    prices = load("2021-06-01", "2022-03-31")
    assert len(source.asked) == 2
    newer = source.online().fetch(ask("2021-12-27", "2022-03-31"))  # from the bars fetched again on
    pd.testing.assert_frame_equal(prices.loc["2021-12-27":], newer, check_exact=True)
    older = Source().fetch(ask("2021-06-01", "2021-12-24"))
    pd.testing.assert_frame_equal(prices.loc[:"2021-12-24"], older, check_exact=True)


def test_bars_that_appear_within_the_overlap_are_a_change(load: Load, source: Source, monkeypatch) -> None:
    everything = source.dates("1d")
    monkeypatch.setattr(
        source, "dates", lambda interval: everything[everything != pd.Timestamp("2021-12-30")]
    )
    load("2021-01-01", "2021-12-31")
    monkeypatch.setattr(source, "dates", lambda interval: everything)
    same(load("2021-01-01", "2022-03-31"), Source().fetch(ask("2021-01-01", "2022-03-31")))


def test_an_extension_that_cannot_be_had_is_replaced_by_the_whole_request(load: Load, source: Source) -> None:
    source.listed, source.reach = "2024-01-01", pd.Timedelta(10, "D")
    load(None, None, interval="1h")
    source.now = NOON + pd.Timedelta(30, "D")  # the edge of what is kept lies too far back by now
    same(
        load(None, None, interval="1h"),
        Source("2024-01-01", source.now, reach=source.reach).fetch(ask(interval="1h")),
    )


def test_offline_what_is_covered_needs_no_network(load: Load, source: Source) -> None:
    load("2021-01-01", "2021-12-31")
    source.offline, source.now = True, NOON + pd.Timedelta(100, "D")
    assert len(load("2021-03-01", "2021-03-31")) == 23


def test_offline_up_to_now_is_served_with_its_age(load: Load, source: Source) -> None:
    online = load("2024-01-01")
    source.offline, source.now = True, NOON + pd.Timedelta(76, "h")
    with pytest.warns(
        UserWarning, match=r"could not be reached.*up to 2024-06-04.*fetched 3 days 04:00:00 ago"
    ):
        prices = load("2024-01-01")
    pd.testing.assert_frame_equal(prices, online)
    assert prices.attrs["provenance"]["age"] == "3 days 04:00:00"
    assert prices.attrs["provenance"]["fetched_at"] == "2024-06-05T12:00:00+00:00"
    source.offline = False
    assert "age" not in load("2024-01-01").attrs["provenance"]


@pytest.mark.parametrize("ends", [("2023-06-01", None), ("2024-05-01", "2024-06-15"), (None, None)])
def test_offline_what_is_not_covered_says_what_is(
    load: Load, source: Source, ends: tuple[str | None, ...]
) -> None:
    load("2024-01-01")
    source.offline, source.now = True, NOON + pd.Timedelta(100, "D")
    with pytest.raises(
        Unreachable,
        match=r"could not be reached.*holds 1d bars of ACME: ask for start='2024-01-01.*end='2024-06-04",
    ):
        load(*ends)


def test_offline_with_nothing_kept_says_so(load: Load, source: Source) -> None:
    source.offline = True
    with pytest.raises(Unreachable, match="The cache holds no 1d bars of ACME"):
        load("2024-01-01")


def test_offline_with_a_hole_in_the_range_is_not_served(load: Load, source: Source) -> None:
    load("2024-01-01", "2024-02-01")
    load("2024-04-01")
    source.offline, source.now = True, NOON + pd.Timedelta(1, "D")
    with pytest.raises(Unreachable, match=r"end='2024-02-01 00:00:00', and start='2024-04-01"):
        load("2024-01-15")


def test_refresh_fetches_anew_and_forgets(load: Load, source: Source) -> None:
    load("2021-01-01", "2021-12-31")
    source.scale = 2.0
    same(
        load("2021-03-01", "2021-03-31", refresh=True),
        Source(scale=2.0).fetch(ask("2021-03-01", "2021-03-31")),
    )
    same(load("2021-03-01", "2021-04-30"), Source(scale=2.0).fetch(ask("2021-03-01", "2021-04-30")))
    source.offline = True
    with pytest.raises(Unreachable, match=r"could not be reached\.$"):
        load("2021-03-01", "2021-03-31", refresh=True)
    assert len(load("2021-03-01", "2021-03-31")) == 23  # what was kept is still there


def test_other_failures_of_the_source_come_through(load: Load, source: Source, tmp_path: Path) -> None:
    source.reach = pd.Timedelta(10, "D")
    with pytest.raises(SourceError, match="does not look back so far"):
        load("2021-01-01 00:00", "2021-02-01", interval="1h")
    assert list(tmp_path.iterdir()) == []


def test_a_range_in_the_future_is_left_to_the_source(load: Load, source: Source) -> None:
    with pytest.raises(NoBars, match="The exchange has none"):
        load("2030-01-01")


def test_a_start_too_recent_for_any_bar_is_not_remembered_as_empty(
    load: Load, source: Source, tmp_path: Path
) -> None:
    with pytest.raises(NoBars):
        load("2024-06-05")
    assert list(tmp_path.iterdir()) == []
    source.now = NOON + pd.Timedelta(10, "h")
    assert len(load("2024-06-05")) == 1


def test_bybit_offline_after_a_first_success(server: Server, closed_port: int, tmp_path: Path) -> None:
    first = int(pd.Timestamp("2024-06-01").timestamp() * 1000)
    rows = [[str(first + k * 86_400_000), "10", "11", "9", "10", "1", "10"] for k in range(5)]
    body = {"retCode": 0, "retMsg": "OK", "result": {"list": rows}, "time": int(NOON.timestamp() * 1000)}
    server.answer = lambda path, query: Reply(body)
    impatient = Patience(sleep=lambda seconds: None)
    online = partial(bybit.fetch, exchange=Exchange(server.url, patience=impatient))
    offline = partial(bybit.fetch, exchange=Exchange(f"http://127.0.0.1:{closed_port}", patience=impatient))
    request = ask("2024-06-01", ticker="BTCUSDT")
    prices = cached(request, "bybit", online, tmp_path, clock=lambda: NOON)
    assert prices.index[-1] == pd.Timestamp("2024-06-04")
    later = NOON + pd.Timedelta(2, "D")
    with pytest.warns(
        UserWarning, match=r"Bybit could not be reached for BTCUSDT.*fetched 2 days 00:00:00 ago"
    ):
        pd.testing.assert_frame_equal(
            cached(request, "bybit", offline, tmp_path, clock=lambda: later), prices
        )
    with pytest.raises(Unreachable, match=r"Bybit could not be reached.*ask for start='2024-06-01"):
        cached(ask("2023-01-01", ticker="BTCUSDT"), "bybit", offline, tmp_path, clock=lambda: later)


def test_a_split_at_yahoo_makes_the_cache_fetch_the_whole_history(
    server: Server, yfinance_at: Callable[[str], None], tmp_path: Path
) -> None:
    yfinance_at(server.url)
    sessions = [
        pd.Timestamp(day, tz="America/New_York") for day in pd.bdate_range("2024-05-01", "2024-06-04")
    ]
    scale = 1.0

    def chart(path: str, query: dict[str, str]) -> Reply:
        low, high = int(query.get("period1", 0)), int(query.get("period2", 2**40))
        stamps = [int(s.timestamp()) + 34_200 for s in sessions if low <= s.timestamp() < high]
        close = [scale * (100 + s // 86_400 % 89) for s in stamps]
        quote = dict.fromkeys(("open", "high", "low", "close"), close) | {"volume": [7] * len(stamps)}
        meta = {
            "currency": "USD",
            "instrumentType": "EQUITY",
            "exchangeTimezoneName": "America/New_York",
            "validRanges": ["max"],
        }
        result = {
            "meta": meta,
            "timestamp": stamps,
            "indicators": {"quote": [quote], "adjclose": [{"adjclose": close}]},
        }
        return Reply({"chart": {"result": [result], "error": None}})

    server.answer = chart
    fetch = partial(yahoo.fetch, clock=lambda: NOON)
    load = partial(cached, source="yahoo", fetch=fetch, folder=tmp_path, clock=lambda: NOON)
    before = load(ask("2024-05-01", "2024-05-15"))
    scale = 0.5
    after = load(ask("2024-05-01", "2024-05-31"))
    np.testing.assert_allclose(after.loc[:"2024-05-15", "close"], before["close"] / 2)
    np.testing.assert_allclose(after["close"], fetch(ask("2024-05-01", "2024-05-31"))["close"])
    assert after.attrs["provenance"]["adjusted"] == "splits and dividends"
