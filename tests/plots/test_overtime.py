"""What counted in the course of time, as drawn, against plain loops over the windows."""

from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex

from workbench import plots
from workbench.plots.highlights import attention_received
from workbench.plots.periods import OTHERS, averaged, joined
from workbench.plots.stocks import portfolio_shares
from workbench.plots.style import DISTINCT


def told(scores, dates, axes=("time",), **more):
    tickers = more.pop("tickers", np.full(len(scores), "AAPL"))
    usual = {"axis_labels": {}, "options": {}, "method": "rollout", "against_null": False}
    return SimpleNamespace(
        scores=np.asarray(scores), dates=pd.DatetimeIndex(dates), axes=axes, tickers=np.asarray(tickers),
        **usual | more,
    )  # fmt: skip


def shares(count=6, width=4, seed=0, **more):
    rng = np.random.default_rng(seed)
    return told(
        rng.dirichlet(np.ones(width), size=count), pd.bdate_range("2011-03-01", periods=count), **more
    )


# Periods -----------------------------------------------------------------------------------------


def test_means_of_months_worked_by_hand():
    dates = pd.DatetimeIndex(["2011-03-30", "2011-05-02", "2011-03-31", "2011-05-03", "2011-05-03"])
    means, starts, said = averaged(np.array([[1.0, 0], [2, 4], [3, 8], [4, 0], [6, 2]]), dates, "M")
    assert means.tolist() == [[2, 4], [4, 2]]
    assert list(starts) == [pd.Timestamp("2011-03-01"), pd.Timestamp("2011-05-01")]
    assert said == "monthly means"
    by_day, days, _ = averaged(np.array([1.0, 2, 3, 4, 6]), dates, "D")
    assert by_day.tolist() == [1, 3, 2, 5]
    assert len(days) == 4


@pytest.mark.parametrize(
    ("count", "said"),
    [(40, "each decision"), (41, "monthly"), (1500, "monthly"), (1600, "quarterly"), (6000, "yearly")],
)
def test_periods_are_as_short_as_can_be_read(count, said):
    dates = pd.bdate_range("1990-01-01", periods=count)
    assert averaged(np.ones(count), dates, None)[2].startswith(said)


@given(st.integers(0, 1000), st.integers(1, 9), st.integers(1, 6))
def test_what_is_joined_adds_up_to_what_there_was(seed, series, most):
    values = np.random.default_rng(seed).normal(size=(5, series))
    shown, labels, colours = joined(values, [str(i) for i in range(series)], most)
    np.testing.assert_allclose(shown.sum(1), values.sum(1), atol=1e-12)
    assert len(labels) == len(colours) == shown.shape[1] == min(series, most + 1)
    assert len(set(colours)) == len(colours)


def test_the_largest_keep_their_colour_and_the_rest_is_grey():
    shown, labels, colours = joined(np.array([[1.0, 5, 2, 4]]), list("abcd"), most=2)
    assert (shown.tolist(), labels) == ([[5, 4, 3]], ["b", "d", "2 others"])
    assert colours == [*DISTINCT[:2], OTHERS]


def test_wrong_periods_and_nothing_to_draw_are_refused():
    with pytest.raises(ValueError, match="every must be one of D, M, Q, Y, or None"):
        plots.attention_over_time(shares(), every="H")
    with pytest.raises(ValueError, match="There are no windows to draw"):
        plots.attention_over_time(shares(0))


# Heatmap of time and lag -------------------------------------------------------------------------


def test_the_heatmap_has_lags_up_and_dates_across(readable):
    why = shares()
    ax = plots.attention_over_time(why)
    np.testing.assert_allclose(ax.images[0].get_array(), why.scores.T)
    readable(ax.figure)
    assert ax.get_ylabel() == "Bar (t: the decision)"
    assert ax.images[0].colorbar.ax.get_ylabel() == "share"
    assert "Rollout over time" in ax.get_title(loc="left")


def test_features_are_added_up_in_size_and_signs_get_two_colours():
    scores = np.array([[[1.0, -2], [0, 3]], [[4, 0], [-1, -1]]])
    dates = pd.bdate_range("2011-03-01", periods=2)
    ax = plots.attention_over_time(told(scores, dates, ("time", "feature")))
    assert ax.images[0].get_array().tolist() == [[3, 4], [3, 2]]
    signed = plots.attention_over_time(told([[1.0, -2], [3, 1]], dates))
    assert signed.images[0].norm.vcenter == 0
    assert "[signed]" in signed.images[0].colorbar.ax.get_ylabel()


