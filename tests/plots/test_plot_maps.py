"""The rollout and importance as drawn, against their arrays."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import LogNorm, to_hex

from workbench import plots


def rolled(count, causal=False, seed=0):
    """A row-stochastic matrix with a strong diagonal, as rollouts have."""
    weights = np.random.default_rng(seed).random((count, count)) ** 3
    weights = np.tril(weights) if causal else weights
    return 0.5 * weights / weights.sum(1, keepdims=True) + 0.5 * np.eye(count)


def dates(count):
    return pd.bdate_range("2011-05-16", periods=count, name="date")


def heights(ax):
    return np.array(
        [path.vertices[:4, 1].max() + path.vertices[:4, 1].min() for path in ax.collections[0].get_paths()]
    )


def test_the_heatmap_shows_the_matrix_queries_down_keys_across():
    matrix = rolled(20)
    ax = plots.rollout(matrix, dates(20))
    np.testing.assert_array_equal(ax.images[0].get_array(), matrix)
    assert ax.images[0].origin == "upper"
    assert ax.get_ylabel() == "Query, the bar that looks (date)"
    assert ax.get_xlabel() == "Key, the bar looked at (date)"
    assert ax.images[0].colorbar.ax.get_ylabel() == "share of attention"


def test_a_tensor_of_one_window_is_drawn_as_its_matrix():
    matrix = torch.tensor(rolled(6), requires_grad=True)[None]
    np.testing.assert_allclose(plots.rollout(matrix).images[0].get_array(), rolled(6))


def test_the_diagonal_saturates_instead_of_hiding_the_rest():
    matrix = rolled(60)
    image = plots.rollout(matrix).images[0]
    assert image.norm.vmin == 0
    assert image.norm.vmax == pytest.approx(np.percentile(matrix, 98))
    assert image.norm.vmax < matrix.diagonal().min()
    assert image.colorbar.extend == "max"


def test_a_narrow_range_gets_the_whole_scale_and_an_arrow_at_each_end():
    matrix = np.linspace(0.010, 0.014, 3600).reshape(60, 60) + 0.1 * np.eye(60)
    image = plots.rollout(matrix).images[0]
    assert image.norm.vmin == pytest.approx(np.percentile(matrix, 2))
    assert image.norm.vmax == pytest.approx(np.percentile(matrix, 98))
    assert image.colorbar.extend == "both"


def test_an_even_matrix_uses_its_whole_range():
    image = plots.rollout(np.full((10, 10), 0.1)).images[0]
    assert image.norm.vmax == pytest.approx(0.1)
    assert image.colorbar.extend == "neither"


def test_with_a_null_cells_show_their_multiple_of_it_and_the_impossible_is_blank():
    matrix = np.array([[1.0, 0.0, 0.0], [0.25, 0.75, 0.0], [0.2, 0.2, 0.6]])
    null = np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.4, 0.2, 0.4]])
    image = plots.rollout(matrix, null=null).images[0]
    shown = np.ma.filled(np.ma.masked_invalid(image.get_array()), -1)
    np.testing.assert_allclose(shown, [[1, -1, -1], [0.5, 1.5, -1], [0.5, 1, 1.5]])
    assert isinstance(image.norm, LogNorm)
    assert image.norm.vmax == 2
    assert [label.get_text() for label in image.colorbar.ax.get_yticklabels()] == ["0.5×", "1×", "2×"]


def test_more_than_the_null_is_blue_and_less_is_vermilion():
    image = plots.rollout(rolled(5), null=np.full((5, 5), 0.2)).images[0]
    assert [to_hex(image.cmap(end)) for end in (0.0, 1.0)] == ["#d55e00", "#0072b2"]


@settings(max_examples=10)
@given(seed=st.integers(0, 50), power=st.floats(0.05, 3))
def test_the_ratio_scale_is_symmetric_about_one(seed, power):
    matrix = rolled(12, seed=seed)
    null = matrix ** (1 + power)
    norm = plots.rollout(matrix, null=null).images[0].norm
    assert norm(1.0) == pytest.approx(0.5)
    assert norm.vmin * norm.vmax == pytest.approx(1)
    plt.close("all")


@pytest.mark.parametrize("shape", [(8,), (1, 8), (1, 1, 8)])
def test_one_row_is_drawn_as_bars_with_the_null_as_an_outline(shape):
    row, null = np.arange(1.0, 9) / 36, np.full(8, 1 / 8)
    ax = plots.rollout(row.reshape(shape), dates(8), null=null.reshape(shape))
    np.testing.assert_allclose(heights(ax), row)
    outline = ax.patches[0].get_data()
    np.testing.assert_allclose(outline.values, null)
    np.testing.assert_allclose(outline.edges, np.arange(9) - 0.5)
    assert ax.get_ylabel() == "Share of attention"
    assert "line: uniform attention" in ax.get_title(loc="left")


@pytest.mark.parametrize("shape", [(3, 5, 5), (2, 5), (1, 2, 3, 3)])
def test_several_windows_are_refused_with_the_repair(shape):
    with pytest.raises(ValueError, match=r"matrix must be one window.*e\.g\. matrix\[0\]"):
        plots.rollout(np.ones(shape))


def test_dates_of_decisions_instead_of_bars_are_refused():
    with pytest.raises(ValueError, match=r"each of the 6 keys\. Got 1\. Pass .* windows\.bar_dates"):
        plots.rollout(rolled(6), dates(1))


def test_a_null_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"null must have the matrix' shape \(6, 6\)\. Got \(1, 6\)"):
        plots.rollout(rolled(6), null=np.ones(6))


def test_importance_draws_a_bar_for_each_value_two_colours_for_two_signs():
    series = pd.Series([0.2, -0.1, 0.4], index=["t−2", "t−1", "t−0"])
    ax = plots.importance(series)
    np.testing.assert_allclose(heights(ax), series)
    assert [to_hex(c) for c in ax.collections[0].get_facecolor()] == ["#0072b2", "#d55e00", "#0072b2"]
    assert ax.get_ylabel() == "Importance [signed]"


def test_bars_below_their_null_are_pale():
    series = pd.Series([0.2, 0.3, 0.5], index=dates(3))
    ax = plots.importance(series, null=[0.3, 0.3, 0.4])
    assert [to_hex(c) for c in ax.collections[0].get_facecolor()] == ["#80b8d8", "#0072b2", "#0072b2"]


@pytest.mark.parametrize(("last", "cut"), [(0.7, True), (0.3, False)])
def test_a_bar_over_three_times_the_next_is_cut_and_its_value_written(last, cut):
    ax = plots.importance(pd.Series([0.1, 0.1, 0.11, last], index=dates(4)))
    assert (ax.get_ylim()[1] < last) == cut
    assert [text.get_text() for text in ax.texts] == (["0.7 ↑"] if cut else [])


def test_a_tall_null_counts_as_much_as_a_tall_bar():
    values, null = [0.1, 0.1, 0.1, 0.7], [0.4, 0.1, 0.1, 0.4]
    ax = plots.importance(pd.Series(values, index=dates(4)), null=null)
    assert ax.get_ylim()[1] > 0.7


def test_importance_takes_the_null_of_an_explanation():
    series = pd.Series([0.2, 0.3, 0.5], index=dates(3))
    ax = plots.importance(series, null=np.full((1, 3), 1 / 3))
    np.testing.assert_allclose(ax.patches[0].get_data()[0], 1 / 3)
    assert ax.get_ylabel() == "Importance [share]"
    with pytest.raises(ValueError, match=r"each of 3 bars\. Got \(4,\)"):
        plots.importance(series, null=np.ones(4))


def test_given_axes_are_drawn_on_and_returned():
    _, (first, second) = plt.subplots(1, 2, layout="constrained")
    assert plots.rollout(rolled(5), ax=first) is first
    assert plots.importance(pd.Series([0.4, 0.6], index=["t−1", "t−0"]), ax=second) is second
    assert len(plt.get_fignums()) == 1


def test_made_up_prices_are_named_in_titles():
    told = {"synthetic": True}
    series = pd.Series([1.0], index=["t−0"])
    series.attrs["provenance"] = told
    for ax in (plots.rollout(rolled(5), provenance=told), plots.importance(series)):
        assert ax.get_title(loc="left").startswith("SYNTHETIC")


@pytest.mark.parametrize(("count", "background"), [(5, "light"), (60, "dark"), (252, "light")])
def test_texts_can_be_read(readable, count, background):
    null = rolled(count, seed=1)
    with plots.theme(background):
        readable(plots.rollout(rolled(count), dates(count)).figure)
        readable(plots.rollout(rolled(count), null=null).figure)
        readable(plots.rollout(rolled(count)[-1], dates(count), null=null[-1]).figure)
