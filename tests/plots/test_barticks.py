"""Where bars are labelled, and how."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from workbench.plots.barticks import DateLocator, label_bars, lags

FREQUENCIES = ["min", "15min", "h", "B", "W", "MS", "YS"]


def labelled(labels, count, width=9.0):
    """Tick labels of an axis of bars, by position."""
    _, ax = plt.subplots(figsize=(width, 3))
    ax.set_xlim(-0.5, count - 0.5)
    label_bars(ax.xaxis, labels, count)
    positions = ax.xaxis.get_majorticklocs()
    texts = ax.xaxis.get_major_formatter().format_ticks(positions)
    return dict(zip([int(position) for position in positions], texts, strict=True))


def test_months_are_named_at_their_first_sessions_and_the_year_where_it_changes():
    dates = pd.bdate_range("2010-11-15", "2011-03-04")  # 12 + 23 + 21 + 20 + 4 sessions
    assert labelled(dates, len(dates), width=5.0) == {12: "Dec\n2010", 35: "Jan\n2011", 56: "Feb", 76: "Mar"}


def test_a_few_bars_are_all_dated():
    dates = pd.DatetimeIndex(["2011-07-28", "2011-07-29", "2011-08-01"])
    assert labelled(dates, 3) == {0: "28\nJul 2011", 1: "29", 2: "01\nAug 2011"}


def test_hours_of_a_zone_are_written_in_that_zone():
    dates = pd.date_range("2024-03-01 22:00", periods=4, freq="h", tz="UTC")
    assert labelled(dates, 4) == {0: "22:00\n01 Mar\n2024", 1: "23:00", 2: "00:00\n02 Mar\n2024", 3: "01:00"}


def test_without_dates_bars_are_counted_back_from_the_decision():
    assert labelled(None, 60, width=9.0)[59] == "t−0"
    assert labelled(None, 60)[49] == "t−10"
    assert list(lags(3)) == ["t−2", "t−1", "t−0"]


def test_positions_outside_the_bars_have_no_label():
    _, ax = plt.subplots()
    label_bars(ax.xaxis, None, 3)
    assert ax.xaxis.get_major_formatter().format_ticks([-1, 0, 3]) == ["", "t−2", ""]


def test_the_axis_says_what_its_bars_are():
    _, ax = plt.subplots()
    for labels, name, said in [
        (None, "", "Bar (t: the decision)"),
        (None, "Key", "Key (t: the decision)"),
        (pd.bdate_range("2011", periods=3), "", "Date"),
        (pd.bdate_range("2011", periods=3), "Key", "Key (date)"),
        (pd.date_range("2011", periods=3, tz="UTC"), "", "Time (UTC)"),
    ]:
        label_bars(ax.xaxis, labels, 3, name)
        assert ax.get_xlabel() == said


@given(
    count=st.integers(1, 3000),
    frequency=st.sampled_from(FREQUENCIES),
    day=st.integers(0, 8000),
    zone=st.sampled_from([None, "UTC"]),
)
def test_labels_fit_and_name_their_dates(count, frequency, day, zone):
    count = min(count, 60) if frequency == "YS" else count
    dates = pd.date_range(
        pd.Timestamp("1995-01-03") + pd.Timedelta(days=day), periods=count, freq=frequency, tz=zone
    )
    locator = DateLocator(dates)
    positions = np.array(locator.tick_values(-0.5, count - 0.5)).astype(int)
    assert 1 <= len(positions) <= locator.room
    assert (np.diff(positions) > 0).all()
    assert positions[0] >= 0
    assert positions[-1] < count
    coarse = ""
    for text, date in zip(locator.texts(positions), dates[positions], strict=True):
        fine, *news = text.split("\n")
        coarse = " ".join(news) or coarse
        written = f"{fine} {coarse}".strip()
        forms = ["%Y", "%b %Y", "%d %b %Y", "%H:%M %d %b %Y"]
        assert written in [date.strftime(form) for form in forms]
    assert len(set(locator.texts(positions))) > 1 or len(positions) == 1
