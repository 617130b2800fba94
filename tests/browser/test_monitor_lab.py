"""The monitor's widget in JupyterLab: live while a cell trains, and after."""

import json
from pathlib import Path

import numpy as np
import pytest
from explorer_pages import serious
from jupyter_pages import (
    FAILED_CELLS,
    Watch,
    ask_kernel,
    eventually,
    kernel_of,
    open_notebook,
    save,
    set_theme,
    write_notebook,
)
from jupyter_servers import Server
from monitor_pages import MonitorPage
from playwright.sync_api import Page, expect

NAME = "monitor.ipynb"
CELLS = [
    """import time
import workbench as wb
from IPython.display import display
from workbench.gates.log import GateLog
from workbench.gates.monitor import GateMonitor
from workbench.widgets.monitor import MonitorWidget

prices = wb.load_prices("LAG5-SNR2-BARS600", source="synthetic")
windows = wb.Windows.of(wb.make_features(prices), wb.label_moves(prices, scale="volatility"), 24)
train, valid, _ = windows.split(0.6, 0.8)
model = wb.build_model("lstm", windows, hidden_size=12, n_layers=2)""",
    """monitor = GateMonitor(valid, "log", every=1)
live = MonitorWidget(monitor)
shown = display(live, display_id=True)""",
    """def slowly(epoch, epochs, row):
    time.sleep(0.4)  # an epoch of a larger model

short = {"progress": slowly, "patience": None, "callbacks": [monitor]}
history = wb.fit(model, train, valid, epochs=12, **short)""",
]
RUN = """(index) => {
  const { commands, shell } = window.jupyterapp;
  const { content } = shell.currentWidget;
  content.activeCellIndex = index;
  content.deselectAll();
  commands.execute('notebook:run-cell');
}"""
WIDEN = """(width) => {
  for (const root of document.querySelectorAll('.awb-monitor')) root.style.width = width;
}"""
BUSY = "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'busy'"
ADD = """(code) => {
  const { content } = window.jupyterapp.shell.currentWidget;
  content.model.sharedModel.addCell({ cell_type: 'code', source: code });
  return content.widgets.length - 1;
}"""


def run_cell(page: Page, code: str) -> None:
    """Add a cell and run it, without waiting for its end."""
    page.evaluate(RUN, page.evaluate(ADD, code))


def kernel_is_busy(page: Page) -> bool:
    return page.evaluate(BUSY)


def idle(page: Page, seconds: float = 30) -> None:
    eventually(page, lambda: not kernel_is_busy(page), "the cell ends", seconds)


@pytest.fixture(scope="module")
def monitor(page: Page, lab: Server) -> MonitorPage:
    """The notebook with the widget, and a cell that trains for five seconds just begun."""
    write_notebook(lab.folder, NAME, *CELLS)
    page.set_viewport_size({"width": 1500, "height": 1400})
    open_notebook(page, lab, NAME)
    page.evaluate(RUN, 0)
    page.evaluate(RUN, 1)
    shown = MonitorPage(page)
    shown.root.wait_for(timeout=90_000)
    expect(shown.part("status")).to_have_text("No epoch is over yet.")
    page.evaluate(RUN, 2)
    return shown


def test_a_cell_that_trains_is_followed_while_it_runs(monitor: MonitorPage):
    page, seen = monitor.page, []
    expect(monitor.part("phase")).to_have_text("training", timeout=20_000)
    eventually(page, lambda: seen.append(monitor.epochs()) or seen[-1] >= 4, "four epochs are shown")
    assert kernel_is_busy(page)
    assert len(set(seen) - {0}) >= 2, "epochs came all at once"
    assert monitor.note().startswith(f"epoch {monitor.epochs()} ")


def test_layer_epoch_gate_and_unit_are_chosen_while_the_kernel_is_busy(monitor: MonitorPage):
    page = monitor.page
    monitor.part("layer").select_option("lstm.l1")
    assert monitor.get("face.curves.props.layer") == "lstm.l1"
    monitor.front("curves").focus()
    page.keyboard.press("Home")
    eventually(page, lambda: monitor.note().startswith("epoch 1 "), "the first epoch is shown")
    monitor.part("gate").select_option("forget")
    assert monitor.get("face.panels.length") == 1
    monitor.front("panel").focus()
    page.keyboard.press("ArrowDown")
    assert "forget" in monitor.root.locator(".awb-gate-panel .awb-tooltip div").first.inner_text()
    page.keyboard.press("Enter")
    assert monitor.get("face.model.get('unit')") == 0
    assert kernel_is_busy(page)
    monitor.part("gate").select_option("")
    monitor.part("newest").click()


