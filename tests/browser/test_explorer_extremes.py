"""The Explorer on what few would give it: a ticker that is HTML, windows of 5,000 bars, 12 layers."""

import ast
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from explorer_pages import ExplorerPage, serious
from jupyter_pages import run_notebook, write_notebook
from jupyter_servers import Server
from playwright.sync_api import Page, expect

import workbench as wb

HOSTILE = "<img src=x onerror=window.broken=1>"
BARS, LAYERS = 5_000, 12
CELLS = [
    "import workbench as wb",
    f'''prices = wb.load_prices("{HOSTILE}.csv", source="csv")
features, labels = wb.make_features(prices), wb.label_moves(prices)
windows = wb.Windows.of(features, labels, lookback=60)[-400:]
small = dict(n_layers={LAYERS}, d_model=16, d_ff=32, seed=0)
wb.Explorer(wb.build_model("transformer", windows, n_heads=2, **small), windows, prices)''',
    f"""long = wb.Windows.of(features, labels, lookback={BARS})[-1:]
wb.Explorer(wb.build_model("transformer", long, n_heads=1, **small), long, prices)""",
]


def made_up(bars: int) -> pd.DataFrame:
    """A random walk with all columns."""
    rng = np.random.default_rng(0)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, bars)))
    opens = close * np.exp(rng.normal(0, 0.003, bars))
    columns = {
        "open": opens,
        "high": np.maximum(opens, close) * 1.003,
        "low": np.minimum(opens, close) * 0.997,
        "close": close,
        "volume": rng.integers(1_000_000, 2_000_000, bars).astype(float),
    }
    return pd.DataFrame(columns, pd.bdate_range("2000-01-03", periods=bars, name="date"))


@pytest.fixture(scope="module")
def shown(page: Page, lab: Server) -> Page:
    """The page with both explorers."""
    made_up(BARS + 60).to_csv(lab.folder / f"{HOSTILE}.csv")
    write_notebook(lab.folder, "extremes.ipynb", *CELLS)
    page.set_viewport_size({"width": 1500, "height": 2200})
    run_notebook(page, lab, "extremes.ipynb", seconds=150)
    return page


@pytest.fixture(scope="module")
def explorer(shown: Page) -> ExplorerPage:
    return ExplorerPage(shown, 0).open()


def harmless(page: Page) -> None:
    """The name was written, and nowhere run."""
    assert page.evaluate("() => window.broken") is None
    assert page.locator(".awb img[onerror]").count() == 0


def test_a_ticker_that_is_html_is_written_as_it_stands(explorer: ExplorerPage):
    expect(explorer.control("heading")).to_contain_text(HOSTILE)
    assert HOSTILE in (explorer.canvas("candles").get_attribute("aria-label") or "")
    explorer.move_to("candles", 300, 100)
    assert explorer.tooltip("candles")
    harmless(explorer.page)
    assert serious(explorer.page, ".awb-explorer") == []


def test_it_is_text_in_what_is_exported_too(explorer: ExplorerPage):
    with explorer.page.expect_download() as download:
        explorer.control("export-svg").click()
    assert "<" not in download.value.suggested_filename
    drawing = Path(download.value.path()).read_text()
    tags = {element.tag.split("}")[1] for element in ET.fromstring(drawing).iter()}
    assert "img" not in tags
    assert "&lt;img" in drawing
    explorer.control("export-python").click()
    call = ast.parse(explorer.control("code").input_value(), mode="eval").body
    assert isinstance(call, ast.Call)
    given = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    assert given["ticker"] == HOSTILE
    harmless(explorer.page)


def test_a_typed_name_that_is_html_is_refused_in_words(explorer: ExplorerPage):
    typed = explorer.control("ticker-text")
    typed.fill(f"no{HOSTILE}")
    typed.press("Enter")
    expect(explorer.control("error")).to_contain_text(f"no{HOSTILE}", timeout=20_000)
    harmless(explorer.page)
    explorer.settle()


def test_each_of_twelve_layers_over_five_thousand_bars_is_the_packages(explorer: ExplorerPage, lab: Server):
    prices = wb.load_prices(str(lab.folder / f"{HOSTILE}.csv"), source="csv")
    windows = wb.Windows.of(wb.make_features(prices), wb.label_moves(prices), lookback=60)[-400:]
    model = wb.build_model("transformer", windows, n_heads=2, n_layers=LAYERS, d_model=16, d_ff=32, seed=0)
    explorer.press("candles", "Home")
    state = explorer.state()
    assert state["day"] == 0
    maps = wb.attention_maps(model, windows[:1].x)
    for layer in range(LAYERS):
        explorer.select("layer", str(layer))
        np.testing.assert_allclose(explorer.map(), maps.layers[layer][0].mean(axis=0), atol=1e-6)
    assert len(explorer.props("candles", "bars")[0]["close"]) == BARS + 60


def test_windows_of_five_thousand_bars_are_shown_as_means_that_say_so(shown: Page):
    explorer = ExplorerPage(shown, 1).open()
    assert explorer.options("layer") == [str(layer) for layer in range(LAYERS)]
    [block] = explorer.props("heatmap", "block")
    assert block > 1
    for layer in (0, LAYERS - 1):
        explorer.select("layer", str(layer))
        drawn = explorer.map()
        assert max(drawn.shape) == -(-BARS // block)
        last = BARS - block * (drawn.shape[1] - 1)  # the last cell may hold fewer bars
        held = np.append(np.full(drawn.shape[1] - 1, block), last)
        np.testing.assert_allclose(drawn @ held, 1, atol=1e-3)
    start, end = explorer.props("candles", "window")[0]
    assert end - start + 1 == BARS
    explorer.click("heatmap", *explorer.cell(3, 5))
    explorer.settle()
    assert explorer.array("candles", "lit").shape == (BARS,)
    assert "mean of the block" in (explorer.canvas("heatmap").get_attribute("aria-label") or "")
