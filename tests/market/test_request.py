import pandas as pd
import pytest

from workbench.market.frame import Request, bar_seconds, is_intraday


def test_a_request_takes_dates_as_the_interval_wants_them() -> None:
    daily = Request("T", pd.Timestamp("2020-01-02 15:00"), None)
    assert daily.start == pd.Timestamp("2020-01-02")
    with pytest.raises(ValueError, match="start must be a plain session date"):
        Request("T", pd.Timestamp("2020-01-02", tz="UTC"), None)
    hourly = Request("T", pd.Timestamp("2020-01-01"), pd.Timestamp("2020-01-02", tz="Asia/Tokyo"), "1h")
    assert hourly.start == pd.Timestamp("2020-01-01", tz="UTC")
    assert hourly.end == pd.Timestamp("2020-01-01 15:00", tz="UTC")


def test_a_request_must_run_forwards() -> None:
    with pytest.raises(ValueError, match="start must not be after end"):
        Request("T", pd.Timestamp("2020-01-03"), pd.Timestamp("2020-01-02"))
    with pytest.raises(ValueError, match="interval must be one of"):
        Request("T", None, None, "2d")


def test_lengths_of_bars() -> None:
    assert [bar_seconds(i) for i in ("1m", "4h", "1d", "1wk")] == [60, 14_400, 86_400, 604_800]
    assert bar_seconds("1mo") * 12 == pytest.approx(365.2425 * 86_400, abs=12)
    assert is_intraday("12h")
    assert not is_intraday("1d")
