import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from workbench.runs.conversion import drawn_formula
from workbench.runs.notebooks import NotebookRun
from workbench.runs.report import write_report

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WIDGET = "application/vnd.jupyter.widget-view+json"


def executed(folder: Path, name: str, *cells: Any, **facts: Any) -> NotebookRun:
    """A run whose executed notebook is made by hand."""
    path = folder / "out" / f"{name}.ipynb"
    path.parent.mkdir(exist_ok=True)
    nbformat.write(new_notebook(cells=list(cells)), path)
    facts = {"status": "finished", "seconds": 1.5, "cells": len(cells), **facts}
    return NotebookRun(folder / f"{name}.ipynb", path, **facts)


def shown(data: dict[str, Any]) -> Any:
    return new_code_cell("show()", execution_count=1, outputs=[new_output("display_data", data)])


def page(tmp_path: Path, *runs: NotebookRun, title: str | None = None) -> BeautifulSoup:
    path = write_report(list(runs), tmp_path / "out" / "report.html", title)
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def fetched(soup: BeautifulSoup) -> list[str]:
    """Every address that a browser would go to by itself."""
    attributes = ("src", "srcset", "data", "poster", "background", "xlink:href", "action")
    found = [str(tag[name]) for tag in soup.find_all(True) for name in attributes if tag.get(name)]
    found += [str(tag["href"]) for tag in soup.find_all(["link", "image", "use"]) if tag.get("href")]
    found += re.findall(r"url\(([^)]*)\)|@import[^;]*", str(soup))
    return [address for address in found if not address.startswith("data:")]


def test_nothing_is_fetched_and_nothing_runs(tmp_path: Path):
    (tmp_path / "local.png").write_bytes(b"\x89PNG not really")
    text = (
        "# A\n![far](https://example.com/a.png) ![near](local.png) [a link](https://example.com)\n\n"
        "<img src='https://example.com/b.png'><script src='https://example.com/c.js'></script>"
    )
    html = "<iframe src='https://example.com'></iframe><link href='https://x.y/z.css'><b>kept</b>"
    run = executed(
        tmp_path,
        "01_a",
        new_markdown_cell(text),
        shown({"text/html": html + "<script>alert(1)</script>"}),
        shown({"application/javascript": "alert(1)", "text/plain": "instead of a script"}),
        shown({"image/png": PIXEL}),
    )
    soup = page(tmp_path, run)
    assert fetched(soup) == []
    assert not soup.find_all(["script", "iframe", "link"])
    assert "default-src 'none'" in str(soup.find("meta", {"http-equiv": "Content-Security-Policy"}))
    assert soup.find("b").get_text() == "kept"
    assert [link.get_text() for link in soup.select("article a[href^='https:']")] == [
        "far",
        "a link",
        "https://example.com/b.png",
    ]
    assert len(soup.select("img[src^='data:image/png']")) == 2
    assert "instead of a script" in soup.get_text()


def test_a_widget_shows_the_picture_beside_it(tmp_path: Path):
    run = executed(
        tmp_path, "01_a", shown({WIDGET: {"model_id": "x"}, "image/png": PIXEL, "text/plain": "W()"})
    )
    soup = page(tmp_path, run)
    assert soup.select("article img[src^='data:image/png']")
    assert "model_id" not in str(soup)


def test_the_contents_lead_to_every_section_of_every_notebook(tmp_path: Path):
    one = executed(tmp_path, "01_a", new_markdown_cell("# Market\n## Goal\n[down](#Goal)"))
    two = executed(tmp_path, "02_b", new_markdown_cell("# Training\n## Goal\n## Next"))
    soup = page(tmp_path, one, two, title="AAPL <2011>")
    links = [(link.get_text(), str(link["href"])) for link in soup.select("nav a")]
    assert links == [
        ("Market", "#01_a"),
        ("Goal", "#01_a-Goal"),
        ("Training", "#02_b"),
        ("Goal", "#02_b-Goal"),
        ("Next", "#02_b-Next"),
    ]
    for _, target in links:
        assert len(soup.select(f"[id='{target[1:]}']")) == 1
    assert soup.select_one("article a")["href"] == "#01_a-Goal"
    assert soup.title.get_text() == "AAPL <2011>"


