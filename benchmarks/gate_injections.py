"""Faults that are put into a small training, one at a time, for `gate_faults.py`."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback
from torch import Tensor, nn

from workbench.features.rows import Rows
from workbench.features.windows import Windows

ONSET = 5  # epoch, counted from 1, at whose beginning a later fault strikes
LSTM_BLOCKS = {"input": 0, "forget": 1, "candidate": 2, "output": 3}
GRU_BLOCKS = {"reset": 0, "update": 1, "candidate": 2}


@dataclass(frozen=True, eq=False)
class Scene:
    """What a fault may lay hands on."""

    model: nn.Module
    bars: Tensor
    rng: np.random.Generator

    @property
    def layers(self) -> nn.LSTM | nn.GRU:
        """The recurrent layers."""
        return next(m for m in self.model.modules() if isinstance(m, nn.LSTM | nn.GRU))

    def bias(self, of_lstm: str, of_gru: str) -> Tensor:
        """The bias of a gate of the first layer, to be changed in place."""
        layers = self.layers
        is_lstm = isinstance(layers, nn.LSTM)
        block = LSTM_BLOCKS[of_lstm] if is_lstm else GRU_BLOCKS[of_gru]
        size = layers.hidden_size
        return layers.bias_ih_l0.data[block * size : (block + 1) * size]


class Backwards(Windows):
    """Windows whose bars run from the last to the first."""

    def batch(self, rows: Rows) -> Tensor:
        """Return some windows, each turned round."""
        return super().batch(rows).flip(1)


@dataclass(frozen=True)
class Fault:
    """One fault.

    `at_onset` strikes at the beginning of epoch ONSET, `at_end` at the end of that epoch, before it is looked
    at; `sets` changes training and validation windows before the training, and `lr` is a factor of its rate.
    """

    says: str
    at_onset: Callable[[Scene], None] | None = None
    at_end: Callable[[Scene], None] | None = None
    sets: Callable[[Windows, np.random.Generator], Windows] | None = None
    lr: float = 1.0

    @property
    def begins(self) -> int:
        """First epoch whose snapshot is of a faulty training."""
        return ONSET if self.at_onset or self.at_end else 1


def dead_units(scene: Scene) -> None:
    """A quarter of the units fall silent: the output gate shut; a GRU's update gate holds its first zero."""
    layers = scene.layers
    bias = scene.bias("output", "update")
    units = scene.rng.permutation(layers.hidden_size)[: layers.hidden_size // 4]
    bias[torch.from_numpy(units)] = -30.0 if isinstance(layers, nn.LSTM) else 30.0


def saturated_forget(scene: Scene) -> None:
    """The forget gate, of a GRU the update gate, is driven open."""
    scene.bias("forget", "update").add_(6.0)


def tenfold(scene: Scene) -> None:
    """Inputs in another unit than those that the scaling statistics are of."""
    scene.bars.mul_(10.0)


def volatile(scene: Scene) -> None:
    """Inputs three times as far from their mean."""
    mean = scene.bars.nanmean(dim=0)  # the first bars are NaN where an indicator warms up
    scene.bars.sub_(mean).mul_(3.0).add_(mean)


def frozen_layer(scene: Scene) -> None:
    """No gradient reaches the recurrent layers any more."""
    scene.layers.requires_grad_(False)


def stale_feature(scene: Scene) -> None:
    """One input stands still at a value that it had."""
    column = int(scene.rng.integers(scene.bars.shape[1]))
    known = scene.bars[scene.bars.isfinite().all(dim=1), column]
    scene.bars[:, column] = known[int(scene.rng.integers(len(known)))]


def weight_blow_up(scene: Scene) -> None:
    """Recurrent weights five times as large."""
    scene.layers.weight_hh_l0.data.mul_(5.0)


def one_nan(scene: Scene) -> None:
    """One recurrent weight is NaN."""
    weights = scene.layers.weight_hh_l0.data.view(-1)
    weights[int(scene.rng.integers(len(weights)))] = float("nan")


def swap_columns(scene: Scene) -> None:
    """Two inputs change places."""
    scene.bars.copy_(_swapped(scene.bars, scene.rng))


def _swapped(bars: Tensor, rng: np.random.Generator) -> Tensor:
    one, other = rng.choice(bars.shape[1], 2, replace=False)
    order = np.arange(bars.shape[1])
    order[[one, other]] = order[[other, one]]
    return bars[:, torch.from_numpy(order)]


def _shuffled(windows: Windows, rng: np.random.Generator) -> Windows:
    return replace(windows, y=windows.y[torch.from_numpy(rng.permutation(len(windows)))])


def _backwards(windows: Windows, rng: np.random.Generator) -> Windows:
    return Backwards(**{name: getattr(windows, name) for name in windows.__dataclass_fields__})


def _with_columns_swapped(windows: Windows, rng: np.random.Generator) -> Windows:
    return replace(windows, bars=_swapped(windows.bars, rng))


FAULTS = {
    "dead units": Fault("a quarter of the units silent from epoch 5", at_onset=dead_units),
    "saturated forget gate": Fault("its bias + 6 from epoch 5; of a GRU update", at_onset=saturated_forget),
    "inputs ×10": Fault("from epoch 5, after the scaling statistics were taken", at_onset=tenfold),
    "volatility ×3": Fault("inputs 3 times as far from their mean from epoch 5", at_onset=volatile),
    "frozen layer": Fault("no gradient for the recurrent layers from epoch 5", at_onset=frozen_layer),
    "stale feature": Fault("one input stands still from epoch 5", at_onset=stale_feature),
    "weight blow-up": Fault("recurrent weights × 5 at epoch 5", at_onset=weight_blow_up),
    "NaN": Fault("one weight at the end of epoch 5; the next step's loss ends the training", at_end=one_nan),
    "learning rate ×30": Fault("from the start", lr=30.0),
    "learning rate ÷30": Fault("from the start", lr=1 / 30),
    "columns swapped later": Fault("two inputs from epoch 5, after the statistics", at_onset=swap_columns),
    "columns swapped": Fault("two inputs from the start, statistics too", sets=_with_columns_swapped),
    "labels shuffled": Fault("in training and validation, from the start", sets=_shuffled),
    "time reversed": Fault("the bars of every window, from the start", sets=_backwards),
}  # fmt: skip


class Striking(Callback):
    """Let a later fault strike."""

    def __init__(self, fault: Fault, bars: Tensor, rng: np.random.Generator):
        self.fault, self.bars, self.rng = fault, bars, rng

    def on_epoch_begin(self, net: Any, *args: Any, **kwargs: Any) -> None:
        """Strike as the epoch begins."""
        if len(net.history) == ONSET and self.fault.at_onset is not None:
            self.fault.at_onset(Scene(net.module_, self.bars, self.rng))

    def on_epoch_end(self, net: Any, *args: Any, **kwargs: Any) -> None:
        """Strike before the epoch is looked at."""
        if len(net.history) == ONSET and self.fault.at_end is not None:
            self.fault.at_end(Scene(net.module_, self.bars, self.rng))
