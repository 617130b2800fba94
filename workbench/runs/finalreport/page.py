"""A report as one self-contained page: no script, nothing fetched, light or dark."""

import base64
import html
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from workbench.files import replacing
from workbench.runs.report import PAGE, POLICY

__all__ = ["PAGE_NAME", "write_page"]

PAGE_NAME = "report.html"
SECTIONS = (
    ("performance", "Measured performance", ("equity", "performance")),
    ("strategy", "Strategy", ()),
    ("training", "Training", ("training",)),
    ("configuration", "Configuration", ("architecture",)),
    ("features", "Features", ()),
    ("data", "Data", ()),
    ("project", "Project", ()),
)
ACCOUNTS = ("strategy", "strategy_before_costs", "buy_and_hold", "cash")
LONG = ("epochs", "layers", "scaling", "months", "maps", "trials", "options", "remarks")  # folded away
STYLE = """
.study { overflow-x: auto; } .study code { overflow-wrap: anywhere; }
.study table { width: auto; } .study th { text-align: left; font-weight: 400; white-space: nowrap; }
.study td { text-align: left; overflow-wrap: break-word; max-width: 44rem; }
.study td table { margin: 0; } .study summary { cursor: pointer; color: var(--soft); }
.study .undefined { color: var(--soft); font-style: italic; }
"""


def write_page(report: dict[str, Any], folder: Path) -> Path:
    """Write report.html into the report's folder, with its figures inside; return its path."""
    title = f"Study of {report['project']['run']}"
    parts = [("recommendations", "Recommendations"), *((name, head) for name, head, _ in SECTIONS)]
    contents = "".join(f'<li><a href="#{name}">{head}</a></li>' for name, head in parts)
    facts = f"{report['project']['network']} · {_tickers(report)} · {report['made_at']}"
    page = PAGE.format(
        policy=POLICY,
        title=html.escape(title),
        style=_style(),
        contents=f"<ol>{contents}</ol>",
        verdict=f'<p class="facts">{html.escape(facts)}</p>',
        articles="\n".join(_articles(report, folder)),
    )
    target = folder / PAGE_NAME
    with replacing(target) as unfinished:
        unfinished.write_text(page, encoding="utf-8")
    return target


def _articles(report: dict[str, Any], folder: Path) -> Iterator[str]:
    advice = "".join(
        f"<li>{html.escape(each['text'])}<br>"
        f"<code>{html.escape(each['about'])} = {_plain(each['value'])}</code></li>"
        for each in report["recommendations"]
    )
    told = f"<ul>{advice}</ul>" if advice else "<p>None: no number of this report calls for one.</p>"
    yield f'<article class="study" id="recommendations"><h2>Recommendations</h2>{told}</article>'
    figures = {figure["name"]: figure for figure in report["figures"]}
    for name, head, drawn in SECTIONS:
        pictures = "".join(_picture(figures[each], folder) for each in drawn if each in figures)
        yield (
            f'<article class="study" id="{name}"><h2>{head}</h2>{pictures}{_shown(_beside(report[name]))}'
            "</article>"
        )


def _beside(section: dict[str, Any]) -> dict[str, Any]:
    """Put accounts that a section has apart into one table, a column each."""
    accounts = {name: section[name] for name in ACCOUNTS if isinstance(section.get(name), dict)}
    names = dict.fromkeys(row for account in accounts.values() for row in account)
    rows = [{"figure": row, **{n: each.get(row) for n, each in accounts.items()}} for row in names]
    rest = {name: value for name, value in section.items() if name not in accounts}
    return {**rest, "accounts": rows} if rows else rest


def _picture(figure: dict[str, Any], folder: Path) -> str:
    title = html.escape(figure["title"])
    if "not_drawn" in figure:
        return f'<p class="undefined">{title}: not drawn, since {html.escape(figure["not_drawn"])}</p>'
    light, dark = (_data(folder / figure["files"][theme]) for theme in ("light", "dark"))
    source = f'<source media="(prefers-color-scheme: dark)" srcset="{dark}">'
    return f'<picture>{source}<img src="{light}" alt="{title}"></picture>'


def _data(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def _shown(value: Any) -> str:
    """Return a value of JSON as HTML: tables for objects and for lists of them."""
    if isinstance(value, dict):
        if set(value) == {"undefined"}:
            return f'<span class="undefined">undefined: {html.escape(value["undefined"])}</span>'
        rows = "".join(
            f"<tr><th>{_name(key)}</th><td>{_folded(key, v)}</td></tr>" for key, v in value.items()
        )
        return f"<table>{rows}</table>"
    if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        names = list(dict.fromkeys(name for each in value for name in each))
        head = "".join(f"<th>{_name(name)}</th>" for name in names)
        rows = "".join(
            f"<tr>{''.join(f'<td>{_shown(each.get(name))}</td>' for name in names)}</tr>" for each in value
        )
        return f"<table><thead><tr>{head}</tr></thead>{rows}</table>"
    if isinstance(value, list):
        return ", ".join(_shown(each) for each in value) or "none"
    return _plain(value)


def _folded(key: str, value: Any) -> str:
    if key in LONG and isinstance(value, dict | list) and value:
        return f"<details><summary>{len(value)} entries</summary>{_shown(value)}</details>"
    return _shown(value)


def _plain(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.5g}".replace("-", "−")
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    return html.escape(str(value))


def _name(key: str) -> str:
    return html.escape(key.replace("_", " "))


def _tickers(report: dict[str, Any]) -> str:
    ticker = report["data"]["ticker"]
    told = ticker if isinstance(ticker, str) else f"{report['data']['tickers']} tickers"
    return f"{told} · synthetic prices" if report["data"]["synthetic"] else told


def _style() -> str:
    own = files("workbench.runs").joinpath("report.css").read_text(encoding="utf-8")
    return own + STYLE
