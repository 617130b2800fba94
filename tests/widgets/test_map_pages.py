"""Maps, scores by feature, answers and the list of models as a browser draws them, without a kernel."""

import json

import numpy as np
import pytest

pytestmark = pytest.mark.browser


@pytest.fixture
def page(module_page):
    return module_page


def heatmap(page, values, **props):
    """Put a HeatmapView on the page as `view`, its events into `events`."""
    queries, keys = values.shape
    given = {"queries": queries, "keys": keys, "block": 1, "top": 1, "title": "Layer 0", "row": -1} | props
    page.evaluate(
        """async ([values, props]) => {
          const {HeatmapView} = await import('/heatmap.js');
          window.view = new HeatmapView(host(), {height: 400});
          window.events = [];
          for (const name of ['row', 'hover']) view.on(name, (detail) => events.push([name, detail]));
          const days = dates(props.keys);
          view.set({values: Float32Array.from(values), queryDates: days, keyDates: days, ...props});
          view.drawNow();
          view.front.focus();
        }""",
        [values.ravel().tolist(), given],
    )


@pytest.mark.parametrize("head", ["mean", "max", "min", 1])
def test_heads_are_fused_as_numpy_does(page, head):
    weights = np.random.default_rng(0).random((3, 4, 5)).astype(np.float32)
    got = page.evaluate(
        """async ([values, head]) => {
          const {fuseHeads} = await import('/heatmap.js');
          return [...fuseHeads(Float32Array.from(values), [3, 4, 5], head)];
        }""",
        [weights.ravel().tolist(), head],
    )
    wanted = weights[head] if isinstance(head, int) else getattr(np, head)(weights, axis=0)
    np.testing.assert_allclose(np.reshape(got, (4, 5)), wanted, rtol=1e-6)


@pytest.mark.parametrize("head", [3, -1, "median"])
def test_a_head_that_is_not_there_is_refused(page, head):
    said = page.evaluate(
        """async (head) => {
          const {fuseHeads} = await import('/heatmap.js');
          try { fuseHeads(new Float32Array(60), [3, 4, 5], head); } catch (error) { return error.message; }
          return '';
        }""",
        head,
    )
    assert said == f"head must be mean, max, min or one of 3, counted from 0. Got {head}."


def test_each_cell_has_the_colour_of_its_value(page):
    import matplotlib

    values = np.random.default_rng(1).random((6, 6)).astype(np.float32)
    heatmap(page, values, top=0.8)
    pixels = page.evaluate(
        """() => {
          const box = view.box({width: view.element.clientWidth, height: view.element.clientHeight});
          const {width, height} = view.back;
          const {data} = view.back.getContext('2d').getImageData(0, 0, width, height);
          const at = (i, start, size) => Math.floor(start + (i + 0.5) * size / 6);
          const found = [];
          for (let q = 0; q < 6; q += 1) for (let k = 0; k < 6; k += 1) {
            const pixel = 4 * (at(q, box.y, box.height) * width + at(k, box.x, box.width));
            found.push([...data.subarray(pixel, pixel + 3)]);
          }
          return found;
        }"""
    )
    wanted = matplotlib.colormaps["cividis"](np.clip(values / 0.8, 0, 1).ravel())[:, :3] * 255
    assert np.abs(np.array(pixels) - wanted).max() <= 2.5


def test_a_click_selects_a_row_and_a_second_one_lets_it_go(page):
    heatmap(page, np.eye(5, dtype=np.float32))
    place = page.evaluate(
        """() => {
          const box = view.box({width: view.element.clientWidth, height: view.element.clientHeight});
          const at = view.front.getBoundingClientRect();
          return [at.left + box.x + 0.7 * box.width, at.top + box.y + 0.5 * box.height];
        }"""
    )
    page.mouse.click(*place)
    page.mouse.click(*place)
    events = page.evaluate("events")
    assert [detail for name, detail in events if name == "row"] == [
        {"row": 2, "key": 3},
        {"row": -1, "key": 3},
    ]
    assert ["hover", {"query": 2, "key": 3, "value": 0, "by": "pointer"}] in events
    assert "0.00 % of attention" in page.evaluate("view.tip.textContent")


def test_keys_move_rows_and_keys_and_escape_lets_go(page):
    heatmap(page, np.arange(16, dtype=np.float32).reshape(4, 4) / 16)
    page.evaluate("['ArrowUp', 'ArrowUp', 'ArrowLeft'].forEach(press)")
    rows = [detail["row"] for name, detail in page.evaluate("events") if name == "row"]
    assert rows == [3, 2]
    assert page.evaluate("view.said.textContent") == (
        "62.50 % of attention, query: 2011-01-05, key: 2011-01-05, the query's own bar"
    )
    page.evaluate("press('Escape')")
    assert page.evaluate("[view.props.row, view.props.hover, view.tip.hidden]") == [-1, None, True]


