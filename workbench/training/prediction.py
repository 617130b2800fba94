"""What a trained model says of windows, as a frame by decision date."""

from collections.abc import Iterator
from contextlib import contextmanager

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor, nn

from workbench.features.windows import Windows
from workbench.models.spec import check_windows
from workbench.training.coverage import check_finite
from workbench.training.days import cross_sections, is_cross_sectional
from workbench.training.threads import using_threads
from workbench.training.turns import turn

FEWEST = 8  # windows a pass: with fewer, PyTorch multiplies by other kernels, which round otherwise


def predict(
    model: nn.Module, windows: Windows, batch_size: int = 256, threads: int | None = 1
) -> pd.DataFrame:
    """Return the model's answer for every window, also those whose label isn't known yet.

    Parameters
    ----------
    model
        Maps (batch, time, feature) to (batch, output). Runs in eval mode; its mode is put back after. Threads
        that ask one model take turns.
    windows
        What to predict for.
    batch_size
        Windows a forward pass. A model that reads the stocks of a day together takes one day a pass.
    threads
        Processor threads: one gives the same figures on every machine; None keeps PyTorch's setting.

    Returns
    -------
    DataFrame
        By decision date, for a panel by (date, ticker). Columns are the classes with their probabilities,
        or "forecast". attrs carry the provenance and the horizon.

    Raises
    ------
    ValueError
        The windows hold a NaN, don't match the model, or the model's output has the wrong shape; or the model
        reads the stocks of a day together and one stands there twice.

    Notes
    -----
    A last batch of fewer than 8 windows is filled up with copies of its last one, so that a window's answer
    does not hang on how many others follow it. For the transformer, LSTM and GRU of the registry at 256
    windows a pass that holds to the last bit on the processor it was tried on; other processors, networks (as
    TCN and SFM) and batch sizes may round differently with the count, in the last digits of a float32.

    The answers of a model that is `cross_sectional` depend on which stocks of the day are among the windows:
    hand over all of them.
    """
    check_windows(model, windows)
    check_finite(windows)
    with using_threads(threads):
        return frame_of(outputs_of(model, windows, batch_size), windows)


def outputs_of(model: nn.Module, windows: Windows, batch_size: int = 256) -> Float[Tensor, "window output"]:
    """Return the model's raw outputs, on the CPU."""
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
    if is_cross_sectional(model):
        return _by_day(model, windows)
    device, dtype = placement(model)
    outputs = [torch.empty(0, windows.n_outputs, dtype=dtype)]
    with evaluating(model), torch.no_grad():
        for start in range(0, len(windows), batch_size):
            # A copy, so that a model may change its input: a batch is a view of the bars.
            x = windows.batch(slice(start, start + batch_size)).to(device, dtype, copy=True)
            count, lacking = len(x), min(FEWEST, batch_size) - len(x)
            if lacking > 0:
                x = torch.cat([x, x[-1:].expand(lacking, -1, -1)])
            output = model(x)
            check_output(output, len(x), windows)
            outputs.append(output[:count].cpu())
    return torch.cat(outputs)


def _by_day(model: nn.Module, windows: Windows) -> Float[Tensor, "window output"]:
    """Return the outputs of a model that reads the windows of one decision date together."""
    device, dtype = placement(model)
    outputs = torch.empty(len(windows), windows.n_outputs, dtype=dtype)
    with evaluating(model), torch.no_grad():
        for rows in cross_sections(windows):
            output = model(windows.batch(rows).to(device, dtype))
            check_output(output, len(rows), windows)
            outputs[rows] = output.cpu()
    return outputs


def frame_of(outputs: Float[Tensor, "window output"], windows: Windows) -> pd.DataFrame:
    """Return raw outputs, one row a window, as the frame that `predict` returns."""
    check_output(outputs, len(windows), windows)
    outputs = outputs.detach().cpu().double()
    values = outputs.softmax(dim=1) if windows.task == "classification" else outputs
    index: pd.Index = windows.dates.rename("date")
    if windows.is_panel:
        index = pd.MultiIndex.from_arrays([windows.dates, windows.tickers], names=["date", "ticker"])
    frame = pd.DataFrame(values.numpy(), index=index, columns=list(windows.classes) or ["forecast"])
    frame.attrs = {"provenance": dict(windows.provenance), "horizon": windows.horizon}
    return frame


def check_output(output: object, rows: int, windows: Windows) -> None:
    """Raise unless `output` is a tensor with one row a window and one column a class or forecast."""
    if not isinstance(output, Tensor):
        raise TypeError(
            f"The model must return a tensor (batch, output), got {type(output).__name__}. "
            "Wrap it in a module whose forward returns the output alone."
        )
    if output.shape != (rows, windows.n_outputs):
        what = f"one column for each of {windows.classes}" if windows.classes else "one forecast"
        raise ValueError(
            f"The model must return (batch, output) = ({rows}, {windows.n_outputs}), {what}. "
            f"Got {tuple(output.shape)}."
        )


def placement(model: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Return device and kind of number of the model's first weight; the CPU's float32 if it has none."""
    for weight in model.parameters():
        if weight.is_floating_point():
            return weight.device, weight.dtype
    return torch.device("cpu"), torch.float32


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put every part of the model into eval mode inside the block, and each back into its own after it.

    Other threads wait for their turn until then.
    """
    with turn(model):
        training = [module for module in model.modules() if module.training]
        model.eval()
        try:
            yield
        finally:
            for module in training:
                module.training = True
