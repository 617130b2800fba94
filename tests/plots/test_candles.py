"""Prices, volume and quality marks as drawn, against the frame."""

from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_hex

from workbench import plots


def boxes(collection):
    """Corners of every bar: left, right, bottom, top."""
    corners = np.array([path.vertices[:4] for path in collection.get_paths()])
    return np.stack(
        [corners[..., 0].min(1), corners[..., 0].max(1), corners[..., 1].min(1), corners[..., 1].max(1)],
        axis=1,
    )


def of_type(ax, kind):
    return next(drawn for drawn in ax.collections if isinstance(drawn, kind))


def test_a_candle_spans_open_to_close_and_its_wick_low_to_high(walk):
    frame = walk(20)
    price = plots.prices(frame)["price"]
    bodies = boxes(of_type(price, PolyCollection))
    np.testing.assert_allclose(bodies[:, 2], frame[["open", "close"]].min(axis=1))
    np.testing.assert_allclose(bodies[:, 3], frame[["open", "close"]].max(axis=1))
    np.testing.assert_allclose(bodies[:, :2].mean(axis=1), np.arange(20))
    wicks = np.array(of_type(price, LineCollection).get_segments())
    np.testing.assert_allclose(wicks[:, :, 1], frame[["low", "high"]])


def test_rising_candles_are_blue_and_falling_ones_vermilion(walk):
    frame = walk(20)
    colours = of_type(plots.prices(frame)["price"], PolyCollection).get_facecolor()
    rose = frame["close"] >= frame["open"]
    expected = np.where(rose, "#0072b2", "#d55e00")
    assert 0 < rose.sum() < 20
    assert [to_hex(colour) for colour in colours] == list(expected)


def test_a_bar_with_a_hole_is_left_out_and_the_others_keep_their_place(walk):
    frame = walk(10)
    frame.iloc[3, :4] = np.nan
    bodies = boxes(of_type(plots.prices(frame)["price"], PolyCollection))
    np.testing.assert_allclose(bodies[:, :2].mean(axis=1), [0, 1, 2, 4, 5, 6, 7, 8, 9])


def test_more_than_150_bars_are_a_line_of_closes(walk):
    frame = walk(151)
    price = plots.prices(frame)["price"]
    np.testing.assert_array_equal(price.lines[0].get_ydata(), frame["close"])
    assert not any(isinstance(drawn, LineCollection) for drawn in price.collections)


def test_closes_alone_are_a_line_without_a_volume_panel(walk):
    frame = walk(30)
    frame[["open", "high", "low", "volume"]] = np.nan
    panels = plots.prices(frame)
    assert list(panels) == ["price"]
    np.testing.assert_array_equal(panels["price"].lines[0].get_ydata(), frame["close"])


def test_volume_bars_are_as_high_as_the_volume(walk):
    frame = walk(25)
    drawn = boxes(plots.prices(frame)["volume"].collections[0])
    np.testing.assert_allclose(drawn[:, 3] - drawn[:, 2], frame["volume"])


def test_thousands_of_bars_are_a_handful_of_artists(walk):
    panels = plots.prices(walk(5000))
    artists = sum(len(ax.patches) + len(ax.collections) + len(ax.lines) for ax in panels.values())
    assert artists <= 4  # one artist a bar would take seconds to draw


def test_the_title_says_ticker_interval_and_adjustment(walk):
    title = plots.prices(walk(30))["price"].get_title(loc="left")
    assert "AAPL, 1d bars, adjusted for splits and dividends" in title
    assert "01 Mar 2011 to 11 Apr 2011, 30 bars" in title
    assert "SYNTHETIC" not in title


def test_made_up_prices_are_called_synthetic(walk):
    frame = walk(30, ticker="LAG5", adjusted="synthetic", synthetic=True)
    assert plots.prices(frame)["price"].get_title(loc="left").startswith("SYNTHETIC · LAG5")


def test_prices_without_provenance_say_so(walk):
    frame = walk(30)
    frame.attrs = {}
    panels = plots.prices(frame)
    assert "of unknown origin" in panels["price"].get_title(loc="left")
    assert panels["price"].get_ylabel() == "Price [as quoted]"


def test_axes_carry_units(walk):
    panels = plots.prices(walk(30))
    assert panels["price"].get_ylabel() == "Price [USD]"
    assert panels["volume"].get_ylabel() == "Volume [units]"
    assert panels["volume"].get_xlabel() == "Date"


