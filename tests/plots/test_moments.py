"""The picture of one decision, against the arrays that it is drawn from."""

from dataclasses import replace
from io import BytesIO
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection
from PIL import Image

from workbench import plots
from workbench.plots import Moment

LOOKBACK, BEFORE, AFTER = 40, 8, 12
ORDER = ["price", "volume", "scores", "position", "equity", "weights", "bar", "answer"]
STRANGE = "<img onerror=…> $\\alpha$_x"


@pytest.fixture
def bars(walk):
    return walk(BEFORE + LOOKBACK + AFTER)


@pytest.fixture
def window(bars):
    return bars.index[BEFORE : BEFORE + LOOKBACK]


@pytest.fixture
def shown(bars):
    rng = np.random.default_rng(3)
    weights = np.tri(LOOKBACK) * rng.dirichlet(np.full(LOOKBACK, 0.5), size=LOOKBACK)
    days = bars.index[20:]
    return Moment(
        weights=weights / weights.sum(1, keepdims=True),
        weights_title="layer 0, mean of 4 heads",
        scores=rng.dirichlet(np.full(LOOKBACK, 5.0)),
        null=np.full(LOOKBACK, 1 / LOOKBACK),
        method="rollout of the last bar",
        probabilities=pd.Series([0.41, 0.2, 0.39], ["sell", "hold", "buy"]),
        happened=-0.0123,
        moved="sell",
        position=pd.Series(rng.choice([-1.0, 0.0, 1.0], len(days)), days),
        equity=pd.Series(100 + np.arange(len(days), dtype=float), days),
        benchmark=pd.Series(100 - np.arange(len(days), dtype=float), days),
        model="transformer, trained on AAPL",
    )


def panels(picture, order=None):
    """Axes by name; they are placed in this order."""
    names = order or ORDER
    assert len(picture.axes) == len(names)
    return dict(zip(names, picture.axes, strict=True))


def words(picture):
    """Everything that is written, on one line."""
    picture.canvas.draw()
    return " ".join(" ".join(text.get_text() for text in picture.findobj(plt.Text)).split())


def heights(ax):
    corners = np.array([path.vertices[:4, 1] for path in of_type(ax, PolyCollection).get_paths()])
    return corners[:, 2] - corners[:, 0]


def of_type(ax, kind):
    return next(drawn for drawn in ax.collections if isinstance(drawn, kind))


@pytest.mark.parametrize("background", ["light", "dark"])
def test_everything_can_be_read_on_either_background(bars, window, shown, readable, background):
    with plots.theme(background):
        readable(plots.moment(bars, window, shown))


def test_scores_stand_under_their_bars_in_percent_beside_the_null(bars, window, shown):
    ax = panels(plots.moment(bars, window, shown))["scores"]
    centres = [path.vertices[:4, 0].mean() for path in of_type(ax, PolyCollection).get_paths()]
    np.testing.assert_allclose(centres, np.arange(BEFORE, BEFORE + LOOKBACK))
    np.testing.assert_allclose(heights(ax), 100 * shown.scores)
    outline = next(patch for patch in ax.patches if patch.get_label() == "null")
    np.testing.assert_allclose(outline.get_data()[0][BEFORE:], 100 / LOOKBACK)
    assert np.isnan(outline.get_data()[0][:BEFORE]).all()


def test_a_towering_last_bar_is_cut_and_its_value_written(bars, window, shown):
    scores = np.append(np.full(LOOKBACK - 1, 0.5 / (LOOKBACK - 1)), 0.5)
    ax = panels(plots.moment(bars, window, replace(shown, scores=scores)))["scores"]
    assert ax.get_ylim()[1] < 5
    assert "50 ↑" in [text.get_text() for text in ax.texts]


def test_the_window_is_shaded_and_its_decision_marked_in_every_panel_over_bars(bars, window, shown):
    axes = panels(plots.moment(bars, window, shown))
    for name in ("price", "volume", "scores", "position", "equity"):
        shade = next(patch for patch in axes[name].patches if patch.get_alpha() == 0.08)
        assert (shade.get_x(), shade.get_width()) == (BEFORE - 0.5, LOOKBACK)
        assert [line.get_xdata()[0] for line in axes[name].lines if line.get_linestyle() == ":"] == [47]
        assert axes[name].get_xlim() == (-0.5, len(bars) - 0.5)


