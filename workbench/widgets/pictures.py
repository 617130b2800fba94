"""The static picture of the decision shown, for where no widget runs."""

import base64
import threading
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd

from workbench.explainers.explanation import Explanation
from workbench.explainers.methods import METHODS
from workbench.plots.momentpanels import Moment
from workbench.plots.moments import moment
from workbench.widgets.accounts import unit_of
from workbench.widgets.lenses import maps_of
from workbench.widgets.mapdata import fused
from workbench.widgets.subject import Subject

PARTS = ("", "train", "valid", "test", "purged")  # by the numbers of the split
AROUND = 25  # bars on either side of the window
MOST_TEXT = 110_000  # characters of the picture kept in a notebook's widget state
_DRAWING = threading.Lock()  # Matplotlib is not made for several threads
URL = "data:image/png;base64,"


def draw(subject: Subject, window: int, chosen: dict[str, Any], why: Explanation | str) -> bytes:
    """Return a PNG of one decision; where there is no explanation, `why` says the reason."""
    answers, windows = subject.answers, subject.windows
    row = int(answers.rows[window])
    first, last = max(0, row - windows.lookback + 1 - AROUND), min(len(subject.prices), row + AROUND + 1)
    shown = Moment(
        **_weights(subject, window, chosen),
        **_explained(why),
        **_answer(subject, window),
        **_money(subject, first, last),
        model=f"{subject.kind}, {subject.trained}",
    )
    with _DRAWING:
        return moment(subject.prices.iloc[first:last], windows.bar_dates_of(window), shown).png()


def data_url(png: bytes) -> str:
    """Return a picture as text; one that is too large for a notebook's widget state is made smaller."""
    from PIL import Image

    while len(png) * 4 / 3 + len(URL) > MOST_TEXT:
        with Image.open(BytesIO(png)) as image:
            small = image.convert("RGB").resize((image.width * 4 // 5, image.height * 4 // 5))
        file = BytesIO()
        small.quantize(64).save(file, "png", optimize=True)
        png = file.getvalue()
    return URL + base64.b64encode(png).decode("ascii")


def _weights(subject: Subject, window: int, chosen: dict[str, Any]) -> dict[str, Any]:
    if not subject.lens.layers:
        return {"weights_title": subject.lens.why_none}
    layer = subject.lens.layers[chosen["layer"]]
    with subject.quick.lock:
        weights = maps_of(subject.quick.model, subject.windows, subject.lens, [window])[0][chosen["layer"]]
    head = chosen["head"] if not chosen["head"].isdecimal() or int(chosen["head"]) < layer.heads else "mean"
    # Counted from 1 as on the screen; arguments count from 0 as Python does.
    heads = f"head {int(head) + 1} of {layer.heads}" if head.isdecimal() else f"{head} of {layer.heads} heads"
    return {
        "weights": fused(weights, head),
        "weights_title": f"{layer.name} (layer {chosen['layer'] + 1} of {len(subject.lens.layers)}), {heads}",
        "top": subject.top,
        "block": layer.block,
        "row": chosen["row"] if chosen["row"] < layer.queries else -1,
    }


def _explained(why: Explanation | str) -> dict[str, Any]:
    if isinstance(why, str):
        return {"method": why}
    null = why.null if why.null is None or why.null.ndim == 1 else why.null[0]
    return {
        "scores": why.scores[0],
        "null": null,
        "method": f"{METHODS[why.method].label} of the {why.target}",
        "feature_names": list(why.feature_names) if why.scores.ndim == 3 else [],
        "trust": why.trust,
    }


def _answer(subject: Subject, window: int) -> dict[str, Any]:
    answers, windows = subject.answers, subject.windows
    happened, moved = float(answers.happened[window]), int(answers.moved[window])
    return {
        "probabilities": subject.predictions.iloc[window],
        "happened": happened if np.isfinite(happened) else None,
        "moved": windows.classes[moved] if moved >= 0 else None,
        "horizon": windows.horizon,
        "part": PARTS[int(answers.split[window])],
        "forecast_unit": unit_of(windows),
    }


def _money(subject: Subject, first: int, last: int) -> dict[str, Any]:
    if subject.account.positions is None:
        return {}
    dates, answers = pd.DatetimeIndex(subject.prices.index), subject.answers
    inside = (answers.rows >= first) & (answers.rows < last)
    shown = {"position": pd.Series(answers.position[inside], dates[answers.rows[inside]])}
    known = slice(first, last)
    for name in ("equity", "benchmark"):
        account = pd.Series(getattr(answers, name)[known], dates[known]).dropna()
        if len(account):  # days of the training are not traded
            shown[name] = account
    return shown
