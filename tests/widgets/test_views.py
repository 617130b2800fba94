"""The drawn views in a real browser: where bars stand, what the cursor reads, what an export holds."""

import os
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workbench.widgets.assets import script, style

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium: apt-get install chromium"),
]
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
SETUP = Path(__file__).with_name("views.js")
NASTY = '<img src=x onerror="window.broken=1">&\x00'


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    text = script("price_chart.js") + script("money.js").replace(_shared(), "")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 700, "height": 700})
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.set_content(
            f'<style>{style()} body {{ margin: 0 }}</style><body data-jp-theme-light="true">'
            '<div id="root" class="awb" style="width:678px"></div></body>'
        )
        page.add_script_tag(
            content=text.replace("export default", "const widget =") + SETUP.read_text("utf-8"), type="module"
        )
        page.wait_for_function("window.widget !== undefined")
        yield page
        browser.close()
    assert problems == []


def _shared() -> str:
    """The part of money.js' text that price_chart.js holds as well."""
    return script("money.js").split("// money.js\n")[0]


def test_bars_stand_at_the_middles_of_equal_steps(page: Any) -> None:
    # 678 px less margins of 64 and 14 leave 600: 6 px a bar for 100 bars.
    got = page.evaluate(
        "(view('CandleView', {bars: made(300), first: 100, last: 199}), [100, 101, 199].map(shown.place().x))"
    )
    assert got == [67, 73, 661]
    edges = page.evaluate("[63.9, 64, 69.9, 70.1, 663.9, 664.1].map((x) => shown.barAt(x))")
    assert edges == [None, 100, 100, 101, 199, None]


def test_the_cursor_reads_the_exact_bar(page: Any) -> None:
    page.evaluate("view('CandleView', {bars: made(300), first: 100, last: 199})")
    page.mouse.move(64 + 6 * 50 + 1, 100)
    names = ["open", "high", "low", "close", "volume"]
    bars = page.evaluate("(names) => names.map((name) => made(300)[name][150])", names)
    lines = page.locator(".awb-tooltip div").all_text_contents()
    assert lines[0] == str(np.datetime64("2024-01-01") + 150)
    words = [line.split() for line in lines[1:]]
    assert [word for word, _ in words] == names
    np.testing.assert_allclose([float(number.replace(",", "")) for _, number in words], bars, rtol=1e-8)
    assert page.evaluate("told.at(-1)") == ["hover", {"bar": 150}]
    page.mouse.move(64 + 6 * 50 + 2, 120)
    assert [detail["bar"] for name, detail in page.evaluate("told")].count(150) == 1  # told once a bar
    page.mouse.move(10, 690)
    assert page.locator(".awb-tooltip").is_hidden()
    assert page.evaluate("told.at(-1)") == ["hover", {"bar": None}]


def test_a_candle_is_painted_where_its_prices_are(page: Any) -> None:
    got = page.evaluate("candlePixels(10)")
    blue, white = [0, 114, 178, 255], [255, 255, 255, 255]
    assert got[0] == blue  # the body
    assert got[1] == got[2] == blue  # the wick, as far as high and low
    assert got[3] == got[4] == white


def test_a_click_picks_and_a_drag_marks(page: Any) -> None:
    page.evaluate("view('CandleView', {bars: made(300), first: 100, last: 199})")
    page.mouse.click(64 + 6 * 20 + 3, 80)
    assert [name for name, _ in page.evaluate("told")].count("pick") == 1
    assert page.evaluate("told.at(-1)") == ["pick", {"bar": 120}]
    page.mouse.move(64 + 6 * 40 + 3, 80)
    page.mouse.down()
    page.mouse.move(64 + 6 * 30 + 3, 90, steps=5)
    page.mouse.up()
    assert page.evaluate("shown.props.brush") == [130, 140]
    assert [name for name, _ in page.evaluate("told")].count("pick") == 1  # a drag is no click
    page.keyboard.press("Tab")
    page.locator(".awb-front").focus()
    page.keyboard.press("Escape")
    assert page.evaluate("told.at(-1)") == ["brush", {"span": None}]


