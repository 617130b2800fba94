"""The state of health of a model at one moment, as numbers with names."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd


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
        NaN outside of training.
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
