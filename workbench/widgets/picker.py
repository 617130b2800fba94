"""Choosing a saved model: a list of what lies on disk, read again at the press of a button."""

from os import PathLike
from pathlib import Path
from typing import Any

import anywidget
import pandas as pd
import traitlets

from workbench.training.reopening import bundled_models
from workbench.widgets.assets import script, style
from workbench.widgets.catalogue import SavedModel, saved_models


class RunPicker(anywidget.AnyWidget):
    """A list of saved models, with what is known of the chosen one.

    Parameters
    ----------
    folder
        Where `ensure_model` and `save_model` keep models, each in a folder of its own.
    bundled
        Whether the models that come with the package are listed too.
    run
        Key of the model to begin with; empty for none.

    Attributes
    ----------
    run
        Key of the chosen model: the name of its folder. To be linked to `Explorer.run`.

    Examples
    --------
    >>> picker = RunPicker("no/such/folder", bundled=False)
    >>> picker.models, picker.path
    ([], None)
    """

    _esm = script("run_picker.js")
    _css = style()

    run = traitlets.Unicode("").tag(sync=True)
    listed = traitlets.List(traitlets.Dict()).tag(sync=True)
    place = traitlets.Unicode("").tag(sync=True)
    error = traitlets.Unicode("").tag(sync=True)

    def __init__(
        self, folder: str | PathLike[str] = "runs/models", *, bundled: bool = True, run: str = ""
    ) -> None:
        self._folders = (bundled_models(), Path(folder)) if bundled else (Path(folder),)  # as in the Explorer
        self._models: list[SavedModel] = []
        super().__init__(run=run, place=str(folder))
        self.refresh()
        self.on_msg(self._asked)

    @property
    def models(self) -> list[SavedModel]:
        """The saved models, newest first, damaged ones among them."""
        return list(self._models)

    @property
    def path(self) -> Path | None:
        """Folder of the chosen model, for `load_model`; None if none is chosen.

        Raises
        ------
        ValueError
            The chosen model cannot be used, or is not among those listed.
        """
        if not self.run:
            return None
        found = next((model for model in self._models if model.key == self.run), None)
        if found is None:
            known = ", ".join(model.key for model in self._models) or "none"
            raise ValueError(
                f"There is no saved model {self.run!r} in {self.place}; there are: {known}. "
                "Choose one of them, or refresh() if it has been saved since."
            )
        if found.fault:
            raise ValueError(f"The model {self.run!r} cannot be used. {found.fault}")
        return found.folder

    def refresh(self) -> None:
        """Read the folders again."""
        try:
            self._models = saved_models(*self._folders)
        except OSError as error:
            self.error = f"The models in {self.place} could not be listed: {error}."
            return
        with self.hold_sync():
            self.error = ""
            self.listed = [_plain(model) for model in self._models]

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict, dict] | None:
        """Return the widget and, for where none runs, the list as a table."""
        bundle = super()._repr_mimebundle_(**kwargs)
        return None if bundle is None else ({**bundle[0], "text/html": self._table()}, bundle[1])

    def _table(self) -> str:
        columns = ["model", "label", "trained"] + ["fault"] * any(model.fault for model in self._models)
        rows = [
            {name: getattr(model, "key" if name == "model" else name) for name in columns}
            for model in self._models
        ]
        return pd.DataFrame(rows, columns=columns).set_index("model").to_html(escape=True)

    def _asked(self, _: Any, content: Any, __: Any) -> None:
        if isinstance(content, dict) and content.get("ask") == "refresh":
            self.refresh()
        else:
            self.error = f"RunPicker knows the message {{'ask': 'refresh'}}. Got {content!r:.80}."


def _plain(model: SavedModel) -> dict[str, Any]:
    """Return what the browser shows of a model: its label, and facts as pairs of words."""
    facts = {
        "Trained on": " · ".join(filter(None, [model.ticker, model.interval, model.source])),
        "Dates": model.trained.removeprefix("trained "),
        "Sees": f"{model.lookback} bars" if model.lookback else "",
        "Answers": f"{model.task}, {model.horizon} bar{'s' * (model.horizon != 1)} ahead"
        if model.task
        else "",
        "Best epoch": f"{model.best_epoch} of {model.epochs}" if model.best_epoch else "",
        "Saved": f"{model.created:%Y-%m-%d %H:%M} UTC",
        "Folder": model.folder.name,
    }
    kept = [[name, text] for name, text in facts.items() if text]
    return {"key": model.key, "label": model.label, "note": model.note, "fault": model.fault, "facts": kept}
