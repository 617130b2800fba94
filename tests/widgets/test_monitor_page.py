"""The monitor's widget as a browser draws it, without a kernel."""

from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
from made_gates import finding_of, layer_of, snapshot_of, states_of

from workbench.gates.states import GATES
from workbench.widgets.monitordata import SLOTS, Story
from workbench.widgets.monitorwords import findings_line, findings_told

pytestmark = pytest.mark.browser

OPEN = """async ([state, width]) => {
  window.bytes = (list) => {  // as Jupyter hands them over: somewhere within a message
    const held = new Uint8Array(list.length + 3);
    held.set(list, 3);
    return new DataView(held.buffer, 3, list.length);
  };
  window.given = (state) => Object.fromEntries(
    Object.entries(state).map(([name, value]) => [name, value?.bytes ? bytes(value.bytes) : value]));
  const widget = (await import('/entry/monitor.js')).default;
  window.model = new Model(given(state));
  window.close = widget.render({model, el: host(width)});
  window.face = document.querySelector('.awb-monitor').awb;
  await settled();
}"""
TELL = """async (state) => {
  for (const [name, value] of Object.entries(given(state))) model.set(name, value);
  await settled();
}"""


@pytest.fixture
def page(module_page):
    return module_page


def packed(content: bytes) -> dict[str, Any]:
    return {"bytes": list(content)}


def story_of(count: int, kind: str = "lstm", **norms: float) -> Story:
    """A training of `count` epochs, of one layer of 4 units and another of 6, over 5 bars."""
    story = Story()
    for epoch in range(1, count + 1):
        index = pd.MultiIndex.from_tuples([("lstm.l0", unit) for unit in range(4)], names=["layer", "unit"])
        gate = GATES[kind][1]
        units = pd.DataFrame(
            {f"{gate}_saturation_left": [0, 0.25, 0.5, 1.0], f"{gate}_saturation_right": 0.125}, index
        )
        layers = [
            layer_of("lstm.l0", kind=kind, seed=epoch),
            layer_of("lstm.l1", (3, 5, 6), kind, seed=90 + epoch),
        ]
        told = {("lstm.weight_hh_l0", gate): norm for gate, norm in norms.items()}
        story.add(snapshot_of(epoch, units, told), states_of(*layers))
    return story


def state_of(story: Story, findings=(), **more: Any) -> dict[str, Any]:
    """The traits of a widget that shows a story."""
    settled, recent = story.curves()
    told = findings_told(findings, story.looked, [layer["name"] for layer in story.layers])
    state = {f"panel_{i}": packed(b"") for i in range(SLOTS)}
    state |= {f"panel_{i}": packed(panel) for i, panel in story.taken_slots().items()}
    state |= {"layers": story.layers, "columns": story.columns}
    state |= {"settled": packed(settled), "recent": packed(recent), "findings": told}
    state |= {"findings_told": findings_line(told, story.looked), "status": "", "thinned": "", "error": ""}
    chosen = {"layer": "", "gate": "", "epoch": 0, "unit": -1, "phase": "running", "stoppable": False}
    return {**state, **chosen, **more}


def opened(page, story: Story, findings=(), width: int = 1000, **more: Any):
    page.evaluate(OPEN, [state_of(story, findings, **more), width])


def drawn(page) -> list[str]:
    """The gates whose panels are there."""
    return page.evaluate("face.panels.map((panel) => panel.props.gate)")


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_the_browser_has_the_numbers_that_the_kernel_had(page, kind):
    story = story_of(3, kind)
    panels = story.panels
    opened(page, story)
    for epoch in (1, 3):
        for place, name in enumerate(["lstm.l0", "lstm.l1"]):
            there = page.evaluate(
                """([epoch, name]) => face.story.gatesOf(epoch, name).map(
                  ({values, left, right}) => [values, left, right].map((all) => [...all].map(String)))""",
                [epoch, name],
            )
            panel = panels[epoch][place]
            for gate, (values, left, right) in zip(GATES[kind], there, strict=True):
                np.testing.assert_array_equal(np.float32(values), panel.values(gate).ravel())
                np.testing.assert_array_equal(np.float32([left, right]), panel.shares(gate))
    for name in story.columns:
        column = page.evaluate("(name) => [...face.story.column(name)]", name)
        assert column == [story.rows[epoch][name] for epoch in (1, 2, 3)]


@pytest.mark.parametrize("low", [0, -1])
def test_each_of_the_256_codes_stands_for_the_kernels_number(page, low):
    from workbench.gates.packing import restored

    opened(page, story_of(1))
    there = page.evaluate(
        "async (low) => [...(await import('/gate_story.js')).codeValues(low)].map(String)", low
    )
    wanted = restored(np.arange(256, dtype=np.uint8), float(low)).numpy()
    np.testing.assert_array_equal(np.float32(there), wanted)