def test_keys_step_mark_and_zoom_and_stay_in_the_widget(page: Any) -> None:
    page.evaluate("view('CandleView', {bars: made(300), first: 100, last: 199, window: [120, 149]})")
    page.evaluate("(window.escaped = [], document.onkeydown = (event) => { escaped.push(event.key); }, 0)")
    page.locator(".awb-front").focus()
    for key in ["ArrowLeft", "PageDown", "Home", "Enter", "Shift+ArrowLeft", "Shift+ArrowLeft", "+", "a"]:
        page.keyboard.press(key)
    told = page.evaluate(
        "told.map(([name, detail]) => [name, detail.by === -Infinity ? 'first' : Object.values(detail)[0]])"
    )
    assert told == [
        ["step", -1],
        ["step", 21],
        ["step", "first"],
        ["pick", 149],
        ["brush", [148, 149]],
        ["brush", [147, 149]],
        ["zoom", 110],
    ]
    assert page.evaluate("escaped.filter((key) => key !== 'Shift')") == ["a"]


def test_a_brush_holds_the_share_of_the_scores_inside(page: Any) -> None:
    got = page.evaluate("""shareInside({window: [10, 19], brush: [15, 30],
      scores: Float32Array.from([0, 0, 0, 0, 0, 1, 2, 3, 0, 4]), none: new Float32Array(10).fill(.1)})""")
    assert got["bars"] == 16
    assert got["inside"] == 5
    assert got["share"] == pytest.approx(1.0)
    assert got["none"] == pytest.approx(0.5)
    outside = page.evaluate(
        "shareInside({window: [10, 19], brush: [0, 5], scores: new Float32Array(10).fill(.1), none: null})"
    )
    assert (outside["inside"], outside["share"], outside["none"]) == (0, 0, None)


def test_scores_that_do_not_fit_the_window_are_told_of(page: Any) -> None:
    words = page.evaluate(
        """(view('CandleView', {bars: made(50), window: [10, 19], scores: new Float32Array(9)}),
        shown.toSVG())"""
    )
    assert "9 scores came for a window of 10 bars" in words.replace("</text>", "")


def test_lit_bars_are_painted_by_their_weight(page: Any) -> None:
    got = page.evaluate("""() => {
      view('CandleView', {bars: made(60), window: [20, 29], lit: Float32Array.from([0,0,0,1,0,.5,0,0,0,0])});
      return [22, 23, 25].map((bar) => pixel(shown.place().x(bar) - 4, panes().price.top + 4));
    }""")
    blue = [channel[2] for channel in got]  # amber takes the blue away
    assert blue[1] < blue[2] < blue[0]


def test_bars_with_closes_only_are_a_line(page: Any) -> None:
    got = page.evaluate("""() => {
      const bars = made(300);
      for (const name of ['open', 'high', 'low', 'volume']) bars[name].fill(NaN);
      view('CandleView', {bars});
      return [Object.keys(panes()), shown.tooltipLines(4), shown.toSVG()];
    }""")
    assert got[0] == ["price"]
    assert [line.split()[0] for line in got[1]] == ["2024-01-05", "close"]
    lines = [
        path
        for path in ET.fromstring(got[2]).iter("{http://www.w3.org/2000/svg}path")
        if path.get("d", "").count("L") == 299
    ]
    assert len(lines) == 1


@pytest.mark.parametrize(
    ("first", "last"), [(0, 1), (0, 9), (3, 40), (0, 130), (100, 420), (0, 999), (0, 4999)]
)
@pytest.mark.parametrize("minutes", [1, 15, 60, 1440])
@pytest.mark.parametrize("pixels", [120, 320, 900])
def test_date_labels_are_first_bars_of_periods_and_never_overlap(
    page: Any, first: int, last: int, minutes: int, pixels: int
) -> None:
    ticks = page.evaluate(f"labels({minutes}, {first}, {last}, {pixels})")
    assert ticks
    step = pixels / (last - first + 1)
    places = [(step * (tick["bar"] - first + 0.5), 6.2 * len(tick["text"])) for tick in ticks]
    for (x, width), (following, next_width) in pairwise(places):
        assert x + width / 2 < following - next_width / 2
    assert all(first <= tick["bar"] <= last for tick in ticks)