# Stacks ------------------------------------------------------------------------------------------


def heights(ax):
    """Return (bottom, top) of every bar by colour and place."""
    found = {}
    for drawn in ax.collections:
        for path, colour in zip(drawn.get_paths(), np.tile(drawn.get_facecolors(), (99, 1)), strict=False):
            x = round(float(path.vertices[:4, 0].mean()))
            y = path.vertices[:4, 1]
            found[to_hex(colour).upper(), x] = (float(y.min()), float(y.max()))
    return found


def test_modules_are_stacked_by_sign_worked_by_hand():
    why = told(
        [[1.0, -2, 4], [-1, -1, 2], [3, 0, 1]], pd.bdate_range("2011-03-01", periods=3), ("module",),
        axis_labels={"module": ("shared", "hidden", "individual")}, method="modules",
    )  # fmt: skip
    ax = plots.shares_over_time(why)
    blue, orange, green = DISTINCT[:3]
    assert heights(ax) == {
        (blue, 0): (0, 1), (orange, 0): (-2, 0), (green, 0): (1, 5),
        (blue, 1): (-1, 0), (orange, 1): (-2, -1), (green, 1): (0, 2),
        (blue, 2): (0, 3), (green, 2): (3, 4),
    }  # fmt: skip
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["individual", "hidden", "shared"]
    assert ax.get_ylabel() == "Part of the answer [signed]"
    assert ax.get_title(loc="left").startswith("Modules over time")


def test_features_over_time_are_added_up_over_bars():
    scores = np.array([[[1.0, -2], [0, 3]], [[4, 0], [-1, -1]], [[0, 0], [1, 7]]])
    why = told(
        scores, ["2011-03-01", "2011-03-02", "2011-04-01"], ("time", "feature"),
        axis_labels={"feature": ("range", "gap")}, method="gradient_x_input",
    )  # fmt: skip
    found = heights(plots.shares_over_time(why, every="M"))
    blue, orange = DISTINCT[:2]
    assert found == {(blue, 0): (0, 3), (orange, 0): (3, 6), (blue, 1): (0, 1), (orange, 1): (1, 8)}


def test_many_series_are_a_heatmap(readable):
    why = shares(width=25, axes=("frequency",), method="frequencies")
    ax = plots.shares_over_time(why)
    np.testing.assert_allclose(ax.images[0].get_array(), why.scores.T)
    assert ax.get_ylabel() == "Frequency"
    readable(ax.figure)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_stacks_can_be_read_on_either_background(readable, theme):
    with plots.theme(theme):
        labels = {"predictor": tuple(f"predictor {i}" for i in range(9))}
        ax = plots.shares_over_time(
            shares(width=9, axes=("predictor",), axis_labels=labels, method="routing")
        )
        readable(ax.figure)


def test_an_axis_that_scores_have_not_is_refused():
    with pytest.raises(ValueError, match=r"axis must be one of time, feature.*Got 'module'"):
        plots.shares_over_time(
            told(np.ones((2, 3, 2)), pd.bdate_range("2011", periods=2), ("time", "feature")), "module"
        )
    with pytest.raises(ValueError, match="drawn by attention_over_time"):
        plots.shares_over_time(shares())
    with pytest.raises(ValueError, match=r"attention over time is by bar\. Got scores by module"):
        plots.attention_over_time(shares(axes=("module",)))


# Decompositions ----------------------------------------------------------------------------------


def decomposed(count=3):
    """Three bars a window; what the last state adds is within the last bar's score."""
    scores = np.array([[1.0, 2, 9], [-1, 0, -4], [0, 1, 2]])[:count]
    options = {"state": pd.Series([4.0, -2, 3])[:count], "weights": pd.DataFrame(np.eye(3)[:count])}
    dates = ["2011-03-01", "2011-03-02", "2011-04-01"][:count]
    return told(scores, dates, options=options, method="decomposition")


def test_a_decomposition_shows_weights_and_both_parts_worked_by_hand(readable):
    panels = plots.decomposition_over_time(decomposed(), every="M")
    blue, orange = DISTINCT[:2]  # context: 12 − 4, −5 + 2, 3 − 3; means of March: 1 and 2.5
    assert heights(panels["parts"]) == {(blue, 0): (0, 1), (orange, 0): (1, 3.5), (blue, 1): (0, 3)}
    assert panels["parts"].lines[-1].get_ydata().tolist() == [3.5, 3]
    np.testing.assert_allclose(panels["weights"].images[0].get_array(), [[0.5, 0], [0.5, 0], [0, 1]])
    assert "context: 55 % of the parts' size" in panels["weights"].get_title(loc="left")  # 11 of 20
    readable(panels["parts"].figure)