def test_each_cell_has_the_colour_of_its_value(page):
    story = story_of(2)
    values = story.panels[2][0].values("forget")
    opened(page, story)
    pixels = page.evaluate(
        """() => {
          const view = face.panels[1];
          view.drawNow();
          const {cells} = view.boxes(view.size());
          const {width: wide, height: high} = view.back;
          const {data} = view.back.getContext('2d').getImageData(0, 0, wide, high);
          return [0, 1, 2, 3].map((row) => [0, 1, 2, 3, 4].map((column) => {
            const {x, y, width, height} = view.cellBox(cells, {row, column});
            const pixel = 4 * (Math.round(y + height / 2) * wide + Math.round(x + width / 2));
            return [...data.subarray(pixel, pixel + 3)];
          }));
        }"""
    )
    wanted = matplotlib.colormaps["cividis"](values)[..., :3] * 255
    assert np.abs(np.array(pixels) - wanted).max() <= 2.5


def test_the_newest_epoch_is_followed_until_another_is_chosen(page):
    story = story_of(2)
    opened(page, story)
    assert page.evaluate("face.panels[0].props.note") == "epoch 2 · mean of 3 windows"
    story.add(snapshot_of(3), states_of(layer_of("lstm.l0", seed=3), layer_of("lstm.l1", (3, 5, 6), seed=93)))
    news = {f"panel_{i}": packed(panel) for i, panel in story.taken_slots().items()}
    page.evaluate(TELL, {**news, "recent": packed(story.curves()[1])})
    assert page.evaluate("face.panels[0].props.note") == "epoch 3 · mean of 3 windows"
    page.evaluate("face.slider.value = 0; face.slider.dispatchEvent(new Event('input'))")
    assert page.evaluate("model.get('epoch')") == 1
    story.add(snapshot_of(4), states_of(layer_of("lstm.l0", seed=4), layer_of("lstm.l1", (3, 5, 6), seed=94)))
    news = {f"panel_{i}": packed(panel) for i, panel in story.taken_slots().items()}
    page.evaluate(TELL, {**news, "recent": packed(story.curves()[1])})
    page.wait_for_function("face.panels[0].props.note.startsWith('epoch 1 ')")
    page.locator('[data-awb="newest"]').click()
    page.wait_for_function("face.panels[0].props.note.startsWith('epoch 4 ')")
    assert page.evaluate("[model.get('epoch'), face.newest.disabled]") == [0, True]


def test_an_epoch_that_is_dropped_gives_way_to_the_nearest(page):
    story = story_of(3)
    opened(page, story, epoch=2)
    slot = story.places.kept[1]
    page.evaluate(TELL, {f"panel_{slot}": packed(b"")})
    page.wait_for_function("face.panels[0].props.note.startsWith('epoch 1 ')")
    assert page.evaluate("face.slider.max") == "1"


def test_layer_and_gate_are_chosen_in_place(page):
    opened(page, story_of(2))
    assert drawn(page) == list(GATES["lstm"])
    page.locator('[data-awb="layer"]').select_option("lstm.l1")
    page.wait_for_function("face.panels[0].props.units === 6")
    page.locator('[data-awb="gate"]').select_option("output")
    page.wait_for_function("face.panels.length === 1")
    assert drawn(page) == ["output"]
    assert page.evaluate("[model.get('layer'), model.get('gate'), model.sent.length]") == [
        "lstm.l1",
        "output",
        0,
    ]
    page.evaluate("model.set('layer', 'gone')")  # of an earlier training
    page.wait_for_function("face.panels[0].props.units === 4")


def test_keys_move_through_a_panel_and_escape_lets_go(page):
    story = story_of(1)
    value = story.panels[1][0].values("forget")[1, 3]
    opened(page, story)
    page.evaluate("face.panels[1].front.focus()")
    page.evaluate("['ArrowDown', 'ArrowDown', 'ArrowLeft'].forEach(press)")
    said = page.evaluate("face.panels[1].said.textContent")
    assert said == (
        f"forget {value:.3f}, unit 1, bar t−1, 25 % of the unit's values below 0.1, "
        "13 % of the unit's values above 0.9"
    )
    assert page.evaluate("face.panels.map((panel) => panel.props.hover)") == [{"row": 1, "column": 3}] * 4
    page.evaluate("press('Enter')")
    page.wait_for_function("face.panels.every((panel) => panel.props.unit === 1)")
    page.evaluate("press('Escape')")
    page.wait_for_function("face.panels.every((panel) => panel.props.unit === -1)")
    assert page.evaluate("[model.get('unit'), face.panels[1].tip.hidden]") == [-1, True]