@pytest.mark.parametrize("corner", [(0, 0), (0, 11), (11, 0), (11, 11)])
def test_the_tooltip_stays_within_the_view(page, corner):
    heatmap(page, np.ones((12, 12), np.float32))
    box, tip = page.evaluate(
        """([query, key]) => {
          view.point({query, key});
          return [view.element, view.tip].map((one) => one.getBoundingClientRect().toJSON());
        }""",
        list(corner),
    )
    assert box["left"] <= tip["left"]
    assert tip["right"] <= box["right"]
    assert box["top"] <= tip["top"]
    assert tip["bottom"] <= box["bottom"]


def test_a_large_map_is_redrawn_within_a_frame(page):
    heatmap(page, np.random.default_rng(2).random((252, 252)).astype(np.float32))
    median = page.evaluate(
        """() => {
          const maps = [0, 1].map(() => Float32Array.from({length: 252 * 252}, Math.random));
          const times = Array.from({length: 21}, (_, i) => {
            const start = performance.now();
            view.set({values: maps[i % 2]});
            view.drawNow();
            return performance.now() - start;
          });
          return times.sort((a, b) => a - b)[10];
        }"""
    )
    assert median <= 30  # 4 ms on a machine with nothing else to do


def test_a_strip_a_message_and_the_svg_of_a_map(page):
    heatmap(page, np.full((1, 60), 0.01, np.float32), title="a & <b>")
    height = page.evaluate("view.box({width: 500, height: 400}).height")
    svg = page.evaluate("view.toSVG()")
    assert height >= 60
    assert "a &amp; &lt;b&gt;" in svg
    assert "<image" in svg
    assert page.evaluate("view.set({message: 'none here'}), view.drawNow(), view.describe()") == "none here"


def widget_state(**changes):
    """Traits of an AttentionHeatmap of two layers, the second of fewer heads and blocks of two bars."""
    rng = np.random.default_rng(3)
    first, second = rng.random((4, 6, 6)), rng.random((2, 3, 3))
    facts = [
        {
            "name": "a",
            "kind": "self",
            "heads": 4,
            "queries": 6,
            "keys": 6,
            "query_bars": 6,
            "key_bars": 6,
            "block": 1,
        },
        {
            "name": "b",
            "kind": "self",
            "heads": 2,
            "queries": 3,
            "keys": 3,
            "query_bars": 6,
            "key_bars": 6,
            "block": 2,
        },
    ]
    state = {
        "layers": facts,
        "layer": 0,
        "head": "mean",
        "row": -1,
        "key": -1,
        "top": 1,
        "title": "",
        "height": 300,
    }
    data = np.concatenate([first.ravel(), second.ravel()]).astype(np.float32)
    return first, second, {**state, "intraday": False, **changes}, data.tolist()


def show_widget(page, state, data):
    page.evaluate(
        """async ([state, data]) => {
          const entry = (await import('/entry/attention_heatmap.js')).default;
          const bytes = (values) => new DataView(values.buffer);
          const none = new DataView(new ArrayBuffer(0));
          const sent = {data: bytes(Float32Array.from(data)), dates: bytes(dates(6)), row_weights: none};
          window.model = new Model({...state, ...sent});
          window.shut = entry.render({model, el: host()});
          await settled();
        }""",
        [state, data],
    )


def lit(page):
    return page.evaluate("settled().then(() => [...new Float32Array(model.get('row_weights').buffer)])")


def test_the_selected_row_is_written_for_each_bar(page):
    first, second, state, data = widget_state()
    show_widget(page, state, data)
    page.evaluate("document.querySelector('.awb-front').focus(); press('ArrowUp'); press('ArrowUp')")
    assert page.evaluate("[model.get('row'), model.get('key')]") == [4, 5]
    np.testing.assert_allclose(lit(page), first.mean(0)[4], rtol=1e-6)
    page.select_option("[data-awb=head]", "2")
    np.testing.assert_allclose(lit(page), first[2, 4], rtol=1e-6)
    page.evaluate("model.set('row', 1)")
    page.select_option("[data-awb=layer]", "1")
    np.testing.assert_allclose(lit(page), second.mean(0)[1].repeat(2), rtol=1e-6)
    page.evaluate("document.querySelector('.awb-front').focus(); press('Escape')")
    assert lit(page) == []


def test_a_layer_without_the_chosen_head_or_row_falls_back(page):
    *_, state, data = widget_state(head="3", row=5)
    show_widget(page, state, data)
    page.select_option("[data-awb=layer]", "1")
    assert page.evaluate("['layer', 'head', 'row'].map((name) => model.get(name))") == [1, "mean", -1]


