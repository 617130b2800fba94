"""Colours, titles, and the rules that hold for every plot."""

import ast
import doctest
import importlib
import pkgutil
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from workbench import plots
from workbench.plots.style import DISTINCT, palette, provenance_of, titled, worded

MODULES = [module.name for module in pkgutil.iter_modules(plots.__path__)]


def luminance(colour):
    """Relative luminance as WCAG 2 defines it."""
    channels = np.array(to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one, other):
    brighter, darker = sorted([luminance(one), luminance(other)], reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("background", ["light", "dark"])
def test_colours_stand_out_from_the_background(background):
    with plots.theme(background):
        face, shades = mpl.rcParams["axes.facecolor"], palette()
        assert contrast(shades.ink, face) > 7
        assert min(contrast(colour, face) for colour in (shades.up, shades.down)) > 3
        assert shades.dark == (background == "dark")


def test_light_colours_are_the_projects_blue_and_vermilion():
    assert (palette().up, palette().down) == ("#0072B2", "#D55E00")


def test_matplotlibs_own_dark_style_is_honoured():
    with plt.style.context("dark_background"):
        assert palette().dark
        ax = plots.importance(series())
        assert ax.get_facecolor()[:3] == (0, 0, 0)
        assert ax.yaxis.label.get_color() == "white"


def series():
    return pd.Series([0.4, 0.6], index=["t−1", "t−0"])


def test_a_theme_ends_with_its_block():
    before = dict(mpl.rcParams)
    with plots.theme("dark"):
        assert mpl.rcParams["axes.facecolor"] != before["axes.facecolor"]
    assert dict(mpl.rcParams) == before


def test_an_unknown_theme_is_refused():
    with pytest.raises(ValueError, match=r"'light' or 'dark'\. Got 'sepia'"), plots.theme("sepia"):
        pass


def test_the_signed_colours_pass_through_grey():
    low, middle, high = (palette().signed(end)[:3] for end in (0.0, 0.5, 1.0))
    assert low == pytest.approx(to_rgb("#D55E00"), abs=0.01)
    assert high == pytest.approx(to_rgb("#0072B2"), abs=0.01)
    assert np.ptp(middle) < 0.02


def test_distinct_colours_are_distinct():
    assert len(set(DISTINCT)) == len(DISTINCT)


def test_a_title_breaks_between_facts_and_within_one_only_if_it_must():
    assert worded(3, "head", "a" * 20, "b" * 20, "c" * 15) == f"head\n{'a' * 20}\n{'b' * 20} · {'c' * 15}"
    assert worded(2, "head", "word " * 10).count("\n") == 2
    assert worded(9, "head", "", "fact") == "head\nfact"


def test_synthetic_comes_first_in_a_title():
    _, ax = plt.subplots()
    titled(ax, "AAPL", provenance={"synthetic": True})
    assert ax.get_title(loc="left") == "SYNTHETIC · AAPL"


def test_provenance_is_found_on_results_and_frames():
    frame = series()
    assert provenance_of(frame, None) == {}
    frame.attrs["provenance"] = {"ticker": "A"}
    assert provenance_of(None, frame) == {"ticker": "A"}
    assert provenance_of({"ticker": "B"}, frame) == {"ticker": "B"}


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_are_true(name):
    results = doctest.testmod(importlib.import_module(f"workbench.plots.{name}"))
    assert results.failed == 0


@pytest.mark.parametrize("name", MODULES)
def test_no_plot_is_shown_and_no_other_layer_imported(name):
    source = (Path(plots.__path__[0]) / f"{name}.py").read_text(encoding="utf-8")
    tree = ast.parse(source)
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert "show" not in [getattr(call, "attr", getattr(call, "id", "")) for call in calls]
    modules = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    ours = [module for module in modules if module.startswith("workbench")]
    assert all(module.startswith("workbench.plots.") for module in ours if module != "workbench.files")


def test_every_public_plot_is_reached_through_the_package():
    expected = {
        "Moment", "agreement", "architecture", "attention_by_outcome", "attention_grid",
        "attention_over_time", "attribution", "backtest", "decomposition_over_time", "gate_animation",
        "gate_norms", "gates", "high_attention_days", "history", "importance", "intervals", "learning_curves",
        "memory", "methods", "moment", "performance", "portfolio_bars", "portfolio_over_time", "prices",
        "recurrent_animation", "recurrent_edges", "recurrent_graph", "rollout", "saturation",
        "shares_over_time", "signals_before_drawdowns", "stock_matrix", "theme", "units_over_time",
    }  # fmt: skip
    assert set(plots.__all__) == expected
    assert all(callable(getattr(plots, name)) for name in expected)