def test_the_pointer_reads_the_cell_beneath_it_and_marks_its_unit(page):
    story = story_of(1)
    value = story.panels[1][0].values("forget")[2, 1]
    opened(page, story)
    x, y = page.evaluate(
        """() => {
          const view = face.panels[1], at = view.front.getBoundingClientRect();
          const {cells} = view.boxes(view.size());
          return [at.left + cells.x + 0.3 * cells.width, at.top + cells.y + 0.6 * cells.height];
        }"""
    )
    page.mouse.move(x, y)
    told = page.locator(".awb-gate-panel").nth(1).locator(".awb-tooltip div").all_inner_texts()
    assert told[:2] == [f"forget {value:.3f}", "unit 2, bar t−3"]
    page.mouse.click(x, y)
    assert page.evaluate("model.get('unit')") == 2
    page.mouse.move(2, 2)
    page.wait_for_function("face.panels.every((panel) => panel.props.hover === null)")


def test_keys_and_clicks_on_the_curves_choose_an_epoch(page):
    opened(page, story_of(6))
    page.evaluate("face.curves.front.focus(); press('ArrowLeft'); press('ArrowLeft')")
    assert page.evaluate("model.get('epoch')") == 4
    page.evaluate("press('End')")
    assert page.evaluate("model.get('epoch')") == 0
    box = page.locator(".awb-gate-curves").bounding_box()
    page.mouse.click(box["x"] + page.evaluate("face.curves.place().x(2)"), box["y"] + 100)
    assert page.evaluate("model.get('epoch')") == 2
    assert page.evaluate("face.curves.tooltipLines(2)") == [
        "epoch 2", "training loss 0.5", "validation loss 0.6", "input: norm 0.2", "forget: norm 0.2",
        "candidate: norm 0.2", "output: norm 0.2",
    ]  # fmt: skip


def test_norms_stand_on_a_logarithmic_axis_and_zero_at_its_foot(page):
    story = story_of(3, input=0.001, forget=1.0, candidate=1000.0, output=0.0)
    opened(page, story)
    ys = page.evaluate(
        """() => {
          const ys = {}, view = face.curves;
          view.paintLine = (ctx, place, scale, values) => { ys[values[0]] = scale.y(values[0]); };
          view.drawNow();
          const {norms} = view.panes({width: view.element.clientWidth, height: view.element.clientHeight});
          return [ys, norms.top + norms.height];
        }"""
    )
    at, foot = ys
    assert at["0.001"] - at["1"] == pytest.approx(at["1"] - at["1000"])
    assert at["0"] == foot
    assert page.evaluate("face.curves.tooltipLines(1).at(-1)") == "output: norm 0"


def test_an_epoch_passed_over_does_not_break_a_line_and_one_without_number_does(page):
    story = story_of(2)
    story.add_passed(pd.DataFrame({"taken": [False], "train_loss": [0.2]}, pd.Index([3], name="epoch")))
    norms = {("lstm.weight_hh_l0", gate): np.nan if gate == "input" else 0.5 for gate in GATES["lstm"]}
    layers = layer_of("lstm.l0", seed=4), layer_of("lstm.l1", (3, 5, 6), seed=94)
    for epoch, told in ((4, None), (5, norms), (6, None)):
        story.add(snapshot_of(epoch, norms=told), states_of(*layers))
    opened(page, story)
    moves = page.evaluate(
        """(gates) => gates.map((gate) => {
          const said = [], ctx = new Proxy({}, {get: (_, name) => () => said.push(name), set: () => true});
          const {values} = face.curves.props.norms.find((norm) => norm.gate === gate);
          face.curves.paintLine(ctx, {x: (v) => v}, {y: (v) => v}, values);
          return said.filter((name) => name === 'moveTo').length;
        })""",
        ["input", "forget"],
    )
    assert moves == [2, 1]
    assert page.evaluate("face.curves.tooltipLines(3)") == [
        "epoch 3",
        "training loss 0.2",
        "validation loss not finite",
        "gates not looked at, to keep within the budget",
    ]