def test_hourly_bars_name_their_timezone(walk):
    frame = walk(30, interval="1h")
    frame.index = pd.date_range("2024-03-01", periods=30, freq="h", tz="UTC", name="date")
    assert plots.prices(frame)["volume"].get_xlabel() == "Time (UTC)"


def test_flagged_rows_are_marked_at_their_bars_and_missing_ones_between(walk):
    frame = walk(30)
    flagged = frame.index[[4, 9]].append(pd.DatetimeIndex([frame.index[12] - pd.Timedelta("1h")]))
    rows = pd.DataFrame(
        {"ticker": "AAPL", "check": ["zero volume", "zero volume", "missing bars"]}, index=flagged
    )
    strip = plots.prices(frame, SimpleNamespace(rows=rows))["quality"]
    marks = [list(np.array(line.get_segments())[:, 0, 0]) for line in strip.collections]
    assert marks == [[4, 9], [11.5]]
    heights = [np.array(line.get_segments())[:, :, 1].mean() for line in strip.collections]
    assert heights == list(strip.get_yticks()) == [0, 1]
    assert [label.get_text() for label in strip.get_yticklabels()] == ["2 × zero volume", "1 × missing bars"]


def test_a_single_flag_is_within_its_strip(walk):
    frame = walk(30)
    rows = pd.DataFrame({"ticker": "AAPL", "check": "zero volume"}, index=frame.index[[4]])
    panels = plots.prices(frame, SimpleNamespace(rows=rows))
    low, high = sorted(panels["quality"].get_ylim())
    (mark,) = panels["quality"].collections[0].get_segments()
    assert low < mark[:, 1].min() < mark[:, 1].max() < high
    assert panels["price"].get_title(loc="left").endswith("1 flag")


def test_flags_of_another_ticker_or_range_are_not_drawn(walk):
    frame = walk(30)
    rows = pd.DataFrame(
        {"ticker": ["MSFT", "AAPL"], "check": "zero volume"},
        index=[frame.index[3], frame.index[-1] + pd.Timedelta("1D")],
    )
    panels = plots.prices(frame, SimpleNamespace(rows=rows))
    assert "quality" not in panels
    assert "no flags" in panels["price"].get_title(loc="left")


def test_a_report_without_rows_says_that_no_bar_is_flagged(walk):
    rows = pd.DataFrame({"ticker": [], "check": []}, index=pd.DatetimeIndex([]))
    panels = plots.prices(walk(30), SimpleNamespace(rows=rows))
    assert "no flags" in panels["price"].get_title(loc="left")


def test_a_panel_is_refused_with_the_repair(walk):
    panel = pd.concat({"AAPL": walk(5), "MSFT": walk(5)}, names=["ticker"]).swaplevel().sort_index()
    with pytest.raises(
        ValueError, match=r"panel of 2\. Take one, e\.g\. prices\.xs\('AAPL', level='ticker'\)"
    ):
        plots.prices(panel)


@pytest.mark.parametrize("spoil", [lambda f: f.iloc[:0], lambda f: f[["open"]], lambda f: f.reset_index()])
def test_what_is_no_price_frame_is_refused(walk, spoil):
    with pytest.raises(ValueError, match="index of dates, a column 'close' and at least one bar"):
        plots.prices(spoil(walk(5)))


def test_the_given_axes_become_the_price_panel_and_keep_their_place(walk):
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4), layout="constrained")
    before = [ax.get_position().bounds for ax in (left, right)]
    panels = plots.prices(walk(30), ax=left)
    assert panels["price"] is left
    assert panels["volume"].figure is figure
    assert panels["volume"].get_position().x1 == pytest.approx(before[0][0] + before[0][2])
    assert right.get_position().bounds == pytest.approx(before[1])


@pytest.mark.parametrize(("count", "background"), [(1, "light"), (5, "dark"), (60, "light"), (700, "dark")])
def test_texts_can_be_read(walk, readable, count, background):
    frame = walk(
        count, ticker="/home/someone/data/a/long/path/to/1000PEPEUSDT-LINEAR-PERPETUAL.csv", synthetic=True
    )
    checks = ["high below open, close or low", "extreme moves", "zero volume"]
    rows = pd.DataFrame({"ticker": "", "check": checks}, index=frame.index[[0] * 3])
    with plots.theme(background):
        readable(plots.prices(frame, SimpleNamespace(rows=rows))["price"].figure)
