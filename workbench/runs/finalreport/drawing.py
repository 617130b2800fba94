"""The figures of a report, on light and on dark backgrounds."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from workbench import plots
from workbench.models.summary import Block
from workbench.runs.finalreport.building import Built
from workbench.runs.finalreport.opened import Opened

__all__ = ["THEMES", "draw_figures", "performance_tables"]

THEMES = ("light", "dark")
Drawn = Axes | dict[str, Axes]
ACCOUNTS = {"strategy": "strategy", "buy_and_hold": "buy and hold", "cash": "cash"}
SHOWN = (
    "CAGR [%]",
    "Volatility (ann.) [%]",
    "Sharpe",
    "Sortino",
    "Calmar",
    "Max drawdown [%]",
    "CVaR 95 [% a bar]",
)


def draw_figures(opened: Opened, built: Built, block: Block | str, folder: Path) -> list[dict[str, Any]]:
    """Write the figures that there are into `folder`.

    Parameters
    ----------
    opened, built
        What they are of.
    block
        The network as it ran, or why that isn't known.
    folder
        Where to.

    Returns
    -------
    list of dict
        For each figure "name" and "title", and either "files" by theme or "not_drawn", the reason.
    """
    report, provenance = built.report, opened.card.get("data") or {}
    history, money = opened.history, built.measured
    wanted: list[tuple[str, str, Callable[[], Drawn] | str]] = [
        (
            "architecture",
            "The network, in the order its modules run",
            block if isinstance(block, str) else lambda: plots.architecture(block),
        ),
        (
            "training",
            "Training, by the epochs that were logged",
            "the model was saved without the history of its training"
            if history is None or history.epochs.empty
            else lambda: plots.history(history, provenance=provenance),
        ),
        (
            "equity",
            "Equity, drawdown and positions over the test windows",
            report["performance"].get("reason", "") if money is None else lambda: plots.backtest(money.book),
        ),
        (
            "performance",
            "Risk and return, by year and by month",
            report["performance"].get("reason", "")
            if money is None
            else lambda: plots.performance(
                *performance_tables(report["performance"], money.book.periods_per_year), provenance
            ),
        ),
    ]
    folder.mkdir(parents=True, exist_ok=True)
    return [_drawn(name, title, how, folder) for name, title, how in wanted]


def performance_tables(
    section: Mapping[str, Any], year: float | int
) -> tuple[pd.DataFrame, pd.DataFrame, pd.Series]:
    """Return the numbers as `plots.performance` takes them, NaN where one is undefined; `year` in bars."""
    table = {said: [_value(section[name][row]) for row in SHOWN] for name, said in ACCOUNTS.items()}
    years = pd.DataFrame(
        {
            **{
                said: [_value(y[f"{n} [%]"]) for y in section["years"]]
                for n, said in ACCOUNTS.items()
                if n != "cash"
            },
            "share": [found["bars"] / year for found in section["years"]],
        },
        index=[found["year"] for found in section["years"]],
    )
    months = pd.Series({m["month"]: _value(m["strategy [%]"]) for m in section["months"]}, dtype=float)
    return pd.DataFrame(table, index=list(SHOWN)), years, months


def _value(found: Any) -> float:
    return float(found) if isinstance(found, int | float) else float(np.nan)


def _drawn(name: str, title: str, how: Callable[[], Drawn] | str, folder: Path) -> dict[str, Any]:
    if isinstance(how, str):
        return {"name": name, "title": title, "not_drawn": how}
    import matplotlib.pyplot as plt

    files = {}
    for theme in THEMES:
        with plots.theme(theme):
            made = how()
            figure = (made if isinstance(made, Axes) else next(iter(made.values()))).get_figure(root=True)
            assert figure is not None
            files[theme] = f"{folder.name}/{name}-{theme}.png"
            figure.savefig(folder / f"{name}-{theme}.png", dpi=120)
            plt.close(figure)
    return {"name": name, "title": title, "files": files}
