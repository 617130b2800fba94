"""Attention by outcome as drawn, against its table."""

from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from workbench import plots


def outcome_of(count=4, recent=1, reason=None, significant=()):
    """Attention by outcome over `count` lags, whose won and lost shares are easy to tell apart."""
    won, lost = np.linspace(1, 2, count) / (1.5 * count), np.full(count, 1 / count)
    difference = won - lost
    spread = np.nan if reason else 0.01
    lags = pd.Index(np.arange(count)[::-1], name="lag")
    columns = {"won": won, "lost": lost, "difference": difference, "low": difference - spread}
    columns |= {"high": difference + spread, "significant": np.isin(lags, significant)}
    shares = pd.DataFrame(
        {
            "share": [0.333, 0.25, 0.083],
            "low": [0.3, 0.2, 0.01 if not reason else np.nan],
            "high": [0.4, 0.3, 0.15],
        },
        index=["won", "lost", "difference"],
    )
    return SimpleNamespace(
        by_lag=pd.DataFrame(columns, index=lags),
        recent=shares,
        p_value=0.0123,
        counts=pd.Series({"won": 1234, "lost": 56}),
        recent_bars=recent,
        fdr=0.05,
        indifferent=0.25,
        reason=reason,
    )


def test_both_groups_are_drawn_in_percent_oldest_bar_first():
    outcome = outcome_of()
    ax = plots.attention_by_outcome(outcome)["attribution"]
    won, lost = (patch.get_data()[0] for patch in ax.patches[:2])
    np.testing.assert_allclose(won, 100 * outcome.by_lag["won"])
    np.testing.assert_allclose(lost, 100 * outcome.by_lag["lost"])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["won (1,234)", "lost (56)"]
    assert ax.get_ylabel() == "Mean\nattribution [%]"


def test_the_difference_has_its_interval_as_a_band_and_dots_where_significant():
    outcome = outcome_of(significant=[0, 2])
    ax = plots.attention_by_outcome(outcome)["difference"]
    _, line, dots = ax.lines
    np.testing.assert_allclose(line.get_ydata(), 100 * outcome.by_lag["difference"])
    np.testing.assert_array_equal(dots.get_xdata(), [1, 3])
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert band.min() == pytest.approx(100 * outcome.by_lag["low"].min())
    assert band.max() == pytest.approx(100 * outcome.by_lag["high"].max())
    assert "dots: 2 lags differ at a false discovery rate of 5 %" in ax.get_title(loc="left")


def test_without_a_significant_lag_it_says_so():
    assert "no lag differs" in plots.attention_by_outcome(outcome_of())["difference"].get_title(loc="left")


def test_the_title_compares_recent_shares_with_interval_and_p_value():
    title = plots.attention_by_outcome(outcome_of())["attribution"].get_title(loc="left").replace("\n", " ")
    assert "recent 1 bars: won 33.3 %, lost 25.0 %, indifferent model 25.0 %" in title
    assert "difference +8.30 points, 95 % interval +1.00 to +15.00" in title
    assert "p = 0.012 among shuffled outcomes" in title


def test_too_few_decisions_show_means_without_intervals():
    panels = plots.attention_by_outcome(outcome_of(reason="No intervals: 3 decision bars won."))
    assert "too few decisions" in panels["difference"].get_title(loc="left")
    assert "interval" not in panels["attribution"].get_title(loc="left")


def test_the_recent_bars_are_shaded():
    panels = plots.attention_by_outcome(outcome_of(count=8, recent=3))
    shade = panels["difference"].patches[0]
    assert (shade.get_x(), shade.get_x() + shade.get_width()) == (4.5, 7.5)


def test_made_up_prices_are_named_and_given_axes_used():
    _, ax = plt.subplots()
    panels = plots.attention_by_outcome(outcome_of(), ax=ax, provenance={"synthetic": True})
    assert panels["attribution"] is ax
    assert ax.get_title(loc="left").startswith("SYNTHETIC")


@pytest.mark.parametrize(("count", "background"), [(1, "light"), (5, "dark"), (60, "light")])
def test_texts_can_be_read(readable, count, background):
    with plots.theme(background):
        readable(plots.attention_by_outcome(outcome_of(count, significant=[0]))["attribution"].figure)