def test_the_last_state_arrives_and_is_the_kernels(monitor: MonitorPage):
    page = monitor.page
    expect(monitor.part("phase")).to_have_text("finished", timeout=30_000)
    idle(page)
    assert page.evaluate(FAILED_CELLS) == []
    assert monitor.epochs() == 12
    eventually(
        page,
        lambda: kernel_says(page, "live.layer") == "lstm.l1",
        "the kernel knows what was chosen meanwhile",
    )
    losses = kernel_says(page, "history.epochs['valid_loss'].tolist()")
    assert monitor.get("[...face.story.column('valid_loss')]") == losses
    means = kernel_says(
        page, "[live._story.panels[12][1].values(g).ravel().tolist() for g in ('input', 'candidate')]"
    )
    drawn = monitor.get("face.story.gatesOf(12, 'lstm.l1').map(({values}) => [...values])")
    np.testing.assert_array_equal(np.float32([drawn[0], drawn[2]]), np.float32(means))
    exact = kernel_says(page, "monitor.states['lstm.l1'].gates['input'].mean(0).T.ravel().tolist()")
    np.testing.assert_allclose(drawn[0], exact, atol=1 / 500)


def kernel_says(page: Page, expression: str):
    return json.loads(ask_kernel(page, f"import json\nprint(json.dumps({expression}))"))


def test_a_display_that_is_updated_keeps_the_last_picture_and_one_widget(monitor: MonitorPage, lab: Server):
    page, path = monitor.page, lab.folder / NAME
    save(page)
    eventually(page, lambda: picture_of(path, 1) != "", "the notebook is saved")
    before = picture_of(path, 1)
    run_cell(page, "shown.update(live)")
    page.wait_for_timeout(300)
    idle(page)
    eventually(page, lambda: page.locator(".awb-monitor").count() == 1, "there is one widget")
    save(page)
    eventually(page, lambda: picture_of(path, 1) != before, "the saved picture is that of the end")
    monitor.part("layer").select_option("lstm.l0")
    assert monitor.get("face.curves.props.layer") == "lstm.l0"
    assert monitor.epochs() == 12


def picture_of(path: Path, cell: int) -> str:
    """The picture of a cell's first output in a saved notebook; "" if there is none yet."""
    outputs = json.loads(path.read_text())["cells"][cell]["outputs"]
    return outputs[0]["data"].get("image/png", "") if outputs else ""


def test_a_second_widget_and_one_on_the_log_show_the_same(monitor: MonitorPage):
    page = monitor.page
    run_cell(
        page,
        "other = MonitorWidget(GateLog.open('log'))\ndisplay(other)",
    )
    other = MonitorPage(page, 1)
    other.root.wait_for()
    eventually(page, lambda: other.epochs() == 12, "the log's epochs are shown")
    expect(other.part("phase")).to_have_text("finished")
    table = "Array.from(face.story.table, String)"
    assert other.get(table) == monitor.get(table)
    idle(page)


def test_an_interrupted_cell_says_so(monitor: MonitorPage):
    page = monitor.page
    more = "wb.fit(model, train, valid, epochs=300, **short)"
    run_cell(page, f"monitor.folder = None\n{more}")
    expect(monitor.part("phase")).to_have_text("training")
    eventually(page, lambda: monitor.epochs() in (2, 3, 4), "the other training is shown")
    assert monitor.get("face.model.get('unit')") == -1, "a unit of the earlier training is marked"
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:interrupt-kernel'); }")
    expect(monitor.part("phase")).to_have_text("interrupted", timeout=15_000)
    idle(page)
    assert monitor.epochs() == kernel_says(page, "monitor.epoch")


def test_a_training_that_fails_says_why_in_place(monitor: MonitorPage):
    page = monitor.page
    run_cell(
        page,
        """import torch
monitor.end()
def breaking(epoch, epochs, row):
    if epoch == 2:
        with torch.no_grad():
            model.lstm.weight_hh_l0.fill_(float("nan"))

wb.fit(model, train, valid, epochs=9, **short | {"progress": breaking})""",
    )
    expect(monitor.part("phase")).to_have_text("failed", timeout=20_000)
    alert = monitor.part("error")
    expect(alert).to_contain_text("The loss became nan in epoch 3")
    assert alert.get_attribute("role") == "alert"
    assert "Traceback" not in alert.inner_text()
    expect(monitor.part("findings")).to_contain_text("no finite number")
    assert serious(page, ".awb-monitor") == []
    idle(page)


