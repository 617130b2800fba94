import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from workbench import plots
from workbench.plots.style import palette

NAMES = ["rollout", "gradient_x_input", "$\\frac <b> of a method whose name is long"]


def table(values, **attrs):
    frame = pd.DataFrame(values, index=NAMES, columns=NAMES)
    frame.attrs |= attrs
    return frame


@pytest.fixture
def ranks():
    return table([[1, 0.4, np.nan], [0.4, 1, -0.25], [np.nan, -0.25, 1]])


@pytest.fixture
def shares():
    return table([[1, 0.4, 0.05], [0.4, 1, 0.25], [0.05, 0.25, 1]], chance=0.2, k=5)


@pytest.mark.parametrize("background", ["light", "dark"])
def test_everything_can_be_read_on_either_background(ranks, shares, background):
    """A number stands on its own cell, not on the figure's face, so it is judged against that."""
    with plots.theme(background):
        for drawn in (plots.agreement(ranks), plots.agreement(shares)):
            drawn.figure.canvas.draw()
            boxes = [text.get_window_extent() for text in drawn.figure.findobj(plt.Text) if text.get_text()]
            assert min(box.x0 for box in boxes if box.width > 1) > 0
            values = drawn.images[0].get_array()
            cells = drawn.images[0].to_rgba(values)
            for text in drawn.texts:
                x, y = text.get_position()
                if text.get_text() != "–":
                    contrast = abs(plt.matplotlib.colors.to_rgb(text.get_color()) - cells[y, x, :3])
                    assert contrast.max() > 0.4


def test_every_number_stands_in_its_cell():
    ax = plots.agreement(table([[1, 0.4, np.nan], [0.3, 1, -0.25], [0.2, 0.1, 1]]))
    said = {text.get_position(): text.get_text() for text in ax.texts}
    assert said[0, 0] == "1.00"
    assert (said[1, 0], said[0, 1]) == ("0.40", "0.30")  # across, then down
    assert (said[2, 1], said[1, 2]) == ("−0.25", "0.10")
    assert (said[2, 0], said[0, 2]) == ("–", "0.20")
    assert [label.get_text() for label in ax.get_yticklabels()][:2] == ["1 rollout", "2 gradient_x_input"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "2", "3"]


def test_next_to_nothing_has_no_sign(ranks):
    ranks.iloc[0, 1] = ranks.iloc[1, 0] = -0.001
    assert "0.00" in [text.get_text() for text in plots.agreement(ranks).texts]


def test_correlations_are_coloured_about_zero_and_shares_about_chance(ranks, shares):
    up, down = (np.array(plt.matplotlib.colors.to_rgb(c)) for c in (palette().up, palette().down))
    image = plots.agreement(ranks).images[0]
    assert image.get_clim() == (-1, 1)
    np.testing.assert_allclose(image.to_rgba([1.0])[0, :3], up, atol=0.01)
    np.testing.assert_allclose(image.to_rgba([-1.0])[0, :3], down, atol=0.01)
    ax = plots.agreement(shares)
    image = ax.images[0]
    grey = image.to_rgba([0.2])[0, :3]
    assert np.ptp(grey) < 0.03
    np.testing.assert_allclose(image.to_rgba([0.0])[0, :3], down, atol=0.01)
    assert "by chance 0.2" in ax.get_title(loc="left")
    assert "the 5 bars" in ax.get_title(loc="left")


def test_chance_can_be_told_apart_from_the_table(shares):
    image = plots.agreement(shares, chance=0.5).images[0]
    assert np.ptp(image.to_rgba([0.5])[0, :3]) < 0.03
    whole = pd.DataFrame([[1.0]], index=["a"], columns=["a"])
    assert plots.agreement(whole, chance=1.0).images[0].get_array()[0, 0] == 1


def test_made_up_prices_are_named_and_given_axes_are_used(ranks):
    ranks.attrs["provenance"] = {"synthetic": True}
    _, mine = plt.subplots(layout="constrained")
    assert plots.agreement(ranks, ax=mine) is mine
    assert mine.get_title(loc="left").startswith("SYNTHETIC")


@pytest.mark.parametrize(
    ("values", "chance", "message"),
    [
        (
            pd.DataFrame([[1.0, 0.5]], index=["a"], columns=["a", "b"]),
            None,
            "same methods as rows and columns",
        ),
        (pd.DataFrame(), None, "same methods"),
        (pd.DataFrame([[1.2]], index=["a"], columns=["a"]), None, "from -1 to 1. Got 1.2"),
        (pd.DataFrame([[-0.2]], index=["a"], columns=["a"]), 0.1, "from 0 to 1. Got -0.2. With chance"),
    ],
)
def test_what_is_no_agreement_is_refused(values, chance, message):
    with pytest.raises(ValueError, match=message):
        plots.agreement(values, chance=chance)
