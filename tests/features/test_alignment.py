import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.features.alignment import label_bars, label_recipe, stack_bars, window_ends
from workbench.features.indicators import make_features
from workbench.features.labels import label_moves
from workbench.features.windows import Windows

DATES = pd.bdate_range("2000-01-03", periods=8, name="date")


def frame(index=DATES, **columns) -> pd.DataFrame:
    return pd.DataFrame(columns or {"a": np.arange(len(index), dtype=float)}, index=index)


def series(values, index=DATES, horizon=1, task="regression", classes=()) -> pd.Series:
    labels = pd.Series(values, index=index, dtype=float)
    labels.attrs = {"task": task, "horizon": horizon, "classes": list(classes)}
    return labels


def test_a_panel_is_stacked_one_ticker_after_the_other():
    index = pd.MultiIndex.from_product([DATES[:3], ["B", "A"]], names=["date", "ticker"]).sort_values()
    bars = stack_bars(frame(index, a=[1.0, 10.0, 2.0, 20.0, 3.0, 30.0]))
    assert bars.table[:, 0].tolist() == [1, 2, 3, 10, 20, 30]
    assert bars.tickers.tolist() == ["A"] * 3 + ["B"] * 3
    assert bars.dates.tolist() == [*DATES[:3], *DATES[:3]]


@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=3),
    lookback=st.integers(1, 6),
    data=st.data(),
)
def test_windows_end_where_a_loop_finds_whole_runs_of_one_ticker(lengths, lookback, data):
    dates = pd.bdate_range("2000-01-03", periods=12, name="date")
    index = pd.MultiIndex.from_tuples(
        [(day, str(k)) for k, n in enumerate(lengths) for day in dates[:n]], names=["date", "ticker"]
    ).sort_values()
    values = np.array([data.draw(st.sampled_from([1.0, 1.0, np.nan])) for _ in index])
    values[0] = 1.0
    bars = stack_bars(frame(index, a=values))
    wanted = np.array([data.draw(st.booleans()) for _ in index])
    expected = [
        (bars.dates[end], bars.tickers[end], end)
        for end in range(len(index))
        if end + 1 >= lookback
        and wanted[end]
        and len(set(bars.tickers[end + 1 - lookback : end + 1])) == 1
        and not np.isnan(bars.table[end + 1 - lookback : end + 1]).any()
    ]
    if expected:
        assert window_ends(bars, lookback, wanted).tolist() == [end for *_, end in sorted(expected)]
    else:
        with pytest.raises(ValueError, match=r"bars is complete|needs at least that many"):
            window_ends(bars, lookback, wanted)


def test_a_label_ends_on_the_ticker_s_own_later_bar():
    index = pd.MultiIndex.from_tuples(
        [(day, ticker) for day in DATES[:4] for ticker in "AB" if (day, ticker) != (DATES[1], "B")],
        names=["date", "ticker"],
    )
    bars = stack_bars(frame(index, a=np.ones(7)))
    known = label_bars(bars, series(np.arange(7.0), index, horizon=2), 2)
    assert known.ends[:2].tolist() == [DATES[2], DATES[3]]  # A trades every day
    assert known.ends[4] == DATES[3]  # B does not trade on the second: two bars later is the fourth
    assert known.ends.isna().tolist() == [False, False, True, True, False, True, True]
    assert np.isnan(known.y).tolist() == known.ends.isna().tolist()


def test_a_lookback_longer_than_the_history_is_refused():
    with pytest.raises(ValueError, match=r"window of 9 bars needs at least that many. Got at most 8 bars"):
        Windows.of(frame(), series(np.zeros(8)), 9)
    with pytest.raises(ValueError, match=r"lookback must be at least 1 bar. Got 0"):
        Windows.of(frame(), series(np.zeros(8)), 0)


def test_columns_that_are_nan_throughout_are_named():
    features = frame(a=np.ones(8), log_volume=np.full(8, np.nan), gap=np.full(8, np.nan))
    with pytest.raises(ValueError, match=r"features \['log_volume', 'gap'\] are NaN throughout.*drop them"):
        Windows.of(features, series(np.zeros(8)), 2)


