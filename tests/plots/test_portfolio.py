"""Asset to asset attribution as drawn, against the matrix."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench import plots

NAMES = ["AAPL", "GOOG", "IBM"]
SHARES = np.array([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3], [0.25, 0.25, 0.5]])


def spans(ax):
    """Start and end of the bars of each source asset: (source and sign, asset, 2)."""
    return np.array(
        [[(bar.get_x(), bar.get_x() + bar.get_width()) for bar in drawn] for drawn in ax.containers]
    )


def test_sources_are_stacked_in_order_and_each_row_ends_at_its_sum():
    drawn = spans(plots.portfolio_bars(SHARES, NAMES))[::2]
    np.testing.assert_allclose(drawn[0], [[0, 0.5], [0, 0.1], [0, 0.25]])
    np.testing.assert_allclose(drawn[1], [[0.5, 0.8], [0.1, 0.7], [0.25, 0.5]])
    np.testing.assert_allclose(drawn[2], [[0.8, 1.0], [0.7, 1.0], [0.5, 1.0]])


def test_negative_attribution_goes_left():
    matrix = np.array([[1.0, -2.0], [-3.0, -1.0]])
    ax = plots.portfolio_bars(matrix, ["A", "B"])
    positive, negative = spans(ax)[::2], spans(ax)[1::2]
    np.testing.assert_allclose(positive[0], [[0, 1], [0, 0]])
    np.testing.assert_allclose(negative[0], [[0, 0], [0, -3]])
    np.testing.assert_allclose(negative[1], [[0, -2], [-3, -4]])
    assert ax.get_xlabel() == "Attribution [signed]"


@settings(max_examples=10)
@given(count=st.integers(1, 14), seed=st.integers(0, 100))
def test_nothing_is_lost_however_many_assets(count, seed):
    matrix = np.random.default_rng(seed).normal(size=(count, count))
    drawn = spans(plots.portfolio_bars(matrix, [f"T{i}" for i in range(count)]))
    lengths = (drawn[..., 1] - drawn[..., 0]).sum(axis=0)
    np.testing.assert_allclose(lengths, matrix.sum(axis=1), atol=1e-9)
    plt.close("all")


def test_an_assets_own_part_is_outlined():
    ax = plots.portfolio_bars(SHARES, NAMES)
    outlined = [[bar.get_linewidth() > 0 for bar in drawn] for drawn in ax.containers[::2]]
    np.testing.assert_array_equal(outlined, np.eye(3, dtype=bool))


def test_the_strongest_sources_have_colours_and_the_rest_are_one():
    matrix = np.tile(np.arange(9.0), (9, 1))
    legend = plots.portfolio_bars(matrix, [f"T{i}" for i in range(9)]).get_legend()
    assert [text.get_text() for text in legend.get_texts()] == [
        "T3",
        "T4",
        "T5",
        "T6",
        "T7",
        "T8",
        "3 others",
    ]


def test_a_frame_names_its_assets():
    ax = plots.portfolio_bars(pd.DataFrame(SHARES, columns=NAMES))
    assert [label.get_text() for label in ax.get_yticklabels()] == NAMES


def test_shapes_and_names_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match=r"Got \(3, 3\) and 2 tickers"):
        plots.portfolio_bars(SHARES, NAMES[:2])
    with pytest.raises(ValueError, match=r"Got \(2, 3\)"):
        plots.portfolio_bars(SHARES[:2], NAMES)
    with pytest.raises(ValueError, match="tickers must name the assets"):
        plots.portfolio_bars(SHARES)


def test_given_axes_are_used_and_made_up_prices_named():
    _, ax = plt.subplots()
    assert plots.portfolio_bars(SHARES, NAMES, ax=ax, provenance={"synthetic": True}) is ax
    assert ax.get_title(loc="left").startswith("SYNTHETIC")
    assert ax.get_xlabel() == "Attribution [share]"


@pytest.mark.parametrize(("count", "background"), [(1, "light"), (5, "dark"), (20, "light")])
def test_texts_can_be_read(readable, count, background):
    names = [f"A-FUND-WITH-A-VERY-LONG-NAME-{i}" for i in range(count)]
    with plots.theme(background):
        readable(plots.portfolio_bars(np.eye(count), names).figure)
