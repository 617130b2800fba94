"""The Explorer's page against a made-up kernel: what it shows, and what it lets no kernel break."""

from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.browser
KERNEL = Path(__file__).with_name("fake_kernel.js")
TOLD = ["head", "layer", "row", "date", "facts", "choices", "version", "status"]


@pytest.fixture
def page(module_page):
    module_page.add_script_tag(content=KERNEL.read_text("utf-8"))
    module_page.clock.install()
    return module_page


def show(page, heads=4):
    page.evaluate("(heads) => { window.opened = explorer(heads) }", heads)
    page.clock.run_for(1000)
    return page.evaluate("opened")


def run(page, script, milliseconds=400):
    page.evaluate(script)
    page.clock.run_for(milliseconds)


def shown_map(page):
    return np.array(page.evaluate("[...shown.views.heatmap.props.values]"), dtype=np.float32)


def fused(page, version, day, layer, heads):
    values = page.evaluate("(a) => [...weightsOf(...a)]", [version, day, layer, heads])
    return np.array(values, dtype=np.float32).reshape(heads, -1).mean(0)


def test_it_opens_on_the_day_and_the_map_that_are_asked_for(page):
    day = show(page)
    assert page.evaluate("shown.dateOf(shown.day)") == "2011-01-20"
    np.testing.assert_allclose(shown_map(page), fused(page, 1, day, 0, 4), atol=1e-6)


@pytest.mark.parametrize("turn", range(len(TOLD)))
def test_a_new_model_is_shown_in_whatever_order_its_traits_are_told(page, turn):
    show(page)
    run(page, "shown.choose('head', '3')")
    order = TOLD[turn:] + TOLD[:turn]
    run(
        page,
        f"""kernel.heads = 2; kernel.change({{head: 'mean', layer: 1, row: 2, date: '2011-01-25', version: 2,
          facts: factsOf(2), choices: {{...choices}}, status: 'another'}}, {order})""",
    )
    day = page.evaluate("shown.dayOf('2011-01-25')")
    assert page.evaluate("[shown.day, shown.store.version, shown.state.row]") == [day, 2, 2]
    np.testing.assert_allclose(shown_map(page), fused(page, 2, day, 1, 2), atol=1e-6)


def test_answers_and_refusals_of_a_subject_that_was_left_change_nothing(page):
    day = show(page)
    before = shown_map(page)
    run(
        page,
        """const old = (ask) => kernel.tell({kind: 'failed', ask, error: 'old', version: 0});
        old({ask: 'maps', version: 0, windows: [1]});
        old({ask: 'scores', version: 0, method: 'rollout', target: ''});
        const weights = [0, 1].map((layer) => weightsOf(9, 9, layer, 4));
        kernel.tell({kind: 'maps', version: 0, window: shown.day}, weights)""",
    )
    np.testing.assert_array_equal(shown_map(page), before)
    run(page, "shown.step(1)")
    assert page.evaluate("shown.day") == day + 1
    np.testing.assert_allclose(shown_map(page), fused(page, 1, day + 1, 0, 4), atol=1e-6)
    assert page.evaluate("shown.views.candles.props.message") is None


def test_a_mouse_over_views_whose_subject_is_being_changed_breaks_nothing(page):
    show(page)
    told = page.evaluate(
        """() => {
          kernel.deaf.add('data'); // what is asked for has not come yet
          kernel.change({ version: 2, facts: factsOf(2) }, ['version', 'facts']);
          shown.hoverKey({ query: 1, key: 1 });
          shown.hoverKey(null);
          shown.pick(70);
          shown.brush([60, 70]);
          shown.zoom(50, 90);
          shown.step(1);
          shown.goToDate('2011-01-25');
          return [shown.ready, shown.day, shown.state.span];
        }"""
    )
    assert told == [False, -1, []]


def test_no_clock_of_a_subject_that_was_left_calls_the_kernel_silent(page):
    show(page)
    run(page, "kernel.deaf.add('scores'); shown.choose('method', 'slow')")
    run(page, "kernel.deaf.clear(); kernel.change({version: 2, facts: factsOf(4)})", 12_000)
    assert page.evaluate("shown.store.silent") is False
    assert "does not answer" not in page.locator("[data-awb=status]").inner_text()


def test_a_kernel_that_answers_nothing_is_called_so_and_believed_again(page):
    show(page)
    run(page, "kernel.deaf.add('scores'); shown.choose('method', 'slow')", 9000)
    assert "does not answer" in page.locator("[data-awb=status]").inner_text()
    run(page, "kernel.deaf.clear(); kernel.tell({kind: 'maps', version: 1, window: 0}, "
        "[0, 1].map((l) => weightsOf(1, 0, l, 4)))")  # fmt: skip
    assert "does not answer" not in page.locator("[data-awb=status]").inner_text()


def test_a_kernel_that_says_it_works_is_waited_for(page):
    show(page)
    busy = "{what: 'training', done: 1, total: 9, seconds_left: 80, cancellable: true}"
    run(page, f"kernel.change({{progress: {busy}}}); kernel.deaf.add('scores')")
    run(page, "shown.choose('method', 'slow')", 30_000)
    assert page.evaluate("shown.store.silent") is False
    assert "training: 1 of 9, 80 s left" in page.locator("[data-awb=progress]").inner_text()


