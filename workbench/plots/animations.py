"""Pictures that move in a saved notebook: a piece of HTML that asks nothing of a kernel or of the network."""

import base64
import html
import json
import os
import uuid
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps

from workbench.files import replacing
from workbench.plots.style import MAGNITUDE, Palette

STEPS, UNKNOWN = 254, 255  # between the ends of a byte's range, and the byte that stands for no number
_STATIC = Path(__file__).parent / "static"
_SCRIPTS = {
    "cells": ("reading.js", "cells.js", "player.js"),
    "graph": ("reading.js", "graph.js", "player.js"),
}
_SENTENCE = (
    "{last}: the last of {count} frames. They move where scripts may run; in JupyterLab, by the command "
    "“Trust Notebook”."
)
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; \
script-src 'unsafe-inline'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>:root {{ color-scheme: light dark; }} body {{ margin: 12px; background: #ffffff; color: #1f2328; \
font-family: system-ui, sans-serif; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #14171a; color: #dde3ea; }} }}
figure {{ margin: 0; }} img {{ max-width: 100%; }}</style></head>
<body><main>
{fragment}
</main></body></html>
"""


@dataclass(frozen=True, eq=False)
class Animation:
    """Frames with Play and a slider, shown by a notebook's cell that ends in it.

    Where scripts don't run, as in a notebook that isn't trusted, the still picture stands in its place.

    Attributes
    ----------
    title
        What is shown.
    labels
        One a frame.
    facts
        What the browser draws: `kind`, panels, and `buffers`, bytes deflated and as base64.
    still
        PNG of the last frame.
    """

    title: str
    labels: tuple[str, ...]
    facts: Mapping[str, Any] = field(repr=False)
    still: bytes = field(repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def html(self) -> str:
        """The picture as a piece of a page, with an id that no other has."""
        name = f"awb-{uuid.uuid4().hex}"
        facts = {"title": self.title, "labels": self.labels, "first": len(self) - 1, **self.facts}
        said = _SENTENCE.format(last=self.labels[-1], count=len(self))
        image = _text(self.still)
        alt = html.escape(f"{self.title}: {self.labels[-1]}", quote=True)
        return (
            f'<div id="{name}"><figure><img alt="{alt}" src="data:image/png;base64,{image}">'
            f"<figcaption>{html.escape(said)}</figcaption></figure>\n"
            f'<script type="application/json">{_embedded(facts)}</script>\n'
            f'<script>(() => {{\n{_script(facts["kind"])}start("{name}");\n}})();</script></div>'
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the picture as a page of its own, whole or not at all, and return its path."""
        page = _PAGE.format(title=html.escape(self.title), fragment=self.html)
        with replacing(path) as temporary:
            temporary.write_text(page, encoding="utf-8")
        return Path(path)

    def _repr_html_(self) -> str:
        return self.html

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """Return HTML, and the still for places that show no HTML."""
        return {"text/html": self.html, "image/png": _text(self.still), "text/plain": repr(self)}


def quantised(values: np.ndarray, low: float | int, high: float | int) -> tuple[np.ndarray, dict[str, float]]:
    """Return values as bytes, and what makes numbers of them again: value = low + byte × step.

    The range has 254 steps, so that the middle is one of them; values are within half a step of what they
    were. NaN is byte 255.

    Examples
    --------
    >>> codes, scale = quantised(np.array([-1.0, 0.0, 0.5, np.nan]), -1, 1)
    >>> codes.tolist()
    [0, 127, 190, 255]
    >>> (scale["low"] + codes[:3] * scale["step"]).round(2).tolist()
    [-1.0, 0.0, 0.5]
    """
    step = (high - low) / STEPS
    codes = np.rint((values - low) / step).clip(0, STEPS)
    return np.where(np.isnan(codes), UNKNOWN, codes).astype(np.uint8), {"low": float(low), "step": step}


def packed(values: np.ndarray) -> str:
    """Return an array's bytes, little-endian, deflated, as base64."""
    return _text(zlib.compress(values.astype(values.dtype.newbyteorder("<")).tobytes(), 9))


def differences(codes: np.ndarray) -> np.ndarray:
    """Return the first frame's bytes and what each later one adds, modulo 256: frames are alike.

    >>> differences(np.array([[3, 255], [4, 1]], np.uint8)).tolist()
    [[3, 255], [1, 2]]
    """
    return np.diff(codes, axis=0, prepend=np.zeros_like(codes[:1]))


@cache
def tables() -> dict[str, str]:
    """Return the colours of a byte's steps, red, green, blue: of magnitudes, and of signs on two grounds."""
    grounds = {
        "light": Palette("#0072B2", "#D55E00", "", False),
        "dark": Palette("#56B4E9", "#D55E00", "", True),
    }
    maps = {"magnitude": colormaps[MAGNITUDE], **{name: shades.signed for name, shades in grounds.items()}}
    places = np.linspace(0, 1, STEPS + 1)
    return {
        name: _text(np.rint(255 * colours(places)[:, :3]).astype(np.uint8).tobytes())
        for name, colours in maps.items()
    }


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _embedded(facts: Mapping[str, Any]) -> str:
    """Return JSON that ends no script element before its end."""
    return json.dumps(facts, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace(
        "<", "\\u003c"
    )


@cache
def _script(kind: str) -> str:
    """Return the scripts of a kind of picture, without indents and lines that are comments."""
    lines = "\n".join((_STATIC / name).read_text(encoding="utf-8") for name in _SCRIPTS[kind]).splitlines()
    bare = (line.strip() for line in lines)
    return "".join(f"{line}\n" for line in bare if line and not line.startswith(("//", "/*")))