def test_a_head_chosen_elsewhere_that_is_not_there_is_told_and_mended(page):
    *_, state, data = widget_state(layer=1, head="3")
    show_widget(page, state, data)
    assert "Layer 1 has 2 heads" in page.inner_text("[role=alert]")
    page.select_option("[data-awb=head]", "1")
    page.evaluate("settled()")
    assert page.inner_text("[role=alert]") == ""


def test_a_closed_widget_listens_no_more(page):
    *_, state, data = widget_state()
    show_widget(page, state, data)
    page.evaluate("shut()")
    assert page.evaluate("Object.values(model.heard).every((set) => set.size === 0)")
    assert page.evaluate("document.querySelector('.awb')") is None


def test_features_show_their_totals_and_the_strongest_where_room_is_short(page):
    scores = np.random.default_rng(4).normal(size=(20, 40)).astype(np.float32)
    scores[:, 7] += 5
    totals, sentence, shown = page.evaluate(
        """async ([scores]) => {
          const {FeatureView} = await import('/features.js');
          const view = new FeatureView(host(), {height: 200});
          const names = Array.from({length: 40}, (_, i) => `f${i}`);
          view.set({scores: Float32Array.from(scores), names, dates: dates(20), signed: true});
          view.drawNow();
          return [[...view.made.totals], view.describe(), view.made.shown];
        }""",
        [scores.ravel().tolist()],
    )
    np.testing.assert_allclose(totals, scores.sum(0), rtol=1e-4, atol=1e-4)
    assert sentence.startswith("40 features by 20 bars. Largest totals: f7 ")
    assert shown == sorted(np.argsort(-np.abs(scores).sum(0))[: len(shown)].tolist())
    assert 1 < len(shown) < 40


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ["▸ buy48.7 %, the likeliest", "Then+1.23 % in 1 bar (buy)", "Positionlong", "never seen"]),
        ({"happened": None, "moved": -1}, ["Thennot known yet"]),
        ({"position": -0.4, "split": 1}, ["short, 40 % of the money", "learnt from this day"]),
        ({"position": None, "split": 0}, ["none: these answers are not traded", "Not known"]),
        (
            {"position": 0, "confidence": 0.5, "split": 4},
            ["less sure than the 50 % asked for", "left out on purpose"],
        ),
        ({"position": 1, "traded": False, "split": 1}, ["long, not traded on this day"]),
        ({"classes": [], "probabilities": None, "forecast": -0.0042, "horizon": 5}, ["−0.42 % in 5 bars"]),
        ({"classes": ["<img src=x onerror=alert(1)>", "b", "c"]}, ["<img src=x onerror=alert(1)>21.3 %"]),
    ],
)
def test_the_answer_is_told_in_words(page, changes, said):
    props = {"classes": ["sell", "hold", "buy"], "probabilities": [0.213, 0.3, 0.487], "forecast": None}
    props |= {"happened": 0.0123, "moved": 2, "horizon": 1, "position": 1, "split": 3, "date": 1312761600000}
    text = page.evaluate(
        """async (text) => {
          const {AnswerPanel} = await import('/answer.js');
          const props = JSON.parse(text);
          for (const name of ['happened', 'position']) props[name] ??= NaN;
          const panel = new AnswerPanel(host());
          panel.set({...props, probabilities: props.probabilities && Float32Array.from(props.probabilities)});
          return panel.element.textContent;
        }""",
        json.dumps(props | changes),
    )
    assert all(words in text for words in said), text
    assert "2011-08-08" in text
    assert page.query_selector("img") is None


def test_models_are_listed_chosen_and_read_again(page):
    sound = {
        "key": "one",
        "label": "lstm · A · 5 bars",
        "note": "n",
        "fault": "",
        "facts": [["Sees", "5 bars"]],
    }
    damaged = {
        "key": "<b>",
        "label": "<b> (cannot be used)",
        "note": "cut",
        "fault": "It was cut.",
        "facts": [],
    }
    page.evaluate(
        """async (listed) => {
          const entry = (await import('/entry/run_picker.js')).default;
          window.model = new Model({run: '', listed, place: 'runs/models', error: ''});
          window.shut = entry.render({model, el: host()});
        }""",
        [sound, damaged],
    )
    page.select_option("[data-awb=run]", "one")
    assert page.evaluate("model.get('run')") == "one"
    page.evaluate("model.set('run', 'one')")
    assert page.inner_text("dl") == "Sees\n5 bars"
    page.evaluate("model.set('run', '<b>')")
    assert page.inner_text("[role=alert]") == "It was cut."
    page.evaluate("model.set('run', 'gone')")
    assert "No model called gone lies in runs/models" in page.inner_text("[role=status]")
    page.click("[data-awb=refresh]")
    assert page.evaluate("model.sent") == [{"ask": "refresh"}]
