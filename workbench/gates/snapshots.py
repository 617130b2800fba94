"""The state of health of a model at one moment, as numbers with names."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd
import torch
from torch import nn

from workbench.features.windows import Windows
from workbench.gates.packing import joined
from workbench.gates.probes import COUNT, Probe, probe_gradient
from workbench.gates.readings import input_signals, lag_signals, unit_signals
from workbench.gates.recover import gate_states
from workbench.gates.states import GateStates
from workbench.gates.weights import Blocks
from workbench.models.scaling import InputScaling


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Signals of one moment of a training, or of a model in use.

    Attributes
    ----------
    epoch
        Counted from 1; 0 outside of training.
    step
        Steps of the optimiser so far.
    progress
        Share of the run's most epochs that is over, 0 to 1; NaN outside of training.
    units
        By (layer, unit), the signals of `UNIT_SIGNALS`; NaN where a signal does not apply.
    weights
        By (parameter, gate), the signals of `WEIGHT_SIGNALS`; gate is "" where a parameter has no row blocks.
        Gradients and updates are means over the steps measured since the snapshot before; NaN where none was,
        as outside of training.
    inputs
        By feature, the signals of `INPUT_SIGNALS`, of the sequences that were looked at.
    lags
        By lag in bars, 0 being the last: the signals of `LAG_SIGNALS`, how far the loss hangs on that bar.
    figures
        The epoch's own: train_loss, valid_loss, lr, seconds and what else `fit` says.
    """

    epoch: int
    step: int
    progress: float
    units: pd.DataFrame
    weights: pd.DataFrame
    inputs: pd.DataFrame
    lags: pd.DataFrame
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Moment:
    """When a snapshot is taken: see `Snapshot`."""

    epoch: int = 0
    step: int = 0
    progress: float = float("nan")
    figures: Mapping[str, float] = field(default_factory=dict)


def snapshot_of(
    model: nn.Module,
    windows: Windows,
    count: int | None = COUNT,
    before: GateStates | None = None,
    moment: Moment = Moment(),
) -> Snapshot:
    """Return the health of a model on some windows, in training or in use.

    Parameters
    ----------
    model
        Any that has recurrent layers. It is left as it was: modes, gradients, random numbers.
    windows
        What to look at, as the model reads them. Later windows are never seen, so those up to today tell of
        today.
    count
        About so many of the labelled windows are chosen, evenly, as a `GateMonitor` does with its probe; of a
        model that reads a day's stocks together, whole days. None takes them all, labelled or not.
    before
        The states of the snapshot before on the same windows, for the signal `frozen`.
    moment
        What is known of the training, if any.

    Returns
    -------
    Snapshot
        Without gradients and updates of weights. The lags' loss is the cross-entropy of classes, and of
        forecasts the squared error over the labels' variance, whatever the model was trained on.

    Raises
    ------
    ValueError
        The model has no recurrent layers, or the windows do not suit it.
    """
    probe = Probe.of(model, windows, count)
    return looked_at(model, probe, moment, Blocks.of(model).at_rest(), before)[0]


def looked_at(
    model: nn.Module,
    probe: Probe,
    moment: Moment,
    weights: pd.DataFrame,
    before: GateStates | None = None,
) -> tuple[Snapshot, GateStates]:
    """Return a snapshot of a model on a probe, and the probe's states."""
    batches = probe.batches(model)
    states = joined([gate_states(model, x) for x in batches])
    scaling = getattr(model, "scaling", None)
    own = scaling if isinstance(scaling, InputScaling) else None
    snapshot = Snapshot(
        moment.epoch,
        moment.step,
        moment.progress,
        unit_signals(states, before),
        weights,
        input_signals(torch.cat(batches), probe.windows.feature_names, own),
        lag_signals(probe_gradient(model, probe, batches)),
        dict(moment.figures),
    )
    return snapshot, states
