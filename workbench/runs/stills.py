"""What is left of widgets in a notebook whose kernel is gone."""

from nbformat import NotebookNode, from_dict

VIEW = "application/vnd.jupyter.widget-view+json"
STILLS = ("image/png", "text/html")


def keep_stills(notebook: NotebookNode) -> None:
    """Keep of each widget its picture or its table: JupyterLab would say 'model not found' of its view."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        outputs = cell.get("outputs", [])
        for output in [output for output in outputs if VIEW in output.get("data", {})]:
            still = next((kind for kind in STILLS if kind in output.data), None)
            if still is None:
                outputs.remove(output)
            else:
                output.data = from_dict({still: output.data[still]})
                output.metadata = NotebookNode()