def test_a_failure_is_marked_above_in_the_contents_and_at_its_notebook(tmp_path: Path):
    error = new_output(
        "error", ename="ValueError", evalue="bad", traceback=["\x1b[31mValueError\x1b[0m: bad"]
    )
    good = executed(tmp_path, "01_a", new_markdown_cell("# A"), parameters={"TICKER": "MSFT"})
    bad = executed(
        tmp_path,
        "02_b",
        new_code_cell("1/0", execution_count=2, outputs=[error]),
        status="failed",
        cell=2,
        source="1/0",
        error="ValueError: <bad>",
    )
    soup = page(tmp_path, good, bad)
    assert [mark.get_text() for mark in soup.select("nav .mark")] == ["failed"]
    assert "02_b failed in cell [2] (1/0)" in soup.select_one("header [role=alert]").get_text()
    assert soup.select_one("[id='02_b'] [role=alert]")
    assert not soup.select_one("[id='01_a'] [role=alert]")
    assert "TICKER = 'MSFT'" in soup.select_one("[id='01_a']").get_text()
    assert soup.select_one(".ansi-red-fg").get_text() == "ValueError"


def test_papermills_own_error_banners_are_left_out(tmp_path: Path):
    banner = new_markdown_cell("<span>An Exception was encountered</span>")
    banner.metadata["tags"] = ["papermill-error-cell-tag"]
    soup = page(tmp_path, executed(tmp_path, "01_a", banner, new_markdown_cell("kept")))
    assert "An Exception was encountered" not in soup.get_text()
    assert "kept" in soup.get_text()


def test_marks_for_the_tests_are_left_out(tmp_path: Path):
    cell = new_code_cell("# NBVAL_CHECK_OUTPUT\nprint(12)", execution_count=1)
    text = page(tmp_path, executed(tmp_path, "01_a", cell)).select_one("article").get_text()
    assert "print" in text
    assert "NBVAL" not in text


def test_formulae_are_drawn_inside_the_page(tmp_path: Path):
    text = r"costs $c \cdot |w_t - w_{t-1}|$ and" + "\n\n" + r"$$\frac{a}{b} < c$$"
    soup = page(tmp_path, executed(tmp_path, "01_a", new_markdown_cell(text)))
    labels = [str(drawing["aria-label"]) for drawing in soup.select("svg.formula")]
    assert labels == [r"c \cdot |w_t - w_{t-1}|", r"\frac{a}{b} < c"]
    assert soup.select_one(".display svg.formula")
    assert "$" not in soup.select_one("article .text_cell").get_text()


def test_a_drawing_stands_on_the_line_and_grows_with_the_formula():
    def size(formula: str) -> tuple[float, float]:
        style = re.search(r"height: ([\d.]+)em; vertical-align: (-?[\d.]+)em", drawn_formula(formula))
        assert style
        return float(style[1]), float(style[2])

    assert size("x")[1] == pytest.approx(0, abs=0.05)
    assert size("x_i")[1] < size("x")[1]
    assert size(r"\frac{x}{y}")[0] > size("x")[0]


def test_what_cannot_be_drawn_is_given_as_its_source():
    assert drawn_formula(r"\begin{matrix} a & b \end{matrix}") == (
        r'<code class="tex">\begin{matrix} a &amp; b \end{matrix}</code>'
    )


def test_both_themes_are_in_the_page(tmp_path: Path):
    style = page(tmp_path, executed(tmp_path, "01_a", new_code_cell("x = 1"))).style.get_text()
    assert style.count("@media (prefers-color-scheme: dark)") == 2
    assert ".highlight .k" in style