def test_a_training_in_a_thread_is_stopped_from_the_page(monitor: MonitorPage):
    page = monitor.page
    run_cell(
        page,
        """import threading
monitor.end()
model = wb.build_model("gru", windows, hidden_size=12, n_layers=2)
halt = threading.Event()
stoppable = MonitorWidget(monitor, halt)
training = threading.Thread(target=lambda: wb.fit(model, train, valid, epochs=300, stop=halt, **short))
training.start()
stoppable""",
    )
    third = MonitorPage(page, 2)
    third.root.wait_for()
    eventually(page, lambda: third.epochs() >= 2 and monitor.epochs() >= 2, "both show the new training")
    assert third.get("face.panels.map((panel) => panel.props.gate)") == ["reset", "update", "candidate"]
    assert not monitor.part("stop").is_visible()
    third.part("stop").click()
    for each in (third, monitor):
        expect(each.part("phase")).to_have_text("finished", timeout=15_000)
    assert kernel_says(page, "training.join(10) or monitor.listeners == [live, stoppable]")
    ask_kernel(page, "stoppable.close()")
    assert kernel_says(page, "monitor.listeners == [live]")


@pytest.mark.parametrize("dark", [True, False], ids=["dark", "light"])
def test_the_views_follow_the_theme_and_are_accessible(
    monitor: MonitorPage, dark: bool, pictures: Path | None
):
    page = monitor.page
    set_theme(page, dark)
    paper = """[face.curves, ...face.panels].map((view) =>
      view.back.getContext('2d', {willReadFrequently: true}).getImageData(2, 2, 1, 1).data[0])"""
    eventually(page, lambda: all((value < 100) is dark for value in monitor.get(paper)), "all is drawn anew")
    assert serious(page, ".awb-monitor") == []
    monitor.root.scroll_into_view_if_needed()
    picture = MonitorPage(page, 1).root.screenshot()
    assert len(picture) > 30_000
    if pictures is not None:
        (pictures / f"monitor_{'dark' if dark else 'light'}.png").write_bytes(picture)


@pytest.mark.parametrize("width", [320, 1600])
def test_it_fits_narrow_and_wide_pages(monitor: MonitorPage, width: int):
    page = monitor.page
    page.evaluate(WIDEN, f"{width}px")
    over = "face.root.scrollWidth - face.root.clientWidth"
    eventually(page, lambda: monitor.get(over) <= 0, "nothing is cut off")
    lefts = monitor.get("face.panels.map((panel) => Math.round(panel.element.getBoundingClientRect().left))")
    assert len(set(lefts)) == (1 if width == 320 else 2)
    page.evaluate(WIDEN, "")


def test_jupyterlab_takes_no_key_that_was_meant_for_the_widget(monitor: MonitorPage):
    page = monitor.page
    cells = "() => window.jupyterapp.shell.currentWidget.content.widgets.length"
    before = page.evaluate(cells)
    monitor.front("curves").focus()
    for key in ("d", "d", "a", "b", "x", "ArrowUp"):
        page.keyboard.press(key)
    monitor.part("newest").evaluate("(button) => { button.disabled = false; button.focus(); }")
    for key in ("d", "d", "a", "b"):
        page.keyboard.press(key)
    assert page.evaluate(cells) == before


def test_what_is_shown_is_not_missed_when_the_kernel_dies(monitor: MonitorPage, lab: Server, watch: Watch):
    page = monitor.page
    save(page)
    with watch.errors_expected():
        lab.ask(f"api/kernels/{kernel_of(page)}", method="DELETE")
        page.wait_for_timeout(500)
        for button in page.locator(".jp-Dialog button.jp-mod-accept").all():
            button.click()
        monitor.part("layer").select_option("gru.l0")
        monitor.front("curves").focus()
        page.keyboard.press("Home")
        eventually(page, lambda: monitor.note().startswith("epoch 1 "), "the first epoch is shown")


def test_the_saved_notebook_shows_it_again_without_its_kernel(
    monitor: MonitorPage, lab: Server, watch: Watch
):
    page, path = monitor.page, lab.folder / NAME
    outputs = [cell.get("outputs", []) for cell in json.loads(path.read_text())["cells"]]
    pictures = [
        output["data"]["image/png"]
        for each in outputs
        for output in each
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 3  # of the three widgets, as they were when they were shown
    assert path.stat().st_size < 1_500_000
    with watch.errors_expected():
        page.goto(f"{lab.address}/doc/tree/{NAME}?token={lab.token}")
        shown = page.locator(".awb-monitor, .jp-OutputArea img").first
        shown.wait_for(timeout=30_000)
        tag = shown.evaluate("(element) => element.tagName")
        assert tag == "DIV" or shown.evaluate("(image) => image.naturalWidth") > 400
