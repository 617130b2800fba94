"""Signals around drawdowns as drawn, against the table they are of."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from workbench import plots

DATES = pd.bdate_range("2011-03-01", periods=40, name="date")


def drawdowns_of(*spans: tuple[int, int], of: pd.DatetimeIndex = DATES) -> pd.DataFrame:
    peaks, troughs = zip(*spans, strict=True)
    depths = [-0.3 / (1 + number) for number in range(len(spans))]
    return pd.DataFrame(
        {"peak": of[list(peaks)], "trough": of[list(troughs)], "recovery": pd.NaT, "depth": depths},
        index=pd.RangeIndex(1, len(spans) + 1, name="drawdown"),
    )


def contrast_of(
    names: list[str], family: float = 0.4, phases: tuple[str, ...] = ("before", "fall")
) -> SimpleNamespace:
    index = pd.MultiIndex.from_product([list(phases), names], names=["phase", "signal"])
    count = len(index)
    columns = {"difference": np.linspace(-0.5, 1.0, count), "chance": np.full(count, 0.5)}
    columns |= {"p_value": np.linspace(0.9, 0.01, count), "family_p_value": np.full(count, 0.9)}
    table = pd.DataFrame(columns, index=index)
    table.iloc[-1, table.columns.get_loc("family_p_value")] = family
    return SimpleNamespace(table=table, drawdowns=drawdowns_of((10, 15), (25, 39)), decisions=40, bars=4)


@pytest.fixture
def account():
    """Money and signals of the same dates."""
    rng = np.random.default_rng(0)
    equity = pd.Series(1e5 * np.exp(np.cumsum(0.01 * rng.normal(size=40))), DATES)
    daily = pd.DataFrame(rng.normal(size=(40, 4)) * [1, 5, 0.1, 2] + 3, DATES, columns=list("abcd"))
    daily.attrs["provenance"] = {"currency": "USD"}
    return equity, daily


def test_the_money_has_its_falls_shaded_and_numbered_from_the_deepest(account):
    equity, daily = account
    panels = plots.signals_before_drawdowns(contrast_of(list("abcd")), daily, equity)
    ax = panels["equity"]
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), equity)
    spans = [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in ax.patches]
    assert spans == [(10.5, 15.5), (6.5, 10.5), (25.5, 39.5), (21.5, 25.5)]
    assert [(text.get_text(), text.xy[0]) for text in ax.texts] == [("1", 10), ("2", 25)]
    assert ax.get_ylabel() == "Equity [USD]"
    assert len(panels["signals"].patches) == 4


def test_the_signals_drawn_are_those_that_stand_out_in_their_own_spread(account):
    equity, daily = account
    panels = plots.signals_before_drawdowns(contrast_of(list("abcd")), daily, equity)
    labels = [text.get_text() for text in panels["signals"].get_legend().get_texts()]
    assert labels == ["d", "c"]
    drawn = panels["signals"].lines[0].get_ydata()
    np.testing.assert_allclose(drawn, (daily["d"] - daily["d"].mean()) / daily["d"].std(ddof=0))
    asked = plots.signals_before_drawdowns(contrast_of(list("abcd")), daily, equity, ["a", "b", "c"])
    assert [text.get_text() for text in asked["signals"].get_legend().get_texts()] == ["a", "b", "c"]


def test_every_difference_stands_beside_chance_and_what_stands_out_is_filled(account):
    equity, daily = account
    contrast = contrast_of(list("abcd"), family=0.03)
    ax = plots.signals_before_drawdowns(contrast, daily, equity)["null"]
    before, fall = ax.collections
    ratio = (contrast.table["difference"] / contrast.table["chance"]).to_numpy()
    np.testing.assert_allclose(before.get_offsets()[:, 0], ratio[:4])
    np.testing.assert_allclose(fall.get_offsets()[:, 0], ratio[4:])
    np.testing.assert_allclose(fall.get_offsets()[:, 1], np.array([3, 2, 1, 0]) - 0.14)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["d", "c", "b", "a"]
    faces = [to_hex(face) for face in fall.get_facecolors()]
    assert faces[:3] == [to_hex(ax.get_facecolor())] * 3
    assert faces[3] == plots.style.palette().down.lower()
    band = ax.patches[0]
    assert (band.get_x(), band.get_width()) == (-1, 2)
    assert ax.get_xlim()[1] > 2


def test_the_title_says_how_many_stand_out_and_names_made_up_prices(account):
    equity, daily = account

    def title(contrast: SimpleNamespace, **told: bool) -> str:
        ax = plots.signals_before_drawdowns(contrast, daily, equity, provenance=told or None)["equity"]
        return ax.get_title(loc="left").replace("\n", " · ")

    assert "Worst drawdowns (2): −30.0 to −15.0 %" in title(contrast_of(["a"]))
    none = "none of 2 differences stands out among 40 shifts · least family-wise p = 0.4"
    assert none in title(contrast_of(["a"]))
    assert "1 of 2 differences stands out among 40 shifts · least family-wise p = 0.01" in title(
        contrast_of(["a"], 0.01)
    )
    assert title(contrast_of(["a"]), synthetic=True).startswith("SYNTHETIC")
    still = contrast_of(["a"])
    still.table[["family_p_value", "difference"]] = np.nan
    assert "no signal varies" in title(still)


def test_signals_that_are_not_there_or_too_many_are_refused(account):
    equity, daily = account
    for asked in (["a", "z"], list("abcd")):
        with pytest.raises(ValueError, match="up to 3 of the columns"):
            plots.signals_before_drawdowns(contrast_of(list("abcd")), daily, equity, asked)


@pytest.mark.parametrize("background", ["light", "dark"])
def test_texts_can_be_read(readable, background: str):
    dates = pd.bdate_range("2011-03-01", periods=400, name="date")
    rng = np.random.default_rng(0)
    equity = pd.Series(1e5 * np.exp(np.cumsum(0.01 * rng.normal(size=400))), dates)
    names = [
        f"lstm.l{layer} {name}"
        for layer in (0, 1)
        for name in ("forget", "candidate size", "output", "cell size")
    ]
    daily = pd.DataFrame(rng.normal(size=(400, 8)), dates, columns=names)
    contrast = contrast_of(names, phases=("before",))
    contrast.drawdowns = drawdowns_of((50, 90), (150, 152), (300, 320), of=dates)
    with plots.theme(background):
        readable(plots.signals_before_drawdowns(contrast, daily, equity)["equity"].figure)


def test_signals_go_by_family_wise_p_and_then_by_p(account):
    equity, daily = account
    contrast = contrast_of(list("abcd"))
    contrast.table.loc[("before", "b"), "family_p_value"] = 0.2
    labels = plots.signals_before_drawdowns(contrast, daily, equity)["signals"].get_legend().get_texts()
    assert [text.get_text() for text in labels] == ["b", "d"]


@pytest.mark.parametrize("background", ["light", "dark"])
def test_what_was_not_compared_is_not_shaded_and_the_title_says_why(account, readable, background):
    equity, daily = account
    contrast = contrast_of(list("abcd"), phases=("fall",))
    contrast.bars = 9999
    with plots.theme(background):
        ax = plots.signals_before_drawdowns(contrast, daily, equity)["equity"]
        readable(ax.figure)
    assert spans(ax) == [(10.5, 15.5), (25.5, 39.5)]
    assert "no drawdown has 9,999 decisions before its peak · coloured: the fall" in said(ax)
    contrast.bars = 12  # the first peak has 11
    ax = plots.signals_before_drawdowns(contrast, daily, equity)["equity"]
    assert spans(ax) == [(10.5, 15.5), (25.5, 39.5), (13.5, 25.5)]
    alone = contrast_of(["a"], phases=("before",))
    alone.drawdowns = drawdowns_of((10, 10), (25, 25))
    ax = plots.signals_before_drawdowns(alone, daily, equity)["equity"]
    assert spans(ax) == [(6.5, 10.5), (21.5, 25.5)]
    assert "no drawdown has a decision in its fall" in said(ax)


def spans(ax) -> list[tuple[float, float]]:
    return [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in ax.patches]


def said(ax) -> str:
    return ax.get_title(loc="left").replace("\n", " ")


def test_numbers_at_the_ends_do_not_lie_on_the_axis(account):
    equity, daily = account
    contrast = contrast_of(list("abcd"))
    contrast.drawdowns = drawdowns_of((0, 3), (20, 25), (39, 39))
    ax = plots.signals_before_drawdowns(contrast, daily, equity)["equity"]
    assert [text.get_ha() for text in ax.texts] == ["left", "center", "right"]
    ax.figure.canvas.draw()
    left, right = (text.get_window_extent() for text in (ax.texts[0], ax.texts[2]))
    assert left.x0 > ax.bbox.x0 + 1
    assert right.x1 < ax.bbox.x1 - 1
