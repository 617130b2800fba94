"""Pictures that move, in a notebook saved and opened again, trusted or not, and on pages of their own."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import HTTPError

import matplotlib
import nbformat
import numpy as np
import pandas as pd
import pytest
from explorer_pages import close_colours, serious
from jupyter_pages import KERNEL_READY, Watch, eventually, run_notebook, save, set_theme, write_notebook
from jupyter_servers import Server
from nbconvert import HTMLExporter
from playwright.sync_api import Browser, Locator, Page, expect

from workbench import plots
from workbench.plots.animations import Animation

NAME = "gates.ipynb"
MADE = """
import numpy as np
import pandas as pd
from types import SimpleNamespace

def layer(seed, batch=2, time=12, unit=8):
    rng = np.random.default_rng(seed)
    shape = (batch, time, unit)
    gates = {name: rng.random(shape) for name in ("input", "forget", "output")}
    gates["candidate"] = rng.uniform(-1, 1, shape)
    cell = rng.normal(0, 1 + seed, shape)
    return SimpleNamespace(name="rnn.l0", kind="lstm", reverse=False, gates=gates, cell=cell,
                           hidden=gates["output"] * np.tanh(cell), mask=np.ones((batch, time), bool))

layers = [layer(seed) for seed in range(5)]
layers[3].cell[:, 2, 6] = np.nan
dates = pd.bdate_range("2011-03-01", periods=12)
weight = np.random.default_rng(9).normal(size=(32, 8))
"""
CELLS = [
    f"from workbench import plots\n{MADE}",
    "plots.gate_animation(layers, dates=dates)",
    'plots.recurrent_animation(plots.recurrent_edges(layers[0], weight, "forget", top=5), dates)',
]
PANELS = ("input", "forget", "cell", "output")
VALUES = """(root, [frame, panel]) => {
  const { scene, facts } = root.awb;
  const { rows, columns } = facts.panels[panel];
  return Array.from({ length: rows }, (_, row) =>
    Array.from({ length: columns }, (_, column) => scene.value(frame, panel, row, column)));
}"""
PIXEL = """(root, [panel, row, column]) => {
  const { scene, facts } = root.awb;
  const canvas = scene.canvases[panel];
  const box = scene.box(canvas.clientWidth, canvas.clientHeight);
  const cell = scene.cellBox(box, facts.panels[panel], { row, column });
  const at = [cell.x + cell.width / 2, cell.y + cell.height / 2];
  const [x, y] = at.map((place) => Math.round((place * canvas.width) / canvas.clientWidth));
  return { at, colour: Array.from(canvas.getContext('2d').getImageData(x, y, 1, 1).data) };
}"""


def known() -> SimpleNamespace:
    """The arrays that the notebook draws."""
    made: dict[str, Any] = {}
    exec(MADE, made)
    return SimpleNamespace(**{name: made[name] for name in ("layer", "layers", "dates", "weight")})


def mean(layer: SimpleNamespace, panel: str) -> np.ndarray:
    """(unit, time) as drawn, by hand."""
    return ((layer.cell if panel == "cell" else layer.gates[panel])[0] * 0.5
            + (layer.cell if panel == "cell" else layer.gates[panel])[1] * 0.5).T  # fmt: skip


def pictures(page: Page) -> Locator:
    """Every picture that moves."""
    return page.locator("[id^='awb-'][data-moves]")


def slider(picture: Locator) -> Locator:
    return picture.locator("input[type=range]")


def colour_of(value: float, panel: str, most: float, dark: bool) -> np.ndarray:
    """What Matplotlib makes of a value, red, green, blue."""
    if panel != "cell":
        return 255 * np.array(matplotlib.colormaps["cividis"](value)[:3])
    with plots.theme("dark" if dark else "light"):
        from workbench.plots.style import palette

        return 255 * np.array(palette().signed((value / most + 1) / 2)[:3])


def holds(picture: Locator, frames: tuple[int, ...] = (0, 3, 4)) -> None:
    """Every number of the picture is the array's, to half a step of its byte."""
    layers = known().layers
    for frame in frames:
        for place, panel in enumerate(PANELS):
            wanted = mean(layers[frame], panel)
            found = np.array(picture.evaluate(VALUES, [frame, place]), float)
            most = max(np.nanmax(np.abs(mean(each, "cell"))) for each in layers) if panel == "cell" else 0.5
            np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
            np.testing.assert_allclose(found, wanted, atol=most / 254 + 1e-12)


