"""The Explorer in JupyterLab, used by pointer and keys, held against the package's own arrays.

One notebook in one page: the tests follow each other as a visitor's acts would.
"""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from explorer_pages import ExplorerPage, close_colours, serious
from jupyter_pages import Watch, kernel_of, run_notebook, save, set_theme, write_notebook
from jupyter_servers import Server
from playwright.sync_api import Page, expect

import workbench as wb
from workbench.explainers.maps import AttentionMaps
from workbench.explainers.methods import METHODS
from workbench.training.reopening import Reopened, bundled_models, reopen

DAY = "2011-08-08"
OPENED = ["import workbench as wb", f'explorer = wb.Explorer(date="{DAY}")\nexplorer']
NAME = "explorer.ipynb"
ANY = [name for name, method in METHODS.items() if not method.inside]  # that any model can answer
QUICK = [name for name in ANY if not METHODS[name].slow]


@dataclass(frozen=True)
class Known:
    """What the Explorer shows, from the package itself."""

    opened: Reopened

    def maps(self, date: str) -> AttentionMaps:
        """The attention of one day."""
        return wb.attention_maps(self.opened.model, self.opened.windows.at(date).x)

    def map(self, date: str, layer: int, head: str) -> np.ndarray:
        """One map of it, (query, key)."""
        weights = self.maps(date).layers[layer][0].numpy()
        return getattr(weights, head)(axis=0) if head in ("mean", "max", "min") else weights[int(head)]

    def next_day(self, date: str, by: int = 1) -> str:
        """The decision day `by` days on."""
        dates = self.opened.windows.dates
        return dates[dates.get_loc(pd.Timestamp(date)) + by].strftime("%Y-%m-%d")


@pytest.fixture(scope="module")
def explorer(page: Page, lab: Server) -> ExplorerPage:
    write_notebook(lab.folder, NAME, *OPENED)
    run_notebook(page, lab, NAME)
    return ExplorerPage(page).open()


@pytest.fixture(scope="module")
def known(explorer: ExplorerPage) -> Known:
    """The bundled model that the Explorer says it shows."""
    run = explorer.state()["run"]
    [folder] = [folder for folder in bundled_models().iterdir() if folder.name == run]
    return Known(reopen(folder))