def test_numbers_are_written_for_people(page: Any) -> None:
    got = page.evaluate("""[priceText(12345.678), priceText(0.01234567), priceText(NaN),
      shareText(0.0321), shareText(2e-7), amountText(1.5e6), amountText(20976800),
      dateText(Date.UTC(2011, 7, 8, 14, 30), true), dateText(Date.UTC(2011, 7, 8), false),
      tickTexts(linearTicks(0, 1, 4)).join(' '), tickTexts([-1500, 0, 1500]).join(' '),
      logTicks(40, 1200, 9).join(' ')]""")
    assert got == [
        "12,345.68", "0.0123", "–", "3.21 %", "< 0.001 %", "1.5 M", "21 M", "2011-08-08 14:30", "2011-08-08",
        "0.00 0.25 0.50 0.75 1.00", "−1,500 0 1,500", "50 100 200 500 1000",
    ]  # fmt: skip


def test_cividis_is_matplotlibs(page: Any) -> None:
    from matplotlib import colormaps

    wanted = (colormaps["cividis"](np.linspace(0, 1, 256))[:, :3] * 255).round()
    got = page.evaluate("Array.from({length: 256}, (_, i) => shade(i / 255))")
    np.testing.assert_array_equal(got, wanted)
    assert page.evaluate("[signedShade(-1), signedShade(1), shade(NaN)]") == [
        [213, 94, 0],
        [0, 114, 178],
        list(wanted[0]),
    ]


def test_an_svg_is_well_formed_and_looks_like_the_canvas(page: Any) -> None:
    svg = page.evaluate(
        """(name) => {
      const scores = new Float32Array(40).fill(1 / 40);
      view('CandleView', {bars: {...made(120), name}, window: [60, 99], scores, none: scores, lit: scores,
        scoreLabel: 'rollout, share [%]'});
      return shown.toSVG();
    }""",
        NASTY,
    )
    tree = ET.fromstring(svg)
    assert any(NASTY[:-1] in (text.text or "") for text in tree.iter("{http://www.w3.org/2000/svg}text"))
    assert not list(tree.iter("{http://www.w3.org/2000/svg}img"))
    off = page.evaluate("(svg) => differing(svg)", svg)
    assert off < 0.01
    assert page.evaluate("window.broken") is None


def test_a_name_like_markup_stays_text(page: Any) -> None:
    page.evaluate("(name) => view('CandleView', {bars: {...made(20), name}}, {label: name})", NASTY)
    page.mouse.move(300, 100)
    page.wait_for_timeout(50)
    assert page.locator("#root img").count() == 0
    assert page.evaluate("window.broken") is None
    assert NASTY[:10] in page.locator(".awb-front").get_attribute("aria-label")


def test_the_theme_of_the_page_is_followed(page: Any) -> None:
    page.evaluate("view('CandleView', {bars: made(20)})")
    light = page.evaluate("pixel(2, 2)")
    page.evaluate("document.body.dataset.jpThemeLight = 'false'")
    page.wait_for_function("pixel(2, 2)[0] < 100")
    dark = page.evaluate("[pixel(2, 2), shown.theme.dark]")
    page.evaluate("document.body.dataset.jpThemeLight = 'true'")
    page.wait_for_function("pixel(2, 2)[0] > 200")
    assert (light[:3], dark[0][:3], dark[1]) == ([255, 255, 255], [20, 23, 26], True)