def draws(picture: Locator, frame: int, dark: bool = False) -> None:
    """Pixels of several cells have the colours of the arrays' values."""
    layers = known().layers
    most = max(np.nanmax(np.abs(mean(each, "cell"))) for each in layers)
    for place, panel in enumerate(PANELS):
        wanted = mean(layers[frame], panel)
        for row, column in ((0, 0), (7, 11), (3, 5), (6, 1)):
            found = picture.evaluate(PIXEL, [place, row, column])["colour"]
            colour = colour_of(wanted[row, column], panel, most, dark)
            assert close_colours(found, colour.round().astype(int).tolist(), by=4), (panel, row, column)


def without_kernels(lab: Server) -> bool:
    """End every kernel; whether none was left to end."""
    sessions = lab.ask("api/sessions")
    for session in sessions:
        try:
            lab.ask(f"api/sessions/{session['id']}", method="DELETE")
        except HTTPError as error:  # of one that is still starting, or has ended meanwhile
            if error.code not in (404, 410, 500):
                raise
    return not sessions and not lab.kernels()


@pytest.fixture(scope="module")
def saved(page: Page, lab: Server, watch: Watch) -> Iterator[Path]:
    """A notebook run, saved, and opened again with no kernel left."""
    path = write_notebook(lab.folder, NAME, *CELLS)
    run_notebook(page, lab, NAME)
    pictures(page).nth(1).wait_for()
    save(page)
    with watch.errors_expected():
        page.goto("about:blank")
        eventually(page, lambda: without_kernels(lab), "no kernel is left", 60)
        page.goto(f"{lab.address}/doc/tree/{NAME}?token={lab.token}")
        pictures(page).nth(1).wait_for(timeout=60_000)
        eventually(page, lambda: len(lab.kernels()) > 0, "JupyterLab starts a kernel by itself", 60)
        page.wait_for_function(KERNEL_READY, timeout=60_000)
        eventually(page, lambda: without_kernels(lab), "no kernel is left", 60)
        page.wait_for_timeout(500)
        for button in page.locator(".jp-Dialog button.jp-mod-accept").all():
            button.click()
    assert lab.kernels() == []
    yield path
    with watch.errors_expected():
        page.goto("about:blank")
        eventually(page, lambda: without_kernels(lab), "no kernel is left to other tests", 60)


@pytest.fixture
def gates(page: Page, saved: Path, watch: Watch) -> Iterator[Locator]:
    """The picture of the gates; a kernel that is gone is missed by JupyterLab alone."""
    picture = pictures(page).first
    picture.scroll_into_view_if_needed()
    with watch.errors_expected():
        yield picture


def test_the_saved_picture_plays_and_slides_without_a_kernel(gates: Locator, page: Page, lab: Server):
    holds(gates)
    draws(gates, 4)
    expect(gates.locator("output")).to_have_text("epoch 5")
    expect(gates.locator("img")).to_be_hidden()
    slider(gates).focus()
    page.keyboard.press("Home")
    expect(gates.locator("output")).to_have_text("epoch 1")
    draws(gates, 0)
    page.keyboard.press("ArrowRight")
    draws(gates, 1)
    assert slider(gates).get_attribute("aria-valuetext") == "epoch 2"
    gates.get_by_label("Frames a second").select_option("20")
    gates.get_by_role("button", name="Play").click()
    expect(gates.get_by_role("button", name="Pause")).to_be_visible()
    expect(gates.locator("output")).to_have_text("epoch 5")
    expect(gates.get_by_role("button", name="Play")).to_be_visible()
    draws(gates, 4)
    assert lab.kernels() == []


def test_the_pointer_reads_a_number_with_its_gate_unit_and_date(gates: Locator, page: Page):
    slider(gates).fill("3")
    value = mean(known().layers[3], "forget")[3, 5]
    x, y = gates.evaluate(PIXEL, [1, 3, 5])["at"]
    gates.locator("canvas").nth(1).hover(position={"x": x, "y": y})
    said = gates.locator(".tip").inner_text().split("\n")
    assert said[:2] == ["Forget gate, unit 3", "2011-03-08"]
    assert float(said[2].split(" ± ")[0]) == pytest.approx(value, abs=0.0025)
    assert said[2].endswith("± 0.002")
    x, y = gates.evaluate(PIXEL, [2, 6, 2])["at"]
    gates.locator("canvas").nth(2).hover(position={"x": x, "y": y})
    assert gates.locator(".tip").inner_text().split("\n") == [
        "Cell state, unit 6",
        "2011-03-03",
        "no finite value",
    ]
    page.mouse.move(2, 2)
    expect(gates.locator(".tip")).to_be_hidden()


