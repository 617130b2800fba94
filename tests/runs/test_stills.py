"""Of a widget whose kernel is gone, its picture or table is left."""

import nbformat
from nbformat.v4 import new_code_cell, new_notebook, new_output

from workbench.runs.stills import VIEW, keep_stills


def notebook_with(*outputs: dict[str, object]) -> nbformat.NotebookNode:
    made = [new_output("display_data", data=data, metadata={"a": 1}) for data in outputs]
    return new_notebook(cells=[new_code_cell("show()", outputs=made)], metadata={"widgets": {"state": {}}})


def test_a_widget_leaves_its_picture_and_nothing_of_its_view():
    notebook = notebook_with(
        {VIEW: {"model_id": "1"}, "image/png": "AAAA", "text/html": "<b>", "text/plain": "W()"}
    )
    keep_stills(notebook)
    (output,) = notebook.cells[0].outputs
    assert dict(output.data) == {"image/png": "AAAA"}
    assert output.metadata == {}
    assert "widgets" not in notebook.metadata


def test_a_widget_without_a_picture_leaves_its_table():
    notebook = notebook_with({VIEW: {"model_id": "1"}, "text/html": "<table></table>", "text/plain": "W()"})
    keep_stills(notebook)
    assert dict(notebook.cells[0].outputs[0].data) == {"text/html": "<table></table>"}


def test_a_widget_with_neither_leaves_nothing_and_other_outputs_stay():
    notebook = notebook_with({VIEW: {"model_id": "1"}, "text/plain": "W()"}, {"text/plain": "12"})
    keep_stills(notebook)
    (output,) = notebook.cells[0].outputs
    assert dict(output.data) == {"text/plain": "12"}
    nbformat.validate(notebook)
