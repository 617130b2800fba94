from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex
from matplotlib.patches import StepPatch

from workbench import plots
from workbench.plots.style import palette

LOOKBACK = 30
STRANGE = "$\\frac <b> of a method with a name far too long to stand anywhere"


@dataclass(frozen=True)
class Why:
    scores: np.ndarray
    null: np.ndarray | None = None
    trust: object | None = None


@pytest.fixture
def bars(walk):
    return walk(80)


@pytest.fixture
def date(bars):
    return bars.index[60]


@pytest.fixture
def explained():
    rng = np.random.default_rng(3)
    return {
        "rollout": Why(rng.dirichlet(np.ones(LOOKBACK))[None], np.full(LOOKBACK, 1 / LOOKBACK)),
        "lime": Why(rng.normal(size=(1, LOOKBACK)), trust={"comprehensiveness": 0.2}),
        "gradient_x_input": Why(rng.normal(size=(1, LOOKBACK, 4)), trust=0.5),
        "plain": np.abs(rng.normal(size=LOOKBACK)),
    }


def heights(ax):
    drawn = next(each for each in ax.collections if isinstance(each, PolyCollection))
    return np.array([path.vertices[1, 1] - path.vertices[0, 1] for path in drawn.get_paths()])


@pytest.mark.parametrize("background", ["light", "dark"])
def test_everything_can_be_read_on_either_background(bars, explained, date, readable, background):
    with plots.theme(background):
        readable(plots.methods(bars, explained, date)["price"].figure)


def test_each_method_has_a_strip_of_its_scores_under_its_bars(bars, explained, date):
    axes = plots.methods(bars, explained, date)
    assert list(axes) == ["price", *explained]
    np.testing.assert_allclose(heights(axes["rollout"]), 100 * explained["rollout"].scores[0])
    np.testing.assert_allclose(heights(axes["lime"]), explained["lime"].scores[0])
    np.testing.assert_allclose(
        heights(axes["gradient_x_input"]), explained["gradient_x_input"].scores[0].sum(1)
    )
    np.testing.assert_allclose(heights(axes["plain"]), explained["plain"])
    for ax in axes.values():
        assert ax.get_xlim() == (-0.5, LOOKBACK - 0.5)
    tops = [ax.get_position().y0 for ax in axes.values()]
    assert tops == sorted(tops, reverse=True)


def test_the_candles_are_those_of_the_window_with_their_dates_beneath_the_last_strip(bars, explained, date):
    axes = plots.methods(bars, explained, date)
    axes["price"].figure.canvas.draw()
    window = bars.iloc[31:61]
    bodies = next(c for c in axes["price"].collections if isinstance(c, PolyCollection)).get_paths()
    np.testing.assert_allclose([path.vertices[0, 1] for path in bodies], window["open"])
    formatter = axes["plain"].xaxis.get_major_formatter()
    assert formatter(0.0).startswith(f"{window.index[0]:%d}")
    assert formatter(29.0).startswith(f"{date:%d}")
    assert not axes["lime"].xaxis.get_major_ticks()[0].label1.get_visible()
    assert f"AAPL: the decision of {date:%d %b %Y} in 4 views" in axes["price"].get_title(loc="left")


def test_each_strip_has_its_own_scale_unit_and_trust(bars, explained, date):
    axes = plots.methods(bars, explained, date)
    told = {name: (ax.get_title(loc="left"), ax.get_title(loc="right")) for name, ax in axes.items()}
    assert told["rollout"] == ("rollout [share, %]", "trust: not measured")
    assert told["lime"] == ("lime [signed]", "trust: comprehensiveness 0.20")
    assert told["gradient_x_input"] == ("gradient_x_input [signed]", "trust: 0.50")
    assert told["plain"] == ("plain [score]", "trust: not measured")
    assert len({ax.get_ylim() for ax in axes.values()}) == 5


def test_signs_have_two_colours_and_shares_below_the_null_are_pale(bars, explained, date):
    axes = plots.methods(bars, explained, date)
    collection = next(c for c in axes["lime"].collections if isinstance(c, PolyCollection))
    colours = [to_hex(colour) for colour in collection.get_facecolors()]
    expected = np.where(explained["lime"].scores[0] < 0, palette().down, palette().up)
    assert colours == [colour.lower() for colour in expected]
    collection = next(c for c in axes["rollout"].collections if isinstance(c, PolyCollection))
    pale = [to_hex(colour) != palette().up.lower() for colour in collection.get_facecolors()]
    assert pale == list(explained["rollout"].scores[0] < 1 / LOOKBACK)


