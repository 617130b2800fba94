"""Executed notebooks turned into still HTML: the parts of nbconvert that a report needs."""

import html
import logging
from typing import TYPE_CHECKING, Any

from jinja2 import pass_context
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from traitlets.config import Config

if TYPE_CHECKING:
    from matplotlib.path import Path

# A report runs no script, so a widget shows the picture or the text that stands beside it.
STILL = ["text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/latex", "text/plain"]
QUIET = logging.getLogger(__name__)  # nbconvert's remarks on pictures without a description
QUIET.addHandler(logging.NullHandler())
QUIET.propagate = False
UNITS = 100  # of a drawn formula to the em


class ReportExporter(HTMLExporter):
    """nbconvert's HTML without its page, its scripts or its hosts; pictures inside."""

    def __init__(self, **options: Any):
        super().__init__(
            template_name="basic",
            embed_images=True,
            exclude_anchor_links=True,
            require_js_url="",
            mathjax_url="",
            jquery_url="",
            log=QUIET,
            **options,
        )

    @property
    def default_config(self) -> Any:
        """The parent's, with the kinds of output that need no script."""
        config = Config(super().default_config)
        config.NbConvertBase.display_data_priority = STILL
        return config

    @pass_context
    def markdown2html(self, context: Any, source: str) -> str:
        """Turn a Markdown cell to HTML, its mathematics to drawings."""
        renderer = DrawingRenderer(
            escape=False,
            embed_images=True,
            exclude_anchor_links=True,
            attachments=context.get("cell", {}).get("attachments", {}),
            path=context.get("resources", {}).get("metadata", {}).get("path", ""),
        )
        return MarkdownWithMath(renderer=renderer).render(source)


class DrawingRenderer(IPythonRenderer):
    """Markdown whose formulae need no MathJax."""

    def inline_math(self, body: str) -> str:
        """Draw a formula in its line."""
        return drawn_formula(body)

    def block_math(self, body: str) -> str:
        """Draw a formula on its own line."""
        return f'<span class="display">{drawn_formula(body)}</span>'


def drawn_formula(source: str) -> str:
    """Return a TeX formula as an inline SVG, in the size and the colour of the text around it.

    Matplotlib's mathtext draws it. What that cannot read (matrices, alignments) is given as its source.
    """
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    tex = " ".join(source.split())
    try:
        path = TextPath((0, 0), f"${tex}$", size=UNITS, prop=FontProperties(math_fontfamily="cm"))
    except ValueError:
        return f'<code class="tex">{html.escape(tex)}</code>'
    box = path.get_extents()
    place = f"height: {box.height / UNITS:.2f}em; vertical-align: {box.y0 / UNITS:.2f}em"
    return (
        f'<svg class="formula" role="img" aria-label="{html.escape(tex)}" style="{place}" '
        f'viewBox="{box.x0:.1f} {-box.y1:.1f} {box.width:.1f} {box.height:.1f}">'
        f'<path transform="scale(1 -1)" d="{_outline(path)}"/></svg>'
    )


def _outline(path: "Path") -> str:
    """Write a Matplotlib path the way SVG does."""
    letters = {path.MOVETO: "M", path.LINETO: "L", path.CURVE3: "Q", path.CURVE4: "C", path.CLOSEPOLY: "Z"}
    parts = []
    for points, code in path.iter_segments(simplify=False):
        numbers = "" if code == path.CLOSEPOLY else " ".join(f"{value:.1f}" for value in points)
        parts.append(letters[code] + numbers)
    return "".join(parts)
