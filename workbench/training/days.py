"""Decision days: which windows stand side by side in a cross-section."""

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from workbench.features.windows import Windows


def is_cross_sectional(model: nn.Module) -> bool:
    """Tell whether a model reads the windows of one decision date together, so that a batch is a day."""
    parallel = isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel)
    return bool(getattr(model.module if parallel else model, "cross_sectional", False))


def days_of(windows: Windows) -> list[Tensor]:
    """Return the rows of each decision date, from old to new; within a date they keep their order."""
    codes, dates = pd.factorize(windows.dates, sort=True)
    rows = torch.from_numpy(np.argsort(codes, kind="stable"))
    return list(rows.split(np.bincount(codes, minlength=len(dates)).tolist()))


def cross_sections(windows: Windows) -> list[Tensor]:
    """Return `days_of(windows)`; a stock that stands twice in one day is refused.

    Raises
    ------
    ValueError
        A ticker has several windows on one decision date: the others would see it as two stocks.
    """
    keys = pd.MultiIndex.from_arrays([windows.dates, windows.tickers])
    twice = keys.duplicated()
    if twice.any():
        date, ticker = keys[twice][0]
        raise ValueError(
            f"{twice.sum()} windows occur more than once, the first of {ticker} on {date}, and this model "
            "reads all stocks of a day together: each may stand there once. Leave the repeated windows out."
        )
    return days_of(windows)


def learnable(windows: Windows, cross_sectional: bool) -> Windows:
    """Return the windows that training can use.

    Those with a label; in a cross-section also their neighbours of the same day whose label isn't known,
    which are seen but not learnt from.
    """
    known = np.asarray(windows.label_dates.notna())
    if not cross_sectional:
        return windows.labelled()
    return windows[np.asarray(windows.dates.isin(windows.dates[known]))]