def test_the_keys_read_cells_and_play_and_are_the_pictures_own(gates: Locator, page: Page):
    before = page.locator(".jp-Notebook .jp-mod-active").count()
    slider(gates).fill("0")
    gates.locator("canvas").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowLeft")
    said = gates.locator(".spoken").inner_text()
    value = mean(known().layers[0], "input")[1, 10]
    assert said.startswith("Input gate, unit 1, 2011-03-15, ")
    assert float(said.split(", ")[-1].split(" ± ")[0]) == pytest.approx(value, abs=0.0025)
    page.keyboard.press(" ")
    expect(gates.locator("output")).not_to_have_text("epoch 1")
    page.keyboard.press(" ")
    page.keyboard.press("Escape")
    assert gates.evaluate("(root) => root.awb.picked") is None
    assert page.locator(".jp-Notebook .jp-mod-active").count() == before


@pytest.mark.parametrize("dark", [True, False], ids=["dark", "light"])
def test_it_follows_the_theme_and_is_accessible(gates: Locator, page: Page, dark: bool):
    set_theme(page, dark)
    name = "dark" if dark else "light"
    eventually(page, lambda: gates.evaluate("(root) => root.awb.theme.signed") == name, f"it is {name}")
    slider(gates).fill("2")
    draws(gates, 2, dark)
    assert serious(page, "[id^='awb-']") == []


def test_the_graphs_edges_are_the_terms(gates: Locator, page: Page):
    graph = pictures(page).nth(1)
    graph.scroll_into_view_if_needed()
    made = known()
    edges = plots.recurrent_edges(made.layers[0], made.weight, "forget", top=5)
    for frame in (1, 11):
        slider(graph).fill(str(frame))
        for rank in range(5):
            found = graph.evaluate(
                "(root, [frame, edge]) => root.awb.scene.words(frame, { edge })", [frame, rank]
            )
            i, j = edges.target[frame, rank], edges.source[frame, rank]
            term = made.weight[8 + i, j] * made.layers[0].hidden[0, frame - 1, j]
            assert found[:2] == [f"unit {j} → unit {i}", f"{made.dates[frame]:%d %b %Y}"]
            assert float(found[2].split(" of")[0].replace("−", "-")) == pytest.approx(term, rel=1e-3)
    graph.locator("canvas").focus()
    page.keyboard.press("ArrowDown")
    expect(graph.locator(".spoken")).to_contain_text(
        f"unit {edges.source[11, 0]} → unit {edges.target[11, 0]}"
    )


def test_a_notebook_that_is_not_trusted_shows_the_still_and_a_sentence(
    page: Page, saved: Path, lab: Server, watch: Watch
):
    notebook = nbformat.read(saved, as_version=4)
    notebook.cells[0].source += "\n# changed by someone else"
    for cell in notebook.cells:
        cell.get("metadata", {}).pop("trusted", None)
    other = notebook.cells[1].outputs[0].data["text/html"]
    notebook.cells[1].outputs[0].data["text/html"] = other.replace("Inside rnn", "Inside another rnn")
    nbformat.write(notebook, lab.folder / "untrusted.ipynb")
    with watch.errors_expected():
        page.goto(f"{lab.address}/doc/tree/untrusted.ipynb?token={lab.token}")
        still = page.locator(".jp-OutputArea figure img").first
        still.wait_for(timeout=60_000)
        expect(page.locator("figcaption").first).to_be_visible()
    expect(page.locator("figcaption").first).to_contain_text(
        "epoch 5: the last of 5 frames. They move where scripts"
    )
    eventually(page, lambda: still.evaluate("(image) => image.naturalWidth") > 400, "the still is there")
    assert still.get_attribute("alt").startswith("Inside another rnn.l0 (LSTM)")
    assert page.locator(".jp-OutputArea canvas, .jp-OutputArea script").count() == 0
    assert "Play" not in page.locator(".jp-Notebook").inner_text()


