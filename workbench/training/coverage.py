"""The bars that a set of windows covers: each counted once, however many windows hold it."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.features.windows import Windows
from workbench.models.scaling import window_units

WINDOWS = 1024  # at once, where each is its own copy


def covered(windows: Windows) -> Bool[np.ndarray, " bar"]:
    """Tell which rows of `windows.bars` lie in at least one window."""
    ends = windows.ends.numpy()
    change = np.zeros(len(windows.bars) + 1, dtype=np.int64)
    np.add.at(change, ends - windows.lookback + 1, 1)
    np.add.at(change, ends + 1, -1)
    return change[:-1].cumsum() > 0


def statistics(
    windows: Windows, anchors: Mapping[int, int] | None = None
) -> tuple[Float[Tensor, " feature"], Float[Tensor, " feature"]]:
    """Return mean and standard deviation of each feature over the covered bars, in float64.

    Columns with an anchor (`InputScaling.anchors`) mean another number in every window: theirs are over all
    windows, a bar counted in each that holds it, of the value over that of the anchor at the last bar.
    """
    bars = windows.bars[torch.from_numpy(covered(windows))].double()
    mean, std = bars.mean(dim=0), bars.std(dim=0, unbiased=False)
    if anchors and len(windows):
        columns = sorted(anchors)
        mean[columns], std[columns] = _of_ratios(windows, anchors, columns)
    return mean, std


def _of_ratios(
    windows: Windows, anchors: Mapping[int, int], columns: list[int]
) -> tuple[Float[Tensor, " column"], Float[Tensor, " column"]]:
    first = torch.zeros(2, len(columns), dtype=torch.float64)
    centre = torch.ones(len(columns), dtype=torch.float64)  # what a bar is of the last one, more or less
    for start in range(0, len(windows), WINDOWS):
        x = windows.batch(slice(start, start + WINDOWS)).double()
        above = (x / window_units(x, anchors))[:, :, columns] - centre
        first += torch.stack([above.sum(dim=(0, 1)), above.square().sum(dim=(0, 1))])
    mean, square = first / (len(windows) * windows.lookback)
    return mean + centre, (square - mean.square()).clamp(min=0).sqrt()


def check_finite(windows: Windows) -> None:
    """Raise ValueError naming the first window, bar and feature that isn't a finite number."""
    broken = ~torch.isfinite(windows.bars).all(dim=1).numpy() & covered(windows)
    if not broken.any():
        return
    upto = np.concatenate([[0], broken.cumsum()])
    ends = windows.ends.numpy()
    hit = np.flatnonzero(upto[ends + 1] > upto[ends + 1 - windows.lookback])
    first = int(hit[0])
    start = int(ends[first]) + 1 - windows.lookback
    row = start + int(np.flatnonzero(broken[start : start + windows.lookback])[0])
    bad = torch.isfinite(windows.bars[row]).logical_not().nonzero().flatten().tolist()
    ticker = f" of {windows.tickers[first]}" if windows.is_panel else ""
    raise ValueError(
        f"The window decided on {windows.dates[first]}{ticker} holds values that are not finite numbers, at "
        f"its bar of {windows.bar_index[row]} in {', '.join(windows.feature_names[i] for i in bad)} "
        f"({len(hit)} of {len(windows)} windows are touched). Put NaN there before Windows.of, which leaves "
        "such windows out."
    )


def labels_fingerprint(windows: Windows) -> str:
    """Return the sha256 of decision dates and labels, which no library's rounding touches."""
    digest = hashlib.sha256()
    for part in (windows.dates.asi8, windows.y.contiguous().numpy()):
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()


def fingerprint(windows: Windows) -> str:
    """Return the sha256 of all that training sees: covered bars, labels, dates, tickers and names."""
    mask = covered(windows)
    rows = mask.cumsum() - 1  # where each covered bar stands among the covered ones
    digest = hashlib.sha256()
    parts: list[Any] = [
        windows.bars[torch.from_numpy(mask)].contiguous().numpy(),
        rows[windows.ends.numpy()],
        windows.y.contiguous().numpy(),
        windows.dates.asi8,
    ]
    for part in parts:
        digest.update(np.ascontiguousarray(part).tobytes())
    names = (
        windows.tickers.tolist(),
        windows.feature_names,
        windows.lookback,
        windows.classes,
        windows.horizon,
    )
    digest.update(repr(names).encode())
    return digest.hexdigest()
