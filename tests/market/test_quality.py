import numpy as np
import pandas as pd
import pytest

from workbench.market.frame import COLUMNS, PriceError, conform
from workbench.market.quality import check_prices

DAILY = {"source": "test", "ticker": "T", "interval": "1d", "adjusted": "raw", "calendar": "weekdays"}


def market(closes: list[float] | np.ndarray, calendar: str | None = "weekdays") -> pd.DataFrame:
    close = np.asarray(closes, dtype=float)
    index = pd.bdate_range("2020-01-01", periods=len(close))
    opening = np.concatenate([close[:1], close[:-1]])
    columns = {
        "open": opening,
        "high": np.maximum(opening, close),
        "low": np.minimum(opening, close),
        "close": close,
        "volume": np.full(len(close), 7.0),
    }
    return conform(pd.DataFrame(columns, index=index), DAILY | {"calendar": calendar})


def noisy(bars: int = 300, seed: int = 0) -> np.ndarray:
    return 100 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 0.01, bars)))


def counts(prices: pd.DataFrame) -> dict[str, str]:
    return check_prices(prices).table["found"].to_dict()


def test_good_prices_pass_every_check() -> None:
    report = check_prices(market(noisy()))
    assert report.ok
    assert set(report.table["verdict"]) == {"ok"}
    assert report.rows.empty
    assert list(report.rows.columns) == ["ticker", "check", "value"]


def test_the_report_prints_as_a_small_table() -> None:
    prices = market(noisy())
    prices.iloc[5, list(COLUMNS).index("volume")] = 0.0
    text = str(check_prices(prices))
    assert text.splitlines()[0] == "T · test · 1d · 300 bars, 2020-01-01 to 2021-02-23 · adjusted: raw"
    assert "zero volume                    1      flagged" in text
    assert len(text.splitlines()) == 16
    assert max(map(len, text.splitlines())) < 90


def test_the_report_is_a_table_in_a_notebook_and_escapes_what_it_shows() -> None:
    prices = market(noisy())
    prices.attrs["provenance"]["ticker"] = "<b>T</b>"
    shown = check_prices(prices)._repr_html_()
    assert "&lt;b&gt;T" in shown
    assert "<b>T" not in shown
    assert "<table" in shown


def test_zero_volume_and_repeated_closes_are_counted() -> None:
    closes = noisy()
    closes[10] = closes[11] = closes[9]
    prices = market(closes)
    prices.loc[prices.index[20:23], "volume"] = 0.0
    report = check_prices(prices)
    assert report.flagged("zero volume").index.tolist() == prices.index[20:23].tolist()
    repeated = report.flagged("repeated closes")
    assert repeated.index.tolist() == prices.index[10:12].tolist()
    assert repeated["value"].tolist() == [closes[9], closes[9]]
    assert report.ok, "flagged rows are no breach"


def test_missing_and_unexpected_bars_are_found() -> None:
    prices = market(noisy())
    report = check_prices(prices.drop(prices.index[[4, 7]]))
    assert report.flagged("missing bars").index.tolist() == prices.index[[4, 7]].tolist()
    saturday = prices.set_axis([*prices.index[:-1], pd.Timestamp("2021-02-27")]).rename_axis("date")
    assert check_prices(saturday).flagged("unexpected bars").index.tolist() == [pd.Timestamp("2021-02-27")]


def test_without_a_calendar_gaps_are_not_checked_and_it_says_so() -> None:
    table = check_prices(market(noisy(), calendar=None)).table
    assert table.loc["missing bars"].tolist() == ["–", "not checked", "no calendar known"]


def test_bad_prices_are_reported_and_not_raised() -> None:
    prices = market(noisy())
    bad = prices.iloc[[0, 2, 1, *range(3, 300), 299]].copy()
    bad.attrs = prices.attrs
    for row, (column, value) in enumerate(
        [("close", np.nan), ("low", -1.0), ("high", 1.0), ("low", 1e6), ("volume", -1.0)], start=50
    ):
        bad.iloc[row, list(COLUMNS).index(column)] = value
    report = check_prices(bad)
    assert not report.ok
    found = report.table["found"].to_dict()
    assert found["duplicate dates"] == "2"
    assert found["dates out of order"] == "1"
    assert found["prices not finite"] == "1"
    assert found["prices not positive"] == "1"
    assert found["high below open, close or low"] == "2"
    assert found["low above open, close or high"] == "2"
    assert found["volumes negative"] == "1"
    assert report.flagged("volumes negative").index.tolist() == [bad.index[54]]


def test_a_frame_without_provenance_is_checked_by_what_it_holds() -> None:
    closes = pd.DataFrame({"close": noisy()}, index=pd.bdate_range("2020-01-01", periods=300))
    table = check_prices(closes).table
    assert table.loc["zero volume", "verdict"] == "not checked"
    assert table.loc["prices not finite", "verdict"] == "ok"
    with pytest.raises(PriceError, match="a column close"):
        check_prices(closes.rename(columns={"close": "last"}))


def test_a_panels_counts_are_sums_over_tickers() -> None:
    first, second = market(noisy()), market(noisy(seed=1))
    first.loc[first.index[3], "volume"] = 0.0
    second.loc[second.index[[5, 6]], "volume"] = 0.0
    panel = pd.concat({"A": first, "B": second}, names=["ticker", "date"]).swaplevel().sort_index()
    panel = conform(panel, DAILY | {"ticker": ["A", "B"]})
    report = check_prices(panel)
    zero = report.flagged("zero volume")
    assert zero["ticker"].tolist() == ["A", "B", "B"]
    assert zero.index.tolist() == [first.index[3], *second.index[[5, 6]]]
    assert report.table.loc["repeated closes", "found"] == "0", "the last close of A is not before B's first"


def test_an_unknown_check_is_refused_with_the_list() -> None:
    with pytest.raises(KeyError, match="zero volume"):
        check_prices(market(noisy())).flagged("zero")


def test_a_crash_is_flagged_and_stays() -> None:
    closes = noisy()
    closes[100:] *= 0.48
    prices = market(closes)
    before = prices.copy()
    report = check_prices(prices)
    assert report.flagged("extreme moves").index.tolist() == [prices.index[100]]
    assert report.flagged("extreme moves")["value"].iloc[0] == pytest.approx(np.log(closes[100] / closes[99]))
    pd.testing.assert_frame_equal(prices, before)


def test_closes_that_hardly_move_have_no_extremes() -> None:
    closes = np.full(50, 10.0)
    closes[20:] = 11.0
    assert check_prices(market(closes)).table.loc["extreme moves"].tolist() == [
        "–",
        "not checked",
        "most closes repeat",
    ]
