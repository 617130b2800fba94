"""One decision's attribution as drawn, against prices and scores."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex

from workbench import plots
from workbench.plots.attributions import trust_line


def heights(ax):
    return np.array(
        [path.vertices[:4, 1].max() + path.vertices[:4, 1].min() for path in ax.collections[0].get_paths()]
    )


def test_the_bars_of_the_window_stand_above_their_attribution(walk):
    frame = walk(60)
    scores = np.array([0.1, 0.2, 0.3, 0.4])
    panels = plots.attribution(frame, scores, frame.index[49])
    wicks = next(drawn for drawn in panels["price"].collections if isinstance(drawn, LineCollection))
    drawn = np.array(wicks.get_segments())[:, :, 1]
    np.testing.assert_allclose(drawn, frame[["low", "high"]].iloc[46:50])
    np.testing.assert_allclose(heights(panels["attribution"]), scores)
    assert panels["price"].get_xlim() == panels["attribution"].get_xlim() == (-0.5, 3.5)


def test_the_recent_quarter_is_shaded_and_its_share_written(walk):
    # 6 bars: the quarter is 1.5 bars, rounded up to 2; they hold (0.1 + 0.4) / 1 of the attribution
    scores = [0.1, 0.1, 0.1, 0.2, 0.1, 0.4]
    null = [0.2, 0.2, 0.2, 0.2, 0.1, 0.1]
    frame = walk(20)
    panels = plots.attribution(frame, scores, frame.index[-1], null=null)
    note = panels["attribution"].get_title(loc="left")
    assert "recent quarter (shaded): 50 %, indifferent model 20 %" in note
    shade = panels["price"].patches[0]
    assert (shade.get_x(), shade.get_x() + shade.get_width()) == (3.5, 5.5)


def test_signed_scores_count_by_size_and_have_two_colours(walk):
    frame = walk(20)
    ax = plots.attribution(frame, [-0.5, 0.25, 0.0, -0.25], frame.index[-1])["attribution"]
    assert "recent quarter (shaded): 25 %" in ax.get_title(loc="left")
    colours = [to_hex(colour) for colour in ax.collections[0].get_facecolor()]
    assert colours == ["#d55e00", "#0072b2", "#0072b2", "#d55e00"]
    assert ax.get_ylabel() == "Attribution\n[signed]"


def test_the_null_is_a_stepped_line_of_its_values(walk):
    frame, null = walk(20), np.array([[0.1, 0.2, 0.3, 0.4]])
    ax = plots.attribution(frame, torch.full((1, 4), 0.25), "2011-03-28", null=null)["attribution"]
    outline = next(patch for patch in ax.patches if hasattr(patch, "get_data"))
    np.testing.assert_allclose(outline.get_data()[0], null[0])


@pytest.mark.parametrize(
    ("trust", "said"),
    [
        (None, "trust: not measured"),
        (0.314, "trust: 0.31"),
        (1, "trust: 1.00"),
        (
            {"comprehensiveness": 0.31, "sufficiency": 0.052},
            "trust: comprehensiveness 0.31, sufficiency 0.05",
        ),
        (pd.Series({"auc": 0.5}), "trust: auc 0.50"),
        ("good\nbut long", "trust: good"),
    ],
)
def test_the_trust_is_in_the_picture(walk, trust, said):
    frame = walk(20)
    panels = plots.attribution(frame, [0.5, 0.5], frame.index[-1], trust=trust)
    assert panels["attribution"].get_title(loc="left").endswith(said)
    assert trust_line(trust) == said


def test_scores_by_feature_are_a_heatmap_with_named_rows(walk):
    frame = walk(20)
    scores = pd.DataFrame([[0.1, -0.2], [0.3, 0.4], [0.5, -0.6]], columns=["log_return", "range"])
    ax = plots.attribution(frame, scores, frame.index[-1])["attribution"]
    np.testing.assert_allclose(ax.images[0].get_array(), scores.T)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["log_return", "range"]
    norm = ax.images[0].norm
    assert (norm.vmin, norm.vmax) == (-0.6, 0.6)


def test_of_many_features_the_strongest_are_drawn_and_the_rest_counted(walk):
    frame = walk(20)
    scores = np.ones((4, 30)) * np.arange(30)
    ax = plots.attribution(frame, scores, frame.index[-1])["attribution"]
    np.testing.assert_allclose(ax.images[0].get_array()[:, 0], np.arange(10, 30))
    assert "20 of 30 features" in ax.get_title(loc="left")


def test_intraday_decisions_are_found_in_utc(walk):
    frame = walk(20, interval="1h")
    frame.index = pd.date_range("2024-03-01", periods=20, freq="h", tz="UTC", name="date")
    panels = plots.attribution(frame, [0.5, 0.5], "2024-03-01 19:00")
    assert "decision of 01 Mar 2024 19:00" in panels["price"].get_title(loc="left")
    assert panels["attribution"].get_xlabel() == "Time (UTC)"


def test_made_up_prices_are_named_in_the_title(walk):
    frame = walk(20, synthetic=True)
    assert (
        plots.attribution(frame, [1.0], frame.index[-1])["price"]
        .get_title(loc="left")
        .startswith("SYNTHETIC")
    )


def test_a_date_that_is_no_bar_is_refused_with_the_nearest(walk):
    with pytest.raises(ValueError, match="Got 2011-03-12 00:00:00; the nearest is 2011-03-11 00:00:00"):
        plots.attribution(walk(20), [0.5, 0.5], "2011-03-12")


def test_prices_that_start_too_late_are_refused(walk):
    with pytest.raises(ValueError, match=r"reach 5 bars back .* They hold 3"):
        plots.attribution(walk(20), np.ones(5), "2011-03-03")


def test_scores_of_several_windows_are_refused(walk):
    with pytest.raises(ValueError, match=r"one window: .*Got \(2, 3, 4\).*explanation\.scores\[0\]"):
        plots.attribution(walk(20), np.ones((2, 3, 4)), "2011-03-10")


@pytest.mark.parametrize("null", [np.ones(3), np.ones((4, 4))])
def test_a_null_of_another_length_is_refused(walk, null):
    with pytest.raises(ValueError, match="one value for each of 4 bars"):
        plots.attribution(walk(20), np.ones(4), "2011-03-10", null=null)


def test_a_null_beside_scores_by_feature_is_refused_with_the_repair(walk):
    with pytest.raises(ValueError, match=r"Add features up first"):
        plots.attribution(walk(20), np.ones((4, 2)), "2011-03-10", null=np.ones(4))


def test_the_given_axes_become_the_price_panel(walk):
    figure = plt.figure()
    ax = figure.add_axes((0.1, 0.2, 0.8, 0.7))  # placed by hand, in no grid
    panels = plots.attribution(walk(20), np.ones(4), "2011-03-10", ax=ax)
    assert panels["price"] is ax
    upper, lower = (panel.get_position() for panel in panels.values())
    assert upper.y1 == pytest.approx(0.9)
    assert lower.y0 == pytest.approx(0.2)
    assert lower.y1 < upper.y0
    assert (lower.x0, lower.x1) == (upper.x0, upper.x1)


@pytest.mark.parametrize(("count", "background"), [(1, "light"), (5, "dark"), (60, "light"), (252, "dark")])
def test_texts_can_be_read(walk, readable, count, background):
    frame = walk(260, ticker="1000PEPEUSDT-LINEAR-PERPETUAL-A-VERY-LONG-NAME")
    rng = np.random.default_rng(0)
    with plots.theme(background):
        for scores, null in ((rng.random(count), np.ones(count)), (rng.normal(size=(count, 13)), None)):
            readable(
                plots.attribution(frame, scores, frame.index[-1], null, {"comprehensiveness": 0.3})[
                    "price"
                ].figure
            )
