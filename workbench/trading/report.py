"""How results read: a title, the conventions, a table of figures with units, and what to mind."""

import math
from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd

_WHOLE = ("Trades", "Open trades")
_MONEY = ("Final equity", "Costs paid")


@dataclass(frozen=True)
class Report:
    """A result made readable, as text or as HTML."""

    title: str
    facts: tuple[str, ...]
    figures: pd.DataFrame
    notes: tuple[str, ...]

    def text(self) -> str:
        """Plain text for a terminal."""
        notes = [f"! {note}" for note in self.notes]
        return "\n".join(
            [self.title, *self.facts, "", self.figures.to_string(), *([""] if notes else []), *notes]
        )

    def html(self) -> str:
        """A fragment for a notebook."""
        facts = "".join(f"<div>{escape(fact)}</div>" for fact in self.facts)
        notes = "".join(f"<li>{escape(note)}</li>" for note in self.notes)
        table = self.figures.to_html(border=0)
        return f"<div><b>{escape(self.title)}</b>{facts}{table}{f'<ul>{notes}</ul>' if notes else ''}</div>"


def figure(name: str, value: float | int) -> str:
    """A figure as it is printed: whole numbers for counts, thousands marked in money, – for NaN."""
    if math.isnan(value):
        return "–"
    if name in _WHOLE:
        return f"{value:.0f}"
    return f"{value:,.0f}" if name in _MONEY else f"{value:,.2f}"


def date_text(date: Any) -> str:
    """A Timestamp's date for daily bars; with the time and zone for shorter ones."""
    whole = date.tzinfo is None and date == date.normalize()
    return f"{date:%Y-%m-%d}" if whole else f"{date:%Y-%m-%d %H:%M %Z}".rstrip()


def names_text(names: tuple[str, ...], most: int = 4) -> str:
    """Names joined, cut to the first few with a count when there are many."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown}, … ({len(names)} assets)"
