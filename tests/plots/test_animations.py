"""The HTML of pictures that move: whole, without addresses, exact to half a step of a byte."""

import base64
import json
import re
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib import colormaps
from PIL import Image

from workbench import plots
from workbench.plots.animations import STEPS, UNKNOWN, quantised, tables
from workbench.plots.style import MAGNITUDE

FINITE = st.floats(-1e3, 1e3)


class Elements(HTMLParser):
    """Tags with their attributes, and the text of scripts."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("img", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def facts_in(html):
    [text] = re.findall(r'<script type="application/json">(.*?)</script>', html)
    return json.loads(text)


@pytest.fixture
def animation(layer_of):
    return plots.gate_animation([layer_of(seed=seed) for seed in range(3)])


def test_bytes_worked_by_hand():
    codes, scale = quantised(np.array([0, 0.5, 1, np.nan, np.inf, -0.1]), 0, 1)
    assert codes.tolist() == [0, 127, 254, UNKNOWN, 254, 0]
    assert scale == {"low": 0, "step": 1 / 254}


@given(arrays(float, st.integers(1, 30), elements=FINITE))
def test_values_come_back_within_half_a_step_and_zero_exactly(values):
    most = float(np.abs(values).max()) or 1.0
    codes, scale = quantised(np.append(values, 0), -most, most)
    back = scale["low"] + codes * scale["step"]
    np.testing.assert_allclose(back[:-1], values, atol=scale["step"] / 2 * (1 + 1e-9))
    assert abs(back[-1]) < 1e-12 * most
    assert codes.max() <= STEPS


def test_colours_are_matplotlibs():
    table = np.frombuffer(base64.b64decode(tables()["magnitude"]), np.uint8).reshape(255, 3)
    wanted = matplotlib.colormaps["cividis"](np.arange(255) / 254)[:, :3]
    np.testing.assert_allclose(table / 255, wanted, atol=0.5 / 255 + 1e-9)
    assert {len(base64.b64decode(text)) for text in tables().values()} == {765}


def test_a_notebook_gets_html_and_a_still(animation):
    bundle = animation._repr_mimebundle_()
    assert set(bundle) == {"text/html", "image/png", "text/plain"}
    assert base64.b64decode(bundle["image/png"]) == animation.still
    assert animation.still.startswith(b"\x89PNG")
    assert len(bundle["text/plain"]) < 200
    assert len(animation) == 3


def test_the_still_has_the_colours_of_its_scales(animation):
    with Image.open(BytesIO(animation.still)) as image:
        drawn = np.asarray(image.convert("RGB"), dtype=int).reshape(-1, 3)
    for share in (0.0, 1.0):  # the ends of a gate's colour bar, where few pixels are
        wanted = 255 * np.array(colormaps[MAGNITUDE](share)[:3])
        assert np.abs(drawn - wanted).max(axis=1).min() <= 6


def test_the_html_is_whole_and_names_no_other_place(animation):
    html = animation.html
    read = Elements(html)
    assert read.open == []
    assert [tag for tag, _ in read.tags] == ["div", "figure", "img", "figcaption", "script", "script"]
    sources = [
        attributes[name] for _, attributes in read.tags for name in ("src", "href") if name in attributes
    ]
    assert len(sources) == 1
    assert sources[0].startswith("data:image/png;base64,")
    code = html.split("<script>")[1]
    assert not re.search(r"https?:|fetch\(|import\b|XMLHttpRequest|window\.\w+ =", code)


def test_no_two_have_one_id(animation):
    names = [re.findall(r'id="(awb-\w+)"', animation.html) for _ in range(2)]
    assert [len(each) for each in names] == [1, 1]
    assert names[0] != names[1]


def test_labels_and_titles_cannot_break_out_of_the_html(layer_of):
    evil = "</script><script>alert(1)</script>\"'&<!--"
    made = plots.gate_animation([layer_of(name=evil)], [evil])
    read = Elements(made.html)
    assert [tag for tag, _ in read.tags].count("script") == 2
    facts = facts_in(made.html)
    assert facts["labels"] == [evil]
    assert evil in facts["title"]


def test_it_is_saved_as_a_page_whole_or_not_at_all(animation, tmp_path: Path):
    path = animation.save(tmp_path / "new" / "gates.html")
    page = path.read_text("utf-8")
    assert page.startswith("<!doctype html>")
    assert "default-src 'none'" in page
    assert Elements(page.replace("<!doctype html>", "")).open == []
    assert [file.name for file in path.parent.iterdir()] == ["gates.html"]
    assert facts_in(page)["labels"] == ["epoch 1", "epoch 2", "epoch 3"]


def test_where_scripts_do_not_run_a_sentence_says_so(animation):
    assert "<figcaption>epoch 3: the last of 3 frames. They move where scripts may run" in animation.html
    alt = next(attributes["alt"] for tag, attributes in Elements(animation.html).tags if tag == "img")
    assert alt == "Inside rnn.l0 (LSTM) · mean of 3 windows: epoch 3"
