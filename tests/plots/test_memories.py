"""Memory lengths above the lags of attention and gradient, against hand-worked shares."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench import plots


def units(*lengths, layer="rnn.l0"):
    index = pd.MultiIndex.from_product([[layer], range(len(lengths))], names=["layer", "unit"])
    return pd.DataFrame({"memory_length": lengths}, index=index)


def heights(ax):
    """{bar: (bottom, top)} of the highest bar drawn at each place."""
    found = {}
    for drawn in ax.collections:
        for path in drawn.get_paths():
            x, y = path.vertices[:4].T
            if y.max() > y.min():
                found[round(float(x.mean()))] = (round(float(y.min()), 9), round(float(y.max()), 9))
    return found


def gradient(*values):
    return pd.DataFrame({"input_gradient": values}, index=pd.RangeIndex(len(values), name="lag"))


def test_three_panels_worked_by_hand(readable):
    remembered = pd.concat([units(0.4, 1.0, 1.4, 2.6), units(1.0, 40.0, np.nan, layer="rnn.l1")])
    panels = plots.memory(remembered, [1.0, 2.0, 3.0, 4.0], gradient(6.0, 3.0, 1.0, 0.0))
    assert list(panels) == ["memory", "attention", "input_gradient"]
    assert heights(panels["memory"]) == {0: (0, 1), 1: (2, 3), 3: (0, 1)}  # bar 1: two of l0, then one of l1
    assert heights(panels["attention"]) == {0: (0, 40), 1: (0, 30), 2: (0, 20), 3: (0, 10)}
    assert heights(panels["input_gradient"]) == {0: (0, 60), 1: (0, 30), 2: (0, 10)}
    marks = {name: float(ax.lines[0].get_xdata()[0]) for name, ax in panels.items()}
    assert marks == pytest.approx({"memory": 1.2, "attention": 1.0, "input_gradient": 0.5})
    title = " ".join(panels["memory"].get_title(loc="left").split())
    assert title == "Memory: the median unit's is 1.2 bars 1 of 6 units remembers beyond the 4 bars"
    assert panels["attention"].get_title(loc="right") == "mean lag 1.0 bars"
    assert len({ax.get_xlim() for ax in panels.values()}) == 1
    assert panels["input_gradient"].get_xlabel() == "Lag [bars before the decision]"
    readable(panels["memory"].figure)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(0.01, 200), min_size=1, max_size=40), st.integers(1, 80))
def test_every_unit_is_drawn_or_counted_as_beyond(lengths, bars):
    panels = plots.memory(units(*lengths), np.ones(bars))
    drawn = sum(top - bottom for bottom, top in heights(panels["memory"]).values())
    beyond = sum(length > bars - 0.5 for length in lengths)
    assert drawn + beyond == len(lengths)
    told = panels["memory"].get_title(loc="left")
    assert (f"{beyond} of {len(lengths)} unit" in told) is (beyond > 0)
    plt.close("all")


@pytest.mark.parametrize(("count", "bars", "dark"), [(4, 1, True), (256, 500, False), (64, 60, True)])
def test_few_and_many_can_be_read(readable, count, bars, dark):
    rng = np.random.default_rng(0)
    with plots.theme("dark" if dark else "light"):
        lengths = np.exp(rng.normal(2, 1.5, count))
        panels = plots.memory(units(*lengths), rng.random(bars), gradient(*rng.random(bars)),
                              provenance={"synthetic": True})  # fmt: skip
        readable(panels["memory"].figure)
    assert panels["memory"].get_title(loc="left").startswith("SYNTHETIC")


def test_memory_alone_takes_given_axes(readable):
    _, ax = plt.subplots(layout="constrained")
    panels = plots.memory(units(3.0, 5.0, np.inf), ax=ax)
    assert panels == {"memory": ax}
    assert "the median unit's is 5 bars" in ax.get_title(loc="left")
    readable(ax.figure)


def test_what_does_not_fit_is_refused_in_words():
    with pytest.raises(ValueError, match=r"column memory_length \[bars\] of 0 or more"):
        plots.memory(units(1.0).rename(columns={"memory_length": "x"}))
    with pytest.raises(ValueError, match=r"of 0 or more"):
        plots.memory(units(1.0, -2.0))
    with pytest.raises(ValueError, match=r"of one window's bars\. Got 2 and 3"):
        plots.memory(units(1.0), np.ones(3), gradient(1.0, 2.0))
    with pytest.raises(ValueError, match=r"attention must be one number of 0 or more a bar.*abs\(why"):
        plots.memory(units(1.0), [1.0, -1.0])
    with pytest.raises(ValueError, match=r"input_gradient must be one number of 0 or more a bar, not all 0"):
        plots.memory(units(1.0), lags=gradient(0.0, 0.0))
    with pytest.raises(ValueError, match=r"lags must be by lag, 0, 1, 2 …, with a column input_gradient"):
        plots.memory(units(1.0), lags=gradient(1.0, 2.0).iloc[::-1])


def test_one_unit_and_one_bar_are_called_so():
    title = plots.memory(units(1.0), [1.0])["memory"].get_title(loc="left").replace("\n", " ")
    assert title == "Memory: the median unit's is 1 bar 1 of 1 unit remembers beyond the 1 bar"
