import numpy as np
import pandas as pd
import pytest

from workbench.market.frame import PriceError
from workbench.market.loading import load_prices
from workbench.market.qlib import load_qlib, qlib_membership, to_qlib

DAYS = ["2020-01-02", "2020-01-03", "2020-01-06", "2020-01-07", "2020-01-08"]
FIELDS = ("open", "high", "low", "close", "volume")
A = {  # from the second day on; suspended on the fourth
    "open": [10.5, 11.0, np.nan, 9.0],
    "high": [12.0, 12.5, np.nan, 9.5],
    "low": [10.0, 10.5, np.nan, 8.5],
    "close": [11.0, 12.0, np.nan, 9.25],
    "volume": [100.0, 250.0, 0.0, 80.0],
    "factor": [0.5, 0.5, 0.5, 0.5],
    "vwap": [10.75, 11.5, np.nan, 9.125],
}
B = {name: [20.0, 20.0, 20.0] for name in FIELDS} | {"factor": [1.0] * 3, "vwap": [20.0] * 3}


def write(file, start, values):
    """A field as qlib dumps it: float32, the first the place in the calendar."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(np.array([start, *values], dtype="<f4").tobytes())


@pytest.fixture
def folder(tmp_path):
    for name in ("calendars", "instruments"):
        (tmp_path / name).mkdir()
    (tmp_path / "calendars" / "day.txt").write_text("\n".join(DAYS) + "\n")
    spans = "AA\t2020-01-03\t2020-01-08\nBB\t2020-01-02\t2020-01-06\n"
    (tmp_path / "instruments" / "all.txt").write_text(spans)
    (tmp_path / "instruments" / "csi300.txt").write_text(
        "BB\t2020-01-02\t2020-01-03\nBB\t2020-01-06\t2020-01-06\n"
    )
    for name, start, fields in (("aa", 1, A), ("bb", 0, B)):
        for field, values in fields.items():
            write(tmp_path / "features" / name / f"{field}.day.bin", start, values)
    return tmp_path


def test_a_folder_written_by_hand_is_read_bar_by_bar(folder):
    prices = load_qlib(folder)
    rows = [(f"{date:%Y-%m-%d}", ticker) for date, ticker in prices.index]
    assert rows == [
        *[("2020-01-02", "BB"), ("2020-01-03", "AA"), ("2020-01-03", "BB"), ("2020-01-06", "AA")],
        *[("2020-01-06", "BB"), ("2020-01-08", "AA")],  # AA did not trade on the 7th
    ]
    assert list(prices.columns) == list(FIELDS)
    assert prices.loc[("2020-01-06", "AA")].tolist() == [11.0, 12.5, 10.5, 12.0, 250.0]
    assert prices.loc[("2020-01-08", "AA"), "close"] == 9.25
    assert (prices.dtypes == "float64").all()


def test_the_provenance_says_where_they_come_from(folder):
    told = load_qlib(folder).attrs["provenance"]
    assert told["source"] == "qlib"
    assert told["ticker"] == ["AA", "BB"]
    assert told["interval"] == "1d"
    assert told["adjusted"] == "by the folder's factor"
    assert told["fields"] == list(FIELDS)
    assert told["folder"] == folder.name
    assert len(told["sha256"]) == 64
    (folder / "features" / "bb" / "factor.day.bin").unlink()
    assert "tells no factor" in load_qlib(folder).attrs["provenance"]["adjusted"]


def test_some_instruments_a_market_and_a_range(folder):
    assert set(load_qlib(folder, ["aa"]).index.get_level_values("ticker")) == {"AA"}
    assert set(load_qlib(folder, "csi300").index.get_level_values("ticker")) == {"BB"}
    some = load_qlib(folder, start="2020-01-03", end="2020-01-06")
    assert some.index.get_level_values("date").strftime("%d").tolist() == ["03", "03", "06", "06"]
    assert len(load_qlib(folder, end="2020")) == 6
    assert some.attrs["provenance"]["sha256"] != load_qlib(folder).attrs["provenance"]["sha256"]


def test_membership_is_dated(folder):
    found = qlib_membership(folder, "csi300")
    assert found["ticker"].tolist() == ["BB", "BB"]
    assert found["concept"].tolist() == ["csi300", "csi300"]
    assert found["since"].dt.strftime("%m-%d").tolist() == ["01-02", "01-06"]
    assert found["until"].dt.strftime("%m-%d").tolist() == ["01-04", "01-07"]


def test_further_fields_stand_beside_the_contract(folder):
    prices = load_qlib(folder, extra=["vwap"])
    assert list(prices.columns) == [*FIELDS, "vwap"]
    assert prices["vwap"].xs("AA", level="ticker").tolist() == [10.75, 11.5, 9.125]
    assert prices.attrs["provenance"]["sha256"] == load_qlib(folder).attrs["provenance"]["sha256"]


def test_fields_that_nobody_has_are_unknown(folder):
    for name in ("aa", "bb"):
        (folder / "features" / name / "open.day.bin").unlink()
    prices = load_qlib(folder)
    assert prices["open"].isna().all()
    assert prices.attrs["provenance"]["fields"] == ["high", "low", "close", "volume"]


def test_a_folder_written_from_real_prices_comes_back(tmp_path):
    prices = load_prices("AAPL", start="2012")
    (tmp_path / "calendars").mkdir()
    (tmp_path / "calendars" / "day.txt").write_text("\n".join(prices.index.strftime("%Y-%m-%d")))
    for field in FIELDS:
        write(tmp_path / "features" / "AAPL" / f"{field}.day.bin", 0, prices[field])
    found = load_qlib(tmp_path, ["AAPL"]).xs("AAPL", level="ticker")
    assert found.index.equals(prices.index)
    np.testing.assert_array_equal(found, prices.astype("float32").astype("float64"))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", r"It has 0 bytes: dump it"),
        (np.array([1, 2, 3], "<f4").tobytes() + b"x", r"13 bytes and begins with 1"),
        (np.array([-1, 2, 3], "<f4").tobytes(), "begins with -1"),
        (np.array([0.5, 2, 3], "<f4").tobytes(), "begins with 0.5"),
        (np.array([np.nan, 2], "<f4").tobytes(), "begins with nan"),
        (np.array([3, 2, 2, 2], "<f4").tobytes(), "calendar of 5 days.* begins with 3"),
        (np.array([1, 2, 3], ">f4").tobytes(), "damaged, or of another calendar"),
    ],
)
def test_a_damaged_file_is_named(folder, content, told):
    file = folder / "features" / "aa" / "close.day.bin"
    file.write_bytes(content)
    with pytest.raises(PriceError, match=told) as caught:
        load_qlib(folder)
    assert str(file) in str(caught.value)


def test_what_is_not_there_is_named_with_what_is(folder, tmp_path):
    with pytest.raises(PriceError, match=r"no qlib folder of daily data: there is no calendars/day.txt"):
        load_qlib(tmp_path / "nowhere", ["AA"])
    with pytest.raises(PriceError, match=r"markets here: all, csi300. Did you mean 'csi300'"):
        load_qlib(folder, "csi3000")
    with pytest.raises(PriceError, match=r"aaa.close.day.bin is not there. Did you mean 'AA'\?"):
        load_qlib(folder, ["AAA"])
    with pytest.raises(PriceError, match=r"at least one, or a market"):
        load_qlib(folder, [])
    with pytest.raises(PriceError, match=r"amount.day.bin is not there"):
        load_qlib(folder, extra=["amount"])
    (folder / "features" / "bb" / "volume.day.bin").unlink()
    with pytest.raises(PriceError, match=r"bb.volume.day.bin is not there. Leave BB out, or complete"):
        load_qlib(folder)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("2020-01-03\n2020-01-02\n", "each trading day once, from old to new"),
        ("2020-01-03\n2020-01-03\n", "each trading day once"),
        ("", "each trading day once"),
        ("03/01/2020\n", "must hold dates such as 2008-01-31"),
    ],
)
def test_a_broken_calendar_is_refused(folder, text, told):
    (folder / "calendars" / "day.txt").write_text(text)
    with pytest.raises(PriceError, match=told):
        load_qlib(folder)


def test_a_broken_list_of_instruments_is_refused(folder):
    for text, told in (("AA 2020-01-03\n", r"separated by tabs. Got \['AA 2020-01-03'\]"), ("", "no line")):
        (folder / "instruments" / "all.txt").write_text(text)
        with pytest.raises(PriceError, match=told):
            load_qlib(folder)


def test_prices_that_break_the_contract_are_refused(folder):
    write(folder / "features" / "aa" / "high.day.bin", 1, [1.0, 12.5, np.nan, 9.5])
    with pytest.raises(PriceError, match=r"2 tickers \(qlib, 1d\): high below open, close or low in 1 of 6"):
        load_qlib(folder)


def frame(columns, index, **attrs):
    made = pd.DataFrame(columns, index=index)
    made.attrs = attrs
    return made


def test_a_forecast_of_a_panel_is_a_score_by_date_and_instrument():
    days = pd.DatetimeIndex(["2020-01-02", "2020-01-03"])
    index = pd.MultiIndex.from_product([days, ["AA", "BB"]], names=["date", "ticker"])
    score = to_qlib(frame({"forecast": [0.1, -0.2, 0.3, 0.0]}, index))
    assert isinstance(score, pd.Series)
    assert score.name == "score"
    assert score.index.names == ["datetime", "instrument"]
    assert score.loc[("2020-01-03", "AA")] == 0.3
    assert score.to_numpy().tolist() == [0.1, -0.2, 0.3, 0.0]


def test_classes_are_ranked_by_how_far_buy_is_above_sell():
    days = pd.DatetimeIndex(["2020-01-02", "2020-01-03"], name="date")
    made = frame(
        {"sell": [0.25, 0.5], "hold": [0.25, 0.25], "buy": [0.5, 0.25]}, days, provenance={"ticker": "AA"}
    )
    assert to_qlib(made).tolist() == [0.25, -0.25]
    assert to_qlib(made, "hold").tolist() == [0.25, 0.25]
    assert to_qlib(made).index.get_level_values("instrument").tolist() == ["AA", "AA"]
    with pytest.raises(ValueError, match=r"column must be one of sell, hold, buy. Got 'up'"):
        to_qlib(made, "up")
    with pytest.raises(ValueError, match=r"column must be one of up. Got 'forecast'"):
        to_qlib(frame({"up": [0.5, 0.5]}, days, provenance={"ticker": "AA"}))
    with pytest.raises(ValueError, match=r"must name it in attrs\['provenance'\]\['ticker'\]. Got None"):
        to_qlib(frame(made.to_dict("list"), days))
