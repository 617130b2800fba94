"""What the kernel of a page does: it shows the Explorer, or says why it cannot."""

import html
import os
from pathlib import Path

from IPython.display import HTML, display

from workbench.environment import ROOT


def show(folder: str) -> None:
    """Show the Explorer on the models in `folder`, read-only."""
    try:
        from workbench.widgets.explorer import Explorer

        display(Explorer(read_only=True, folder=folder))
    except Exception as error:
        display(HTML(failure(error)))
        raise  # the server writes it to its terminal, and not to the page


def failure(error: Exception) -> str:
    """Say in words, as HTML, that the Explorer could not be opened; no traceback, no places of files."""
    said = str(error) or type(error).__name__
    for place, name in ((ROOT, "…"), (Path.home(), "~")):
        said = said.replace(f"{place}{os.sep}", f"{name}{os.sep}")
    return (
        '<div class="workbench-failure" role="alert"><h1>The Explorer could not be opened</h1>'
        f"<p>{html.escape(said)}</p>"
        "<p>The terminal in which this page was started says more.</p></div>"
    )
