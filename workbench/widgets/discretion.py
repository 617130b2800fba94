"""What is told to a visitor, who need not know where files lie: names of files without their folders."""

import re
from os import sep
from pathlib import Path
from typing import Any

from workbench.training.reopening import bundled_models
from workbench.widgets.views import View

# The folders in front of a file's name, of a path from the root or a drive; not what follows "https:".
FOLDERS = re.compile(r"""(?<![\w.:/\\~<])(?:[A-Za-z]:)?[/\\](?:[^\s/\\'"]+[/\\])*(?=[^\s/\\])""")


def discreet(words: str, view: View) -> str:
    """Return the words as whoever looks at this view may read them."""
    if not view.read_only:
        return words
    folder = Path(view.folder)
    for place in (folder, folder.resolve(), bundled_models(), bundled_models().resolve(), Path.cwd()):
        if place.is_absolute():  # by name first, since folders may hold blanks
            words = words.replace(f"{place}{sep}", "").replace(str(place), place.name)
    return FOLDERS.sub("", words)


def discreet_runs(runs: list[dict[str, Any]], view: View) -> list[dict[str, Any]]:
    """Return the list of models with their notes as whoever looks may read them."""
    return [run | {"note": discreet(run["note"], view)} for run in runs]