def test_too_many_gaps_for_any_window_are_counted():
    features = frame(a=[1, np.nan] * 4)
    with pytest.raises(ValueError, match=r"No window of 2 bars is complete: 4 of 8 bars hold a NaN"):
        Windows.of(features, series(np.zeros(8)), 2)


def test_values_that_are_not_finite_numbers_are_refused():
    with pytest.raises(ValueError, match=r"'a' is infinite at 2000-01-04 00:00:00 \(2 such values\)"):
        Windows.of(frame(a=[1, np.inf, 1, 1, -np.inf, 1, 1, 1]), series(np.zeros(8)), 2)
    with pytest.raises(ValueError, match=r"'a' is infinite"):  # float64's range is larger than float32's
        Windows.of(frame(a=[1, 1e39, 1, 1, 1, 1, 1, 1]), series(np.zeros(8)), 2)
    with pytest.raises(TypeError, match=r"Columns \['sector'\] are not: encode or drop"):
        Windows.of(frame(a=np.ones(8), sector=["tech"] * 8), series(np.zeros(8)), 2)


def test_frames_without_rows_or_with_doubled_columns_are_refused():
    with pytest.raises(ValueError, match=r"features are empty: 0 bars × 1 columns"):
        Windows.of(frame().iloc[:0], series(np.zeros(8)), 2)
    doubled = pd.concat([frame(), frame()], axis=1)
    with pytest.raises(ValueError, match=r"one column a name. Repeated: \['a'\]"):
        Windows.of(doubled, series(np.zeros(8)), 2)


def test_rows_that_are_not_dated_are_refused():
    with pytest.raises(TypeError, match=r"features: rows must be dated by a DatetimeIndex. Got RangeIndex"):
        Windows.of(frame().reset_index(drop=True), series(np.zeros(8)), 2)
    with pytest.raises(TypeError, match=r"labels: rows must be dated"):
        Windows.of(frame(), series(np.zeros(8), index=range(8)), 2)


def test_indexes_that_do_not_fit_are_refused_with_both_spans(make_panel):
    other = pd.bdate_range("2000-01-05", periods=8, name="date")
    with pytest.raises(ValueError, match=r"features with 8 rows, 2000-01-03.*labels with 8 rows, 2000-01-05"):
        Windows.of(frame(), series(np.zeros(8), other), 2)
    panel = make_panel((40, 40))
    with pytest.raises(ValueError, match=r"must have the same index, or one contain the other"):
        Windows.of(make_features(panel), label_moves(panel.xs("A", level="ticker")), 2)
    hourly = series(np.zeros(8), DATES.tz_localize("UTC"))
    with pytest.raises(ValueError, match=r"must have the same index, or one contain the other"):
        Windows.of(frame(), hourly, 2)


def test_features_that_jump_over_bars_are_refused():
    with pytest.raises(
        ValueError, match=r"lack bars that the labels have, first 2000-01-06.*leaves out windows"
    ):
        Windows.of(frame().drop(DATES[3]), series(np.zeros(8)), 2)
    warm = Windows.of(frame().iloc[3:], series(np.zeros(8)), 2)  # a dropped beginning is no jump
    assert warm.dates.tolist() == DATES[4:].tolist()


@pytest.mark.parametrize(
    ("attrs", "message"),
    [
        ({}, "must tell the task and the horizon"),
        ({"task": "ranking", "horizon": 1}, "must tell the task and the horizon"),
        ({"task": "regression"}, "must tell the task and the horizon"),
        ({"task": "regression", "horizon": 0}, "must be at least 1 bar. Got 0"),
        (
            {"task": "classification", "horizon": 1, "classes": ["a", "b"]},
            r"must be 0 … 1 .*Got \[0.0, 2.0\]",
        ),
    ],
)
def test_labels_that_contradict_themselves_are_refused(attrs, message):
    labels = series([0, 2, 0, 2, 0, 2, 0, 2])
    labels.attrs = attrs
    with pytest.raises(ValueError, match=message):
        label_recipe(labels)