def test_money_reads_positions_by_decision_and_accounts_by_bar(page: Any) -> None:
    got = page.evaluate("""() => {
      const equity = new Float64Array(50).fill(NaN);
      [equity[11], equity[12], equity[13]] = [100, 100.75, 101.5];
      view('MoneyView', {bars: made(50), rows: Int32Array.from([10, 11, 13]), decision: 13,
        position: Float32Array.from([1, -1, 0]), split: Uint8Array.from([1, 2, 3]),
        equity, benchmark: equity.map((value) => 200 - value)});
      return [10, 11, 12, 13].map((bar) => shown.tooltipLines(bar).slice(1).join(', '));
    }""")
    assert got == [
        "position 1, training part",
        "position −1, strategy 100.00, buy and hold 100.00, validation part",
        "no decision here, strategy 100.75, buy and hold 99.25",
        "position 0, strategy 101.50, buy and hold 98.50, test part",
    ]


def test_an_account_is_drawn_at_its_bars_and_the_reason_where_there_is_none(page: Any) -> None:
    heights = page.evaluate("""() => {
      const equity = new Float64Array(50).fill(NaN);
      for (let bar = 20; bar < 50; bar += 1) equity[bar] = bar < 40 ? 100 : 110;
      view('MoneyView', {bars: made(50), first: 0, last: 49, rows: Int32Array.from([20, 39, 49]),
        decision: 49,
        position: new Float32Array(3), split: new Uint8Array(3), equity, benchmark: equity});
      const { equity: pane } = shown.panes({ width: 678, height: 240 });
      const ctx = shown.back.getContext('2d'), scale = shown.back.width / 678;
      const inked = (bar) => {
        const x = Math.round(shown.place(678).x(bar) * scale);
        for (let y = pane.top + 1; y < pane.top + pane.height; y += 1) {
          const [red, , blue] = ctx.getImageData(x, Math.round(y * scale), 1, 1).data;
          if (red < 90 && blue > 100) return y;
        }
        return null;
      };
      return [inked(10), inked(25), inked(45)];
    }""")
    assert heights[0] is None
    assert heights[1] > heights[2] + 20  # 110 stands above 100
    words = page.evaluate("""() => {
      const none = new Float64Array(50).fill(NaN), drawn = [];
      const paper = CanvasRenderingContext2D.prototype, fillText = paper.fillText;
      paper.fillText = function (text, ...at) { drawn.push(text); return fillText.call(this, text, ...at); };
      view('MoneyView', {bars: made(50), rows: Int32Array.from([20]), decision: 20,
        position: new Float32Array(1), split: new Uint8Array(1),
        equity: none, benchmark: none, message: 'no opens are known'});
      paper.fillText = fillText;
      return drawn;
    }""")
    assert "no opens are known" in words
    assert "position" in words


def test_thousands_of_bars_are_repainted_quickly(page: Any) -> None:
    took = page.evaluate("[repaint(250), repaint(5000)]")
    assert took[0] < 80  # ten times what it takes: this only guards against another order of growth
    assert took[1] < 200


def test_the_widget_keeps_its_model_and_its_view_alike(page: Any) -> None:
    page.evaluate("(name) => renderChart(name)", NASTY)
    front = page.locator(".awb-front")
    front.focus()
    page.wait_for_function(  # it is drawn with the next frame
        "document.querySelector('.awb-front').getAttribute('aria-label').includes('decision on 1970-03-02')"
    )
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("[model.traits.bar, model.traits.date]") == [59, "1970-03-01"]
    page.wait_for_function("model.saved > 0")
    page.wait_for_function(
        "document.querySelector('.awb-front').getAttribute('aria-label').includes('no explained window')"
    )
    page.evaluate("model.set('date', '1970-02-20')")  # as a linked widget does
    assert page.evaluate("model.traits.bar") == 50
    page.keyboard.press("End")
    assert page.evaluate("[model.traits.bar, model.traits.first, model.traits.last]") == [399, 299, 399]
    page.keyboard.press("Shift+ArrowLeft")
    assert page.evaluate("model.traits.span") == ["1971-02-03", "1971-02-04"]
    page.evaluate("model.set('lit', new Uint8Array(Float32Array.from([0, 1, 0]).buffer))")
    page.evaluate("done()")
    assert page.locator("#root *").count() == 0
