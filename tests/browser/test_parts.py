"""The widgets alone and linked to each other by jslink, in JupyterLab, checked in their kernel."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from explorer_pages import ExplorerPage, serious
from jupyter_pages import ask_kernel, eventually, run_notebook, set_theme, write_notebook
from jupyter_servers import Server
from playwright.sync_api import Locator, Page, expect

import workbench as wb
from workbench.training.reopening import Reopened, bundled_models, reopen

DAY, MODEL = "2011-08-08", "transformer-AAPL"
CELLS = [
    "import workbench as wb\nfrom ipywidgets import VBox, jslink\n"
    "from workbench.training.reopening import bundled_models, reopen",
    f'''opened = reopen(bundled_models() / "{MODEL}")
day = opened.windows.at("{DAY}")
heatmap = wb.AttentionHeatmap(wb.attention_maps(opened.model, day.x), day.bar_dates, height=360)
chart = wb.PriceChart(opened.prices, wb.explain(opened.model, day), date="{DAY}", height=360)
picker = wb.RunPicker()
explorer = wb.Explorer(date="{DAY}")
jslink((heatmap, "row_weights"), (chart, "lit"))
jslink((picker, "run"), (explorer, "run"))
VBox([picker, heatmap, chart, explorer])''',
]


@pytest.fixture(scope="module")
def shown(page: Page, lab: Server) -> Page:
    """The page with all four, linked."""
    write_notebook(lab.folder, "parts.ipynb", *CELLS)
    page.set_viewport_size({"width": 1500, "height": 2400})
    run_notebook(page, lab, "parts.ipynb")
    ExplorerPage(page).open()
    return page


@pytest.fixture(scope="module")
def opened() -> Reopened:
    return reopen(bundled_models() / MODEL)


def heatmap(page: Page) -> Locator:
    return page.locator(".awb-map-widget")


def front(part: Locator) -> Locator:
    """The canvas that takes pointer and keys."""
    return part.locator("canvas.awb-front")


def chart(page: Page) -> Locator:
    """The price chart that is no part of an Explorer."""
    return page.locator(".awb-view.awb-candles:not(.awb-explorer *)")


def kernel_says(page: Page, expression: str) -> Any:
    """The value of an expression in the kernel."""
    return json.loads(ask_kernel(page, f"import json\nimport numpy as np\nprint(json.dumps({expression}))"))


def pixels(canvas: Locator) -> str:
    return canvas.evaluate("(canvas) => canvas.toDataURL()")


def test_a_heatmap_alone_takes_layer_head_and_row(shown: Page, opened: Reopened):
    part = heatmap(shown)
    part.locator('[data-awb="layer"]').select_option("0")
    head = part.locator('[data-awb="head"]')
    head.focus()
    shown.keyboard.press("End")
    eventually(shown, lambda: kernel_says(shown, "heatmap.head") == "3", "the kernel knows the last head")
    maps = wb.attention_maps(opened.model, opened.windows.at(DAY).x)
    wanted = maps.layers[0][0, 3].numpy()
    np.testing.assert_allclose(kernel_says(shown, "heatmap.weights.tolist()"), wanted, atol=1e-6)
    front(part).focus()
    shown.keyboard.press("ArrowUp")
    eventually(
        shown, lambda: kernel_says(shown, "heatmap.row") == len(wanted) - 1, "the last row is selected"
    )
    weights = kernel_says(shown, "np.frombuffer(heatmap.row_weights, np.float32).tolist()")
    np.testing.assert_allclose(weights, wanted[-1], atol=1e-6)


def test_a_row_of_the_heatmap_lights_the_candles_of_a_linked_chart(shown: Page, opened: Reopened):
    front(heatmap(shown)).focus()
    shown.keyboard.press("Escape")
    shown.keyboard.press("Escape")
    eventually(shown, lambda: kernel_says(shown, "len(chart.lit)") == 0, "no candle is lit")
    base = chart(shown).locator("canvas").first
    unlit = pixels(base)
    shown.keyboard.press("ArrowUp")
    eventually(shown, lambda: pixels(base) != unlit, "the candles are drawn anew")
    eventually(
        shown,
        lambda: kernel_says(shown, "chart.lit == heatmap.row_weights and len(chart.lit) == 240"),
        "both hold it",
    )


def test_a_chart_alone_takes_bar_and_span(shown: Page, opened: Reopened):
    canvas = front(chart(shown))
    canvas.focus()
    for _ in range(3):
        shown.keyboard.press("ArrowLeft")
    dates = opened.prices.index
    before = dates[dates.get_loc(pd.Timestamp(DAY)) - 3]
    eventually(
        shown, lambda: kernel_says(shown, "chart.date") == f"{before:%Y-%m-%d}", "the kernel knows the bar"
    )
    box = canvas.bounding_box()
    assert box is not None
    across = [box["x"] + 64 + share * (box["width"] - 78) for share in (0.4, 0.6)]
    shown.mouse.move(across[0], box["y"] + 60)
    shown.mouse.down()
    shown.mouse.move(sum(across) / 2, box["y"] + 60)
    shown.mouse.move(across[1], box["y"] + 60)
    shown.mouse.up()
    eventually(shown, lambda: len(kernel_says(shown, "chart.span")) == 2, "the kernel knows the span")
    first, last = kernel_says(shown, "[chart.first, chart.last]")
    span = [dates.get_loc(pd.Timestamp(text)) for text in kernel_says(shown, "chart.span")]
    wanted = [first + share * (last - first) for share in (0.4, 0.6)]
    np.testing.assert_allclose(span, wanted, atol=2)


def test_a_picker_moves_a_linked_explorer_to_another_model(shown: Page):
    explorer = ExplorerPage(shown)
    assert explorer.state()["run"] == MODEL
    part = shown.locator(".awb-picker")
    part.locator("select").select_option("lstm-AAPL")
    explorer.has_loaded("lstm")
    assert explorer.state()["run"] == "lstm-AAPL"
    assert explorer.props("heatmap", "values") == [None]
    assert "attention" in explorer.props("heatmap", "message")[0]
    expect(part).to_contain_text("lstm")


def test_a_choice_of_the_explorer_is_the_kernels_too(shown: Page):
    explorer = ExplorerPage(shown)
    explorer.press("candles", "ArrowLeft")
    day = explorer.state()["date"]
    eventually(shown, lambda: kernel_says(shown, "explorer.date") == day, "the kernel knows the day")
    ask_kernel(shown, f'explorer.date = "{DAY}"')
    eventually(shown, lambda: explorer.state()["date"] == DAY, "the page follows the kernel")
    explorer.settle()
    drawn = explorer.array("candles", "scores")
    in_kernel = np.asarray(kernel_says(shown, "explorer.explanation.scores[0].tolist()"))
    by_bar = in_kernel if in_kernel.ndim == 1 else in_kernel.sum(axis=1)
    np.testing.assert_allclose(drawn, by_bar, atol=1e-4 * np.abs(by_bar).max())


@pytest.mark.parametrize("dark", [True, False], ids=["dark", "light"])
def test_they_are_accessible_in_both_themes(shown: Page, dark: bool):
    set_theme(shown, dark)
    for part in (".awb-map-widget", ".awb-picker", ".jp-OutputArea-output .widget-vbox"):
        assert serious(shown, part) == []