def test_the_null_is_drawn_where_there_is_one_and_only_then_explained(bars, explained, date):
    axes = plots.methods(bars, explained, date)
    nulls = {name: [p for p in ax.patches if isinstance(p, StepPatch)] for name, ax in axes.items()}
    np.testing.assert_allclose(nulls["rollout"][0].get_data()[0], 100 / LOOKBACK)
    assert [name for name, found in nulls.items() if found] == ["rollout"]
    title = axes["price"].get_title(loc="left").replace("\n", " · ")
    assert "indifferent model" in title
    assert "vermilion against" in title
    alone = plots.methods(bars, {"shares": np.full(LOOKBACK, 1 / LOOKBACK)}, date)
    title = alone["price"].get_title(loc="left")
    assert "in 1 view\n" in title
    assert "indifferent" not in title
    assert "vermilion" not in title


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("at", [2, LOOKBACK - 1])
def test_a_towering_bar_is_cut_and_its_value_written(bars, date, readable, sign, at):
    scores = 0.01 * np.random.default_rng(0).normal(size=LOOKBACK)
    scores[at] = 4.0 * sign
    ax = plots.methods(bars, {"lime": scores}, date)["lime"]
    low, high = ax.get_ylim()
    assert high - low < 0.2
    rest = np.delete(scores, at)
    assert low <= rest.min()
    assert rest.max() <= high
    said = {1: ("4 ↑", "↑ 4"), -1: ("−4 ↓", "↓ −4")}[sign]
    assert said[at == 2] in [text.get_text() for text in ax.texts]
    readable(ax.figure)


def test_nothing_is_cut_where_no_bar_towers(bars, date):
    for scores in (np.linspace(-1, 1, LOOKBACK), np.zeros(LOOKBACK), -np.eye(LOOKBACK)[3]):
        ax = plots.methods(bars, {"lime": scores}, date)["lime"]
        assert len(ax.texts) == 0
        assert ax.get_ylim()[0] <= scores.min()
        assert ax.get_ylim()[1] >= scores.max()


def test_it_takes_the_place_of_given_axes(bars, explained, date):
    figure, (left, right) = plt.subplots(1, 2, figsize=(18, 7), layout="constrained")
    axes = plots.methods(bars, explained, date, ax=right)
    assert axes["price"] is right
    assert all(ax.figure is figure for ax in axes.values())
    figure.canvas.draw()
    assert all(ax.get_position().x0 > left.get_position().x1 for ax in axes.values())


def test_made_up_prices_and_strange_names_are_shown_as_they_are(walk, date, readable):
    axes = plots.methods(walk(80, synthetic=True), {STRANGE: np.ones(LOOKBACK)}, date)
    assert axes["price"].get_title(loc="left").startswith("SYNTHETIC · AAPL")
    assert axes[STRANGE].get_title(loc="left").startswith("$\\frac <b>")
    readable(axes["price"].figure)


def test_a_frame_of_features_is_added_up(bars, date):
    frame = pd.DataFrame(np.arange(2.0 * LOOKBACK).reshape(LOOKBACK, 2), columns=["a", "b"])
    ax = plots.methods(bars, {"gradient": frame}, date)["gradient"]
    np.testing.assert_allclose(heights(ax), frame.sum(axis=1))


@pytest.mark.parametrize(
    ("explained", "message"),
    [
        ({}, "one method or more"),
        ({"price": np.ones(LOOKBACK)}, "none of them called 'price'"),
        ({"lime": np.ones((3, LOOKBACK, 2))}, r"scores of lime must be of one window.*Got \(3, 30, 2\)"),
        ({"a": np.ones(30), "b": np.ones(29)}, r"bars of one window. Got \{'a': 30, 'b': 29\}"),
        ({"a": np.ones(70)}, "must reach 70 bars back"),
        ({"a": Why(np.ones(30), np.ones(3))}, "null must have one value for each of 30 bars"),
    ],
)
def test_what_does_not_fit_is_refused(bars, date, explained, message):
    with pytest.raises(ValueError, match=message):
        plots.methods(bars, explained, date)


@dataclass(frozen=True)
class Dated(Why):
    dates: pd.DatetimeIndex | None = None


def test_an_explanation_of_another_decision_is_refused(bars, explained, date):
    scores = explained["rollout"].scores
    plots.methods(bars, {"rollout": Dated(scores, dates=pd.DatetimeIndex([date]))}, date)
    for wrong in (bars.index[[59]], bars.index[:0]):
        with pytest.raises(ValueError, match="rollout must explain the decision drawn"):
            plots.methods(bars, {"rollout": Dated(scores, dates=wrong)}, date)


def test_an_explanation_that_is_not_by_bar_is_refused(bars, date):
    why = Why(np.ones((1, LOOKBACK)))
    object.__setattr__(why, "axes", ("asset",))
    with pytest.raises(ValueError, match=r"the strip of neighbours is by bar\. Got scores by asset"):
        plots.methods(bars, {"neighbours": why}, date)
