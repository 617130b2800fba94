import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.features.scaling import trailing_zscore

values = st.lists(st.floats(-1e3, 1e3, width=32), min_size=12, max_size=40)


def frame(*columns) -> pd.DataFrame:
    index = pd.bdate_range("2000-01-03", periods=len(columns[0]), name="date")
    return pd.DataFrame({f"x{k}": column for k, column in enumerate(columns)}, index=index, dtype=float)


def test_zscore_by_hand():
    found = trailing_zscore(frame([1, 2, 3, 5, 5]), 3)["x0"]
    # 1 2 3: mean 2, sd 1; 2 3 5: mean 10/3, sd √(7/3); 3 5 5: mean 13/3, sd √(4/3)
    expected = [np.nan, np.nan, 1, (5 / 3) / np.sqrt(7 / 3), (2 / 3) / np.sqrt(4 / 3)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@given(column=values, window=st.integers(2, 12))
def test_zscore_equals_the_naive_formula(column, window):
    found = trailing_zscore(frame(column), window)["x0"]
    for t in range(len(column)):
        part = np.array(column[max(t - window + 1, 0) : t + 1])
        if len(part) < window:
            assert np.isnan(found.iloc[t])
        elif part.max() - part.min() > 1e-3:  # a smaller spread drowns in the rounding of what went before
            assert found.iloc[t] == pytest.approx((part[-1] - part.mean()) / part.std(ddof=1), abs=1e-4)


@given(column=values, window=st.integers(2, 12))
def test_zscore_cannot_exceed_its_bound(column, window):
    found = trailing_zscore(frame(column), window)["x0"].dropna()
    moving = pd.Series(column).rolling(window).agg(np.ptp).to_numpy()[window - 1 :] > 1e-3
    assert found[moving].abs().max() <= (window - 1) / np.sqrt(window) + 1e-4 or not moving.any()


@given(column=values, other=values, window=st.integers(2, 8))
def test_zscore_knows_no_later_row(column, other, window):
    cut = len(column) // 2
    before = trailing_zscore(frame(column), window)
    after = trailing_zscore(frame((column[: cut + 1] + other * 4)[: len(column)]), window)
    assert before.iloc[: cut + 1].to_numpy().tobytes() == after.iloc[: cut + 1].to_numpy().tobytes()


def test_a_column_that_stops_moving_is_exactly_zero():
    found = trailing_zscore(frame([0.1, 1e6, -3e5, *[0.1] * 8]), 4)["x0"]
    assert (found.iloc[6:] == 0).all()
    assert found.iloc[3:].notna().all()


def test_an_unknown_value_makes_its_windows_unknown_and_no_more():
    found = trailing_zscore(frame([1, 2, 3, np.nan, 5, 7, 6, 9]), 3)["x0"]
    assert found.isna().tolist() == [True, True, False, True, True, True, False, False]


def test_each_ticker_is_standardised_alone(make_panel):
    panel = make_panel((40, 25))
    together = trailing_zscore(panel, 5)
    for ticker in ("A", "B"):
        alone = trailing_zscore(panel.xs(ticker, level="ticker"), 5)
        pd.testing.assert_frame_equal(together.xs(ticker, level="ticker"), alone, check_exact=True)
        assert alone.iloc[:4].isna().all(axis=None)
    assert together.attrs == panel.attrs


def test_a_window_of_one_bar_is_refused():
    with pytest.raises(ValueError, match=r"at least 2 bars: one bar has no spread. Got 1"):
        trailing_zscore(frame([1, 2, 3]), 1)