def test_a_finding_leads_to_its_layer_and_new_ones_are_read_out(page):
    story = story_of(2)
    first = finding_of(2, "spread", 3.0, where="lstm.weight_hh_l1")
    opened(page, story, [first])
    assert page.locator('[data-awb="alert"]').inner_text() == ""
    button = page.locator('[data-awb="findings"] button')
    assert button.inner_text() == f"epoch 2 {first}"
    button.click()
    page.wait_for_function("face.panels[0].props.units === 6")
    worse = finding_of(2, "norm", 99.0, units=(3,))
    told = findings_told([first, worse], [1, 2], ["lstm.l0", "lstm.l1"])
    page.evaluate(TELL, {"findings": told, "findings_told": "2 found wrong in epoch 2."})
    alert = page.locator('[data-awb="alert"]')
    assert alert.get_attribute("role") == "alert"
    assert alert.evaluate("(alert) => alert.textContent") == f"Epoch 2: {worse}."
    page.locator('[data-awb="findings"] button').first.click()
    page.wait_for_function("face.panels[0].props.unit === 3 && face.panels[0].props.units === 4")


def test_a_finding_that_is_markup_stays_text(page):
    nasty = finding_of(1, "<img src=x onerror=window.broken=1>")
    opened(page, story_of(1), [nasty], error="<b>no</b>", status="<i>")
    assert page.locator(".awb-monitor img, .awb-monitor b, .awb-monitor i").count() == 0
    assert page.evaluate("window.broken") is None
    assert "<img" in page.locator('[data-awb="findings"]').inner_text()
    assert page.locator('[data-awb="error"]').inner_text() == "<b>no</b>"


def test_gates_without_a_number_are_blank_and_said(page):
    story = Story()
    layer = layer_of()
    layer.gates["input"][0, 2, 1] = np.nan
    story.add(snapshot_of(1), states_of(layer))
    opened(page, story)
    assert "1 cells are no finite number" in page.evaluate("face.panels[0].describe()")
    assert page.evaluate("face.panels[0].lines({row: 1, column: 2})[0]") == "input is no finite number"


def test_before_the_first_epoch_there_are_words(page):
    opened(page, Story(), phase="waiting", status="No epoch is over yet.")
    assert "No epoch is over yet." in page.locator('[data-awb="status"]').inner_text()
    assert page.locator('[data-awb="phase"]').inner_text() == "waiting"
    assert page.evaluate("face.panels[0].describe()") == "Nothing of the gates has come yet."
    page.evaluate("face.curves.front.focus(); press('ArrowLeft'); press('Enter')")
    page.evaluate("face.panels[0].front.focus(); press('ArrowLeft'); press('Enter')")


def test_stop_asks_the_kernel_while_training_goes_on(page):
    opened(page, story_of(1), stoppable=True)
    page.locator('[data-awb="stop"]').click()
    assert page.evaluate("model.sent") == [{"ask": "stop"}]
    page.evaluate(TELL, {"phase": "finished"})
    assert not page.locator('[data-awb="stop"]').is_visible()


@pytest.mark.parametrize("width", [320, 700, 1600])
def test_nothing_is_wider_than_its_place(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    found = [finding_of(1, "a_signal_of_a_rather_long_name" * 3, where="a.module.path.that.is.long.lstm.l0")]
    opened(page, story_of(3), found, width - 16, status="Epoch 3 · training loss 0.3 " * 5)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    boxes = page.evaluate("face.panels.map((panel) => panel.element.getBoundingClientRect().toJSON())")
    assert all(box["width"] >= 250 for box in boxes)
    assert len({box["left"] for box in boxes}) == (1 if width == 320 else 2)


def test_the_pictures_follow_the_theme(page):
    opened(page, story_of(2))
    paper = """() => [face.curves, face.panels[0]].map((view) =>
      view.toCanvas(1).getContext('2d').getImageData(1, 1, 1, 1).data[0])"""
    page.evaluate("document.body.dataset.jpThemeLight = 'false'")
    page.wait_for_timeout(50)
    assert max(page.evaluate(paper)) < 60
    page.evaluate("document.body.dataset.jpThemeLight = 'true'")
    page.wait_for_timeout(50)
    assert min(page.evaluate(paper)) > 200


def test_a_closed_view_leaves_nothing_behind(page):
    opened(page, story_of(2))
    page.evaluate("window.close()")
    assert page.locator(".awb-monitor").count() == 0
    assert page.evaluate("Object.values(model.heard).every((callbacks) => callbacks.size === 0)")
    page.evaluate(TELL, {"phase": "finished"})


@pytest.mark.parametrize("view", ["face.curves", "face.panels[2]"])
def test_a_picture_can_be_drawn_as_svg(page, view):
    import xml.etree.ElementTree as ET

    opened(page, story_of(3))
    drawing = page.evaluate(f"{view}.toSVG()")
    texts = [text.text for text in ET.fromstring(drawing).iter("{http://www.w3.org/2000/svg}text")]
    assert ("epoch" in texts) if "curves" in view else {"unit", "% of values", "candidate"} <= set(texts)
