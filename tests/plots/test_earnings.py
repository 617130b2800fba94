"""Figures, years and months as drawn, against the tables they were given."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection, QuadMesh

from workbench import plots

NAN = float("nan")


def tables(first: str = "2011-04", months: int = 24) -> tuple[pd.DataFrame, pd.DataFrame, pd.Series]:
    figures = pd.DataFrame(
        {
            "strategy": [22.7, 24.2, 0.97, -14.7],
            "buy and hold": [14.2, 30.1, 0.59, -38.1],
            "cash": [0.0, 0.0, NAN, 0.0],
        },
        index=["CAGR [%]", "Volatility (ann.) [%]", "Sharpe", "Max drawdown [%]"],
    )
    index = pd.period_range(first, periods=months, freq="M").astype(str)
    values = pd.Series(np.linspace(-9, 19, months), index=index)
    years = pd.DataFrame(
        {"strategy": [-2.9, 28.7, 17.8], "buy and hold": [19.1, 32.6, -18.7], "share": [0.73, 0.99, 0.16]},
        index=[2011, 2012, 2013],
    )
    return figures, years, values


def test_each_row_of_figures_is_scaled_to_itself_and_zero():
    ax = plots.performance(*tables())["figures"]
    dots = {
        c.get_label(): np.asarray(c.get_offsets()) for c in ax.collections if isinstance(c, PathCollection)
    }
    np.testing.assert_allclose(dots["strategy"][:, 0], [1, 24.2 / 30.1, 1, (38.1 - 14.7) / 38.1])
    np.testing.assert_allclose(dots["buy and hold"][:, 0], [14.2 / 22.7, 1, 0.59 / 0.97, 0])
    np.testing.assert_allclose(dots["cash"][[0, 1, 3], 0], [0, 0, 1])
    np.testing.assert_array_equal(dots["strategy"][:, 1], range(4))


def test_an_undefined_figure_is_a_dash_and_no_dot():
    ax = plots.performance(*tables())["figures"]
    written = [text.get_text() for text in ax.texts]
    assert written.count("–") == 1
    [cash] = [c for c in ax.collections if c.get_label() == "cash"]
    assert np.isnan(np.ma.filled(cash.get_offsets(), np.nan)[2, 0])
    assert {"22.7", "0.97", "−38.1", "0.00"} <= set(written)


def test_years_are_bars_of_their_returns_and_partial_ones_say_so():
    ax = plots.performance(*tables())["years"]
    heights = [[bar.get_height() for bar in group] for group in ax.containers]
    assert heights == [[-2.9, 28.7, 17.8], [19.1, 32.6, -18.7]]
    labels = [label.get_text() for label in ax.get_xticklabels()]
    assert labels == ["2011\n73 %", "2012", "2013\n16 %"]


def test_months_stand_in_the_cell_of_their_year_and_month():
    figures, years, months = tables("2011-11", 3)
    ax = plots.performance(figures, years, months)["months"]
    [mesh] = [c for c in ax.collections if isinstance(c, QuadMesh)]
    cells = np.ma.filled(mesh.get_array(), np.nan)
    assert cells.shape == (2, 12)
    np.testing.assert_array_equal(np.argwhere(np.isfinite(cells)), [[0, 10], [0, 11], [1, 0]])
    np.testing.assert_allclose(cells[np.isfinite(cells)], months)
    places = {text.get_text(): text.get_position() for text in ax.texts if text.get_text()}
    assert places == {"−9.0": (10.5, 0.5), "5.0": (11.5, 0.5), "19.0": (0.5, 1.5)}


def test_a_loss_and_a_gain_of_the_same_size_are_as_far_from_the_background():
    figures, years, months = tables(months=2)
    months[:] = [-5.0, 5.0]
    ax = plots.performance(figures, years, months)["months"]
    [mesh] = [c for c in ax.collections if isinstance(c, QuadMesh)]
    assert mesh.norm(0.0) == 0.5
    assert (mesh.norm(-5.0), mesh.norm(5.0)) == (0.0, 1.0)


def test_periods_do_as_months():
    figures, years, months = tables()
    months.index = pd.PeriodIndex(months.index, freq="M")
    assert plots.performance(figures, years, months)["months"].get_yticklabels()[0].get_text() == "2011"


def test_made_up_prices_are_named():
    ax = plots.performance(*tables(), provenance={"synthetic": True})["figures"]
    assert ax.get_title(loc="left").startswith("SYNTHETIC")


def test_months_without_any_gain_or_loss_are_drawn():
    figures, years, months = tables()
    plots.performance(figures, years, 0 * months)["months"].get_figure().canvas.draw()


@pytest.mark.parametrize("empty", [0, 1, 2])
def test_an_empty_table_is_refused(empty: int):
    given = [table.iloc[:0] if i == empty else table for i, table in enumerate(tables())]
    with pytest.raises(ValueError, match=r"must hold at least one row\. Got none"):
        plots.performance(*given)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("years", [2, 14])
def test_every_word_can_be_read(theme: str, years: int, readable):
    figures, _, months = tables("2000-01", 12 * years)
    table = pd.DataFrame(
        {"strategy": 10.0, "buy and hold": -5.0, "share": 0.5}, index=range(2000, 2000 + years)
    )
    with plots.theme(theme):
        axes = plots.performance(figures, table, months)
    readable(axes["figures"].get_figure())
    plt.close("all")