def test_what_is_no_decomposition_is_refused():
    with pytest.raises(ValueError, match=r"by the method 'decomposition'.*Got rollout"):
        plots.decomposition_over_time(shares())


# Days of much attention --------------------------------------------------------------------------


def windows_on(prices, scores):
    """Explain the last windows of prices."""
    return told(scores, prices.index[-len(scores) :])


def test_attention_received_worked_by_hand(walk):
    """Windows of 3 bars ending at bars 3 to 5; lags get 2, 3 and 4 on average."""
    prices = walk(6)
    scores = np.array([[1.0, 2, 3], [2, 3, 4], [3, 4, 5]])
    received = attention_received(prices, windows_on(prices, scores))
    assert np.isnan(received[:2]).all()  # bar 1 is held by one window, and half a lookback is two
    # bar 2: 2 + 2 over 3 + 2; bar 3: 3 + 3 + 3 over 4 + 3 + 2; bar 4: 4 + 4 over 4 + 3
    np.testing.assert_allclose(received[2:5], [4 / 5, 9 / 9, 8 / 7])
    assert np.isnan(received[5])


@given(st.integers(0, 1000))
def test_attention_received_is_that_of_a_plain_loop(seed):
    rng = np.random.default_rng(seed)
    close = pd.DataFrame({"close": np.ones(20)}, pd.bdate_range("2011-03-01", periods=20))
    scores, ends = rng.random((9, 5)), np.sort(rng.choice(np.arange(4, 20), 9, replace=False))
    received = attention_received(close, told(scores, close.index[ends]))
    for bar in range(20):
        got = [(scores[w, bar - end + 4], scores[:, bar - end + 4].mean()) for w, end in enumerate(ends)
               if 0 <= bar - end + 4 < 5]  # fmt: skip
        if len(got) < 3:
            assert np.isnan(received[bar])
        else:
            assert received[bar] == pytest.approx(sum(a for a, _ in got) / sum(b for _, b in got))


def test_the_same_attention_at_every_decision_marks_no_end_of_the_prices(walk):
    prices = walk(40)
    same = windows_on(prices, np.tile([0.1, 0.2, 0.7], (30, 1)))
    received = attention_received(prices, same)
    np.testing.assert_allclose(received[np.isfinite(received)], 1)


def test_the_most_attended_bars_are_marked_with_their_returns(walk, readable):
    prices = walk(60)
    scores = np.full((50, 5), 1.0)
    for bar, size in ((20, 3.0), (33, 5.0), (41, 4.0)):
        for window in range(50):
            place = bar - (10 + window) + 4
            if 0 <= place < 5:
                scores[window, place] += size
    panels = plots.high_attention_days(prices, windows_on(prices, scores), count=3)
    seen = np.flatnonzero(np.isfinite(attention_received(prices, windows_on(prices, scores))))
    marks = np.concatenate([line.get_xdata() for line in panels["price"].lines[1:]]) + seen[0]
    assert sorted(marks.tolist()) == [20, 33, 41]
    change = 100 * prices["close"].pct_change().abs().to_numpy()
    others = np.delete(change[seen], np.array([20, 33, 41]) - seen[0])
    title = panels["price"].get_title(loc="left")
    assert f"mean |return| {change[[20, 33, 41]].mean():.2f} %, {others.mean():.2f} % on the others" in title
    heights_ = sorted(abs(bar.get_height()) for bar in panels["return"].patches)
    assert heights_ == pytest.approx(sorted(change[[20, 33, 41]]))
    readable(panels["price"].figure)


def test_what_cannot_be_marked_is_refused_in_words(walk):
    prices = walk(20)
    why = windows_on(prices, np.ones((10, 3)))
    with pytest.raises(ValueError, match=r"count must be from 1 to the 10 bars that windows hold. Got 11"):
        plots.high_attention_days(prices, why, count=11)
    with pytest.raises(ValueError, match="prices must hold every bar of the 10 windows, 3 bars to each"):
        plots.high_attention_days(prices.iloc[15:], why)
    with pytest.raises(ValueError, match=r"attention day by day is by bar\. Got scores by asset"):
        plots.high_attention_days(prices, shares(axes=("asset",)))
    two = told(np.ones((2, 3)), prices.index[-2:], tickers=["A", "B"])
    with pytest.raises(ValueError, match=r"explained must be of one asset\. Got windows of 2"):
        plots.high_attention_days(prices, two, count=1)