def test_scores_by_feature_are_summed_and_drawn_as_a_strip_each(bars, window, shown, readable):
    scores = np.random.default_rng(1).normal(size=(LOOKBACK, 3))
    named = replace(shown, scores=scores, null=None, feature_names=["return", "range", STRANGE])
    picture = plots.moment(bars, window, named)
    axes = panels(picture, [*ORDER[:3], "features", *ORDER[3:]])
    np.testing.assert_allclose(heights(axes["scores"]), scores.sum(1))
    np.testing.assert_array_equal(axes["features"].images[0].get_array(), scores.T)
    assert axes["features"].images[0].get_extent()[:2] == [BEFORE - 0.5, BEFORE + LOOKBACK - 0.5]
    assert "[signed]" in axes["scores"].get_ylabel()
    readable(picture)


def test_of_many_features_the_strongest_are_drawn(bars, window, shown):
    scores = np.ones((LOOKBACK, 30)) * np.arange(30)
    picture = plots.moment(bars, window, replace(shown, scores=scores, null=None))
    strip = picture.axes[3]
    assert [label.get_text() for label in strip.get_yticklabels()] == [f"feature {i}" for i in range(18, 30)]
    np.testing.assert_array_equal(strip.images[0].get_array()[:, 0], np.arange(18, 30))


def test_attention_is_in_percent_on_the_scale_it_is_given_with_dates_on_both_axes(bars, window, shown):
    picture = plots.moment(bars, window, replace(shown, top=0.1, row=5))
    ax = panels(picture)["weights"]
    picture.canvas.draw()
    np.testing.assert_allclose(ax.images[0].get_array(), 100 * shown.weights)
    assert ax.images[0].get_clim() == (0, 10)
    assert ax.images[0].colorbar.extend == "max"
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("Query (date)", "Key (date)")
    assert ax.yaxis.get_major_formatter()(0.0).startswith(f"{window[0]:%d %b %Y}")
    marked = ax.patches[0]
    assert (marked.get_y(), marked.get_height()) == (4.5, 1)


def test_cells_over_several_bars_and_a_single_query_are_dated_too(bars, window, shown):
    halved = replace(shown, weights=np.full((20, 20), 0.05), block=2)
    ax = panels(plots.moment(bars, window, halved))["weights"]
    assert ax.xaxis.get_major_formatter()(1.0).startswith(f"{window[2]:%d}")
    ax = panels(plots.moment(bars, window, replace(shown, weights=np.full(LOOKBACK, 0.025))))["weights"]
    assert ax.images[0].get_array().shape == (1, LOOKBACK)
    assert ax.yaxis.get_major_formatter()(0.0).startswith(f"{window[-1]:%d}")


def test_the_class_chosen_and_what_happened_are_written(bars, window, shown):
    said = words(plots.moment(bars, window, shown))
    assert "41.0 % ← chosen" in said
    assert said.count("chosen") == 1
    assert "Then: −1.23 % in 1 bar (sell)" in said
    assert "trust: not measured" in said
    assert "transformer, trained on AAPL" in said
    measured = replace(shown, trust={"comprehensiveness": 0.2}, happened=None, horizon=3)
    said = words(plots.moment(bars, window, measured))
    assert "trust: comprehensiveness 0.20" in said
    assert "not known yet" in said


@pytest.mark.parametrize(
    ("part", "said"),
    [("train", "trained on"), ("valid", "chosen by"), ("test", "test"), ("purged", "left out")],
)
def test_the_part_of_the_training_is_named(bars, window, shown, part, said, readable):
    picture = plots.moment(bars, window, replace(shown, part=part))
    assert said in words(picture)
    assert said not in words(plots.moment(bars, window, replace(shown, model="")))
    readable(picture)


def test_a_forecast_is_written_as_a_return(bars, window, shown):
    forecast = replace(shown, probabilities=pd.Series([0.004], ["forecast"]), horizon=5)
    assert "Forecast: +0.40 % over 5 bars" in words(plots.moment(bars, window, forecast))


def test_a_forecast_of_something_else_is_written_as_it_is(bars, window, shown):
    forecast = replace(shown, probabilities=pd.Series([-17.25], ["forecast"]), forecast_unit="value")
    assert "Forecast: −17.25 over 1 bar" in words(plots.moment(bars, window, forecast))


def test_position_and_money_stand_at_their_dates(bars, window, shown):
    axes = panels(plots.moment(bars, window, shown))
    np.testing.assert_allclose(heights(axes["position"]), shown.position)
    strategy, benchmark = axes["equity"].lines[:2]
    np.testing.assert_allclose(strategy.get_ydata()[20:], shown.equity)
    assert np.isnan(strategy.get_ydata()[:20].astype(float)).all()
    np.testing.assert_allclose(benchmark.get_ydata()[20:], shown.benchmark)


