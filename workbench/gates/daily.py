"""How the gates stood on each decision date."""

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from workbench.features.windows import Windows
from workbench.gates.recover import gate_states
from workbench.gates.states import LayerGates
from workbench.models.spec import check_windows
from workbench.training.coverage import check_finite
from workbench.training.prediction import placement
from workbench.training.threads import using_threads


def gates_by_date(
    model: nn.Module, windows: Windows, batch_size: int = 64, threads: int | None = 1
) -> pd.DataFrame:
    """Say of every decision how the recurrent layers stood at its bar, the window's last.

    Of each layer: the mean over units of each gate (`lstm.l0 forget`), of |candidate|, |cell| and |hidden|
    (`lstm.l0 cell size`); `extremity`, the mean over units of |2g − 1| of all gates g between 0 and 1, which
    is 0 where they are half open and 1 where all are shut or wide open; and `movement`, that of
    |h_T − h_{T−1}|. A window knows no later bar, and so none of these does: alter the bars after a date, and
    the values up to it stay the same to the last bit.

    Parameters
    ----------
    model
        With recurrent layers that `gate_states` can look into.
    windows
        Decisions, as for `predict`.
    batch_size
        Windows a pass. The last is filled up with copies, so that no window's values hang on how many follow.
    threads
        Processor threads; None keeps PyTorch's setting.

    Returns
    -------
    DataFrame
        A row a window by `date`, for a panel by (`date`, `ticker`); a column a signal.

    Raises
    ------
    TypeError
        The windows are none.
    ValueError
        The model has no such layers, there is no window, or windows hold a NaN or don't match the model.
    """
    check_dated(windows)
    check_windows(model, windows)
    check_finite(windows)
    if batch_size < 1 or len(windows) == 0:
        raise ValueError(f"need windows and a batch_size of at least 1. Got {len(windows)} and {batch_size}.")
    with using_threads(threads):
        parts = [_of_batch(model, windows, start, batch_size) for start in range(0, len(windows), batch_size)]
    table = pd.concat(parts, ignore_index=True)
    table.index = (
        pd.MultiIndex.from_arrays([windows.dates, windows.tickers], names=["date", "ticker"])
        if windows.is_panel
        else windows.dates.rename("date")
    )
    table.attrs["provenance"] = dict(windows.provenance)
    return table


def check_dated(windows: Any) -> None:
    """Raise TypeError unless they are windows, which know their dates."""
    if not isinstance(windows, Windows):
        raise TypeError(
            f"windows must be Windows, whose decisions have dates, got {type(windows).__name__}. Of a tensor "
            "gate_states(model, x) gives the gates at every step."
        )


def _of_batch(model: nn.Module, windows: Windows, start: int, size: int) -> pd.DataFrame:
    device, dtype = placement(model)
    x = windows.batch(slice(start, start + size)).to(device, dtype, copy=True)
    count = len(x)
    full = torch.cat([x, x[-1:].expand(size - count, -1, -1)])
    layers = gate_states(model, full).layers
    found = {name: values for layer in layers for name, values in _at_decision(layer).items()}
    return pd.DataFrame(found).iloc[:count]


def _at_decision(layer: LayerGates) -> dict[str, np.ndarray]:
    """Signals of one layer at the last step, each (batch,)."""
    last = {name: values[:, -1].double() for name, values in layer.gates.items()}
    between = {name: values for name, values in last.items() if name != "candidate"}  # after a sigmoid
    signals = {name: values.mean(dim=1) for name, values in between.items()}
    signals["candidate size"] = last["candidate"].abs().mean(dim=1)
    if layer.cell is not None:
        signals["cell size"] = layer.cell[:, -1].double().abs().mean(dim=1)
    hidden = layer.hidden[:, -2:].double()
    signals["hidden size"] = hidden[:, -1].abs().mean(dim=1)
    signals["extremity"] = (2 * torch.stack(list(between.values())) - 1).abs().mean(dim=(0, 2))
    signals["movement"] = (hidden[:, -1] - hidden[:, 0]).abs().mean(dim=1)
    return {f"{layer.name} {name}": values.cpu().numpy() for name, values in signals.items()}