# Stocks ------------------------------------------------------------------------------------------

DAYS = pd.DatetimeIndex(["2011-03-01"] * 2 + ["2011-03-02"] * 3)
WHO = np.array(["A", "C", "A", "B", "C"])
DRAWN = np.array([[0.6, 0, 0.4], [0.3, 0, 0.7], [0.2, 0.3, 0.5], [0.1, 0.8, 0.1], [0.4, 0.4, 0.2]])


def by_asset(**more):
    usual = {"axis_labels": {"asset": ("A", "B", "C")}, "method": "neighbours", "tickers": WHO}
    return told(DRAWN, DAYS, ("asset",), **usual | more)


def test_the_matrix_of_a_day_and_the_mean_over_days_worked_by_hand(readable):
    first = plots.stock_matrix(by_asset(), "2011-03-01")
    image = first.images[0].get_array()
    np.testing.assert_allclose(image.filled(np.nan), [[0.6, np.nan, 0.4], [np.nan] * 3, [0.3, np.nan, 0.7]])
    mean = plots.stock_matrix(by_asset()).images[0].get_array()
    np.testing.assert_allclose(mean, [[0.4, 0.3, 0.45], [0.1, 0.8, 0.1], [0.35, 0.4, 0.45]])
    readable(first.figure)
    assert (first.get_ylabel(), first.get_xlabel()) == ("Answer for", "Drawn from")


def test_a_matrix_whose_rows_rank_alike_says_so():
    warned = by_asset(options={"rank_agreement": 0.997, "warning": "every stock ranks the others alike"})
    assert "all stocks rank the others alike (1.00)" in " ".join(
        plots.stock_matrix(warned).get_title(loc="left").split()
    )
    assert "alike" not in plots.stock_matrix(by_asset()).get_title(loc="left")


def test_a_portfolio_worked_by_hand():
    """Long A and half of C on the first day; on the second long A, short B as much, nothing of C."""
    weights = pd.DataFrame({"A": [1.0, 1.0], "B": [9.0, -1.0], "C": [0.5, np.nan]}, DAYS.unique())
    drawn, days = portfolio_shares(DRAWN, DAYS, WHO, weights)
    np.testing.assert_allclose(drawn, [[0.75 / 1.5, 0, 0.75 / 1.5], [0.05, -0.25, 0.2]])
    assert list(days) == list(DAYS.unique())
    alike, _ = portfolio_shares(DRAWN, DAYS, WHO, None)
    np.testing.assert_allclose(alike, [DRAWN[:2].mean(0), DRAWN[2:].mean(0)])
    found = heights(plots.portfolio_over_time(by_asset(), weights))
    assert found[DISTINCT[1], 1] == pytest.approx((-0.25, 0))


@given(st.integers(0, 1000))
def test_long_only_portfolios_draw_shares_that_sum_to_one(seed):
    rng = np.random.default_rng(seed)
    weights = pd.DataFrame(rng.random((2, 3)), DAYS.unique(), ["A", "B", "C"])
    drawn, _ = portfolio_shares(DRAWN, DAYS, WHO, weights)
    np.testing.assert_allclose(drawn.sum(1), 1)
    twice, _ = portfolio_shares(DRAWN, DAYS, WHO, 2 * weights)
    np.testing.assert_allclose(twice, drawn)


def test_what_is_of_no_stocks_or_days_is_refused():
    with pytest.raises(
        ValueError, match=r"a stock matrix is by asset\. Got scores by time: explain by the method"
    ):
        plots.stock_matrix(shares())
    with pytest.raises(ValueError, match=r"No window is decided on 2011-03-05.*nearest is 2011-03-02"):
        plots.stock_matrix(by_asset(), "2011-03-05")
    nothing = pd.DataFrame({"Z": [1.0]}, DAYS[:1])
    with pytest.raises(ValueError, match="weights must hold something on a date of the explanation"):
        plots.portfolio_over_time(by_asset(), nothing)


def test_made_up_prices_are_named_and_given_axes_used(walk):
    _, ax = plt.subplots()
    why = shares(provenance={"synthetic": True, "ticker": "MADE"})
    assert plots.attention_over_time(why, ax=ax) is ax
    assert ax.get_title(loc="left").startswith("SYNTHETIC")
