"""The Explorer: pick a day, see what the model looked at, and what came of it."""

import base64
from collections.abc import Callable
from os import PathLike
from typing import TYPE_CHECKING, Any

import pandas as pd
from torch import nn

from workbench.explainers.capture import attention_maps
from workbench.explainers.explanation import Explanation
from workbench.explainers.maps import AttentionMaps
from workbench.explainers.methods import METHODS
from workbench.features.windows import Windows
from workbench.trading.result import BacktestResult
from workbench.training.history import History
from workbench.widgets.asking import Desk, name_of
from workbench.widgets.opening import Library
from workbench.widgets.pictures import data_url, draw
from workbench.widgets.selectors import Selectors
from workbench.widgets.told import closing_line, opening_line
from workbench.widgets.views import View
from workbench.widgets.worker import Job, in_words

if TYPE_CHECKING:
    from IPython.display import Image

CHOSEN = ("method", "target", "date", "layer", "head", "row")  # what the line of Python repeats


class Explorer(Selectors):
    """Candles, attention, answer and money of one decision, with selectors for all of them.

    Parameters
    ----------
    model
        A trained model, or the folder of a saved one; None opens a small model that comes with the package.
    windows
        With a model: the windows it reads, all of them, of one ticker or several.
    prices
        The prices they were made from; left out, they are loaded as the windows' provenance says.
    history
        Of the model's training: it says which days the model was trained on.
    **view
        What to show first, and the conventions: source, ticker, method, target, date, layer, head, row,
        confidence, cost_bps, fill, folder, read_only; see `workbench.widgets.views.View`.

    Attributes
    ----------
    source, ticker, run, method, target, date, layer, head, row, span
        What is chosen; set them to move the view. Another ticker or run is loaded in the background.
    error, status, progress
        What went wrong, what is shown, and what is being done, in words.

    Raises
    ------
    ValueError, TypeError, KeyError, FileNotFoundError
        What was handed over can't be shown; the message tells the repair.

    Examples
    --------
    >>> wb.Explorer()  # doctest: +SKIP
    >>> wb.Explorer(model, windows, prices, date="2011-08-08")  # doctest: +SKIP
    """

    def __init__(
        self,
        model: nn.Module | str | PathLike[str] | None = None,
        windows: Windows | None = None,
        prices: pd.DataFrame | None = None,
        *,
        history: History | None = None,
        **view: Any,
    ) -> None:
        chosen = View.of(view)
        library = Library(chosen)
        super().__init__(library, library.opened(model, windows, prices, history), chosen)
        self._desk = Desk(self._lanes, self._shown, self._post)
        self._asks: dict[str, Callable[[dict[str, Any]], Any]] = {
            "data": lambda ask: self._desk.data(),
            "maps": self._desk.maps,
            "scores": self._desk.scores,
            "train": lambda ask: self._train(ask.get("name")),
            "cancel": lambda ask: self._lanes.cancel(),
            "picture": self._picture,
        }
        self.on_msg(self._heard)

    @property
    def day(self) -> Windows:
        """The window of the day shown."""
        return self._subject.windows[self._window]

    @property
    def explanation(self) -> Explanation:
        """The explanation of the day shown, by the method and target chosen."""
        return self._archive.one(self.method, self.target, self._window)

    @property
    def maps(self) -> AttentionMaps:
        """The attention of the day shown, bar by bar."""
        bench = self._subject.quick
        with bench.lock:
            return attention_maps(bench.model, self.day.x)

    @property
    def money(self) -> BacktestResult:
        """The backtest of the test days, of all days where training dates are unknown; see `facts["traded"]`.

        ValueError says why there is none.
        """
        account = self._subject.account
        if account.money is None:
            raise ValueError(account.why_none)
        return account.money

    @property
    def code(self) -> str:
        """The line of Python that shows this view again."""
        return opening_line(self._subject, self._view) + closing_line(self._chosen())

    def snapshot(self) -> "Image":
        """Return the view as a static picture, and keep it in the widget's state."""
        from IPython.display import Image

        return Image(data=self._drawn(), format="png")

    def wait(self, seconds: float | int = 60) -> "Explorer":
        """Wait for what is being loaded, trained or explained in the background; TimeoutError if it lasts."""
        if not self._lanes.wait(seconds):
            raise TimeoutError(f"Still busy after {seconds} s: {self.progress.get('what', 'at work')}.")
        return self

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict, dict] | None:
        """Return the widget, and for where none runs its picture as it is now."""
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is None:
            return None
        return {**bundle[0], "image/png": base64.b64encode(self._drawn()).decode("ascii")}, bundle[1]

    @property
    def _window(self) -> int:
        return self._subject.row_of(self.date)

    def _chosen(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in CHOSEN}

    def _why(self) -> Explanation | str:
        """Return the explanation for a picture, or why it has none; what takes long isn't begun for it."""
        window, archive = self._window, self._archive
        if METHODS[self.method].slow and not archive.known(self.method, self.target, [window]):
            return f"{METHODS[self.method].label}: not computed yet"
        try:
            return archive.one(self.method, self.target, window)
        except (ValueError, RuntimeError) as error:
            return in_words(error)

    def _drawn(self) -> bytes:
        png = draw(self._subject, self._window, self._chosen(), self._why())
        self.picture = data_url(png)
        return png

    # What the browser asks ------------------------------------------------------------------------

    def _heard(self, widget: Any, content: Any, buffers: Any) -> None:
        try:
            asked = name_of(content, list(self._asks))
            self._asks[asked](content)
        except Exception as error:  # noqa: BLE001  (a message has no caller: whatever fails is told to the user)
            self.error = in_words(error)

    def _picture(self, ask: dict[str, Any]) -> None:
        subject, window, chosen = self._subject, self._window, self._chosen()
        why = self._why

        def then(png: bytes) -> None:
            self.picture = data_url(png)

        work = Job("drawing", lambda job: draw(subject, window, chosen, why()), then, self._say)
        self._lanes["quick"].submit(work)