def test_what_nbconvert_makes_of_it_plays(page: Page, saved: Path, tmp_path: Path, watch: Watch):
    exporter = HTMLExporter(  # its "lab" template asks a CDN for widgets' scripts, whatever a notebook holds
        template_name="basic", require_js_url="", jquery_url="", mathjax_url=""
    )
    body, _ = exporter.from_filename(str(saved))
    (tmp_path / "gates.html").write_text(f"<!doctype html><meta charset=utf-8>{body}")
    with watch.errors_expected():  # of the page that is left
        page.goto(f"file://{tmp_path}/gates.html")
    picture = pictures(page).first
    picture.wait_for()
    holds(picture, (2,))
    slider(picture).fill("1")
    draws(picture, 1)


# Pages of their own ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def animation() -> Animation:
    made = known()
    windows = [made.dates + pd.offsets.BDay(i) for i in range(5)]
    return plots.gate_animation(made.layers, [f"{d[-1]:%Y-%m-%d}" for d in windows], windows)


@pytest.fixture
def alone() -> Iterator[Watch]:
    """What pages of their own did, without what JupyterLab says of its lost kernel in the meantime."""
    watch = Watch()
    yield watch
    assert watch.abroad == []
    assert watch.errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_of_its_own_follows_the_system_and_stands_still_by_itself(
    animation: Animation, browser: Browser, alone: Watch, tmp_path: Path, scheme: str
):
    context = browser.new_context(
        color_scheme=scheme, reduced_motion="reduce", viewport={"width": 420, "height": 800}
    )
    alone.watch(context)
    page = context.new_page()
    page.goto(f"file://{animation.save(tmp_path / 'page.html')}")
    picture = pictures(page).first
    draws(picture, 4, scheme == "dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= 420
    expect(picture.get_by_label("Frames a second")).to_have_value("1")
    expect(picture.locator("output")).to_have_text("2011-03-22")
    slider(picture).fill("1")
    assert picture.evaluate("(root) => root.awb.words.call({ scene: root.awb.scene, frame: 1, "
                            "picked: { panel: 0, row: 0, column: 0 } })")[1] == "2011-03-02"  # fmt: skip
    assert serious(page, "main") == []
    context.close()


def test_bars_without_dates_are_labelled_at_round_distances_from_the_last(
    browser: Browser, alone: Watch, tmp_path: Path
):
    frames = [known().layer(seed, time=62, unit=1) for seed in range(2)]
    context = browser.new_context(viewport={"width": 900, "height": 600})
    alone.watch(context)
    page = context.new_page()
    page.add_init_script(
        "window.written = []; const fill = CanvasRenderingContext2D.prototype.fillText;"
        "CanvasRenderingContext2D.prototype.fillText = function (text, ...at) {"
        "  window.written.push(text); return fill.call(this, text, ...at); };"
    )
    page.goto(f"file://{plots.gate_animation(frames, panels=['input']).save(tmp_path / 'lags.html')}")
    pictures(page).first.wait_for()
    page.wait_for_function("window.written.includes('t')")
    lags = dict.fromkeys(text for text in page.evaluate("window.written") if text.startswith("t"))
    steps = [int(text[2:] or 0) for text in lags]
    assert len(steps) > 2
    assert steps[-1] == 0
    assert steps == list(range(steps[0], -1, -steps[-2]))
    assert steps[-2] in (5, 10, 20)
    assert "1 unit by 62 bars" in (pictures(page).locator("canvas").first.get_attribute("aria-label") or "")
    context.close()


def test_one_output_shown_twice_plays_in_both_places(
    animation: Animation, browser: Browser, alone: Watch, tmp_path: Path
):
    context = browser.new_context()
    alone.watch(context)
    page = context.new_page()
    before = "<script>var names = Object.keys(window);</script>"
    after = "<script>var added = Object.keys(window).filter((name) => !names.includes(name));</script>"
    html = animation.html
    (tmp_path / "twice.html").write_text(f"<meta charset=utf-8>{before}{html}{html}{after}")
    page.goto(f"file://{tmp_path}/twice.html")
    expect(pictures(page)).to_have_count(2)
    slider(pictures(page).first).fill("0")
    draws(pictures(page).first, 0)
    draws(pictures(page).nth(1), 4)
    assert page.evaluate("added") == ["added"]
    context.close()


def test_a_picture_that_cannot_be_read_says_so_beside_its_still(
    animation: Animation, browser: Browser, tmp_path: Path
):
    broken = animation.html.replace('"panels":[', '"panel":[')
    (tmp_path / "broken.html").write_text(f"<meta charset=utf-8>{broken}")
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"file://{tmp_path}/broken.html")
    expect(page.locator("figcaption")).to_contain_text("This picture cannot move here")
    expect(page.locator("img")).to_be_visible()
    context.close()
