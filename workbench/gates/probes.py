"""The sequences that a model is asked about again and again."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from workbench.features.windows import Windows
from workbench.gates.gradients import input_gradients
from workbench.gates.packing import evenly
from workbench.models.spec import check_windows
from workbench.models.untouched import untouched
from workbench.training.coverage import fingerprint
from workbench.training.days import cross_sections, is_cross_sectional
from workbench.training.prediction import evaluating, placement

COUNT = 16  # sequences, about: a pass over more costs more, and says little that is new


@dataclass(frozen=True, eq=False)
class Probe:
    """Windows, and how they go through a model.

    Attributes
    ----------
    windows
        What is looked at.
    passes
        Rows of each pass: all at once, or one day after the other for a model that reads a day's stocks
        together.
    """

    windows: Windows
    passes: tuple[Tensor, ...]

    @classmethod
    def of(cls, model: nn.Module, windows: Windows, count: int | None = COUNT) -> "Probe":
        """Choose about `count` of the labelled windows, evenly; of a cross-sectional model whole days.

        Of days there are so many that their windows are `count` or fewer, at least one; a day has also the
        windows whose label is not known. None takes all windows, labelled or not.

        Raises
        ------
        ValueError
            The windows don't match the model, or none is labelled.
        """
        check_windows(model, windows)
        labelled = np.asarray(windows.label_dates.notna())
        if len(windows) == 0 or (count is not None and not labelled.any()):
            raise ValueError(
                f"a probe needs windows whose label is known, and of these {len(windows)} none is. "
                "Take them from the training or validation windows."
            )
        if is_cross_sectional(model):
            chosen = windows if count is None else _days(windows, labelled, count)
            passes = tuple(cross_sections(chosen))
        else:
            rows = np.flatnonzero(labelled)
            chosen = windows if count is None else windows[rows[evenly(len(rows), count)]]
            passes = (torch.arange(len(chosen)),)
        return cls(chosen, passes)

    def batches(self, model: nn.Module) -> list[Float[Tensor, "batch time feature"]]:
        """Return the inputs of each pass, copies, where the model is."""
        device, dtype = placement(model)
        return [self.windows.batch(rows).to(device, dtype, copy=True) for rows in self.passes]

    def check_suits(self, model: nn.Module) -> None:
        """Raise ValueError, in words, if the model cannot read the windows or answers what has no loss.

        It runs once, as it would for a look.
        """
        try:
            with torch.no_grad(), evaluating(model), untouched(model):
                for x, rows in zip(self.batches(model), self.passes, strict=True):
                    self.loss(model(x), rows)
        except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
            windows = self.windows
            raise ValueError(
                f"The probe does not suit this {type(model).__name__}: given {len(windows)} "
                f"windows of {windows.lookback} bars and {len(windows.feature_names)} features "
                f"({windows.task}), it failed with {type(error).__name__}: {error}. "
                "Take the probe from the windows that the model is trained or validated on."
            ) from error

    def loss(self, outputs: Float[Tensor, "batch output"], rows: Tensor) -> Float[Tensor, ""]:
        """Return what the lags' gradients are of, for the windows of one pass whose label is known.

        Of classes the cross-entropy [nat]; of forecasts the squared error over the variance of the probe's
        labels. Neither hangs on how the model is trained, so that trainings can be compared. The mean is
        over the probe, so that the losses of the passes add up to its own.
        """
        known = np.asarray(self.windows.label_dates.notna())
        y, mine = self.windows.y[rows], torch.from_numpy(known[rows.numpy()])
        outputs, y = outputs[mine.to(outputs.device)], y[mine].to(outputs.device)
        count = max(int(known.sum()), 1)
        if self.windows.task == "classification":
            return F.cross_entropy(outputs, y, reduction="sum") / count
        spread = float(self.windows.y[torch.from_numpy(known)].double().var(unbiased=False))
        errors = (outputs.squeeze(1) - y.to(outputs.dtype)).square().sum()
        return errors / (count * (spread if spread > 0 else 1.0))

    def about(self) -> dict[str, Any]:
        """Return what is looked at, as JSON can hold it."""
        windows = self.windows
        return {
            "sha256": fingerprint(windows),
            "dates": [str(date) for date in windows.dates],
            "tickers": [str(ticker) for ticker in windows.tickers],
            "features": list(windows.feature_names),
            "lookback": windows.lookback,
        }


def _days(windows: Windows, labelled: np.ndarray, count: int) -> Windows:
    """Return the windows of some days that have a label, evenly chosen."""
    dates = windows.dates[labelled].unique()
    together = windows[np.asarray(windows.dates.isin(dates))]
    a_day = max(1, round(len(together) / len(dates)))
    chosen = dates[evenly(len(dates), max(1, count // a_day))]
    return together[np.asarray(together.dates.isin(chosen))]


def probe_gradient(
    model: nn.Module, probe: Probe, batches: Sequence[Float[Tensor, "batch time feature"]]
) -> Float[Tensor, "window time feature"]:
    """Return the gradient of the probe's loss by its inputs, as the model's own scaling brings them."""
    parts = zip(batches, probe.passes, strict=True)
    return torch.cat([input_gradients(model, x, partial(probe.loss, rows=rows)) for x, rows in parts])
