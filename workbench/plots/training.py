"""Training: losses and the monitored metric, epoch by epoch."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from workbench.plots.panels import stack
from workbench.plots.style import DISTINCT, palette, provenance_of, titled

_ENDS = {"early": "stopped early", "finished": "ran to the end", "cancelled": "cancelled"}
_LOSSES = {"classification": "Loss [nat]", "regression": "Loss [label variances]"}
_METRICS = {
    "balanced_accuracy": "Balanced\naccuracy [share]",
    "ic": "Information\ncoefficient",
    "rank_ic": "Rank information\ncoefficient",
    "icir": "ICIR\n[by day]",
}
_COEFFICIENTS = {"valid_ic": "IC", "valid_rank_ic": "rank IC"}


@runtime_checkable
class TrainingHistory(Protocol):
    """What is read of a training's history."""

    @property
    def epochs(self) -> pd.DataFrame:
        """One row an epoch, numbered by the index: train_loss, valid_loss and the monitored column."""
        ...

    @property
    def best_epoch(self) -> int:
        """The epoch whose weights were kept."""
        ...

    @property
    def seconds(self) -> float:
        """How long it took."""
        ...

    @property
    def monitor(self) -> str:
        """The column that chose the best epoch."""
        ...


def history(
    history: TrainingHistory, ax: Axes | None = None, provenance: Mapping[str, Any] | None = None
) -> dict[str, Axes]:
    """Draw the losses of a training, the metric that chose its best epoch, and which epoch that was.

    Of forecasts the information coefficients are drawn too, and of a panel the ICIR.

    Parameters
    ----------
    history
        As `fit` returns it.
    ax
        Becomes the loss panel. None makes a figure.
    provenance
        Of the prices; made-up prices are named in the title.

    Returns
    -------
    dict of Axes
        "loss"; "metric" unless the validation loss of classes was monitored; "spread", the ICIR, if the
        history has it.

    Raises
    ------
    ValueError
        If the history holds no epoch, or lacks the monitored column.
    """
    epochs = history.epochs
    if epochs.empty or history.monitor not in epochs:
        raise ValueError(
            f"history.epochs must hold at least one epoch and the monitored column {history.monitor!r}. "
            f"Got {len(epochs)} epochs with columns {list(epochs.columns)}."
        )
    metrics = _metrics(history)
    panels = stack(ax, (1.5, *[1] * len(metrics)), size=(9.0, 3.4 + len(metrics)))
    colours = palette()
    _draw_curve(panels[0], history, "train_loss", colours.down, "training")
    _draw_curve(panels[0], history, "valid_loss", colours.up, "validation")
    panels[0].set_ylabel(_loss_label(history))
    panels[0].legend(
        loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, fontsize="small", borderaxespad=0.2
    )
    for panel, columns in zip(panels[1:], metrics, strict=True):
        for column, colour in zip(columns, (colours.up, DISTINCT[1]), strict=False):
            _draw_curve(panel, history, column, colour, _COEFFICIENTS.get(column, "validation"))
        panel.set_ylabel(_metric_label(columns[0]))
        if len(columns) > 1:
            panel.legend(loc="best", ncols=2, frameon=False, fontsize="small")
    for panel in panels:
        panel.axvline(history.best_epoch, color=colours.ink, linewidth=0.9, linestyle=":")
    panels[0].set_xlim(epochs.index.to_numpy().min() - 0.5, epochs.index.to_numpy().max() + 0.5)
    panels[-1].set_xlabel("Epoch (dotted: the best, kept)")
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    _title(panels[0], history, provenance or provenance_of(history))
    return dict(zip(("loss", "metric", "spread"), panels, strict=False))


def _metrics(history: TrainingHistory) -> list[list[str]]:
    """Return the columns of each panel below the losses."""
    columns = list(history.epochs)
    coefficients = [name for name in _COEFFICIENTS if name in columns]
    shown = [coefficients] if len(coefficients) > 1 else []
    if "valid_icir" in columns:
        shown.append(["valid_icir"])
    drawn = [name for names in shown for name in names]
    return shown if history.monitor in [*drawn, "valid_loss"] else [[history.monitor], *shown][:2]


def _loss_label(history: TrainingHistory) -> str:
    if getattr(history, "options", {}).get("loss") == "ic":
        return "Loss [1 − IC]"
    return _LOSSES.get(getattr(history, "task", ""), "Loss")


def _draw_curve(ax: Axes, history: TrainingHistory, column: str, colour: str, label: str) -> None:
    epoch, curve = history.epochs.index.to_numpy(), history.epochs[column].to_numpy(dtype=float)
    ax.plot(epoch, curve, color=colour, label=label, marker="." if len(curve) <= 30 else None)
    best = epoch == history.best_epoch
    ax.plot(epoch[best], curve[best], color=colour, marker="o", markersize=8, linestyle="none")


def _named(monitor: str) -> str:
    words = monitor.replace("valid_", "validation ").split("_")
    return " ".join(words).replace(" icir", " ICIR").replace(" ic", " IC")


def _metric_label(monitor: str) -> str:
    name = monitor.removeprefix("valid_")
    return _METRICS.get(name, name.replace("_", " ").capitalize())


def _title(ax: Axes, history: TrainingHistory, provenance: Mapping[str, Any]) -> None:
    seed, stopped = getattr(history, "seed", None), getattr(history, "stopped", "")
    titled(
        ax,
        f"Training: best epoch {history.best_epoch} of {len(history.epochs)} by {_named(history.monitor)}",
        f"{history.seconds:.1f} seconds",
        _ENDS.get(stopped, stopped),
        "" if seed is None else f"seed {seed}",
        provenance=provenance,
        share=0.75,
    )
