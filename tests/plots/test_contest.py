import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from workbench import plots
from workbench.plots.style import palette

NAMES = ["hist", "a_model_whose_name_is_quite_long_indeed", "$\\frac <b>"]


@pytest.fixture
def table() -> pd.DataFrame:
    values = {"mean": [0.04, 0.01, -0.05], "low": [0.01, -0.02, -0.09], "high": [0.07, 0.04, -0.01]}
    return pd.DataFrame(values, index=NAMES)


@pytest.fixture
def curves() -> dict[str, pd.DataFrame]:
    rng = np.random.default_rng(0)
    index = pd.RangeIndex(1, 6, name="epoch")
    return {name: pd.DataFrame(rng.normal(size=(5, 3)), index=index) for name in [*NAMES, "gru", "tcn"]}


@pytest.mark.parametrize("background", ["light", "dark"])
def test_everything_can_be_read_on_either_background(table, curves, background: str):
    with plots.theme(background):
        for figure in (
            plots.intervals(table, "IC").figure,
            plots.learning_curves(curves, "loss")["gru"].figure,
        ):
            figure.canvas.draw()
            boxes = [t.get_window_extent() for t in figure.findobj(plt.Text) if t.get_text()]
            assert min(box.x0 for box in boxes if box.width > 1) > 0


def test_every_interval_stands_where_its_numbers_are(table):
    ax = plots.intervals(table, "IC", head="Who ranks best?")
    lines = [line for line in ax.lines if len(line.get_xdata()) == 2][:3]
    assert [list(line.get_xdata()) for line in lines] == table[["low", "high"]].to_numpy().tolist()
    dots = [line.get_xdata()[0] for line in ax.lines if len(line.get_xdata()) == 1]
    assert dots == table["mean"].tolist()
    assert ax.get_title(loc="left").startswith("Who ranks best?")
    assert ax.get_yticklabels()[0].get_text() == "hist"
    assert ax.yaxis_inverted()


def test_what_leaves_chance_out_is_filled_and_coloured_by_its_side(table):
    ax = plots.intervals(table, "IC")
    dots = [line for line in ax.lines if len(line.get_xdata()) == 1]
    colours = [to_rgb(dot.get_color()) for dot in dots]
    assert colours == [to_rgb(c) for c in (palette().up, palette().ink, palette().down)]
    faces = [to_rgb(dot.get_markerfacecolor()) for dot in dots]
    assert faces == [colours[0], to_rgb(ax.get_facecolor()), colours[2]]


def test_another_chance_moves_the_line(table):
    ax = plots.intervals(table, "hit rate", chance=0.02)
    dots = [line for line in ax.lines if len(line.get_xdata()) == 1]
    assert to_rgb(dots[0].get_color()) == to_rgb(palette().ink)
    assert list(ax.lines[-1].get_xdata()) == [0.02, 0.02]


def test_a_thin_line_a_seed_and_a_thick_one_for_the_mean(curves):
    drawn = plots.learning_curves(curves, "loss")
    assert list(drawn) == list(curves)
    *seeds, mean = drawn["gru"].lines
    assert len(seeds) == 3
    np.testing.assert_allclose(mean.get_ydata(), curves["gru"].mean(axis=1))
    assert drawn["gru"].get_ylim() == drawn["tcn"].get_ylim()


def test_given_axes_are_used_and_made_up_prices_named(table):
    table.attrs["provenance"] = {"synthetic": True}
    _, mine = plt.subplots(layout="constrained")
    assert plots.intervals(table, "IC", ax=mine) is mine
    assert mine.get_title(loc="left").startswith("SYNTHETIC")


def test_what_is_no_table_is_refused(table):
    with pytest.raises(ValueError, match=r"columns mean, low, high\. Got 3 rows"):
        plots.intervals(table[["mean"]], "IC")
    with pytest.raises(ValueError, match="That of 'hist' is not"):
        plots.intervals(table.assign(mean=np.nan), "IC")
    with pytest.raises(ValueError, match=r"Without one: \['a'\]"):
        plots.learning_curves({"a": pd.DataFrame()}, "loss")
    with pytest.raises(ValueError, match="Without one: all"):
        plots.learning_curves({}, "loss")
