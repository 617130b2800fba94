"""One self-contained page of executed notebooks: no script, nothing fetched, light or dark."""

import html
from collections.abc import Sequence
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path

from bs4 import BeautifulSoup, Tag

from workbench.files import replacing
from workbench.runs.notebooks import NotebookRun
from workbench.runs.parameters import read_notebook

# The browser itself then refuses whatever a notebook's output might want from outside.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; font-src data:"
ACTIVE = ["script", "link", "iframe", "object", "embed", "video", "audio", "base", "meta", "form"]
UNNAMED = "No description has been provided for this image"  # nbconvert's words
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<nav aria-label="Contents">{contents}</nav>
<main>
<header><h1>{title}</h1>{verdict}</header>
{articles}
</main>
</body>
</html>
"""


def write_report(runs: Sequence[NotebookRun], path: str | PathLike[str], title: str | None = None) -> Path:
    """Write the executed notebooks of `runs` into one HTML file that needs nothing else.

    Pictures are inside, mathematics is drawn, links stay links; scripts, frames and pictures from
    other hosts are taken out, and the page forbids the browser to fetch anything. A run that did not
    finish is marked at the top, in the contents and beside its notebook.

    Parameters
    ----------
    runs
        What `run_notebooks` returned.
    path
        The file to write.
    title
        The page's heading; the first notebook's parameters and the day by default.

    Returns
    -------
    Path
        Where the report lies.
    """
    target = Path(path).resolve()
    articles, contents = [], []
    for run in runs:
        body = _body(run)
        contents.append(_contents(run, body))
        articles.append(_article(run, body))
    page = PAGE.format(
        policy=POLICY,
        title=html.escape(title or "Attention Workbench report"),
        style=_style(),
        contents=f"<ol>{''.join(contents)}</ol>",
        verdict=_verdict(runs),
        articles="\n".join(articles),
    )
    with replacing(target) as unfinished:
        unfinished.write_text(page, encoding="utf-8")
    return target


def _body(run: NotebookRun) -> BeautifulSoup:
    """Convert one executed notebook to a fragment that is safe beside the others."""
    from workbench.runs.conversion import ReportExporter

    resources = {"metadata": {"path": str(run.notebook.parent)}}
    notebook = read_notebook(run.output)
    notebook.cells = [
        cell for cell in notebook.cells if "papermill-error-cell-tag" not in cell.metadata.get("tags", [])
    ]
    for cell in notebook.cells:
        cell.source = cell.source.removeprefix("# NBVAL_CHECK_OUTPUT\n")  # a word to the tests alone
    text, _ = ReportExporter().from_notebook_node(notebook, resources)
    body = BeautifulSoup(text, "html.parser")
    for element in body.find_all(ACTIVE):
        element.decompose()
    _keep_inside(body, run.name)
    _anchor(body, run.name)
    return body


def _keep_inside(body: BeautifulSoup, name: str) -> None:
    """Replace what a browser would fetch from elsewhere by a link to it; name the pictures that stay."""
    for number, element in enumerate(body.find_all(["img", "image", "source", "track", "input"]), start=1):
        address = str(element.get("src") or element.get("href") or element.get("xlink:href") or "")
        unnamed = element.get("alt") in (None, UNNAMED)
        if address.startswith("data:"):
            element["alt"] = f"picture {number} of {name}" if unnamed else str(element["alt"])
            continue
        link = body.new_tag("a", href=address)
        link.string = address if unnamed else str(element["alt"])
        element.replace_with(link)


def _anchor(body: BeautifulSoup, name: str) -> None:
    """Give every heading an anchor of its own on the page, and lead the notebook's links there."""
    anchors: dict[str, str] = {}
    for heading in body.select(", ".join(f".text_cell h{level}" for level in range(1, 7))):
        usual = _heading(heading).replace(" ", "-")  # as JupyterLab makes them
        again = f"-{len(anchors)}" if usual in anchors else ""
        heading["id"] = anchors[usual + again] = f"{name}-{usual}{again}"
    for link in body.select("a[href^='#']"):
        link["href"] = "#" + anchors.get(str(link["href"])[1:], name)


def _contents(run: NotebookRun, body: BeautifulSoup) -> str:
    sections = "".join(
        f'<li><a href="#{html.escape(str(heading["id"]))}">{html.escape(_heading(heading))}</a></li>'
        for heading in body.select("h2[id]")
    )
    return f'<li><a href="#{run.name}">{_title(run, body)}</a>{_mark(run)}<ul>{sections}</ul></li>'


def _article(run: NotebookRun, body: BeautifulSoup) -> str:
    given = ", ".join(f"{name} = {value!r}" for name, value in run.parameters.items()) or "as written"
    facts = f"{run.output.name} · {run.cells} cells · {run.seconds:.1f} s · parameters: {given}"
    trouble = (
        "" if run.status == "finished" else f'<p class="failed" role="alert">{html.escape(str(run))}</p>'
    )
    heading = f'<p class="facts">{html.escape(facts)}{_mark(run)}</p>'
    return f'<article id="{run.name}">{heading}{trouble}{body}</article>'


def _verdict(runs: Sequence[NotebookRun]) -> str:
    moment = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    total = sum(run.seconds for run in runs)
    bad = [run for run in runs if run.status != "finished"]
    lines = [f'<p class="failed" role="alert">{html.escape(str(run))}</p>' for run in bad]
    outcome = "not finished" if bad else "finished"
    facts = f"{moment} · notebooks: {len(runs)} · {total:.1f} s · {outcome}"
    return f'<p class="facts">{facts}</p>{"".join(lines)}'


def _mark(run: NotebookRun) -> str:
    return "" if run.status == "finished" else f' <strong class="mark">{run.status}</strong>'


def _title(run: NotebookRun, body: BeautifulSoup) -> str:
    heading = body.find("h1")
    return html.escape(_heading(heading)) if isinstance(heading, Tag) else html.escape(run.name)


def _heading(heading: Tag) -> str:
    return heading.get_text(" ", strip=True)


def _style() -> str:
    from pygments.formatters import HtmlFormatter

    own = Path(__file__).with_suffix(".css").read_text(encoding="utf-8")
    light = HtmlFormatter(style="friendly").get_style_defs(".highlight")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
    return f"{light}\n@media (prefers-color-scheme: dark) {{ {dark} }}\n@media print {{ {light} }}\n{own}"