def draws(explorer: ExplorerPage, known: Known) -> None:
    """The map on the page is the package's, and so are the pixels of three of its cells."""
    state = explorer.state()
    wanted = known.map(state["date"], state["layer"], state["head"])
    np.testing.assert_allclose(explorer.map(), wanted, atol=1e-6)
    [top] = explorer.props("heatmap", "top")
    last = len(wanted) - 1
    for query, key in ((last, last), (last, 0), (last // 2, wanted.shape[1] // 3)):
        shade = min(1.0, wanted[query, key] / top)
        colour = [round(255 * part) for part in matplotlib.colormaps["cividis"](shade)]
        found = explorer.pixel("heatmap", *explorer.cell(query, key))
        assert close_colours(found, colour, by=4), f"cell {query}, {key}: {found}, not {colour}"


def test_it_shows_the_bundled_bars_and_the_day_asked_for(explorer: ExplorerPage, known: Known):
    bars = explorer.props("candles", "bars")[0]
    prices = known.opened.prices
    for name in ("open", "high", "low", "close", "volume"):
        np.testing.assert_array_equal(bars[name], prices[name])
    np.testing.assert_array_equal(pd.to_datetime(bars["dates"], unit="ms"), prices.index)
    assert explorer.state()["date"] == DAY
    start, end = explorer.props("candles", "window")[0]
    assert prices.index[end] == pd.Timestamp(DAY)
    assert end - start + 1 == known.opened.windows.lookback
    draws(explorer, known)


def test_its_answer_is_the_models(explorer: ExplorerPage, known: Known):
    said = explorer.control("answer").inner_text()
    answer = wb.predict(known.opened.model, known.opened.windows.at(DAY)).iloc[0]
    for name, share in answer.items():
        assert str(name) in said
        assert f"{100 * share:.1f}" in said, said
    close = known.opened.prices["close"]
    change = close[known.next_day(DAY)] / close[DAY] - 1
    assert f"{100 * change:+.2f}".replace("-", "−") in said.replace("-", "−"), said
    assert "Trust: not measured" in explorer.control("trust").inner_text()


def test_every_layer_and_head_can_be_chosen_with_the_pointer(explorer: ExplorerPage, known: Known):
    for layer in explorer.options("layer"):
        explorer.select("layer", layer)
        for head in explorer.options("head"):
            explorer.select("head", head)
            assert explorer.state()["head"] == head
            draws(explorer, known)
    explorer.select("head", "mean")


def test_layer_head_and_method_can_be_chosen_with_the_keys(explorer: ExplorerPage, known: Known):
    explorer.select("layer", "0")
    explorer.press("layer", "ArrowDown")
    assert explorer.state()["layer"] == 1
    explorer.press("head", "ArrowDown")
    assert explorer.state()["head"] == "max"
    draws(explorer, known)
    explorer.press("heatmap", "h")
    assert explorer.state()["head"] == "min"
    before = explorer.state()["layer"]
    explorer.press("heatmap", "l")
    assert explorer.state()["layer"] != before
    draws(explorer, known)
    explorer.press("head", "ArrowUp", "ArrowUp")
    assert explorer.state()["head"] == "mean"


def test_days_go_by_with_buttons_slider_calendar_and_keys(explorer: ExplorerPage, known: Known):
    explorer.control("next").click()
    explorer.settle()
    assert explorer.state()["date"] == known.next_day(DAY)
    draws(explorer, known)
    explorer.press("previous", "Enter")
    assert explorer.state()["date"] == DAY
    explorer.press("day", "ArrowLeft")
    assert explorer.state()["date"] == known.next_day(DAY, -1)
    explorer.press("candles", "ArrowRight", "ArrowRight")
    assert explorer.state()["date"] == known.next_day(DAY)
    explorer.press("candles", "PageDown")
    assert explorer.state()["date"] == known.next_day(DAY, 22)
    draws(explorer, known)
    explorer.control("date").fill(DAY)
    explorer.settle()
    assert explorer.state()["date"] == DAY
    assert explorer.control("day").get_attribute("aria-valuetext") == DAY


def test_the_slider_follows_the_pointer(explorer: ExplorerPage):
    box = explorer.control("day").bounding_box()
    assert box is not None
    explorer.page.mouse.click(box["x"] + box["width"] * 0.5, box["y"] + box["height"] / 2)
    explorer.settle()
    count = explorer.root.evaluate("(element) => element.awb.store.answers.count")
    assert abs(explorer.state()["day"] - count / 2) < count / 20
    explorer.control("date").fill(DAY)
    explorer.settle()


def test_a_click_on_a_candle_goes_to_its_day(explorer: ExplorerPage, known: Known):
    _, end = explorer.props("candles", "window")[0]
    explorer.click("candles", explorer.bar_x(end - 3), 100)
    explorer.settle()
    assert explorer.state()["date"] == known.next_day(DAY, -3)
    draws(explorer, known)
    explorer.press("candles", "ArrowRight", "ArrowRight", "ArrowRight")
    assert explorer.state()["date"] == DAY


def test_the_pointer_reads_exact_dates_and_values(explorer: ExplorerPage, known: Known):
    prices = known.opened.prices
    _, end = explorer.props("candles", "window")[0]
    explorer.move_to("candles", explorer.bar_x(end), 100)
    told = explorer.tooltip("candles")
    assert told[0] == DAY
    assert any(
        line.startswith("close") and float(line.split()[-1]) == pytest.approx(prices["close"][DAY])
        for line in told
    )
    query, key = len(explorer.map()) - 1, 4
    explorer.move_to("heatmap", *explorer.cell(query, key))
    told = explorer.tooltip("heatmap")
    share = 100 * explorer.map()[query, key]
    assert float(told[0].split()[0]) == pytest.approx(share, rel=0.01)
    dates = known.opened.windows.at(DAY).bar_dates
    assert f"{dates[key]:%Y-%m-%d}" in "\n".join(told)
    assert explorer.props("candles", "hover")[0] == end - len(dates) + 1 + key


def test_a_row_lights_up_what_it_looks_at(explorer: ExplorerPage, known: Known):
    explorer.select("layer", "0")
    explorer.select("head", "0")
    row = len(explorer.map()) - 1
    explorer.click("heatmap", *explorer.cell(row, 2))
    explorer.settle()
    assert explorer.state()["row"] == row
    wanted = known.map(DAY, 0, "0")[row]
    np.testing.assert_allclose(explorer.array("candles", "lit"), wanted, atol=1e-6)
    start, _ = explorer.props("candles", "window")[0]
    most, least = start + int(wanted.argmax()), start + int(wanted.argmin())
    lit, unlit = [explorer.pixel("candles", explorer.bar_x(bar), 30) for bar in (most, least)]
    assert not close_colours(lit, unlit, by=12), (
        "the bar looked at most is no brighter than the one looked at least"
    )
    explorer.press("heatmap", "ArrowUp")
    assert explorer.state()["row"] == row - 1
    explorer.press("heatmap", "Escape")
    assert explorer.state()["row"] == -1
    assert explorer.props("candles", "lit") == [None]


def test_a_brushed_span_says_what_share_it_holds(explorer: ExplorerPage, known: Known):
    explorer.select("method", "rollout")
    why = wb.explain(known.opened.model, known.opened.windows.at(DAY))
    np.testing.assert_allclose(explorer.array("candles", "scores"), why.scores[0], atol=1e-5)
    _, end = explorer.props("candles", "window")[0]
    explorer.drag("candles", (explorer.bar_x(end - 5), 100), (explorer.bar_x(end - 1), 100))
    explorer.settle()
    dates = known.opened.windows.at(DAY).bar_dates
    assert explorer.state()["span"] == [f"{dates[i]:%Y-%m-%d}" for i in (-6, -2)]
    share = 100 * why.scores[0, -6:-1].sum()
    assert f"{share:.2f}"[:4] in explorer.control("selection").inner_text()
    explorer.press("candles", "Escape")
    assert explorer.state()["span"] == []


def test_every_method_is_offered_and_those_of_other_models_say_why_not(explorer: ExplorerPage):
    assert explorer.options("method") == ANY
    told = explorer.control("method").evaluate(
        "(select) => Object.fromEntries([...select.options].map((o) => [o.value, [o.disabled, o.title]]))"
    )
    assert list(told) == list(wb.list_methods().index)
    assert all(told[name][0] and told[name][1] for name in METHODS if name not in ANY)


@pytest.mark.parametrize("method", QUICK)
def test_a_method_shows_the_packages_scores(explorer: ExplorerPage, known: Known, method: str):
    explorer.select("method", method)
    scores = wb.explain(known.opened.model, known.opened.windows.at(DAY), method=method).scores[0]
    by_bar = scores if scores.ndim == 1 else scores.sum(axis=1)
    drawn = explorer.array("candles", "scores")
    np.testing.assert_allclose(drawn, by_bar, atol=1e-4 * np.abs(by_bar).max())
    assert explorer.control("features").is_visible() == (scores.ndim == 2)


def test_a_target_class_can_be_chosen_by_pointer_and_keys(explorer: ExplorerPage, known: Known):
    day = known.opened.windows.at(DAY)
    explorer.select("method", "gradient_x_input")
    explorer.select("target", "sell")
    for target in ("sell", "hold"):
        assert explorer.state()["target"] == target
        scores = wb.explain(known.opened.model, day, method="gradient_x_input", target=target).scores[0]
        drawn = explorer.array("features", "scores").reshape(scores.shape)
        np.testing.assert_allclose(drawn, scores, atol=1e-4 * np.abs(scores).max())
        explorer.press("target", "ArrowDown")
    explorer.select("target", "")
    explorer.press("method", "Home")
    assert explorer.state()["method"] == explorer.options("method")[0]


def test_jupyterlab_takes_no_key_that_was_meant_for_the_widget(explorer: ExplorerPage):
    cells = "() => window.jupyterapp.shell.currentWidget.content.widgets.length"
    before = explorer.page.evaluate(cells)
    explorer.press("candles", "d", "d", "a", "b", "x", "ArrowUp", "ArrowDown")
    explorer.press("next", "d", "d", "a", "b")
    assert explorer.page.evaluate(cells) == before


def test_what_is_shown_can_be_taken_away(explorer: ExplorerPage, known: Known):
    explorer.select("method", "rollout")
    page = explorer.page
    taken = {}
    for kind in ("png", "svg", "csv"):
        with page.expect_download() as download:
            explorer.control(f"export-{kind}").click()
        assert download.value.suggested_filename.endswith(f".{kind}")
        taken[kind] = Path(download.value.path()).read_bytes()
    assert taken["png"].startswith(b"\x89PNG")
    assert taken["svg"].startswith(b"<svg")
    rows = list(csv.DictReader(io.StringIO(taken["csv"].decode())))
    day = known.opened.windows.at(DAY)
    assert [row["date"] for row in rows] == [f"{date:%Y-%m-%d}" for date in day.bar_dates]
    why = wb.explain(known.opened.model, day)
    np.testing.assert_allclose([float(row["score_rollout"]) for row in rows], why.scores[0], atol=1e-5)


def test_the_line_of_python_shows_this_view_again(explorer: ExplorerPage):
    explorer.select("head", "max")
    explorer.control("export-python").click()
    line = explorer.control("code").input_value()
    again = eval(line, {"wb": wb})
    state = explorer.state()
    assert {name: getattr(again, name) for name in ("ticker", "date", "layer", "head", "method")} == {
        name: state[name] for name in ("ticker", "date", "layer", "head", "method")
    }
    explorer.select("head", "mean")


@pytest.mark.parametrize("dark", [True, False], ids=["dark", "light"])
def test_every_view_follows_the_theme(explorer: ExplorerPage, known: Known, dark: bool):
    explorer.select("method", "gradient_x_input")
    set_theme(explorer.page, dark)
    explorer.page.wait_for_timeout(1000)  # nobody touches it: the views must notice by themselves
    for view in ("candles", "features", "money", "heatmap"):
        assert not explorer.is_stale(view), f"{view} is drawn in colours that are no longer the theme's"
        paper = explorer.pixel(view, 2, 2)[:3]
        assert (sum(paper) < 200) is dark, f"{view}: {paper}"
    draws(explorer, known)
    assert serious(explorer.page, ".awb-explorer") == []


@pytest.mark.parametrize("dark", [True, False], ids=["dark", "light"])
def test_its_picture_can_be_taken(explorer: ExplorerPage, dark: bool, pictures: Path | None):
    set_theme(explorer.page, dark)
    explorer.page.set_viewport_size({"width": 1500, "height": 1300})
    explorer.select("method", "rollout")
    explorer.select("layer", "1")
    explorer.click("heatmap", *explorer.cell(len(explorer.map()) - 1, 12))
    explorer.settle()
    explorer.move_to("candles", 5, 5)
    explorer.page.wait_for_timeout(300)
    picture = explorer.root.screenshot()
    assert len(picture) > 50_000
    if pictures is not None:
        (pictures / f"explorer_{'dark' if dark else 'light'}.png").write_bytes(picture)
    explorer.press("heatmap", "Escape", "Escape")


def test_the_focus_can_be_seen(explorer: ExplorerPage):
    outline = """(element) => {
      const style = getComputedStyle(element);
      return [style.outlineStyle, parseFloat(style.outlineWidth), style.boxShadow];
    }"""
    for name in ("ticker", "layer", "next", "date", "day"):
        explorer.page.keyboard.press("Tab")
        explorer.control(name).focus()
        style, width, shadow = explorer.control(name).evaluate(outline)
        assert (style != "none" and width >= 1) or shadow != "none", name


def test_another_ticker_brings_its_model_and_bars(explorer: ExplorerPage):
    explorer.click("heatmap", *explorer.cell(30, 5))  # the pointer stays there, on a selected row
    explorer.settle()
    explorer.control("ticker").select_option("MSFT")
    explorer.has_loaded("MSFT")
    assert "MSFT" in explorer.state()["run"]
    prices = wb.load_prices("MSFT")
    np.testing.assert_array_equal(explorer.props("candles", "bars")[0]["close"][-50:], prices["close"][-50:])
    explorer.press_while_busy("ticker", "Home")
    explorer.has_loaded("AAPL")
    assert explorer.state()["date"] == DAY
    explorer.press("heatmap", "Escape", "Escape")


def test_model_and_source_can_be_chosen_by_pointer_and_keys(explorer: ExplorerPage, known: Known):
    first = explorer.state()["run"]
    explorer.control("run").select_option("lstm-AAPL")
    explorer.has_loaded("lstm")
    assert explorer.control("heatmap").get_attribute("class").count("awb-none") == 1
    explorer.press_while_busy("run", *["ArrowUp"] * explorer.options("run").index("lstm-AAPL"))
    explorer.has_loaded("transformer")
    assert explorer.state()["run"] == explorer.options("run")[0]
    explorer.control("source").select_option("synthetic")
    expect(explorer.control("heading")).to_contain_text("SYNTHETIC", timeout=30_000)
    explorer.settle()
    explorer.press_while_busy("source", "Home")
    explorer.has_loaded("AAPL")
    assert explorer.state()["source"] == explorer.options("source")[0] == "sample"
    explorer.control("run").select_option(first)
    explorer.control("date").fill(DAY)
    explorer.settle()
    draws(explorer, known)


def test_a_training_can_be_cancelled(explorer: ExplorerPage):
    explorer.control("run").select_option("train:transformer")
    assert explorer.control("train").is_enabled()
    explorer.control("train").press("Enter")
    progress = explorer.control("progress")
    expect(progress).to_be_visible()
    expect(progress).to_contain_text("training transformer on AAPL")
    explorer.press_while_busy("candles", "ArrowRight")
    explorer.control("cancel").click()
    expect(progress).to_be_hidden(timeout=20_000)
    expect(explorer.control("status")).to_contain_text("cancelled")
    assert explorer.control("error").inner_text() == ""
    explorer.settle()


def test_an_error_is_told_in_place_and_the_widget_lives_on(explorer: ExplorerPage, known: Known):
    explorer.control("source").select_option("csv")
    typed = explorer.control("ticker-text")
    expect(typed).to_be_visible()
    typed.fill("nowhere.csv")
    typed.press("Enter")
    alert = explorer.control("error")
    expect(alert).to_contain_text("nowhere.csv", timeout=20_000)
    assert alert.get_attribute("role") == "alert"
    assert "Traceback" not in alert.inner_text()
    assert serious(explorer.page, ".awb-explorer") == []
    explorer.settle()
    explorer.control("date").fill(DAY)
    explorer.settle()
    draws(explorer, known)


def test_a_saved_notebook_is_small_and_holds_a_picture(explorer: ExplorerPage, lab: Server):
    save(explorer.page)
    saved = lab.folder / NAME
    assert saved.stat().st_size <= 300_000
    assert '"image/png"' in saved.read_text()
    assert "application/vnd.jupyter.widget-view+json" in saved.read_text()


def test_the_dead_kernel_is_not_missed_while_looking_around(
    explorer: ExplorerPage, known: Known, lab: Server, watch: Watch
):
    with watch.errors_expected():
        lab.ask(f"api/kernels/{kernel_of(explorer.page)}", method="DELETE")
        explorer.page.wait_for_timeout(500)
        dismiss_dialogs(explorer.page)
        for layer in explorer.options("layer"):
            explorer.select("layer", layer)
            draws(explorer, known)
        explorer.press("candles", "ArrowRight")
        assert explorer.state()["date"] == known.next_day(DAY)
        draws(explorer, known)
        _, end = explorer.props("candles", "window")[0]
        explorer.move_to("candles", explorer.bar_x(end), 100)
        assert explorer.tooltip("candles")[0] == known.next_day(DAY)


def dismiss_dialogs(page: Page) -> None:
    """Close what JupyterLab says about the kernel."""
    for button in page.locator(".jp-Dialog button.jp-mod-accept").all():
        button.click()


def test_the_saved_notebook_opens_again_with_its_picture(explorer: ExplorerPage, lab: Server, watch: Watch):
    with watch.errors_expected():
        explorer.page.goto(f"{lab.address}/doc/tree/{NAME}?token={lab.token}")
    page = explorer.page
    shown = page.locator(".jp-OutputArea img, .awb-saved img").first
    shown.wait_for(timeout=30_000)
    assert shown.evaluate("(image) => image.naturalWidth") > 400