def test_what_is_missing_is_said_in_its_panel(bars, window, readable):
    bars[["open", "high", "low", "volume"]] = np.nan
    picture = plots.moment(bars, window, Moment(weights_title="An LSTM has no attention."))
    axes = panels(picture, [name for name in ORDER if name != "bar"])
    expected = {
        "price": "only closes are known",
        "volume": "Volume is not known.",
        "scores": "No explanation was asked for.",
        "position": "No position was decided on these bars.",
        "equity": "There is no backtest of these bars.",
        "weights": "An LSTM has no attention.",
        "answer": "No answer of a model was given.",
    }
    for name, sentence in expected.items():
        said = " ".join(text.get_text().replace("\n", " ") for text in axes[name].findobj(plt.Text))
        assert sentence in said, name
    readable(picture)


def test_an_explanation_that_failed_gives_its_reason(bars, window, shown, readable):
    reason = "rollout needs attention over the bars, and this model pools them before it attends. " * 3
    picture = plots.moment(bars, window, replace(shown, scores=None, null=None, method=reason))
    assert "this model pools them" in words(picture)
    readable(picture)


def test_text_from_outside_is_shown_as_it_is(walk, window, shown, readable):
    frame = walk(60, ticker=STRANGE, synthetic=True, currency="$\\frac")
    strange = replace(
        shown, method=STRANGE, weights_title=STRANGE, trust=STRANGE, moved=STRANGE, model=STRANGE,
        probabilities=pd.Series([0.6, 0.4], [STRANGE, "$x$"]), scores=np.ones((LOOKBACK, 2)), null=None,
        feature_names=["$y$", "$z$"],
    )  # fmt: skip
    picture = plots.moment(frame, window, strange)
    assert f"SYNTHETIC · {STRANGE}: the decision of" in words(picture)
    outside = [text for text in picture.findobj(plt.Text) if "$" in text.get_text()]
    assert len({text.get_text() for text in outside} & {"$x$", "$y$", "$z$", "Price [$\\frac]"}) == 4
    assert not any(text.get_parse_math() for text in outside)
    readable(picture)


def test_the_picture_is_small_quick_and_unknown_to_pyplot(walk):
    frame, rng = walk(300), np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(252), size=252)  # the hardest to compress
    scores = rng.dirichlet(np.ones(252))
    shown = Moment(weights=weights, scores=scores, null=np.full(252, 1 / 252))
    took = []
    for _ in range(3):
        start = perf_counter()
        picture = plots.moment(frame, frame.index[20:272], shown)
        data = picture.png()
        took.append(perf_counter() - start)
    assert min(took) < 1.4, took  # 0.5 s on an idle processor
    assert len(data) < 150_000
    size = Image.open(BytesIO(data)).size
    assert size[0] == 1265
    assert 700 < size[1] < 1000
    assert plt.get_fignums() == []
    assert picture._repr_png_() == data


def test_few_colours_are_near_the_ones_drawn(bars, window, shown):
    picture = plots.moment(bars, window, shown)
    exact = BytesIO()
    picture.savefig(exact, format="png", dpi=110)
    drawn, kept = (
        np.asarray(Image.open(file).convert("RGB")).astype(int) for file in (exact, BytesIO(picture.png()))
    )
    assert abs(drawn - kept).max() < 24
    assert (kept[0, 0] == 255).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": np.ones(LOOKBACK + 1)}, r"scores must be of one window, \(40,\).*Got \(41,\)"),
        ({"scores": np.ones((1, LOOKBACK, 2))}, r"Got \(1, 40, 2\)"),
        ({"scores": np.ones((LOOKBACK, 2)), "null": None, "feature_names": ["a"]}, "must be 2 names.*Got 1"),
        ({"part": "exam"}, "must be one of '', 'train', 'valid', 'test', 'purged'. Got 'exam'"),
        ({"null": np.ones(3)}, r"null must have one value for each of 40 bars"),
        ({"weights": np.ones((4, 40, 40))}, r"heads fused: \(query, key\). Got \(4, 40, 40\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(bars, window, shown, change, message):
    with pytest.raises(ValueError, match=message):
        plots.moment(bars, window, replace(shown, **change))


def test_prices_without_the_whole_window_are_refused(bars, window, shown):
    with pytest.raises(ValueError, match=r"must hold every bar of the window.*They go from"):
        plots.moment(bars.iloc[BEFORE + 1 :], window, shown)
    with pytest.raises(ValueError, match="one after another"):
        plots.moment(bars, window[::2], replace(shown, scores=None, null=None))
    with pytest.raises(ValueError, match="must hold every bar of the window, no bars"):
        plots.moment(bars, window[:0])