def test_what_failed_on_one_day_is_tried_on_the_next_and_again_when_asked(page):
    show(page)
    run(page, "kernel.failing.add('scores'); shown.choose('method', 'slow')")
    assert page.evaluate("shown.views.candles.props.message") == "no such luck"
    assert page.locator("[data-awb=retry]").is_visible()
    asked = page.evaluate("kernel.sent.length")
    run(page, "0", 20_000)
    assert (
        page.evaluate("kernel.sent.filter(({ask}) => ask === 'scores').length") <= asked
    )  # it is not asked on and on
    run(page, "kernel.failing.clear(); document.querySelector('[data-awb=retry]').click()")
    assert page.evaluate("shown.views.candles.props.message") is None
    assert page.locator("[data-awb=retry]").is_hidden()
    run(page, "kernel.failing.add('scores'); shown.choose('method', 'rollout'); shown.goTo(39)")
    assert page.evaluate("shown.views.candles.props.message") == "no such luck"
    run(page, "kernel.failing.clear(); shown.goTo(38)")
    assert page.evaluate("shown.views.candles.props.message") is None


@pytest.mark.parametrize("head", ["mean", "max", "min", "2"])
def test_shares_of_a_row_never_add_up_to_more_than_the_whole(page, head):
    show(page)
    run(page, f"shown.choose('head', '{head}'); shown.choose('row', 2);"
        "shown.brush([shown.window().start, shown.window().end])")  # fmt: skip
    words = page.locator("[data-awb=selection]").inner_text()
    assert "Of the selected row: 100.00 %" in words
    assert "Share of the explanation inside: 100.00 %; of an indifferent model's: 100.00 %" in words


def test_the_brush_adds_up_what_lies_inside(page):
    show(page)
    run(page, "shown.brush([shown.window().start + 1, shown.window().start + 3])")
    words = page.locator("[data-awb=selection]").inner_text()
    assert f"inside: {100 * (2 + 3 + 4) / 21:.2f} %; of an indifferent model's: 50.00 %" in words


def test_measured_trust_is_shown_and_its_absence_said(page):
    show(page)
    assert page.locator("[data-awb=trust]").inner_text().startswith("Trust: not measured for rollout")
    run(page, "kernel.trust = 'comprehensiveness 0.31 (random 0.05)'; shown.choose('method', 'slow')")
    assert page.locator("[data-awb=trust]").inner_text() == "Trust: comprehensiveness 0.31 (random 0.05)"


def test_the_account_is_read_at_the_bar_of_the_decision(page):
    show(page)
    lines = page.evaluate("shown.views.money.tooltipLines(shown.window().end)")
    assert "strategy 119.00" in lines
    assert "test days, from 2011-01-20" in page.locator("[data-awb=conventions]").inner_text()
    run(page, "shown.goTo(0)")
    assert "long, not traded on this day" in page.locator("[data-awb=answer]").inner_text()


def test_a_forecast_of_something_else_than_a_return_is_no_percentage(page):
    show(page)
    run(page, "kernel.change({facts: factsOf(4, {classes: [], forecast_unit: 'value'})}); shown.showAnswer()")
    assert "Forecast\n0.3 in 1 bar" in page.locator("[data-awb=answer]").inner_text()


def test_another_view_of_the_same_model_asks_for_itself(page):
    show(page)
    run(page, """import('/entry/explorer.js').then(({default: widget}) => {
      const place = document.createElement('div');
      document.body.append(place);
      widget.render({model: kernel, el: place});
    })""")  # fmt: skip
    page.clock.run_for(1000)
    days = page.evaluate("[...document.querySelectorAll('.awb-explorer')].map((root) => root.awb.day)")
    assert len(days) == 2
    assert days[0] == days[1]
    run(page, "shown.step(1)")
    assert page.evaluate("document.querySelectorAll('.awb-explorer')[1].awb.day") == days[0] + 1


def test_a_closed_view_listens_and_asks_no_more(page):
    show(page)
    run(page, "close()")
    asked = page.evaluate("kernel.sent.length")
    run(page, "kernel.change({version: 3, date: '2011-01-22'})", 10_000)
    assert page.evaluate("kernel.sent.length") == asked


def test_a_day_without_a_decision_is_named_and_the_one_before_it_shown(page):
    show(page)
    run(page, "shown.act('date', '2015-12-25')")
    assert "No decision on 2015-12-25: this is 2011-02-14." in page.locator("[data-awb=status]").inner_text()
    run(page, "shown.step(-1)")
    assert "No decision" not in page.locator("[data-awb=status]").inner_text()


def test_the_train_button_first_chooses_and_then_starts(page):
    show(page)
    run(page, """kernel.change({choices: {...choices, runs: [...choices.runs,
      {key: 'train:lstm', label: 'train lstm', note: '', group: 'train here'}]}})""")  # fmt: skip
    train = page.locator("[data-awb=train]")
    train.click()
    assert train.inner_text() == "Start training"
    assert page.evaluate("kernel.sent.filter(({ask}) => ask === 'train').length") == 0
    train.click()
    assert page.evaluate("kernel.sent.filter(({ask}) => ask === 'train')") == [
        {"ask": "train", "name": "lstm"}
    ]
    assert page.locator("[data-awb=run]").input_value() == "one"
