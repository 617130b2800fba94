import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.market.frame import (
    COLUMNS,
    PriceError,
    Request,
    clip,
    conform,
    content_sha256,
)

DAILY = {"source": "test", "ticker": "T", "interval": "1d", "adjusted": "raw"}
HOURLY = DAILY | {"interval": "1h"}


def bars(count: int = 4, **columns: list[float]) -> pd.DataFrame:
    values = {"open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0, "volume": 5.0} | columns
    return pd.DataFrame(values, index=pd.date_range("2020-01-01", periods=count))


def hours(count: int = 4, tz: str | None = "UTC") -> pd.DataFrame:
    frame = bars(count)
    frame.index = pd.date_range("2020-01-01", periods=count, freq="h", tz=tz)
    return frame


def test_a_good_frame_comes_back_as_the_contract_says() -> None:
    prices = conform(bars().astype(int)[["volume", "close", "low", "high", "open"]], DAILY)
    assert list(prices.columns) == list(COLUMNS)
    assert set(map(str, prices.dtypes)) == {"float64"}
    assert prices.index.name == "date"
    assert prices.index.dtype == "datetime64[us]"
    assert prices.index.freq is None


def test_the_provenance_is_complete_and_plain() -> None:
    told = conform(bars(), DAILY).attrs["provenance"]
    assert told | DAILY == told
    assert told["fields"] == list(COLUMNS)
    assert told["synthetic"] is False
    assert pd.Timestamp(told["fetched_at"]).tzinfo is not None
    assert told["sha256"] == content_sha256(conform(bars(), DAILY))
    assert json.loads(json.dumps(told)) == told


def test_the_callers_frame_is_left_alone() -> None:
    frame = bars()
    before = frame.copy()
    conform(frame, DAILY)
    pd.testing.assert_frame_equal(frame, before)
    assert frame.attrs == {}


@pytest.mark.parametrize(
    ("column", "value", "fault"),
    [
        ("close", np.nan, "prices not finite"),
        ("open", np.inf, "prices not finite"),
        ("low", 0.0, "prices not positive"),
        ("low", -1.0, "prices not positive"),
        ("volume", -1.0, "volumes negative"),
        ("volume", np.nan, "volumes not finite"),
        ("high", 10.9, "high below open, close or low"),
        ("low", 10.1, "low above open, close or high"),
        ("open", 12.1, "high below open, close or low"),
        ("close", 8.9, "low above open, close or high"),
    ],
)
def test_a_bad_bar_is_refused_and_quoted(column: str, value: float, fault: str) -> None:
    frame = bars()
    frame.loc["2020-01-03", column] = value
    with pytest.raises(PriceError, match=fault) as refused:
        conform(frame, DAILY)
    assert "1 of 4 rows" in str(refused.value)
    assert "2020-01-03" in str(refused.value)
    assert "2020-01-02" not in str(refused.value)


def test_of_many_bad_bars_the_first_five_are_quoted() -> None:
    with pytest.raises(PriceError, match=r"in 8 of 8 rows") as refused:
        conform(bars(8, volume=[-1.0] * 8), DAILY)
    assert "2020-01-05" in str(refused.value)
    assert "2020-01-06" not in str(refused.value)
    assert "and 3 more" in str(refused.value)


def test_a_high_may_miss_the_close_by_a_rounding_and_no_more() -> None:
    conform(bars(high=[11.0 * (1 - 0.9e-6)] * 4), DAILY)
    conform(bars(low=[10.0 * (1 + 0.9e-6)] * 4), DAILY)
    with pytest.raises(PriceError, match="high below"):
        conform(bars(high=[11.0 * (1 - 1.2e-6)] * 4), DAILY)
    with pytest.raises(PriceError, match="low above"):
        conform(bars(low=[10.0 * (1 + 1.2e-6)] * 4), DAILY)


def test_unsorted_and_repeated_dates_are_refused() -> None:
    with pytest.raises(PriceError, match=r"dates out of order in 1 of 4 rows") as refused:
        conform(bars().iloc[[0, 2, 1, 3]], DAILY)
    assert "2020-01-02" in str(refused.value)
    with pytest.raises(PriceError, match=r"duplicate dates in 2 of 4 rows"):
        conform(bars().iloc[[0, 1, 1, 2]], DAILY)


def test_columns_are_checked_by_name() -> None:
    with pytest.raises(PriceError, match=r"columns must be open, high.*Got open, high, low, close\."):
        conform(bars().drop(columns="volume"), DAILY)
    with pytest.raises(PriceError, match="Got open, high, low, close, volume, vwap"):
        conform(bars().assign(vwap=1.0), DAILY)
    twice = pd.concat([bars(), bars()[["close"]]], axis=1)
    with pytest.raises(PriceError, match="each once"):
        conform(twice, DAILY)


def test_texts_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(PriceError, match="every column must hold numbers"):
        conform(bars().astype({"close": object}).replace({"close": {11.0: "eleven"}}), DAILY)


def test_an_empty_frame_is_refused() -> None:
    with pytest.raises(PriceError, match="no bars"):
        conform(bars(0), DAILY)


def test_daily_bars_carry_no_timezone_and_no_time() -> None:
    with pytest.raises(PriceError, match="session date"):
        conform(bars().tz_localize("UTC"), DAILY)
    with pytest.raises(PriceError, match="session date"):
        conform(bars().shift(freq="h"), DAILY)


def test_intraday_bars_come_out_in_utc() -> None:
    prices = conform(hours(tz="America/New_York"), HOURLY)
    assert str(prices.index.tz) == "UTC"
    assert prices.index[0] == pd.Timestamp("2020-01-01 05:00", tz="UTC")
    with pytest.raises(PriceError, match="need a timezone"):
        conform(hours(tz=None), HOURLY)


def test_an_index_without_dates_is_refused() -> None:
    with pytest.raises(PriceError, match="index must hold dates"):
        conform(bars().reset_index(drop=True), DAILY)
    frame = bars()
    frame.index = pd.DatetimeIndex([*frame.index[:3], pd.NaT])
    with pytest.raises(PriceError, match="1 dates are missing"):
        conform(frame, DAILY)


def test_the_provenance_must_say_where_prices_come_from() -> None:
    with pytest.raises(PriceError, match="Missing: adjusted"):
        conform(bars(), {"source": "x", "ticker": "T", "interval": "1d"})
    with pytest.raises(PriceError, match="JSON"):
        conform(bars(), DAILY | {"note": pd.Timestamp("2020")})
    with pytest.raises(ValueError, match=r"interval must be one of .*Got '1day'"):
        conform(bars(), DAILY | {"interval": "1day"})


def test_unknown_fields_stay_nan_and_are_not_checked() -> None:
    closes = bars(open=[np.nan] * 4, high=[np.nan] * 4, low=[np.nan] * 4, volume=[np.nan] * 4)
    prices = conform(closes, DAILY | {"fields": ["close"]})
    assert prices["close"].tolist() == [11.0] * 4
    assert prices.drop(columns="close").isna().all(axis=None)
    with pytest.raises(PriceError, match="not finite"):
        conform(closes, DAILY)
    with pytest.raises(PriceError, match="open, high, low, volume holds numbers though"):
        conform(bars(), DAILY | {"fields": ["close"]})
    with pytest.raises(PriceError, match="must hold 'close'"):
        conform(bars(), DAILY | {"fields": ["open"]})
    with pytest.raises(PriceError, match="must hold 'close'"):
        conform(bars(), DAILY | {"fields": ["close", "vwap"]})


def panel(frame: pd.DataFrame, tickers: list[str]) -> pd.DataFrame:
    index = pd.MultiIndex.from_product([frame.index, tickers])
    return frame.loc[frame.index.repeat(len(tickers))].set_axis(index)


def test_a_panel_is_sorted_by_date_then_ticker() -> None:
    prices = conform(panel(bars(), ["A", "B"]), DAILY | {"ticker": ["A", "B"]})
    assert prices.index.names == ["date", "ticker"]
    assert prices.index[:3].tolist() == [
        (pd.Timestamp("2020-01-01"), "A"),
        (pd.Timestamp("2020-01-01"), "B"),
        (pd.Timestamp("2020-01-02"), "A"),
    ]
    with pytest.raises(PriceError, match=r"2 tickers \(test, 1d\): dates out of order in 4 of 8 rows"):
        conform(panel(bars(), ["B", "A"]), DAILY | {"ticker": ["A", "B"]})
    with pytest.raises(PriceError, match="duplicate dates in 8 of 8"):
        conform(panel(bars(), ["A", "A"]), DAILY | {"ticker": ["A", "B"]})


@given(st.integers(0, 3), st.sampled_from(COLUMNS), st.floats(1.001, 1.01))
def test_the_hash_knows_every_cell(row: int, column: str, factor: float) -> None:
    first = bars()
    second = bars()
    second.iloc[row, list(COLUMNS).index(column)] *= factor
    assert content_sha256(first) != content_sha256(second)


def test_the_hash_knows_dates_and_tickers_and_nothing_else() -> None:
    frame = bars()
    expected = content_sha256(frame)
    assert content_sha256(frame[list(COLUMNS)[::-1]]) == expected
    assert content_sha256(frame.set_axis(frame.index.as_unit("ns"))) == expected
    assert content_sha256(frame.shift(freq="D")) != expected
    assert content_sha256(frame.assign(volume=-0.0)) == content_sha256(frame.assign(volume=0.0))
    first, second = (
        conform(panel(bars(), tickers), DAILY | {"ticker": tickers}) for tickers in (["A", "B"], ["A", "C"])
    )
    assert content_sha256(first) != content_sha256(second)


def test_the_hash_is_the_same_on_every_machine() -> None:
    # of the bytes written out by hand: two dates in µs since 1970, then the columns, little-endian
    import hashlib
    import struct

    frame = bars(2)
    days = [18262 * 86400 * 10**6, 18263 * 86400 * 10**6]
    values = [10.0, 10.0, 12.0, 12.0, 9.0, 9.0, 11.0, 11.0, 5.0, 5.0]
    expected = hashlib.sha256(struct.pack("<2q10d", *days, *values)).hexdigest()
    assert content_sha256(frame) == expected


def test_both_ends_of_a_range_are_included() -> None:
    prices = conform(bars(), DAILY)
    day = pd.Timestamp("2020-01-02")
    assert len(clip(prices, Request("T", day, day))) == 1
    assert len(clip(prices, Request("T", day, None))) == 3
    assert len(clip(prices, Request("T", None, day))) == 2


def test_the_provenance_of_a_range_has_the_hash_of_its_bars() -> None:
    prices = conform(bars(), DAILY)
    part = clip(prices, Request("T", None, pd.Timestamp("2020-01-02")))
    assert part.attrs["provenance"]["sha256"] == content_sha256(part)
    assert part.attrs["provenance"]["sha256"] != prices.attrs["provenance"]["sha256"]


def test_an_empty_range_is_refused_with_the_range_there_is() -> None:
    with pytest.raises(PriceError, match=r"no bars between 2021-01-01.*from 2020-01-01.*to 2020-01-04"):
        clip(conform(bars(), DAILY), Request("T", pd.Timestamp("2021-01-01"), None))
