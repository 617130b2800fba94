"""The Explorer: pick a day, see what the model looked at, and what came of it."""

import base64
from collections.abc import Callable
from os import PathLike
from typing import TYPE_CHECKING, Any

import pandas as pd
import traitlets
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
from workbench.widgets.packing import Message
from workbench.widgets.pictures import data_url, draw
from workbench.widgets.scoring import Archive
from workbench.widgets.selectors import Selectors
from workbench.widgets.told import closing_line, opening_line
from workbench.widgets.views import View
from workbench.widgets.worker import Job, Worker, in_words

if TYPE_CHECKING:
    from IPython.display import Image

SETTLED = 2.0  # seconds without a change after which the view is worth a picture
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

    _seen = False  # whether a page shows it, so that its picture matters

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
        library, self._painter = Library(chosen), Worker(lambda told: None)
        super().__init__(library, library.opened(model, windows, prices, history), chosen)
        self._desk = Desk(self._lanes, self._shown, self._answer, self._words)
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
        self._seen = True
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is None:
            return None
        return {**bundle[0], "image/png": base64.b64encode(self._drawn()).decode("ascii")}, bundle[1]

    @property
    def _window(self) -> int:
        return self._subject.row_of(self.date)

    def _chosen(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in CHOSEN}

    def _sight(self) -> Callable[[], bytes]:
        """Return what draws the view as it is now, whatever is chosen until it is drawn."""
        with self._guard:
            archive, window, chosen = self._archive, self._window, self._chosen()
        return lambda: draw(archive.subject, window, chosen, _why(archive, window, chosen))

    def _drawn(self) -> bytes:
        png = self._sight()()
        self.picture = data_url(png)
        return png

    # What the browser asks ------------------------------------------------------------------------

    def _heard(self, widget: Any, content: Any, buffers: Any) -> None:
        self._seen = True
        try:
            asked = name_of(content, list(self._asks))
            self._asks[asked](content)
        except Exception as error:  # noqa: BLE001  (a message has no caller: whatever fails is told to the user)
            self.error = in_words(error)

    def _picture(self, ask: dict[str, Any]) -> None:
        sight = self._sight()
        job = Job("drawing", lambda job: data_url(sight()), self._hang, self._say, kind="picture")
        self._lanes["picture"].submit(job)

    # The picture that a notebook keeps ------------------------------------------------------------

    @traitlets.observe(*CHOSEN, "version")
    def _moved(self, change: Any) -> None:
        """Draw the view once it has settled, so that a saved notebook shows it as it was left."""
        if self._seen and not self._view.read_only:  # a visitor saves no notebook
            self._painter.supersede(Job("drawing", self._settled, self._hang, self._say))

    def _settled(self, job: Job) -> str:
        return "" if job.stop.wait(SETTLED) else data_url(self._sight()())

    def _hang(self, picture: str) -> None:
        if self.comm is not None:
            self.picture = picture

    def _answer(self, message: Message) -> None:
        """Send an answer; scores that were long in coming belong into the picture."""
        self._post(message)
        told = message.content
        if told["kind"] == "scores" and METHODS[told["method"]].slow:
            self._moved(None)

    def close(self) -> None:
        """Leave the page."""
        if self.comm is not None:  # else it never came to be one
            self._painter.drop()
        super().close()


def _why(archive: Archive, window: int, chosen: dict[str, Any]) -> Explanation | str:
    """Return the explanation for a picture, or why it has none; what takes long isn't begun for it."""
    method = chosen["method"]
    target = chosen["target"] if METHODS[method].targets else ""
    if METHODS[method].slow and not archive.known(method, target, [window]):
        return f"{METHODS[method].label}: not computed yet"
    try:
        return archive.one(method, target, window)
    except (ValueError, RuntimeError) as error:
        return in_words(error)
