"""The Explorer as `python3 -m workbench app` serves it to visitors, who may look and nothing else."""

import numpy as np
import pytest
from explorer_pages import ExplorerPage, close_colours, serious
from jupyter_pages import Watch
from jupyter_servers import Server
from playwright.sync_api import Page, expect

import workbench as wb
from workbench.training.reopening import bundled_models, reopen


@pytest.fixture(scope="module", params=["light", "dark"])
def explorer(request: pytest.FixtureRequest, page: Page, app: Server) -> ExplorerPage:
    page.goto(
        f"{app.address}/?token={app.token}&theme={request.param}", wait_until="commit"
    )  # it comes bit by bit
    return ExplorerPage(page).open()


def test_it_opens_in_the_theme_asked_for_and_is_accessible(
    explorer: ExplorerPage, request: pytest.FixtureRequest
):
    dark = "dark" in request.node.name
    paper = explorer.pixel("candles", 2, 2)[:3]
    assert (sum(paper) < 200) is dark, paper
    for view in ("candles", "money", "heatmap"):
        assert not explorer.is_stale(view)
    assert serious(explorer.page, "body") == []


def test_it_shows_the_packages_arrays(explorer: ExplorerPage):
    state = explorer.state()
    opened = reopen(bundled_models() / state["run"])
    np.testing.assert_array_equal(explorer.props("candles", "bars")[0]["close"], opened.prices["close"])
    day = opened.windows.at(state["date"])
    maps = wb.attention_maps(opened.model, day.x)
    for layer in explorer.options("layer"):
        explorer.select("layer", layer)
        np.testing.assert_allclose(explorer.map(), maps.layers[int(layer)][0].mean(axis=0), atol=1e-6)
    for method in ("gradient_x_input", "rollout"):
        explorer.select("method", method)
        scores = wb.explain(opened.model, day, method=method).scores[0]
        by_bar = scores if scores.ndim == 1 else scores.sum(axis=1)
        drawn = explorer.array("candles", "scores")
        np.testing.assert_allclose(drawn, by_bar, atol=1e-4 * np.abs(by_bar).max())


def test_keys_and_pointer_move_it(explorer: ExplorerPage):
    before = explorer.state()["day"]
    explorer.press("candles", "ArrowLeft", "ArrowLeft")
    assert explorer.state()["day"] == before - 2
    explorer.control("next").click()
    explorer.settle()
    assert explorer.state()["day"] == before - 1
    row = len(explorer.map()) - 1
    explorer.click("heatmap", *explorer.cell(row, 1))
    explorer.settle()
    assert explorer.state()["row"] == row
    start, _ = explorer.props("candles", "window")[0]
    lit = explorer.array("candles", "lit")
    most, least = [
        explorer.pixel("candles", explorer.bar_x(start + i), 30) for i in (lit.argmax(), lit.argmin())
    ]
    assert not close_colours(most, least, by=2)
    explorer.press("heatmap", "Escape", "Escape")


def test_a_visitor_can_neither_train_nor_read_files(explorer: ExplorerPage):
    assert not explorer.control("train").is_visible()
    assert [run for run in explorer.options("run") if run.startswith("train:")] == []
    assert set(explorer.options("source")) == {"sample", "sample20", "synthetic"}
    explorer.root.evaluate("(element) => element.awb.store.send({ ask: 'train', name: 'transformer' })")
    expect(explorer.control("error")).to_contain_text("looking only")
    explorer.root.evaluate("(element) => element.awb.act('ticker', '/etc/passwd')")
    expect(explorer.control("error")).to_contain_text("passwd", timeout=10_000)
    explorer.settle()
    assert explorer.state()["ticker"] == "AAPL"


def test_another_ticker_can_be_looked_at(explorer: ExplorerPage):
    explorer.control("ticker").select_option("IBM")
    explorer.has_loaded("IBM")
    close = wb.load_prices("IBM")["close"]
    np.testing.assert_array_equal(explorer.props("candles", "bars")[0]["close"][-50:], close[-50:])


def test_without_the_token_there_is_nothing(explorer: ExplorerPage, app: Server, watch: Watch):
    stranger = explorer.page.context.browser.new_context()
    answer = stranger.new_page().goto(f"{app.address}/")
    assert answer.status == 403
    stranger.close()
