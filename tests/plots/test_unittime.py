"""Units over time, with candles above on the same bars."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench import plots


def image(panels):
    return np.ma.filled(panels["units"].images[0].get_array().astype(float), np.nan)


def test_units_stand_under_the_candles_of_their_bars(layer_of, walk, readable):
    layer, prices = layer_of(time=20, unit=6), walk(30)
    panels = plots.units_over_time(layer.cell[0], prices.index[5:25], prices)
    np.testing.assert_array_equal(image(panels), layer.cell[0].T)
    assert panels["price"].get_xlim() == panels["units"].get_xlim() == (-0.5, 19.5)
    bodies = panels["price"].collections[1].get_paths()
    assert len(bodies) == 20
    opened, close = prices["open"].iloc[5], prices["close"].iloc[5]
    assert sorted({float(y) for y in bodies[0].vertices[:4, 1]}) == pytest.approx(sorted([opened, close]))
    assert panels["units"].images[0].norm.vmin == -panels["units"].images[0].norm.vmax
    readable(panels["price"].figure)
    assert panels["price"].get_position().x1 == pytest.approx(panels["units"].get_position().x1, abs=1e-3)


def test_decisions_five_bars_apart_are_drawn_until_the_next_worked_by_hand(walk, readable):
    prices = walk(40)
    at = [0, 2, 4, 10]  # usually 2 apart: from 4 it holds for 2 bars, then nothing is known
    panels = plots.units_over_time(np.array([[0.1], [0.2], [0.3], [0.4]]), prices.index[at], prices, "forget")
    wanted = [0.1, 0.1, 0.2, 0.2, 0.3, 0.3, *[np.nan] * 4, 0.4, 0.4]
    np.testing.assert_array_equal(image(panels), [wanted])
    assert panels["units"].images[0].get_clim() == (0, 1)
    title = panels["price"].get_title(loc="left")
    assert title.startswith("Forget gate of 1 unit, with AAPL")
    assert "every 2 bars, drawn until the next" in " ".join(title.split())
    readable(panels["price"].figure)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 30))
def test_no_value_is_drawn_before_its_date(seed, count):
    rng = np.random.default_rng(seed)
    close = pd.DataFrame({"close": rng.random(60) + 1}, pd.bdate_range("2011-03-01", periods=60))
    at = np.sort(rng.choice(60, count, replace=False))
    drawn = image(plots.units_over_time(rng.random((count, 2)), close.index[at], close, "update"))
    values = np.random.default_rng(seed)  # the same stream again
    values.random(60)
    values.choice(60, count, replace=False)
    given_ = values.random((count, 2))
    for column in range(drawn.shape[1]):
        before = np.flatnonzero(at - at[0] <= column)[-1]
        shown = drawn[:, column]
        assert np.isnan(shown).all() or (shown == given_[before]).all()
        if column == at[before] - at[0]:
            np.testing.assert_array_equal(shown, given_[before])
    plt.close("all")


@pytest.mark.parametrize(("unit", "time", "dark"), [(4, 1, False), (256, 500, True), (64, 5, True)])
def test_few_and_many_can_be_read(walk, readable, unit, time, dark):
    prices = walk(time)
    with plots.theme("dark" if dark else "light"):
        values = np.random.default_rng(0).uniform(-1, 1, (time, unit))
        panels = plots.units_over_time(values, prices.index, prices, "hidden")
        readable(panels["price"].figure)
    assert panels["units"].images[0].get_clim() == (-1, 1)


def test_made_up_prices_are_named_and_given_axes_divided(walk):
    _, ax = plt.subplots(layout="constrained")
    prices = walk(10, synthetic=True)
    panels = plots.units_over_time(np.zeros((10, 2)), prices.index, prices, ax=ax)
    assert panels["price"] is ax
    assert ax.get_title(loc="left").startswith("SYNTHETIC")


def test_what_does_not_fit_is_refused_in_words(walk):
    prices = walk(10)
    with pytest.raises(ValueError, match=r"Got None: a GRU has no cell\. Draw layer\.hidden\[0\]"):
        plots.units_over_time(None, prices.index, prices)
    with pytest.raises(
        ValueError, match=r"one row for each of the 10 dates\. Got \(9, 2\).*layer\.cell\[0\]"
    ):
        plots.units_over_time(np.zeros((9, 2)), prices.index, prices)
    with pytest.raises(ValueError, match=r"1 are not there, the\s+first is 2010-01-01"):
        plots.units_over_time(np.zeros((1, 2)), pd.DatetimeIndex(["2010-01-01"]), prices)
    with pytest.raises(ValueError, match=r"are not there"):
        plots.units_over_time(np.zeros((10, 2)), prices.index.tz_localize("UTC"), prices)
    with pytest.raises(ValueError, match=r"dates must each occur once\. 2011-03-02"):
        plots.units_over_time(np.zeros((3, 2)), prices.index[[0, 1, 1]], prices)
